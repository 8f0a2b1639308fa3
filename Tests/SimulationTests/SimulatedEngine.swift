import SystemIO

/// The worker's port on a simulated network. It keeps the same promises as the engines on the kernel, in the hardest
/// way that they allow: events of a turn come in any order, one read gives any part of what is there, memory that is
/// no longer valid is overwritten at once.
@safe struct SimulatedEngine: IOEngine, ~Copyable {
  /// Descriptors that no call of the system knows, should one get there.
  static var firstDescriptor: Int32 { 1_000_000 }

  let network: SimulatedNetwork
  private let options: EngineOptions
  // INVARIANT: room for `IOLimits.reserveBytes` and 64 more, from init to deinit.
  private let scratch: UnsafeMutablePointer<UInt8>
  /// The bytes of the event in hand, freed with the next one; nil: it has none.
  private var eventBytes: UnsafeMutablePointer<UInt8>?

  init(options: EngineOptions) throws(SystemError) {
    self.options = options
    network = SimulatedNetwork(slotCount: options.slotLimit)
    unsafe scratch = .allocate(capacity: IOLimits.reserveBytes + 64)
    unsafe scratch.initialize(repeating: 0xdd, count: IOLimits.reserveBytes + 64)
    unsafe eventBytes = nil
  }

  deinit {
    unsafe scratch.deallocate()
    unsafe eventBytes?.deallocate()
  }

  func nowNanoseconds() -> UInt64 { network.now }

  func wakeDescriptor() -> Int32 { -1 }

  var closingCount: Int { network.count(.closing) }

  // MARK: Descriptors

  /// Nil, and a fault, when the handle is stale.
  private func slot(_ socket: Socket, _ operation: StaticString) -> SimulatedSlot? {
    let index = Int(socket.index)
    guard network.slots.indices.contains(index) else {
      network.faults.append("\(operation) of descriptor \(index)")
      return nil
    }
    let slot = network.slots[index]
    guard slot.generation == socket.generation, slot.kind == .stream || slot.kind == .listener else {
      network.faults.append("\(operation) of descriptor \(index), which was closed before (it is \(slot.kind))")
      return nil
    }
    return slot
  }

  mutating func listen(on descriptor: Int32) -> Socket {
    let slot = network.slots[Int(descriptor - Self.firstDescriptor)]
    slot.become(.listener)
    return slot.handle
  }

  mutating func stopListening(_ socket: Socket) {
    guard let slot = slot(socket, "stopListening") else { return }
    for link in slot.backlog { link.breakPeer() }
    network.release(slot)
  }

  mutating func adopt(_ descriptor: Int32) -> Socket? {
    let slot = network.slots[Int(descriptor - Self.firstDescriptor)]
    precondition(slot.kind == .offered, "adopted what was not offered")
    slot.become(.stream)
    return slot.handle
  }

  /// No datagrams are sent in this world.
  mutating func watch(_ descriptor: Int32) -> Socket? { nil }
  mutating func closeWatched(_ socket: Socket) {}

  mutating func refuse(_ descriptor: Int32) {
    let slot = network.slots[Int(descriptor - Self.firstDescriptor)]
    precondition(slot.kind == .offered, "refused what was not offered")
    slot.link?.workerCloses()
    network.release(slot)
  }

  mutating func connect(to address: SocketAddress) throws(SystemError) -> Socket {
    let link = SimulatedLink(network, nil)
    guard !network.random.chance(network.conditions.exhaustedPercent), let slot = network.takeSlot(.stream, link)
    else { throw SystemError(errno: 24, operation: "socket", address: address) }
    slot.isConnecting = true
    network.answer(address, link)
    return slot.handle
  }

  mutating func close(_ socket: Socket) {
    guard let slot = slot(socket, "close") else { return }
    slot.link?.workerCloses()
    network.release(slot)
  }

  mutating func resetOnClose(_ socket: Socket) { slot(socket, "resetOnClose")?.link?.resetsOnClose = true }

