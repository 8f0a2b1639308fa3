/// A non-owning view of bytes, valid as long as the memory that it was cut from.
///
/// Trivial: copying one touches no reference count. Text of the peer stays in this form on the request path.
@frozen
@safe
public struct Bytes {
  // INVARIANT: `start` has `count` readable bytes for as long as whoever cut the view says so (the input
  // buffer until the head has been handled, an arena until it is reset, a literal for ever).
  public var start: UnsafePointer<UInt8>
  /// Length in bytes; never negative.
  public var count: Int

  @inlinable @inline(__always)
  public init(start: UnsafePointer<UInt8>, count: Int) {
    unsafe self.start = start
    self.count = count
  }

  /// A view of a literal, valid for ever.
  @inlinable @inline(__always)
  public init(_ literal: StaticString) {
    unsafe self.start = literal.utf8Start
    self.count = literal.utf8CodeUnitCount
  }

  @inlinable @inline(__always)
  public static var empty: Bytes { Bytes("") }

  @inlinable @inline(__always)
  public var isEmpty: Bool { count == 0 }

  /// One byte; traps outside the view.
  @inlinable @inline(__always)
  public subscript(index: Int) -> UInt8 {
    precondition(index >= 0 && index < count)
    // SAFETY: the index was just checked against the invariant's count.
    return unsafe start[index]
  }

  /// The part from `lower` up to `upper`; traps outside the view.
  @inlinable @inline(__always)
  public func slice(_ lower: Int, _ upper: Int) -> Bytes {
    precondition(lower >= 0 && lower <= upper && upper <= count)
    return unsafe Bytes(start: start + lower, count: upper - lower)
  }

  /// Whether both hold the same bytes.
  @inlinable
  public func equals(_ other: Bytes) -> Bool {
    guard count == other.count else { return false }
    return unsafe sameBytes(start, other.start, count)
  }

  @inlinable
  public func equals(_ literal: StaticString) -> Bool { equals(Bytes(literal)) }

  /// Whether both hold the same text when A to Z count as a to z (RFC 9110 section 5.1).
  @inlinable
  public func equalsIgnoringCase(_ other: Bytes) -> Bool {
    guard count == other.count else { return false }
    return unsafe sameBytesIgnoringCase(start, other.start, count)
  }

  @inlinable
  public func equalsIgnoringCase(_ literal: StaticString) -> Bool { equalsIgnoringCase(Bytes(literal)) }

  @inlinable
  public func hasPrefix(_ other: Bytes) -> Bool {
    guard count >= other.count else { return false }
    return unsafe sameBytes(start, other.start, other.count)
  }

  @inlinable
  public func hasPrefix(_ literal: StaticString) -> Bool { hasPrefix(Bytes(literal)) }

  /// Where `byte` first occurs, or -1.
  @inlinable
  public func firstIndex(of byte: UInt8) -> Int {
    var index = 0
    while index < count {
      if unsafe start[index] == byte { return index }
      index &+= 1
    }
    return -1
  }

  /// The view without spaces and tabs at both ends (OWS, RFC 9110 section 5.6.3).
  @inlinable
  public var trimmed: Bytes {
    var lower = 0
    var upper = count
    while lower < upper, unsafe isWhitespace(start[lower]) { lower &+= 1 }
    while upper > lower, unsafe isWhitespace(start[upper &- 1]) { upper &-= 1 }
    return unsafe Bytes(start: start + lower, count: upper &- lower)
  }
}

extension String {
  /// Allocates; for logs, errors and tests, never for the request path.
  public init(decoding bytes: Bytes) {
    self = unsafe String(decoding: UnsafeBufferPointer(start: bytes.start, count: bytes.count), as: UTF8.self)
  }
}

// SAFETY of this file's free functions: each reads exactly the `count` bytes that its caller vouches for.

@inlinable @inline(__always)
func loadWord(_ pointer: UnsafePointer<UInt8>) -> UInt64 {
  unsafe UnsafeRawPointer(pointer).loadUnaligned(as: UInt64.self)
}

@inlinable @inline(__always)
func loadHalfWord(_ pointer: UnsafePointer<UInt8>) -> UInt32 {
  unsafe UnsafeRawPointer(pointer).loadUnaligned(as: UInt32.self)
}

@inlinable @inline(__always)
func isWhitespace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

@inlinable
func sameBytes(_ left: UnsafePointer<UInt8>, _ right: UnsafePointer<UInt8>, _ count: Int) -> Bool {
  var index = 0
  while index &+ 8 <= count {
    if unsafe loadWord(left + index) != loadWord(right + index) { return false }
    index &+= 8
  }
  while index < count {
    if unsafe left[index] != right[index] { return false }
    index &+= 1
  }
  return true
}

@inlinable
func sameBytesIgnoringCase(_ left: UnsafePointer<UInt8>, _ right: UnsafePointer<UInt8>, _ count: Int) -> Bool {
  var index = 0
  while index < count {
    if unsafe lowercase(left[index]) != lowercase(right[index]) { return false }
    index &+= 1
  }
  return true
}

/// ASCII only: A to Z become a to z, every other byte stays.
@inlinable @inline(__always)
public func lowercase(_ byte: UInt8) -> UInt8 {
  byte &- 0x41 < 26 ? byte | 0x20 : byte
}
