internal import CLinux
internal import Glibc

// SAFETY, for all pointers here: see the invariants of EpollEngine and EpollSlot. Indices come
// from the queues or from events whose generation was compared.
extension EpollEngine {
  // MARK: The ready queues

  mutating func enqueue(_ index: Int32) {
    // The current slot is looked at again before the queue is.
    if index != current { unsafe ready.append(index, slots) }
  }

  mutating func enqueueLater(_ index: Int32) { unsafe later.append(index, slots) }

  private mutating func beginTurn() {
    if current >= 0 {
      let left = current
      current = -1
      enqueue(left)
    }
    unsafe ready.take(&later, slots)
    turn &+= 1
    share.beginTurn(closes: options.closesPerTurn)
  }

  // MARK: wait

  public mutating func wait(untilNanoseconds deadline: UInt64) {
    beginTurn()
    let timeout = !ready.isEmpty ? 0 : milliseconds(until: deadline)
    let count = unsafe epoll_wait(epoll, events, Int32(Self.eventsPerTurn), timeout)
    var i: Int32 = 0
    while i < count {
      let data = unsafe clinux_event_data(events, i)
      let index = Int32(truncatingIfNeeded: data)
      let generation = UInt32(truncatingIfNeeded: data >> 32)
      // Registration is the only source of `data`, so that the index is within the limits.
      if unsafe slots[Int(index)].generation == generation {
        unsafe mark(index, clinux_event_mask(events, i))
      }
      i &+= 1
    }
    if timers.count > 0 { expireTimers() }
  }

