internal import CNghttp2
internal import IdleMemory

/// Where the library's memory of a session lies: what it allocates with a session (its record, the tables, a frame
/// buffer; 25 KB that are mostly unused) in a slot of the inbox, all later allocations in the inbox's blocks. While
/// the session rests, the slot's contents are put away.
@safe
struct SessionMemory {
  // INVARIANT: nil, or a slot of the inbox's that is ours, of `capacity` bytes (0: nil), the first `used` of which
  // are handed out.
  var slot: UnsafeMutableRawPointer?
  var used = 0
  var capacity = 0
  /// The library is making the session.
  var isBuilding = false
  // INVARIANT: set while the session rests; the slot must not be touched then.
  var image: IdleImage?

  /// What the library allocates with a session (1.52). Were it more, the rest would come from the heap.
  static var libraryBytes: Int { 25_600 }
  static var slotBytes: Int { 28 * 1024 }
  /// Addresses that an inbox reserves: 1.8 GB of them; further sessions stay awake.
  static var slotCount: Int { 65_536 }

  // SAFETY of this file: hooks are called by the library with the session's live record and with what they gave
  // out; the bounds of the slot are checked at each.

  mutating func takeSlot(_ slots: IdleSlots?) {
    guard let slots, let taken = unsafe slots.take() else { return }
    unsafe slot = taken
    capacity = slots.slotBytes
    used = unsafe slots.offset(in: taken, spare: capacity - Self.libraryBytes)
  }

  mutating func giveSlot(_ slots: IdleSlots?) {
    guard let slots, let slot = unsafe slot else { return }
    unsafe slots.give(slot)
    unsafe self.slot = nil
    capacity = 0
  }

  @inline(__always)
  private func holds(_ memory: UnsafeMutableRawPointer) -> Bool {
    unsafe UInt(bitPattern: memory) &- UInt(bitPattern: slot) < UInt(bitPattern: capacity)
  }

  /// From the slot while the session is made; nil: from the heap.
  private mutating func carve(_ count: Int) -> UnsafeMutableRawPointer? {
    guard isBuilding, let slot = unsafe slot, count <= capacity - used else { return nil }
    let start = unsafe slot + used
    used = min(capacity, (used + count + 15) & ~15)
    return unsafe start
  }

  /// Bytes from here to the end of what was handed out: no allocation of the slot reaches further.
  private func rest(from memory: UnsafeMutableRawPointer) -> Int {
    guard let slot = unsafe slot else { return 0 }
    return unsafe slot + used - memory
  }

  static func hooks(_ state: UnsafeMutablePointer<SessionState>) -> nghttp2_mem {
    unsafe nghttp2_mem(
      mem_user_data: state,
      malloc: { count, data in
        if let place = unsafe sessionState(data).pointee.memory.carve(count) { return unsafe place }
        return unsafe sessionState(data).pointee.inbox.pointee.blocks.take(count)
      },
      free: { memory, data in
        guard let memory = unsafe memory, unsafe !sessionState(data).pointee.memory.holds(memory) else { return }
        unsafe sessionState(data).pointee.inbox.pointee.blocks.give(memory)
      },
      calloc: { number, size, data in
        let (count, overflow) = number.multipliedReportingOverflow(by: size)
        if overflow { return nil }
        guard
          let place = unsafe sessionState(data).pointee.memory.carve(count)
            ?? sessionState(data).pointee.inbox.pointee.blocks.take(count)
        else { return nil }
        return unsafe memset(place, 0, count)
      },
      realloc: { memory, count, data in
        guard let memory = unsafe memory else {
          if let place = unsafe sessionState(data).pointee.memory.carve(count) { return unsafe place }
          return unsafe sessionState(data).pointee.inbox.pointee.blocks.take(count)
        }
        guard unsafe sessionState(data).pointee.memory.holds(memory) else {
          return unsafe sessionState(data).pointee.inbox.pointee.blocks.resize(memory, count)
        }
        guard let moved = unsafe sessionState(data).pointee.inbox.pointee.blocks.take(count) else { return nil }
        return unsafe memcpy(moved, memory, min(count, sessionState(data).pointee.memory.rest(from: memory)))
      })
  }
}

@inline(__always)
private func sessionState(_ data: UnsafeMutableRawPointer?) -> UnsafeMutablePointer<SessionState> {
  unsafe data.unsafelyUnwrapped.assumingMemoryBound(to: SessionState.self)
}

extension SessionState {
  /// Puts the session's memory away, if nothing is under way on it.
  static func rest(_ state: UnsafeMutablePointer<SessionState>) {
    guard unsafe !state.pointee.isDead && state.pointee.streams == nil && state.pointee.block == nil else { return }
    guard let slots = unsafe state.pointee.inbox.pointee.slots, let slot = unsafe state.pointee.memory.slot else {
      return
    }
    if unsafe state.pointee.memory.image != nil || sessionWantsWrite(state) { return }
    unsafe state.pointee.memory.image = slots.putAway(slot, used: state.pointee.memory.used)
  }

  /// Every way to the library leads through `session`, and so through here.
  @inline(never)
  mutating func wake() {
    guard let image = memory.image, let slot = unsafe memory.slot else { return }
    memory.image = nil
    unsafe inbox.pointee.slots?.bringBack(slot, image)
  }
}
