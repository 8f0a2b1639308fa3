/// The text of a node as YAML in block style, as `kubectl get -o yaml` shows it. It reads back as the same
/// node.
public func write(_ node: Node) -> String {
  var writer = YAMLWriter()
  writer.document(node)
  return writer.out
}

private struct YAMLWriter {
  var out = ""

  mutating func document(_ node: Node) {
    switch node.value {
    case .mapping(let entries) where !entries.isEmpty: mapping(entries, indent: 0)
    case .sequence(let nodes) where !nodes.isEmpty: sequence(nodes, indent: 0)
    default:
      scalar(node, indent: 0)
      out += "\n"
    }
  }

  mutating func mapping(_ entries: [Node.Entry], indent: Int, startsOnLine: Bool = false) {
    for (index, entry) in entries.enumerated() {
      if index > 0 || !startsOnLine { pad(indent) }
      out += isPlain(entry.key) ? entry.key : quoted(entry.key)
      out += ":"
      child(entry.value, indent: indent)
    }
  }

  /// What follows `key:`. A list stands at the column of its key, as Kubernetes writes it.
  mutating func child(_ node: Node, indent: Int) {
    switch node.value {
    case .mapping(let entries) where !entries.isEmpty:
      out += "\n"
      mapping(entries, indent: indent + 2)
    case .sequence(let nodes) where !nodes.isEmpty:
      out += "\n"
      sequence(nodes, indent: indent)
    default:
      out += " "
      scalar(node, indent: indent + 2)
      out += "\n"
    }
  }

  mutating func sequence(_ nodes: [Node], indent: Int) {
    for node in nodes {
      pad(indent)
      switch node.value {
      case .mapping(let entries) where !entries.isEmpty:
        out += "- "
        mapping(entries, indent: indent + 2, startsOnLine: true)
      case .sequence(let inner) where !inner.isEmpty:
        out += "-\n"
        sequence(inner, indent: indent + 2)
      default:
        out += "- "
        scalar(node, indent: indent + 2)
        out += "\n"
      }
    }
  }

  mutating func scalar(_ node: Node, indent: Int) {
    switch node.value {
    case .null: out += "null"
    case .bool(let value): out += value ? "true" : "false"
    case .int(let value): out += String(value)
    case .float(let value): out += floatText(value)
    case .string(let value): text(value, indent: indent)
    case .sequence: out += "[]"
    case .mapping: out += "{}"
    }
  }

  /// A float that happens to be whole keeps its point, so that it reads back as a float.
  private func floatText(_ value: Double) -> String {
    let text = numberText(value)
    return text.utf8.allSatisfy { ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x2D } ? text + ".0" : text
  }

  mutating func text(_ value: String, indent: Int) {
    if isPlain(value) {
      out += value
    } else if isBlock(value) {
      let endsWithNewline = value.utf8.last == 0x0A
      out += endsWithNewline ? "|" : "|-"
      let body = endsWithNewline ? value.dropLast() : value[...]
      for line in body.split(separator: "\n", omittingEmptySubsequences: false) {
        out += "\n"
        if !line.isEmpty {
          pad(indent)
          out += line
        }
      }
    } else {
      out += quoted(value)
    }
  }

  mutating func pad(_ count: Int) { out += String(repeating: " ", count: count) }

  /// A string in double quotes. JSON's escapes are YAML's too; what YAML takes for line breaks is escaped
  /// as well.
  private func quoted(_ value: String) -> String {
    JSON.quoted(value).unicodeScalars.reduce(into: "") { out, scalar in
      if scalar.value < 0x7F || isPrintable(scalar) {
        out.unicodeScalars.append(scalar)
      } else {
        let digits = String(scalar.value, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      }
    }
  }

  /// A text of lines is written as a literal block when that says it exactly.
  private func isBlock(_ value: String) -> Bool {
    guard value.utf8.contains(0x0A), value.utf8.first != 0x0A, value.utf8.first != 0x20 else { return false }
    guard !value.hasSuffix("\n\n") else { return false }
    return value.unicodeScalars.allSatisfy { $0 == "\n" || isPrintable($0) }
  }

  private func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x20...0x7E, 0xA0...0xD7FF, 0xE000...0xFEFE, 0xFF00...0xFFFD, 0x10000...0x10FFFF:
      scalar.value != 0x2028 && scalar.value != 0x2029
    default: false
    }
  }

  /// Whether a string may stand without quotes: it has none of YAML's indicators and reads back as a
  /// string.
  private func isPlain(_ value: String) -> Bool {
    let bytes = Array(value.utf8)
    guard let first = bytes.first, let last = bytes.last, first != 0x20, last != 0x20 else { return false }
    guard !Set("-?:,[]{}#&*!|>'\"%@`=<".utf8).contains(first), last != UInt8(ascii: ":") else { return false }
    for (index, byte) in bytes.enumerated() {
      guard byte >= 0x20, byte < 0x7F else { return false }
      let next = index + 1 < bytes.count ? bytes[index + 1] : 0
      if byte == UInt8(ascii: ":"), next == 0x20 { return false }
      if byte == 0x20, next == UInt8(ascii: "#") { return false }
    }
    guard !looksLikeTime(bytes) else { return false }
    if case .string = resolvePlainScalar(value) { return true }
    return false
  }

  /// Other readers of YAML 1.1 take dates and `12:30:45` for something else than a string.
  private func looksLikeTime(_ bytes: [UInt8]) -> Bool {
    guard let first = bytes.first, first >= 0x30, first <= 0x39 else { return false }
    let digitsOf = Set("0123456789:-.TtZz+_ ".utf8)
    return bytes.allSatisfy { digitsOf.contains($0) } && bytes.contains { $0 == 0x3A || $0 == 0x2D }
  }
}
