/// Reading and writing of JSON (RFC 8259).
public enum JSON {
  /// The bytes of a node as JSON: on one line, or indented by two spaces.
  public static func bytes(_ node: Node, pretty: Bool = false) -> [UInt8] {
    var writer = JSONWriter(pretty: pretty)
    writer.write(node, depth: 0)
    return writer.out
  }

  /// The text of a node as JSON: on one line, or indented by two spaces.
  public static func write(_ node: Node, pretty: Bool = false) -> String {
    String(decoding: bytes(node, pretty: pretty), as: UTF8.self)
  }

  /// A string in double quotes with JSON's escapes.
  static func quoted(_ text: String) -> String {
    var writer = JSONWriter(pretty: false)
    writer.quote(text)
    return String(decoding: writer.out, as: UTF8.self)
  }
}

private struct JSONWriter {
  var out: [UInt8] = []
  let pretty: Bool

  init(pretty: Bool) { self.pretty = pretty }

  mutating func write(_ node: Node, depth: Int) {
    switch node.value {
    case .null: out += Array("null".utf8)
    case .bool(let value): out += Array((value ? "true" : "false").utf8)
    case .int(let value): out += Array(String(value).utf8)
    case .float(let value): out += Array(numberText(value).utf8)
    case .string(let value): quote(value)
    case .sequence(let nodes):
      out.append(UInt8(ascii: "["))
      for (index, node) in nodes.enumerated() {
        if index > 0 { out.append(UInt8(ascii: ",")) }
        newline(depth + 1)
        write(node, depth: depth + 1)
      }
      if !nodes.isEmpty { newline(depth) }
      out.append(UInt8(ascii: "]"))
    case .mapping(let entries):
      out.append(UInt8(ascii: "{"))
      for (index, entry) in entries.enumerated() {
        if index > 0 { out.append(UInt8(ascii: ",")) }
        newline(depth + 1)
        quote(entry.key)
        out.append(UInt8(ascii: ":"))
        if pretty { out.append(UInt8(ascii: " ")) }
        write(entry.value, depth: depth + 1)
      }
      if !entries.isEmpty { newline(depth) }
      out.append(UInt8(ascii: "}"))
    }
  }

  mutating func newline(_ depth: Int) {
    guard pretty else { return }
    out.append(UInt8(ascii: "\n"))
    out += repeatElement(UInt8(ascii: " "), count: depth * 2)
  }

  mutating func quote(_ text: String) {
    out.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""): out += Array("\\\"".utf8)
      case UInt8(ascii: "\\"): out += Array("\\\\".utf8)
      case UInt8(ascii: "\n"): out += Array("\\n".utf8)
      case UInt8(ascii: "\r"): out += Array("\\r".utf8)
      case UInt8(ascii: "\t"): out += Array("\\t".utf8)
      case 0..<0x20, 0x7F:
        let digits = Array("0123456789abcdef".utf8)
        out += Array("\\u00".utf8)
        out.append(digits[Int(byte >> 4)])
        out.append(digits[Int(byte & 15)])
      default: out.append(byte)
      }
    }
    out.append(UInt8(ascii: "\""))
  }
}

/// A number as JSON and YAML both read it. What neither can say (infinity, not a number) becomes null.
func numberText(_ value: Double) -> String {
  guard value.isFinite else { return "null" }
  if value == value.rounded(), value.magnitude < 1e15 { return String(Int64(value)) }
  return String(value)
}
