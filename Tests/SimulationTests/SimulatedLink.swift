import SystemIO

/// A connection between the worker and a peer. Bytes are under way for a while in either direction, are cut and joined
/// as it happens, and keep their order; a reset overtakes them.
final class SimulatedLink {
  unowned let network: SimulatedNetwork
  private(set) var peer: (any SimulatedPeer)?
  /// The worker's slot; -1 before the connection was accepted and after the worker has closed it.
  var slot = -1
  private(set) var workerHasClosed = false
  var peerIsBackend = false
  var resetsOnClose = false

  // Toward the worker.
  private var underWay: [UInt8] = []
  private var peerEnds = false
  private var isPumpingIn = false
  /// Bytes at the end of what was sent that nobody asked for; 0: none.
  private var surplus = 0
  private var sentBeforeSurplus = 0
  /// Of the worker's send calls, in all.
  private var sentByWorker = 0
  /// The worker has read of the surplus, and had not asked for anything more before.
  private var mustBeSilent = false
  var arrived: [UInt8] = []
  private(set) var endHasArrived = false
  private(set) var error: Int32 = 0

  // Toward the peer.
  private var outbound: [UInt8] = []
  private var outboundEnds = false
  private var isPumpingOut = false
  private var endWasTold = false
  private let sendRoom: Int
  /// The peer reads nothing for now.
  private(set) var isPaused = false
  /// The peer has closed: what still comes is answered with a reset.
  private(set) var peerIsGone = false
  private(set) var isBroken = false

  init(_ network: SimulatedNetwork, _ peer: (any SimulatedPeer)?) {
    self.network = network
    self.peer = peer
    sendRoom = network.random.within(network.conditions.sendRoom)
    network.add(self)
  }

  func forget() {
    peer = nil
    isBroken = true
  }

  func setPeer(_ peer: any SimulatedPeer) { self.peer = peer }

  // MARK: The peer's side

  func send(_ bytes: [UInt8]) {
    guard !isBroken, !peerEnds, !bytes.isEmpty else { return }
    underWay += bytes
    pumpIn()
  }

  /// Bytes that nobody asked for. Once the worker has read one of them, it must not ask for anything; when it has
  /// asked before, it cannot know that they are not the answer.
  func sendSurplus(_ bytes: [UInt8]) {
    guard !isBroken, !peerEnds else { return }
    (surplus, sentBeforeSurplus) = (bytes.count, sentByWorker)
    send(bytes)
  }

  func end() {
    guard !isBroken, !peerEnds else { return }
    peerEnds = true
    pumpIn()
  }

  /// Ends, and takes no interest in what still comes.
  func close() {
    end()
    peerIsGone = true
    peer = nil
    pumpOut()
  }

  /// Breaks the connection at once; what was under way is lost.
  func reset(error code: Int32 = 104) {
    guard !isBroken else { return }
    isBroken = true
    underWay = []
    outbound = []
    peer = nil
    network.afterDelay { [self] in
      if workerHasClosed { return }
      error = code
      network.enqueue(slot)
    }
  }

  func pause(_ isPaused: Bool) {
    self.isPaused = isPaused
    if !isPaused { pumpOut() }
  }

  private func pumpIn() {
    guard !isPumpingIn, !isBroken, !underWay.isEmpty || peerEnds && !endHasArrived else { return }
    isPumpingIn = true
    network.afterDelay { [self] in
      isPumpingIn = false
      if isBroken { return }
      if workerHasClosed {
        // Bytes for a socket that is gone are answered with a reset.
        if !underWay.isEmpty { breakPeer() }
        return
      }
      let room = network.conditions.receiveRoom - arrived.count
      let most = min(room, underWay.count, network.conditions.largestSegment)
      if most > 0 {
        let count = 1 + network.random.below(most)
        arrived += underWay[..<count]
        network.noteMovement()
        underWay.removeFirst(count)
      } else if !underWay.isEmpty {
        // Goes on when the worker has read.
        return
      }
      if underWay.isEmpty && peerEnds { endHasArrived = true }
      network.enqueue(slot)
      pumpIn()
    }
  }

  // MARK: The worker's side

  /// What the worker reads, at most `most` bytes.
  func read(_ most: Int) -> [UInt8] {
    let count = countRead(most)
    let bytes = Array(arrived[..<count])
    skip(count)
    return bytes
  }

  /// The same, and nobody wants the bytes. An array of them that is dropped unused is one that Swift 6.3 frees before
  /// it has written it.
  func skip(most: Int) { skip(countRead(most)) }

  private func countRead(_ most: Int) -> Int {
    min(arrived.count, 1 + network.random.below(min(most, arrived.count)))
  }

  private func skip(_ count: Int) {
    arrived.removeFirst(count)
    if surplus > arrived.count + underWay.count, sentByWorker == sentBeforeSurplus { mustBeSilent = true }
    pumpIn()
  }

  func noteSend(_ count: Int) {
    if mustBeSilent { network.faults.append("a request on a connection that gave more than was asked for") }
    sentByWorker += count
  }

  var room: Int { sendRoom - outbound.count }

  func take(_ bytes: ArraySlice<UInt8>) {
    guard !isBroken else { return }
    outbound += bytes
    pumpOut()
  }

  func endSending() {
    outboundEnds = true
    pumpOut()
  }

  /// The worker has closed its descriptor. Bytes that it did not read make that a reset.
  func workerCloses() {
    workerHasClosed = true
    slot = -1
    if isBroken { return }
    if resetsOnClose || !arrived.isEmpty || !underWay.isEmpty {
      outbound.removeLast(network.random.below(outbound.count + 1))
      network.afterDelay { [self] in breakPeer() }
    } else {
      endSending()
    }
  }

  func finishConnecting(error: Int32) {
    guard slot >= 0 else { return }
    network.slots[slot].connectResult = error
    if error != 0 {
      isBroken = true
      self.error = error
    }
    network.enqueue(slot)
  }

  private func pumpOut() {
    guard !isPumpingOut, !isBroken, !isPaused, !outbound.isEmpty || outboundEnds && !endWasTold else { return }
    isPumpingOut = true
    network.afterDelay { [self] in
      isPumpingOut = false
      if isBroken || isPaused { return }
      if peerIsGone, !outbound.isEmpty {
        reset()
        return
      }
      deliver()
      if slot >= 0, !network.slots[slot].kept.isEmpty { network.enqueue(slot) }
      pumpOut()
    }
  }

  private func deliver() {
    network.noteMovement()
    if outbound.isEmpty {
      endWasTold = true
      peer?.ended()
      return
    }
    let count = 1 + network.random.below(min(outbound.count, network.conditions.largestSegment))
    let bytes = Array(outbound[..<count])
    outbound.removeFirst(count)
    peer?.received(bytes)
  }

  /// The peer hears of a reset.
  func breakPeer() {
    guard !isBroken else { return }
    isBroken = true
    let bytes = outbound
    outbound = []
    let listener = peer
    peer = nil
    if !bytes.isEmpty { listener?.received(bytes) }
    listener?.broken()
  }
}
