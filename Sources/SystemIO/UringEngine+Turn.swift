internal import CLinux
internal import Glibc

// SAFETY, for all pointers here: see the invariants of UringEngine and UringSlot. Indices come
// from the queues or from completions, whose tags were made from registered slots.
extension UringEngine {
  // MARK: wait

  public mutating func wait(untilNanoseconds deadline: UInt64) {
    releaseCurrent()
    unsafe ready.take(&later, slots)
    turn &+= 1
    share.beginTurn(closes: options.closesPerTurn)
    if hasShutdownsDue { shutDownAll() }
    reconcileAll()
    buffers.offer()
    handOver(waits: true, nanoseconds: !ready.isEmpty ? 0 : timeout(until: deadline))
    if timers.count > 0 { expireTimers() }
  }

  /// Nanoseconds from now; nil: for ever.
  private func timeout(until deadline: UInt64) -> UInt64? {
    var end = deadline
    if timers.count > 0 {
      let (own, isLate) = timers.nextDeadline.multipliedReportingOverflow(by: 1_000_000)
      if !isLate { end = min(end, own) }
    }
    if !discards.isEmpty { end = min(end, discards.notBefore) }
    if end == .max { return nil }
    let now = monotonicNanoseconds()
    return end <= now ? 0 : end &- now
  }

  private mutating func expireTimers() {
    timers.advance(nowMilliseconds: monotonicNanoseconds() / 1_000_000)
    // What is left is for the next turn, which comes at once.
    var left = options.timersPerTurn
    while left > 0 {
      left &-= 1
      let index = timers.popExpired()
      if index < 0 { return }
      switch unsafe slots[Int(index)].kind {
      case .closing: finish(index)
      case .listener:
        reserve.refill()
        unsafe slots[Int(index)].flags.remove(.resting)
        change(index)
      case .free, .stream, .arriving, .watched: break
      }
    }
  }

  private mutating func shutDownAll() {
    hasShutdownsDue = false
    if ring.hasUnsubmitted { submit() }
    var position = 0
    while position < changedCount {
      shutDownDue(unsafe changed[position])
      position &+= 1
    }
  }

  // MARK: What is wanted against what the kernel has in hand

  private mutating func reconcileAll() {
    var position = 0
    while position < changedCount {
      let index = unsafe changed[position]
      unsafe slots[Int(index)].flags.remove(.changed)
      reconcile(index)
      position &+= 1
    }
    changedCount = 0
  }

  private mutating func reconcile(_ index: Int32) {
    let slot = unsafe slots + Int(index)
    let flags = unsafe slot.pointee.flags
    switch unsafe slot.pointee.kind {
    case .free, .arriving: return
    case .watched:
      // Asked anew in each turn, it sees what its owner has left.
      if flags.contains(.readableArmed) { return }
      push(.poll(index, POLLIN, repeats: false, tag(.readable, index)).byFile(isRegistered(index)))
      unsafe slot.pointee.flags.insert(.readableArmed)
    case .listener:
      if !flags.isDisjoint(with: [.acceptArmed, .resting, .roomArmed]) { return }
      if flags.contains(.exhausted) {
        // An accept takes its descriptor first, and fails without one though nobody is there.
        push(.poll(index, POLLIN, repeats: false, tag(.room, index)).byFile(isRegistered(index)))
        unsafe slot.pointee.flags.insert(.roomArmed)
      } else {
        push(.accept(index, tag(.accept, index)).byFile(isRegistered(index)))
        unsafe slot.pointee.flags.insert(.acceptArmed)
      }
    case .closing where unsafe slot.pointee.error != 0: return
    case .stream, .closing:
      if flags.contains(.connecting) || flags.contains(.failedGiven) { return }
      unsafe reconcileReceive(slot, index)
      if unsafe !slot.pointee.unsent.isEmpty, !flags.contains(.roomArmed) {
        push(.poll(index, POLLOUT, repeats: false, tag(.room, index)).byFile(isRegistered(index)))
        unsafe slot.pointee.flags.insert(.roomArmed)
      }
    }
  }

