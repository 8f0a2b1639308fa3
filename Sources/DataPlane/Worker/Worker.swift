import CLinux
import Glibc
import HTTP1
import HTTP2
import HTTPSemantics
import RoutingTable
import SystemIO
import TLS
import Telemetry
import Upstream

/// One event loop on one thread: its own listeners, connections, streams, pools, timers and buffers. Nothing on
/// the request path is shared with another thread, takes a lock, allocates an object or counts a reference.
///
/// The rooms, in the order in which a request passes them: `Worker+Accept`, `Worker+Input` (bytes, TLS, which
/// protocol), `Worker+DownstreamHTTP1` or `Worker+DownstreamHTTP2` (a request head), `Worker+Routing`
/// (route, rule, backend), `Worker+Upstream` (endpoint, connection), `Worker+UpstreamHTTP1` or
/// `Worker+UpstreamHTTP2` (the response), `Worker+Response` (to the client), `Worker+Exchange` (the end).
struct Worker<Engine: IOEngine & ~Copyable>: ~Copyable {
  var engine: Engine
  /// Most bytes that one event brings.
  let receiveBytes: Int
  let mailbox: Mailbox
  let limits: Limits
  let http1Limits: HTTP1Limits
  let counters: CounterBlock
  let budget: ProcessBudget
  var limitLog: LimitLog
  let accessLog: Int32
  let log: LineLogger

  /// By descriptor.
  let connections: Table<Connection>
  let streams: Table<Stream>
  /// Of the streams that are gRPC-Web, by their number.
  let grpcWebStates: Table<GRPCWebState>
  var firstFreeStream: Int32 = -1
  var usedStreams: Int32 = 0
  var pools: PoolTable
  /// TLS sessions to be resumed, by endpoint slot.
  var sessions: SessionStore
  /// Before that nothing more is logged about TLS to backends.
  var nextUpstreamTLSLine: UInt64 = 0
  var connectionTimers: TimerWheel
  var streamTimers: TimerWheel

  /// What one HTTP/2 `receive` produced.
  let inbox: HTTP2Inbox
  /// HTTP/2 connections with something to send, flushed once a turn.
  var dirty: IndexList
  /// Connections of clients whose input has had its share of a turn: see `readOn`.
  var unread: IndexQueue
  /// HTTP/1 connections with stashed input to look at again, once the present call stack is gone.
  var replays: IndexQueue
  /// Nanoseconds after which a turn is long.
  var turnNanoseconds: UInt64
  /// Frames, heads or chunks of one client that are read between two looks at the clock.
  var slice = 8
  /// What the kernel will need for what this turn has asked of it.
  var owedNanoseconds: UInt64 = 0
  /// Whether the turn before this one has asked for any of it: then this one may as well.
  var askedMuch = false

  let requestFields: Table<HeaderField>
  let responseFields: Table<HeaderField>
  /// Decrypted input; one at a time.
  let plaintext: Scratch
  /// Where a message for a TLS connection is composed before it is encrypted.
  let composed: Scratch
  /// Values of header fields that we add to the message in hand.
  var text: TextArena
  /// A rewritten target or location, a piece of a gRPC-Web request, or a frame of trailers.
  let rewritten: Scratch
  /// The text of a gRPC-Web response.
  let grpcWebText: Scratch
  var logLines: AccessLogBuffer

  /// What came in at a UDP socket; one at a time.
  var datagrams = DatagramBatch()
  var datagramSessions: DatagramSessions
  let sessionDetails: Table<DatagramSession>

  let cells: Table<Cell>
  var currentCell: Int32 = -1
  var nowNanoseconds: UInt64 = 0
  var nowMilliseconds: UInt64 = 0
  /// The millisecond for which timers were looked at last.
  var timersMilliseconds: UInt64 = 0
  var random: RandomSource
  var openDownstream = 0
  /// TLS handshakes under way, by age: see `joinHandshakes`.
  var handshakes = 0
  var oldestHandshake: Int32 = -1
  var newestHandshake: Int32 = -1
  /// Connections of each client address, where those are limited.
  var clients: ClientTable
  /// The process holds more than `max-memory`: nothing new is taken.
  var isOverMemory = false
  var sweptAt: UInt64 = 0
  var sweepPosition: Int32 = 0
  /// No descriptor above it was ever used: sweeps over all connections end here.
  var highestDescriptor: Int32 = 0
  var isDraining = false
  /// When what is left is cut off, in the worker's milliseconds; the greatest number while there is no drain.
  var drainDeadline = UInt64.max
  var isStopped = false

  static var maximumFields: Int { 256 }
  static var maximumCells: Int { 65_536 }

