internal import CLinux
internal import Glibc

/// The port on epoll: every descriptor is registered once, edge-triggered, for everything, and
/// never modified. State is one slot a descriptor in mapped memory, indexed by its number.
///
/// An event marks its slot and puts it into a ready queue; `next` works the queue off. A read that
/// is shorter than the buffer has found the end of what was there, so that no second read asks.
@safe public struct EpollEngine: IOEngine, ~Copyable {
  static let eventsPerTurn = 512
  /// Readable bytes beyond a buffer's end, for those who look at whole words and write after it.
  static let slack = 64

  // INVARIANT: each block lives from init to deinit: `slots` has `slotLimit` entries, `events`
  // `eventsPerTurn`, `receiveScratch` `options.receiveBytes` and `sendScratch`
  // `IOLimits.reserveBytes`, both with `slack` bytes after them. An index is looked up in `slots`
  // only after `slot(of:)` or registration compared it with the limit.
  let slots: UnsafeMutablePointer<EpollSlot>
  let events: UnsafeMutablePointer<epoll_event>
  let receiveScratch: UnsafeMutablePointer<UInt8>
  let sendScratch: UnsafeMutablePointer<UInt8>
  let options: EngineOptions
  let slotLimit: Int
  let epoll: Int32
  let wake: Int32
  var reserve = DescriptorReserve()
  /// Descriptors above this were never registered.
  var highest: Int32 = -1
  /// Ends of sockets that are closing and of rests of listening sockets.
  var timers: TimerWheel
  var turn: UInt32 = 0
  /// The slot that gave the last event and may have more; -1: none.
  var current: Int32 = -1
  var ready = SlotQueue<EpollSlot>()
  /// Slots that have had their share of this turn.
  var later = SlotQueue<EpollSlot>()
  var discards = DiscardQueue<EpollSlot>()
  /// What of this turn is spent.
  var share = TurnShare()
  public internal(set) var closingCount = 0

  public init(options: EngineOptions) throws(SystemError) {
    precondition(options.receiveBytes > 0 && options.receivesPerTurn > 0 && options.acceptsPerTurn > 0)
    self.options = options
    slotLimit = options.slotLimit > 0 ? options.slotLimit : System.descriptorLimit()
    let wake = try System.openEvent()
    let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
    if epoll < 0 {
      let error = SystemError(errno: clinux_errno(), operation: "epoll_create1")
      System.close(wake)
      throw error
    }
    guard Int(wake) < slotLimit, clinux_epoll_add(epoll, wake, Self.wakeMask, Self.data(wake, 1)) == 0 else {
      let error = SystemError(errno: Int(wake) < slotLimit ? clinux_errno() : EMFILE, operation: "epoll_ctl")
      System.close(wake)
      System.close(epoll)
      throw error
    }
    let bytes = Self.blockSizes(options, slotLimit)
    let block: UnsafeMutableRawPointer
    do throws(SystemError) {
      unsafe block = try System.map(bytes.total)
    } catch {
      System.close(wake)
      System.close(epoll)
      throw error
    }
    // SAFETY: one mapping, zeroed, cut into blocks of the sizes that were summed up; zero is a
    // valid value of each type, and each begins at a multiple of 64.
    unsafe slots = block.bindMemory(to: EpollSlot.self, capacity: slotLimit)
    var at = unsafe block + bytes.slots
    unsafe receiveScratch = at.bindMemory(to: UInt8.self, capacity: bytes.receive)
    unsafe at += bytes.receive
    unsafe sendScratch = at.bindMemory(to: UInt8.self, capacity: bytes.send)
    unsafe at += bytes.send
    unsafe events = at.bindMemory(to: epoll_event.self, capacity: Self.eventsPerTurn)
    self.wake = wake
    self.epoll = epoll
    timers = TimerWheel(capacity: slotLimit, tickMilliseconds: 16)
    timers.advance(nowMilliseconds: monotonicNanoseconds() / 1_000_000)
    unsafe slots[Int(wake)].begin(.wake)
    unsafe slots[Int(wake)].generation = 1
    highest = wake
  }

  /// Everything there is to know, by edges.
  static let mask = EPOLLIN.rawValue | EPOLLOUT.rawValue | EPOLLRDHUP.rawValue | EPOLLET.rawValue

