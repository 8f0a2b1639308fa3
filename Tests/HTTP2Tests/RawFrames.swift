import HTTP2

/// Frames made by hand, for what no library would send.
enum Raw {
  static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
  static let settings = frame(4, 0, 0, [])
  static let start = preface + settings

  static func frame(_ type: UInt8, _ flags: UInt8, _ stream: UInt32, _ payload: [UInt8]) -> [UInt8] {
    let count = payload.count
    return [UInt8(count >> 16 & 0xff), UInt8(count >> 8 & 0xff), UInt8(count & 0xff), type, flags]
      + word(stream) + payload
  }

  static func word(_ number: UInt32) -> [UInt8] {
    [UInt8(number >> 24), UInt8(number >> 16 & 0xff), UInt8(number >> 8 & 0xff), UInt8(number & 0xff)]
  }

  /// Literals without indexing and without Huffman coding (RFC 7541 section 6.2.2).
  static func block(_ fields: [(String, String)]) -> [UInt8] {
    fields.flatMap { name, value in [0] + text(Array(name.utf8)) + text(Array(value.utf8)) }
  }

  private static func text(_ bytes: [UInt8]) -> [UInt8] {
    if bytes.count < 127 { return [UInt8(bytes.count)] + bytes }
    var rest = bytes.count - 127
    var length: [UInt8] = [127]
    while rest >= 128 {
      length.append(UInt8(rest % 128) | 0x80)
      rest /= 128
    }
    return length + [UInt8(rest)] + bytes
  }

  static let get: [(String, String)] = [
    (":method", "GET"), (":scheme", "http"), (":authority", "example.com"), (":path", "/"),
  ]

  static let post: [(String, String)] = [
    (":method", "POST"), (":scheme", "http"), (":authority", "example.com"), (":path", "/"),
  ]

  /// HEADERS with END_HEADERS.
  static func headers(_ stream: UInt32, _ fields: [(String, String)], end: Bool = true) -> [UInt8] {
    frame(1, end ? 5 : 4, stream, block(fields))
  }

  static func reset(_ stream: UInt32, _ code: UInt32 = 8) -> [UInt8] { frame(3, 0, stream, word(code)) }
}
