/// What a slot must have to be in a `SlotQueue`.
protocol QueuedSlot {
  /// Whether the slot is in a queue. It stays there over a close, as queues are not searched; a new
  /// owner of the slot finds nothing to do then.
  var isQueued: Bool { get set }
  /// The next slot of the queue; -1: the last.
  var nextReady: Int32 { get set }
}

/// Slots that have something to give, in order, linked through the slots themselves. A slot is in
/// one queue at the most.
struct SlotQueue<Slot: QueuedSlot> {
  private var first: Int32 = -1
  private var last: Int32 = -1

  @inline(__always)
  var isEmpty: Bool { first < 0 }

  // SAFETY, for all below: the caller's `slots` has room for every index that it queues.

  /// Nothing happens when the slot is in a queue already.
  @inline(__always)
  mutating func append(_ index: Int32, _ slots: UnsafeMutablePointer<Slot>) {
    let slot = unsafe slots + Int(index)
    if unsafe slot.pointee.isQueued { return }
    unsafe slot.pointee.isQueued = true
    unsafe slot.pointee.nextReady = -1
    if last >= 0 { unsafe slots[Int(last)].nextReady = index } else { first = index }
    last = index
  }

  /// Takes all of another queue behind its own.
  mutating func take(_ other: inout SlotQueue, _ slots: UnsafeMutablePointer<Slot>) {
    if other.isEmpty { return }
    if last >= 0 { unsafe slots[Int(last)].nextReady = other.first } else { first = other.first }
    last = other.last
    other = SlotQueue()
  }

  /// The first, which is in no queue any more; -1: there is none.
  @inline(__always)
  mutating func popFirst(_ slots: UnsafeMutablePointer<Slot>) -> Int32 {
    let index = first
    if index < 0 { return -1 }
    let slot = unsafe slots + Int(index)
    first = unsafe slot.pointee.nextReady
    if first < 0 { last = -1 }
    unsafe slot.pointee.isQueued = false
    return index
  }
}
