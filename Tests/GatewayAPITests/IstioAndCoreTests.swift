import GatewayAPI
import Testing
import YAML

@Suite struct IstioRuleTests {
  private static let port80 = "port: {number: 80, name: http, protocol: HTTP}"
  private static let port443 = "port: {number: 443, name: https, protocol: HTTPS}"
  private static let to = "route: [{destination: {host: s}}]"

  static let cases: [Case] = [
    Case(Base.server("{\(port80), hosts: ['*', 'ns/*.x.com', './a', '*/b'], tls: {httpsRedirect: true}}")),
    Case(
      Base.server("{\(port80), hosts: ['*x', 'a/b/c', 'N/x']}"),
      "spec.servers[0].hosts[0]: \"*x\" must be a host name as shop.example.com or *.example.com or "
        + "*, also as "
        + "namespace/host",
      "spec.servers[0].hosts[1]: \"a/b/c\" must be a host name as shop.example.com or *.example.com "
        + "or *, also as "
        + "namespace/host",
      "spec.servers[0].hosts[2]: \"N/x\" must be a host name as shop.example.com or *.example.com "
        + "or *, also as "
        + "namespace/host"),
    Case(
      Base.server("{\(port443), hosts: [x]}"), "spec.servers[0].tls: is required for the protocol HTTPS"),
    Case(
      Base.server("{\(port443), hosts: [x], tls: {mode: SIMPLE}}"),
      "spec.servers[0].tls: needs credentialName (or serverCertificate and privateKey) with mode SIMPLE"),
    Case(
      Base.server("{\(port443), hosts: [x], tls: {mode: SIMPEL, credentialName: c}}"),
      "spec.servers[0].tls.mode: \"SIMPEL\" is not one of PASSTHROUGH, SIMPLE, MUTUAL, AUTO_PASSTHROUGH, "
        + "ISTIO_MUTUAL, OPTIONAL_MUTUAL; did you mean SIMPLE?"),
    Case(
      Base.server("{\(port80), hosts: [x], tls: {mode: SIMPLE, credentialName: c}}"),
      "spec.servers[0].tls: must have no settings other than httpsRedirect for the protocol HTTP"),
    Case(
      Base.server("{\(port443), hosts: [x], tls: {mode: SIMPLE, credentialName: c, httpsRedirect: true}}"),
      "spec.servers[0].tls: httpsRedirect works only on plain HTTP servers"),
    Case(
      Base.server("{port: {number: 80, name: http, protocol: HTPP}, hosts: [x]}"),
      "spec.servers[0].port.protocol: \"HTPP\" is not one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, "
        + "MONGO, TCP, TLS"
    ),
    Case(
      Base.server("{port: {number: 80}, hosts: []}"), "spec.servers[0].port.protocol: is required",
      "spec.servers[0].port.name: is required", "spec.servers[0].hosts: must have at least 1 element"),
    Case(
      Base.server(
        "{\(port443), hosts: [x], tls: {mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_3, "
          + "maxProtocolVersion: TLSV1_2}}"),
      "spec.servers[0].tls.minProtocolVersion: must not be higher than maxProtocolVersion"),
    Case(Base.virtualService("{\(to)}")),
    Case(
      Base.virtualService("{}"), "spec.http[0]: needs one of route, redirect, directResponse and delegate"),
    Case(
      Base.virtualService("{\(to), redirect: {uri: /x}}"),
      "spec.http[0].redirect: must not stand beside route"),
    Case(
      Base.virtualService("{redirect: {uri: /x, redirectCode: 304}, rewrite: {uri: /y}}"),
      "spec.http[0].redirect.redirectCode: is 304; it must be 301, 302, 303, 307 or 308",
      "spec.http[0].rewrite: must not stand beside redirect"),
    Case(
      Base.virtualService("{redirect: {}}"),
      "spec.http[0].redirect: needs at least one of uri, authority, port, scheme and redirectCode"),
    Case(
      Base.virtualService("{redirect: {port: 80, derivePort: FROM_REQUEST_PORT}}"),
      "spec.http[0].redirect.derivePort: must not stand beside port"),
    Case(
      Base.virtualService("{match: [{uri: {exact: /a, prefix: /b}}], \(to)}"),
      "spec.http[0].match[0].uri: must have only one of exact, prefix and regex"),
    Case(
      Base.virtualService("{match: [{uri: {regexp: /a}}], \(to)}"),
      "warning: spec.http[0].match[0].uri.regexp: unknown field; it is ignored. Did you mean regex?"),
    Case(
      Base.virtualService("{match: [{headers: {':method': {exact: GET}}}], \(to)}"),
      "spec.http[0].match[0].headers: \":method\" is not the name of a header; use the field method"),
    Case(
      Base.virtualService("{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]}"),
      "spec.http[0].route: has several destinations, and all of their weights are 0"),
    Case(
      Base.virtualService("{route: [{destination: {}}]}"),
      "spec.http[0].route[0].destination.host: is required"),
    Case(
      Base.virtualService("{route: [{destination: {host: a, port: {number: 0}}}]}"),
      "spec.http[0].route[0].destination.port.number: is 0; it must be between 1 and 65535"),
    Case(
      Base.virtualService("{\(to), timeout: 5}"),
      "spec.http[0].timeout: must be a string, not the number 5; put it in quotes"),
    Case(
      Base.virtualService("{\(to), timeout: 5x}"),
      "spec.http[0].timeout: \"5x\" must be a duration of at least 1ms, as 10s, 1.5s or 1h30m, or 0s for none"
    ),
    Case(Base.virtualService("{match: [{}], \(to), timeout: 0s}, {\(to), timeout: 1.5s}")),
    Case(
      Base.virtualService("{\(to)}, {match: [{uri: {prefix: /x}}], \(to)}"),
      "warning: spec.http: the entries after http[0] are never reached, because it matches every request"),
    Case(
      Base.virtualService("{directResponse: {status: 99}}"),
      "spec.http[0].directResponse.status: is 99; it must be between 200 and 599"),
    Case(
      Base.virtualService("{directResponse: {status: 200, body: {bytes: '%'}}}"),
      "spec.http[0].directResponse.body.bytes: is not base64"),
    Case(
      Base.virtualService("{\(to), headers: {request: {set: {'a b': c, d: \"x\\ny\"}}}}"),
      "spec.http[0].headers.request.set.a b: the key \"a b\" must be a header name",
      "spec.http[0].headers.request.set.d: \"x\ny\" must be free of control characters"),
    Case(
      "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [a, a]}",
      "spec: needs at least one of http, tcp and tls", "spec.hosts[1]: \"a\" stands here a second time"),
  ]

