public import HTTPSemantics

/// The last frame of a gRPC-Web body: a message whose flags have bit 7 set and whose payload is the trailers as lines
/// of HTTP/1 (doc/PROTOCOL-WEB.md, "Message framing"). Written into memory of the caller.
@safe
public struct GRPCWebTrailerFrame: ~Copyable {
  // INVARIANT: `base` has room for `capacity` bytes, of which `count` are written.
  private let base: UnsafeMutablePointer<UInt8>
  private let capacity: Int
  private var count = 5
  /// False as soon as a line found no room: nothing that was written may be sent.
  public private(set) var isSound = true

  /// - Parameter capacity: at least 5 bytes.
  public init(_ base: UnsafeMutablePointer<UInt8>, capacity: Int) {
    precondition(capacity >= 5)
    unsafe self.base = base
    self.capacity = capacity
  }

  /// One trailer; the name becomes lower-case. The value has no line end: who parsed it has checked that.
  public mutating func line(_ name: Bytes, _ value: Bytes) {
    let size = name.count + value.count + 4
    guard isSound, size <= capacity - count else {
      isSound = false
      return
    }
    // SAFETY: the line's bytes were just counted against the room.
    let place = unsafe base + count
    var index = 0
    while index < name.count {
      unsafe place[index] = lowercase(name.start[index])
      index &+= 1
    }
    unsafe place[index] = 0x3a
    unsafe place[index + 1] = 0x20
    unsafe (place + index + 2).update(from: value.start, count: value.count)
    unsafe place[size - 2] = 0x0d
    unsafe place[size - 1] = 0x0a
    count += size
  }

  /// Every field that is to be forwarded.
  public mutating func lines(_ table: HeaderTable) {
    var index = 0
    while index < table.count {
      let field = table[index]
      if !field.isDropped { line(field.nameBytes, field.valueBytes) }
      index &+= 1
    }
  }

  /// Writes the prefix. Returns the whole frame.
  public consuming func end() -> Bytes {
    let length = UInt32(count - 5)
    // SAFETY: the first five bytes were kept free for this.
    unsafe base[0] = 0x80
    unsafe base[1] = UInt8(truncatingIfNeeded: length >> 24)
    unsafe base[2] = UInt8(truncatingIfNeeded: length >> 16)
    unsafe base[3] = UInt8(truncatingIfNeeded: length >> 8)
    unsafe base[4] = UInt8(truncatingIfNeeded: length)
    return unsafe Bytes(start: base, count: count)
  }
}
