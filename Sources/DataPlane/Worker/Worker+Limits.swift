import Glibc
import HTTP2
import SystemIO
import TLS
import Telemetry

/// Limits that act on a peer, a client or an endpoint: counted, and said in the log. Who may come in, and who has to go
/// when memory is short.
extension Worker where Engine: ~Copyable {
  /// A limit acted on this connection.
  @inline(never)
  mutating func hit(_ limit: Limit, _ index: Int32) {
    hit(limit, peer: connections[index][].peer)
  }

  @inline(never)
  mutating func hit(_ limit: Limit, peer: SocketAddress) {
    counters.hit(limit)
    unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: SocketAddress.maximumTextLength) { place in
      guard let start = place.baseAddress else { return }
      // SAFETY: there is room for the longest address.
      let text = unsafe LogText(start, peer.format(into: start))
      limitLog.hit(limit, peer: text, port: peer.port, now: nowMilliseconds)
    }
  }

  // MARK: Connections

  /// Whether a limit lets one more client's connection in; where none does, the hit is counted.
  mutating func admits(_ peer: SocketAddress) -> Bool {
    // What was let go of and is still being closed holds a descriptor and its unsent bytes as well.
    let closing = engine.closingCount
    if isOverMemory {
      hit(.maxMemory, peer: peer)
    } else if limits.maxConnections > 0 && budget.openConnections + closing >= limits.maxConnections {
      hit(.maxConnections, peer: peer)
    } else if limits.maxConnectionsPerWorker > 0 && openDownstream + closing >= limits.maxConnectionsPerWorker {
      hit(.maxConnectionsPerWorker, peer: peer)
    } else {
      return true
    }
    return false
  }

  /// Counts the connection for its client's address, the one in `Connection.peer`; called again when that changes.
  /// - Returns: false when the client has as many as it may.
  mutating func joinClient(_ index: Int32) -> Bool {
    guard limits.maxConnectionsPerClient > 0 else { return true }
    let connection = connections[index]
    leaveClient(index)
    guard let client = clients.join(connection[].peer, limit: limits.maxConnectionsPerClient) else {
      hit(.maxConnectionsPerClient, index)
      return false
    }
    connection[].client = client
    return true
  }

  mutating func leaveClient(_ index: Int32) {
    guard connections[index][].client >= 0 else { return }
    clients.leave(connections[index][].client)
    connections[index][].client = -1
  }

  // MARK: Handshakes

  /// A TLS handshake begins. Where there are too many, the oldest makes room: a client that means it is done within
  /// milliseconds, so that those who never finish keep nobody out.
  mutating func joinHandshakes(_ index: Int32) {
    let connection = connections[index]
    connection[].olderHandshake = newestHandshake
    connection[].newerHandshake = -1
    if newestHandshake >= 0 { connections[newestHandshake][].newerHandshake = index }
    newestHandshake = index
    if oldestHandshake < 0 { oldestHandshake = index }
    connection[].flags.insert(.inHandshakes)
    handshakes += 1
    guard limits.maxHandshakes > 0, handshakes > limits.maxHandshakes else { return }
    let oldest = oldestHandshake
    hit(.maxHandshakes, oldest)
    counters.add(.tlsHandshakeFailures)
    closeConnection(oldest)
  }

  mutating func leaveHandshakes(_ index: Int32) {
    let connection = connections[index]
    guard connection[].flags.contains(.inHandshakes) else { return }
    connection[].flags.remove(.inHandshakes)
    handshakes -= 1
    let (older, newer) = (connection[].olderHandshake, connection[].newerHandshake)
    if older >= 0 { connections[older][].newerHandshake = newer } else { oldestHandshake = newer }
    if newer >= 0 { connections[newer][].olderHandshake = older } else { newestHandshake = older }
  }

  // MARK: Memory

  /// Above `max-memory` nothing new is taken, and what is idle goes.
  mutating func lookAtMemory() {
    isOverMemory = budget.isOverMemory(nowMilliseconds: nowMilliseconds)
    if isOverMemory { shedIdle() }
  }

  /// Closes the connections that have been idle for longest: those of the oldest eighth of the time since the first
  /// of them fell idle. The next look comes soon, should that not be enough.
  private mutating func shedIdle() {
    var oldest = UInt64.max
    var index: Int32 = 0
    while index <= highestDescriptor {
      oldest = min(oldest, idleSince(index))
      index += 1
    }
    guard oldest < nowMilliseconds else {
      shedStalled()
      return
    }
    let bound = oldest + (nowMilliseconds - oldest) / 8
    index = 0
    while index <= highestDescriptor {
      if idleSince(index) <= bound {
        hit(.maxMemory, index)
        closeConnection(index)
      }
      index += 1
    }
  }

  /// With nothing idle left: clients that take nothing of what waits for them.
  private mutating func shedStalled() {
    var index: Int32 = 0
    while index <= highestDescriptor {
      let connection = connections[index]
      let handle = connection[].handle
      if connection[].role == .downstream {
        let since = connection[].stalledSince
        if since != 0 && clock32 &- since >= 1000 {
          hit(.maxMemory, index)
          dropStalled(index)
        } else if let session = connection[].session {
          let stalled = session.resetStalled(nowMilliseconds: clock32, after: 1000)
          if stalled > 0 {
            hit(.maxMemory, index)
            if isAlive(index, handle) { markDirty(index) }
          }
        }
      }
      index += 1
    }
  }

  /// When a client's connection fell idle, in milliseconds; the greatest number when it is not.
  private func idleSince(_ index: Int32) -> UInt64 {
    let connection = connections[index]
    guard connection[].role == .downstream, connection[].deadline != 0 else { return .max }
    let wait: Int
    switch connection[].phase {
    case .http1 where connection[].stream < 0 && connection[].stash.isEmpty:
      wait = connection[].flags.contains(.reused) ? limits.idleTimeout : limits.requestHeadTimeout
    case .http2 where connection[].firstStream < 0: wait = limits.idleTimeout
    default: return .max
    }
    return min(connection[].deadline &- UInt64(wait), nowMilliseconds &- 1)
  }
}