  private static func routes(_ fields: String, hosts: String = "['*.example.com', db]") -> String {
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\n"
      + "spec: {hosts: \(hosts), gateways: [g], \(fields)}"
  }

  static let layer4Cases: [Case] = [
    Case(Base.server("{port: {number: 443, name: t, protocol: TLS}, hosts: [x], tls: {mode: PASSTHROUGH}}")),
    Case(Base.server("{port: {number: 9000, name: t, protocol: TCP}, hosts: ['*']}")),
    Case(
      Base.server("{port: {number: 9000, name: t, protocol: TCP}, hosts: [x], tls: {mode: PASSTHROUGH}}"),
      "spec.servers[0].tls: must have no settings for the protocol TCP"),
    Case(
      Base.server("{port: {number: 443, name: t, protocol: TLS}, hosts: [x], tls: {credentialName: c}}"),
      "warning: spec.servers[0].tls: no certificate is used with the mode PASSTHROUGH, which is the default; "
        + "did you mean SIMPLE?"),
    Case(
      routes("tls: [{match: [{sniHosts: [a.example.com, '*.B.example.com', '*.example.com', db]}], \(to)}]")),
    Case(routes("tls: [{match: [{sniHosts: ['*', a.b]}], \(to)}]", hosts: "['*']")),
    Case(
      routes("tls: [{match: [{sniHosts: [example.com, '*.com', aexample.com, '*.db', '*']}], \(to)}]"),
      "spec.tls[0].match[0].sniHosts[0]: \"example.com\" is not among the hosts of the VirtualService: "
        + "*.example.com, db",
      "spec.tls[0].match[0].sniHosts[1]: \"*.com\" is not among the hosts of the VirtualService: *.example.com, db",
      "spec.tls[0].match[0].sniHosts[2]: \"aexample.com\" is not among the hosts of the VirtualService: "
        + "*.example.com, db",
      "spec.tls[0].match[0].sniHosts[3]: \"*.db\" is not among the hosts of the VirtualService: *.example.com, db",
      "spec.tls[0].match[0].sniHosts[4]: \"*\" is not among the hosts of the VirtualService: *.example.com, db"),
    Case(
      routes("tls: [{match: [{sniHosts: [10.0.0.1]}], \(to)}]", hosts: "[10.0.0.1]"),
      "warning: spec.tls[0].match[0].sniHosts[0]: is an IP address, which no server name is"),
    Case(
      routes("tls: [{\(to)}, {match: [], \(to)}, {match: [{port: 443}], \(to)}]"),
      "spec.tls[0].match: is required", "spec.tls[1].match: must have at least 1 element",
      "spec.tls[2].match[0].sniHosts: is required"),
    Case(routes("tcp: [{match: [{port: 27017, gateways: [x/g]}], \(to)}, {\(to)}]")),
    Case(
      routes("tcp: [{match: []}, {match: [{port: 65536, sniHosts: [db]}], route: []}]"),
      "spec.tcp[0].route: is required",
      "spec.tcp[1].match[0].port: is 65536; it must be between 0 and 65535",
      "warning: spec.tcp[1].match[0].sniHosts: unknown field; it is ignored",
      "spec.tcp[1].route: must have at least 1 element",
      "warning: spec.tcp: the entries after tcp[0] are never reached, because it matches every connection"),
    Case(
      routes("tcp: [{route: [{destination: {host: a}}, {destination: {host: b}, weight: 0}]}]"),
      "spec.tcp[0].route: has several destinations, and all of their weights are 0"),
    Case(
      routes("tcp: [{\(to)}], tls: [{match: [{sniHosts: [a]}], \(to)}]", hosts: "[]"),
      "spec.tls: needs hosts: without, the VirtualService is for others to delegate requests to",
      "spec.tcp: needs hosts: without, the VirtualService is for others to delegate requests to"),
  ]

