import GatewayAPI
import RoutingTable
import Testing
import YAML

@testable import Controller

/// Random routes and requests: the compiled order must choose what a matcher chooses that follows the text of
/// the specification (HTTPRouteSpec.hostnames, HTTPRouteRule.matches) and sorts nothing beforehand.
@Suite struct PrecedenceTests {
  struct Random: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state >> 33) ^ (state << 31)
    }
  }

  struct Request {
    var host: String
    var path: String
    var method: String
    var headers: [String: String]
    var query: [String: String]
  }

  struct SpecMatch {
    var isExact: Bool
    var path: String
    var method: String?
    var headers: [String: String]
    var query: [String: String]

    func holds(_ request: Request) -> Bool {
      let pathHolds =
        isExact
        ? request.path == path
        : path == "/" || request.path == path || request.path.hasPrefix(path + "/")
      return pathHolds && (method == nil || method == request.method)
        && headers.allSatisfy { request.headers[$0.key] == $0.value }
        && query.allSatisfy { request.query[$0.key] == $0.value }
    }
  }

  struct SpecRoute {
    var name: String
    var created: Int
    var hosts: [String]
    var rules: [[SpecMatch]]
  }

  /// The specification's order between two matching (route, host, rule, match), read from top to bottom.
  static func wins(
    _ a: (route: SpecRoute, host: String, rule: Int, match: SpecMatch, index: Int),
    _ b: (route: SpecRoute, host: String, rule: Int, match: SpecMatch, index: Int)
  ) -> Bool {
    let exactA = a.host.hasPrefix("*") ? 0 : a.host.count
    let exactB = b.host.hasPrefix("*") ? 0 : b.host.count
    if exactA != exactB { return exactA > exactB }
    if a.host.count != b.host.count { return a.host.count > b.host.count }
    if a.match.isExact != b.match.isExact { return a.match.isExact }
    if a.match.path.count != b.match.path.count { return a.match.path.count > b.match.path.count }
    if (a.match.method != nil) != (b.match.method != nil) { return a.match.method != nil }
    if a.match.headers.count != b.match.headers.count { return a.match.headers.count > b.match.headers.count }
    if a.match.query.count != b.match.query.count { return a.match.query.count > b.match.query.count }
    if a.route.created != b.route.created { return a.route.created < b.route.created }
    if a.route.name != b.route.name { return a.route.name < b.route.name }
    return (a.rule, a.index) < (b.rule, b.index)
  }

  static func oracle(_ routes: [SpecRoute], _ request: Request) -> String? {
    var best: (route: SpecRoute, host: String, rule: Int, match: SpecMatch, index: Int)?
    for route in routes {
      for host in route.hosts.isEmpty ? [""] : route.hosts {
        let matches =
          host.isEmpty || host == request.host
          || (host.hasPrefix("*.") && request.host.hasSuffix(host.dropFirst()))
        if !matches { continue }
        for (number, rule) in route.rules.enumerated() {
          for (index, match) in rule.enumerated() where match.holds(request) {
            let candidate = (route: route, host: host, rule: number, match: match, index: index)
            if best.map({ wins(candidate, $0) }) ?? true { best = candidate }
          }
        }
      }
    }
    return best.map { "\($0.route.name) rule \($0.rule)" }
  }

  static func yaml(_ route: SpecRoute) -> String {
    var text = """
      apiVersion: gateway.networking.k8s.io/v1
      kind: HTTPRoute
      metadata: {name: \(route.name), creationTimestamp: "2026-01-0\(route.created)T00:00:00Z"}
      spec:
        parentRefs: [{name: web}]
        hostnames: [\(route.hosts.map { "\"\($0)\"" }.joined(separator: ", "))]
        rules:

      """
    for rule in route.rules {
      text += "  - backendRefs: [{name: shop, port: 80}]\n    matches:\n"
      for match in rule {
        text += "    - path: {type: \(match.isExact ? "Exact" : "PathPrefix"), value: \(match.path)}\n"
        if let method = match.method { text += "      method: \(method)\n" }
        let values = { (list: [String: String]) in
          list.sorted { $0.key < $1.key }.map { "{name: \($0.key), value: \"\($0.value)\"}" }.joined(
            separator: ", ")
        }
        if !match.headers.isEmpty { text += "      headers: [\(values(match.headers))]\n" }
        if !match.query.isEmpty { text += "      queryParams: [\(values(match.query))]\n" }
      }
    }
    return text
  }

  static let hosts = [
    "a.example.org", "b.a.example.org", "*.example.org", "*.a.example.org", "c.example.net",
  ]
  static let paths = ["/", "/a", "/a/b", "/ab", "/b"]

  static func routes(_ random: inout Random) -> [SpecRoute] {
    (0..<Int.random(in: 1...5, using: &random)).map { number in
      let rules = (0..<Int.random(in: 1...3, using: &random)).map { _ in
        (0..<Int.random(in: 1...3, using: &random)).map { _ in
          SpecMatch(
            isExact: Int.random(in: 0..<3, using: &random) == 0,
            path: paths.randomElement(using: &random) ?? "/",
            method: [nil, nil, "GET", "POST"].randomElement(using: &random) ?? nil,
            headers: Int.random(in: 0..<3, using: &random) == 0 ? ["x-a": "1"] : [:],
            query: Int.random(in: 0..<3, using: &random) == 0 ? ["q": "1"] : [:])
        }
      }
      return SpecRoute(
        name: "r\(number)", created: Int.random(in: 1...3, using: &random),
        hosts: Array(hosts.shuffled(using: &random).prefix(Int.random(in: 0...2, using: &random))),
        rules: rules)
    }
  }

  @Test(arguments: 0..<60) func agreesWithTheSpecification(seed: UInt64) throws {
    var random = Random(state: seed &* 7919 &+ 17)
    let routes = Self.routes(&random)
    let gateway = """
      apiVersion: gateway.networking.k8s.io/v1
      kind: Gateway
      metadata: {name: web}
      spec:
        gatewayClassName: sluice
        listeners: [{name: http, port: 80, protocol: HTTP}]

      """
    let text = ([gateway] + routes.map(Self.yaml)).joined(separator: "---\n")
    var memory = BuildMemory()
    let graph = Graph.build(
      try GoldenCase.store(Array(text.utf8), file: "f"), ControllerOptions(), memory: &memory)
    let table = TableCompiler.table(
      graph.model, revision: 1, bindAddress: "", portMap: [:], endpoints: { _ in [] })
    let image = try LoadedImage(RoutingTable.compile(table))
    for _ in 0..<50 {
      let request = Request(
        host: (Self.hosts + ["x.example.org", "y.x.a.example.org", "z.org"]).map {
          $0.hasPrefix("*.") ? "w" + $0.dropFirst() : $0
        }.randomElement(using: &random) ?? "z.org",
        path: (Self.paths + ["/a/b/c", "/abc", "/c"]).randomElement(using: &random) ?? "/",
        method: ["GET", "POST", "PUT"].randomElement(using: &random) ?? "GET",
        headers: Bool.random(using: &random) ? ["x-a": "1"] : [:],
        query: Bool.random(using: &random) ? ["q": "1"] : [:])
      let answer = image.withImage { view in
        view.explain(
          socket: 0,
          ExplainRequest(
            method: request.method, authority: request.host,
            target: request.path + (request.query.isEmpty ? "" : "?q=1"),
            headers: request.headers.map { (name: $0.key, value: $0.value) }))
      }
      let chosen = answer.match.map {
        String($0.rule.dropFirst("HTTPRoute default/".count).prefix { $0 != "(" })
      }
      #expect(
        chosen?.trimmingCharacters == Self.oracle(routes, request), "seed \(seed): \(request) of \(routes)")
    }
  }
}

extension String {
  fileprivate var trimmingCharacters: String { hasSuffix(" ") ? String(dropLast()) : self }
}
