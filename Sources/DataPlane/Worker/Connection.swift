import HTTP1
import HTTP2
import HTTPSemantics
import SystemIO
import TLS

/// One socket, downstream (a client's) or upstream (to an endpoint).
///
/// A trivial struct in the worker's slot table, indexed by descriptor number, so that a connection costs no
/// allocation and no reference counting. Its life, by the functions that move it on:
///
///     accepted ─▶ openDownstreamConnection ─▶ detecting ──detect──▶ http1 ──beginTunnel──▶ tunnel
///                     │            └─ TLS ─▶ handshaking ─handshakeDone─┤                   ▲  │
///                     └─▶ proxyHeader, clientHello (either may stand    └─▶ http2           │  │
///                         before all of these) ───────────────────────────────── beginTCP ──┘  │
///     openUpstream ─▶ connecting ──upstreamConnected──▶ http1 (pooled, leased) or http2        │
///                          └─ TLS ─▶ handshaking ──upstreamReady──┘                            ▼
///     peerEnded, failed, a deadline, a limit, drain ─▶ closeWhenDrained (what was sent goes out first)
///                                                      or closeConnection (at once) ─▶ forgetConnection
///
/// An exchange on it begins in `beginRequest` and ends in `endExchange`, `abortExchange` or `clientCancelled`:
/// see `Stream`.
struct Connection {
  enum Role: UInt8 {
    case free
    case listener
    case downstream
    case upstream
    /// UDP: see `Worker+UDP`.
    case datagramListener
    case datagramSession
  }

  enum Phase: UInt8 {
    case connecting
    /// A header of the PROXY protocol has to come first.
    case proxyHeader
    /// The server name that the client asks for decides who goes on with the handshake.
    case clientHello
    case handshaking
    /// HTTP/1.1 or HTTP/2 with prior knowledge; the first bytes decide.
    case detecting
    case http1
    case http2
    /// Bytes pass both ways untouched: after `101 Switching Protocols`, and where nothing else was ever meant.
    case tunnel
  }

  /// How the body that this connection's peer sends us is delimited (RFC 9112 section 6.3).
  enum Incoming: UInt8 {
    case head
    case length
    case chunked
    case untilClose
    /// The message is complete; on a downstream connection pipelined bytes wait for the response.
    case done

    var isBody: Bool { self == .length || self == .chunked || self == .untilClose }
  }

  struct Flags: OptionSet {
    let rawValue: UInt32
    /// The connection may carry another message when this one is done.
    static let keepAlive = Flags(rawValue: 1 << 0)
    static let readingPaused = Flags(rawValue: 1 << 1)
    /// In the list of HTTP/2 sessions to flush at the end of this turn.
    static let dirty = Flags(rawValue: 1 << 2)
    /// In the list of connections whose stashed input is to be looked at again.
    static let replay = Flags(rawValue: 1 << 3)
    static let peerClosed = Flags(rawValue: 1 << 4)
    static let draining = Flags(rawValue: 1 << 5)
    /// Carried at least one whole exchange: a failure before the first answer byte may be a stale connection.
    static let reused = Flags(rawValue: 1 << 6)
    /// An HTTP/1.1 peer that announced version 1.0: no chunks, no interim responses.
    static let http10 = Flags(rawValue: 1 << 7)
    /// Bytes of the response in hand have come.
    static let readAnything = Flags(rawValue: 1 << 8)
    /// In its endpoint's pool.
    static let idle = Flags(rawValue: 1 << 10)
    /// The client has shown a certificate that was verified.
    static let isIdentified = Flags(rawValue: 1 << 29)
    static let speaksHTTP2 = Flags(rawValue: 1 << 13)
    /// In the worker's list of TLS handshakes.
    static let inHandshakes = Flags(rawValue: 1 << 15)
    /// The responses to pipelined requests fill the buffer: the next request is read when they are out.
    static let waitsForRoom = Flags(rawValue: 1 << 16)
    /// The rest of its input waits for a later turn, and nothing more is read: see `readOn`.
    static let waitsForTurn = Flags(rawValue: 1 << 17)
    /// A partial head has come, or an HTTP/2 client's SETTINGS have not; `deadline` is when the rest must be there.
    static let headTimerRuns = Flags(rawValue: 1 << 14)
  }

  /// The engine's handle; its generation tells this connection from later ones on the same descriptor.
  var handle = Socket(index: -1, generation: 0)
  var role: Role = .free
  var phase: Phase = .detecting
  var incoming: Incoming = .head
  var scheme: UInt8 = 0
  var flags: Flags = []
  /// Slot of the configured socket (downstream), stable over configurations.
  var socketSlot: Int16 = -1
  /// How many steps of `headStep` bytes the head had that was last parsed and not whole.
  var headSteps: UInt16 = 0
  /// The HTTP/1 exchange in progress; -1 none.
  var stream: Int32 = -1
  /// Endpoint slot (upstream).
  var endpoint: Int32 = -1
  /// Streams of an HTTP/2 connection: head of the list linked through `Stream.sibling` (downstream) or
  /// `Stream.upstreamNext` (upstream, those that wait for it to open included).
  var firstStream: Int32 = -1
  /// Milliseconds on the worker's clock at which the current wait is over; 0 for none.
  var deadline: UInt64 = 0
  /// Bytes of the body still to come under `.length`.
  var remaining: Int64 = 0
  var chunks = ChunkedDecoder()
  /// Input that could not be used yet: a partial head, pipelined requests.
  var stash = ByteStore()
  var tls: TLSConnection?
  var session: HTTP2Session?
  /// Why TLS with the backend did not come about.
  var tlsFault = TLSFailure.Cause?.none
  var peer = SocketAddress()
  /// Where the client connected to, if a PROXY protocol header said so.
  var proxiedDestination = OwnedAddress()

