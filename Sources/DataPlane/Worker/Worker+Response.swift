import HTTP1
import HTTP2
import HTTPSemantics
import RoutingTable
import Telemetry

/// The response on its way to the client, from a backend or made here.
extension Worker where Engine: ~Copyable {
  /// Sends a backend's final response head, changed as the rule says, and the body bytes that came along with it
  /// in the same send where the client speaks HTTP/1: a small answer costs one.
  /// - Returns: how many bytes of `body` went out.
  @inline(__always)
  mutating func forwardResponse(_ stream: Int32, _ head: inout ResponseHead, body: Bytes) -> Int {
    let s = streams[stream]
    changeResponse(stream, &head)
    s[].backendDeadline = 0
    let frame = s[].flags.contains(.grpcWeb) ? beginGRPCWebAnswer(stream, &head) : .empty
    let along = sendResponseHead(stream, &head, body)
    if !frame.isEmpty { forwardGRPCWebResponse(stream, frame) }
    // From here on nothing of the configuration is needed: a stream that lives for days pins none.
    releaseStreamCell(stream)
    return along
  }

  /// Does what the rule says about the fields of a backend's response.
  @inline(__always)
  mutating func changeResponse(_ stream: Int32, _ head: inout ResponseHead) {
    let s = streams[stream]
    guard s[].rule >= 0, s[].cell >= 0 else { return }
    let rule = cells[s[].cell][].view.image.rule(s[].rule)
    operate(&head.fields, rule.responseHeaders)
    if s[].weighted >= 0 { operate(&head.fields, rule.weightedBackend(Int(s[].weighted)).responseHeaders) }
  }

  mutating func releaseStreamCell(_ stream: Int32) {
    let s = streams[stream]
    if s[].cell >= 0 {
      releaseCell(s[].cell)
      s[].cell = -1
    }
  }

  @inline(__always)
  private mutating func sendResponseHead(_ stream: Int32, _ head: inout ResponseHead, _ body: Bytes) -> Int {
    let s = streams[stream]
    s[].status = head.status
    s[].flags.insert(.responseStarted)
    counters.addResponse(status: Int(head.status))
    noteGRPCStatus(stream, head.fields)
    if s[].flags.contains(.downstreamHTTP2) {
      sendHTTP2Head(stream, head)
      return 0
    }
    return sendHTTP1Head(stream, head, body)
  }

  private mutating func sendHTTP2Head(_ stream: Int32, _ head: ResponseHead) {
    let s = streams[stream]
    s[].responseBody = head.endStream ? .none : .http2
    guard let session = connections[s[].downstream][].session else { return }
    var fields = inbox.fieldList()
    fields.append(head.fields)
    session.submitResponse(s[].downstreamID, status: head.status, fields: fields, endStream: head.endStream)
    markDirty(s[].downstream)
  }

  /// Writes the head, and with it the body bytes that came along, in one send.
  /// - Returns: how many of `body`'s bytes went out with it.
  @inline(__always)
  private mutating func sendHTTP1Head(_ stream: Int32, _ head: ResponseHead, _ body: Bytes) -> Int {
    let s = streams[stream]
    let index = s[].downstream
    let connection = connections[index]
    let isHTTP10 = connection[].flags.contains(.http10)
    if connection[].flags.contains(.draining) { connection[].flags.remove(.keepAlive) }
    chooseFraming(stream, head, isHTTP10: isHTTP10)
    let along = s[].responseBody == .chunked || s[].responseBody == .none ? 0 : min(body.count, 64 * 1024)
    let room = 128 * 1024
    let place = unsafe beginWrite(index, room)
    var writer = unsafe HeadWriter(place, capacity: room - along)
    writer.statusLine(head.status, reason: head.reason)
    writer.fields(head.fields)
    if s[].responseBody == .chunked { writer.transferEncodingChunked() }
    if s[].responseBody == .none && needsZeroLength(stream, head) { writer.contentLength(0) }
    if !connection[].flags.contains(.keepAlive) {
      writer.connectionClose()
    } else if isHTTP10 {
      writer.connectionKeepAlive()
    }
    writer.end()
    guard writer.isSound else {
      unsafe sendInexpressible(stream, place, room)
      return body.count
    }
    var count = writer.count
    if along > 0 {
      // SAFETY: the writer was kept `along` bytes short of the room.
      unsafe (place + count).update(from: body.start, count: along)
      count += along
      s[].bytesSent += UInt64(along)
    }
    endWrite(index, count)
    return along
  }