  /// An event descriptor can always be written to; to hear that would end a wait for nothing.
  static let wakeMask = EPOLLIN.rawValue | EPOLLET.rawValue

  /// By level: who is told of datagrams may leave some for the next turn.
  static let watchMask = EPOLLIN.rawValue

  /// What an event carries back.
  static func data(_ descriptor: Int32, _ generation: UInt32) -> UInt64 {
    UInt64(UInt32(bitPattern: descriptor)) | UInt64(generation) << 32
  }

  private static func blockSizes(
    _ options: EngineOptions, _ slotLimit: Int
  ) -> (slots: Int, receive: Int, send: Int, total: Int) {
    let slots = slotLimit * MemoryLayout<EpollSlot>.stride
    let receive = (options.receiveBytes + slack + 63) & ~63
    let send = IOLimits.reserveBytes + slack
    let events = unsafe eventsPerTurn * MemoryLayout<epoll_event>.stride
    return (slots, receive, send, slots + receive + send + events)
  }

  deinit {
    var index: Int32 = 0
    while index <= highest {
      if unsafe slots[Int(index)].kind != .free {
        unsafe slots[Int(index)].unsent.release()
        System.close(index)
      }
      index += 1
    }
    System.close(epoll)
    unsafe System.unmap(slots, Self.blockSizes(options, slotLimit).total)
  }

  // MARK: Descriptors in and out

  /// Takes a free slot and adds the descriptor to epoll; an errno, or 0.
  private mutating func register(
    _ descriptor: Int32, _ kind: EpollSlot.Kind, mask: UInt32 = EpollEngine.mask
  ) -> Int32 {
    precondition(descriptor >= 0)
    guard Int(descriptor) < slotLimit else { return EMFILE }
    // SAFETY: the number is below the limit.
    let slot = unsafe slots + Int(descriptor)
    precondition(unsafe slot.pointee.kind == .free, "descriptor is registered already")
    unsafe slot.pointee.generation &+= 1
    let data = Self.data(descriptor, unsafe slot.pointee.generation)
    if clinux_epoll_add(epoll, descriptor, mask, data) != 0 { return clinux_errno() }
    unsafe slot.pointee.begin(kind)
    if descriptor > highest { highest = descriptor }
    return 0
  }

  private func handle(_ descriptor: Int32) -> Socket {
    Socket(index: descriptor, generation: unsafe slots[Int(descriptor)].generation)
  }

  /// The slot of a handle that is not stale; nil: the socket was closed.
  @inline(__always)
  func slot(of socket: Socket, _ kind: EpollSlot.Kind = .stream) -> UnsafeMutablePointer<EpollSlot>? {
    guard socket.index >= 0, Int(socket.index) < slotLimit else { return nil }
    // SAFETY: the index is within the limits.
    let slot = unsafe slots + Int(socket.index)
    let isFresh = unsafe slot.pointee.generation == socket.generation && slot.pointee.kind == kind
    return unsafe isFresh ? slot : nil
  }

  /// Frees the slot and closes the descriptor.
  mutating func release(_ index: Int32) {
    let slot = unsafe slots + Int(index)
    unsafe slot.pointee.unsent.release()
    if unsafe slot.pointee.kind == .closing { closingCount &-= 1 }
    if unsafe slot.pointee.kind != .stream { timers.cancel(index) }
    unsafe slot.pointee.begin(.free)
    // The generation moves on at the next registration; `kind` makes handles stale until then.
    System.close(index)
  }

  /// Closes a socket that has nothing more to do: now, or in a later turn once this one has closed enough.
  mutating func finish(_ index: Int32) {
    if share.takesClose() { return release(index) }
    let slot = unsafe slots + Int(index)
    if unsafe slot.pointee.kind != .closing { closingCount &+= 1 }
    unsafe slot.pointee.kind = .closing
    unsafe slot.pointee.error = ECANCELED
    unsafe slot.pointee.flags.insert(.broken)
    unsafe slot.pointee.unsent.release()
    enqueueLater(index)
  }

  public mutating func listen(on descriptor: Int32) -> Socket {
    // Accepted sockets inherit these.
    System.setStreamOptions(descriptor)
    let error = register(descriptor, .listener)
    precondition(error == 0, "listening socket can not be registered: slot limit or memory")
    return handle(descriptor)
  }

