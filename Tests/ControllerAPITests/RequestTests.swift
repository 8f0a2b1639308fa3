import GatewayAPI
import HTTPTypes
import Hummingbird
import NIOCore
import Testing
import YAML

@testable import Controller

/// Requests through the routes without a network.
@Suite struct RequestTests {
  struct Answer {
    var code: Int
    var body: Node
    var warning: String?
  }

  let routes: APIRoutes

  init() async throws {
    let store = try ObjectStore(path: nil)
    try await store.seed()
    let credentials = Credentials(
      token: "t", certificate: try SelfSignedCertificate.make(commonName: "test", hosts: ["127.0.0.1"]))
    routes = APIRoutes(
      resources: ResourceEndpoints(store: store), credentials: credentials,
      portForward: PortForwardEndpoint(adminPath: "/nonexistent/admin.sock"), explain: { _, _ in nil })
  }

  func send(
    _ method: HTTPRequest.Method, _ path: String, _ body: String = "", type: String = "application/json",
    token: String = "t", accept: String = "application/json"
  ) async throws -> Answer {
    var head = HTTPRequest(method: method, scheme: nil, authority: nil, path: path)
    head.headerFields[.authorization] = "Bearer \(token)"
    head.headerFields[.contentType] = type
    head.headerFields[.accept] = accept
    let request = Request(head: head, body: RequestBody(buffer: ByteBuffer(string: body)))
    let response = await routes.respond(to: request)
    let bytes = Collected()
    try await response.body.write(Collector(bytes: bytes))
    let text = await bytes.text
    let warning = HTTPField.Name("warning").flatMap { response.headers[$0] }
    return Answer(
      code: Int(response.status.code), body: YAML.parse(text).documents.first ?? .null, warning: warning)
  }

  actor Collected {
    var text = ""
    func add(_ buffer: ByteBuffer) { text += String(buffer: buffer) }
  }

  struct Collector: ResponseBodyWriter {
    let bytes: Collected
    mutating func write(_ buffer: ByteBuffer) async throws { await bytes.add(buffer) }
    consuming func finish(_ trailingHeaders: HTTPFields?) async throws {}
  }

  static let routesPath = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"
  static let route = """
    {apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: shop, labels: {tier: web}},
     spec: {parentRefs: [{name: gw}]}}
    """

  @Test func withoutTheTokenNothingIsTold() async throws {
    #expect(try await send(.get, "/apis", token: "x").code == 401)
    #expect(try await send(.get, "/nowhere", token: "x").code == 401)
    #expect(try await send(.get, "/readyz", token: "x").code == 200)
  }

  @Test func createReadUpdateDelete() async throws {
    let created = try await send(.post, Self.routesPath, Self.route, type: "application/yaml")
    #expect(created.code == 201)
    #expect(try await send(.post, Self.routesPath, Self.route, type: "application/yaml").code == 409)
    let path = Self.routesPath + "/shop"
    var object = try await send(.get, path).body
    object["spec"]?["hostnames"] = ["a.example"]
    let updated = try await send(.put, path, JSON.write(object))
    #expect(updated.code == 200)
    #expect(updated.body["metadata"]?["generation"]?.int == 2)
    // The same again carries an old resource version.
    object["spec"]?["hostnames"] = ["b.example"]
    let stale = try await send(.put, path, JSON.write(object))
    #expect(stale.code == 409)
    #expect(stale.body["reason"]?.string == "Conflict")
    #expect(try await send(.delete, path).code == 200)
    let gone = try await send(.get, path)
    #expect(gone.code == 404)
    #expect(gone.body["details"]?["kind"]?.string == "httproutes")
  }

  @Test func unknownFieldsAreWarnedOfOrRefused() async throws {
    let odd = Self.route.replacing("parentRefs", with: "parentRef: 1, parentRefs")
    let strict = try await send(
      .post, Self.routesPath + "?fieldValidation=Strict", odd, type: "application/yaml")
    #expect(strict.code == 400)
    #expect(strict.body["message"]?.string == "strict decoding error: unknown field \"spec.parentRef\"")
    let lenient = try await send(.post, Self.routesPath, odd, type: "application/yaml")
    #expect(lenient.code == 201)
    #expect(lenient.warning?.contains("spec.parentRef") == true)
  }

