internal import Glibc

// SAFETY, for all pointers here: see the invariants of UringEngine and UringSlot.
extension UringEngine {
  public mutating func reserve(_ count: Int) -> UnsafeMutablePointer<UInt8> {
    precondition(count >= 0 && count <= IOLimits.reserveBytes, "more than can be reserved at once")
    if arenaUsed &+ count > Self.arenaBytes { submit() }
    reserved = arenaUsed
    return unsafe arena + reserved
  }

  public mutating func send(_ socket: Socket, reserved count: Int) {
    precondition(count <= IOLimits.reserveBytes)
    unsafe transmit(socket, arena + reserved, count)
  }

  public mutating func send(_ socket: Socket, copying bytes: UnsafePointer<UInt8>, count: Int) {
    // What has just been received is sent from where it lies.
    if count <= Self.batchBytes, let current, unsafe buffers.contains(bytes, buffer: current) {
      if unsafe transmit(socket, bytes, count) { isCurrentPinned = true }
      return
    }
    guard count <= Self.copyBytes else {
      unsafe transmitAtOnce(socket, bytes, count)
      return
    }
    let place = unsafe reserve(count)
    unsafe place.update(from: bytes, count: count)
    unsafe transmit(socket, place, count)
  }

  private mutating func transmitAtOnce(_ socket: Socket, _ bytes: UnsafePointer<UInt8>, _ count: Int) {
    guard let slot = unsafe slot(of: socket) else { return }
    _ = unsafe transmitSlowly(slot, socket.index, bytes, count)
  }

  public func unsentBytes(_ socket: Socket) -> Int {
    guard let slot = unsafe slot(of: socket) else { return 0 }
    return unsafe slot.pointee.unsent.count
  }

  public mutating func shutdownWrite(_ socket: Socket) {
    guard let slot = unsafe slot(of: socket) else { return }
    let flags = unsafe slot.pointee.flags
    if !flags.isDisjoint(with: .sendsNothing) { return }
    unsafe slot.pointee.flags.insert(.shutdownDue)
    hasShutdownsDue = true
    change(socket.index)
  }

  /// - Returns: whether the bytes have to stay where they are until the batch is handed over.
  @inline(__always)
  @discardableResult
  private mutating func transmit(_ socket: Socket, _ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    guard count > 0, let slot = unsafe slot(of: socket) else { return false }
    guard unsafe slot.pointee.flags.isDisjoint(with: .notSendable), unsafe slot.pointee.unsent.isEmpty,
      count <= Self.batchBytes, unsafe slot.pointee.batch != batch
    else { return unsafe transmitSlowly(slot, socket.index, bytes, count) }
    unsafe batchUp(slot, socket.index, bytes, count)
    return true
  }

  @inline(__always)
  private mutating func batchUp(
    _ slot: UnsafeMutablePointer<UringSlot>, _ index: Int32, _ bytes: UnsafePointer<UInt8>, _ count: Int
  ) {
    // A full ring is handed over, which ends the batch; the memory of this message must not be
    // taken for free then.
    if ring.isFull { submit() }
    let entry = unsafe ring.push(
      .send(index, bytes, UInt32(count), tag(.send, index)).byFile(isRegistered(index)))
    unsafe slot.pointee.batched = unsafe bytes
    unsafe slot.pointee.batchedCount = UInt32(count)
    unsafe slot.pointee.batchedEntry = entry
    unsafe slot.pointee.batch = batch
    let offset = unsafe bytes - UnsafePointer(arena)
    if offset >= 0 && offset < Self.arenaBytes { occupyArena(to: offset &+ count) }
  }

  @inline(never)
  private mutating func transmitSlowly(
    _ slot: UnsafeMutablePointer<UringSlot>, _ index: Int32, _ bytes: UnsafePointer<UInt8>, _ count: Int
  ) -> Bool {
    // Batches are counted modulo 2^32: the ring knows whether this is an old one.
    if unsafe slot.pointee.batch == batch && ring.holds(slot.pointee.batchedEntry, tag(.send, index)) {
      if unsafe joinBatched(slot, bytes, count) { return false }
      // Bytes of one socket go out in order: the first ones before these.
      submit()
    }
    guard unsafe slot.pointee.flags.isDisjoint(with: .notSendable), unsafe slot.pointee.unsent.isEmpty else {
      if unsafe slot.pointee.flags.isDisjoint(with: .sendsNothing) {
        unsafe slot.pointee.unsent.append(bytes, count)
        change(index)
      }
      return false
    }
    switch unsafe System.send(index, bytes, count) {
    case .done(let n):
      if n < count { unsafe keep(slot, index, bytes + n, count &- n) }
    case .wouldBlock:
      unsafe keep(slot, index, bytes, count)
    case .failed(let error):
      breakConnection(index, error)
    }
    return false
  }

