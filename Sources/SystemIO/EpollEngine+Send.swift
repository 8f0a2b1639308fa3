internal import Glibc

// SAFETY, for all pointers here: see the invariants of EpollEngine and EpollSlot.
extension EpollEngine {
  public mutating func reserve(_ count: Int) -> UnsafeMutablePointer<UInt8> {
    precondition(count >= 0 && count <= IOLimits.reserveBytes, "more than can be reserved at once")
    return unsafe sendScratch
  }

  public mutating func send(_ socket: Socket, reserved count: Int) {
    precondition(count <= IOLimits.reserveBytes)
    unsafe transmit(socket, sendScratch, count)
  }

  public mutating func send(_ socket: Socket, copying bytes: UnsafePointer<UInt8>, count: Int) {
    unsafe transmit(socket, bytes, count)
  }

  public func unsentBytes(_ socket: Socket) -> Int {
    guard let slot = unsafe slot(of: socket) else { return 0 }
    return Int(unsafe slot.pointee.stashCount)
  }

  public mutating func shutdownWrite(_ socket: Socket) {
    guard let slot = unsafe slot(of: socket) else { return }
    let flags = unsafe slot.pointee.flags
    if !flags.isDisjoint(with: .sendsNothing) { return }
    if unsafe slot.pointee.stashCount > 0 || flags.contains(.connecting) {
      unsafe slot.pointee.flags.insert(.shutdownDue)
    } else {
      System.shutdownWrite(socket.index)
      unsafe slot.pointee.flags.insert(.shutdownDone)
    }
  }

  @inline(__always)
  private mutating func transmit(_ socket: Socket, _ bytes: UnsafePointer<UInt8>, _ count: Int) {
    guard count > 0, let slot = unsafe slot(of: socket) else { return }
    let isDirect = unsafe slot.pointee.flags.isDisjoint(with: .notSendable)
    guard isDirect, unsafe slot.pointee.stashCount == 0 else {
      if unsafe slot.pointee.flags.isDisjoint(with: .sendsNothing) { unsafe keep(slot, bytes, count) }
      return
    }
    switch unsafe System.send(socket.index, bytes, count) {
    case .done(let n):
      if n < count { unsafe keep(slot, bytes + n, count &- n) }
    case .wouldBlock:
      unsafe keep(slot, bytes, count)
    case .failed(let error):
      breakConnection(socket.index, error)
    }
  }

  /// Appends to the stash, which stays in one piece: bytes move to the front when at least as much
  /// room as they take is free there, else the block grows.
  @inline(never)
  private mutating func keep(
    _ slot: UnsafeMutablePointer<EpollSlot>, _ bytes: UnsafePointer<UInt8>, _ count: Int
  ) {
    let held = Int(unsafe slot.pointee.stashCount), offset = Int(unsafe slot.pointee.stashOffset)
    let need = held &+ count
    precondition(need <= Int(Int32.max), "a caller that never looks at unsentBytes")
    if unsafe offset &+ need > Int(slot.pointee.stashCapacity) {
      if let old = unsafe slot.pointee.stash, offset >= held, unsafe need <= Int(slot.pointee.stashCapacity) {
        unsafe memmove(old, old + offset, held)
      } else {
        let capacity = (max(need, held &* 2) &+ 4095) & ~4095
        let new = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
        if let old = unsafe slot.pointee.stash {
          unsafe memcpy(new, old + offset, held)
          unsafe old.deallocate()
        }
        unsafe slot.pointee.stash = unsafe new
        unsafe slot.pointee.stashCapacity = UInt32(capacity)
      }
      unsafe slot.pointee.stashOffset = 0
    }
    if let stash = unsafe slot.pointee.stash {
      unsafe memcpy(stash + Int(slot.pointee.stashOffset) + held, bytes, count)
    }
    unsafe slot.pointee.stashCount = UInt32(need)
  }

  /// Sends from the stash. When it is empty, a half-close that waits for it is done.
  mutating func flush(_ index: Int32) {
    let slot = unsafe slots + Int(index)
    guard let stash = unsafe slot.pointee.stash, unsafe !slot.pointee.flags.contains(.broken) else { return }
    let count = Int(unsafe slot.pointee.stashCount)
    switch unsafe System.send(index, stash + Int(slot.pointee.stashOffset), count) {
    case .done(let n) where n < count:
      unsafe slot.pointee.stashOffset &+= UInt32(n)
      unsafe slot.pointee.stashCount &-= UInt32(n)
    case .done:
      unsafe dropStash(slot)
      unsafe slot.pointee.flags.insert(.drainedDue)
      if unsafe slot.pointee.flags.contains(.shutdownDue) {
        System.shutdownWrite(index)
        unsafe slot.pointee.flags.remove(.shutdownDue)
        unsafe slot.pointee.flags.insert(.shutdownDone)
      }
    case .wouldBlock:
      // The kernel makes an edge when there is room again.
      break
    case .failed(let error):
      breakConnection(index, error)
    }
  }

  func dropStash(_ slot: UnsafeMutablePointer<EpollSlot>) {
    unsafe slot.pointee.stash?.deallocate()
    unsafe slot.pointee.stash = nil
    unsafe slot.pointee.stashOffset = 0
    unsafe slot.pointee.stashCount = 0
    unsafe slot.pointee.stashCapacity = 0
  }

  /// Nothing can be sent any more. What the peer sent before is still read: it may be the answer
  /// that says why.
  mutating func breakConnection(_ index: Int32, _ error: Int32) {
    let slot = unsafe slots + Int(index)
    if unsafe slot.pointee.error == 0 { unsafe slot.pointee.error = error }
    unsafe slot.pointee.flags.formUnion([.broken, .readable, .readToEnd])
    unsafe slot.pointee.flags.remove(.drainedDue)
    unsafe dropStash(slot)
    enqueue(index)
  }
}
