/// Sizes and bounds of an engine.
public struct EngineOptions: Sendable {
  /// Highest number of descriptors (exclusive). 0: what the process may open.
  public var slotLimit = 0
  /// Most bytes of one `received` event.
  public var receiveBytes = 131_072
  /// Most `received` events of one socket in a turn; what is left waits for the next turn.
  public var receivesPerTurn: UInt16 = 2
  /// How long a turn reads from sockets that bring more than others, which the others would have to wait for.
  public var bulkNanoseconds: UInt64 = 50_000
  /// How long a turn discards what comes in on sockets that `closeWhenDrained` has in hand.
  public var discardNanoseconds: UInt64 = 50_000
  /// Most connections that one listening socket takes in a turn.
  public var acceptsPerTurn: UInt16 = 16
  /// How long `closeWhenDrained` waits for the peer to take more of the unsent bytes.
  public var closeDrainMilliseconds: UInt64 = 60_000
  /// How long `closeWhenDrained` then reads and discards, so that a peer that is still sending
  /// gets to see what was sent before the connection goes (RFC 9112 section 9.6).
  public var lingerMilliseconds: UInt64 = 2_000
  /// Most sockets whose time is over in a turn.
  public var timersPerTurn = 64
  /// Sockets that a turn closes: a client may have a hundred requests under way when it goes. To these comes one of
  /// every 32 that had to wait in the turn before.
  public var closesPerTurn = 4
  /// How long a listening socket rests when not even a connection to refuse can be taken in.
  public var acceptPauseMilliseconds: UInt64 = 100

  /// Room of io_uring's queues: submissions between two calls, and completions that wait. Neither
  /// bounds anything; a full queue costs another call.
  public var ringEntries: UInt32 = 2_048
  public var ringCompletions: UInt32 = 16_384

  public init() {}
}

/// A completion-style port to the kernel, owned by one thread.
///
/// A loop turn is `wait`, then `next` until it says false. The engine owns every descriptor that
/// it was given and closes it. No call blocks but `wait`, and none calls back.
public protocol IOEngine: ~Copyable {
  init(options: EngineOptions) throws(SystemError)

  /// Starts to accept at a listening, non-blocking socket; the engine owns it from here on.
  mutating func listen(on descriptor: Int32) -> Socket

  /// Stops accepting and closes the descriptor.
  mutating func stopListening(_ socket: Socket)

  /// Takes over a connected, non-blocking stream socket of which nobody else holds a duplicate.
  /// It does not receive yet. Nil: the number is above the slot limit, and the caller still owns
  /// the descriptor.
  mutating func adopt(_ descriptor: Int32) -> Socket?

  /// Closes a descriptor of an `accepted` event that was not adopted.
  mutating func refuse(_ descriptor: Int32)

  /// Takes over a non-blocking datagram socket: `readable` comes in each turn in which something waits there. The owner
  /// receives by `DatagramBatch` and sends by `Socket.send(datagram:)`. Nil: as `adopt`.
  mutating func watch(_ descriptor: Int32) -> Socket?

  /// Closes what was watched.
  mutating func closeWatched(_ socket: Socket)

  /// Begins to connect. The result comes as `connected` or `failed`, also when the kernel knows
  /// it at once; only a lack of descriptors or memory is thrown. Bytes may be sent right away and
  /// are kept until the connection stands.
  mutating func connect(to address: SocketAddress) throws(SystemError) -> Socket

  mutating func startReceiving(_ socket: Socket)

  /// No `received` nor `endOfStream` comes until `startReceiving`. Bytes stay in the kernel, so
  /// that the peer feels it.
  mutating func stopReceiving(_ socket: Socket)

  /// Space for the next `send(_:reserved:)`: `count` bytes, at most `IOLimits.reserveBytes`. It is
  /// valid until the next call of `reserve`, `connect`, `send`, `next` or `wait`.
  mutating func reserve(_ count: Int) -> UnsafeMutablePointer<UInt8>

  /// Sends the first `count` bytes at the last `reserve`. What the kernel does not take is kept.
  /// Bytes for a socket that failed or was shut down are dropped.
  mutating func send(_ socket: Socket, reserved count: Int)

  /// The same for bytes that lie elsewhere, which may be reused when this returns. Only bytes of the
  /// event in hand must stay as they are: an engine may send them from where they lie.
  mutating func send(_ socket: Socket, copying bytes: UnsafePointer<UInt8>, count: Int)