  public mutating func stopListening(_ socket: Socket) {
    guard unsafe slot(of: socket, .listener) != nil else { return }
    // Others may hold duplicates of a listening socket, and those would keep it in epoll.
    _ = clinux_epoll_delete(epoll, socket.index)
    release(socket.index)
  }

  public mutating func adopt(_ descriptor: Int32) -> Socket? {
    register(descriptor, .stream) == 0 ? handle(descriptor) : nil
  }

  public mutating func watch(_ descriptor: Int32) -> Socket? {
    register(descriptor, .watched, mask: Self.watchMask) == 0 ? handle(descriptor) : nil
  }

  public mutating func closeWatched(_ socket: Socket) {
    guard unsafe slot(of: socket, .watched) != nil else { return }
    release(socket.index)
  }

  public mutating func connect(to address: SocketAddress) throws(SystemError) -> Socket {
    let descriptor = try System.streamSocket(family: Int32(address.family), about: address)
    guard Int(descriptor) < slotLimit else {
      System.close(descriptor)
      throw SystemError(errno: EMFILE, operation: "connect", address: address)
    }
    System.setStreamOptions(descriptor)
    let result = System.connect(descriptor, address)
    let error = register(descriptor, .stream)
    if error != 0 {
      System.close(descriptor)
      throw SystemError(errno: error, operation: "epoll_ctl", address: address)
    }
    let slot = unsafe slots + Int(descriptor)
    unsafe slot.pointee.flags = .connecting
    if result != EINPROGRESS {
      unsafe slot.pointee.error = result
      unsafe slot.pointee.flags.insert(.writable)
      enqueue(descriptor)
    }
    return handle(descriptor)
  }

  public mutating func close(_ socket: Socket) {
    if unsafe slot(of: socket) != nil { finish(socket.index) }
  }

  public mutating func resetOnClose(_ socket: Socket) {
    if unsafe slot(of: socket) != nil { System.setResetOnClose(socket.index) }
  }

  public mutating func closeWhenDrained(_ socket: Socket) {
    guard let slot = unsafe slot(of: socket) else { return }
    // An error that was not given out yet does not matter any more.
    if unsafe slot.pointee.error != 0 || slot.pointee.flags.contains([.ended, .shutdownDone]) {
      finish(socket.index)
      return
    }
    unsafe slot.pointee.kind = .closing
    unsafe slot.pointee.flags.subtract([.receiving, .drainedDue])
    closingCount &+= 1
    if unsafe slot.pointee.unsent.isEmpty, unsafe !slot.pointee.flags.contains(.connecting) {
      beginLinger(socket.index)
      return
    }
    unsafe slot.pointee.flags.insert(.shutdownDue)
    waitForDrain(socket.index)
  }

  /// The peer of a socket without an owner has this long to take more of what is unsent.
  mutating func waitForDrain(_ index: Int32) {
    let now = monotonicNanoseconds() / 1_000_000
    timers.schedule(index, atMilliseconds: now &+ options.closeDrainMilliseconds)
  }

  /// Everything is sent: half-closes and gives the peer time to see it. Resetting at once could
  /// destroy bytes that it has not read yet.
  mutating func beginLinger(_ index: Int32) {
    let slot = unsafe slots + Int(index)
    if unsafe slot.pointee.flags.contains(.ended) {
      finish(index)
      return
    }
    if unsafe !slot.pointee.flags.contains(.shutdownDone) { System.shutdownWrite(index) }
    unsafe slot.pointee.flags.remove(.shutdownDue)
    unsafe slot.pointee.flags.insert(.shutdownDone)
    let now = monotonicNanoseconds() / 1_000_000
    timers.schedule(index, atMilliseconds: now &+ options.lingerMilliseconds)
    if unsafe slot.pointee.flags.contains(.readable) { enqueue(index) }
  }

  // MARK: Receiving on and off

  public mutating func startReceiving(_ socket: Socket) {
    guard let slot = unsafe slot(of: socket) else { return }
    unsafe slot.pointee.flags.insert(.receiving)
    // The edge may have passed while nobody wanted to know.
    if unsafe slot.pointee.flags.contains(.readable) { enqueue(socket.index) }
  }

  public mutating func stopReceiving(_ socket: Socket) {
    guard let slot = unsafe slot(of: socket) else { return }
    unsafe slot.pointee.flags.remove(.receiving)
  }

  public func wakeDescriptor() -> Int32 { wake }
}