  /// A second message of the socket in this batch is put behind the first, where that one is the
  /// newest in the arena: both go out with one send.
  private mutating func joinBatched(
    _ slot: UnsafeMutablePointer<UringSlot>, _ bytes: UnsafePointer<UInt8>, _ count: Int
  ) -> Bool {
    let together = Int(unsafe slot.pointee.batchedCount) &+ count
    guard together <= Self.batchBytes, let first = unsafe slot.pointee.batched,
      unsafe first + Int(slot.pointee.batchedCount) == UnsafePointer(arena + arenaEnd),
      arenaEnd &+ count <= Self.arenaBytes
    else { return false }
    // The message may have been composed right behind: the areas may overlap.
    unsafe memmove(arena + arenaEnd, bytes, count)
    occupyArena(to: arenaEnd &+ count)
    unsafe slot.pointee.batchedCount = UInt32(together)
    unsafe ring.setLength(of: slot.pointee.batchedEntry, UInt32(together))
    return true
  }

  private mutating func keep(
    _ slot: UnsafeMutablePointer<UringSlot>, _ index: Int32, _ bytes: UnsafePointer<UInt8>, _ count: Int
  ) {
    unsafe slot.pointee.unsent.append(bytes, count)
    change(index)
  }

  /// Completion of a batched send that did not go out whole.
  @inline(never)
  mutating func sendFellShort(_ completion: RingCompletion) {
    let index = completion.tag.index
    let slot = unsafe slots + Int(index)
    guard unsafe completion.tag.isOf(slot.pointee.generation), let bytes = unsafe slot.pointee.batched
    else { return }
    let count = Int(unsafe slot.pointee.batchedCount)
    switch completion.result {
    case 0...: unsafe keep(slot, index, bytes + Int(completion.result), count &- Int(completion.result))
    case -EAGAIN, -EINTR: unsafe keep(slot, index, bytes, count)
    default: breakConnection(index, -completion.result)
    }
  }

  /// Sends what was kept.
  mutating func flush(_ index: Int32) {
    let slot = unsafe slots + Int(index)
    guard let start = unsafe slot.pointee.unsent.start, unsafe !slot.pointee.flags.contains(.broken)
    else { return }
    switch unsafe System.send(index, start, slot.pointee.unsent.count) {
    case .done(let n):
      unsafe slot.pointee.unsent.removeFirst(n)
      if unsafe slot.pointee.unsent.isEmpty {
        unsafe slot.pointee.flags.insert(.drainedDue)
        if unsafe slot.pointee.flags.contains(.shutdownDue) { hasShutdownsDue = true }
      }
      if unsafe slot.pointee.kind == .closing { waitForDrain(index) }
    case .wouldBlock: break
    case .failed(let error):
      breakConnection(index, error)
      return
    }
    change(index)
  }

  /// Nothing can be sent any more. What the peer sent before is still received: it may be the
  /// answer that says why.
  mutating func breakConnection(_ index: Int32, _ error: Int32) {
    let slot = unsafe slots + Int(index)
    if unsafe slot.pointee.error == 0 { unsafe slot.pointee.error = error }
    unsafe slot.pointee.flags.formUnion([.broken, .readable])
    unsafe slot.pointee.flags.remove(.drainedDue)
    unsafe slot.pointee.unsent.release()
    enqueue(index)
  }

  /// Half-closes what was to be half-closed once everything is sent. The batch was handed over.
  mutating func shutDownDue(_ index: Int32) {
    let slot = unsafe slots + Int(index)
    let flags = unsafe slot.pointee.flags
    guard flags.contains(.shutdownDue), !flags.contains(.connecting), unsafe slot.pointee.unsent.isEmpty
    else { return }
    if unsafe slot.pointee.kind == .closing {
      beginLinger(index)
    } else if unsafe slot.pointee.kind == .stream {
      System.shutdownWrite(index)
      unsafe slot.pointee.flags.remove(.shutdownDue)
      unsafe slot.pointee.flags.insert(.shutdownDone)
    }
  }

  /// Everything is sent: half-closes and gives the peer time to see it. Resetting at once could
  /// destroy bytes that it has not read yet.
  private mutating func beginLinger(_ index: Int32) {
    let slot = unsafe slots + Int(index)
    if unsafe slot.pointee.flags.isDisjoint(with: [.ended, .peerEnded, .broken]) {
      if unsafe !slot.pointee.flags.contains(.shutdownDone) { System.shutdownWrite(index) }
      unsafe slot.pointee.flags.remove(.shutdownDue)
      unsafe slot.pointee.flags.insert(.shutdownDone)
      let now = monotonicNanoseconds() / 1_000_000
      timers.schedule(index, atMilliseconds: now &+ options.lingerMilliseconds)
    } else {
      finish(index)
    }
  }
}