  /// Bytes that were sent to the engine and not yet taken by the kernel.
  func unsentBytes(_ socket: Socket) -> Int

  /// Half-closes once the unsent bytes went out. Receiving goes on.
  mutating func shutdownWrite(_ socket: Socket)

  /// Closes now. Unsent bytes are lost; bytes that were not received make the kernel reset.
  mutating func close(_ socket: Socket)

  /// `close` will tell the peer that the connection broke off, in place of an orderly end.
  mutating func resetOnClose(_ socket: Socket)

  /// Lets go of the socket: the engine sends what is unsent, half-closes, discards what comes in
  /// until the peer has closed too, and then closes; all within the times of `EngineOptions`.
  mutating func closeWhenDrained(_ socket: Socket)

  /// Sockets that `closeWhenDrained` still has in hand.
  var closingCount: Int { get }

  /// Nanoseconds on the clock that deadlines are told in: CLOCK_MONOTONIC, or that of a simulation.
  func nowNanoseconds() -> UInt64

  /// Hands over what was asked for so far. `wait` does so too: this is for an owner who will be busy before that.
  mutating func handOver()

  /// Blocks until there are events or `deadline` (on the clock of `nowNanoseconds`; `UInt64.max`:
  /// none) passed, and begins a turn. It may return early and without events.
  mutating func wait(untilNanoseconds deadline: UInt64)

  /// The next event of this turn; false: the turn is over.
  mutating func next(_ event: inout IOEvent) -> Bool

  /// The eventfd to which other threads write eight bytes (a native UInt64, 1) to end a `wait`.
  func wakeDescriptor() -> Int32
}

extension IOEngine where Self: ~Copyable {
  public func nowNanoseconds() -> UInt64 { monotonicNanoseconds() }

  public mutating func refuse(_ descriptor: Int32) { System.close(descriptor) }

  /// Nothing waits for the turn's end.
  public mutating func handOver() {}
}

/// What a turn has spent on what could keep the others waiting.
struct TurnShare {
  private var since: UInt64 = 0
  /// Below zero: so many were asked for in vain, as they are again in each turn.
  private var closesLeft = 0

  /// - Parameter closes: what a turn may close as a rule.
  mutating func beginTurn(closes usual: Int) {
    since = 0
    // Where many come and go, what waits must not grow for ever.
    closesLeft = usual &+ max(0, 0 &- closesLeft) / 32
  }

  /// Whether there is time for another large read: for one there always is.
  mutating func hasTime(of nanoseconds: UInt64) -> Bool {
    let now = monotonicNanoseconds()
    if since == 0 {
      since = now
      return true
    }
    return now &- since < nanoseconds
  }

  @inline(__always)
  mutating func takesClose() -> Bool {
    closesLeft &-= 1
    return closesLeft >= 0
  }
}

/// Sockets without an owner on which something may have come that nobody will read. Taking it from the kernel gets a
/// fifth of the time at most: who is told to go and sends on could keep a loop busy with it otherwise.
struct DiscardQueue<Slot: QueuedSlot> {
  private var queue = SlotQueue<Slot>()
  /// Nanoseconds of the monotonic clock.
  private(set) var notBefore: UInt64 = 0
  /// When this turn's share began; 0: it has not.
  private var began: UInt64 = 0

  var isEmpty: Bool { queue.isEmpty }

  // SAFETY: as for `SlotQueue`.
  mutating func append(_ index: Int32, _ slots: UnsafeMutablePointer<Slot>) { unsafe queue.append(index, slots) }

  /// The next one; -1: there is none, or its time has not come, or the share of `nanoseconds` is used up, after one at
  /// the least.
  mutating func popFirst(_ slots: UnsafeMutablePointer<Slot>, for nanoseconds: UInt64) -> Int32 {
    let now = monotonicNanoseconds()
    if began == 0 {
      if now < notBefore { return -1 }
      began = now
    } else if now &- began >= nanoseconds {
      return rest(until: now)
    }
    let index = unsafe queue.popFirst(slots)
    return index >= 0 ? index : rest(until: now)
  }

  private mutating func rest(until now: UInt64) -> Int32 {
    notBefore = now &+ 4 &* (now &- began)
    began = 0
    return -1
  }
}

/// Limits that callers of an engine must know.
public enum IOLimits {
  /// Most bytes of one `reserve`.
  public static let reserveBytes = 262_144
}
