import HTTPSemantics
import Testing

@testable import RoutingTable

struct ExplainTests {
  private static let source = TableSource(
    revision: 7,
    sockets: [
      SocketSource(
        port: 80, bindPort: 8080,
        listeners: [
          ListenerSource(
            name: "default/gateway/http", hostname: "*.example.com",
            virtualHosts: [
              VirtualHostSource(
                pattern: "www.example.com",
                entries: [
                  EntrySource(
                    path: .segmentPrefix("/api"), method: "POST",
                    headers: [ValueMatch(name: "X-User", test: .exact("alice"))],
                    queryParameters: [ValueMatch(name: "q", test: .regex("[0-9]+"))], rule: 0),
                  EntrySource(path: .segmentPrefix("/api"), rule: 1),
                  EntrySource(path: .exact("/old"), rule: 2),
                ])
            ])
        ])
    ],
    backends: [
      BackendSource(id: "default/web:80", endpoints: [EndpointSource(address: "10.0.0.1", port: 8009)])
    ],
    rules: [
      RuleSource(provenance: "HTTPRoute default/one rule 0", action: .forward([])),
      RuleSource(
        provenance: "HTTPRoute default/two rule 0",
        action: .forward([WeightedBackend(backend: 0), WeightedBackend(backend: nil, weight: 3)]),
        requestHeaders: [HeaderOperation(.set, "X-A", "1"), HeaderOperation(.remove, "x-b")],
        rewrite: RewriteSource(host: "inner", path: .replaceSegmentPrefix("/"))),
      RuleSource(
        provenance: "HTTPRoute default/three rule 0",
        action: .redirect(RedirectSource(scheme: "https", status: 301))),
    ])

  private func explain(_ request: ExplainRequest) throws -> Explanation {
    try LoadedImage(Self.source).withImage { $0.explain(socket: 0, request) }
  }

  @Test func namesWinnerAndWhyOthersWerePassedOver() throws {
    let explanation = try explain(
      ExplainRequest(
        authority: "www.example.com", target: "/api/x?q=a%20b&q=1", headers: [("x-user", "bob")]))
    #expect(explanation.outcome == .matched)
    #expect(explanation.socket == "*:80")
    #expect(explanation.listener == "default/gateway/http")
    #expect(explanation.listenerHostname == "*.example.com")
    #expect(explanation.virtualHost == "www.example.com")
    #expect(explanation.pathNode == "/api")
    let match = try #require(explanation.match)
    #expect(match.position == 1 && match.rule == "HTTPRoute default/two rule 0")
    #expect(match.matcher == "prefix /api")
    #expect(match.rewrittenTarget == "/x?q=a%20b&q=1" && match.rewrittenHost == "inner")
    #expect(match.requestHeaders == ["set x-a: 1", "remove x-b"])
    let endpoint = Explanation.Endpoint(
      address: "10.0.0.1", port: 8009, weight: 1, isReady: true, isTerminating: false)
    #expect(
      match.action
        == .forward([
          Explanation.Backend(
            id: "default/web:80", weight: 1, totalWeight: 4, proto: .automatic, endpoints: [endpoint]),
          Explanation.Backend(id: nil, weight: 3, totalWeight: 4, proto: nil, endpoints: []),
        ]))
    #expect(explanation.passedOver.count == 1)
    let passed = try #require(explanation.passedOver.first)
    #expect(passed.rule == "HTTPRoute default/one rule 0")
    #expect(
      passed.matcher
        == #"prefix /api, method POST, header x-user "alice", query parameter q regex [0-9]+"#)
    #expect(
      passed.failures == [
        Explanation.Failure(predicate: "method", wanted: "POST", got: "GET"),
        Explanation.Failure(predicate: "header x-user", wanted: #""alice""#, got: #""bob""#),
        Explanation.Failure(predicate: "query parameter q", wanted: "regex [0-9]+", got: #""a b""#),
      ])
  }

