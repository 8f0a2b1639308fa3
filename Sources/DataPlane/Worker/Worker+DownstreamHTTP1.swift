import HTTP1
import HTTPSemantics
import SystemIO
import Telemetry

/// What an HTTP/1 client sends: heads, bodies, pipelined requests.
extension Worker where Engine: ~Copyable {
  mutating func requestBytes(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    if connection[].stash.isEmpty {
      let used = readRequests(index, bytes)
      if used >= 0 && used < bytes.count { keepRequestBytes(index, bytes.slice(used, bytes.count)) }
    } else {
      keepRequestBytes(index, bytes)
      let isWanted = connection[].role == .downstream && connection[].incoming != .done
      guard isWanted, !connection[].flags.contains(.waitsForTurn) else { return }
      if connection[].incoming == .head, !connection[].isHeadDue(limit: limits.maxHeadBytes) { return }
      readStash(index)
    }
  }

  /// Goes on where the time of an earlier turn was up.
  mutating func readRequestsOn(_ index: Int32) {
    let connection = connections[index]
    let handle = connection[].handle
    readStash(index)
    // Its end came before this was read.
    guard isAlive(index, handle), connection[].role == .downstream, connection[].flags.contains(.peerClosed) else {
      return
    }
    clientEnded(index)
  }

  /// Bytes that cannot be used yet: the rest of a head is still to come, or a response is still under way.
  private mutating func keepRequestBytes(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    let limit = limits.maxHeadBytes + receiveBytes
    guard connection[].stash.append(bytes, limit: limit) else {
      hit(.maxHeadBytes, index)
      refuse(index, status: 431, reason: "the request head is too large")
      return
    }
    if connection[].flags.contains(.waitsForTurn) { return }
    if connection[].incoming == .done {
      pauseReading(index)
    } else if connection[].incoming == .head && !connection[].flags.contains(.headTimerRuns) {
      connection[].flags.insert(.headTimerRuns)
      arm(index, at: nowMilliseconds + UInt64(limits.requestHeadTimeout))
    }
  }

  /// Looks at stashed bytes again. The stash is taken out meanwhile, so that heads that view it stay valid
  /// whatever happens to the connection.
  private mutating func readStash(_ index: Int32) {
    let connection = connections[index]
    let handle = connection[].handle
    connection[].flags.remove(.waitsForTurn)
    var taken = connection[].stash.take()
    let used = readRequests(index, taken.bytes)
    if used >= 0, isAlive(index, handle), used < Int(taken.count), connection[].stash.isEmpty {
      taken.removeFirst(used)
      connection[].stash = taken
    } else {
      taken.release()
    }
    guard used >= 0, isAlive(index, handle), connection[].phase == .http1 else { return }
    if connection[].flags.contains(.waitsForTurn) { return }
    if connection[].stream < 0 && connection[].incoming.isBody {
      // The rest of a request that is answered is still to come: nobody waits for it.
      closeWhenDrained(index)
      return
    }
    if connection[].incoming == .done && !connection[].stash.isEmpty {
      pauseReading(index)
    } else if connection[].stream < 0 || !streams[connection[].stream][].flags.contains(.downstreamPaused) {
      resumeReading(index)
    }
  }

  /// After a response: pipelined bytes are read in the same turn while there is time, from the loop rather than from
  /// deep down.
  mutating func replayStashes() {
    var left = slice
    while !replays.isEmpty {
      if left == 0 {
        if timeIsUp() { return }
        left = slice
      }
      left -= 1
      let index = replays.popFirst()
      let connection = connections[index]
      guard connection[].flags.contains(.replay) else { continue }
      connection[].flags.remove(.replay)
      guard connection[].role == .downstream, connection[].phase == .http1 else { continue }
      let handle = connection[].handle
      if connection[].incoming == .head && !connection[].stash.isEmpty { readStash(index) }
      // A client that has half-closed gets what it has asked for, and no more.
      guard isAlive(index, handle), connection[].flags.contains(.peerClosed) else { continue }
      guard connection[].phase == .http1, !connection[].flags.contains(.waitsForTurn) else { continue }
      if connection[].stream < 0 { closeWhenDrained(index) }
    }
  }

