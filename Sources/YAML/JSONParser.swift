extension JSON {
  /// Reads one JSON document (RFC 8259). Duplicate names, what follows the document, numbers beyond the
  /// range of Double and lone surrogates are errors.
  public static func parse(
    _ bytes: [UInt8], file: String? = nil, limits: ParseLimits = ParseLimits()
  ) -> Result<Node, Diagnostic> {
    if bytes.count > limits.bytes {
      let message = "is \(bytes.count) bytes long; at most \(limits.bytes) are read"
      return .failure(Diagnostic(.error, file: file, message: message))
    }
    var parser = JSONParser(bytes: bytes, maxDepth: limits.depth)
    do throws(JSONParser.Failure) {
      return .success(try parser.document())
    } catch {
      return .failure(
        Diagnostic(.error, file: file, position: error.position, message: "not valid JSON: \(error.message)"))
    }
  }
}

private struct JSONParser {
  struct Failure: Error {
    var position: SourcePosition
    var message: String
  }

  let bytes: [UInt8]
  let maxDepth: Int
  var index = 0
  var line = 1
  var lineStart = 0

  init(bytes: [UInt8], maxDepth: Int) {
    self.bytes = bytes
    self.maxDepth = maxDepth
  }

  var position: SourcePosition { SourcePosition(line: line, column: index - lineStart + 1) }
  var current: UInt8? { index < bytes.count ? bytes[index] : nil }

  func failure(_ message: String) -> Failure { Failure(position: position, message: message) }

  mutating func document() throws(Failure) -> Node {
    skipSpace()
    let node = try value(depth: 0)
    skipSpace()
    if index < bytes.count { throw failure("there is more after the end of the document") }
    return node
  }

  mutating func skipSpace() {
    while let byte = current {
      if byte == 0x0A {
        line += 1
        lineStart = index + 1
      } else if byte != 0x20, byte != 0x09, byte != 0x0D {
        return
      }
      index += 1
    }
  }

  mutating func value(depth: Int) throws(Failure) -> Node {
    if depth > maxDepth { throw failure("it is nested more than \(maxDepth) levels deep") }
    let start = position
    switch current {
    case UInt8(ascii: "{"): return Node(try object(depth), position: start)
    case UInt8(ascii: "["): return Node(try array(depth), position: start)
    case UInt8(ascii: "\""): return Node(.string(try string()), position: start)
    case UInt8(ascii: "t"): return Node(try word("true", .bool(true)), position: start)
    case UInt8(ascii: "f"): return Node(try word("false", .bool(false)), position: start)
    case UInt8(ascii: "n"): return Node(try word("null", .null), position: start)
    case nil: throw failure("it ends too early")
    default: return Node(try number(), position: start)
    }
  }

  mutating func word(_ word: String, _ value: Node.Content) throws(Failure) -> Node.Content {
    guard bytes[index...].starts(with: word.utf8) else { throw failure("a value is expected here") }
    index += word.utf8.count
    return value
  }

  mutating func object(_ depth: Int) throws(Failure) -> Node.Content {
    index += 1
    var entries: [Node.Entry] = []
    var names: Set<String> = []
    skipSpace()
    if current == UInt8(ascii: "}") {
      index += 1
      return .mapping([])
    }
    while true {
      let place = position
      guard current == UInt8(ascii: "\"") else { throw failure("a name in double quotes is expected here") }
      let key = try string()
      guard names.insert(key).inserted else {
        throw Failure(position: place, message: "the name \"\(key)\" stands here a second time")
      }
      skipSpace()
      guard current == UInt8(ascii: ":") else { throw failure("a colon is expected here") }
      index += 1
      skipSpace()
      entries.append(Node.Entry(key, try value(depth: depth + 1), keyPosition: place))
      if try !hasNext(UInt8(ascii: "}")) { return .mapping(entries) }
    }
  }

