/// The upstream connections of one worker: which are idle, leased, shared or draining, by
/// endpoint. It does no I/O and reads no clock; the caller acts on what is returned.
///
/// Connections are named by a small index (the descriptor), endpoints and backends by slots that
/// were interned. An HTTP/1 connection is leased to one request at a time; an HTTP/2 connection
/// is shared by streams up to its limit. Every operation but `pick` takes constant time.
@safe public struct PoolTable: ~Copyable {
  enum State: UInt8 {
    case unknown, leased, idle
    /// Shared, with room for another stream.
    case open
    /// Shared, with as many streams as its limit.
    case full
    /// Shared, ends when its streams end.
    case draining
  }

  struct Connection {
    var state = State.unknown
    var isShared = false
    var endpoint: Int32 = -1
    /// Neighbours in the endpoint's list of idle or open connections.
    var next: Int32 = -1
    var previous: Int32 = -1
    /// Neighbours in the list of all that carry nothing, oldest first.
    var younger: Int32 = -1
    var older: Int32 = -1
    var isResting = false
    var streams: Int32 = 0
    var limit: Int32 = 0
    /// Since when it carries nothing, in milliseconds.
    var restingSince: UInt64 = 0
  }

  struct Endpoint {
    /// Idle HTTP/1 connections, the last released first.
    var idleHead: Int32 = -1
    var idleTail: Int32 = -1
    var idleCount: Int32 = 0
    /// HTTP/2 connections with room.
    var openHead: Int32 = -1
    var openTail: Int32 = -1
    var leased: Int32 = 0
    var streams: Int32 = 0
    var restingCount: Int32 = 0
    var connections: Int32 = 0
    var isRetired = false
  }

  /// Where the weighted round robin of one backend stands.
  struct Turn {
    var position: UInt32 = 0
    var round: UInt16 = 0
  }

  // INVARIANT: the blocks have room for the counts beside them and live from init to deinit
  // (`grow` replaces them whole). Every index below was checked where it came in, or comes from a
  // list, which holds checked ones only.
  let connections: UnsafeMutablePointer<Connection>
  let maxConnections: Int
  var endpoints: UnsafeMutablePointer<Endpoint>
  public internal(set) var endpointCapacity: Int
  var turns: UnsafeMutablePointer<Turn>
  public internal(set) var backendCapacity: Int
  let maxIdlePerEndpoint: Int32
  let seed: UInt64
  /// The connections that carry nothing, across endpoints.
  var oldest: Int32 = -1
  var youngest: Int32 = -1
  /// Connections known to the table.
  public internal(set) var connectionCount = 0

  /// - Parameters:
  ///   - maxConnections: connection indices are below it.
  ///   - maxIdlePerEndpoint: of HTTP/1; one more closes the oldest.
  ///   - seed: where the round robins begin, so that workers do not all begin at one endpoint.
  public init(maxConnections: Int, maxIdlePerEndpoint: Int = 128, seed: UInt64 = 0) {
    precondition(maxConnections > 0 && maxIdlePerEndpoint > 0)
    self.maxConnections = maxConnections
    self.maxIdlePerEndpoint = Int32(clamping: maxIdlePerEndpoint)
    self.seed = seed
    unsafe connections = .allocate(capacity: maxConnections)
    unsafe connections.initialize(repeating: Connection(), count: maxConnections)
    unsafe endpoints = .allocate(capacity: 1)
    unsafe endpoints.initialize(to: Endpoint())
    endpointCapacity = 1
    unsafe turns = .allocate(capacity: 1)
    unsafe turns.initialize(to: Turn())
    backendCapacity = 1
    seedTurns(from: 0)
  }

  deinit {
    unsafe connections.deallocate()
    unsafe endpoints.deallocate()
    unsafe turns.deallocate()
  }

  /// Makes room for slots below these counts. To be called when a configuration is adopted, before
  /// any of its slots is used.
  public mutating func reserve(endpoints endpointCount: Int, backends backendCount: Int) {
    if endpointCount > endpointCapacity {
      let capacity = max(endpointCount, endpointCapacity &* 2)
      unsafe endpoints = Self.grow(endpoints, from: endpointCapacity, to: capacity, filling: Endpoint())
      endpointCapacity = capacity
    }
    if backendCount > backendCapacity {
      let capacity = max(backendCount, backendCapacity &* 2), before = backendCapacity
      unsafe turns = Self.grow(turns, from: before, to: capacity, filling: Turn())
      backendCapacity = capacity
      seedTurns(from: before)
    }
  }