  /// A head from an HTTP/2 backend that HTTP/1.1 has no form for, or that a rule made too large: the client is
  /// told so instead, and the body goes nowhere.
  private mutating func sendInexpressible(_ stream: Int32, _ place: UnsafeMutablePointer<UInt8>, _ room: Int) {
    let s = streams[stream]
    counters.add(.malformedResponses)
    s[].status = 502
    s[].responseFlags |= ResponseFlags.upstreamMalformed.rawValue
    s[].responseBody = .none
    connections[s[].downstream][].flags.remove(.keepAlive)
    var writer = unsafe HeadWriter(place, capacity: room)
    writer.statusLine(502)
    writer.contentLength(0)
    writer.connectionClose()
    writer.end()
    endWrite(s[].downstream, writer.count)
  }

  /// How the body's end will be told to an HTTP/1 client (RFC 9112 section 6.3).
  @inline(__always)
  private func chooseFraming(_ stream: Int32, _ head: ResponseHead, isHTTP10: Bool) {
    let s = streams[stream]
    // An HTTP/2 backend may end a 204 or 304 with an empty DATA frame (RFC 9110 sections 15.3.5 and 15.4.5).
    if head.endStream || s[].flags.contains(.headRequest) || head.status == 204 || head.status == 304 {
      s[].responseBody = .none
    } else if head.contentLength >= 0 {
      s[].responseBody = .length
    } else if isHTTP10 {
      s[].responseBody = .untilClose
      connections[s[].downstream][].flags.remove(.keepAlive)
    } else {
      s[].responseBody = .chunked
    }
  }

  /// A response without a body must say so, except where the status or the method already does.
  private func needsZeroLength(_ stream: Int32, _ head: ResponseHead) -> Bool {
    head.contentLength < 0 && head.status != 204 && head.status != 304
      && !streams[stream][].flags.contains(.headRequest)
  }

  /// 100, 103 and the like; not to clients that announced HTTP/1.0.
  /// - Returns: false when these were too many and the exchange is over.
  mutating func forwardInterim(_ stream: Int32, _ head: inout ResponseHead) -> Bool {
    let s = streams[stream]
    let index = s[].downstream
    counters.add(.responses1xx)
    s[].interims += 1
    if Int(s[].interims) > limits.maxInterimResponses {
      hit(.maxInterimResponses, s[].upstream)
      malformedResponse(stream: stream, reason: "the backend sent too many interim responses")
      return false
    }
    if s[].flags.contains(.downstreamHTTP2) {
      guard let session = connections[index][].session else { return true }
      var fields = inbox.fieldList()
      fields.append(head.fields)
      session.submitInformational(s[].downstreamID, status: head.status, fields: fields)
      markDirty(index)
    } else if !connections[index][].flags.contains(.http10) {
      let room = 128 * 1024
      let place = unsafe beginWrite(index, room)
      var writer = unsafe HeadWriter(place, capacity: room)
      writer.statusLine(head.status, reason: head.reason)
      writer.fields(head.fields)
      writer.end()
      if writer.isSound { endWrite(index, writer.count) }
    }
    return true
  }

  @inline(__always)
  mutating func forwardResponseBody(_ stream: Int32, _ bytes: Bytes) {
    let s = streams[stream]
    guard !bytes.isEmpty, s[].responseBody != .none else { return }
    if s[].flags.contains(.grpcWeb) {
      forwardGRPCWebResponse(stream, bytes)
    } else {
      passResponseBody(stream, bytes)
    }
  }

