import HTTP2
import SystemIO
import TLS
import Telemetry
import Upstream

/// Deadlines of connections and streams. Timers are lazy: moving a deadline later only writes it down; when the
/// armed timer fires early it is armed again.
extension Worker where Engine: ~Copyable {
  /// The connection's present wait ends at `deadline` (worker clock, milliseconds).
  @inline(__always)
  mutating func arm(_ index: Int32, at deadline: UInt64) {
    let connection = connections[index]
    connection[].deadline = deadline
    if connection[].timerAt == 0 || deadline < connection[].timerAt {
      connection[].timerAt = deadline
      connectionTimers.schedule(index, atMilliseconds: deadline)
    }
  }

  /// The connection waits for its next request until `wait` milliseconds are over. Where there is memory to be put
  /// away, a timer fires before that: see `rest`.
  @inline(__always)
  mutating func armIdle(_ index: Int32, wait: Int) {
    let connection = connections[index]
    connection[].deadline = nowMilliseconds + UInt64(wait)
    let mayRest = connection[].session != nil || connection[].tls != nil
    let first = mayRest ? min(connection[].deadline, nowMilliseconds + restDelay) : connection[].deadline
    if connection[].timerAt == 0 || first < connection[].timerAt {
      connection[].timerAt = first
      connectionTimers.schedule(index, atMilliseconds: first)
    }
  }

  /// Milliseconds without a request after which a connection's memory is put away.
  private var restDelay: UInt64 { 1000 }

  @inline(__always)
  mutating func disarm(_ index: Int32) { connections[index][].deadline = 0 }

  mutating func armStream(_ stream: Int32) {
    let s = streams[stream]
    var deadline = s[].requestDeadline
    if s[].backendDeadline != 0, deadline == 0 || s[].backendDeadline < deadline {
      deadline = s[].backendDeadline
    }
    guard deadline != 0 else { return }
    streamTimers.schedule(stream, atMilliseconds: deadline)
    s[].flags.insert(.timerArmed)
  }

  mutating func fireTimers() {
    if nowMilliseconds == timersMilliseconds { return }
    timersMilliseconds = nowMilliseconds
    sweep()
    if isDraining && nowMilliseconds >= drainDeadline { isStopped = true }
    if isDraining && openDownstream == 0 && engine.closingCount == 0 { isStopped = true }
    mailbox.report(openConnections: openDownstream)
    connectionTimers.advance(nowMilliseconds: nowMilliseconds)
    var left = Self.timersPerTurn
    var index = connectionTimers.popExpired()
    while index >= 0 {
      connectionTimerFired(index)
      left -= 1
      index = left > 0 ? connectionTimers.popExpired() : -1
    }
    expireIdleUpstreams()
    streamTimers.advance(nowMilliseconds: nowMilliseconds)
    var streamsLeft = Self.timersPerTurn
    var stream = streamTimers.popExpired()
    while stream >= 0 {
      streamTimerFired(stream)
      streamsLeft -= 1
      stream = streamsLeft > 0 ? streamTimers.popExpired() : -1
    }
    // The rest is for the next turn, which may come within the same millisecond.
    if left == 0 || streamsLeft == 0 { timersMilliseconds = 0 }
  }

  private mutating func expireIdleUpstreams() {
    let timeout = UInt64(limits.upstreamIdleTimeout)
    guard nowMilliseconds > timeout else { return }
    var index = pools.expireIdle(olderThanMilliseconds: nowMilliseconds - timeout)
    while index >= 0 {
      counters.hit(.upstreamIdleTimeout)
      connections[index][].endpoint = -1
      closeIdle(index)
      index = pools.expireIdle(olderThanMilliseconds: nowMilliseconds - timeout)
    }
  }