  @Test(arguments: cases + layer4Cases) func rule(_ test: Case) { test.check() }

  @Test func layer4Values() throws {
    let text = Self.routes(
      """
      tls: [{match: [{sniHosts: [a.example.com], port: 443, gateways: [x/g], destinationSubnets: [10.0.0.0/8]}],
        route: [{destination: {host: s, port: {number: 1}}, weight: 30}, {destination: {host: t}, weight: 70}]}],
      tcp: [{match: [{port: 0, sourceLabels: {a: b}, sourceNamespace: team, sourceSubnet: 10.0.0.1}, {}], \(Self.to)}]
      """)
    guard case .virtualService(let service)? = decodeAll(text).resources.first else {
      Issue.record("\(decodeAll(text).findings)")
      return
    }
    let (tls, tcp) = (service.tls[0], service.tcp[0])
    #expect(tls.match[0].sniHosts == ["a.example.com"] && tls.match[0].port == 443)
    #expect(tls.match[0].gateways == ["x/g"] && tls.match[0].destinationSubnets == ["10.0.0.0/8"])
    #expect(tls.route.map(\.weight) == [30, 70] && tls.route.map(\.destination.port) == [1, nil])
    #expect(tcp.match[0].port == nil && tcp.match[0].sourceLabels == ["a": "b"])
    #expect(tcp.match[0].sourceNamespace == "team" && tcp.match[0].sourceSubnet == "10.0.0.1")
    #expect(tcp.match.count == 2 && tcp.match[1].sniHosts == [])
  }