  mutating func closeWhenDrained(_ socket: Socket) {
    guard let slot = slot(socket, "closeWhenDrained"), let link = slot.link else { return }
    slot.become(.closing)
    (slot.isReceiving, slot.isDrainedDue) = (false, false)
    if link.error != 0 || link.endHasArrived && slot.isShutdown {
      release(slot)
      return
    }
    slot.isShutdownDue = !slot.isShutdown
    releaseLater(slot, milliseconds: options.closeDrainMilliseconds)
    network.enqueueLater(slot.index)
  }

  private func release(_ slot: SimulatedSlot) {
    slot.link?.workerCloses()
    network.release(slot)
  }

  private func releaseLater(_ slot: SimulatedSlot, milliseconds: UInt64) {
    let generation = slot.generation
    let network = network
    slot.closesAt = network.now + milliseconds * 1_000_000
    network.after(Int(milliseconds) * 1000) {
      guard slot.generation == generation, slot.kind == .closing, slot.closesAt <= network.now else { return }
      slot.link?.workerCloses()
      network.release(slot)
    }
  }

  // MARK: Receiving

  mutating func startReceiving(_ socket: Socket) {
    guard let slot = slot(socket, "startReceiving") else { return }
    slot.isReceiving = true
    network.enqueue(slot.index)
  }

  mutating func stopReceiving(_ socket: Socket) { slot(socket, "stopReceiving")?.isReceiving = false }

  // MARK: Sending

  mutating func reserve(_ count: Int) -> UnsafeMutablePointer<UInt8> {
    precondition(count >= 0 && count <= IOLimits.reserveBytes)
    return unsafe scratch
  }

  mutating func send(_ socket: Socket, reserved count: Int) {
    // SAFETY: at most what was reserved.
    unsafe send(socket, copying: scratch, count: count)
    unsafe scratch.update(repeating: 0xdd, count: count)
  }

  mutating func send(_ socket: Socket, copying bytes: UnsafePointer<UInt8>, count: Int) {
    guard count > 0, let slot = slot(socket, "send"), let link = slot.link else { return }
    link.noteSend(count)
    if slot.isShutdown || slot.isShutdownDue || link.error != 0 { return }
    unsafe slot.kept += UnsafeBufferPointer(start: bytes, count: count)
    if !slot.isConnecting, slot.kept.count == count { flush(slot, isFirst: true) }
  }

  func unsentBytes(_ socket: Socket) -> Int { slot(socket, "unsentBytes")?.kept.count ?? 0 }

  mutating func shutdownWrite(_ socket: Socket) {
    guard let slot = slot(socket, "shutdownWrite") else { return }
    if slot.isShutdown || slot.link?.error != 0 { return }
    slot.isShutdownDue = true
    if !slot.isConnecting { flush(slot) }
  }

  /// Gives the kernel what it takes, which need not be all.
  private func flush(_ slot: SimulatedSlot, isFirst: Bool = false) {
    guard let link = slot.link, !slot.isConnecting else { return }
    if link.error != 0 {
      slot.kept = []
      return
    }
    let most = min(slot.kept.count, link.room)
    if most > 0 {
      let count = network.random.chance(80) ? most : 1 + network.random.below(most)
      link.take(slot.kept[..<count])
      slot.kept.removeFirst(count)
      if slot.kept.isEmpty { slot.isDrainedDue = !isFirst } else if link.room > 0 { network.enqueueLater(slot.index) }
      if slot.kind == .closing { releaseLater(slot, milliseconds: options.closeDrainMilliseconds) }
    }
    guard slot.kept.isEmpty, slot.isShutdownDue else { return }
    (slot.isShutdownDue, slot.isShutdown) = (false, true)
    link.endSending()
    if slot.kind == .closing { releaseLater(slot, milliseconds: options.lingerMilliseconds) }
  }

  // MARK: Turns

  mutating func wait(untilNanoseconds deadline: UInt64) {
    dropBytes()
    network.advance(to: deadline)
  }

  private mutating func dropBytes() {
    unsafe eventBytes?.deallocate()
    unsafe eventBytes = nil
  }

