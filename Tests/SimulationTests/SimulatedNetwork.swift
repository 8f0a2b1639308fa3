import SystemIO

/// Who is at the other end of a worker's connection: a client or a backend.
protocol SimulatedPeer: AnyObject {
  func received(_ bytes: [UInt8])
  /// The worker will send no more.
  func ended()
  /// The connection was reset; nothing more comes or goes.
  func broken()
}

/// The world of one simulation: its clock, what is going to happen, and the sockets of its one worker.
final class SimulatedNetwork {
  /// How the network behaves.
  struct Conditions {
    /// Microseconds that a segment is under way.
    var delay = 5...2_000
    var largestSegment = 16_384
    /// Bytes that the kernel takes for a peer that does not read.
    var sendRoom = 4_096...65_536
    /// Bytes that wait for a worker that does not read.
    var receiveRoom = 65_536
    /// Percent of the turns that come late, and how late (milliseconds).
    var stallPercent = 0
    var stall = 1...400
    /// Percent of the accepts and connects that find no descriptor.
    var exhaustedPercent = 0
  }

  private struct Happening {
    var time: UInt64
    var order: UInt64
    var body: () -> Void
  }

  var random = SimulatedRandom(seed: 0)
  var conditions = Conditions()
  /// Nanoseconds.
  private(set) var now: UInt64 = 1_000_000_000
  /// When bytes came to where they were sent, in either direction.
  private(set) var movedAt: UInt64 = 1_000_000_000
  /// The last happens first.
  private var timeline: [Happening] = []
  private var order: UInt64 = 0
  /// All that there ever were.
  private var links: [SimulatedLink] = []
  let slots: [SimulatedSlot]
  /// Slots that may have an event in this turn, and those that wait for the next.
  private var ready: [Int] = []
  private var later: [Int] = []
  /// There is mail for the worker.
  private var isWoken = false
  /// Nothing will ever happen any more.
  private(set) var isDead = false
  /// What the worker did with its engine that it must not do.
  var faults: [String] = []
  /// Who answers at an address; nil: nobody, and the worker is refused.
  var answer: (SocketAddress, SimulatedLink) -> Void = { _, link in link.finishConnecting(error: 111) }
  var trace: ((@autoclosure () -> String) -> Void)?

  init(slotCount: Int) { slots = (0..<slotCount).map(SimulatedSlot.init) }

  // MARK: Time

  /// Does something after some microseconds.
  func after(_ microseconds: Int, _ body: @escaping () -> Void) {
    order += 1
    let happening = Happening(time: now + UInt64(max(0, microseconds)) * 1000, order: order, body: body)
    var low = 0
    var high = timeline.count
    while low < high {
      let middle = (low + high) / 2
      let other = timeline[middle]
      if other.time > happening.time || other.time == happening.time && other.order > happening.order {
        low = middle + 1
      } else {
        high = middle
      }
    }
    timeline.insert(happening, at: low)
  }

  func afterDelay(_ body: @escaping () -> Void) { after(random.within(conditions.delay), body) }

  private func run(until time: UInt64) {
    while let first = timeline.last, first.time <= time {
      timeline.removeLast()
      now = max(now, first.time)
      first.body()
    }
    now = max(now, time)
  }

  func wake() { isWoken = true }

  /// A link has carried something.
  func noteMovement() { movedAt = now }

  /// Goes on until a slot is ready or the deadline has come.
  func advance(to deadline: UInt64) {
    ready += later
    later = []
    for index in ready { slots[index].taken = 0 }
    while ready.isEmpty, !isWoken, let first = timeline.last, first.time <= deadline { run(until: first.time) }
    if ready.isEmpty, !isWoken {
      if deadline == .max { isDead = true } else { run(until: deadline) }
    }
    isWoken = false
    run(until: now + UInt64(random.within(1...40)) * 1000)
    if random.chance(conditions.stallPercent) {
      run(until: now + UInt64(random.within(conditions.stall)) * 1_000_000)
    }
  }

