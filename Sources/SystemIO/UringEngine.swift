internal import CLinux
internal import Glibc

/// The port on io_uring: each stream has one multishot receive into provided buffers, each
/// listener one multishot accept, and what a turn sends goes out with the call that waits for the
/// next turn. State is one slot a descriptor in mapped memory, indexed by its number.
///
/// What the owner asks for (`startReceiving`, `send`) only changes the slot and lists it;
/// `reconcile` compares, once a turn, what is wanted with what the kernel has in hand. Sends are
/// complete when they were handed over: whole, or the rest is kept by us until there is room. So
/// no memory that is sent from is in the kernel's hands beyond `enter`.
@safe public struct UringEngine: IOEngine, ~Copyable {
  /// Readable bytes beyond a buffer's end, for those who look at whole words and write after it.
  static let slack = 64
  /// Most bytes of one socket that wait for the turn's end; more go out at once, so that what the
  /// kernel has no room for shows in `unsentBytes`.
  static let batchBytes = 65_536
  /// Longer messages than this are cheaper to send at once than to copy.
  static let copyBytes = 4_096
  /// Where a turn's messages are composed. When it is used up, they are handed over early.
  static let arenaBytes = 1_048_576
  /// Buffers to receive into; a turn in which more sockets have something takes them in two steps.
  static let bufferCount = 1_024
  static let bufferBytes = 16_384
  /// So many full buffers in a row make a socket `bulk`, so many small reads in a row end that.
  static let bulkRun: UInt8 = 3

  // INVARIANT: each block lives from init to deinit: `slots` has `slotLimit` entries, `changed` as
  // many, `numbers` one more, `arena` `arenaBytes` and `scratch` `options.receiveBytes`, both with
  // `slack` bytes after them.
  // An index is looked up in `slots` only after it was compared with the limit, by `slot(of:)` or
  // at registration, which is where tags get theirs from.
  let slots: UnsafeMutablePointer<UringSlot>
  let arena: UnsafeMutablePointer<UInt8>
  let scratch: UnsafeMutablePointer<UInt8>
  let changed: UnsafeMutablePointer<Int32>
  var changedCount = 0
  /// Each number at its own index, and -1 behind them: what the ring's table of files is filled from.
  let numbers: UnsafeMutablePointer<Int32>
  let fileCount: Int
  /// Buffers that what was sent in this batch lies in: they go back when it was handed over.
  let pinned: UnsafeMutablePointer<UInt16>
  var pinnedCount = 0
  let options: EngineOptions
  let slotLimit: Int
  let bufferBytes: Int
  /// Most `received` events of one socket in a turn that lie in buffers of the ring.
  let buffersPerTurn: UInt16
  let wake: Int32
  var ring: Ring
  var buffers: BufferRing
  var reserve = DescriptorReserve()
  /// Descriptors above this were never registered.
  var highest: Int32 = -1
  /// Ends of sockets that are closing and of rests of listening sockets.
  var timers: TimerWheel
  var turn: UInt32 = 0
  /// What of this turn is spent.
  var share = TurnShare()
  /// What was pushed since the last `enter`.
  var batch: UInt32 = 1
  var arenaUsed = 0
  /// Where the last `reserve` was.
  var reserved = 0
  /// End of the newest message in the arena: a second one of the same socket is joined to it.
  var arenaEnd = 0
  /// The buffer that the last event lies in; nil: none.
  var current: UInt16?
  var isCurrentPinned = false
  /// Slots with events that are no completions.
  var ready = SlotQueue<UringSlot>()
  /// Slots that have had their share of this turn.
  var later = SlotQueue<UringSlot>()
  var discards = DiscardQueue<UringSlot>()
  /// Whether a half-close waits for the batch to be handed over.
  var hasShutdownsDue = false
  public internal(set) var closingCount = 0