  @Test func values() throws {
    let text = Base.virtualService(
      """
      {match: [{headers: {X-A: {}, b: {exact: ''}}, withoutHeaders: {C: {regex: '*'}}, ignoreUriCase: true,
        queryParams: {Q: {prefix: p}}, port: 8080, gateways: [x/g]}],
       route: [{destination: {host: s.ns.svc.cluster.local}, weight: 30},
         {destination: {host: t}, weight: 70}],
       rewrite: {uri: /z, authority: a.b}, timeout: 1.5s, headers: {response: {add: {k: v}, remove: [w]}}}
      """)
    guard case .virtualService(let service)? = decodeAll(text).resources.first else {
      Issue.record("\(decodeAll(text).findings)")
      return
    }
    let entry = service.http[0]
    #expect(
      entry.match[0].headers == [
        IstioNamedMatch("x-a", .present), IstioNamedMatch("b", .exact("")),
      ])
    #expect(entry.match[0].withoutHeaders == [IstioNamedMatch("c", .regex("*"))])
    #expect(entry.match[0].queryParams == [IstioNamedMatch("Q", .prefix("p"))])
    #expect(entry.match[0].ignoreUriCase && entry.match[0].port == 8080 && entry.match[0].gateways == ["x/g"])
    #expect(entry.route.map(\.weight) == [30, 70])
    #expect(entry.timeout == .milliseconds(1500))
    #expect(entry.rewrite?.authority == "a.b")
    #expect(entry.headers.response.add.map(\.name) == ["k"] && entry.headers.response.remove == ["w"])
  }
}