  @Test func listsAreSelected() async throws {
    _ = try await send(.post, Self.routesPath, Self.route, type: "application/yaml")
    for (query, count) in [
      ("", 1), ("?labelSelector=tier%3Dweb", 1), ("?labelSelector=tier+notin+(web)", 0),
      ("?labelSelector=!tier", 0), ("?fieldSelector=metadata.name%3Dother", 0),
    ] {
      let list = try await send(.get, Self.routesPath + query)
      #expect(list.body["items"]?.sequence?.count == count, "\(query)")
    }
    #expect(try await send(.get, Self.routesPath + "?fieldSelector=spec.x%3D1").code == 400)
  }

  @Test func everyVersionShowsItself() async throws {
    _ = try await send(.post, Self.routesPath, Self.route, type: "application/yaml")
    let path = "/apis/gateway.networking.k8s.io/v1beta1/namespaces/default/httproutes"
    let list = try await send(.get, path)
    #expect(list.body["items"]?[0]?["apiVersion"]?.string == "gateway.networking.k8s.io/v1beta1")
  }

  @Test func tablesHaveTheKindsColumns() async throws {
    _ = try await send(.post, Self.routesPath, Self.route, type: "application/yaml")
    let table = try await send(
      .get, Self.routesPath, accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    #expect(table.body["kind"]?.string == "Table")
    let names = table.body["columnDefinitions"]?.sequence?.compactMap { $0["name"]?.string }
    #expect(names == ["Name", "Hostnames", "Accepted", "Resolved", "Age", "Parents"])
  }

  @Test func dryRunChangesNothing() async throws {
    let answer = try await send(.post, Self.routesPath + "?dryRun=All", Self.route, type: "application/yaml")
    #expect(answer.code == 201)
    #expect(try await send(.get, Self.routesPath + "/shop").code == 404)
  }

  @Test func portForwardNeedsADataPlane() async throws {
    let gateway = """
      {apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: gw},
       spec: {gatewayClassName: sluice, listeners: [{name: http, port: 80, protocol: HTTP}]}}
      """
    let path = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways"
    _ = try await send(.post, path, gateway, type: "application/yaml")
    #expect(try await send(.post, path + "/none/portforward?port=80").code == 404)
    #expect(try await send(.post, path + "/gw/portforward?port=0").code == 400)
    #expect(try await send(.post, path + "/gw/portforward?port=80").code == 503)
  }

  @Test func discoveryNamesEveryKindOnce() async throws {
    var found: [String] = []
    for group in [""] + Discovery.groups {
      let version = Discovery.versions(of: group)[0]
      let path = group.isEmpty ? "/api/\(version)" : "/apis/\(group)/\(version)"
      let resources = try await send(.get, path).body["resources"]?.sequence ?? []
      found += resources.compactMap { $0["name"]?.string }.filter { !$0.contains("/") }.map {
        "\(group)/\($0)"
      }
    }
    #expect(found.sorted() == ResourceKind.allCases.map { "\($0.group)/\($0.plural)" }.sorted())
  }

  @Test func kubectlsProtobufIsRead() throws {
    func field(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
      [number << 3 | 2, UInt8(content.count)] + content
    }
    let data = field(1, Array("tls.key".utf8)) + field(2, [1, 2, 3])
    let secret = field(1, field(1, Array("s".utf8))) + field(2, data) + field(3, Array("Opaque".utf8))
    let type = field(1, Array("v1".utf8)) + field(2, Array("Secret".utf8))
    let body: [UInt8] = [0x6B, 0x38, 0x73, 0x00] + field(1, type) + field(2, secret)
    let node = try KubernetesProtobuf.node(body)
    #expect(node["metadata"]?["name"]?.string == "s")
    #expect(node["data"]?["tls.key"]?.string == "AQID")
    for count in 4..<body.count {
      // A part of a message is refused or read as a smaller one; never a trap.
      _ = try? KubernetesProtobuf.node(Array(body[..<count]))
    }
  }
}
