/// What the engine knows of one descriptor: a cache line, found by the descriptor's number. All
/// zero is a free slot.
@safe struct UringSlot: QueuedSlot {
  enum Kind: UInt8 {
    case free, listener, stream
    /// Let go of by its owner; the engine drains and closes it.
    case closing
    /// Taken in by a listener that had its share of the turn; given out in the next one.
    case arriving
    /// Of datagrams: its owner receives.
    case watched
  }

  /// Bytes that the kernel had no room for.
  var unsent = KeptBytes()
  /// Bytes that came while nobody wanted them, or beyond the socket's share of a turn.
  var arrived = KeptBytes()
  // INVARIANT: while `batch` is the engine's, the `batchedCount` bytes that entry `batchedEntry`
  // sends; they stay where they are until it was handed over.
  var batched: UnsafePointer<UInt8>?
  var batchedCount: UInt32 = 0
  var batchedEntry: UInt32 = 0
  /// The batch of submissions in which something was sent last.
  var batch: UInt32 = 0
  var generation: UInt32 = 0
  var flags: UringFlags = []
  /// Why the connection is dead; 0: it is not.
  var error: Int32 = 0
  /// The turn in which `used` was counted.
  var turn: UInt32 = 0
  /// The next slot of the ready queue; -1: the last. It stays there over a close, as the queues are
  /// not searched; a new owner of the slot finds nothing to do then.
  var nextReady: Int32 = 0
  var used: UInt16 = 0
  /// Buffers in a row that were filled, or in `bulk` reads in a row that would have fitted one.
  var run: UInt8 = 0
  var kind = Kind.free
  var isQueued = false

  /// The listener of an `arriving` descriptor, which has no error.
  var origin: Int32 {
    get { error }
    set { error = newValue }
  }

  init() {}

  /// Makes a slot that an owner before this one had left as new.
  mutating func begin(_ kind: Kind) {
    let kept = (generation, isQueued, nextReady, flags.intersection(.changed))
    self = UringSlot()
    (generation, isQueued, nextReady, flags) = kept
    self.kind = kind
  }
}

struct UringFlags: OptionSet {
  var rawValue: UInt32
  init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The owner wants what comes in.
  static let receiving = UringFlags(rawValue: 1 << 0)
  /// Operations that the kernel has in hand: see `reconcile`.
  static let receiveArmed = UringFlags(rawValue: 1 << 1)
  static let roomArmed = UringFlags(rawValue: 1 << 2)
  static let hangUpArmed = UringFlags(rawValue: 1 << 3)
  static let acceptArmed = UringFlags(rawValue: 1 << 4)
  /// The receive operation was asked to end, and has not said so yet.
  static let cancelling = UringFlags(rawValue: 1 << 5)
  /// In the list of slots to reconcile.
  static let changed = UringFlags(rawValue: 1 << 6)
  static let connecting = UringFlags(rawValue: 1 << 7)
  /// Nothing can be sent any more; `error` says why.
  static let broken = UringFlags(rawValue: 1 << 8)
  /// The peer's end was read; it comes after the bytes in `arrived`.
  static let peerEnded = UringFlags(rawValue: 1 << 9)
  /// `endOfStream` was given out.
  static let ended = UringFlags(rawValue: 1 << 10)
  static let failedGiven = UringFlags(rawValue: 1 << 11)
  static let sendFailedGiven = UringFlags(rawValue: 1 << 12)
  /// `drained` is to be given out.
  static let drainedDue = UringFlags(rawValue: 1 << 14)
  /// Half-close when everything is sent.
  static let shutdownDue = UringFlags(rawValue: 1 << 15)
  static let shutdownDone = UringFlags(rawValue: 1 << 16)
  /// A listener that can take nothing in for a while.
  static let resting = UringFlags(rawValue: 1 << 17)
  /// So much comes that it is read by readiness, into one large buffer: see `reconcileReceive`.
  static let bulk = UringFlags(rawValue: 1 << 19)
  /// There may be something to read.
  static let readable = UringFlags(rawValue: 1 << 20)
  static let readableArmed = UringFlags(rawValue: 1 << 21)
  /// A listener that found no descriptor for the next connection, and waits until one comes.
  static let exhausted = UringFlags(rawValue: 1 << 18)

  /// Bytes may not go to the kernel directly.
  static let notSendable: UringFlags = [.connecting, .broken, .shutdownDue, .shutdownDone]
  /// Bytes to send are dropped.
  static let sendsNothing: UringFlags = [.broken, .shutdownDue, .shutdownDone]
}