@Suite struct CoreTests {
  static let cases: [Case] = [
    Case(Base.service("{ports: [{port: 80}]}")),
    Case(Base.service("{}"), "spec.ports: needs at least one port"),
    Case(Base.service("{clusterIP: None}")),
    Case(Base.service("{type: ExternalName, externalName: localhost}")),
    Case(
      Base.service("{type: ExternalName}"), "spec.externalName: is required with the type ExternalName"),
    Case(
      Base.service("{ports: [{port: 80, name: a}, {port: 80, name: a}, {port: 81}]}"),
      "spec.ports[1].name: \"a\" is the name of an earlier port",
      "spec.ports[1].port: 80/TCP stands here twice",
      "spec.ports[2]: needs a name, because there are several ports"),
    Case(
      Base.service("{ports: [{port: 80, targetPort: true}]}"),
      "spec.ports[0].targetPort: must be a port number or the name of a port"),
    Case(
      "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: '%'}",
      "data.a: is not base64; plain text belongs into stringData"),
    Case(
      "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/tls\nstringData: {tls.crt: x}",
      "data: needs the key tls.key with the type kubernetes.io/tls"),
    Case("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ca}\ndata: {ca.crt: text}\nbinaryData: {b: AAE=}"),
    Case(
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ca}\ndata: {a: text}\nbinaryData: {a: AAE=}",
      "binaryData.a: stands in data as well"),
    Case(
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ca}\nbinaryData: {a: '!'}",
      "binaryData.a: is not base64; plain text belongs into data"),
    Case("apiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {a: b}}"),
    Case(
      "apiVersion: v1\nkind: Namespace\nmetadata: {name: Team}",
      "metadata.name: \"Team\" must be a name of lower-case "
        + "letters, digits, '-' and '.'"),
    Case(
      "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: e}\naddressType: IPv4\n"
        + "endpoints: [{addresses: ['::1']}]",
      "endpoints[0].addresses[0]: \"::1\" is not of the type IPv4",
      "warning: : has no label kubernetes.io/service-name; its endpoints belong to no Service"),
    Case(
      "apiVersion: v1\nkind: Pod\nmetadata: {name: p}",
      "kind: Pod (v1) is not a kind that is read; those are BackendTLSPolicy, ConfigMap, DestinationRule, "
        + "EndpointSlice, GRPCRoute, Gateway, GatewayClass, HTTPRoute, Namespace, ReferenceGrant, Secret, Service, "
        + "TCPRoute, TLSRoute, UDPRoute, VirtualService"),
    Case(
      "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: GRPCRoute\nmetadata: {name: p}",
      "kind: GRPCRoute is not known in apiVersion gateway.networking.k8s.io/v1alpha2; it is known in "
        + "gateway.networking.k8s.io/v1"),
    Case("kind: Service", "apiVersion: is required"),
    Case(
      "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: "
        + "r}\nspec: {from: [], "
        + "to: [{group: '', kind: Secret}]}",
      "spec.from: must have at least 1 element"),
    Case(
      "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: r}\nspec: "
        + "{controllerName: x}",
      "spec.controllerName: \"x\" must be a domain and a path, as sluice.dev/gateway-controller"),
  ]

  @Test(arguments: cases) func rule(_ test: Case) { test.check() }

  @Test func endpointSlice() throws {
    let text = """
      apiVersion: discovery.k8s.io/v1
      kind: EndpointSlice
      metadata: {name: e, labels: {kubernetes.io/service-name: s}}
      addressType: IPv4
      ports: [{name: http, port: 8009}]
      endpoints:
      - addresses: [10.0.0.1]
      - {addresses: [10.0.0.2], conditions: {ready: false, serving: true, terminating: true}, zone: z}
      """
    let result = decodeAll(text)
    guard case .endpointSlice(let slice)? = result.resources.first else {
      Issue.record("\(result.findings)")
      return
    }
    #expect(slice.serviceName == "s")
    #expect(slice.endpoints.map(\.ready) == [true, false])
    #expect(slice.endpoints.map(\.serving) == [true, true])
    #expect(slice.endpoints.map(\.terminating) == [false, true])
    #expect(slice.ports.map(\.port) == [8009])
  }

  @Test func secret() {
    let text = """
      apiVersion: v1
      kind: Secret
      metadata: {name: s, namespace: team}
      data: {a: aGVsbG8=, b: "aGk=\\n"}
      stringData: {a: other}
      """
    guard case .secret(let secret)? = decodeAll(text).resources.first else {
      Issue.record("\(decodeAll(text).findings)")
      return
    }
    #expect(secret.type == "Opaque")
    #expect(secret.data == ["a": Array("other".utf8), "b": Array("hi".utf8)])
    #expect(secret.metadata.namespace == "team")
  }

  @Test(arguments: [
    ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
    ("foobar", "Zm9vYmFy"),
  ])
  func base64(_ plain: String, _ coded: String) {
    #expect(Base64.encode(Array(plain.utf8)) == coded)
    #expect(Base64.decode(coded) == Array(plain.utf8))
  }

  @Test(arguments: ["Z", "Zg", "Zg=", "Zg===", "=Zg=", "Zg==Zg==", "Z-8=", "====", "Zm8=x"])
  func notBase64(_ text: String) { #expect(Base64.decode(text) == nil) }
}

@Suite struct ManifestTests {
  @Test func lists() {
    let text = """
      apiVersion: v1
      kind: List
      items:
      - {apiVersion: v1, kind: Namespace, metadata: {name: a}}
      - apiVersion: v1
        kind: NamespaceList
        items: [{metadata: {name: b}}]
      ---
      # nothing
      ---
      {apiVersion: v1, kind: Namespace, metadata: {name: c}}
      ---
      apiVersion: v1
      kind: List
      items: null
      """
    let result = decodeAll(text)
    #expect(result.findings == [])
    #expect(result.resources.map(\.metadata.name) == ["a", "b", "c"])
    #expect(result.resources[1].origin?.position == SourcePosition(line: 7, column: 11))
  }