  // MARK: Ready slots

  func enqueue(_ index: Int) {
    guard index >= 0, slots[index].kind != .free, !slots[index].isQueued else { return }
    slots[index].isQueued = true
    ready.append(index)
  }

  func enqueueLater(_ index: Int) {
    guard slots[index].kind != .free, !slots[index].isQueued else { return }
    slots[index].isQueued = true
    later.append(index)
  }

  /// One of the ready slots, in no order that a worker could rely on.
  func takeReady() -> SimulatedSlot? {
    guard !ready.isEmpty else { return nil }
    let place = random.below(ready.count)
    let index = ready[place]
    ready.swapAt(place, ready.count - 1)
    ready.removeLast()
    slots[index].isQueued = false
    return slots[index]
  }

  // MARK: Slots

  /// The lowest number that is free, as the kernel gives it.
  func takeSlot(_ kind: SimulatedSlot.Kind, _ link: SimulatedLink?) -> SimulatedSlot? {
    guard let slot = slots.first(where: { $0.kind == .free }) else { return nil }
    slot.begin(kind, link)
    link?.slot = slot.index
    return slot
  }

  func release(_ slot: SimulatedSlot) {
    slot.link?.slot = -1
    slot.begin(.free, nil)
  }

  func count(_ kind: SimulatedSlot.Kind) -> Int { slots.reduce(0) { $0 + ($1.kind == kind ? 1 : 0) } }

  /// A client's connection to a listening socket of the worker; nil: there is none.
  func connect(to listener: Int, from peer: any SimulatedPeer) -> SimulatedLink {
    let link = SimulatedLink(self, peer)
    afterDelay { [self] in
      guard slots[listener].kind == .listener else {
        link.breakPeer()
        return
      }
      slots[listener].backlog.append(link)
      enqueue(listener)
    }
    return link
  }

  func add(_ link: SimulatedLink) { links.append(link) }

  /// Lets go of everything that holds on to the peers.
  func tearDown() {
    timeline = []
    for link in links { link.forget() }
    links = []
    for slot in slots { slot.begin(.free, nil) }
    answer = { _, _ in }
    trace = nil
  }

  func note(_ text: @autoclosure () -> String) { trace?(text()) }
}

/// A descriptor of the worker, as its engine sees it.
final class SimulatedSlot {
  enum Kind {
    case free
    /// Accepted and not adopted.
    case offered
    case stream
    /// Let go of with `closeWhenDrained`.
    case closing
    case listener
  }

  let index: Int
  private(set) var generation: UInt32 = 0
  private(set) var kind = Kind.free
  private(set) var link: SimulatedLink?
  var isReceiving = false
  var isConnecting = false
  /// What became of `connect`.
  var connectResult: Int32?
  /// Bytes that the kernel had no room for.
  var kept: [UInt8] = []
  var isDrainedDue = false
  var isShutdownDue = false
  var isShutdown = false
  /// When a socket without an owner is cut off.
  var closesAt: UInt64 = 0
  var endWasGiven = false
  var failureWasGiven = false
  var sendFailureWasGiven = false
  var backlog: [SimulatedLink] = []
  var isQueued = false
  /// Events of the costly kind in this turn.
  var taken = 0

  init(_ index: Int) { self.index = index }

  func begin(_ kind: Kind, _ link: SimulatedLink?) {
    if kind != .free { generation &+= 1 }
    self.kind = kind
    self.link = link
    (isReceiving, isConnecting, connectResult, kept) = (false, false, nil, [])
    (isDrainedDue, isShutdownDue, isShutdown) = (false, false, false)
    (endWasGiven, failureWasGiven, sendFailureWasGiven) = (false, false, false)
    backlog = []
  }

  func become(_ kind: Kind) { self.kind = kind }

  var handle: Socket { Socket(index: Int32(index), generation: generation) }
}