  /// One multishot receive while the owner wants what comes. A socket that fills buffer after
  /// buffer is read by readiness instead, into one large buffer that stays in the cache, and what
  /// the owner does not want stays with the kernel.
  private mutating func reconcileReceive(_ slot: UnsafeMutablePointer<UringSlot>, _ index: Int32) {
    let flags = unsafe slot.pointee.flags
    if !flags.isDisjoint(with: [.peerEnded, .ended]) { return }
    // Bytes that wait with us are back-pressure: no more are taken from the kernel before they went.
    let hasRoom = unsafe slot.pointee.arrived.isEmpty
    let isWanted = unsafe flags.contains(.receiving) && hasRoom || slot.pointee.kind == .closing
    if flags.contains(.receiveArmed) {
      // It goes on while nobody wants anything: most stops are over before something comes.
      if hasRoom && !flags.contains(.bulk) || flags.contains(.cancelling) { return }
      push(.cancel(tag(.receive, index)))
      unsafe slot.pointee.flags.insert(.cancelling)
    } else if isWanted && flags.contains(.bulk) {
      if flags.contains(.readable) {
        enqueue(index)
      } else if !flags.contains(.readableArmed) {
        push(.poll(index, POLLIN, repeats: false, tag(.readable, index)).byFile(isRegistered(index)))
        unsafe slot.pointee.flags.insert(.readableArmed)
      }
    } else if isWanted {
      push(.receive(index, tag(.receive, index)).byFile(isRegistered(index)))
      unsafe slot.pointee.flags.insert(.receiveArmed)
    } else if flags.isDisjoint(with: [.hangUpArmed, .broken]) {
      push(.poll(index, 0, repeats: false, tag(.hangUp, index)).byFile(isRegistered(index)))
      unsafe slot.pointee.flags.insert(.hangUpArmed)
    }
  }

  // MARK: The ready queues

  mutating func enqueue(_ index: Int32) { unsafe ready.append(index, slots) }

  mutating func enqueueLater(_ index: Int32) { unsafe later.append(index, slots) }

  /// Whether the slot may have another event of the costly kind in this turn.
  @inline(__always)
  private func takesShare(_ slot: UnsafeMutablePointer<UringSlot>, of limit: UInt16) -> Bool {
    if unsafe slot.pointee.turn != turn {
      unsafe slot.pointee.turn = turn
      unsafe slot.pointee.used = 0
    }
    if unsafe slot.pointee.used >= limit { return false }
    unsafe slot.pointee.used &+= 1
    return true
  }

  // MARK: next

  public mutating func next(_ event: inout IOEvent) -> Bool {
    releaseCurrent()
    while let completion = ring.pop() {
      if completion.tag.operation == RingTag.Operation.receive.rawValue {
        if receiveCompleted(completion, &event) { return true }
      } else if otherCompleted(completion, &event) {
        return true
      }
    }
    while true {
      let index = unsafe ready.popFirst(slots)
      if index < 0 {
        if !discards.isEmpty { discardSome() }
        return false
      }
      if stepReady(index, &event) { return true }
    }
  }

  /// The bytes of the last event are not looked at any more.
  @inline(__always)
  private mutating func releaseCurrent() {
    guard let buffer = current else { return }
    current = nil
    if isCurrentPinned {
      unsafe pinned[pinnedCount] = buffer
      pinnedCount &+= 1
      isCurrentPinned = false
    } else {
      buffers.giveBack(buffer)
    }
  }

  @inline(__always)
  private func fill(_ event: inout IOEvent, _ kind: IOEventKind, _ index: Int32, error: Int32 = 0) {
    event.kind = kind
    event.error = error
    event.socket = Socket(index: index, generation: unsafe slots[Int(index)].generation)
    event.count = 0
  }