  /// Consumes messages from `bytes` until more is needed, a response must be waited for, or the turn has been long.
  /// - Returns: how many bytes were used; -1 when the connection is gone or reads no more.
  private mutating func readRequests(_ index: Int32, _ bytes: Bytes) -> Int {
    let connection = connections[index]
    let handle = connection[].handle
    var used = 0
    var left = slice
    while used < bytes.count {
      if left == 0 {
        if timeIsUp() {
          waitForTurn(index)
          return used
        }
        left = slice
      }
      left -= 1
      let rest = bytes.slice(used, bytes.count)
      let step: Int
      switch connection[].incoming {
      case .head: step = readRequestHead(index, rest)
      case .length: step = readRequestLength(index, rest)
      case .chunked: step = readRequestChunks(index, rest)
      case .untilClose: step = readTunnel(index, rest)
      case .done: return used
      }
      guard isAlive(index, handle), connection[].phase == .http1 else {
        return connection[].phase == .tunnel && isAlive(index, handle) && step > 0 ? used + step : -1
      }
      if step <= 0 { return step < 0 ? -1 : used }
      used += step
    }
    return used
  }

  /// - Returns: bytes used; 0 when the head is not whole; -1 when it was refused.
  @inline(__always)
  private mutating func readRequestHead(_ index: Int32, _ bytes: Bytes) -> Int {
    var head = RequestHead(fields: unsafe HeaderTable(base: requestFields.base, capacity: requestFields.capacity))
    head.scheme = connections[index][].scheme == Scheme.https.rawValue ? .https : .http
    var consumed = 0
    let result = unsafe parseRequestHead(
      bytes.start, bytes.count, limits: http1Limits, into: &head, consumed: &consumed)
    switch result {
    case .complete:
      beginHTTP1Request(index, &head)
      return consumed
    case .incomplete:
      connections[index][].headIsIncomplete(at: bytes.count)
      return 0
    case .invalid(let error):
      counters.add(.malformedRequests)
      countLimit(error, index)
      refuse(index, status: error.status, reason: error.reason)
      return -1
    }
  }

  private mutating func countLimit(_ error: HTTP1Error, _ index: Int32) {
    switch error {
    case .requestLineTooLong: hit(.maxRequestLineBytes, index)
    case .headTooLarge: hit(.maxHeadBytes, index)
    case .tooManyFields: hit(.maxHeaderFields, index)
    case .trailerTooLarge: hit(.maxTrailerBytes, index)
    case .chunkExtensionTooLong: hit(.maxChunkExtensionBytes, index)
    default: break
    }
  }

  @inline(__always)
  private mutating func beginHTTP1Request(_ index: Int32, _ head: inout RequestHead) {
    let connection = connections[index]
    connection[].deadline = 0
    connection[].headSteps = 0
    connection[].flags.remove(.headTimerRuns)
    if !head.keepAlive || connection[].flags.contains(.draining) { connection[].flags.remove(.keepAlive) }
    if head.minorVersion == 0 { connection[].flags.insert(.http10) } else { connection[].flags.remove(.http10) }
    if head.isChunked {
      connection[].incoming = .chunked
      connection[].chunks = ChunkedDecoder()
    } else if head.contentLength > 0 {
      connection[].incoming = .length
      connection[].remaining = head.contentLength
    } else {
      connection[].incoming = .done
    }
    if connection[].incoming != .done { arm(index, at: nowMilliseconds + UInt64(limits.requestBodyIdleTimeout)) }
    counters.add(.requestsHTTP1)
    guard let stream = newStream(downstream: index) else {
      if isOverMemory { hit(.maxMemory, index) }
      refuse(
        index, status: 503,
        reason: isOverMemory ? "this proxy is short of memory (max-memory)" : "too many requests at once")
      return
    }
    connection[].stream = stream
    beginRequest(stream, &head)
  }

  private mutating func readRequestLength(_ index: Int32, _ bytes: Bytes) -> Int {
    let connection = connections[index]
    let count = Int(min(Int64(bytes.count), connection[].remaining))
    connection[].remaining -= Int64(count)
    let isLast = connection[].remaining == 0
    if isLast { connection[].incoming = .done }
    requestBody(index, bytes.slice(0, count))
    if isLast { requestHasEnded(index, trailers: .empty) }
    return count
  }

