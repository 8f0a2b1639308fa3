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
    return unsafe slot.pointee.unsent.count
  }

  public mutating func shutdownWrite(_ socket: Socket) {
    guard let slot = unsafe slot(of: socket) else { return }
    let flags = unsafe slot.pointee.flags
    if !flags.isDisjoint(with: .sendsNothing) { return }
    if unsafe !slot.pointee.unsent.isEmpty || flags.contains(.connecting) {
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
    guard isDirect, unsafe slot.pointee.unsent.isEmpty else {
      if unsafe slot.pointee.flags.isDisjoint(with: .sendsNothing) {
        unsafe slot.pointee.unsent.append(bytes, count)
      }
      return
    }
    switch unsafe System.send(socket.index, bytes, count) {
    case .done(let n):
      if n < count { unsafe slot.pointee.unsent.append(bytes + n, count &- n) }
    case .wouldBlock:
      unsafe slot.pointee.unsent.append(bytes, count)
    case .failed(let error):
      breakConnection(socket.index, error)
    }
  }

  /// Sends what was kept. When nothing is left, a half-close that waits for it is done.
  mutating func flush(_ index: Int32) {
    let slot = unsafe slots + Int(index)
    guard let start = unsafe slot.pointee.unsent.start, unsafe !slot.pointee.flags.contains(.broken)
    else { return }
    switch unsafe System.send(index, start, slot.pointee.unsent.count) {
    case .done(let n):
      unsafe slot.pointee.unsent.removeFirst(n)
      if unsafe slot.pointee.kind == .closing { waitForDrain(index) }
      if unsafe !slot.pointee.unsent.isEmpty { break }
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

  /// Nothing can be sent any more. What the peer sent before is still read: it may be the answer
  /// that says why.
  mutating func breakConnection(_ index: Int32, _ error: Int32) {
    let slot = unsafe slots + Int(index)
    if unsafe slot.pointee.error == 0 { unsafe slot.pointee.error = error }
    unsafe slot.pointee.flags.formUnion([.broken, .readable, .readToEnd])
    unsafe slot.pointee.flags.remove(.drainedDue)
    unsafe slot.pointee.unsent.release()
    enqueue(index)
  }
}