  @inline(__always)
  private mutating func receiveCompleted(_ completion: RingCompletion, _ event: inout IOEvent) -> Bool {
    let index = completion.tag.index
    let slot = unsafe slots + Int(index)
    if unsafe completion.result > 0 && completion.hasMore && completion.tag.isOf(slot.pointee.generation)
      && slot.pointee.kind == .stream && slot.pointee.flags.contains(.receiving) && slot.pointee.arrived.isEmpty,
      let buffer = completion.buffer, unsafe takesShare(slot, of: buffersPerTurn)
    {
      current = buffer
      unsafe noteFill(slot, index, Int(completion.result))
      fill(&event, .received, index)
      unsafe event.bytes = buffers.start(of: buffer)
      event.count = Int(completion.result)
      return true
    }
    return receiveCompletedOtherwise(completion, &event)
  }

  /// Counts full buffers in a row.
  @inline(__always)
  private mutating func noteFill(_ slot: UnsafeMutablePointer<UringSlot>, _ index: Int32, _ count: Int) {
    if count < bufferBytes {
      unsafe slot.pointee.run = 0
      return
    }
    unsafe slot.pointee.run &+= 1
    if unsafe slot.pointee.run < Self.bulkRun || slot.pointee.flags.contains(.bulk) { return }
    unsafe slot.pointee.flags.formUnion([.bulk, .readable])
    unsafe slot.pointee.run = 0
    change(index)
  }

  @inline(never)
  private mutating func receiveCompletedOtherwise(
    _ completion: RingCompletion, _ event: inout IOEvent
  ) -> Bool {
    let index = completion.tag.index
    let slot = unsafe slots + Int(index)
    defer { if let buffer = completion.buffer { buffers.giveBack(buffer) } }
    guard unsafe completion.tag.isOf(slot.pointee.generation) else { return false }
    if !completion.hasMore {
      unsafe slot.pointee.flags.remove([.receiveArmed, .cancelling])
      change(index)
    }
    if unsafe slot.pointee.kind == .closing { return discarded(index, completion.result) }
    switch completion.result {
    case 1...:
      guard let buffer = completion.buffer else { break }
      unsafe slot.pointee.arrived.append(buffers.start(of: buffer), Int(completion.result))
      change(index)
    case 0: unsafe slot.pointee.flags.insert(.peerEnded)
    // Buffers ran out, or we asked for it: `reconcile` knows whether to go on.
    case -ENOBUFS, -ECANCELED, -EINTR, -EAGAIN: break
    default:
      if unsafe slot.pointee.error == 0 { unsafe slot.pointee.error = -completion.result }
      unsafe slot.pointee.flags.formUnion([.broken, .peerEnded])
      unsafe slot.pointee.unsent.release()
    }
    return stepStream(index, &event)
  }

  /// What comes in on a socket without an owner. Never gives an event.
  private mutating func discarded(_ index: Int32, _ result: Int32) -> Bool {
    let slot = unsafe slots + Int(index)
    switch result {
    case 1...:
      unsafe slot.pointee.flags.formUnion([.bulk, .readable])
      change(index)
    case -ENOBUFS, -ECANCELED, -EINTR, -EAGAIN: break
    case 0: discardedAll(index)
    default: finish(index)
    }
    return false
  }

  private mutating func discardedAll(_ index: Int32) {
    unsafe slots[Int(index)].flags.insert(.peerEnded)
    if unsafe slots[Int(index)].flags.contains(.shutdownDone) { finish(index) }
  }

  @inline(never)
  private mutating func discardSome() {
    while true {
      let index = unsafe discards.popFirst(slots, for: options.discardNanoseconds)
      if index < 0 { return }
      // A new owner of the slot may have something to get.
      if unsafe slots[Int(index)].kind == .closing { discard(index) } else { enqueue(index) }
    }
  }

  private mutating func discard(_ index: Int32) {
    // Put off by `close`: its number was in this queue from an owner before.
    if unsafe slots[Int(index)].error != 0 { return finish(index) }
    guard unsafe slots[Int(index)].flags.contains(.readable) else { return }
    // Of TCP nothing is copied (MSG_TRUNC, tcp(7)).
    switch unsafe System.receive(index, scratch, options.receiveBytes, flags: Int32(MSG_TRUNC)) {
    case .done(let n) where n > 0:
      if n < options.receiveBytes { unsafe slots[Int(index)].flags.remove(.readable) }
      change(index)
    case .done: discardedAll(index)
    case .wouldBlock:
      unsafe slots[Int(index)].flags.remove(.readable)
      change(index)
    case .failed: finish(index)
    }
  }

