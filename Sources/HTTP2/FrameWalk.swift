/// Finds where frames begin in what a peer sends (RFC 9113 section 4.1). The library says nothing about DATA that it
/// passes over because it does not know the stream: such frames have to be seen before it reads them.
struct FrameWalk {
  struct Header {
    var type: UInt8
    /// Of its payload.
    var length: Int
    /// Without the reserved bit.
    var streamID: Int32
    /// Where the header begins in the bytes at hand; 0 when it began in those before.
    var start: Int
  }

  static var headerLength: Int { 9 }

  /// Bytes until the next header begins.
  private var left: Int
  // INVARIANT: the first `partCount` bytes of a header of which more is to come.
  private var part = InlineArray<9, UInt8>(repeating: 0)
  private var partCount = 0

  /// - Parameter prefaceLength: bytes before the first frame.
  init(prefaceLength: Int) { left = prefaceLength }

  /// The next header that ends in the `count` bytes, looked for from `position` on; nil: there is none.
  // SAFETY: what is read lies below `count` or is kept in `part`.
  @inline(__always)
  mutating func next(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ position: inout Int) -> Header? {
    let skipped = min(left, count &- position)
    position &+= skipped
    left &-= skipped
    if position == count { return nil }
    if partCount > 0 || count &- position < Self.headerLength { return unsafe nextInPieces(bytes, count, &position) }
    let start = position
    position &+= Self.headerLength
    return unsafe read(bytes + start, start)
  }

  /// The frame that `next` found last is looked for again: its header lies whole in what comes then.
  mutating func goBack() { left = 0 }

  @inline(never)
  private mutating func nextInPieces(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ position: inout Int) -> Header? {
    let start = position
    while partCount < Self.headerLength {
      if position == count { return nil }
      part[partCount] = unsafe bytes[position]
      partCount += 1
      position += 1
    }
    partCount = 0
    var whole = part
    return unsafe withUnsafeBytes(of: &whole) { raw in
      unsafe read(raw.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self), start)
    }
  }

  @inline(__always)
  private mutating func read(_ header: UnsafePointer<UInt8>, _ start: Int) -> Header {
    left = unsafe Int(header[0]) << 16 | Int(header[1]) << 8 | Int(header[2])
    let id = unsafe UnsafeRawPointer(header + 5).loadUnaligned(as: UInt32.self).bigEndian & 0x7fff_ffff
    return unsafe Header(type: header[3], length: left, streamID: Int32(bitPattern: id), start: start)
  }
}
