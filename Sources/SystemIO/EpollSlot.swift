/// What the engine knows of one descriptor: half a cache line, found by the descriptor's number.
/// All zero is a free slot.
@safe struct EpollSlot: QueuedSlot {
  enum Kind: UInt8 {
    case free, listener, stream
    /// Let go of by its owner; the engine drains and closes it.
    case closing
    case wake
    /// Of datagrams: its owner receives.
    case watched
  }

  /// Bytes that the kernel had no room for.
  var unsent = KeptBytes()
  var generation: UInt32 = 0
  /// Why the connection is dead; 0: it is not.
  var error: Int32 = 0
  /// The turn in which `used` was counted.
  var turn: UInt32 = 0
  var used: UInt16 = 0
  var flags: SlotFlags = []
  var kind = Kind.free
  /// Whether the slot is in a ready queue. It stays there over a close, as the queues are not
  /// searched; a new owner of the slot finds nothing to do then.
  var isQueued = false
  /// The next slot of the queue; -1: the last.
  var nextReady: Int32 = 0

  init() {}

  /// Makes a slot that an owner before this one had left as new.
  mutating func begin(_ kind: Kind) {
    let (generation, isQueued, nextReady) = (generation, isQueued, nextReady)
    self = EpollSlot()
    (self.generation, self.isQueued, self.nextReady) = (generation, isQueued, nextReady)
    self.kind = kind
  }
}

struct SlotFlags: OptionSet {
  var rawValue: UInt16
  init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The owner wants what comes in.
  static let receiving = SlotFlags(rawValue: 1 << 0)
  /// An edge said that there is something to read, and no read has found the end of it since.
  static let readable = SlotFlags(rawValue: 1 << 1)
  /// The peer has closed or the connection is dead: only a read of nothing finds the end.
  static let readToEnd = SlotFlags(rawValue: 1 << 2)
  /// An edge said that there is room to send, and there is something that waits for it.
  static let writable = SlotFlags(rawValue: 1 << 3)
  static let connecting = SlotFlags(rawValue: 1 << 4)
  /// Nothing can be sent any more; `error` says why.
  static let broken = SlotFlags(rawValue: 1 << 5)
  /// `endOfStream` was given out, or the peer's end was read.
  static let ended = SlotFlags(rawValue: 1 << 6)
  static let failedGiven = SlotFlags(rawValue: 1 << 7)
  static let sendFailedGiven = SlotFlags(rawValue: 1 << 8)
  /// `drained` is to be given out.
  static let drainedDue = SlotFlags(rawValue: 1 << 9)
  /// The last read filled the buffer.
  static let bulk = SlotFlags(rawValue: 1 << 12)
  /// Half-close when the stash is empty.
  static let shutdownDue = SlotFlags(rawValue: 1 << 10)
  static let shutdownDone = SlotFlags(rawValue: 1 << 11)

  /// Bytes may not go to the kernel directly.
  static let notSendable: SlotFlags = [.connecting, .broken, .shutdownDue, .shutdownDone]
  /// Bytes to send are dropped.
  static let sendsNothing: SlotFlags = [.broken, .shutdownDue, .shutdownDone]
}