  mutating func next(_ event: inout IOEvent) -> Bool {
    dropBytes()
    while let slot = network.takeReady() {
      let gaveEvent =
        switch slot.kind {
        case .stream: stepStream(slot, &event)
        case .listener: stepListener(slot, &event)
        case .closing: stepClosing(slot)
        case .free, .offered: false
        }
      if gaveEvent {
        network.enqueue(slot.index)
        return true
      }
    }
    return false
  }

  private func fill(_ event: inout IOEvent, _ kind: IOEventKind, _ slot: SimulatedSlot, error: Int32 = 0) -> Bool {
    (event.kind, event.error, event.socket, event.count) = (kind, error, slot.handle, 0)
    return true
  }

  private mutating func stepStream(_ slot: SimulatedSlot, _ event: inout IOEvent) -> Bool {
    guard let link = slot.link else { return false }
    if slot.isConnecting {
      guard let result = slot.connectResult else { return false }
      slot.isConnecting = false
      if result == 0 {
        flush(slot)
        return fill(&event, .connected, slot)
      }
      slot.failureWasGiven = true
      return fill(&event, .failed, slot, error: result)
    }
    flush(slot)
    if slot.isDrainedDue {
      slot.isDrainedDue = false
      if slot.kept.isEmpty, link.error == 0 { return fill(&event, .drained, slot) }
    }
    if slot.isReceiving, !link.arrived.isEmpty { return receive(slot, link, &event) }
    if link.error == 0 {
      guard slot.isReceiving, link.endHasArrived, !slot.endWasGiven else { return false }
      slot.endWasGiven = true
      return fill(&event, .endOfStream, slot)
    }
    return stepFailure(slot, link, &event)
  }

  private mutating func receive(_ slot: SimulatedSlot, _ link: SimulatedLink, _ event: inout IOEvent) -> Bool {
    if slot.taken >= Int(options.receivesPerTurn) {
      network.enqueueLater(slot.index)
      return false
    }
    slot.taken += 1
    let bytes = link.read(options.receiveBytes)
    let place = UnsafeMutablePointer<UInt8>.allocate(capacity: bytes.count + 32)
    unsafe place.initialize(repeating: 0xee, count: bytes.count + 32)
    unsafe bytes.withUnsafeBufferPointer { unsafe place.update(from: $0.baseAddress!, count: bytes.count) }
    unsafe eventBytes = unsafe place
    _ = fill(&event, .received, slot)
    unsafe event.bytes = unsafe place
    event.count = bytes.count
    return true
  }

  private func stepFailure(_ slot: SimulatedSlot, _ link: SimulatedLink, _ event: inout IOEvent) -> Bool {
    if slot.failureWasGiven { return false }
    if link.arrived.isEmpty {
      slot.failureWasGiven = true
      return fill(&event, .failed, slot, error: link.error)
    }
    if slot.sendFailureWasGiven { return false }
    slot.sendFailureWasGiven = true
    return fill(&event, .sendFailed, slot, error: link.error)
  }

  private func stepListener(_ slot: SimulatedSlot, _ event: inout IOEvent) -> Bool {
    guard !slot.backlog.isEmpty else { return false }
    let link = slot.backlog.removeFirst()
    guard !network.random.chance(network.conditions.exhaustedPercent), let taken = network.takeSlot(.offered, link)
    else {
      link.workerCloses()
      return fill(&event, .refused, slot, error: 24)
    }
    event.descriptor = Int32(taken.index) + Self.firstDescriptor
    event.peer = SocketAddress(ipv4: 0x0a00_0001, port: 40_000)
    return fill(&event, .accepted, slot)
  }

  /// Never gives an event.
  private func stepClosing(_ slot: SimulatedSlot) -> Bool {
    guard let link = slot.link else { return false }
    if slot.isConnecting {
      guard let result = slot.connectResult else { return false }
      slot.isConnecting = false
      if result != 0 { release(slot) }
    }
    guard slot.kind == .closing else { return false }
    flush(slot)
    if slot.isShutdown {
      while !link.arrived.isEmpty { link.skip(most: 65_536) }
    }
    if link.error != 0 || link.endHasArrived && slot.isShutdown { release(slot) }
    return false
  }
}
