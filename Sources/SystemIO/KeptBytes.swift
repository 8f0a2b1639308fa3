internal import Glibc

/// Bytes kept for later in one block of the heap, taken from the front; empty it owns nothing. A
/// trivial struct of one word: whoever drops it calls `release`.
@safe struct KeptBytes {
  private struct Header {
    var offset: UInt32
    var count: UInt32
    var capacity: UInt32
    var unused: UInt32
  }

  // INVARIANT: nil, or a block of a Header and `capacity` bytes, of which `count` > 0 from
  // `offset` on are kept.
  private var block: UnsafeMutablePointer<Header>?

  @inline(__always)
  var isEmpty: Bool { unsafe block == nil }

  var count: Int {
    guard let block = unsafe block else { return 0 }
    return Int(unsafe block.pointee.count)
  }

  /// The first byte. Only where there is one.
  var start: UnsafeMutablePointer<UInt8>? {
    guard let block = unsafe block else { return nil }
    return unsafe Self.bytes(block) + Int(block.pointee.offset)
  }

  private static func bytes(_ block: UnsafeMutablePointer<Header>) -> UnsafeMutablePointer<UInt8> {
    // SAFETY: the bytes of a block begin behind its header.
    unsafe UnsafeMutableRawPointer(block + 1).assumingMemoryBound(to: UInt8.self)
  }

  /// Appends. The block stays in one piece: bytes move to its front when at least as much room as
  /// they take is free there, else it grows.
  @inline(never)
  mutating func append(_ bytes: UnsafePointer<UInt8>, _ added: Int) {
    if added == 0 { return }
    let held = count, need = held &+ added
    precondition(need <= Int(Int32.max), "a caller that never looks at what is kept")
    // SAFETY, for all below: room for `need` bytes was made before bytes are copied.
    if let block = unsafe block {
      let offset = Int(unsafe block.pointee.offset), capacity = Int(unsafe block.pointee.capacity)
      if offset &+ need > capacity, offset >= held, need <= capacity {
        unsafe memmove(Self.bytes(block), Self.bytes(block) + offset, held)
        unsafe block.pointee.offset = 0
      } else if offset &+ need > capacity {
        grow(to: max(need, held &* 2))
      }
    } else {
      grow(to: need)
    }
    guard let block = unsafe block else { return }
    unsafe memcpy(Self.bytes(block) + Int(block.pointee.offset) + held, bytes, added)
    unsafe block.pointee.count = UInt32(need)
  }

  private mutating func grow(to need: Int) {
    let size = (need &+ MemoryLayout<Header>.size &+ 4095) & ~4095
    let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
    let new = unsafe memory.bindMemory(to: Header.self, capacity: 1)
    let held = count
    unsafe new.initialize(
      to: Header(offset: 0, count: UInt32(held), capacity: UInt32(size - MemoryLayout<Header>.size), unused: 0))
    if let start = unsafe start { unsafe memcpy(Self.bytes(new), start, held) }
    release()
    unsafe block = unsafe new
  }

  /// Drops the first `n` bytes, which are there.
  mutating func removeFirst(_ n: Int) {
    guard let block = unsafe block else { return }
    precondition(n <= Int(unsafe block.pointee.count))
    unsafe block.pointee.offset &+= UInt32(n)
    unsafe block.pointee.count &-= UInt32(n)
    if unsafe block.pointee.count == 0 { release() }
  }

  mutating func release() {
    if let block = unsafe block { unsafe UnsafeMutableRawPointer(block).deallocate() }
    unsafe block = nil
  }
}