  @inline(__always)
  mutating func passResponseBody(_ stream: Int32, _ bytes: Bytes) {
    let s = streams[stream]
    s[].bytesSent += UInt64(bytes.count)
    let index = s[].downstream
    if s[].flags.contains(.downstreamHTTP2) {
      guard let session = connections[index][].session else { return }
      unsafe session.write(s[].downstreamID, bytes.start, bytes.count, endStream: false)
      markDirty(index)
      if session.queuedBytes(s[].downstreamID) > limits.bufferHighWater { pauseUpstream(stream) }
    } else {
      writeBody(index, s[].responseBody, bytes)
      if isFull(index) { pauseUpstream(stream) }
    }
  }

  /// The response is whole. Ends the exchange.
  @inline(__always)
  mutating func endResponse(_ stream: Int32, trailers: HeaderTable) {
    let s = streams[stream]
    s[].flags.insert(.responseEnded)
    noteGRPCStatus(stream, trailers)
    let trailers = s[].flags.contains(.grpcWeb) ? endGRPCWebAnswer(stream, trailers) : trailers
    let index = s[].downstream
    if s[].flags.contains(.downstreamHTTP2) {
      if s[].responseBody == .http2, let session = connections[index][].session {
        if trailers.count > 0 {
          var fields = inbox.fieldList()
          fields.append(trailers)
          session.submitTrailers(s[].downstreamID, fields: fields)
        } else {
          unsafe session.write(s[].downstreamID, Bytes.empty.start, 0, endStream: true)
        }
        markDirty(index)
      }
    } else if s[].responseBody == .chunked {
      writeBodyEnd(index, trailers)
    }
    endExchange(stream)
  }

  // MARK: Responses of our own

  /// Answers without a backend. gRPC clients get a trailers-only response with the right status.
  @inline(never)
  mutating func reply(_ stream: Int32, status: UInt16, reason: StaticString, flags: ResponseFlags) {
    reply(stream, status: status, body: Bytes(reason), flags: flags)
  }

  @inline(never)
  mutating func reply(_ stream: Int32, status: UInt16, body: Bytes, flags: ResponseFlags) {
    let s = streams[stream]
    s[].responseFlags |= flags.rawValue
    counters.add(.responsesLocal)
    if s[].flags.contains(.grpcWeb) {
      replyGRPCWeb(stream, status: UInt8(grpcStatus(of: status)), message: percentEncoded(body))
      return
    }
    var head = ResponseHead(
      fields: unsafe HeaderTable(base: responseFields.base, capacity: responseFields.capacity))
    if s[].flags.contains(.grpc) {
      head.status = 200
      add(&head.fields, .contentType, "content-type", Bytes("application/grpc"))
      add(&head.fields, .grpcStatus, "grpc-status", text.decimal(UInt64(grpcStatus(of: status))))
      add(&head.fields, .grpcMessage, "grpc-message", percentEncoded(body))
      head.contentLength = s[].flags.contains(.downstreamHTTP2) ? -1 : 0
      if head.contentLength == 0 { add(&head.fields, .contentLength, "content-length", Bytes("0")) }
      sendLocal(stream, &head, body: .empty)
      return
    }
    head.status = status
    head.contentLength = Int64(body.count + (body.isEmpty ? 0 : 1))
    if !body.isEmpty { add(&head.fields, .contentType, "content-type", Bytes("text/plain; charset=utf-8")) }
    add(&head.fields, .contentLength, "content-length", text.decimal(UInt64(head.contentLength)))
    if !body.isEmpty, let place = unsafe text.reserve(body.count + 1) {
      // SAFETY: one byte more than the text was reserved.
      unsafe place.update(from: body.start, count: body.count)
      unsafe place[body.count] = 10
      sendLocal(stream, &head, body: unsafe Bytes(start: place, count: body.count + 1))
    } else {
      head.contentLength = 0
      sendLocal(stream, &head, body: .empty)
    }
  }

