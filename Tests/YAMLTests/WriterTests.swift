import Testing
import YAML

@Suite struct WriterTests {
  static let samples: [Node] = [
    "", " x", "x ", "yes", "8080", "1e3", "2001-01-01", "12:30", "~", "null", "-", "*.example.com", "a: b",
    "a #b",
    "#a", "{a}", "@x", "%41", "a\nb", "a\nb\n", "a\n\nb\n\n", "\na", "  a\nb", "tab\there", "é😀", "q\"uote",
    "it's",
    "\u{7}", "a\r\nb", "line\u{2028}sep", "!x", "&x", "`", "key:", ":x", "---", "...", "<<", "=", "0x1F",
    "+1", ".5",
    "\u{85}", "x\u{FEFF}", "\u{FFFE}", "a\n#b\n", "trailing \nspace", "true", "a,b", "[x]", "|", ">",
    .null, true, 12, -1.5, 1e300, 3.0, [], .mapping([]), [[]], [[1, [2]], ["a": []]],
    [
      "a": ["b": .mapping([]), "c": [["d": 1, "e": "x\ny\n"], "z"]], "weird: key": 1, "yes": "no",
      "": "empty",
    ],
  ]

  @Test(arguments: samples)
  func yamlReadsBack(_ node: Node) throws {
    let text = YAML.write(["value": node, "list": [node]])
    let result = YAML.parse(text)
    #expect(result.diagnostics.isEmpty, "\(text)")
    let document = try #require(result.documents.first)
    #expect(document["value"] == node, "\(text)")
    #expect(document["list"] == [node], "\(text)")
  }

  @Test(arguments: samples, [false, true])
  func jsonReadsBack(_ node: Node, _ pretty: Bool) throws {
    let expected = node == 3.0 ? 3 : node
    #expect(try JSON.parse(JSON.bytes([node], pretty: pretty)).get() == [expected])
  }

  @Test func blockStyle() {
    let node: Node = [
      "apiVersion": "v1", "metadata": ["name": "a", "labels": .mapping([])],
      "items": [["name": "x", "ports": [80, 443]], "z"], "text": "one\ntwo\n",
    ]
    let expected = """
      apiVersion: v1
      metadata:
        name: a
        labels: {}
      items:
      - name: x
        ports:
        - 80
        - 443
      - z
      text: |
        one
        two

      """
    #expect(YAML.write(node) == expected)
  }

  @Test func prettyJSON() {
    #expect(JSON.write(["a": [1, .mapping([])]], pretty: true) == "{\n  \"a\": [\n    1,\n    {}\n  ]\n}")
    #expect(JSON.write(["a": [1, "\u{1}\u{7F}/"]]) == #"{"a":[1,"\u0001\u007f/"]}"#)
  }
}

@Suite struct NodeTests {
  @Test func equalityIgnoresOrderAndPlace() {
    #expect(YAML.parse("{a: 1, b: 2}").documents[0] == YAML.parse("b: 2\na: 1\n").documents[0])
    #expect(Node.mapping([("a", 1)]) != ["a": 1, "b": 2])
    #expect(Node.mapping([("a", 1)]) != ["b": 1])
    #expect(Node.int(1) != 1.0)
  }

  @Test func subscripts() {
    var node: Node = ["a": ["b": 1]]
    node["a"]?["c"] = "x"
    node["a"]?["b"] = nil
    #expect(node == ["a": ["c": "x"]])
    var empty = Node.null
    empty["k"] = 1
    #expect(empty == ["k": 1])
    #expect(node["a"]?[0] == nil)
  }

  @Test func pathsInWords() {
    let path = FieldPath.root.appending("metadata").appending("labels").appending("example.com/x")
    #expect(path.description == "metadata.labels[\"example.com/x\"]")
    #expect(FieldPath.root.appending("rules").appending(3).appending("name").description == "rules[3].name")
  }
}

@Suite struct ObjectReaderTests {
  enum Color: String, CaseIterable { case red = "Red", green = "Green" }

  /// Reads a fixed shape and gives back what was said about it.
  private func read(_ text: String) -> [String] {
    let collector = DiagnosticCollector(file: nil)
    var reader = ObjectReader(YAML.parse(text).documents.first ?? .null, path: .root, collector: collector)
    _ = reader.requiredString("name", TextRule("short", minLength: 1, maxLength: 3))
    _ = reader.int("count", in: 1...9)
    _ = reader.bool("on")
    _ = reader.choice("color", Color.self)
    _ = reader.list("items", count: 0...2) { $0.requiredInt("x") }
    _ = reader.stringMap("labels")
    _ = reader.strings("words")
    _ = reader.object("inner") { inner in inner.requiredObject("deep") { $0.requiredString("text") } }
    reader.finish()
    return collector.diagnostics.map(\.description)
  }

  @Test(arguments: [
    ("{name: a, count: 3, on2: 1}", ["1:21: warning: on2: unknown field; it is ignored. Did you mean on?"]),
    ("{count: 3}", ["1:1: error: name: is required"]),
    ("{name: null}", ["1:1: error: name: is required"]),
    ("{name: 8}", ["1:8: error: name: must be a string, not the number 8; put it in quotes"]),
    ("{name: abcd}", ["1:8: error: name: is 4 characters long; at most 3 are allowed"]),
    ("{name: ''}", ["1:8: error: name: must not be empty; it must be short"]),
    (
      "{name: a, count: '3'}",
      ["1:18: error: count: must be a whole number, not a string; write 3 without quotes"]
    ),
    ("{name: a, count: 12}", ["1:18: error: count: is 12; it must be between 1 and 9"]),
    ("{name: a, count: 2.5}", ["1:18: error: count: must be a whole number, not the number 2.5"]),
    (
      "{name: a, color: Gren}",
      ["1:18: error: color: \"Gren\" is not one of Red, Green; did you mean Green?"]
    ),
    ("{name: a, items: {x: 1}}", ["1:18: error: items: must be a list, not an object"]),
    (
      "{name: a, items: [{x: 1}, 5, {xx: 2}]}",
      [
        "1:18: error: items: has 3 elements; at most 2 are allowed",
        "1:27: error: items[1]: must be an object, not the number 5", "1:27: error: items[1].x: is required",
        "1:30: error: items[2].x: is required",
        "1:31: warning: items[2].xx: unknown field; it is ignored. Did you mean x?",
      ]
    ),
    (
      "{name: a, labels: {k: true}}",
      ["1:23: error: labels.k: must be a string, not the boolean true; put it in quotes"]
    ),
    (
      "{name: a, words: [x, 1]}",
      ["1:22: error: words[1]: must be a string, not the number 1; put it in quotes"]
    ),
    ("{name: a, inner: {}}", ["1:18: error: inner.deep: is required"]),
    ("[]", ["1:1: error: must be an object, not a list", "1:1: error: name: is required"]),
  ])
  func findings(_ text: String, _ expected: [String]) {
    #expect(read(text) == expected)
  }
}
