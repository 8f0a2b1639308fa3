import HTTP2
import HTTPSemantics
import SystemIO
import Telemetry

/// The beginning and the end of an exchange, and how its two sides wait for each other.
extension Worker where Engine: ~Copyable {
  /// - Returns: nil when the worker has as many streams as it can have.
  mutating func newStream(downstream: Int32) -> Int32? {
    if isOverMemory { return nil }
    let index: Int32
    if firstFreeStream >= 0 {
      index = firstFreeStream
      firstFreeStream = streams[index][].next
    } else {
      guard Int(usedStreams) < streams.capacity else { return nil }
      index = usedStreams
      usedStreams += 1
      streams[index][] = Stream()
    }
    let s = streams[index]
    let generation = s[].generation &+ 1
    let head = s[].head
    s[] = Stream()
    s[].generation = generation
    s[].head = head
    s[].downstream = downstream
    return index
  }

  @inline(__always)
  private mutating func freeStream(_ stream: Int32) {
    recycleStream(stream)
    counters.subtract(.requestsActive)
  }

  mutating func recycleStream(_ stream: Int32) {
    let s = streams[stream]
    if !s[].flags.isDisjoint(with: [.timerArmed, .tunnelled]) {
      if s[].flags.contains(.timerArmed) { streamTimers.cancel(stream) }
      // TCP is counted by itself.
      if s[].flags.intersection([.tunnelled, .layer4]) == .tunnelled { counters.subtract(.upgradesActive) }
    }
    releaseStreamCell(stream)
    s[].head.clear()
    s[].pendingBody.release()
    s[].pendingTrailers.release()
    s[].label.release()
    s[].downstream = -1
    s[].generation &+= 1
    s[].next = firstFreeStream
    firstFreeStream = stream
  }

  /// The response is out (or never will be): account for it, then let both connections go on.
  @inline(__always)
  mutating func endExchange(_ stream: Int32) {
    let s = streams[stream]
    counters.observeRequest(microseconds: (nowNanoseconds &- s[].startedNanoseconds) / 1000)
    if accessLog >= 0 { logExchange(stream) }
    detachUpstream(stream)
    let downstream = s[].downstream
    if s[].flags.contains(.downstreamHTTP2) {
      leaveSession(stream)
      freeStream(stream)
    } else {
      freeStream(stream)
      nextHTTP1Request(downstream)
    }
  }

  /// Both ends of a tunnel are done; the caller closes them.
  mutating func endTunnel(_ stream: Int32) {
    let isRequest = !streams[stream][].flags.contains(.layer4)
    if accessLog >= 0 { logExchange(stream) }
    if isRequest {
      counters.observeRequest(microseconds: (nowNanoseconds &- streams[stream][].startedNanoseconds) / 1000)
      freeStream(stream)
    } else {
      if !streams[stream][].flags.contains(.datagrams) { counters.subtract(.tcpConnectionsActive) }
      recycleStream(stream)
    }
  }

  /// Takes a stream out of its client session. A request that is still being sent is told to stop.
  private mutating func leaveSession(_ stream: Int32) {
    let s = streams[stream]
    let connection = connections[s[].downstream]
    if s[].previousSibling >= 0 {
      streams[s[].previousSibling][].sibling = s[].sibling
    } else {
      connection[].firstStream = s[].sibling
    }
    if s[].sibling >= 0 { streams[s[].sibling][].previousSibling = s[].previousSibling }
    guard s[].downstreamID != 0, let session = connection[].session else { return }
    payDownstream(stream)
    if !s[].flags.contains(.requestEnded) {
      // RFC 9113 section 8.1: the response was complete without the rest of the request.
      session.resetAfterEnd(s[].downstreamID, HTTP2ErrorCode.noError)
      markDirty(s[].downstream)
    }
  }

  /// The upstream broke off in the middle of a response: the client must not take it for whole.
  mutating func abortExchange(_ stream: Int32) {
    let s = streams[stream]
    s[].flags.insert(.responseEnded)
    if s[].flags.contains(.grpcWeb), breakOffGRPCWeb(stream) { return }
    let downstream = s[].downstream
    if s[].flags.contains(.downstreamHTTP2) {
      if let session = connections[downstream][].session, s[].downstreamID != 0 {
        if s[].flags.contains(.grpc) && !s[].flags.contains(.grpcWeb) && s[].responseBody == .http2 {
          // The client library should see what happened, not a broken stream.
          var fields = inbox.fieldList()
          fields.append(name: "grpc-status", value: Bytes("14"))
          fields.append(name: "grpc-message", value: Bytes("the connection to the backend was lost"))
          session.submitTrailers(s[].downstreamID, fields: fields)
        } else {
          // A tunnel breaks off as a connection does (RFC 8441 section 5).
          let code = s[].flags.contains(.tunnelled) ? HTTP2ErrorCode.cancel : HTTP2ErrorCode.internalError
          session.reset(s[].downstreamID, code)
          counters.add(.http2ResetsSent)
          s[].flags.insert(.requestEnded)
        }
        markDirty(downstream)
      }
      endExchange(stream)
      return
    }
    if accessLog >= 0 { logExchange(stream) }
    detachUpstream(stream)
    let endsWithConnection = s[].responseBody == .untilClose
    connections[downstream][].stream = -1
    freeStream(stream)
    if endsWithConnection {
      // An orderly end would make it whole; chunks and lengths show by themselves that something is missing.
      resetConnection(downstream)
    } else {
      closeWhenDrained(downstream)
    }
  }