  public init(options: EngineOptions) throws(SystemError) {
    precondition(options.receiveBytes > 0 && options.receivesPerTurn > 0 && options.acceptsPerTurn > 0)
    self.options = options
    let slotLimit = options.slotLimit > 0 ? options.slotLimit : System.descriptorLimit()
    self.slotLimit = slotLimit
    let bufferBytes = min(options.receiveBytes, Self.bufferBytes)
    self.bufferBytes = bufferBytes
    buffersPerTurn = UInt16(clamping: options.receiveBytes * Int(options.receivesPerTurn) / bufferBytes)
    let ring = try Ring(entries: options.ringEntries, completions: options.ringCompletions)
    let buffers = try BufferRing(ring, count: Self.bufferCount, bytes: bufferBytes, slack: Self.slack)
    let fileCount = try ring.makeFileTable(slotLimit)
    let wake = try System.openEvent()
    let sizes = Self.blockSizes(options, slotLimit)
    let block: UnsafeMutableRawPointer
    do throws(SystemError) {
      guard Int(wake) < slotLimit else { throw SystemError(errno: EMFILE, operation: "eventfd") }
      unsafe block = try System.map(sizes.total)
    } catch {
      System.close(wake)
      throw error
    }
    // SAFETY: one mapping, zeroed, cut into blocks of the sizes that were summed up; zero is a
    // valid value of each type, and each begins at a multiple of 64.
    unsafe slots = block.bindMemory(to: UringSlot.self, capacity: slotLimit)
    var at = unsafe block + sizes.slots
    unsafe arena = at.bindMemory(to: UInt8.self, capacity: sizes.arena)
    unsafe at += sizes.arena
    unsafe scratch = at.bindMemory(to: UInt8.self, capacity: sizes.scratch)
    unsafe at += sizes.scratch
    unsafe pinned = at.bindMemory(to: UInt16.self, capacity: Self.bufferCount)
    unsafe at += sizes.pinned
    unsafe changed = at.bindMemory(to: Int32.self, capacity: 2 * slotLimit)
    unsafe at += sizes.changed
    unsafe numbers = at.bindMemory(to: Int32.self, capacity: slotLimit + 1)
    unsafe numbers[slotLimit] = -1
    self.fileCount = fileCount
    self.wake = wake
    self.ring = ring
    self.buffers = buffers
    timers = TimerWheel(capacity: slotLimit, tickMilliseconds: 16)
    timers.advance(nowMilliseconds: monotonicNanoseconds() / 1_000_000)
    push(.poll(wake, POLLIN, repeats: true, RingTag(.wake, wake, 0)))
  }

  /// Throws what the system says where it has no io_uring for us, or not all that the engine needs.
  public static func probe() throws(SystemError) {
    var options = EngineOptions()
    options.slotLimit = 1_024
    _ = try UringEngine(options: options)
  }

  private static func blockSizes(
    _ options: EngineOptions, _ slotLimit: Int
  ) -> (slots: Int, arena: Int, scratch: Int, pinned: Int, changed: Int, total: Int) {
    let slots = slotLimit * MemoryLayout<UringSlot>.stride
    let arena = arenaBytes + slack
    let scratch = (options.receiveBytes + slack + 63) & ~63
    let pinned = bufferCount * MemoryLayout<UInt16>.stride
    let changed = 2 * slotLimit * MemoryLayout<Int32>.stride
    let numbers = (slotLimit + 1) * MemoryLayout<Int32>.stride
    return (slots, arena, scratch, pinned, changed, slots + arena + scratch + pinned + changed + numbers)
  }

  deinit {
    // Operations hold on to their files, and the kernel ends them only after the ring is gone:
    // ports and peers should not have to wait for that.
    ring.cancelEverything()
    var index: Int32 = 0
    while index <= highest {
      if unsafe slots[Int(index)].kind != .free {
        unsafe slots[Int(index)].unsent.release()
        unsafe slots[Int(index)].arrived.release()
        System.close(index)
      }
      index += 1
    }
    System.close(wake)
    unsafe System.unmap(slots, Self.blockSizes(options, slotLimit).total)
  }

  public func wakeDescriptor() -> Int32 { wake }

  // MARK: Submissions

  @inline(__always)
  @discardableResult
  mutating func push(_ entry: RingEntry) -> UInt32 {
    if ring.isFull { submit() }
    return ring.push(entry)
  }

  public mutating func handOver() {
    if ring.hasUnsubmitted { submit() }
  }

  /// Hands over what was pushed, without waiting.
  @inline(never)
  mutating func submit() { handOver(waits: false, nanoseconds: nil) }