  @Test func saysWhatAPathWouldHaveHadToBe() throws {
    let explanation = try explain(ExplainRequest(authority: "www.example.com", target: "/older"))
    #expect(explanation.outcome == .noRoute)
    #expect(explanation.passedOver.isEmpty)
    #expect(explanation.otherPaths.count == 3)
    #expect(
      explanation.otherPaths.last?.failures == [
        Explanation.Failure(predicate: "path", wanted: "exact /old", got: "/older")
      ])
  }

  // MARK: below HTTP

  private static func plain(
    _ name: String, _ hostname: String, _ proto: ListenerProtocol, _ names: [String: Int] = [:]
  ) -> ListenerSource {
    ListenerSource(
      name: name, hostname: hostname,
      virtualHosts: names.sorted { $0.key < $1.key }.map {
        VirtualHostSource(pattern: $0.key, entries: [EntrySource(rule: $0.value)])
      }, proto: proto)
  }

  private static let connections = TableSource(
    sockets: [
      SocketSource(
        port: 443, kind: .https,
        listeners: [
          plain("pass", "*.example.com", .tlsPassthrough, ["a.example.com": 0, "*.example.com": 1]),
          plain("web", "web.example.com", .http), plain("bytes", "bytes.test", .tcp, ["*": 2]),
          plain("bare", "bare.test", .tcp),
        ], proxyProtocol: [NetworkSource("10.0.0.0/8")]),
      SocketSource(port: 3306, kind: .tcp, listeners: [plain("mysql", "", .tcp, ["*": 2])]),
      SocketSource(port: 53, kind: .udp, listeners: [plain("dns", "", .udp, ["*": 3])]),
      SocketSource(port: 80, kind: .http, listeners: [plain("http", "", .http)]),
    ],
    backends: [
      BackendSource(id: "default/db:1/tcp", endpoints: [EndpointSource(address: "10.0.0.1", port: 1)])
    ],
    rules: ["named", "wild", "every", "udp"].map {
      RuleSource(provenance: $0, action: .forward([WeightedBackend(backend: 0)]))
    })

  private func explain(_ socket: Int, _ transport: ExplainConnection.Transport, _ name: String = "") throws
    -> Explanation
  {
    try LoadedImage(Self.connections).withImage {
      $0.explain(socket: socket, .connection(ExplainConnection(transport, serverName: name)))
    }
  }

  struct Connection: Sendable {
    var socket: Int
    var transport: ExplainConnection.Transport
    var name = ""
    var outcome: Explanation.Outcome
    var listener: String?
    var rule: String?
  }

  @Test(arguments: [
    Connection(socket: 0, transport: .tls, name: "A.example.com", outcome: .matched, listener: "pass", rule: "named"),
    Connection(socket: 0, transport: .tls, name: "x.y.example.com", outcome: .matched, listener: "pass", rule: "wild"),
    Connection(socket: 0, transport: .tls, name: "web.example.com", outcome: .requests, listener: "web"),
    Connection(socket: 0, transport: .tls, name: "bytes.test", outcome: .matched, listener: "bytes", rule: "every"),
    Connection(socket: 0, transport: .tls, name: "bare.test", outcome: .noHost, listener: "bare"),
    Connection(socket: 0, transport: .tls, name: "example.com", outcome: .noListener),
    Connection(socket: 0, transport: .tls, outcome: .noListener),
    Connection(socket: 0, transport: .tcp, outcome: .otherProtocol),
    Connection(socket: 1, transport: .tcp, outcome: .matched, listener: "mysql", rule: "every"),
    Connection(socket: 1, transport: .tls, name: "x", outcome: .matched, listener: "mysql", rule: "every"),
    Connection(socket: 2, transport: .udp, outcome: .matched, listener: "dns", rule: "udp"),
    Connection(socket: 3, transport: .tls, name: "x", outcome: .otherProtocol),
    Connection(socket: 3, transport: .tcp, outcome: .otherProtocol),
  ])
  func connections(_ wanted: Connection) throws {
    let found = try explain(wanted.socket, wanted.transport, wanted.name)
    #expect(found.outcome == wanted.outcome)
    #expect(found.listener == wanted.listener)
    #expect(found.match?.rule == wanted.rule)
    #expect(found.expectsProxyProtocol == (wanted.socket == 0))
    guard wanted.rule != nil else { return }
    guard case .forward(let backends)? = found.match?.action else {
      Issue.record("not forwarded")
      return
    }
    #expect(backends.map(\.id) == ["default/db:1/tcp"] && backends[0].endpoints.map(\.address) == ["10.0.0.1"])
  }

  @Test func otherNamesAndListenersAreNamed() throws {
    let found = try explain(0, .tls, "a.example.com")
    #expect(found.match?.matcher == "server name a.example.com" && found.serves == .tlsPassthrough)
    #expect(
      found.passedOver.map(\.matcher) == [
        "server name *.example.com", "listener web, server name web.example.com",
        "listener bytes, server name bytes.test",
        "listener bare, server name bare.test",
      ])
    #expect(found.passedOver.map(\.rule) == ["wild", "", "", ""])
    #expect(
      found.passedOver[0].failures == [
        Explanation.Failure(
          predicate: "precedence", wanted: "the most specific name", got: "*.example.com, after a.example.com")
      ])
    #expect(
      found.passedOver[1].failures == [
        Explanation.Failure(predicate: "server name", wanted: "web.example.com", got: "a.example.com")
      ])
    let web = try explain(0, .tls, "web.example.com")
    #expect(web.passedOver.first?.failures.first?.got == "*.example.com, after web.example.com")
  }

  /// A request whose connection goes elsewhere whole.
  @Test func requestsOverConnections() throws {
    try LoadedImage(Self.connections).withImage { image in
      func explain(_ socket: Int, _ authority: String) -> Explanation {
        image.explain(socket: socket, ExplainRequest(scheme: "https", authority: authority, target: "/"))
      }
      #expect(explain(0, "a.example.com:443").match?.rule == "named")
      #expect(explain(0, "bytes.test").serves == .tcp)
      #expect(explain(0, "web.example.com").outcome == .noHost)
      #expect(explain(1, "anything").match?.rule == "every")
      #expect(explain(0, "[::1]:443").outcome == .noListener)
    }
  }

  @Test func redirectsAndHostsAreNamed() throws {
    let redirect = try explain(ExplainRequest(authority: "www.example.com:8080", target: "/old?x"))
    #expect(redirect.match?.action == .redirect(status: 301, location: "https://www.example.com/old?x"))
    let host = try explain(ExplainRequest(authority: "api.example.com", target: "/"))
    #expect(host.outcome == .noHost && host.knownHosts == ["www.example.com"])
    let listener = try explain(ExplainRequest(authority: "example.org", target: "/"))
    #expect(listener.outcome == .noListener && listener.knownHosts == ["*.example.com"])
    #expect(try explain(ExplainRequest(authority: "a b", target: "/")).outcome == .badAuthority)
  }
}
