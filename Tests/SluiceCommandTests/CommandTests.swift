import GatewayAPI
import Testing
import YAML

@testable import sluice

@Suite struct CommandTests {
  @Test func restartsSlowDownAndRecover() {
    var policy = RestartPolicy()
    let delays = (0..<8).map { _ in policy.ended(ranFor: .seconds(1)) }
    #expect(delays.prefix(3) == [.milliseconds(200), .milliseconds(400), .milliseconds(800)])
    #expect(delays.last == RestartPolicy.longestDelay)
    #expect(policy.ended(ranFor: .seconds(60)) == .milliseconds(200))
  }

  @Test func outputIsCutIntoLines() {
    var splitter = LineSplitter(prefix: "x")
    #expect(splitter.add(Array("one\ntw".utf8)) == ["x | one"])
    #expect(splitter.add(Array("o\n\n".utf8)) == ["x | two", "x | "])
    let long = splitter.add([UInt8](repeating: 65, count: LineSplitter.longestLine + 1))
    #expect(long.count == 1)
  }

  @Test(arguments: [
    (["gateway/a"], "a"), (["gateways", "a"], "a"), (["gtw"], nil), (["Gateway"], nil),
  ])
  func targets(_ words: [String], _ name: String?) throws {
    let target = try Target(words)
    #expect(target.kinds.first == .gateway)
    #expect(target.name == name)
  }

  @Test(arguments: [["nothing"], ["gateway/"], ["gateway/a", "b"], ["gateway", "a", "b"]])
  func targetsRefused(_ words: [String]) {
    #expect(throws: CommandError.self) { try Target(words) }
  }

  @Test func ports() throws {
    #expect(try PortForwardCommand.Ports("8080:80").local == 8080)
    #expect(try PortForwardCommand.Ports(":80").local == 0)
    #expect(try PortForwardCommand.Ports("80").listener == 80)
    for text in ["x:80", "80:", "80:0", "1:2:3", "70000:80"] {
      #expect(throws: CommandError.self, "\(text)") { try PortForwardCommand.Ports(text) }
    }
  }

  @Test func questions() throws {
    let question = try ExplainCommand.question(
      method: "POST", headers: ["X-Team: blue", "Host: a.example"], url: "https://h.example:8443/p?q=1#f")
    #expect(question["authority"]?.string == "a.example")
    #expect(question["port"]?.int == 8443)
    #expect(question["target"]?.string == "/p?q=1")
    #expect(question["headers"] == [["name": "x-team", "value": "blue"]])
    #expect(try ExplainCommand.question(method: "GET", headers: [], url: "h?x")["target"]?.string == "/?x")
    #expect(throws: CommandError.self) {
      try ExplainCommand.question(method: "GET", headers: ["bad"], url: "http://h/")
    }
  }

  @Test(arguments: [
    ("tls://db.example:5432", "db.example", 5432), ("tls://db.example/", "db.example", 443), ("tls://:444", "", 444),
    ("tls://[::1]:444", "", 444), ("tcp://:3306", "", 3306), ("udp://anything:53", "", 53),
  ])
  func questionsBelowHTTP(_ url: String, _ name: String, _ port: Int) throws {
    let question = try ExplainCommand.question(method: "GET", headers: [], url: url)
    #expect(question["scheme"]?.string == String(url.prefix(3)))
    #expect(question["authority"]?.string == name && question["port"]?.int == Int64(port))
  }

  @Test(arguments: ["tcp://", "udp://h", "tls://h:0", "tls://h:x", "tls://h/p", "tcp://u@h:1", "ws://h:1"])
  func questionsRefused(_ url: String) {
    #expect(throws: CommandError.self) { try ExplainCommand.question(method: "GET", headers: [], url: url) }
    #expect(throws: CommandError.self) {
      try ExplainCommand.question(method: "POST", headers: [], url: "tls://h:1")
    }
  }

  @Test func tablesAlign() {
    var table = TextTable(header: ["A", "B"])
    table.rows = [["long", "x"], ["s", ""]]
    #expect(table.lines() == ["A      B", "long   x", "s"])
  }

  @Test func conditionsOfAnOlderGenerationDoNotCount() {
    func object(observed: Int64, status: String) -> Node {
      [
        "metadata": ["generation": 2],
        "status": [
          "conditions": [
            ["type": "Programmed", "status": .string(status), "observedGeneration": .int(observed)]
          ]
        ],
      ]
    }
    func lacks(_ node: Node) -> String? { WaitCommand.lacks(node, type: "Programmed", status: "True") }
    #expect(lacks(object(observed: 2, status: "True")) == nil)
    #expect(lacks(object(observed: 1, status: "True")) != nil)
    #expect(lacks(object(observed: 2, status: "False")) != nil)
    #expect(lacks(["metadata": [:]]) != nil)
  }

  @Test func warningsAreUnquoted() {
    #expect(APIClient.warningText("299 - \"a \\\"b\\\"\"") == "a \"b\"")
    #expect(APIClient.warningText("odd") == "odd")
  }

  @Test func inputIsCheckedAndOrdered() {
    var input = Input()
    let text = """
      apiVersion: gateway.networking.k8s.io/v1
      kind: HTTPRoute
      metadata: {name: r}
      spec: {parentRefs: [{name: g}]}
      ---
      apiVersion: v1
      kind: Namespace
      metadata: {name: team}
      """
    input.add(Array(text.utf8), file: "a.yaml", "team")
    #expect(input.inOrder.map(\.key.kind) == [.namespace, .httpRoute])
    #expect(input.objects[0].key.namespace == "team")
    input.add(Array("apiVersion: v1\nkind: Secret\nmetadata: {name: 7}\n".utf8), file: "b.yaml", "team")
    #expect(input.hasErrors)
    #expect(input.diagnostics.last?.description.hasPrefix("b.yaml:3:") == true)
  }

  @Test func kubeconfigs() throws {
    let text = """
      current-context: c
      contexts: [{name: c, context: {cluster: k, user: u, namespace: ns}}]
      clusters: [{name: k, cluster: {server: "https://h:1/", certificate-authority-data: QQ==}}]
      users: [{name: u, user: {token: t}}]
      """
    let config = try Kubeconfig.parse(Array(text.utf8), file: "k")
    #expect(config == Kubeconfig(server: "https://h:1", authority: [65], token: "t", namespace: "ns"))
    #expect(throws: CommandError.self) { try Kubeconfig.parse(Array("a: 1".utf8), file: "k") }
  }
}
