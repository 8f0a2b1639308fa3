/// A handle to a socket that an engine owns. It goes stale when the socket is closed: calls with
/// a stale handle do nothing, and the engine makes no event for one.
@frozen public struct Socket: Equatable, Sendable {
  /// The slot, which is the descriptor's number.
  public var index: Int32
  /// Tells this owner of the slot from those before and after it.
  public var generation: UInt32

  @inlinable public init(index: Int32, generation: UInt32) {
    self.index = index
    self.generation = generation
  }

  /// A handle that no engine ever gives out.
  @inlinable public static var none: Socket { Socket(index: -1, generation: 0) }
}

public enum IOEventKind: UInt8, Sendable {
  /// A listening socket (`socket`) took in a connection: `descriptor`, `peer`. The caller owns the
  /// descriptor and either adopts it or closes it.
  case accepted
  /// A connection was turned away at `socket` because descriptors or slots ran out (`error`).
  case refused
  /// `connect` succeeded; sending and receiving work now.
  case connected
  /// `bytes` and `count`.
  case received
  /// The peer will send no more. Sending goes on. Comes once, after all bytes.
  case endOfStream
  /// `unsentBytes` fell to zero after bytes had been kept back.
  case drained
  /// Nothing can be sent any more (`error`), but receiving is stopped and received bytes wait in
  /// the kernel. `failed` follows once they were read. Comes at most once.
  case sendFailed
  /// The connection is dead (`error`); all bytes were delivered. The owner closes the socket.
  case failed
  /// Datagrams wait at a socket that is watched, or the network reported an error about one.
  case readable
  /// Another thread wrote to `wakeDescriptor`.
  case woken
}

/// One completion. Which fields hold something depends on `kind`.
@safe @frozen public struct IOEvent {
  public var kind: IOEventKind
  /// An errno.
  public var error: Int32
  public var socket: Socket
  /// Valid until the next call of `next`. Beyond `count` 16 more bytes may be read (their value
  /// means nothing) and 32 may be written.
  public var bytes: UnsafeMutablePointer<UInt8>
  public var count: Int
  public var descriptor: Int32
  public var peer: SocketAddress

  @inlinable public init() {
    kind = .woken
    error = 0
    socket = .none
    // SAFETY: never read: only a `received` event says that there are bytes.
    unsafe bytes = UnsafeMutablePointer(bitPattern: 64).unsafelyUnwrapped
    count = 0
    descriptor = -1
    peer = SocketAddress()
  }
}