  /// Streams of a client's HTTP/2 session whose end has not been reported yet.
  var openStreams: Int32 = 0
  /// Since when the client has taken nothing of what waits for it, and how much that was at the last sweep; the
  /// worker's milliseconds, 0: nothing waits.
  var stalledSince: UInt32 = 0
  var unsentSeen: UInt32 = 0
  /// Neighbours in the worker's list of TLS handshakes, by age.
  var olderHandshake: Int32 = -1
  var newerHandshake: Int32 = -1
  /// Number in the worker's `ClientTable`; -1: not counted.
  var client: Int32 = -1
  /// When the timer that is armed fires; a later `deadline` is looked at then.
  var timerAt: UInt64 = 0
}

extension Connection {
  /// In bytes. A head below two of these is parsed whenever more of it comes.
  static let headStep = 512

  /// The first `count` bytes of a head were parsed and are not all of it.
  mutating func headIsIncomplete(at count: Int) { headSteps = UInt16(clamping: count / Connection.headStep) }

  /// Whether the stashed head, which was not whole when it was last parsed, is to be parsed again: a long one only for
  /// every `headStep` bytes and at its end. Otherwise each small piece of it would cost as much as all before it.
  func isHeadDue(limit: Int) -> Bool {
    let steps = Int(headSteps)
    let count = Int(stash.count)
    guard steps > 1, count / Connection.headStep == steps, count < limit else { return true }
    let new = stash.bytes.slice(steps * Connection.headStep - 2, count)
    var index = 2
    while index < new.count {
      if new[index] == 0x0a, new[index - 1] == 0x0d, new[index - 2] == 0x0a { return true }
      index += 1
    }
    return false
  }
}

/// An address in memory of its own, for the few connections that have one more.
@safe
struct OwnedAddress {
  // INVARIANT: nil, or one address that is ours until `release`.
  private var place: UnsafeMutablePointer<SocketAddress>?

  var value: SocketAddress? {
    if let place = unsafe place { return unsafe place.pointee }
    return nil
  }

  mutating func set(_ address: SocketAddress) {
    release()
    let made = UnsafeMutablePointer<SocketAddress>.allocate(capacity: 1)
    unsafe made.initialize(to: address)
    unsafe place = unsafe made
  }

  mutating func release() {
    if let place = unsafe place { unsafe place.deallocate() }
    unsafe place = nil
  }
}

/// A growable run of bytes in malloc'ed memory; empty it owns nothing.
@safe
struct ByteStore {
  // INVARIANT: `base` is nil or points to `capacity` + `slack` bytes that this store owns; count <= capacity.
  private(set) var base: UnsafeMutablePointer<UInt8>?
  private(set) var count: Int32 = 0
  private var capacity: Int32 = 0

  /// Parsers may read this far beyond the last byte.
  static let slack = 32

  var isEmpty: Bool { count == 0 }

  var bytes: Bytes {
    guard let base = unsafe base else { return .empty }
    return unsafe Bytes(start: base, count: Int(count))
  }

  /// Appends; false (and unchanged) when the store would hold more than `limit`.
  mutating func append(_ bytes: Bytes, limit: Int) -> Bool {
    let n = bytes.count
    let need = Int(count) + n
    guard need <= limit, need <= Int(Int32.max) / 2 else { return false }
    if need > Int(capacity) { grow(to: need) }
    if n > 0, let base = unsafe base {
      // SAFETY: grow() made room for `need` bytes.
      unsafe (base + Int(count)).update(from: bytes.start, count: n)
    }
    count = Int32(need)
    return true
  }

  private mutating func grow(to need: Int) {
    let room = max(512, (need + 1023) & ~1023)
    let bigger = UnsafeMutablePointer<UInt8>.allocate(capacity: room + ByteStore.slack)
    if let old = unsafe base {
      unsafe bigger.update(from: old, count: Int(count))
      unsafe old.deallocate()
    }
    unsafe base = unsafe bigger
    capacity = Int32(room)
  }

  /// Drops the first `n` bytes.
  mutating func removeFirst(_ n: Int) {
    precondition(n <= Int(count))
    if n == Int(count) {
      release()
    } else if n > 0, let base = unsafe base {
      unsafe base.update(from: base + n, count: Int(count) - n)
      count -= Int32(n)
    }
  }

  /// Forgets the bytes; memory of usual size is kept for the next ones.
  mutating func clear() {
    if capacity > 4096 { release() } else { count = 0 }
  }

  mutating func release() {
    if let base = unsafe base { unsafe base.deallocate() }
    unsafe base = nil
    count = 0
    capacity = 0
  }

  /// Gives the memory to the caller, who must release it.
  mutating func take() -> ByteStore {
    let taken = self
    unsafe base = nil
    count = 0
    capacity = 0
    return taken
  }
}