  mutating func array(_ depth: Int) throws(Failure) -> Node.Content {
    index += 1
    var nodes: [Node] = []
    skipSpace()
    if current == UInt8(ascii: "]") {
      index += 1
      return .sequence([])
    }
    while true {
      nodes.append(try value(depth: depth + 1))
      if try !hasNext(UInt8(ascii: "]")) { return .sequence(nodes) }
    }
  }

  /// Takes the comma before a next element, or the bracket after the last.
  mutating func hasNext(_ close: UInt8) throws(Failure) -> Bool {
    skipSpace()
    guard let byte = current, byte == UInt8(ascii: ",") || byte == close else {
      throw failure("a comma or a closing bracket is expected here")
    }
    index += 1
    skipSpace()
    return byte != close
  }

  mutating func number() throws(Failure) -> Node.Content {
    let start = index
    let isPart: (UInt8) -> Bool = { byte in
      (byte >= 0x30 && byte <= 0x39) || byte == 0x2B || byte == 0x2D || byte == 0x2E || byte | 0x20 == 0x65
    }
    while let byte = current, isPart(byte) { index += 1 }
    let text = bytes[start..<index]
    let digits = text.first == UInt8(ascii: "-") ? text.dropFirst() : text
    let leads = digits.first.map { $0 >= 0x30 && $0 <= 0x39 } ?? false
    let second = digits.dropFirst().first ?? 0
    let leadingZero = digits.first == 0x30 && second >= 0x30 && second <= 0x39
    let pointEnds =
      text.last == UInt8(ascii: ".")
      || text.firstIndex(of: 0x2E).map { place in
        place + 1 >= text.endIndex || text[place + 1] < 0x30 || text[place + 1] > 0x39
      } ?? false
    let string = String(decoding: text, as: UTF8.self)
    if leads, !leadingZero, !pointEnds {
      if let value = Int64(string) { return .int(value) }
      if let value = floatValue(string) { return .float(value) }
    }
    index = start
    throw failure("a value is expected here")
  }

  mutating func string() throws(Failure) -> String {
    index += 1
    var out: [UInt8] = []
    while let byte = current {
      switch byte {
      case UInt8(ascii: "\""):
        index += 1
        guard let text = String(validating: out, as: UTF8.self) else {
          throw failure("it is not valid UTF-8")
        }
        return text
      case UInt8(ascii: "\\"): try escape(into: &out)
      case 0..<0x20: throw failure("a control character in a string must be escaped")
      default:
        out.append(byte)
        index += 1
      }
    }
    throw failure("a string has no closing quote")
  }

  mutating func escape(into out: inout [UInt8]) throws(Failure) {
    index += 1
    guard let byte = current else { throw failure("it ends too early") }
    index += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(byte)
    case UInt8(ascii: "b"): out.append(8)
    case UInt8(ascii: "f"): out.append(12)
    case UInt8(ascii: "n"): out.append(10)
    case UInt8(ascii: "r"): out.append(13)
    case UInt8(ascii: "t"): out.append(9)
    case UInt8(ascii: "u"):
      var code = try hexadecimal()
      if code >= 0xD800, code < 0xDC00, current == UInt8(ascii: "\\") {
        index += 1
        guard current == UInt8(ascii: "u") else { throw failure("a lone surrogate is not a character") }
        index += 1
        let low = try hexadecimal()
        guard low >= 0xDC00, low < 0xE000 else { throw failure("a lone surrogate is not a character") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw failure("a lone surrogate is not a character") }
      out += Array(String(Character(scalar)).utf8)
    default: throw failure("this escape is not known")
    }
  }

  mutating func hexadecimal() throws(Failure) -> UInt32 {
    guard index + 4 <= bytes.count, bytes[index] != 0x2B, bytes[index] != 0x2D,
      let value = UInt32(String(decoding: bytes[index..<index + 4], as: UTF8.self), radix: 16)
    else { throw failure("four hexadecimal digits are expected here") }
    index += 4
    return value
  }
}
