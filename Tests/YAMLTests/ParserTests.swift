import Testing
import YAML

@Suite struct ScalarTests {
  static let plainScalars: [(String, Node)] = [
    ("null", .null), ("~", .null), ("yes", true), ("Off", false), ("y", true), ("N", false), ("TRUE", true),
    ("tRUE", "tRUE"), ("8080", 8080), ("-7", -7), ("+7", 7), ("010", 8), ("0o17", 15), ("0x1F", 31),
    ("0b101", 5), ("1_000", 1000), ("08", 8.0), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("1.", 1.0),
    ("1.2.3", "1.2.3"), ("10s", "10s"), ("12:30:45", "12:30:45"), ("2001-01-01", "2001-01-01"),
    ("-", "-"), (".", "."), ("0x", "0x"), ("_1", "_1"), ("1e", "1e"), ("/api", "/api"), ("*.x", "*.x"),
    ("9223372036854775807", .int(Int64.max)), ("9223372036854775808", 9223372036854775808.0),
  ]

  @Test(arguments: plainScalars)
  func plain(_ text: String, _ expected: Node) {
    // `-` alone and an alias would mean something else to YAML, so these are asked of the writer below.
    guard text != "-", !text.hasPrefix("*") else { return }
    #expect(YAML.parse("a: \(text)\n").documents.first?["a"] == expected)
  }

  @Test(arguments: ["'8080'", "\"yes\"", "!!str 10", "! 10"])
  func quotedIsString(_ text: String) {
    #expect(YAML.parse("a: \(text)").documents.first?["a"]?.string != nil)
  }

  @Test(arguments: [".inf", "-.Inf", ".nan", "!!int x", "!!binary aGk=", "!custom x"])
  func refused(_ text: String) {
    #expect(YAML.parse("a: \(text)").hasErrors)
  }

  @Test func keysBecomeStrings() {
    let keys = YAML.parse("{on: 1, 80: 2, 1.5: 3, null: 4}").documents[0].entries?.map(\.key)
    #expect(keys == ["true", "80", "1.5", "null"])
  }
}

@Suite struct ParserTests {
  @Test func positions() throws {
    let node = try #require(YAML.parse("a:\n  - b: 1\n    c: {d: x}\n").documents.first)
    #expect(node["a"]?[0]?["b"]?.position == SourcePosition(line: 2, column: 8))
    #expect(node["a"]?[0]?["c"]?["d"]?.position == SourcePosition(line: 3, column: 12))
    #expect(node["a"]?[0]?.entries?[1].keyPosition == SourcePosition(line: 3, column: 5))
    let missing = FieldPath.root.appending("a").appending(0).appending("nothing").appending("below")
    #expect(node.position(at: missing) == SourcePosition(line: 2, column: 5))
  }

  @Test(arguments: [
    ("", 0), ("# only words\n", 0), ("---\n---\n", 0), ("a: 1\n---\n# none\n---\nb: 2\n...\n", 2),
    ("{a: 1}", 1),
    ("\u{FEFF}a: 1\n", 1),
  ])
  func documents(_ text: String, _ count: Int) {
    let result = YAML.parse(text)
    #expect(result.documents.count == count)
    #expect(result.diagnostics.isEmpty)
  }

  @Test(arguments: [
    ("a: 1\nb: [\n", "3:1", "did not find expected node content"),
    ("a:\n\t- b\n", "2:1", "a tab cannot indent"),
    ("a: 1\nb: 2\na: 3\n", "3:1", "the key \"a\" stands here a second time (first at 1:1)"),
    ("a: *x\n", "1:4", "the alias *x has no anchor &x before it"),
    ("a: &x [*x]\n", "1:8", "stands inside of its own anchor"),
    ("? [a]\n: 1\n", "1:3", "a key must be a string"),
    ("<<: 3\n", "1:1", "takes a mapping"),
  ])
  func errors(_ text: String, _ place: String, _ message: String) throws {
    let result = YAML.parse(text, file: "x.yaml")
    let found = try #require(result.diagnostics.first?.description)
    #expect(found.hasPrefix("x.yaml:\(place): error: "))
    #expect(found.contains(message))
  }

  @Test func documentsBeforeAnErrorAreKept() {
    let result = YAML.parse("a: 1\n---\nb: [\n")
    #expect(result.documents == [["a": 1]])
    #expect(result.hasErrors)
  }

  @Test func anchorsAndMerges() {
    let text = "base: &b {x: 1, w: 2}\none: {<<: *b, w: 3}\ntwo: *b\nmany: {<<: [*b, {z: 4}]}\n"
    let node = YAML.parse(text).documents[0]
    #expect(node["one"] == ["x": 1, "w": 3])
    #expect(node["two"] == ["x": 1, "w": 2])
    #expect(node["many"] == ["x": 1, "w": 2, "z": 4])
  }

  @Test func aliasesAreBounded() {
    var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in 1...9 {
      text +=
        "a\(level): &a\(level) [" + Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", ")
        + "]\n"
    }
    let result = YAML.parse(text)
    #expect(result.diagnostics.first?.message == "aliases expand to more than 100000 values")
  }

  @Test func depthIsBounded() {
    let deep = String(repeating: "[", count: 200) + String(repeating: "]", count: 200)
    #expect(YAML.parse("a: " + deep).diagnostics.first?.message.contains("nested more than 100") == true)
    #expect(YAML.parse(deep).diagnostics.first?.message.contains("nested more than 100") == true)
  }

  @Test func sizeIsBounded() {
    var limits = ParseLimits()
    limits.bytes = 10
    #expect(YAML.parse("a: 0123456789", limits: limits).hasErrors)
  }

  @Test func invalidBytes() {
    #expect(YAML.parse([0x61, 0x3A, 0x20, 0xFF, 0xFE, 0x0A]).hasErrors)
    #expect(YAML.parse(Array("{\"a\": \"".utf8) + [0xC3, 0x28] + Array("\"}".utf8)).hasErrors)
  }
}

@Suite struct JSONTests {
  static let documents: [(String, Node)] = [
    (#"{"a": [1, -2.5, 1e2, true, null]}"#, ["a": [1, -2.5, 100.0, true, .null]]),
    ("\t[ ]\r\n", []), (#""\ud83d\ude00\u00e9\/\n""#, "😀é/\n"), ("0", 0), ("0.5", 0.5), ("0e1", 0.0),
    ("-0", 0),
  ]

  @Test(arguments: documents)
  func valid(_ text: String, _ expected: Node) throws {
    #expect(try JSON.parse(Array(text.utf8)).get() == expected)
  }

  @Test(arguments: [
    "", "{", "[1,]", "{\"a\" 1}", "{\"a\":1,\"a\":2}", "01", "1.", ".5", "+1", "1e", "tru", "\"\\x\"",
    "\"a\nb\"",
    "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "{} {}", "nul", "1e999", "\"\\u00g0\"", "\"\\u-001\"",
    "[1 2]",
  ])
  func invalid(_ text: String) {
    guard case .failure(let diagnostic) = JSON.parse(Array(text.utf8)) else {
      Issue.record("\(text) was read")
      return
    }
    #expect(diagnostic.position.isKnown)
  }

  @Test func positionsCountLines() throws {
    let node = try JSON.parse(Array("{\n  \"a\": {\n    \"b\": 1\n  }\n}".utf8)).get()
    #expect(node["a"]?["b"]?.position == SourcePosition(line: 3, column: 10))
  }
}
