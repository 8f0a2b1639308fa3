import GatewayAPI
import Testing
import YAML

/// The manifests that a user's document asks to be applied unchanged.
enum Seed {
  static let gatewayAPI = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: Gateway
    metadata:
      name: hoopgateway
    spec:
      gatewayClassName: istio
      listeners:
      - name: http
        hostname: "hoop.yourdomain.org"
        port: 80
        protocol: HTTP
        allowedRoutes:
          namespaces:
            from: Same
    ---
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata:
      name: hoopgateway-route
    spec:
      parentRefs:
      - name: hoopgateway
      hostnames: ["hoop.yourdomain.org"]
      rules:
      - matches:
        - path:
            type: PathPrefix
            value: /protobuf.Transport
        backendRefs:
        - name: hoopgateway
          port: 8010
      - matches:
        - path:
            type: PathPrefix
            value: /
        backendRefs:
        - name: hoopgateway
          port: 8009
    """

  static let istio = """
    apiVersion: networking.istio.io/v1beta1
    kind: Gateway
    metadata:
      name: hoopgateway
    spec:
      selector:
        # The selector matches the istio ingress gateway. It may vary based on your Istio installation.
        istio: ingress
      servers:
      - port:
          number: 80
          name: http
          protocol: HTTP
        hosts:
        - hoop.yourdomain.org
      - port:
          number: 443
          name: https
          protocol: HTTPS
        tls:
          mode: SIMPLE
          credentialName: hoopgateway-tls # Name of the TLS secret in Kubernetes
        hosts:
        - hoop.yourdomain.org
    ---
    apiVersion: networking.istio.io/v1beta1
    kind: VirtualService
    metadata:
      name: hoopgateway
    spec:
      hosts:
      - hoop.yourdomain.org
      gateways:
      - hoopgateway
      http:
      - match:
        - uri:
            prefix: /protobuf.Transport
        route:
        - destination:
            host: hoopgateway
            port:
              number: 8010
      - match:
        - uri:
            prefix: /
        route:
        - destination:
            host: hoopgateway
            port:
              number: 8009
    """
}

/// Reads all objects of a text; the descriptions of everything that was found wrong come along.
func decodeAll(_ text: String, file: String? = nil) -> (resources: [Resource], findings: [String]) {
  let manifest = Manifest(Array(text.utf8), file: file)
  var resources: [Resource] = []
  var findings = manifest.diagnostics.map(\.description)
  for object in manifest.objects {
    let result = decodeResource(object, file: file)
    if let resource = result.resource { resources.append(resource) }
    findings += result.diagnostics.map(\.description)
  }
  return (resources, findings)
}

@Suite struct SeedTests {
  @Test func gatewayAPI() throws {
    let (resources, findings) = decodeAll(Seed.gatewayAPI, file: "hoop.yaml")
    #expect(findings == [])
    guard case .gateway(let gateway) = try #require(resources.first),
      case .httpRoute(let route) = try #require(resources.last)
    else {
      Issue.record("other kinds were read: \(resources.map(\.kind))")
      return
    }
    #expect(
      resources.map(\.key.description) == [
        "Gateway default/hoopgateway", "HTTPRoute default/hoopgateway-route",
      ])
    #expect(gateway.spec.gatewayClassName == "istio")
    let listener = try #require(gateway.spec.listeners.first)
    #expect(listener.name == "http" && listener.port == 80 && listener.protocol == "HTTP")
    #expect(listener.hostname == "hoop.yourdomain.org")
    #expect(listener.allowedRoutes.namespaces.from == .same)
    #expect(listener.position == SourcePosition(line: 8, column: 5))
    #expect(route.parentRefs.first?.refersToSame(as: ParentReference(name: "hoopgateway")) == true)
    #expect(route.hostnames == ["hoop.yourdomain.org"])
    #expect(route.rules.map(\.matches[0].path.value) == ["/protobuf.Transport", "/"])
    #expect(route.rules.map(\.matches[0].path.type) == [.pathPrefix, .pathPrefix])
    #expect(route.rules.map(\.backendRefs[0].backend.port) == [8010, 8009])
    #expect(route.rules.map(\.backendRefs[0].weight) == [1, 1])
    #expect(route.rules[1].position == SourcePosition(line: 32, column: 5))
    #expect(route.origin?.description == "hoop.yaml:16:1")
  }

  @Test func istio() throws {
    let (resources, findings) = decodeAll(Seed.istio)
    #expect(findings == [])
    guard case .istioGateway(let gateway) = try #require(resources.first),
      case .virtualService(let service) = try #require(resources.last)
    else {
      Issue.record("other kinds were read: \(resources.map(\.kind))")
      return
    }
    #expect(gateway.selector == ["istio": "ingress"])
    #expect(gateway.servers.map(\.port.number) == [80, 443])
    #expect(gateway.servers.map(\.isTLSProtocol) == [false, true])
    #expect(gateway.servers[1].tls?.mode == .simple)
    #expect(gateway.servers[1].tls?.credentialName == "hoopgateway-tls")
    #expect(service.gateways == ["hoopgateway"])
    #expect(service.http.map(\.match[0].uri) == [.prefix("/protobuf.Transport"), .prefix("/")])
    #expect(service.http.map(\.route[0].destination.port) == [8010, 8009])
    #expect(resources[0].key != ResourceKey(kind: .gateway, namespace: "default", name: "hoopgateway"))
  }

  @Test(arguments: [Seed.gatewayAPI, Seed.istio])
  func nothingOfItIsUnsupported(_ text: String) throws {
    for object in Manifest(Array(text.utf8)).objects {
      let resource = try #require(decodeResource(object).resource)
      #expect(FieldSupport.unsupported(in: object, kind: resource.kind) == [])
    }
  }

  /// What is printed reads back as the same object.
  @Test(arguments: [Seed.gatewayAPI, Seed.istio])
  func writersKeepIt(_ text: String) {
    for object in Manifest(Array(text.utf8)).objects {
      #expect(YAML.parse(YAML.write(object)).documents == [object])
      #expect(YAML.parse(JSON.write(object)).documents == [object])
    }
  }
}

/// Broken input gets diagnostics and never a trap: the seed's texts with bytes changed, cut and doubled.
@Suite struct MutationTests {
  /// SplitMix64: the same texts in every run.
  private struct Random: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var value = state
      value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
      value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
      return value ^ (value >> 31)
    }
  }

  @Test(arguments: [Seed.gatewayAPI, Seed.istio])
  func mutatedTexts(_ text: String) {
    var random = Random(state: 42)
    let json = YAML.parse(text).documents.map { JSON.bytes($0, pretty: true) }
    for source in [Array(text.utf8)] + json {
      for _ in 0..<400 {
        var bytes = source
        for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
          let index = Int.random(in: 0..<bytes.count, using: &random)
          switch Int.random(in: 0..<4, using: &random) {
          case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
          case 1: bytes[index] = "{}[]:,-&*!|>'\"\n\t 019~".utf8.randomElement(using: &random) ?? 0
          case 2: bytes.removeSubrange(index..<min(bytes.count, index + 9))
          default: bytes.insert(contentsOf: bytes[index..<min(bytes.count, index + 40)], at: index)
          }
        }
        let manifest = Manifest(bytes)
        for object in manifest.objects {
          let result = decodeResource(object)
          #expect((result.resource == nil) == result.diagnostics.contains { $0.isError })
          #expect(YAML.parse(YAML.write(object)).documents == [object])
        }
      }
    }
  }
}
