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
