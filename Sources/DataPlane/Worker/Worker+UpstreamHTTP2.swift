import HTTP2
import HTTPSemantics
import SystemIO
import Telemetry
import Upstream

/// What an HTTP/2 backend sends.
extension Worker where Engine: ~Copyable {
  mutating func upstreamEvent(_ index: Int32, _ event: HTTP2Event) {
    switch event.kind {
    case .responseHead:
      upstreamHead(index, event)
    case .informational:
      let stream = stream(of: event, on: index)
      guard stream >= 0 else { return }
      var head = unsafe event.responseHead.pointee
      _ = forwardInterim(stream, &head)
    case .data:
      upstreamData(index, event)
    case .trailers:
      let stream = stream(of: event, on: index)
      if stream >= 0 { upstreamFinished(stream, trailers: event.trailers) }
    case .endStream:
      let stream = stream(of: event, on: index)
      if stream >= 0 { upstreamFinished(stream, trailers: .empty) }
    case .streamClosed:
      let stream = stream(of: event, on: index)
      if stream >= 0 { upstreamClosed(stream, errorCode: event.errorCode) }
    case .writable:
      let stream = stream(of: event, on: index)
      if stream >= 0 { resumeDownstream(stream) }
    case .goAway:
      counters.add(.upstreamGoAwaysReceived)
      stopSharing(index)
      if connections[index][].firstStream < 0 { closeConnection(index) }
    case .settings:
      guard let session = connections[index][].session else { return }
      if connections[index][].endpoint >= 0 {
        pools.setLimit(index, min(session.remoteMaxConcurrentStreams, limits.maxUpstreamStreams))
      }
      submitWaiting(index)
    case .malformed:
      counters.add(.malformedResponses)
      let stream = stream(of: event, on: index)
      if stream >= 0 { streams[stream][].responseFlags |= ResponseFlags.upstreamMalformed.rawValue }
    case .reset, .requestHead:
      break
    }
  }

  /// The stream that an event of this connection is about; -1 when it has ended or went elsewhere.
  private func stream(of event: HTTP2Event, on index: Int32) -> Int32 {
    let stream = stream(tagged: event.tag)
    return stream >= 0 && streams[stream][].upstream == index ? stream : -1
  }

  private mutating func upstreamHead(_ index: Int32, _ event: HTTP2Event) {
    let stream = stream(of: event, on: index)
    guard stream >= 0 else { return }
    text.reset()
    var head = unsafe event.responseHead.pointee
    var table = unsafe HeaderTable(base: responseFields.base, capacity: responseFields.capacity)
    var position = 0
    while position < head.fields.count {
      _ = table.append(head.fields[position])
      position &+= 1
    }
    head.fields = table
    head.endStream = event.endStream
    let generation = streams[stream][].generation
    let flags = streams[stream][].flags
    let isTunnel = flags.contains(.extendedConnect) && head.status < 300
    if isTunnel && !flags.contains(.downstreamHTTP2) {
      guard answerUpgrade(stream, &head) else { return }
    } else {
      _ = forwardResponse(stream, &head, body: .empty)
      if isTunnel && streams[stream][].generation == generation { openStreamTunnel(stream) }
    }
    guard event.endStream, streams[stream][].generation == generation else { return }
    upstreamFinished(stream, trailers: .empty)
  }

  private mutating func upstreamData(_ index: Int32, _ event: HTTP2Event) {
    guard let session = connections[index][].session else { return }
    let stream = stream(of: event, on: index)
    guard stream >= 0 else {
      session.consume(event.streamID, event.bytes.count)
      return
    }
    let s = streams[stream]
    let generation = s[].generation
    s[].upstreamDebt += Int32(event.bytes.count)
    forwardResponseBody(stream, event.bytes)
    guard streams[stream][].generation == generation else { return }
    if !s[].flags.contains(.upstreamPaused) { payUpstream(stream) }
    if event.endStream { upstreamFinished(stream, trailers: .empty) }
  }

  /// The backend's half is complete.
  private mutating func upstreamFinished(_ stream: Int32, trailers: HeaderTable) {
    let s = streams[stream]
    if endTunnelHalf(stream) { return }
    // A request that is whole leaves nothing to reset on the backend's side.
    let session = connections[s[].upstream][].session
    let isTunnel = s[].flags.contains(.tunnelled)
    if s[].flags.contains(.requestEnded), let session, isTunnel || session.queuedBytes(s[].upstreamID) == 0 {
      payUpstream(stream)
      s[].upstreamID = 0
    }
    endResponse(stream, trailers: trailers)
  }

  private mutating func upstreamClosed(_ stream: Int32, errorCode: UInt32) {
    let s = streams[stream]
    s[].upstreamID = 0
    if errorCode == HTTP2ErrorCode.refusedStream && !s[].flags.contains(.responseStarted) {
      upstreamRefused(stream)
    } else if !s[].flags.contains(.responseEnded) {
      // The backend has seen the request and said no to it: it is not sent again.
      s[].head.clear()
      upstreamLost(stream)
    } else if s[].flags.contains(.tunnelled) {
      // Its half of the tunnel had ended before.
      endExchange(stream)
    }
  }

  /// Gives the backend's flow-control window back for what has found room with the client.
  mutating func payUpstream(_ stream: Int32) {
    let s = streams[stream]
    guard s[].upstreamDebt > 0, s[].upstream >= 0, s[].upstreamID != 0 else { return }
    guard let session = connections[s[].upstream][].session else { return }
    session.consume(s[].upstreamID, Int(s[].upstreamDebt))
    s[].upstreamDebt = 0
    markDirty(s[].upstream)
  }
}