  @Test(arguments: [
    ("[1]", "x:1:1: error: must be an object with apiVersion and kind, not a list"),
    ("kind: List\nitems: 3", "x:2:8: error: items: must be a list, not the number 3"),
    (
      "kind: List\nitems: [x]",
      "x:2:9: error: items[0]: must be an object with apiVersion and kind, not a string"
    ),
  ])
  func refused(_ text: String, _ expected: String) {
    #expect(Manifest(Array(text.utf8), file: "x").diagnostics.map(\.description) == [expected])
  }

  @Test func oneErrorLeavesTheOthers() {
    let result = decodeAll("\(Base.service("{}"))\n---\n\(Base.service("{clusterIP: None}"))", file: "a.yaml")
    #expect(result.resources.count == 1)
    #expect(result.findings == ["a.yaml:4:7: error: spec.ports: needs at least one port"])
  }

  @Test(arguments: ResourceKind.allCases)
  func servedVersions(_ kind: ResourceKind) {
    for version in kind.versions {
      #expect(ResourceKind(apiVersion: kind.apiVersion(version), kind: kind.kind) == kind)
    }
    #expect(ResourceKind(group: kind.group, plural: kind.plural) == kind)
    #expect(ResourceKind(group: kind.group, kind: kind.kind) == kind)
    #expect(ResourceKind.matching(kind.qualifiedName) == [kind] || kind.group.isEmpty)
    for name in kind.shortNames { #expect(ResourceKind.matching(name.uppercased()) == [kind]) }
  }

  @Test func wordsForKinds() {
    #expect(ResourceKind.matching("gateway") == [.gateway, .istioGateway])
    #expect(ResourceKind.matching("Gateways.networking.istio.io") == [.istioGateway])
    #expect(ResourceKind.matching("gateways.v1beta1.networking.istio.io") == [.istioGateway])
    #expect(ResourceKind.matching("httproute") == [.httpRoute])
    #expect(ResourceKind.matching("pods") == [])
  }

  @Test func selectors() {
    let text = Base.listeners(
      "{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: "
        + "{matchLabels: "
        + "{a: b}, matchExpressions: [{key: c, operator: NotIn, values: [d]}, {key: e, operator: Exists}]}}}}"
    )
    guard case .gateway(let gateway)? = decodeAll(text).resources.first,
      let selector = gateway.spec.listeners[0].allowedRoutes.namespaces.selector
    else {
      Issue.record("\(decodeAll(text).findings)")
      return
    }
    #expect(selector.matches(["a": "b", "e": ""]))
    #expect(!selector.matches(["a": "b"]))
    #expect(!selector.matches(["a": "b", "e": "", "c": "d"]))
    #expect(!selector.matches(["e": ""]))
  }
}

@Suite struct FieldSupportTests {
  /// An object that has what a pattern names and nothing else.
  private func object(_ pattern: String, _ kind: ResourceKind) -> Node {
    let halves = pattern.split(separator: "=")
    let leaf: Node = halves.count == 2 ? .string(String(halves[1].prefix { $0 != "|" })) : ["x": 1]
    let node = halves[0].split(separator: ".").reversed().reduce(leaf) { inner, step in
      step.hasSuffix("[]") ? [String(step.dropLast(2)): [inner]] : [String(step): inner]
    }
    var object = node
    object["apiVersion"] = .string(kind.apiVersion)
    object["kind"] = .string(kind.kind)
    object["metadata"] = ["name": "x"]
    return object
  }

  /// The list names only fields that the decoder knows, and finds each of them.
  @Test(arguments: ResourceKind.allCases)
  func listIsOfKnownFields(_ kind: ResourceKind) {
    for pattern in FieldSupport.list(of: kind) {
      let object = object(pattern, kind)
      let found = FieldSupport.unsupported(in: object, kind: kind)
      #expect(found.count == 1, "\(pattern)")
      guard let path = found.first?.path.description else { continue }
      let unknown = decodeResource(object).diagnostics.contains { diagnostic in
        diagnostic.message.hasPrefix("unknown field") && path.hasPrefix(diagnostic.path)
      }
      #expect(!unknown, "\(pattern)")
    }
  }