  @inline(never)
  private mutating func otherCompleted(_ completion: RingCompletion, _ event: inout IOEvent) -> Bool {
    guard let operation = RingTag.Operation(rawValue: completion.tag.operation) else { return false }
    switch operation {
    // Sends that fell short were seen when their batch ended.
    case .ignored, .receive, .send: return false
    case .wake: return wokeUp(completion, &event)
    case .accept: return acceptCompleted(completion, &event)
    case .connect, .readable, .room, .hangUp: break
    }
    let index = completion.tag.index
    guard unsafe completion.tag.isOf(slots[Int(index)].generation) else { return false }
    switch operation {
    case .connect: return connectCompleted(index, completion.result, &event)
    case .room:
      unsafe slots[Int(index)].flags.remove([.roomArmed, .exhausted])
      change(index)
      flush(index)
      return stepReady(index, &event)
    case .readable:
      unsafe slots[Int(index)].flags.remove(.readableArmed)
      unsafe slots[Int(index)].flags.insert(.readable)
      change(index)
      return stepReady(index, &event)
    default:
      hungUp(index, completion.result)
      return false
    }
  }

  private mutating func wokeUp(_ completion: RingCompletion, _ event: inout IOEvent) -> Bool {
    if !completion.hasMore { push(.poll(wake, POLLIN, repeats: true, RingTag(.wake, wake, 0))) }
    System.resetEvent(wake)
    event.kind = .woken
    event.socket = .none
    event.count = 0
    return true
  }

  // MARK: Streams

  private mutating func connectCompleted(_ index: Int32, _ result: Int32, _ event: inout IOEvent) -> Bool {
    let slot = unsafe slots + Int(index)
    let isOwned = unsafe slot.pointee.kind == .stream
    unsafe slot.pointee.flags.remove(.connecting)
    if result < 0 {
      unsafe slot.pointee.unsent.release()
      guard isOwned else {
        finish(index)
        return false
      }
      unsafe slot.pointee.error = -result
      unsafe slot.pointee.flags.formIntersection(.changed)
      unsafe slot.pointee.flags.formUnion([.broken, .ended, .failedGiven])
      fill(&event, .failed, index, error: -result)
      return true
    }
    change(index)
    if unsafe !slot.pointee.unsent.isEmpty { flush(index) }
    if unsafe slot.pointee.flags.contains(.shutdownDue) { hasShutdownsDue = true }
    guard isOwned else { return false }
    enqueue(index)
    fill(&event, .connected, index)
    return true
  }

  /// The connection is over in both directions, or in error. The receive operation says so as well;
  /// this is for when there is none.
  private mutating func hungUp(_ index: Int32, _ result: Int32) {
    let slot = unsafe slots + Int(index)
    // A hang-up without an error stays one: it is not asked for again.
    guard result > 0, result & POLLERR != 0 else { return }
    unsafe slot.pointee.flags.remove(.hangUpArmed)
    if unsafe slot.pointee.flags.contains(.receiveArmed) { return }
    let error = System.takeError(index)
    if error != 0 { breakConnection(index, error) }
  }

  private mutating func stepReady(_ index: Int32, _ event: inout IOEvent) -> Bool {
    switch unsafe slots[Int(index)].kind {
    case .stream: return stepStream(index, &event)
    case .arriving: return arrive(index, &event)
    case .watched:
      guard unsafe slots[Int(index)].flags.contains(.readable) else { return false }
      unsafe slots[Int(index)].flags.remove(.readable)
      fill(&event, .readable, index)
      return true
    case .closing:
      if unsafe slots[Int(index)].error != 0 {
        finish(index)
      } else if unsafe slots[Int(index)].flags.contains([.bulk, .readable]),
        unsafe !slots[Int(index)].flags.contains(.receiveArmed)
      {
        unsafe discards.append(index, slots)
      }
      return false
    case .free, .listener: return false
    }
  }