  /// What was sent is with the kernel afterwards; what it did not take is kept, and the memory is
  /// free. So a send that fell short must be seen even when completions had no room.
  @inline(__always)
  mutating func handOver(waits: Bool, nanoseconds: UInt64?) {
    let before = ring.tail
    ring.enter(waits: waits, nanoseconds: nanoseconds)
    scan(from: before)
    while ring.hasOverflow {
      ring.setAside()
      let before = ring.tail
      ring.enter(waits: true, nanoseconds: 0)
      scan(from: before)
    }
    batch &+= 1
    arenaUsed = 0
    arenaEnd = 0
    var position = 0
    while position < pinnedCount {
      buffers.giveBack(unsafe pinned[position])
      position &+= 1
    }
    pinnedCount = 0
  }

  /// The first look at new completions.
  private mutating func scan(from number: UInt32) {
    var number = number
    while number != ring.tail {
      let completion = ring.completion(number)
      if completion.tag.operation == RingTag.Operation.send.rawValue {
        sendFellShort(completion)
      } else {
        buffers.note(completion)
      }
      number = number &+ 1
    }
  }

  /// What lies in the arena before `end` stays until the batch is handed over.
  @inline(__always)
  mutating func occupyArena(to end: Int) {
    arenaEnd = end
    arenaUsed = (end &+ 63) & ~63
  }

  /// Lists the slot for `reconcile`. While the list is gone through, a slot that was there may come
  /// once more: a send of the batch can fall short once.
  @inline(__always)
  mutating func change(_ index: Int32) {
    let slot = unsafe slots + Int(index)
    if unsafe slot.pointee.flags.contains(.changed) { return }
    precondition(changedCount < 2 * slotLimit)
    unsafe slot.pointee.flags.insert(.changed)
    unsafe changed[changedCount] = index
    changedCount &+= 1
  }

  // MARK: Descriptors in and out

  /// Takes a free slot; false: the number is above the limit.
  private mutating func register(_ descriptor: Int32, _ kind: UringSlot.Kind) -> Bool {
    precondition(descriptor >= 0)
    guard Int(descriptor) < slotLimit else { return false }
    // SAFETY: the number is below the limit.
    let slot = unsafe slots + Int(descriptor)
    precondition(unsafe slot.pointee.kind == .free, "descriptor is registered already")
    unsafe slot.pointee.generation &+= 1
    unsafe slot.pointee.begin(kind)
    if descriptor > highest { highest = descriptor }
    if isRegistered(descriptor) {
      unsafe numbers[Int(descriptor)] = descriptor
      unsafe push(.setFile(descriptor, numbers + Int(descriptor)))
    }
    change(descriptor)
    return true
  }

  /// Whether the descriptor has a place in the ring's table of files, at its own number.
  @inline(__always)
  func isRegistered(_ descriptor: Int32) -> Bool { Int(descriptor) < fileCount }

  private func handle(_ descriptor: Int32) -> Socket {
    Socket(index: descriptor, generation: unsafe slots[Int(descriptor)].generation)
  }

  func tag(_ operation: RingTag.Operation, _ index: Int32) -> RingTag {
    RingTag(operation, index, unsafe slots[Int(index)].generation)
  }

  /// The slot of a handle that is not stale; nil: the socket was closed.
  @inline(__always)
  func slot(of socket: Socket, _ kind: UringSlot.Kind = .stream) -> UnsafeMutablePointer<UringSlot>? {
    guard socket.index >= 0, Int(socket.index) < slotLimit else { return nil }
    // SAFETY: the index is within the limits.
    let slot = unsafe slots + Int(socket.index)
    let isFresh = unsafe slot.pointee.generation == socket.generation && slot.pointee.kind == kind
    return unsafe isFresh ? slot : nil
  }