  /// The client reset this HTTP/2 stream, or its connection is gone.
  mutating func clientCancelled(_ stream: Int32) {
    let s = streams[stream]
    s[].responseFlags |= ResponseFlags.downstreamClosed.rawValue
    counters.add(.downstreamAborts)
    s[].flags.insert(.requestEnded)
    if accessLog >= 0 { logExchange(stream) }
    detachUpstream(stream)
    let downstream = s[].downstream
    if s[].flags.contains(.downstreamHTTP2) {
      leaveSession(stream)
    } else {
      connections[downstream][].stream = -1
    }
    freeStream(stream)
  }

  /// Everything that hangs on a client connection that is about to be closed.
  mutating func clientGone(_ index: Int32) {
    let connection = connections[index]
    if connection[].phase == .http2 {
      while connection[].firstStream >= 0 {
        let stream = connection[].firstStream
        streams[stream][].downstreamID = 0
        clientCancelled(stream)
      }
    } else if connection[].stream >= 0 {
      clientCancelled(connection[].stream)
    }
  }

  /// A deadline of the rule has passed.
  mutating func timedOut(_ stream: Int32, reason: StaticString, flag: ResponseFlags) {
    let s = streams[stream]
    text.reset()
    s[].responseFlags |= flag.rawValue
    s[].requestDeadline = 0
    s[].backendDeadline = 0
    cancelUpstream(stream)
    if s[].flags.contains(.responseStarted) {
      abortExchange(stream)
    } else {
      reply(stream, status: 504, reason: reason, flags: flag)
    }
  }

  /// The client stopped in the middle of a request body.
  mutating func requestBodyStalled(_ index: Int32) {
    let connection = connections[index]
    guard connection[].stream >= 0, connection[].incoming != .done else { return }
    if connection[].flags.contains(.readingPaused) {
      arm(index, at: nowMilliseconds + UInt64(limits.requestBodyIdleTimeout))
      return
    }
    hit(.requestBodyIdleTimeout, index)
    refuse(index, status: 408, reason: "the request body did not arrive in time")
  }

  // MARK: Back-pressure

  /// The backend side is full: the client's side waits.
  mutating func pauseDownstream(_ stream: Int32) {
    let s = streams[stream]
    guard !s[].flags.contains(.downstreamPaused) else { return }
    s[].flags.insert(.downstreamPaused)
    counters.hit(.bufferHighWater)
    // An HTTP/2 client is held back by the window that is not given back.
    if !s[].flags.contains(.downstreamHTTP2) { pauseReading(s[].downstream) }
  }

  mutating func resumeDownstream(_ stream: Int32) {
    let s = streams[stream]
    guard s[].flags.contains(.downstreamPaused) else { return }
    s[].flags.remove(.downstreamPaused)
    if s[].flags.contains(.downstreamHTTP2) {
      payDownstream(stream)
    } else if connections[s[].downstream][].incoming != .done || connections[s[].downstream][].stash.isEmpty {
      // Stashed bytes may be the beginning of a trailer section, whose rest is still to come.
      resumeReading(s[].downstream)
    }
  }

  /// The client reads slowly: the backend's side waits.
  mutating func pauseUpstream(_ stream: Int32) {
    let s = streams[stream]
    guard s[].upstream >= 0, !s[].flags.contains(.upstreamPaused) else { return }
    s[].flags.insert(.upstreamPaused)
    counters.hit(.bufferHighWater)
    if !s[].flags.contains(.http2Upstream) { pauseReading(s[].upstream) }
  }

  mutating func resumeUpstream(_ stream: Int32) {
    let s = streams[stream]
    guard s[].flags.contains(.upstreamPaused) else { return }
    s[].flags.remove(.upstreamPaused)
    guard s[].upstream >= 0 else { return }
    if s[].flags.contains(.http2Upstream) { payUpstream(stream) } else { resumeReading(s[].upstream) }
  }
}
