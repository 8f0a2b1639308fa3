/// The framing: a header of 8 bytes, then the payload. All numbers are little endian.
///
///     UInt32 length of the payload | UInt16 version | UInt16 kind | payload
///
/// In a payload: numbers in the order of declaration; Bool as one byte 0 or 1; String as UInt32 length and
/// UTF-8; arrays as UInt32 count and elements. No byte may be left over.
public enum Frame {
  public static let version: UInt16 = 1
  public static let headerBytes = 8
  /// Largest payload. Holds an endpoint update of some 300,000 endpoints.
  public static let maxPayloadBytes = 16 << 20
  /// Largest image that a snapshot may announce.
  public static let maxImageBytes: UInt64 = 1 << 30
  /// Longest string in a message.
  public static let maxStringBytes = 64 << 10
}

/// What is wrong with received bytes.
public enum ControlProtocolError: Error, Equatable, CustomStringConvertible {
  // The stream cannot be read any further.
  case frameTooLong(UInt32)
  case unsupportedVersion(UInt16)
  // One message is wrong; the next one can be read.
  case unknownKind(UInt16)
  case truncated(StaticText)
  case trailingBytes(kind: UInt16, count: Int)
  case invalidText(StaticText)
  case invalidValue(StaticText)

  /// The connection has to end.
  public var isFatal: Bool {
    switch self {
    case .frameTooLong, .unsupportedVersion: true
    default: false
    }
  }

  public var description: String {
    switch self {
    case .frameTooLong(let length):
      "control frame of \(length) bytes, the most is \(Frame.maxPayloadBytes)"
    case .unsupportedVersion(let version):
      "control frame of version \(version), this side speaks version \(Frame.version);"
        + " controller and data plane must be of one release"
    case .unknownKind(let kind): "control message of unknown kind \(kind)"
    case .truncated(let field): "control message ends within \(field)"
    case .trailingBytes(let kind, let count): "control message of kind \(kind) with \(count) bytes too many"
    case .invalidText(let field): "control message: \(field) is not UTF-8 or too long"
    case .invalidValue(let field): "control message: \(field) has a value that is not allowed"
    }
  }
}

/// The name of a field in an error.
public struct StaticText: Sendable, Equatable, CustomStringConvertible, ExpressibleByStringLiteral {
  let text: StaticString

  public init(stringLiteral value: StaticString) { text = value }

  public static func == (left: StaticText, right: StaticText) -> Bool {
    left.description == right.description
  }

  public var description: String { "\(text)" }
}

/// A 64-bit checksum of an image against damage on its way or on disk (not against an attacker).
/// Eight bytes a step; the length is part of it.
public func imageChecksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
  let prime: UInt64 = 0x9E37_79B9_7F4A_7C15
  var sum = UInt64(bytes.count) &* prime &+ 0x5357_494C_5543_4531
  let words = bytes.count / 8
  // SAFETY: words * 8 <= count, the rest is read byte by byte.
  for word in 0..<words {
    let value = unsafe UInt64(
      littleEndian: bytes.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self))
    sum = (sum ^ value) &* prime
    sum ^= sum >> 29
  }
  for index in (words * 8)..<bytes.count {
    sum = unsafe (sum ^ UInt64(bytes[index])) &* prime
    sum ^= sum >> 29
  }
  sum ^= sum >> 32
  // 0 stands for "none" in messages.
  return sum == 0 ? 1 : sum
}