  /// Frees the slot. The descriptor is closed with the batch, after what was sent: its number can
  /// not come again before that.
  mutating func release(_ index: Int32) {
    let slot = unsafe slots + Int(index)
    unsafe slot.pointee.unsent.release()
    unsafe slot.pointee.arrived.release()
    if unsafe slot.pointee.kind == .closing { closingCount &-= 1 }
    if unsafe slot.pointee.kind != .stream { timers.cancel(index) }
    let flags = unsafe slot.pointee.flags
    if flags.contains(.receiveArmed) { push(.cancel(tag(.receive, index))) }
    if flags.contains(.acceptArmed) { push(.cancel(tag(.accept, index))) }
    if flags.contains(.connecting) { push(.cancel(tag(.connect, index))) }
    if flags.contains(.roomArmed) { push(.cancel(tag(.room, index))) }
    if flags.contains(.readableArmed) { push(.cancel(tag(.readable, index))) }
    if flags.contains(.hangUpArmed) { push(.cancel(tag(.hangUp, index))) }
    if isRegistered(index) { unsafe push(.setFile(index, numbers + slotLimit)) }
    push(.close(index))
    // Completions that are still to come name the owner that was.
    unsafe slot.pointee.generation &+= 1
    unsafe slot.pointee.begin(.free)
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
    precondition(register(descriptor, .listener), "listening socket can not be registered: slot limit")
    return handle(descriptor)
  }

  public mutating func stopListening(_ socket: Socket) {
    guard unsafe slot(of: socket, .listener) != nil else { return }
    release(socket.index)
    // Who holds a duplicate must not see this one accept any more.
    submit()
  }

  /// Read by readiness at first: a multishot receive would take all that a stranger has sent, up to half a megabyte,
  /// before anyone has looked at the first of it.
  public mutating func adopt(_ descriptor: Int32) -> Socket? {
    guard register(descriptor, .stream) else { return nil }
    unsafe slots[Int(descriptor)].flags.insert(.bulk)
    return handle(descriptor)
  }

  public mutating func watch(_ descriptor: Int32) -> Socket? {
    register(descriptor, .watched) ? handle(descriptor) : nil
  }

  public mutating func closeWatched(_ socket: Socket) {
    guard unsafe slot(of: socket, .watched) != nil else { return }
    release(socket.index)
  }

  public mutating func connect(to address: SocketAddress) throws(SystemError) -> Socket {
    let descriptor = try System.streamSocket(family: Int32(address.family), about: address)
    guard register(descriptor, .stream) else {
      System.close(descriptor)
      throw SystemError(errno: EMFILE, operation: "connect", address: address)
    }
    System.setStreamOptions(descriptor)
    unsafe slots[Int(descriptor)].flags.insert(.connecting)
    // Handing over would free the place of the address.
    if ring.isFull { submit() }
    let place = unsafe reserve(MemoryLayout<SocketAddress>.stride)
    unsafe UnsafeMutableRawPointer(place).storeBytes(of: address, as: SocketAddress.self)
    occupyArena(to: reserved &+ MemoryLayout<SocketAddress>.stride)
    let length = unsafe address.withSockaddr { _, length in length }
    let entry = unsafe RingEntry.connect(descriptor, place, length, tag(.connect, descriptor))
    ring.push(entry.byFile(isRegistered(descriptor)))
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
    unsafe slot.pointee.arrived.release()
    unsafe slot.pointee.flags.remove([.receiving, .drainedDue])
    // Its last buffer was filled (or it is read by readiness): what more there is is not worth a copy.
    if unsafe slot.pointee.run > 0 { unsafe slot.pointee.flags.formUnion([.bulk, .readable]) }
    unsafe slot.pointee.flags.insert(.shutdownDue)
    closingCount &+= 1
    waitForDrain(socket.index)
    hasShutdownsDue = true
    change(socket.index)
  }

  /// The peer of a socket without an owner has this long to take more of what is unsent.
  mutating func waitForDrain(_ index: Int32) {
    let now = monotonicNanoseconds() / 1_000_000
    timers.schedule(index, atMilliseconds: now &+ options.closeDrainMilliseconds)
  }

  // MARK: Receiving on and off

  public mutating func startReceiving(_ socket: Socket) {
    guard let slot = unsafe slot(of: socket) else { return }
    unsafe slot.pointee.flags.insert(.receiving)
    let waits = unsafe !slot.pointee.flags.isDisjoint(with: [.peerEnded, .readable])
    if unsafe waits || !slot.pointee.arrived.isEmpty { enqueue(socket.index) }
    if unsafe !slot.pointee.flags.contains(.receiveArmed) { change(socket.index) }
  }

  /// The operation stays in the kernel's hands until something comes: most stops are over before.
  public mutating func stopReceiving(_ socket: Socket) {
    guard let slot = unsafe slot(of: socket) else { return }
    unsafe slot.pointee.flags.remove(.receiving)
  }
}