  /// The next event of a stream that is no fresh completion.
  private mutating func stepStream(_ index: Int32, _ event: inout IOEvent) -> Bool {
    let slot = unsafe slots + Int(index)
    let flags = unsafe slot.pointee.flags
    if flags.contains(.connecting) || flags.contains(.failedGiven) { return false }
    if flags.contains(.drainedDue) {
      unsafe slot.pointee.flags.remove(.drainedDue)
      if unsafe slot.pointee.unsent.isEmpty {
        enqueue(index)
        fill(&event, .drained, index)
        return true
      }
    }
    if flags.contains(.receiving), !flags.contains(.ended) {
      if unsafe !slot.pointee.arrived.isEmpty { return unsafe giveArrived(slot, index, &event) }
      if flags.contains(.peerEnded) {
        unsafe slot.pointee.flags.insert(.ended)
        if unsafe slot.pointee.error == 0 {
          fill(&event, .endOfStream, index)
          return true
        }
      } else if flags.contains([.bulk, .readable]), !flags.contains(.receiveArmed) {
        if unsafe readBulk(slot, index, &event) { return true }
      }
    }
    return unsafe slot.pointee.error != 0 && stepFailure(index, &event)
  }

  /// Reads once. False: there was nothing, or the connection is dead (`error`).
  private mutating func readBulk(
    _ slot: UnsafeMutablePointer<UringSlot>, _ index: Int32, _ event: inout IOEvent
  ) -> Bool {
    guard unsafe takesShare(slot, of: options.receivesPerTurn), share.hasTime(of: options.bulkNanoseconds) else {
      enqueueLater(index)
      return false
    }
    let outcome = unsafe System.receive(index, scratch, options.receiveBytes)
    switch outcome {
    case .done(let n) where n > 0:
      // A short read has emptied the socket.
      if n < options.receiveBytes { unsafe slot.pointee.flags.remove(.readable) }
      unsafe slot.pointee.run = n < bufferBytes ? slot.pointee.run &+ 1 : 0
      if unsafe slot.pointee.run >= Self.bulkRun {
        unsafe slot.pointee.flags.remove([.bulk, .readable])
        unsafe slot.pointee.run = 0
      }
      change(index)
      fill(&event, .received, index)
      unsafe event.bytes = unsafe scratch
      event.count = n
      return true
    case .done:
      unsafe slot.pointee.flags.remove(.readable)
      unsafe slot.pointee.flags.insert(.peerEnded)
      return stepStream(index, &event)
    case .wouldBlock:
      unsafe slot.pointee.flags.remove(.readable)
      change(index)
      return false
    case .failed(let error):
      if unsafe slot.pointee.error == 0 { unsafe slot.pointee.error = error }
      unsafe slot.pointee.flags.remove(.readable)
      unsafe slot.pointee.flags.formUnion([.broken, .peerEnded])
      unsafe slot.pointee.unsent.release()
      return stepStream(index, &event)
    }
  }

  private mutating func giveArrived(
    _ slot: UnsafeMutablePointer<UringSlot>, _ index: Int32, _ event: inout IOEvent
  ) -> Bool {
    guard unsafe takesShare(slot, of: buffersPerTurn), let start = unsafe slot.pointee.arrived.start else {
      enqueueLater(index)
      return false
    }
    let count = min(unsafe slot.pointee.arrived.count, options.receiveBytes)
    unsafe scratch.update(from: start, count: count)
    unsafe slot.pointee.arrived.removeFirst(count)
    if unsafe slot.pointee.arrived.isEmpty { change(index) }
    enqueue(index)
    fill(&event, .received, index)
    unsafe event.bytes = unsafe scratch
    event.count = count
    return true
  }