  private mutating func readRequestChunks(_ index: Int32, _ bytes: Bytes) -> Int {
    let connection = connections[index]
    var decoder = connection[].chunks
    let step = unsafe decoder.next(bytes.start, bytes.count, limits: http1Limits)
    connection[].chunks = decoder
    switch step {
    case .data(let offset, let count, let consumed):
      requestBody(index, bytes.slice(offset, offset + count))
      return consumed
    case .needMore(let consumed):
      return consumed
    case .end(let consumed, let trailerCount):
      connection[].incoming = .done
      var trailers = unsafe HeaderTable(base: requestFields.base, capacity: requestFields.capacity)
      if trailerCount > 0 {
        let section = bytes.slice(consumed - trailerCount, consumed)
        let fault = unsafe parseTrailers(section.start, section.count, limits: http1Limits, into: &trailers)
        if let fault { return refuseBody(index, fault) }
      }
      requestHasEnded(index, trailers: trailers)
      return consumed
    case .invalid(let error):
      return refuseBody(index, error)
    }
  }

  /// One that was answered before it was read to its end makes room for the next.
  private mutating func requestHasEnded(_ index: Int32, trailers: HeaderTable) {
    let connection = connections[index]
    if connection[].stream >= 0 {
      endRequest(connection[].stream, trailers: trailers)
    } else if connection[].role == .downstream && connection[].incoming == .done {
      nextHTTP1Request(index)
    }
  }

  /// Behind the answer to an Upgrade that an HTTP/2 backend has agreed to.
  private mutating func readTunnel(_ index: Int32, _ bytes: Bytes) -> Int {
    let stream = connections[index][].stream
    guard stream >= 0 else { return -1 }
    forwardRequestBody(stream, bytes)
    return bytes.count
  }

  /// A body that is not what RFC 9112 section 7.1 says: nothing of it is passed on any more.
  private mutating func refuseBody(_ index: Int32, _ error: HTTP1Error) -> Int {
    counters.add(.malformedRequests)
    countLimit(error, index)
    if connections[index][].stream >= 0 {
      refuse(index, status: error.status, reason: error.reason)
    } else {
      // It was answered before this was read.
      closeWhenDrained(index)
    }
    return -1
  }

  @inline(__always)
  private mutating func requestBody(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    if connection[].stream >= 0 {
      arm(index, at: nowMilliseconds + UInt64(limits.requestBodyIdleTimeout))
      forwardRequestBody(connection[].stream, bytes)
    }
  }

  mutating func pauseReading(_ index: Int32) {
    let connection = connections[index]
    guard !connection[].flags.contains(.readingPaused) else { return }
    connection[].flags.insert(.readingPaused)
    engine.stopReceiving(connection[].handle)
  }

  mutating func resumeReading(_ index: Int32) {
    let connection = connections[index]
    guard connection[].flags.contains(.readingPaused), !connection[].flags.contains(.waitsForTurn) else { return }
    connection[].flags.remove(.readingPaused)
    engine.startReceiving(connection[].handle)
  }

  /// The response is out: the connection waits for the next request, or ends.
  mutating func nextHTTP1Request(_ index: Int32) {
    let connection = connections[index]
    connection[].stream = -1
    connection[].flags.insert(.reused)
    let isWhole = connection[].incoming == .done
    // What waits may be the rest of the request: see `requestHasEnded`.
    if !isWhole, connection[].flags.contains([.keepAlive, .waitsForTurn]) { return }
    // The engine reads what is left away for a while, so that closing does not reset the connection before the
    // client has read its response.
    guard connection[].flags.contains(.keepAlive), isWhole else {
      closeWhenDrained(index)
      return
    }
    if isFull(index) {
      connection[].flags.insert(.waitsForRoom)
      pauseReading(index)
      return
    }
    connection[].incoming = .head
    let wait = connection[].flags.contains(.draining) ? min(1000, limits.idleTimeout) : limits.idleTimeout
    armIdle(index, wait: wait)
    let hasMore = !connection[].stash.isEmpty || connection[].flags.contains(.peerClosed)
    if hasMore && !connection[].flags.contains(.replay) {
      connection[].flags.insert(.replay)
      replays.append(index)
    }
    // What has come is used up first: a client that sends ahead is held back rather than stashed.
    if connection[].stash.isEmpty { resumeReading(index) }
  }
}
