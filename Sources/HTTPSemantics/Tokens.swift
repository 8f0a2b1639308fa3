// Character classes of RFC 9110 section 5.6 and RFC 3986 as 128-bit sets: bit n of `low` is byte n, bit n of
// `high` byte n + 64. Bytes from 0x80 on are in none of them.

/// A set of ASCII bytes.
@frozen
public struct ByteSet: Sendable {
  public let low: UInt64
  public let high: UInt64

  @inlinable @inline(__always)
  public init(low: UInt64, high: UInt64) {
    self.low = low
    self.high = high
  }

  @inlinable @inline(__always)
  public func contains(_ byte: UInt8) -> Bool {
    let bits = byte < 64 ? low : byte < 128 ? high : 0
    return (bits &>> UInt64(byte & 63)) & 1 != 0
  }

  /// tchar: letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 section 5.6.2).
  @inlinable @inline(__always)
  public static var token: ByteSet { ByteSet(low: 0x03ff_6cfa_0000_0000, high: 0x57ff_ffff_c7ff_fffe) }

  /// unreserved: letters, digits and -._~ (RFC 3986 section 2.3).
  @inlinable @inline(__always)
  public static var unreserved: ByteSet { ByteSet(low: 0x03ff_6000_0000_0000, high: 0x47ff_fffe_87ff_fffe) }
}

/// One or more token bytes (RFC 9110 section 5.6.2): methods and field names.
@inlinable
public func isToken(_ bytes: Bytes) -> Bool {
  if bytes.isEmpty { return false }
  var index = 0
  while index < bytes.count {
    // SAFETY: the index is below the view's count.
    if unsafe !ByteSet.token.contains(bytes.start[index]) { return false }
    index &+= 1
  }
  return true
}

/// Visible bytes, space, tab and obs-text (RFC 9110 section 5.5). An empty value is valid.
@inlinable
public func isFieldValue(_ bytes: Bytes) -> Bool {
  var index = 0
  while index < bytes.count {
    // SAFETY: the index is below the view's count.
    let byte = unsafe bytes.start[index]
    if (byte < 0x20 && byte != 0x09) || byte == 0x7f { return false }
    index &+= 1
  }
  return true
}

/// 0 to 15, or -1.
@inlinable @inline(__always)
public func hexValue(_ byte: UInt8) -> Int {
  if byte &- 0x30 < 10 { return Int(byte &- 0x30) }
  let letter = byte | 0x20
  return letter &- 0x61 < 6 ? Int(letter &- 0x61) + 10 : -1
}

/// Walks the members of a comma-separated list (RFC 9110 section 5.6.1), trimmed; empty members are skipped.
@frozen
public struct ListMembers {
  public let bytes: Bytes
  public var position: Int

  @inlinable
  public init(_ bytes: Bytes) {
    self.bytes = bytes
    position = 0
  }

  /// The next member; nil at the end.
  @inlinable
  public mutating func next() -> Bytes? {
    while position < bytes.count {
      let start = position
      // SAFETY: the position stays below the view's count.
      while position < bytes.count, unsafe bytes.start[position] != 0x2c { position &+= 1 }
      let member = bytes.slice(start, position).trimmed
      position &+= 1
      if !member.isEmpty { return member }
    }
    return nil
  }
}
