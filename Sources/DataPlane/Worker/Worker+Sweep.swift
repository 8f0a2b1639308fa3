import Glibc
import HTTP2
import SystemIO
import Telemetry

/// What is looked at a few times a second rather than at every request: clients that take nothing, HTTP/2 bodies and
/// heads that do not come, memory. A request pays nothing for it.
extension Worker where Engine: ~Copyable {
  /// Milliseconds between two sweeps.
  private var sweepInterval: UInt64 { 250 }

  /// The worker's clock in the width in which waits are kept; never 0.
  var clock32: UInt32 { UInt32(truncatingIfNeeded: nowMilliseconds) | 1 }

  /// When the next sweep is due; the greatest number when there is nothing to look at.
  var nextSweep: UInt64 {
    openDownstream > 0 || isOverMemory || limitLog.hasSuppressed ? sweptAt + sweepInterval : .max
  }

  /// A part of the connections at a time; all of them in eight sweeps.
  mutating func sweep() {
    guard nowMilliseconds >= sweptAt + sweepInterval else { return }
    sweptAt = nowMilliseconds
    limitLog.flush(now: nowMilliseconds)
    lookAtMemory()
    var left = max(1024, highestDescriptor / 8 + 1)
    left = min(left, highestDescriptor + 1)
    while left > 0 {
      if sweepPosition > highestDescriptor { sweepPosition = 0 }
      if connections[sweepPosition][].role == .downstream { sweepConnection(sweepPosition) }
      sweepPosition += 1
      left -= 1
    }
  }

  private mutating func sweepConnection(_ index: Int32) {
    let connection = connections[index]
    let unsent = UInt32(clamping: engine.unsentBytes(connection[].handle))
    if unsent == 0 {
      connection[].stalledSince = 0
    } else if connection[].stalledSince == 0 || unsent < connection[].unsentSeen {
      connection[].stalledSince = clock32
    } else if hasPassed(limits.writeStallTimeout, since: connection[].stalledSince) {
      hit(.writeStallTimeout, index)
      dropStalled(index)
      return
    }
    connection[].unsentSeen = unsent
    if connection[].phase == .http2, let session = connection[].session { sweepSession(index, session) }
  }

  /// Ends a connection whose client takes nothing, without waiting for it to take the rest.
  mutating func dropStalled(_ index: Int32) {
    engine.resetOnClose(connections[index][].handle)
    failed(index, error: ETIMEDOUT)
  }

  private func hasPassed(_ timeout: Int, since: UInt32) -> Bool {
    timeout > 0 && Int(clock32 &- since) >= timeout
  }

  private mutating func sweepSession(_ index: Int32, _ session: HTTP2Session) {
    let since = session.headBegan
    if since != 0, hasPassed(limits.requestHeadTimeout, since: UInt32(truncatingIfNeeded: since) | 1) {
      // HEADERS and CONTINUATION that trickle: the whole connection waits for the end of them.
      hit(.requestHeadTimeout, index)
      counters.add(.http2GoAwaysSent)
      session.terminate(HTTP2ErrorCode.enhanceYourCalm)
      lastWords(index, session)
      return
    }
    if limits.writeStallTimeout > 0 {
      let stalled = session.resetStalled(nowMilliseconds: clock32, after: UInt32(clamping: limits.writeStallTimeout))
      for _ in 0..<stalled { hit(.writeStallTimeout, index) }
      if stalled > 0 {
        counters.add(.http2ResetsSent, stalled)
        markDirty(index)
      }
    }
    guard limits.requestBodyIdleTimeout > 0 else { return }
    var stream = connections[index][].firstStream
    while stream >= 0 {
      let next = streams[stream][].sibling
      sweepBody(stream)
      stream = next
    }
  }

  /// A request body of an HTTP/2 stream. A paused one waits for us, an answered one may take its time.
  private mutating func sweepBody(_ stream: Int32) {
    let s = streams[stream]
    let exempt: Stream.Flags = [
      .requestEnded, .responseStarted, .responseEnded, .grpc, .wantsUpgrade, .tunnelled, .downstreamPaused,
    ]
    let seen = UInt32(truncatingIfNeeded: s[].bytesReceived)
    if !s[].flags.isDisjoint(with: exempt) || s[].bodyIdleSince == 0 || seen != s[].bodySeen {
      s[].bodySeen = seen
      s[].bodyIdleSince = clock32
    } else if hasPassed(limits.requestBodyIdleTimeout, since: s[].bodyIdleSince) {
      hit(.requestBodyIdleTimeout, s[].downstream)
      text.reset()
      cancelUpstream(stream)
      reply(stream, status: 408, reason: "the request body did not arrive in time", flags: .limit)
    }
  }
}