  private static func grow<T: BitwiseCopyable>(
    _ old: UnsafeMutablePointer<T>, from count: Int, to capacity: Int, filling value: T
  ) -> UnsafeMutablePointer<T> {
    let new = UnsafeMutablePointer<T>.allocate(capacity: capacity)
    // SAFETY: `capacity` is greater than `count`; T is trivial, so that the old block only goes.
    unsafe new.initialize(from: old, count: count)
    unsafe (new + count).initialize(repeating: value, count: capacity - count)
    unsafe old.deallocate()
    return unsafe new
  }

  private mutating func seedTurns(from first: Int) {
    var i = first
    while i < backendCapacity {
      // SplitMix64's mixing of seed and slot.
      var z = seed &+ UInt64(i) &* 0x9e37_79b9_7f4a_7c15
      z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
      unsafe turns[i].position = UInt32(truncatingIfNeeded: seed == 0 ? 0 : z >> 32)
      i &+= 1
    }
  }

  // MARK: HTTP/1

  /// Takes in a new connection that carries a request already (or is being opened for one).
  public mutating func addLeased(_ connection: Int32, endpoint: Int32) {
    check(connection, endpoint)
    precondition(unsafe connections[Int(connection)].state == .unknown, "connection is pooled already")
    unsafe connections[Int(connection)] = Connection()
    unsafe connections[Int(connection)].state = .leased
    unsafe connections[Int(connection)].endpoint = endpoint
    unsafe endpoints[Int(endpoint)].leased &+= 1
    unsafe endpoints[Int(endpoint)].connections &+= 1
    connectionCount &+= 1
  }

  /// The idle connection that was used last, leased from now on; -1: none.
  public mutating func leaseIdle(endpoint: Int32) -> Int32 {
    check(endpoint: endpoint)
    let connection = unsafe endpoints[Int(endpoint)].idleHead
    if connection < 0 { return -1 }
    unlinkIdle(connection)
    unsafe connections[Int(connection)].state = .leased
    unsafe endpoints[Int(endpoint)].leased &+= 1
    return connection
  }

  /// Ends a lease whose connection can carry another request. A connection that the table does
  /// not know becomes one of `endpoint`.
  public mutating func release(
    _ connection: Int32, endpoint: Int32, nowMilliseconds now: UInt64
  ) -> ReleaseAction {
    check(connection, endpoint)
    if unsafe connections[Int(connection)].state == .unknown { addLeased(connection, endpoint: endpoint) }
    precondition(unsafe connections[Int(connection)].state == .leased, "connection is not leased")
    precondition(unsafe connections[Int(connection)].endpoint == endpoint, "leased from another endpoint")
    if unsafe endpoints[Int(endpoint)].isRetired {
      remove(connection)
      return .close(connection)
    }
    unsafe endpoints[Int(endpoint)].leased &-= 1
    unsafe connections[Int(connection)].state = .idle
    linkIdle(connection, now)
    guard unsafe endpoints[Int(endpoint)].idleCount > maxIdlePerEndpoint else { return .keep }
    let surplus = unsafe endpoints[Int(endpoint)].idleTail
    remove(surplus)
    return .close(surplus)
  }

  // MARK: HTTP/2

  /// Takes in a new HTTP/2 connection without streams. `limit`: most streams at a time.
  public mutating func addShared(
    _ connection: Int32, endpoint: Int32, limit: Int, nowMilliseconds now: UInt64 = 0
  ) {
    check(connection, endpoint)
    precondition(unsafe connections[Int(connection)].state == .unknown, "connection is pooled already")
    unsafe connections[Int(connection)] = Connection()
    unsafe connections[Int(connection)].isShared = true
    unsafe connections[Int(connection)].endpoint = endpoint
    unsafe connections[Int(connection)].limit = Int32(clamping: max(limit, 0))
    unsafe endpoints[Int(endpoint)].connections &+= 1
    connectionCount &+= 1
    placeShared(connection)
    linkResting(connection, now)
  }

  /// A connection with room for a stream; -1: none.
  public func shared(endpoint: Int32) -> Int32 {
    check(endpoint: endpoint)
    return unsafe endpoints[Int(endpoint)].openHead
  }

  /// A stream was opened on a shared connection.
  public mutating func streamOpened(_ connection: Int32) {
    checkShared(connection)
    unlinkResting(connection)
    unsafe connections[Int(connection)].streams &+= 1
    let endpoint = unsafe connections[Int(connection)].endpoint
    unsafe endpoints[Int(endpoint)].streams &+= 1
    placeShared(connection)
  }

