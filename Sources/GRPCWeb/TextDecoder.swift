public import HTTPSemantics

/// The base64 text of a request body (RFC 4648 section 4) as it comes, in pieces of any size.
///
/// Clients end the text of each message, or of whatever they had to flush, with padding, so that padding may stand
/// in the middle of a body and is followed by another text (doc/PROTOCOL-WEB.md). What is no base64 is refused: line
/// ends, the alphabet of URLs, bits behind the last byte, a text that stops within four characters.
@frozen
public struct GRPCWebTextDecoder: Sendable {
  /// Of the characters of a group of four that has begun: six bits each.
  private var bits: UInt32 = 0
  /// Characters of the group so far, 0 to 3.
  private var count: UInt8 = 0
  /// One "=" has come where there must be two.
  private var awaitsPadding = false

  public init() {}

  /// Whether the text may end here.
  public var isComplete: Bool { count == 0 && !awaitsPadding }

  /// Most bytes that `count` characters become.
  public static func mostBytes(for count: Int) -> Int { (count + 3) / 4 * 3 }

  /// Decodes a piece into `output`, which has room for `mostBytes(for:)`.
  /// - Returns: bytes written, -1 when the text is no base64.
  public mutating func decode(_ input: Bytes, into output: UnsafeMutablePointer<UInt8>) -> Int {
    var written = 0
    var index = 0
    while index < input.count {
      // SAFETY: below the view's count; each group of four characters writes at most three bytes.
      let byte = unsafe input.start[index]
      index &+= 1
      let value = sextet(byte)
      if value > 63 || awaitsPadding {
        guard byte == padding, let bytes = pad() else { return -1 }
        if bytes > 0 { unsafe output[written] = UInt8(truncatingIfNeeded: bits >> 16) }
        if bytes > 1 { unsafe output[written + 1] = UInt8(truncatingIfNeeded: bits >> 8) }
        written &+= bytes
        continue
      }
      bits = bits << 6 | UInt32(value)
      count &+= 1
      guard count == 4 else { continue }
      unsafe output[written] = UInt8(truncatingIfNeeded: bits >> 16)
      unsafe output[written + 1] = UInt8(truncatingIfNeeded: bits >> 8)
      unsafe output[written + 2] = UInt8(truncatingIfNeeded: bits)
      written &+= 3
      count = 0
      bits = 0
    }
    return written
  }

  /// One "=": how many bytes its group comes to, 0 while another "=" must follow, nil where none may stand. The
  /// bytes are the upper ones of `bits`.
  private mutating func pad() -> Int? {
    if awaitsPadding {
      awaitsPadding = false
      return 1
    }
    switch count {
    case 2:
      // RFC 4648 section 3.5: the four bits behind the byte are zero.
      guard bits & 0x0f == 0 else { return nil }
      bits <<= 12
      count = 0
      awaitsPadding = true
      return 0
    case 3:
      guard bits & 0x03 == 0 else { return nil }
      bits <<= 6
      count = 0
      return 2
    default:
      return nil
    }
  }
}

private let padding: UInt8 = 0x3d

/// 0 to 63, or 64 for a byte outside of the alphabet.
@inline(__always)
private func sextet(_ byte: UInt8) -> UInt8 {
  switch byte {
  case 0x41...0x5a: byte &- 0x41
  case 0x61...0x7a: byte &- 0x61 &+ 26
  case 0x30...0x39: byte &- 0x30 &+ 52
  case 0x2b: 62
  case 0x2f: 63
  default: 64
  }
}
