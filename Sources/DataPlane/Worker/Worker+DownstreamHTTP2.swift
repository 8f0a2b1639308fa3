import HTTP2
import HTTPSemantics
import SystemIO
import Telemetry

/// HTTP/2 sessions of either side: bytes in, events out, and what a client's events mean.
extension Worker where Engine: ~Copyable {
  mutating func sessionBytes(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    // Behind what is still to be read.
    let isBehind = connection[].flags.contains(.waitsForTurn)
    let used = isBehind ? 0 : readSlices(index, bytes, firstSlice(connection[].role))
    guard used >= 0, used < bytes.count else { return }
    _ = connection[].stash.append(bytes.slice(used, bytes.count), limit: .max)
    if !isBehind { waitForTurn(index) }
  }

  /// Most frames before the first look at the clock. A backend's are read to the end.
  @inline(__always)
  private mutating func firstSlice(_ role: Connection.Role) -> Int {
    role == .downstream ? (askedMuch || timeIsUp() ? smallSlice : slice) : .max
  }

  /// Reads a session slice by slice for as long as there is time.
  /// - Returns: how many bytes were used; -1 when the connection is gone or reads no more.
  private mutating func readSlices(_ index: Int32, _ bytes: Bytes, _ first: Int) -> Int {
    var frames = first
    var used = 0
    repeat {
      let step = readSession(index, bytes.slice(used, bytes.count), frames)
      if step < 0 { return -1 }
      used += step
      frames = askedMuch || owedNanoseconds > 0 ? smallSlice : slice
    } while used < bytes.count && !timeIsUp()
    return used
  }

  mutating func readSessionOn(_ index: Int32) {
    let connection = connections[index]
    let handle = connection[].handle
    var rest = connection[].stash.take()
    let used = readSlices(index, rest.bytes, smallSlice)
    guard used >= 0, isAlive(index, handle), connection[].phase == .http2 else {
      rest.release()
      return
    }
    rest.removeFirst(used)
    connection[].stash = rest
    if rest.isEmpty { resumeReading(index) } else { waitForTurn(index) }
  }

  /// - Parameter mostFrames: large DATA apart.
  /// - Returns: how many bytes were used; -1 when the connection is gone or reads no more.
  private mutating func readSession(_ index: Int32, _ bytes: Bytes, _ mostFrames: Int) -> Int {
    let connection = connections[index]
    let handle = connection[].handle
    guard let session = connection[].session else { return -1 }
    inbox.reset()
    inbox.setNow(milliseconds: nowMilliseconds)
    // SAFETY: input lies in buffers of the engine, of the worker or of a stash, and nobody reads it again.
    var used = 0
    let result = unsafe session.receive(
      UnsafeMutablePointer(mutating: bytes.start), bytes.count, mostFrames: mostFrames, used: &used)
    if case .fatal(_, let limit) = result, connection[].role == .downstream {
      // What came along is not begun any more: it would only be broken off.
      sessionEnded(index, limit)
      lastWords(index, session)
      return -1
    }
    sessionEvents(index)
    guard isAlive(index, handle) else { return -1 }
    markDirty(index)
    if case .fatal = result {
      lastWords(index, session)
      return -1
    }
    return used
  }

  private mutating func countFaults(_ index: Int32) {
    var position = 0
    while position < inbox.count {
      if inbox[position].kind == .malformed { clientEvent(index, inbox[position]) }
      position += 1
    }
  }

  /// A client's session has come to an error, ours to tell or found by the library.
  mutating func sessionEnded(_ index: Int32, _ limit: HTTP2Limit) {
    counters.add(.http2ProtocolErrors)
    counters.add(.http2GoAwaysSent)
    count(limit, index)
  }

  /// GOAWAY is queued: send it, then end the connection and everything on it.
  mutating func lastWords(_ index: Int32, _ session: HTTP2Session) {
    let room = 64 * 1024
    let place = unsafe beginWrite(index, room)
    let count = unsafe session.drain(into: place, capacity: room)
    if count > 0 { endWrite(index, count) }
    if connections[index][].role == .downstream {
      // What else became of its streams does not matter any more.
      countFaults(index)
      inbox.reset()
      clientGone(index)
      closeWhenDrained(index)
    } else {
      inbox.reset()
      upstreamFailed(index, error: 71)
    }
  }

  /// Handles what a session has reported. Events name their stream by tag; a tag whose stream has ended since is
  /// out of date and only its bytes are given back.
  mutating func sessionEvents(_ index: Int32) {
    let handle = connections[index][].handle
    var position = 0
    while position < inbox.count {
      let event = inbox[position]
      position += 1
      if connections[index][].role == .downstream {
        clientEvent(index, event)
      } else {
        upstreamEvent(index, event)
      }
      guard isAlive(index, handle) else { break }
    }
    inbox.reset()
  }

  /// A stream's tag: its slot and the generation that tells it from later ones in the same slot.
  @inline(__always)
  func tag(_ stream: Int32) -> UInt64 {
    UInt64(streams[stream][].generation) << 32 | UInt64(UInt32(bitPattern: stream)) + 1
  }

  /// The stream that a tag names, -1 when it has ended.
  @inline(__always)
  func stream(tagged tag: UInt64) -> Int32 {
    guard tag != 0 else { return -1 }
    let index = Int32(bitPattern: UInt32(truncatingIfNeeded: tag) &- 1)
    guard index >= 0, index < usedStreams else { return -1 }
    let s = streams[index]
    return s[].generation == UInt32(truncatingIfNeeded: tag >> 32) && s[].downstream >= 0 ? index : -1
  }