  mutating func redirect(_ stream: Int32, _ request: inout RequestHead, _ rule: RuleView, _ answer: RouteAnswer) {
    let s = streams[stream]
    s[].responseFlags |= ResponseFlags.redirect.rawValue
    counters.add(.responsesLocal)
    let image = cells[s[].cell][].view.image
    let place = unsafe rewritten.base
    let room = rewritten.capacity
    let count = unsafe withUnsafePointer(to: &request) {
      unsafe image.redirectLocation(answer, rule, $0, into: place, capacity: room)
    }
    guard count > 0 else {
      reply(stream, status: 500, reason: "the rule's redirect makes no location", flags: .redirect)
      return
    }
    var head = ResponseHead(
      fields: unsafe HeaderTable(base: responseFields.base, capacity: responseFields.capacity))
    head.status = rule.status
    head.contentLength = 0
    add(&head.fields, .location, "location", unsafe Bytes(start: rewritten.base, count: count))
    add(&head.fields, .contentLength, "content-length", Bytes("0"))
    operate(&head.fields, rule.responseHeaders)
    sendLocal(stream, &head, body: .empty)
  }

  mutating func sendLocal(_ stream: Int32, _ head: inout ResponseHead, body: Bytes) {
    let s = streams[stream]
    head.endStream = body.isEmpty || s[].flags.contains(.headRequest)
    if isDraining { connections[s[].downstream][].flags.insert(.draining) }
    // The rest of the request is not waited for, so that where the next one would begin is not known.
    if !s[].flags.contains(.downstreamHTTP2) && connections[s[].downstream][].incoming != .done {
      connections[s[].downstream][].flags.remove(.keepAlive)
    }
    let along = sendResponseHead(stream, &head, head.endStream ? .empty : body)
    releaseStreamCell(stream)
    if !head.endStream { forwardResponseBody(stream, body.slice(along, body.count)) }
    endResponse(stream, trailers: .empty)
  }

  /// The gRPC status that a client library should see for a response that we make.
  private func grpcStatus(of status: UInt16) -> Int {
    switch status {
    case 400, 413, 431: 13
    case 404, 405, 501: 12
    case 408, 504: 4
    case 429: 8
    default: 14
    }
  }

  /// grpc-message is percent-encoded (gRPC over HTTP/2, "Responses"): our own texts need it only for "%".
  private mutating func percentEncoded(_ bytes: Bytes) -> Bytes {
    bytes.firstIndex(of: 0x25) < 0 ? bytes : .empty
  }

  /// A request so malformed that there is no stream for it: answer, then end the connection.
  @inline(never)
  mutating func refuse(_ index: Int32, status: UInt16, reason: StaticString) {
    let connection = connections[index]
    connection[].flags.remove(.keepAlive)
    text.reset()
    if connection[].stream >= 0 {
      let stream = connection[].stream
      connection[].incoming = .head
      if streams[stream][].flags.contains(.responseStarted) {
        abortExchange(stream)
        closeConnection(index)
      } else {
        reply(stream, status: status, reason: reason, flags: .malformed)
      }
      return
    }
    counters.add(.responsesLocal)
    counters.addResponse(status: Int(status))
    let place = unsafe beginWrite(index, 1024)
    var writer = unsafe HeadWriter(place, capacity: 1024)
    writer.statusLine(status, reason: .empty)
    writer.field("content-type", Bytes("text/plain; charset=utf-8"))
    writer.contentLength(Int64(reason.utf8CodeUnitCount + 1))
    writer.connectionClose()
    writer.end()
    let count = writer.count
    // SAFETY: our own texts are far shorter than what is left of the room.
    unsafe (place + count).update(from: reason.utf8Start, count: reason.utf8CodeUnitCount)
    unsafe place[count + reason.utf8CodeUnitCount] = 10
    endWrite(index, count + reason.utf8CodeUnitCount + 1)
    closeWhenDrained(index)
  }
}
