internal import CLinux
internal import Glibc

/// Memory that the kernel receives into: buffers of one size, provided through a ring
/// (IORING_REGISTER_PBUF_RING). A connection has one only while there are bytes in it.
///
/// The kernel takes buffers in the order of the ring, so that all that are in it are used in turn.
/// No more are offered than turns have needed of late, and those used last come first: what is
/// received lands in memory that is in the cache.
@safe struct BufferRing: ~Copyable {
  static let group: UInt16 = 0

  // INVARIANT: `places` and `memory` are mapped from init to deinit with room for `count` entries
  // and buffers of `stride` bytes. A buffer is either in the ring, where the kernel may write to
  // it, or was handed out by a completion and not given back.
  private let places: UnsafeMutablePointer<io_uring_buf>
  private let memory: UnsafeMutablePointer<UInt8>
  private let count: Int
  private let bytes: Int
  private let stride: Int
  private var tail: UInt16 = 0
  private var published: UInt16 = 0
  /// Buffers that nobody has, the one used last on top.
  private let spare: UnsafeMutablePointer<UInt16>
  private var spareCount = 0
  /// Buffers that the kernel has, and how many it should have.
  private var offered = 0
  private var wanted = BufferRing.fewest
  /// What the completions of this turn have taken.
  private var taken = 0
  private var ranOut = false

  private static let fewest = 16

  /// `count`: a power of two, at most 32,768. `slack` bytes behind each buffer are ours as well.
  init(_ ring: borrowing Ring, count: Int, bytes: Int, slack: Int) throws(SystemError) {
    precondition(count.nonzeroBitCount == 1 && count <= 32_768 && bytes > 0)
    let stride = (bytes + slack + 63) & ~63
    let placesBytes = count * MemoryLayout<io_uring_buf>.stride
    let places = unsafe try System.map(placesBytes)
    let memory: UnsafeMutableRawPointer
    do throws(SystemError) {
      unsafe memory = try System.map(count * stride)
    } catch {
      unsafe System.unmap(places, placesBytes)
      throw error
    }
    var registration = io_uring_buf_reg()
    registration.ring_addr = UInt64(UInt(bitPattern: places))
    registration.ring_entries = UInt32(count)
    registration.bgid = Self.group
    let result = unsafe clinux_ring_register(ring.descriptor, UInt32(IORING_REGISTER_PBUF_RING), &registration, 1)
    if result != 0 {
      let error = SystemError(errno: clinux_errno(), operation: "io_uring_register: buffers")
      unsafe System.unmap(memory, count * stride)
      unsafe System.unmap(places, placesBytes)
      throw error
    }
    self.count = count
    self.bytes = bytes
    self.stride = stride
    // SAFETY: zeroed mappings of the sizes that were asked for.
    unsafe self.places = places.bindMemory(to: io_uring_buf.self, capacity: count)
    unsafe self.memory = memory.bindMemory(to: UInt8.self, capacity: count * stride)
    unsafe spare = .allocate(capacity: count)
    for buffer in 0..<count { giveBack(UInt16(count - 1 - buffer)) }
    offer()
  }

  /// Must come after the ring's end: the kernel writes here until then.
  deinit {
    unsafe spare.deallocate()
    unsafe System.unmap(memory, count * stride)
    unsafe System.unmap(places, count * MemoryLayout<io_uring_buf>.stride)
  }

  @inline(__always)
  func start(of buffer: UInt16) -> UnsafeMutablePointer<UInt8> {
    unsafe memory + Int(buffer) &* stride
  }

  func contains(_ pointer: UnsafePointer<UInt8>, buffer: UInt16) -> Bool {
    let start = unsafe start(of: buffer)
    return unsafe pointer >= UnsafePointer(start) && pointer < UnsafePointer(start + stride)
  }

  @inline(__always)
  mutating func giveBack(_ buffer: UInt16) {
    unsafe spare[spareCount] = buffer
    spareCount &+= 1
  }

  /// A completion that was seen for the first time took a buffer, or found none.
  @inline(__always)
  mutating func note(_ completion: RingCompletion) {
    if completion.buffer != nil { taken &+= 1 }
    if completion.result == -ENOBUFS { ranOut = true }
  }

  /// Once a turn, before the kernel receives: adjusts to what the last turn took, and offers spare
  /// buffers.
  mutating func offer() {
    offered &-= taken
    if ranOut {
      wanted = min(count, wanted &* 2)
    } else if taken < wanted / 4 {
      // Slowly, so that a quiet moment changes nothing.
      wanted = max(Self.fewest, wanted &- 1)
    }
    taken = 0
    ranOut = false
    while offered < wanted, spareCount > 0 {
      spareCount &-= 1
      let buffer = unsafe spare[spareCount]
      let place = unsafe places + Int(tail) & (count &- 1)
      // The last field of the first place is the ring's tail: it is left alone.
      unsafe place.pointee.addr = UInt64(UInt(bitPattern: start(of: buffer)))
      unsafe place.pointee.len = UInt32(bytes)
      unsafe place.pointee.bid = buffer
      tail = tail &+ 1
      offered &+= 1
    }
    if tail == published { return }
    published = tail
    // SAFETY: `resv` of the first place is where the kernel reads the tail (io_uring_buf_ring).
    let word = unsafe UnsafeMutableRawPointer(places) + Self.tailOffset
    unsafe clinux_store_release_u16(word.assumingMemoryBound(to: UInt16.self), tail)
  }

  private static let tailOffset = 14
}