  private mutating func clientEvent(_ index: Int32, _ event: HTTP2Event) {
    switch event.kind {
    case .requestHead:
      beginHTTP2Request(index, event)
    case .data:
      clientData(index, event)
    case .trailers:
      let stream = stream(tagged: event.tag)
      if stream >= 0 { endRequest(stream, trailers: event.trailers) }
    case .endStream:
      let stream = stream(tagged: event.tag)
      if stream >= 0 { endRequest(stream, trailers: .empty) }
    case .reset:
      counters.add(.http2ResetsReceived)
    case .streamClosed:
      counters.subtract(.http2StreamsActive)
      connections[index][].openStreams -= 1
      let stream = stream(tagged: event.tag)
      if stream >= 0 {
        streams[stream][].downstreamID = 0
        clientCancelled(stream)
      }
      if connections[index][].firstStream < 0 { armIdleSession(index) }
    case .writable:
      let stream = stream(tagged: event.tag)
      if stream >= 0 { resumeUpstream(stream) }
    case .malformed:
      counters.add(.malformedRequests)
      count(event.limit, index)
      // One that had begun: its line in the access log says why it ends.
      let stream = stream(tagged: event.tag)
      if stream >= 0 { streams[stream][].responseFlags |= ResponseFlags.malformed.rawValue }
    case .settings:
      guard connections[index][].flags.contains(.headTimerRuns) else { break }
      connections[index][].flags.remove(.headTimerRuns)
      if connections[index][].firstStream < 0 { armIdleSession(index) }
    case .goAway, .responseHead, .informational:
      break
    }
  }

  private mutating func armIdleSession(_ index: Int32) {
    let wait = connections[index][].flags.contains(.draining) ? 1000 : limits.idleTimeout
    armIdle(index, wait: wait)
  }

  private mutating func beginHTTP2Request(_ index: Int32, _ event: HTTP2Event) {
    let connection = connections[index]
    counters.add(.requestsHTTP2)
    counters.add(.http2StreamsActive)
    connection[].openStreams += 1
    if event.isStreamGone {
      // Reset in the same breath (CVE-2023-44487): no backend hears of it.
      counters.add(.downstreamAborts)
      return
    }
    guard let session = connection[].session else { return }
    guard let stream = newStream(downstream: index) else {
      if isOverMemory { hit(.maxMemory, index) }
      session.reset(event.streamID, HTTP2ErrorCode.refusedStream)
      return
    }
    let s = streams[stream]
    s[].flags.insert(.downstreamHTTP2)
    s[].downstreamID = event.streamID
    s[].sibling = connection[].firstStream
    if s[].sibling >= 0 { streams[s[].sibling][].previousSibling = stream }
    connection[].firstStream = stream
    connection[].deadline = 0
    event.setTag(tag(stream))
    var head = unsafe event.requestHead.pointee
    // The session's table has no room for the fields that we add.
    var table = unsafe HeaderTable(base: requestFields.base, capacity: requestFields.capacity)
    var position = 0
    while position < head.fields.count {
      _ = table.append(head.fields[position])
      position &+= 1
    }
    head.fields = table
    head.scheme = connection[].scheme == Scheme.https.rawValue ? .https : .http
    beginRequest(stream, &head)
  }

  private mutating func clientData(_ index: Int32, _ event: HTTP2Event) {
    guard let session = connections[index][].session else { return }
    let stream = stream(tagged: event.tag)
    guard stream >= 0 else {
      session.consume(event.streamID, event.bytes.count)
      return
    }
    let s = streams[stream]
    let generation = s[].generation
    s[].downstreamDebt += Int32(event.bytes.count)
    forwardRequestBody(stream, event.bytes)
    guard streams[stream][].generation == generation else { return }
    if !s[].flags.contains(.downstreamPaused) { payDownstream(stream) }
    if event.endStream { endRequest(stream, trailers: .empty) }
  }

  /// Gives the client's flow-control window back for what has found room on the other side.
  mutating func payDownstream(_ stream: Int32) {
    let s = streams[stream]
    guard s[].downstreamDebt > 0, s[].downstreamID != 0 else { return }
    guard let session = connections[s[].downstream][].session else { return }
    session.consume(s[].downstreamID, Int(s[].downstreamDebt))
    s[].downstreamDebt = 0
    markDirty(s[].downstream)
  }

  private mutating func count(_ limit: HTTP2Limit, _ index: Int32) {
    let named: Limit
    switch limit {
    case .none: return
    case .headerBytes: named = .maxHeadBytes
    case .headerFields: named = .maxHeaderFields
    case .continuations: named = .maxContinuationFrames
    case .concurrentStreams: named = .maxConcurrentStreams
    case .resetsReceived, .resetsSent: named = .maxStreamResets
    case .pings: named = .maxPings
    case .settings: named = .maxSettings
    case .emptyData: named = .maxEmptyFrames
    case .priorities: named = .maxPriorityFrames
    case .windowUpdates: named = .maxWindowUpdates
    case .unknownFrames: named = .maxUnknownFrames
    case .queuedAcknowledgements: named = .maxQueuedControlFrames
    }
    hit(named, index)
  }
}
