/// One header line. Name and value view memory of the caller (input buffer, arena or literal).
@frozen
@safe
public struct HeaderField {
  // INVARIANT: `name` has `nameLength` and `value` has `valueLength` readable bytes while the head is in use.
  public var name: UnsafePointer<UInt8>
  public var value: UnsafePointer<UInt8>
  public var nameLength: UInt32
  public var valueLength: UInt32
  public var known: KnownHeader
  /// A set of `dropFlag`, `neverIndexedFlag`, `lineFlag`.
  public var flags: UInt8

  /// Not to be forwarded (RFC 9110 section 7.6.1, or removed by a rule).
  @inlinable @inline(__always) public static var dropFlag: UInt8 { 1 }
  /// The sender asked that no HPACK table may hold it (RFC 7541 section 7.1.3).
  @inlinable @inline(__always) public static var neverIndexedFlag: UInt8 { 2 }
  /// The field is a whole HTTP/1 line in memory, name, colon, whitespace, value, whitespace, CR, LF, so that
  /// a writer may copy it, with its neighbours, as it is. Whoever replaces name or value must clear it;
  /// `setValue` does.
  @inlinable @inline(__always) public static var lineFlag: UInt8 { 4 }

  @inlinable @inline(__always)
  public init(name: Bytes, value: Bytes, known: KnownHeader, flags: UInt8 = 0) {
    unsafe self.name = name.start
    unsafe self.value = value.start
    self.nameLength = UInt32(truncatingIfNeeded: name.count)
    self.valueLength = UInt32(truncatingIfNeeded: value.count)
    self.known = known
    self.flags = flags
  }

  @inlinable @inline(__always)
  public var nameBytes: Bytes { unsafe Bytes(start: name, count: Int(nameLength)) }

  @inlinable @inline(__always)
  public var valueBytes: Bytes { unsafe Bytes(start: value, count: Int(valueLength)) }

  @inlinable @inline(__always)
  public var isDropped: Bool {
    get { flags & Self.dropFlag != 0 }
    set { flags = newValue ? flags | Self.dropFlag : flags & ~Self.dropFlag }
  }

  /// Replaces the value; the old line is not copied any more.
  @inlinable @inline(__always)
  public mutating func setValue(_ bytes: Bytes) {
    unsafe value = bytes.start
    valueLength = UInt32(truncatingIfNeeded: bytes.count)
    flags &= ~Self.lineFlag
  }
}

/// Header fields in the order in which they came, in memory of the caller with room for `capacity`.
@frozen
@safe
public struct HeaderTable {
  // INVARIANT: `base` has room for `capacity` fields, the first `count` of which are initialised. The owner
  // of the memory (worker, stream or test) outlives every head that uses it. A copy of the table shares the
  // memory.
  public let base: UnsafeMutablePointer<HeaderField>
  public let capacity: Int
  public var count: Int

  @inlinable @inline(__always)
  public init(base: UnsafeMutablePointer<HeaderField>, capacity: Int) {
    unsafe self.base = base
    self.capacity = capacity
    self.count = 0
  }

  /// A table without room.
  @inlinable
  public static var empty: HeaderTable {
    // SAFETY: with a capacity of 0 the address is never read; it only has to be aligned and not null.
    let nowhere = unsafe UnsafeMutablePointer<HeaderField>(bitPattern: 64)
    return unsafe HeaderTable(base: nowhere.unsafelyUnwrapped, capacity: 0)
  }

  /// Traps outside the first `count` fields.
  @inlinable @inline(__always)
  public subscript(index: Int) -> HeaderField {
    get {
      precondition(index >= 0 && index < count)
      // SAFETY: the invariant covers the first `count` fields.
      return unsafe base[index]
    }
    nonmutating set {
      precondition(index >= 0 && index < count)
      // SAFETY: as above.
      unsafe base[index] = newValue
    }
  }

  /// False, and nothing is appended, when the table is full.
  @inlinable @inline(__always)
  public mutating func append(_ field: HeaderField) -> Bool {
    guard count < capacity else { return false }
    // SAFETY: `count` is below the capacity that the memory has room for.
    unsafe (base + count).initialize(to: field)
    count &+= 1
    return true
  }

  @inlinable @inline(__always)
  public mutating func removeAll() { count = 0 }

  /// Index of the first kept field of this kind at or after `start`, or -1.
  @inlinable
  public func firstIndex(of known: KnownHeader, from start: Int = 0) -> Int {
    var index = start
    while index < count {
      let field = self[index]
      if field.known == known && !field.isDropped { return index }
      index &+= 1
    }
    return -1
  }

  /// Index of the first kept field of this name (any case) at or after `start`, or -1.
  @inlinable
  public func firstIndex(named name: Bytes, from start: Int = 0) -> Int {
    var index = start
    while index < count {
      let field = self[index]
      if Int(field.nameLength) == name.count && !field.isDropped && field.nameBytes.equalsIgnoringCase(name) {
        return index
      }
      index &+= 1
    }
    return -1
  }
}