  private func milliseconds(until deadline: UInt64) -> Int32 {
    var end = deadline
    if timers.count > 0 {
      let (own, isLate) = timers.nextDeadline.multipliedReportingOverflow(by: 1_000_000)
      if !isLate { end = min(end, own) }
    }
    if !discards.isEmpty { end = min(end, discards.notBefore) }
    if end == .max { return -1 }
    let now = monotonicNanoseconds()
    if end <= now { return 0 }
    return Int32(clamping: (end &- now &+ 999_999) / 1_000_000)
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
        unsafe slots[Int(index)].flags.insert(.readable)
        enqueue(index)
      case .free, .stream, .wake, .watched: break
      }
    }
  }

  /// Notes what an event says, and queues the slot if there is something to do.
  @inline(__always)
  private mutating func mark(_ index: Int32, _ mask: UInt32) {
    let slot = unsafe slots + Int(index)
    var flags = unsafe slot.pointee.flags
    let ending = EPOLLRDHUP.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue
    if mask & (EPOLLIN.rawValue | ending) != 0 { flags.insert(.readable) }
    if mask & ending != 0 { flags.insert(.readToEnd) }
    let isConnecting = flags.contains(.connecting)
    if mask & (EPOLLOUT.rawValue | ending) != 0, unsafe isConnecting || !slot.pointee.unsent.isEmpty {
      flags.insert(.writable)
    }
    unsafe slot.pointee.flags = flags
    switch unsafe slot.pointee.kind {
    case .stream:
      if mask & EPOLLERR.rawValue != 0, !isConnecting {
        let error = System.takeError(index)
        if error != 0 { breakConnection(index, error) }
      }
      if flags.contains([.readable, .receiving]) || flags.contains(.writable) { enqueue(index) }
    case .listener, .closing, .wake, .watched: enqueue(index)
    case .free: break
    }
  }

  // MARK: next

  public mutating func next(_ event: inout IOEvent) -> Bool {
    while true {
      if current < 0 {
        current = unsafe ready.popFirst(slots)
        if current < 0 {
          if !discards.isEmpty { discardSome() }
          return false
        }
      }
      let gaveEvent =
        switch unsafe slots[Int(current)].kind {
        case .stream: stepStream(current, &event)
        case .listener: stepListener(current, &event)
        case .closing: stepClosing(current)
        case .wake: stepWake(&event)
        case .watched: stepWatched(current, &event)
        case .free: false
        }
      if gaveEvent { return true }
      current = -1
    }
  }

  /// Whether the slot may take another step of the costly kind in this turn. If not, it goes on in
  /// the next one.
  @inline(__always)
  private mutating func takesShare(_ index: Int32, of limit: UInt16) -> Bool {
    let slot = unsafe slots + Int(index)
    if unsafe slot.pointee.turn != turn {
      unsafe slot.pointee.turn = turn
      unsafe slot.pointee.used = 0
    }
    if unsafe slot.pointee.used >= limit {
      enqueueLater(index)
      return false
    }
    unsafe slot.pointee.used &+= 1
    return true
  }

  private func fill(_ event: inout IOEvent, _ kind: IOEventKind, _ index: Int32, error: Int32 = 0) {
    event.kind = kind
    event.error = error
    event.socket = Socket(index: index, generation: unsafe slots[Int(index)].generation)
    event.count = 0
  }

  private func stepWatched(_ index: Int32, _ event: inout IOEvent) -> Bool {
    let slot = unsafe slots + Int(index)
    guard unsafe slot.pointee.flags.contains(.readable) else { return false }
    unsafe slot.pointee.flags.remove(.readable)
    fill(&event, .readable, index)
    return true
  }

  private func stepWake(_ event: inout IOEvent) -> Bool {
    let slot = unsafe slots + Int(wake)
    guard unsafe slot.pointee.flags.contains(.readable) else { return false }
    unsafe slot.pointee.flags.remove(.readable)
    System.resetEvent(wake)
    fill(&event, .woken, wake)
    event.socket = .none
    return true
  }

  // MARK: Streams

  private mutating func stepStream(_ index: Int32, _ event: inout IOEvent) -> Bool {
    let slot = unsafe slots + Int(index)
    if unsafe slot.pointee.flags.contains(.writable) {
      unsafe slot.pointee.flags.remove(.writable)
      if unsafe slot.pointee.flags.contains(.connecting) {
        finishConnecting(index, &event)
        return true
      }
      flush(index)
    }
    if unsafe slot.pointee.flags.contains(.connecting) { return false }
    if unsafe slot.pointee.flags.contains(.drainedDue) {
      unsafe slot.pointee.flags.remove(.drainedDue)
      if unsafe slot.pointee.unsent.isEmpty {
        fill(&event, .drained, index)
        return true
      }
    }
    let flags = unsafe slot.pointee.flags
    if flags.contains([.readable, .receiving]), !flags.contains(.ended) {
      if !takesShare(index, of: options.receivesPerTurn) { return false }
      if flags.contains(.bulk), !hasBulkTime() {
        enqueueLater(index)
        return false
      }
      if receive(index, &event) { return true }
    }
    return unsafe slot.pointee.error != 0 && stepFailure(index, &event)
  }

  @inline(never)
  private mutating func hasBulkTime() -> Bool { share.hasTime(of: options.bulkNanoseconds) }

  private mutating func finishConnecting(_ index: Int32, _ event: inout IOEvent) {
    let slot = unsafe slots + Int(index)
    unsafe slot.pointee.flags.remove(.connecting)
    if unsafe slot.pointee.error == 0 { unsafe slot.pointee.error = System.takeError(index) }
    let error = unsafe slot.pointee.error
    if error != 0 {
      unsafe slot.pointee.unsent.release()
      unsafe slot.pointee.flags = [.broken, .ended, .failedGiven]
      fill(&event, .failed, index, error: error)
      return
    }
    if unsafe !slot.pointee.unsent.isEmpty {
      flush(index)
    } else if unsafe slot.pointee.flags.contains(.shutdownDue) {
      unsafe slot.pointee.flags.remove(.shutdownDue)
      unsafe slot.pointee.flags.insert(.shutdownDone)
      System.shutdownWrite(index)
    }
    fill(&event, .connected, index)
  }

  /// Reads once. False: there was nothing, or the connection is dead (`error`).
  @inline(__always)
  private mutating func receive(_ index: Int32, _ event: inout IOEvent) -> Bool {
    let slot = unsafe slots + Int(index)
    let capacity = options.receiveBytes
    switch unsafe System.receive(index, receiveScratch, capacity) {
    case .done(let n) where n > 0:
      // A short read has emptied the socket; what comes after makes an edge. After the peer's end
      // there is none, so that only a read of nothing is the end.
      if n == capacity {
        unsafe slot.pointee.flags.insert(.bulk)
      } else if unsafe slot.pointee.flags.contains(.readToEnd) {
        unsafe slot.pointee.flags.remove(.bulk)
      } else {
        unsafe slot.pointee.flags.remove([.bulk, .readable])
      }
      fill(&event, .received, index)
      unsafe event.bytes = unsafe receiveScratch
      event.count = n
      return true
    case .done:
      unsafe slot.pointee.flags.remove(.readable)
      unsafe slot.pointee.flags.insert(.ended)
      // After a reset the kernel says end of stream as well, once its error was taken.
      if unsafe slot.pointee.error != 0 { return false }
      fill(&event, .endOfStream, index)
      return true
    case .wouldBlock:
      unsafe slot.pointee.flags.remove(.readable)
      return false
    case .failed(let error):
      if unsafe slot.pointee.error == 0 { unsafe slot.pointee.error = error }
      unsafe slot.pointee.unsent.release()
      unsafe slot.pointee.flags.remove(.readable)
      unsafe slot.pointee.flags.formUnion([.broken, .ended])
      return false
    }
  }

  /// A dead connection: `failed` once nothing is left to read, else `sendFailed` when the owner is
  /// not reading. Each once.
  @inline(never)
  private mutating func stepFailure(_ index: Int32, _ event: inout IOEvent) -> Bool {
    let slot = unsafe slots + Int(index)
    let flags = unsafe slot.pointee.flags
    let error = unsafe slot.pointee.error
    if flags.contains(.failedGiven) { return false }
    if flags.contains(.readable), !flags.contains(.ended) {
      // Receiving is stopped, or `receive` would have gone on until nothing was readable.
      let peek = unsafe System.receive(index, receiveScratch, 1, flags: Int32(MSG_PEEK))
      if case .done(let n) = peek, n > 0 {
        if flags.contains(.sendFailedGiven) { return false }
        unsafe slot.pointee.flags.insert(.sendFailedGiven)
        fill(&event, .sendFailed, index, error: error)
        return true
      }
      unsafe slot.pointee.flags.remove(.readable)
    }
    unsafe slot.pointee.flags.insert(.failedGiven)
    fill(&event, .failed, index, error: error)
    return true
  }

  // MARK: Listening sockets

  private mutating func stepListener(_ index: Int32, _ event: inout IOEvent) -> Bool {
    let slot = unsafe slots + Int(index)
    guard unsafe slot.pointee.flags.contains(.readable) else { return false }
    if !takesShare(index, of: options.acceptsPerTurn) { return false }
    var peer = SocketAddress()
    switch System.accept(index, &peer) {
    case .done(let descriptor):
      if descriptor >= slotLimit {
        System.close(Int32(descriptor))
        fill(&event, .refused, index, error: EMFILE)
        event.count = 1
        return true
      }
      fill(&event, .accepted, index)
      event.descriptor = Int32(descriptor)
      event.peer = peer.unmapped
      return true
    case .wouldBlock:
      unsafe slot.pointee.flags.remove(.readable)
      return false
    case .failed(let error):
      return refuse(index, error, &event)
    }
  }

  /// Descriptors (or memory) have run out. The reserve is given up to take the connection in and
  /// close it; where that fails too, the socket rests, for trying again at once would be a busy loop.
  @inline(never)
  private mutating func refuse(_ index: Int32, _ error: Int32, _ event: inout IOEvent) -> Bool {
    let slot = unsafe slots + Int(index)
    switch reserve.refuse(at: index, error) {
    case .done:
      fill(&event, .refused, index, error: error)
      event.count = 1
      return true
    case .wouldBlock:
      unsafe slot.pointee.flags.remove(.readable)
      return false
    case .failed: break
    }
    unsafe slot.pointee.flags.remove(.readable)
    let now = monotonicNanoseconds() / 1_000_000
    timers.schedule(index, atMilliseconds: now &+ options.acceptPauseMilliseconds)
    fill(&event, .refused, index, error: error)
    return true
  }

  // MARK: Sockets without an owner

  /// Never gives an event.
  @inline(never)
  private mutating func stepClosing(_ index: Int32) -> Bool {
    if unsafe slots[Int(index)].error != 0 {
      finish(index)
      return false
    }
    drain(index)
    let slot = unsafe slots + Int(index)
    if unsafe slot.pointee.kind == .closing && slot.pointee.flags.contains(.readable) {
      unsafe discards.append(index, slots)
    }
    return false
  }

  /// Sends what the owner has left, and begins to linger when all is sent.
  private mutating func drain(_ index: Int32) {
    let slot = unsafe slots + Int(index)
    if unsafe slot.pointee.flags.contains(.writable) {
      unsafe slot.pointee.flags.remove(.writable)
      if unsafe slot.pointee.flags.contains(.connecting) {
        unsafe slot.pointee.flags.remove(.connecting)
        if System.takeError(index) != 0 { return finish(index) }
      }
      flush(index)
      if unsafe slot.pointee.error != 0 { return finish(index) }
      if unsafe slot.pointee.unsent.isEmpty { beginLinger(index) }
    }
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
    drain(index)
    let slot = unsafe slots + Int(index)
    guard unsafe slot.pointee.kind == .closing && slot.pointee.flags.contains(.readable) else { return }
    // Of TCP nothing is copied (MSG_TRUNC, tcp(7)).
    switch unsafe System.receive(index, receiveScratch, options.receiveBytes, flags: Int32(MSG_TRUNC)) {
    case .done(let n) where n > 0: unsafe discards.append(index, slots)
    case .wouldBlock: unsafe slot.pointee.flags.remove(.readable)
    case .failed: finish(index)
    case .done:
      unsafe slot.pointee.flags.remove(.readable)
      unsafe slot.pointee.flags.insert(.ended)
      if unsafe slot.pointee.flags.contains(.shutdownDone) { finish(index) }
    }
  }
}
