internal import CNghttp2

/// Blocks of the heap that the library gave back, by size, for its next calls: it takes and gives back some fifteen
/// of them a request. One thread's.
@safe
struct BlockPool {
  // INVARIANT: lists of blocks that nobody else points to, each linked through its first word. A block of class n has
  // 64 << n bytes behind a header with its class; one of `plainClass` has any number and is in no list.
  private var lists = unsafe InlineArray<5, UnsafeMutableRawPointer?>(repeating: nil)
  /// Bytes of the blocks in the lists, without their headers.
  private var keptBytes = 0
  /// One block more is freed; 0: every one is, so that a tool that watches the heap sees each.
  let mostBytes: Int

  init(mostBytes: Int) { self.mostBytes = mostBytes }

  /// Of one worker. 64 gRPC requests at once, on both sides, then take nothing from the heap (`make ratchet`).
  static var defaultBytes: Int { 512 * 1024 }
  static var largestBytes: Int { 1024 }
  private static var plainClass: Int { 5 }
  /// Keeps the alignment that the heap gives.
  private static var headerBytes: Int { 16 }

  // SAFETY of the rest: blocks come from `take`, and so have a header; sizes are those of their class.

  @inline(__always)
  private static func sizeClass(_ count: Int) -> Int {
    count <= 64 ? 0 : 58 &- (count &- 1).leadingZeroBitCount
  }

  @inline(__always)
  private static func sizeClass(of block: UnsafeMutableRawPointer) -> Int {
    unsafe (block - headerBytes).load(as: Int.self)
  }

  /// At least so many bytes, whatever is in them; nil when memory is out.
  @inline(__always)
  mutating func take(_ count: Int) -> UnsafeMutableRawPointer? {
    guard count <= Self.largestBytes else { return unsafe Self.allocate(count, sizeClass: Self.plainClass) }
    let index = Self.sizeClass(count)
    guard let block = unsafe lists[index] else { return unsafe Self.allocate(64 &<< index, sizeClass: index) }
    unsafe lists[index] = block.load(as: UnsafeMutableRawPointer?.self)
    keptBytes &-= 64 &<< index
    return unsafe block
  }

  private static func allocate(_ count: Int, sizeClass: Int) -> UnsafeMutableRawPointer? {
    let (size, overflow) = count.addingReportingOverflow(headerBytes)
    guard !overflow, let base = unsafe malloc(size) else { return nil }
    unsafe base.storeBytes(of: sizeClass, as: Int.self)
    return unsafe base + headerBytes
  }

  @inline(__always)
  mutating func give(_ block: UnsafeMutableRawPointer) {
    let index = unsafe Self.sizeClass(of: block)
    guard index < Self.plainClass, keptBytes &+ 64 &<< index <= mostBytes else {
      unsafe free(block - Self.headerBytes)
      return
    }
    unsafe block.storeBytes(of: lists[index], as: UnsafeMutableRawPointer?.self)
    unsafe lists[index] = block
    keptBytes &+= 64 &<< index
  }

  /// The block, or a copy of it, with room for so many bytes; nil when memory is out, and the block stays.
  mutating func resize(_ block: UnsafeMutableRawPointer, _ count: Int) -> UnsafeMutableRawPointer? {
    let index = unsafe Self.sizeClass(of: block)
    if index == Self.plainClass {
      guard count <= Int.max - Self.headerBytes,
        let base = unsafe realloc(block - Self.headerBytes, count + Self.headerBytes)
      else { return nil }
      return unsafe base + Self.headerBytes
    }
    if count <= 64 << index { return unsafe block }
    guard let moved = unsafe take(count) else { return nil }
    unsafe memcpy(moved, block, 64 << index)
    unsafe give(block)
    return unsafe moved
  }

  /// Frees what it keeps.
  mutating func destroy() {
    for index in 0..<Self.plainClass {
      while let block = unsafe lists[index] {
        unsafe lists[index] = block.load(as: UnsafeMutableRawPointer?.self)
        unsafe free(block - Self.headerBytes)
      }
    }
    keptBytes = 0
  }
}