  /// A dead connection: `failed` once nothing is left to read, else `sendFailed` when the owner is
  /// not reading. Each once.
  @inline(never)
  private mutating func stepFailure(_ index: Int32, _ event: inout IOEvent) -> Bool {
    let slot = unsafe slots + Int(index)
    let flags = unsafe slot.pointee.flags
    let error = unsafe slot.pointee.error
    var hasUnread = unsafe !slot.pointee.arrived.isEmpty
    if flags.isDisjoint(with: [.peerEnded, .ended]) {
      // The receive operation finds the end by itself, after what is there.
      if flags.contains(.receiveArmed) { return false }
      if flags.contains(.receiving) {
        change(index)
        return false
      }
      let peek = unsafe System.receive(index, scratch, 1, flags: Int32(MSG_PEEK))
      if case .done(let n) = peek, n > 0 { hasUnread = true }
    }
    if hasUnread {
      if flags.contains(.receiving) || flags.contains(.sendFailedGiven) { return false }
      unsafe slot.pointee.flags.insert(.sendFailedGiven)
      fill(&event, .sendFailed, index, error: error)
    } else {
      unsafe slot.pointee.flags.insert(.failedGiven)
      fill(&event, .failed, index, error: error)
    }
    return true
  }

  // MARK: Listening sockets

  private mutating func acceptCompleted(_ completion: RingCompletion, _ event: inout IOEvent) -> Bool {
    let index = completion.tag.index
    let slot = unsafe slots + Int(index)
    guard unsafe completion.tag.isOf(slot.pointee.generation) else {
      if completion.result >= 0 { System.close(completion.result) }
      return false
    }
    if !completion.hasMore {
      unsafe slot.pointee.flags.remove(.acceptArmed)
      change(index)
    }
    let descriptor = completion.result
    guard descriptor >= 0 else { return refuse(index, -descriptor, &event) }
    if descriptor >= slotLimit {
      System.close(descriptor)
      fill(&event, .refused, index, error: EMFILE)
      event.count = 1
      return true
    }
    if unsafe takesShare(slot, of: options.acceptsPerTurn) {
      give(descriptor, acceptedAt: index, &event)
      return true
    }
    // SAFETY: below the limit, and the kernel gives no number out that is in use.
    let arriving = unsafe slots + Int(descriptor)
    unsafe arriving.pointee.begin(.arriving)
    unsafe arriving.pointee.origin = index
    unsafe arriving.pointee.batchedEntry = slot.pointee.generation
    if descriptor > highest { highest = descriptor }
    enqueueLater(descriptor)
    return false
  }

  private func give(_ descriptor: Int32, acceptedAt index: Int32, _ event: inout IOEvent) {
    fill(&event, .accepted, index)
    event.descriptor = descriptor
    event.peer = System.peerAddress(of: descriptor).unmapped
  }

  /// A connection that had to wait for this turn.
  private mutating func arrive(_ descriptor: Int32, _ event: inout IOEvent) -> Bool {
    let arriving = unsafe slots + Int(descriptor)
    let index = unsafe arriving.pointee.origin
    let slot = unsafe slots + Int(index)
    let isSame =
      unsafe slot.pointee.kind == .listener && slot.pointee.generation == arriving.pointee.batchedEntry
    if isSame, unsafe !takesShare(slot, of: options.acceptsPerTurn) {
      enqueueLater(descriptor)
      return false
    }
    unsafe arriving.pointee.begin(.free)
    guard isSame else {
      System.close(descriptor)
      return false
    }
    give(descriptor, acceptedAt: index, &event)
    return true
  }

  /// An accept that failed; where descriptors or memory have run out, the reserve is given up, and
  /// where that does not help the socket rests, for trying again at once would be a busy loop.
  @inline(never)
  private mutating func refuse(_ index: Int32, _ error: Int32, _ event: inout IOEvent) -> Bool {
    switch error {
    case EMFILE, ENFILE, ENOMEM, ENOBUFS: break
    // Errors of the one connection that would have been taken (accept(2)); the next may be well.
    default: return false
    }
    switch reserve.refuse(at: index, error) {
    case .done:
      fill(&event, .refused, index, error: error)
      event.count = 1
      return true
    case .wouldBlock:
      unsafe slots[Int(index)].flags.insert(.exhausted)
      return false
    case .failed: break
    }
    unsafe slots[Int(index)].flags.insert(.resting)
    let now = monotonicNanoseconds() / 1_000_000
    timers.schedule(index, atMilliseconds: now &+ options.acceptPauseMilliseconds)
    fill(&event, .refused, index, error: error)
    return true
  }
}
