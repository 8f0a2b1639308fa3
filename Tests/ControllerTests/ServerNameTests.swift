import RoutingTable
import Testing
import YAML

@testable import Controller

/// Random VirtualServices with routes of `tls`: the compiled names must lead where a matcher leads that walks the lists
/// as they are written. In one list the first that matches wins; between lists the most specific name, then the oldest.
@Suite struct ServerNameTests {
  struct Match {
    var names: [String]
    var port: Int?
  }

  /// A VirtualService; its index is its age.
  typealias List = [[Match]]

  static let names = ["a.test", "b.a.test", "c.b.a.test", "*.test", "*.a.test", "*.b.a.test", "*"]
  static let asked = ["a.test", "b.a.test", "c.b.a.test", "x.test", "x.a.test", "x.b.a.test", "y.x.b.a.test", "a.net"]
  /// Port → the host of its only server.
  static let servers = [443: "*", 444: "*.a.test"]

  static func covers(_ pattern: String, _ name: String) -> Bool {
    pattern == "*" || pattern == name || (pattern.hasPrefix("*.") && name.hasSuffix(pattern.dropFirst()))
  }

  static func specificity(_ pattern: String) -> Int {
    pattern == "*" ? 0 : pattern.hasPrefix("*") ? pattern.count : 1000
  }

  /// `v1 tls[0]`, or nil where nobody is to be led to.
  static func oracle(_ lists: [List], _ name: String, _ port: Int) -> String? {
    guard covers(servers[port] ?? "", name) else { return nil }
    var best: (text: String, specificity: Int)?
    for (age, list) in lists.enumerated() {
      for (index, matches) in list.enumerated() {
        let holding = matches.filter { $0.port == nil || $0.port == port }
          .flatMap(\.names).filter { covers($0, name) }
        guard let own = holding.map(specificity).max() else { continue }
        if own > best?.specificity ?? -1 { best = ("v\(age) tls[\(index)]", own) }
        break
      }
    }
    return best?.text
  }

  static func lists(_ random: inout PrecedenceTests.Random) -> [List] {
    (0..<Int.random(in: 1...4, using: &random)).map { _ in
      (0..<Int.random(in: 1...4, using: &random)).map { _ in
        (0..<Int.random(in: 1...2, using: &random)).map { _ in
          Match(
            names: Array(names.shuffled(using: &random).prefix(Int.random(in: 1...2, using: &random))),
            port: [nil, nil, 443, 444].randomElement(using: &random) ?? nil)
        }
      }
    }
  }

  static func yaml(_ lists: [List]) -> String {
    var text = """
      apiVersion: networking.istio.io/v1
      kind: Gateway
      metadata: {name: edge}
      spec:
        servers:

      """
    for (port, host) in servers.sorted(by: { $0.key < $1.key }) {
      text +=
        "  - {port: {number: \(port), name: p\(port), protocol: TLS}, hosts: [\"\(host)\"], tls: {mode: PASSTHROUGH}}\n"
    }
    for (age, list) in lists.enumerated() {
      text += """
        ---
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {name: v\(age), creationTimestamp: "2026-01-0\(age + 1)T00:00:00Z"}
        spec:
          hosts: ["*"]
          gateways: [edge]
          tls:

        """
      for matches in list {
        let parts = matches.map { match in
          let names = match.names.map { "\"\($0)\"" }.joined(separator: ", ")
          return "{sniHosts: [\(names)]\(match.port.map { ", port: \($0)" } ?? "")}"
        }
        text += "  - {match: [\(parts.joined(separator: ", "))], route: [{destination: {host: shop}}]}\n"
      }
    }
    return text
  }

  @Test(arguments: 0..<60) func agreesWithTheLists(seed: UInt64) throws {
    var random = PrecedenceTests.Random(state: seed &* 6007 &+ 29)
    let lists = Self.lists(&random)
    var memory = BuildMemory()
    let store = try GoldenCase.store(Array(Self.yaml(lists).utf8), file: "f")
    let graph = Graph.build(store, ControllerOptions(), memory: &memory)
    let table = TableCompiler.table(
      graph.model, revision: 1, bindAddress: "", portMap: [:], endpoints: { _ in [] })
    let image = try LoadedImage(RoutingTable.compile(table))
    for (socket, port) in table.sockets.map(\.port).enumerated() {
      for name in Self.asked {
        let found = image.withImage { $0.explain(socket: socket, ExplainConnection(.tls, serverName: name)) }
        let rule = found.match.map { String($0.rule.dropFirst("VirtualService default/".count).prefix { $0 != "(" }) }
        let wanted = Self.oracle(lists, name, Int(port))
        #expect(rule.map { $0.hasSuffix(" ") ? String($0.dropLast()) : $0 } == wanted, "\(name):\(port) of \(lists)")
      }
    }
  }
}