  /// A stream ended. A draining connection is to be closed after its last.
  public mutating func streamClosed(_ connection: Int32, nowMilliseconds now: UInt64 = 0) -> ReleaseAction {
    checkShared(connection)
    precondition(unsafe connections[Int(connection)].streams > 0, "more streams closed than opened")
    unsafe connections[Int(connection)].streams &-= 1
    let endpoint = unsafe connections[Int(connection)].endpoint
    unsafe endpoints[Int(endpoint)].streams &-= 1
    placeShared(connection)
    if unsafe connections[Int(connection)].streams > 0 { return .keep }
    if unsafe connections[Int(connection)].state == .draining || endpoints[Int(endpoint)].isRetired {
      remove(connection)
      return .close(connection)
    }
    linkResting(connection, now)
    return .keep
  }

  /// The peer allows another number of streams (SETTINGS_MAX_CONCURRENT_STREAMS).
  public mutating func setLimit(_ connection: Int32, _ limit: Int) {
    checkShared(connection)
    unsafe connections[Int(connection)].limit = Int32(clamping: max(limit, 0))
    placeShared(connection)
  }

  /// No new streams (GOAWAY). The caller closes it at once if it has no streams.
  public mutating func setDraining(_ connection: Int32) {
    checkShared(connection)
    unlinkOpen(connection)
    unlinkResting(connection)
    unsafe connections[Int(connection)].state = .draining
  }

  // MARK: Both

  /// The connection is closed or about to be; it is taken off every list. Nothing happens when the
  /// table does not know it.
  public mutating func remove(_ connection: Int32) {
    check(connection: connection)
    let record = unsafe connections[Int(connection)]
    let endpoint = Int(record.endpoint)
    switch record.state {
    case .unknown: return
    case .leased: unsafe endpoints[endpoint].leased &-= 1
    case .idle: unlinkIdle(connection)
    case .open, .full, .draining:
      unlinkOpen(connection)
      unlinkResting(connection)
      unsafe endpoints[endpoint].streams &-= record.streams
    }
    unsafe endpoints[endpoint].connections &-= 1
    unsafe connections[Int(connection)] = Connection()
    connectionCount &-= 1
  }

  /// The endpoint has left the configuration: nothing is leased from it any more, and what is in
  /// use is closed as it is released. `nextRetired` then says what to close at once.
  public mutating func retire(endpoint: Int32) {
    check(endpoint: endpoint)
    unsafe endpoints[Int(endpoint)].isRetired = true
  }

  /// A connection of a retired endpoint that carries nothing, which the table has forgotten; -1:
  /// no more. Shared connections that carry streams stop taking new ones.
  public mutating func nextRetired(endpoint: Int32) -> Int32 {
    check(endpoint: endpoint)
    guard unsafe endpoints[Int(endpoint)].isRetired else { return -1 }
    let idle = unsafe endpoints[Int(endpoint)].idleHead
    if idle >= 0 {
      remove(idle)
      return idle
    }
    while true {
      let connection = unsafe endpoints[Int(endpoint)].openHead
      if connection < 0 { return -1 }
      if unsafe connections[Int(connection)].streams == 0 {
        remove(connection)
        return connection
      }
      setDraining(connection)
    }
  }

  /// The endpoint is back in the configuration.
  public mutating func restore(endpoint: Int32) {
    check(endpoint: endpoint)
    unsafe endpoints[Int(endpoint)].isRetired = false
  }

  /// A connection that has carried nothing since before `time`, which the table has forgotten;
  /// -1: no more. Call until -1.
  public mutating func expireIdle(olderThanMilliseconds time: UInt64) -> Int32 {
    let connection = oldest
    guard connection >= 0, unsafe connections[Int(connection)].restingSince < time else { return -1 }
    remove(connection)
    return connection
  }

  /// Since when the connection idle for longest is idle; `UInt64.max`: none is.
  public var oldestIdleSince: UInt64 {
    oldest < 0 ? .max : unsafe connections[Int(oldest)].restingSince
  }

  /// The endpoint that a connection belongs to; -1: the table does not know it.
  public func endpoint(of connection: Int32) -> Int32 {
    check(connection: connection)
    return unsafe connections[Int(connection)].endpoint
  }

  public func counts(endpoint: Int32) -> EndpointCounts {
    check(endpoint: endpoint)
    let record = unsafe endpoints[Int(endpoint)]
    return EndpointCounts(
      active: Int(record.leased) + Int(record.streams), idle: Int(record.restingCount),
      connections: Int(record.connections))
  }
}