  /// - Parameter slots: what the tables have room for; descriptors are below it.
  init(
    mailbox: Mailbox, options: DataPlaneOptions, counters: CounterBlock, budget: ProcessBudget, seed: UInt64,
    slots: Int = DescriptorLimit.slots
  ) throws(SystemError) {
    var engineOptions = EngineOptions()
    engineOptions.slotLimit = slots
    let engine = try Engine(options: engineOptions)
    let limits = options.limits.acting
    let inbox = HTTP2Inbox.make(server: HTTP2Limits(server: limits), client: HTTP2Limits(client: limits))
    guard let inbox else { throw SystemError(errno: ENOMEM, operation: "memory for HTTP/2") }
    self.engine = engine
    receiveBytes = engineOptions.receiveBytes
    self.inbox = inbox
    self.mailbox = mailbox
    self.limits = limits
    http1Limits = HTTP1Limits(limits)
    turnNanoseconds = limits.maxTurnMicroseconds > 0 ? UInt64(limits.maxTurnMicroseconds) * 1000 : .max
    self.counters = counters
    self.budget = budget
    limitLog = LimitLog(log: options.log, limits: options.limits)
    clients = ClientTable(capacity: limits.maxConnectionsPerClient > 0 ? slots : 0, seed: seed)
    accessLog = options.accessLogDescriptor ?? -1
    log = options.log
    connections = Table(capacity: slots)
    let streamCapacity = max(slots * 4, 65_536)
    streams = Table(capacity: streamCapacity)
    grpcWebStates = Table(capacity: streamCapacity)
    pools = PoolTable(
      maxConnections: slots, maxIdlePerEndpoint: limits.maxIdleUpstreamPerEndpoint, seed: seed)
    sessions = SessionStore(perEndpoint: limits.maxUpstreamSessions)
    connectionTimers = TimerWheel(capacity: slots)
    streamTimers = TimerWheel(capacity: streamCapacity)
    dirty = IndexList(capacity: slots * 2)
    replays = IndexQueue(capacity: slots)
    unread = IndexQueue(capacity: slots)
    requestFields = Table(capacity: Self.maximumFields)
    responseFields = Table(capacity: Self.maximumFields)
    plaintext = Scratch(capacity: 64 * 1024)
    composed = Scratch(capacity: 256 * 1024)
    text = TextArena(capacity: 128 * 1024)
    rewritten = Scratch(capacity: 64 * 1024)
    grpcWebText = Scratch(capacity: 64 * 1024)
    logLines = AccessLogBuffer(descriptor: accessLog)
    cells = Table(capacity: Self.maximumCells)
    datagramSessions = DatagramSessions(seed: seed)
    sessionDetails = Table(capacity: slots)
    if options.debugHTTP2 { unsafe inbox.setDebugLog(writeFrameLine, argument: nil) }
    random = RandomSource(seed: seed)
    updateClock()
  }

  /// Runs until told to stop. One turn: mail, timers, wait, events, replays, flush.
  mutating func run() {
    mailbox.attach(wakeDescriptor: engine.wakeDescriptor())
    var event = IOEvent()
    while beginTurn() {
      while engine.next(&event) { dispatch(event) }
    }
    flushTurn()
    mailbox.detach()
  }

  /// All of a turn up to its events. False: the worker is to stop.
  @inline(__always)
  mutating func beginTurn() -> Bool {
    if isStopped { return false }
    if mailbox.hasMail { readMail() }
    fireTimers()
    flushTurn()
    if isStopped { return false }
    engine.wait(untilNanoseconds: nextWake())
    updateClock()
    counters.add(.loopTurns)
    return true
  }

  /// What is left to do when the events of a turn are used up.
  mutating func flushTurn() {
    replayStashes()
    if !unread.isEmpty {
      // What this turn has for others does not wait for those who ask for more than their share.
      flushSessions()
      engine.handOver()
      readOn()
    }
    flushSessions()
    flushAccessLog()
  }

  private func nextWake() -> UInt64 {
    if mailbox.hasMail || !replays.isEmpty || !unread.isEmpty || !dirty.isEmpty { return nowNanoseconds }
    var next = min(connectionTimers.nextDeadline, streamTimers.nextDeadline, nextSweep)
    let idleSince = pools.oldestIdleSince
    if idleSince != .max { next = min(next, idleSince + UInt64(limits.upstreamIdleTimeout) + 1) }
    let limit = isDraining ? min(next, nowMilliseconds + 100) : next
    return limit == .max ? .max : limit * 1_000_000
  }

  @inline(__always)
  mutating func updateClock() {
    nowNanoseconds = engine.nowNanoseconds()
    nowMilliseconds = nowNanoseconds / 1_000_000
    askedMuch = owedNanoseconds > 0
    owedNanoseconds = 0
  }

  @inline(__always)
  mutating func dispatch(_ event: borrowing IOEvent) {
    let index = event.socket.index
    switch event.kind {
    case .received:
      let bytes = unsafe Bytes(start: event.bytes, count: event.count)
      received(index, bytes)
    case .accepted:
      accepted(listener: index, descriptor: event.descriptor, peer: event.peer)
    case .connected:
      upstreamConnected(index)
    case .endOfStream:
      socketEnded(index)
    case .drained:
      drained(index)
    case .failed:
      failed(index, error: event.error)
    case .sendFailed:
      sendFailed(index, error: event.error)
    case .refused:
      hit(.maxConnections, peer: SocketAddress())
    case .readable:
      datagramsReadable(index)
    case .woken:
      break
    }
  }
}