  @Test func names() throws {
    let text = Base.httpRoute(
      "{retry: {attempts: 2}, filters: [{type: CORS, cors: {}}, {type: ExternalAuth, externalAuth: "
        + "{protocol: GRPC, "
        + "grpc: {}, backendRef: {name: s, port: 1}}}], timeouts: {request: 1s}}")
    let object = try #require(Manifest(Array(text.utf8)).objects.first)
    let found = FieldSupport.unsupported(in: object, kind: .httpRoute)
    #expect(
      found.map(\.path.description) == [
        "spec.rules[0].retry", "spec.rules[0].filters[0].cors", "spec.rules[0].filters[1].externalAuth",
      ])
    #expect(found.map(\.failsClosed) == [false, false, true])
    #expect(
      found[0].diagnostic(file: "f").description
        == "f:4:24: warning: spec.rules[0].retry: is accepted, but not acted on yet; it has no effect")
  }

  @Test func whatSaysNothingIsLeftOut() throws {
    let text = Base.server(
      "{port: {number: 443, name: h, protocol: https}, hosts: [x], tls: {mode: SIMPLE, credentialName: c, "
        + "insecureSkipVerify: false, cipherSuites: [], caCrl: '', minProtocolVersion: TLSV1_2}}")
    let object = try #require(Manifest(Array(text.utf8)).objects.first)
    #expect(FieldSupport.unsupported(in: object, kind: .istioGateway) == [])
  }
}

@Suite struct StatusTests {
  @Test func gatewayStatusReadsBack() {
    let condition = Condition(
      "Accepted", .true, reason: "Accepted", message: "m", observedGeneration: 3,
      lastTransitionTime: "2026-01-01T00:00:00Z")
    let status = GatewayStatus(
      addresses: [GatewayAddress(type: "IPAddress", value: "127.0.0.1")], conditions: [condition],
      listeners: [
        ListenerStatus(
          name: "http", supportedKinds: [AllowedRoutes.RouteGroupKind(kind: "HTTPRoute")], attachedRoutes: 2,
          conditions: [condition])
      ])
    var object = Manifest(Array(Seed.gatewayAPI.utf8)).objects[0]
    object["status"] = status.node()
    guard case .gateway(let gateway)? = decodeResource(object).resource else {
      Issue.record("not read")
      return
    }
    #expect(gateway.status == status)
  }

  @Test func routeStatusReadsBack() {
    let status = RouteStatus(parents: [
      RouteParentStatus(
        parentRef: ParentReference(namespace: "n", name: "g", sectionName: "s", port: 80),
        controllerName: "a/b",
        conditions: [Condition("Accepted", .false, reason: "NoMatchingParent")])
    ])
    var object = Manifest(Array(Seed.gatewayAPI.utf8)).objects[1]
    object["status"] = status.node()
    guard case .httpRoute(let route)? = decodeResource(object).resource else {
      Issue.record("not read")
      return
    }
    #expect(route.status == status)
  }

  @Test func brokenStatusIsNoReasonToRefuse() {
    var object = Manifest(Array(Seed.gatewayAPI.utf8)).objects[1]
    object["status"] = ["parents": [["conditions": 3, "extra": "x"]], "more": 1]
    let result = decodeResource(object)
    #expect(result.resource != nil)
    #expect(result.diagnostics == [])
  }

  @Test func mergeKeepsTheTimeOfWhatDidNotChange() {
    let old = [
      Condition("A", .true, reason: "x", lastTransitionTime: "1"),
      Condition("B", .true, reason: "x", lastTransitionTime: "1"),
      Condition("Gone", .true, reason: "x", lastTransitionTime: "1"),
    ]
    let new = [
      Condition("A", .true, reason: "other"), Condition("B", .false, reason: "x"),
      Condition("C", .true, reason: "x"),
    ]
    let merged = Condition.merged(new, into: old, now: "2")
    #expect(merged.map(\.type) == ["A", "B", "C"])
    #expect(merged.map(\.lastTransitionTime) == ["1", "2", "2"])
    #expect(merged[0].reason == "other")
  }
}