  private mutating func connectionTimerFired(_ index: Int32) {
    let connection = connections[index]
    connection[].timerAt = 0
    let deadline = connection[].deadline
    guard connection[].role != .free, deadline != 0 else { return }
    if deadline > nowMilliseconds {
      let next = rest(index, until: deadline)
      connection[].timerAt = next
      connectionTimers.schedule(index, atMilliseconds: next)
      return
    }
    switch connection[].role {
    case .downstream: downstreamTimedOut(index)
    case .upstream: upstreamTimedOut(index)
    case .datagramSession:
      if !connection[].flags.contains(.draining) { counters.hit(.udpSessionIdleTimeout) }
      closeSession(index)
    case .free, .listener, .datagramListener: break
    }
  }

  /// Puts away what a client's connection keeps in memory, if it has been idle for long enough. Returns when the
  /// timer is to fire next.
  private mutating func rest(_ index: Int32, until deadline: UInt64) -> UInt64 {
    let connection = connections[index]
    guard connection[].role == .downstream, !connection[].flags.contains(.draining) else { return deadline }
    let isIdle: Bool
    switch connection[].phase {
    case .http1: isIdle = connection[].tls != nil && connection[].stream < 0 && connection[].stash.isEmpty
    case .http2: isIdle = connection[].firstStream < 0
    default: isIdle = false
    }
    let idleSince = deadline &- UInt64(limits.idleTimeout)
    guard isIdle, idleSince <= nowMilliseconds else { return deadline }
    if nowMilliseconds &- idleSince < restDelay { return min(deadline, idleSince + restDelay) }
    connection[].session?.rest()
    connection[].tls?.rest()
    return deadline
  }

  private mutating func downstreamTimedOut(_ index: Int32) {
    let connection = connections[index]
    switch connection[].phase {
    case .proxyHeader:
      hit(.requestHeadTimeout, index)
      logRefusal(index, .tcp, flags: .limit, reason: "the PROXY protocol header did not arrive in time")
      closeConnection(index)
    case .handshaking, .clientHello:
      hit(.tlsHandshakeTimeout, index)
      counters.add(.tlsHandshakeFailures)
      closeConnection(index)
    case .detecting, .http1:
      if connection[].stream >= 0 {
        requestBodyStalled(index)
      } else if connection[].stash.isEmpty && connection[].flags.contains(.reused) {
        if !connection[].flags.contains(.draining) { hit(.idleTimeout, index) }
        closeConnection(index)
      } else {
        hit(.requestHeadTimeout, index)
        if connection[].stash.isEmpty {
          closeConnection(index)
        } else {
          refuse(index, status: 408, reason: "the request head did not arrive in time")
        }
      }
    case .http2:
      guard connection[].firstStream < 0, let session = connection[].session else { return }
      if connection[].flags.contains(.headTimerRuns) {
        hit(.requestHeadTimeout, index)
      } else if !connection[].flags.contains(.draining) {
        hit(.idleTimeout, index)
      }
      session.goAway(graceful: false)
      markDirty(index)
      connection[].flags.insert(.draining)
      arm(index, at: nowMilliseconds + 1000)
      if session.isFinished { closeConnection(index) }
    case .tunnel:
      hit(.tcpIdleTimeout, index)
      tunnelIdled(index)
    case .connecting:
      break
    }
  }

  private mutating func upstreamTimedOut(_ index: Int32) {
    let connection = connections[index]
    switch connection[].phase {
    case .connecting, .handshaking:
      hit(.upstreamConnectTimeout, index)
      failed(index, error: 110)
    default:
      break
    }
  }

  private mutating func streamTimerFired(_ stream: Int32) {
    let s = streams[stream]
    s[].flags.remove(.timerArmed)
    guard s[].downstream >= 0 else { return }
    let request = s[].requestDeadline
    let backend = s[].backendDeadline
    if request != 0 && request <= nowMilliseconds {
      counters.add(.requestTimeouts)
      timedOut(stream, reason: "the rule's request timeout ran out", flag: .requestTimeout)
    } else if backend != 0 && backend <= nowMilliseconds {
      counters.add(.backendTimeouts)
      timedOut(stream, reason: "the rule's backend timeout ran out", flag: .backendTimeout)
    } else {
      armStream(stream)
    }
  }
}
