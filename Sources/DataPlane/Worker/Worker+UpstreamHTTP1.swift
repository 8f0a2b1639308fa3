import HTTP1
import HTTPSemantics
import SystemIO
import Telemetry

/// What an HTTP/1 backend sends: heads, bodies, its end.
extension Worker where Engine: ~Copyable {
  @inline(__always)
  mutating func responseBytes(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    guard connection[].stream >= 0 else {
      // Nothing was asked of an idle connection: whatever this is, it is not for the next client.
      counters.add(.malformedResponses)
      closeConnection(index)
      return
    }
    connection[].flags.insert(.readAnything)
    if connection[].stash.isEmpty {
      let used = readResponses(index, bytes)
      if used >= 0 && used < bytes.count { keepResponseBytes(index, bytes.slice(used, bytes.count)) }
    } else {
      rereadResponse(index, bytes)
    }
  }

  private mutating func rereadResponse(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    let handle = connection[].handle
    keepResponseBytes(index, bytes)
    guard isAlive(index, handle) else { return }
    if connection[].incoming == .head, !connection[].isHeadDue(limit: limits.maxHeadBytes) { return }
    var taken = connection[].stash.take()
    let used = readResponses(index, taken.bytes)
    if used >= 0, isAlive(index, handle), used < Int(taken.count), connection[].stash.isEmpty {
      taken.removeFirst(used)
      connection[].stash = taken
    } else {
      taken.release()
    }
  }

  private mutating func keepResponseBytes(_ index: Int32, _ bytes: Bytes) {
    guard connections[index][].stash.append(bytes, limit: limits.maxHeadBytes + receiveBytes) else {
      malformedResponse(index)
      return
    }
  }

  /// - Returns: bytes used; -1 when the exchange is over and the connection no longer this stream's.
  @inline(__always)
  private mutating func readResponses(_ index: Int32, _ bytes: Bytes) -> Int {
    let connection = connections[index]
    let stream = connection[].stream
    let generation = streams[stream][].generation
    var used = 0
    while used < bytes.count {
      let rest = bytes.slice(used, bytes.count)
      let step: Int
      switch connection[].incoming {
      case .head: step = readResponseHead(index, stream, rest)
      case .length: step = readResponseLength(index, stream, rest)
      case .chunked: step = readResponseChunks(index, stream, rest)
      case .untilClose:
        forwardResponseBody(stream, rest)
        step = rest.count
      case .done: return used
      }
      guard streams[stream][].generation == generation, connections[index][].stream == stream else { return -1 }
      if step <= 0 { return step < 0 ? -1 : used }
      used += step
    }
    return used
  }

  @inline(__always)
  private mutating func readResponseHead(_ index: Int32, _ stream: Int32, _ bytes: Bytes) -> Int {
    let connection = connections[index]
    let s = streams[stream]
    var head = ResponseHead(
      fields: unsafe HeaderTable(base: responseFields.base, capacity: responseFields.capacity))
    var consumed = 0
    let method: Method = s[].flags.contains(.headRequest) ? .head : .get
    let result = unsafe parseResponseHead(
      bytes.start, bytes.count, requestMethod: method, limits: http1Limits, into: &head, consumed: &consumed)
    switch result {
    case .incomplete:
      connection[].headIsIncomplete(at: bytes.count)
      return 0
    case .invalid:
      malformedResponse(index)
      return -1
    case .complete: connection[].headSteps = 0
    }
    text.reset()
    if head.isInterim {
      guard forwardInterim(stream, &head) else { return -1 }
      return consumed
    }
    if s[].flags.contains(.extendedConnect) && head.status < 300 {
      return answerExtendedConnect(index, stream, &head) ? consumed : -1
    }
    if head.status == 101 { return beginTunnel(index, stream, &head, bytes.slice(consumed, bytes.count)) }
    if !head.keepAlive { connection[].flags.remove(.keepAlive) }
    if head.endStream {
      connection[].incoming = .done
      if consumed < bytes.count { connection[].flags.remove(.keepAlive) }
      _ = forwardResponse(stream, &head, body: .empty)
      endResponse(stream, trailers: .empty)
      return -1
    }
    if head.isChunked {
      connection[].incoming = .chunked
      connection[].chunks = ChunkedDecoder()
      _ = forwardResponse(stream, &head, body: .empty)
      return consumed
    }
    if head.contentLength >= 0 {
      connection[].incoming = .length
      connection[].remaining = head.contentLength
      let count = Int(min(Int64(bytes.count - consumed), head.contentLength))
      let body = bytes.slice(consumed, consumed + count)
      let along = forwardResponse(stream, &head, body: body)
      connection[].remaining -= Int64(along)
      return along == 0 ? consumed : finishLength(index, stream, used: consumed + along, bytes.count)
    }
    connection[].incoming = .untilClose
    connection[].flags.remove(.keepAlive)
    _ = forwardResponse(stream, &head, body: .empty)
    return consumed
  }