/// A line per HTTP/2 frame on standard error (`SLUICE_DEBUG=http2`).
private let writeFrameLine: HTTP2DebugLog = { _, line, count in
  guard let line = unsafe line else { return }
  unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: count + 1) { place in
    guard let start = place.baseAddress else { return }
    // SAFETY: one byte more than the line was allocated.
    unsafe start.update(from: line, count: count)
    unsafe start[count] = 10
    unsafe _ = write(2, start, count + 1)
  }
}

extension HTTP1Limits {
  init(_ limits: Limits) {
    self.init()
    maxRequestLine = limits.maxRequestLineBytes
    maxHeadBytes = limits.maxHeadBytes
    maxFields = limits.maxHeaderFields
    maxTrailerBytes = limits.maxTrailerBytes
    maxChunkExtensionBytes = limits.maxChunkExtensionBytes
  }
}

extension HTTP2Limits {
  init(server limits: Limits) {
    self.init()
    maxConcurrentStreams = UInt32(limits.maxConcurrentStreams)
    streamWindow = UInt32(limits.streamWindow)
    maxStreamWindow = UInt32(limits.maxStreamWindow)
    connectionWindow = UInt32(limits.connectionWindow)
    maxHeaderBytes = UInt32(limits.maxHeadBytes)
    maxHeaderFields = UInt32(limits.maxHeaderFields)
    lowWater = UInt32(limits.bufferLowWater)
    maxContinuations = UInt32(limits.maxContinuationFrames)
    resetsReceived = Self.inTenSeconds(limits.maxStreamResets)
    resetsSent = Self.inTenSeconds(max(1, limits.maxStreamResets / 5))
    pings = Self.inTenSeconds(limits.maxPings)
    settings = Self.inTenSeconds(limits.maxSettings)
    emptyData = Self.inTenSeconds(limits.maxEmptyFrames)
    priorities = Self.inTenSeconds(limits.maxPriorityFrames)
    windowUpdates = Self.inTenSeconds(limits.maxWindowUpdates)
    unknownFrames = Self.inTenSeconds(limits.maxUnknownFrames)
    maxQueuedAcknowledgements = UInt32(limits.maxQueuedControlFrames)
  }

  private static func inTenSeconds(_ count: Int) -> HTTP2Rate {
    HTTP2Rate(burst: UInt32(clamping: count), perSecond: UInt32(clamping: max(1, count / 10)))
  }

  init(client limits: Limits) {
    self.init(server: limits)
    maxConcurrentStreams = UInt32(limits.maxUpstreamStreams)
  }
}

/// Pseudo-random numbers for picks and request ids; not for secrets.
struct RandomSource {
  private var state: UInt64

  init(seed: UInt64) { state = seed | 1 }

  @inline(__always)
  mutating func next() -> UInt64 {
    // wyrand: one multiplication a number.
    state &+= 0xa076_1d64_78bd_642f
    let product = state.multipliedFullWidth(by: state ^ 0xe703_7ed1_a0b4_28db)
    return product.high ^ product.low
  }
}

/// Bytes that live until the message in hand has been written.
@safe
struct TextArena: ~Copyable {
  // INVARIANT: `base` points to `capacity` bytes until deinit; used <= capacity.
  private let base: UnsafeMutablePointer<UInt8>
  private let capacity: Int
  private var used = 0

  init(capacity: Int) {
    unsafe base = .allocate(capacity: capacity)
    self.capacity = capacity
  }

  deinit { unsafe base.deallocate() }

  mutating func reset() { used = 0 }

  /// Room for `count` bytes, or nil when the message has used it all up.
  mutating func reserve(_ count: Int) -> UnsafeMutablePointer<UInt8>? {
    guard used + count <= capacity else { return nil }
    defer { used += count }
    return unsafe base + used
  }

  /// Gives back what a reservation did not need.
  mutating func giveBack(_ count: Int) { used -= count }

  /// A copy that lives as long as the arena is not reset; empty when there is no room.
  mutating func copy(_ bytes: Bytes) -> Bytes {
    guard let place = unsafe reserve(bytes.count) else { return .empty }
    // SAFETY: reserve() gave exactly `bytes.count` bytes.
    unsafe place.update(from: bytes.start, count: bytes.count)
    return unsafe Bytes(start: place, count: bytes.count)
  }

  mutating func decimal(_ number: UInt64) -> Bytes {
    guard let place = unsafe reserve(20) else { return .empty }
    var rest = number
    var first = 20
    repeat {
      first -= 1
      // SAFETY: twenty digits hold every 64-bit number.
      unsafe place[first] = 48 + UInt8(rest % 10)
      rest /= 10
    } while rest != 0
    return unsafe Bytes(start: place + first, count: 20 - first)
  }
}