  @inline(__always)
  private mutating func readResponseLength(_ index: Int32, _ stream: Int32, _ bytes: Bytes) -> Int {
    let connection = connections[index]
    let count = Int(min(Int64(bytes.count), connection[].remaining))
    connection[].remaining -= Int64(count)
    forwardResponseBody(stream, bytes.slice(0, count))
    return finishLength(index, stream, used: count, bytes.count)
  }

  /// - Returns: `used`, or -1 when the body ended with it.
  @inline(__always)
  private mutating func finishLength(_ index: Int32, _ stream: Int32, used: Int, _ available: Int) -> Int {
    let connection = connections[index]
    guard connection[].remaining == 0 else {
      // An HTTP/2 client's queue says for itself when it is full and when there is room again.
      let s = streams[stream]
      if !s[].flags.contains(.downstreamHTTP2) && isFull(s[].downstream) { pauseUpstream(stream) }
      return used
    }
    connection[].incoming = .done
    // Bytes beyond the response belong to nobody: the connection is not used again.
    if used < available { connection[].flags.remove(.keepAlive) }
    endResponse(stream, trailers: .empty)
    return -1
  }

  private mutating func readResponseChunks(_ index: Int32, _ stream: Int32, _ bytes: Bytes) -> Int {
    let connection = connections[index]
    var decoder = connection[].chunks
    let step = unsafe decoder.next(bytes.start, bytes.count, limits: http1Limits)
    connection[].chunks = decoder
    switch step {
    case .data(let offset, let count, let consumed):
      forwardResponseBody(stream, bytes.slice(offset, offset + count))
      return consumed
    case .needMore(let consumed):
      return consumed
    case .end(let consumed, let trailerCount):
      connection[].incoming = .done
      if consumed < bytes.count { connection[].flags.remove(.keepAlive) }
      var trailers = unsafe HeaderTable(base: responseFields.base, capacity: responseFields.capacity)
      if trailerCount > 0 {
        let section = bytes.slice(consumed - trailerCount, consumed)
        guard unsafe parseTrailers(section.start, section.count, limits: http1Limits, into: &trailers) == nil else {
          malformedResponse(index)
          return -1
        }
      }
      endResponse(stream, trailers: trailers)
      return -1
    case .invalid:
      malformedResponse(index)
      return -1
    }
  }

  /// A backend that breaks the framing is not believed any more: nothing of it reaches another client.
  private mutating func malformedResponse(_ index: Int32) {
    let stream = connections[index][].stream
    if stream >= 0 {
      malformedResponse(stream: stream, reason: "the backend sent a malformed response")
    } else {
      counters.add(.malformedResponses)
      closeConnection(index)
    }
  }

  mutating func malformedResponse(stream: Int32, reason: StaticString) {
    counters.add(.malformedResponses)
    text.reset()
    cancelUpstream(stream)
    streams[stream][].responseFlags |= ResponseFlags.upstreamMalformed.rawValue
    if streams[stream][].flags.contains(.responseStarted) {
      abortExchange(stream)
    } else {
      reply(stream, status: 502, reason: reason, flags: .upstreamMalformed)
    }
  }

  /// The backend will send no more.
  mutating func upstreamEnded(_ index: Int32) {
    let connection = connections[index]
    if connection[].phase == .tunnel {
      tunnelEnded(index)
      return
    }
    let stream = connection[].stream
    if connection[].phase == .http1, stream >= 0, connection[].incoming == .untilClose {
      if endTunnelHalf(stream) { return }
      connection[].incoming = .done
      endResponse(stream, trailers: .empty)
      return
    }
    upstreamFailed(index, error: 0)
  }
}
