import HTTP1
import HTTP2
import HTTPSemantics
import RoutingTable
import SystemIO
import TLS
import Telemetry
import Upstream

/// Finding an endpoint and a connection to it, opening one, and trying again where that harms nobody.
extension Worker where Engine: ~Copyable {
  /// Endpoints tried for one request before it is given up.
  static var maximumAttempts: UInt8 { 3 }

  /// Sends the request to an endpoint of its backend: on a connection at hand, or on a new one.
  @inline(__always)
  mutating func sendRequest(_ stream: Int32, _ head: inout RequestHead) {
    let s = streams[stream]
    s[].requestBody = requestFraming(s[].flags, head)
    guard pickEndpoint(stream, avoiding: -1) else {
      counters.add(.noEndpoint)
      reply(stream, status: 503, reason: "the backend has no endpoint that is ready", flags: .noHealthyEndpoint)
      return
    }
    let endpoint = s[].endpoint
    counters.add(.upstreamRequests)
    if s[].flags.contains(.http2Upstream) {
      let shared = pools.shared(endpoint: endpoint)
      if shared >= 0, connections[shared][].phase == .http2, maySubmit(stream, shared) {
        submit(stream, shared, &head)
      } else {
        guard keepHead(stream, &head) else { return }
        if shared >= 0 { join(stream, shared, isWaiting: true) } else { openUpstream(stream) }
      }
      return
    }
    let idle = pools.leaseIdle(endpoint: endpoint)
    if idle >= 0 {
      counters.add(.upstreamLeases)
      lease(stream, idle)
      writeHead(stream, idle, &head)
    } else {
      if keepHead(stream, &head) { openUpstream(stream) }
    }
  }

  /// The same for a connection without requests.
  mutating func openFirstUpstream(_ stream: Int32) {
    guard pickEndpoint(stream, avoiding: -1) else {
      counters.add(.noEndpoint)
      giveUpTCP(stream, .noHealthyEndpoint)
      return
    }
    openUpstream(stream)
  }

  @inline(__always)
  private func requestFraming(_ flags: Stream.Flags, _ head: borrowing RequestHead) -> Stream.Outgoing {
    if head.endStream { return .none }
    if flags.contains(.http2Upstream) { return .http2 }
    if head.contentLength >= 0 { return .length }
    return flags.contains(.extendedConnect) ? .untilClose : .chunked
  }

  /// Chooses an endpoint among those of the newest configuration where the backend is still in it.
  @inline(__always)
  mutating func pickEndpoint(_ stream: Int32, avoiding: Int32) -> Bool {
    let s = streams[stream]
    guard s[].cell >= 0 else { return false }
    let entry = cells[s[].cell][].view.backend(s[].backend)
    let choices = unsafe UnsafeBufferPointer(start: entry.choices, count: Int(entry.count))
    let choice = unsafe pools.pick(choices, backendSlot: entry.slot, avoiding: avoiding)
    guard choice >= 0 else { return false }
    s[].choice = choice
    // SAFETY: pick() returns an index into the choices.
    s[].endpoint = unsafe entry.choices[Int(choice)].slot
    return true
  }

  // MARK: HTTP/1

  /// The connection carries this request from now on.
  @inline(__always)
  private mutating func lease(_ stream: Int32, _ index: Int32) {
    let s = streams[stream]
    let connection = connections[index]
    s[].upstream = index
    s[].flags.insert(.upstreamReused)
    connection[].stream = stream
    connection[].incoming = .head
    connection[].flags.remove([.idle, .readAnything])
    connection[].deadline = 0
    counters.add(.upstreamRequestsActive)
  }

  /// Composes the head where it is sent from. On a connection that was used before, a copy of a head that may be
  /// sent again is kept, because the backend may just be closing it.
  @inline(__always)
  private mutating func writeHead(_ stream: Int32, _ index: Int32, _ head: inout RequestHead) {
    let s = streams[stream]
    let room = 128 * 1024
    let place = unsafe beginWrite(index, room)
    let count = unsafe compose(stream, &head, place, room)
    guard count >= 0 else {
      cancelUpstream(stream)
      headTooLarge(stream)
      return
    }
    if s[].requestBody == .none && s[].flags.contains(.idempotent) && !s[].flags.contains(.wantsUpgrade) {
      _ = s[].head.append(unsafe Bytes(start: place, count: count), limit: room)
      s[].flags.insert(.headKept)
    }
    // What comes through a tunnel waits until there is one.
    if s[].requestBody != .untilClose { s[].flags.insert(.headSent) }
    endWrite(index, count)
  }

  @inline(__always)
  private func compose(
    _ stream: Int32, _ head: inout RequestHead, _ place: UnsafeMutablePointer<UInt8>, _ room: Int
  ) -> Int {
    let s = streams[stream]
    var writer = unsafe HeadWriter(place, capacity: room)
    writer.requestLine(method: head.methodBytes, target: head.target)
    // Empty for a client of HTTP/1.0 that named no host (RFC 9112 section 3.2).
    if head.fields.firstIndex(of: .host) < 0 { writer.field("host", head.authority) }
    writer.fields(head.fields)
    if s[].requestBody == .chunked || s[].requestBody == .http2 && head.contentLength < 0 {
      writer.transferEncodingChunked()
    }
    if s[].flags.contains(.wantsUpgrade) { writer.connectionUpgrade(Bytes("websocket")) }
    writer.end()
    return writer.isSound ? writer.count : -1
  }

  /// The head in its HTTP/1.1 form, for when there is a connection; an HTTP/2 one reads it from there.
  private mutating func keepHead(_ stream: Int32, _ head: inout RequestHead) -> Bool {
    let s = streams[stream]
    let room = 128 * 1024
    let place = unsafe engine.reserve(room)
    let count = unsafe compose(stream, &head, place, room)
    guard count >= 0 else {
      headTooLarge(stream)
      return false
    }
    _ = s[].head.append(unsafe Bytes(start: place, count: count), limit: room)
    s[].flags.insert(.headKept)
    return true
  }

  /// Within the limits as it came, but not with what the rule adds, or with bytes that HTTP/1.1 has no form for.
  private mutating func headTooLarge(_ stream: Int32) {
    reply(stream, status: 431, reason: "the request head cannot be passed on", flags: .limit)
  }

  // MARK: HTTP/2

  /// Puts a stream into a connection's list.
  private mutating func join(_ stream: Int32, _ index: Int32, isWaiting: Bool) {
    let s = streams[stream]
    let connection = connections[index]
    s[].upstream = index
    if isWaiting { s[].flags.insert(.waiting) }
    s[].upstreamNext = connection[].firstStream
    s[].upstreamPrevious = -1
    if s[].upstreamNext >= 0 { streams[s[].upstreamNext][].upstreamPrevious = stream }
    connection[].firstStream = stream
    if connection[].endpoint >= 0 { pools.streamOpened(index) }
    counters.add(.upstreamRequestsActive)
  }

  private mutating func submit(_ stream: Int32, _ index: Int32, _ head: inout RequestHead) {
    join(stream, index, isWaiting: false)
    counters.add(.upstreamLeases)
    keepShortHead(stream, &head)
    submitJoined(stream, &head)
  }

  /// Keeps the head, if it is of usual size: a backend may refuse a stream, or a whole connection, without having
  /// looked at it (RFC 9113 sections 6.8 and 8.7).
  private mutating func keepShortHead(_ stream: Int32, _ head: inout RequestHead) {
    let s = streams[stream]
    let room = Self.keptRequestBytes
    // A rewritten target has been copied out of there.
    var copy = unsafe HeadCopy(rewritten.base, capacity: room)
    copy.append(head, isChunked: s[].requestBody == .http2 && head.contentLength < 0)
    guard copy.isWhole else { return }
    _ = s[].head.append(copy.bytes, limit: room)
    s[].flags.insert(.headKept)
  }

  /// What is kept of a request to an HTTP/2 backend, head and body, so that it can be sent again.
  static var keptRequestBytes: Int { 4096 }

  /// Keeps what goes out of a body behind the head, until it is too much.
  @inline(__always)
  func keepBody(_ stream: Int32, _ bytes: Bytes) {
    let s = streams[stream]
    guard s[].flags.contains(.headKept) else { return }
    if !s[].head.append(bytes, limit: Self.keptRequestBytes) { forgetHead(stream) }
  }

  func forgetHead(_ stream: Int32) {
    let s = streams[stream]
    s[].head.clear()
    s[].flags.remove(.headKept)
  }

  /// Before the backend's SETTINGS have come, one request may go out. It may take no more at a time and refuse the
  /// others (RFC 9113 section 5.1.2), of whose bodies more could be gone by then than is kept. A WebSocket must not be
  /// asked for before they allow it (RFC 8441 section 3).
  @inline(__always)
  private func maySubmit(_ stream: Int32, _ index: Int32) -> Bool {
    guard let session = connections[index][].session else { return false }
    return session.hasSettings || session.activeStreams == 0 && !streams[stream][].flags.contains(.extendedConnect)
  }

  private mutating func submitJoined(_ stream: Int32, _ head: inout RequestHead) {
    let s = streams[stream]
    guard let session = connections[s[].upstream][].session else { return }
    let isTunnel = s[].flags.contains(.extendedConnect)
    if isTunnel && !session.takesExtendedConnect {
      text.reset()
      cancelUpstream(stream)
      reply(stream, status: 502, reason: "the backend takes no WebSockets over HTTP/2", flags: .noBackend)
      return
    }
    var fields = inbox.fieldList()
    fields.append(head.fields)
    let id = session.submitRequest(
      method: head.methodBytes, scheme: connections[s[].upstream][].tls == nil ? .http : .https,
      authority: head.authority, path: head.target, fields: fields,
      endStream: s[].requestBody == .none, tag: tag(stream), tunnelProtocol: isTunnel ? Bytes("websocket") : .empty)
    guard id > 0 else {
      stopSharing(s[].upstream)
      upstreamRefused(stream)
      return
    }
    s[].upstreamID = id
    if !isTunnel { s[].flags.insert(.headSent) }
    markDirty(s[].upstream)
  }

  /// Sends a kept head on an HTTP/2 connection that has just been opened, and what was kept of the body.
  private mutating func submitKept(_ stream: Int32) {
    let s = streams[stream]
    var head = RequestHead(fields: unsafe HeaderTable(base: requestFields.base, capacity: requestFields.capacity))
    var consumed = 0
    var unbounded = http1Limits
    unbounded.maxFields = Self.maximumFields
    unbounded.maxHeadBytes = 128 * 1024
    unbounded.maxRequestLine = 64 * 1024
    // The copy stays for another attempt; whoever ends the stream down there ends the use of `head` too.
    let bytes = s[].head.bytes
    let result = unsafe parseRequestHead(
      bytes.start, bytes.count, limits: unbounded, into: &head, consumed: &consumed)
    guard case .complete = result else {
      reply(stream, status: 400, reason: "this request has no form in HTTP/1.1", flags: .malformed)
      return
    }
    if head.hasTETrailers {
      _ = head.fields.append(HeaderField(name: Bytes("te"), value: Bytes("trailers"), known: .te))
    }
    let generation = s[].generation
    submitJoined(stream, &head)
    guard s[].generation == generation, s[].upstreamID != 0, consumed < bytes.count else { return }
    let body = bytes.slice(consumed, bytes.count)
    guard let session = connections[s[].upstream][].session else { return }
    unsafe session.write(s[].upstreamID, body.start, body.count, endStream: false)
  }

  // MARK: Opening

  private mutating func openUpstream(_ stream: Int32) {
    let s = streams[stream]
    let entry = cells[s[].cell][].view.backend(s[].backend)
    // SAFETY: `choice` came from this backend's list, which the stream's cell keeps.
    let address = unsafe entry.addresses[Int(s[].choice)]
    s[].attempts += 1
    let most = limits.maxUpstreamPerEndpoint
    if most > 0, pools.counts(endpoint: s[].endpoint).connections >= most {
      hit(.maxUpstreamPerEndpoint, peer: address)
      giveUp(stream, status: 503, reason: "the endpoint has as many connections as it may have", flags: .limit)
      return
    }
    var tls: TLSConnection?
    if case .clear = entry.security {
    } else {
      tls = makeUpstreamTLS(stream, entry.security)
      if tls == nil { return }
    }
    let handle: Socket
    do {
      handle = try engine.connect(to: address)
    } catch {
      tls?.destroy()
      counters.add(.upstreamConnectFailures)
      giveUp(
        stream, status: 503, reason: "no connection to the backend could be opened", flags: .upstreamConnectFailure)
      return
    }
    owedNanoseconds &+= Self.connectNanoseconds
    let index = handle.index
    var connection = Connection()
    connection.role = .upstream
    connection.phase = .connecting
    connection.handle = handle
    // A request that began under an older configuration may go to an endpoint that the newest does not name: its
    // connection is not kept, because the endpoint's number may soon mean another one.
    let isCurrent = cells[currentCell][].view.isCurrent(endpoint: s[].endpoint)
    connection.endpoint = isCurrent ? s[].endpoint : -1
    connection.peer = address
    connection.tls = tls
    connection.flags = isCurrent ? [.keepAlive] : [.keepAlive, .draining]
    if s[].flags.contains(.http2Upstream) { connection.flags.insert(.speaksHTTP2) }
    // It speaks for one client, and nobody else is to be taken for that one.
    if entry.proxyVersion != nil { connection.flags.insert(.draining) }
    place(connection)
    if let version = entry.proxyVersion { sendProxyHeader(index, stream, version) }
    counters.add(.upstreamConnections)
    counters.add(.upstreamConnectionsActive)
    arm(index, at: nowMilliseconds + UInt64(limits.upstreamConnectTimeout))
    if s[].flags.contains(.http2Upstream) {
      if isCurrent {
        pools.addShared(index, endpoint: s[].endpoint, limit: limits.maxUpstreamStreams)
        if entry.proxyVersion != nil { pools.setDraining(index) }
      }
      join(stream, index, isWaiting: true)
    } else {
      if isCurrent { pools.addLeased(index, endpoint: s[].endpoint) }
      connections[index][].stream = stream
      s[].upstream = index
      counters.add(.upstreamRequestsActive)
    }
  }

  mutating func upstreamConnected(_ index: Int32) {
    engine.startReceiving(connections[index][].handle)
    if connections[index][].tls == nil { upstreamReady(index) } else { beginUpstreamTLS(index) }
  }

  /// What was asked for meanwhile goes out.
  mutating func upstreamReady(_ index: Int32) {
    let connection = connections[index]
    connection[].deadline = 0
    if connection[].flags.contains(.speaksHTTP2) {
      connectedHTTP2(index)
      return
    }
    connection[].phase = .http1
    connection[].incoming = .head
    let stream = connection[].stream
    guard stream >= 0 else { return }
    let s = streams[stream]
    if s[].flags.contains(.layer4) {
      tcpConnected(index, stream)
      return
    }
    write(index, s[].head.bytes)
    if s[].requestBody != .none {
      s[].head.release()
      s[].flags.remove(.headKept)
    }
    if s[].requestBody == .untilClose { return }
    s[].flags.insert(.headSent)
    sendPendingBody(stream)
  }

  private mutating func connectedHTTP2(_ index: Int32) {
    let connection = connections[index]
    guard let session = HTTP2Session.client(inbox) else {
      upstreamFailed(index, error: 12)
      return
    }
    connection[].session = session
    connection[].phase = .http2
    markDirty(index)
    submitWaiting(index)
  }

  /// Sends what has waited for this connection to be there, or to say how much it takes: the oldest first, and what
  /// it has no room for goes to another one.
  mutating func submitWaiting(_ index: Int32) {
    let connection = connections[index]
    let handle = connection[].handle
    var stream = connection[].firstStream
    while stream >= 0, streams[stream][].upstreamNext >= 0 { stream = streams[stream][].upstreamNext }
    while stream >= 0, isAlive(index, handle) {
      let next = streams[stream][].upstreamPrevious
      if streams[stream][].flags.contains(.waiting), maySubmit(stream, index) { submitOrMove(stream, index) }
      stream = next
    }
  }

  private mutating func submitOrMove(_ stream: Int32, _ index: Int32) {
    let s = streams[stream]
    if let session = connections[index][].session, session.activeStreams > 0, !session.canOpenStream {
      cancelUpstream(stream)
      // Nothing was tried here.
      if s[].attempts > 0 { s[].attempts -= 1 }
      sendKept(stream)
      return
    }
    s[].flags.remove(.waiting)
    let generation = s[].generation
    submitKept(stream)
    if s[].generation == generation && s[].flags.contains(.headSent) { sendPendingBody(stream) }
  }

  /// What the client sent while there was no connection yet.
  mutating func sendPendingBody(_ stream: Int32) {
    let s = streams[stream]
    if !s[].pendingBody.isEmpty {
      var pending = s[].pendingBody.take()
      writeRequestBody(stream, pending.bytes)
      pending.release()
    }
    if s[].flags.contains(.requestEnded) && s[].requestBody != .none { finishPendingBody(stream) }
    resumeDownstreamUnlessFull(stream)
  }

  // MARK: Failure

  /// The connection is of no more use: what it carried is tried elsewhere or told to the client.
  mutating func upstreamFailed(_ index: Int32, error: Int32) {
    let connection = connections[index]
    let wasConnecting = connection[].phase == .connecting || connection[].phase == .handshaking
    if wasConnecting { counters.add(.upstreamConnectFailures) }
    if connection[].phase == .handshaking { noteHandshakeEnded(index, error: error) }
    if connection[].flags.contains(.speaksHTTP2) {
      stopSharing(index)
      let handle = connection[].handle
      while isAlive(index, handle), connection[].firstStream >= 0 {
        let stream = connection[].firstStream
        streams[stream][].upstreamID = 0
        if wasConnecting {
          connectFailed(stream, error: error)
        } else if streams[stream][].flags.contains(.waiting) && connection[].tlsFault == nil {
          upstreamRefused(stream)
        } else {
          upstreamLost(stream)
        }
      }
      if isAlive(index, handle) { closeConnection(index) }
      return
    }
    let stream = connection[].stream
    guard stream >= 0 else {
      closeConnection(index)
      return
    }
    if wasConnecting { connectFailed(stream, error: error) } else { upstreamLost(stream) }
  }

  /// Nothing was sent: any other endpoint will do.
  private mutating func connectFailed(_ stream: Int32, error: Int32) {
    let s = streams[stream]
    text.reset()
    let failed = s[].endpoint
    let fault = s[].upstream >= 0 ? connections[s[].upstream][].tlsFault : nil
    cancelUpstream(stream)
    if s[].attempts < Self.maximumAttempts, pickEndpoint(stream, avoiding: failed), s[].endpoint != failed {
      counters.add(.upstreamRetries)
      s[].responseFlags |= ResponseFlags.retried.rawValue
      sendKept(stream)
    } else if let fault {
      replyUpstreamTLS(stream, fault)
    } else if error == 110 {
      giveUp(
        stream, status: 504, reason: "the backend did not accept a connection in time", flags: .upstreamConnectTimeout)
    } else {
      giveUp(stream, status: 503, reason: "the backend refused the connection", flags: .upstreamConnectFailure)
    }
  }

  /// No connection to a backend can be had.
  mutating func giveUp(_ stream: Int32, status: UInt16, reason: StaticString, flags: ResponseFlags) {
    if streams[stream][].flags.contains(.layer4) {
      giveUpTCP(stream, flags)
    } else {
      reply(stream, status: status, reason: reason, flags: flags)
    }
  }

  /// The backend broke off. A request that it cannot have acted on, or that may be repeated (RFC 9110 section
  /// 9.2.2), goes out once more when nothing has come back and no body was sent.
  mutating func upstreamLost(_ stream: Int32) {
    let s = streams[stream]
    text.reset()
    counters.add(.upstreamResets)
    let mayRepeat =
      s[].flags.contains([.headKept, .idempotent]) && s[].requestBody == .none && s[].attempts < Self.maximumAttempts
      && !s[].flags.contains(.responseStarted) && s[].cell >= 0
    let fault = s[].upstream >= 0 ? connections[s[].upstream][].tlsFault : nil
    let readSomething = s[].upstream >= 0 && connections[s[].upstream][].flags.contains(.readAnything)
    cancelUpstream(stream)
    if let fault, !s[].flags.contains(.responseStarted) {
      replyUpstreamTLS(stream, fault)
    } else if mayRepeat && !readSomething && !s[].head.isEmpty && pickEndpoint(stream, avoiding: -1) {
      counters.add(.upstreamRetries)
      s[].responseFlags |= ResponseFlags.retried.rawValue
      sendKept(stream)
    } else if s[].flags.contains(.responseStarted) {
      s[].responseFlags |= ResponseFlags.upstreamReset.rawValue
      abortExchange(stream)
    } else {
      reply(stream, status: 502, reason: "the backend closed the connection before it answered", flags: .upstreamReset)
    }
  }

  /// An HTTP/2 backend did nothing with the request: it said so (REFUSED_STREAM, GOAWAY), or went before it was sent.
  mutating func upstreamRefused(_ stream: Int32) {
    let s = streams[stream]
    text.reset()
    let kept =
      s[].flags.contains(.headKept) && !s[].head.isEmpty && !s[].flags.contains(.responseStarted) && s[].cell >= 0
    cancelUpstream(stream)
    if kept && s[].attempts < Self.maximumAttempts && pickEndpoint(stream, avoiding: -1) {
      counters.add(.upstreamRetries)
      sendKept(stream)
    } else if s[].flags.contains(.responseStarted) {
      abortExchange(stream)
    } else {
      reply(stream, status: 503, reason: "the backend took no more requests", flags: .upstreamReset)
    }
  }

  /// Sends a kept head on a fresh connection: an idle one could be as stale as the last.
  private mutating func sendKept(_ stream: Int32) {
    let s = streams[stream]
    s[].flags.remove([.headSent, .upstreamReused])
    if s[].flags.contains(.http2Upstream) {
      let shared = pools.shared(endpoint: s[].endpoint)
      if shared >= 0, connections[shared][].session?.hasSettings != true {
        s[].attempts += 1
        join(stream, shared, isWaiting: true)
        return
      }
    }
    openUpstream(stream)
  }

  // MARK: Leaving

  /// Breaks the exchange off on the backend's side.
  mutating func cancelUpstream(_ stream: Int32) {
    let s = streams[stream]
    guard s[].upstream >= 0 else { return }
    if !s[].flags.contains(.http2Upstream) { connections[s[].upstream][].flags.remove(.keepAlive) }
    detachUpstream(stream)
  }

  /// The exchange is over on this side: an HTTP/1 connection goes back to the pool or is closed, an HTTP/2 stream
  /// that the backend still works on is reset.
  @inline(__always)
  mutating func detachUpstream(_ stream: Int32) {
    let s = streams[stream]
    let index = s[].upstream
    guard index >= 0 else { return }
    counters.subtract(.upstreamRequestsActive)
    if s[].flags.contains(.http2Upstream) {
      leaveUpstreamSession(stream)
      return
    }
    s[].upstream = -1
    s[].flags.remove(.upstreamPaused)
    let connection = connections[index]
    connection[].stream = -1
    if connection[].tls != nil { keepUpstreamSession(index) }
    let isReusable =
      connection[].phase == .http1 && connection[].incoming == .done && connection[].endpoint >= 0
      && connection[].flags.contains(.keepAlive) && s[].flags.contains(.requestEnded)
      && connection[].flags.isDisjoint(with: [.draining, .peerClosed])
    guard isReusable, !isDraining else {
      closeUpstream(index)
      return
    }
    connection[].flags.insert([.idle, .reused])
    resumeReading(index)
    switch pools.release(index, endpoint: connection[].endpoint, nowMilliseconds: nowMilliseconds) {
    case .keep: break
    case .close(let other):
      hit(.maxIdleUpstreamPerEndpoint, other)
      closeIdle(other)
    }
  }

  private mutating func leaveUpstreamSession(_ stream: Int32) {
    let s = streams[stream]
    let index = s[].upstream
    let connection = connections[index]
    if s[].upstreamPrevious >= 0 {
      streams[s[].upstreamPrevious][].upstreamNext = s[].upstreamNext
    } else {
      connection[].firstStream = s[].upstreamNext
    }
    if s[].upstreamNext >= 0 { streams[s[].upstreamNext][].upstreamPrevious = s[].upstreamPrevious }
    if s[].upstreamID != 0, let session = connection[].session {
      payUpstream(stream)
      session.reset(s[].upstreamID, HTTP2ErrorCode.cancel)
      markDirty(index)
    }
    if connection[].tls != nil {
      keepUpstreamSession(index)
      connection[].flags.insert(.reused)
    }
    s[].upstream = -1
    s[].upstreamID = 0
    s[].flags.remove([.waiting, .upstreamPaused])
    if connection[].endpoint >= 0 {
      if case .close(let other) = pools.streamClosed(index, nowMilliseconds: nowMilliseconds) {
        // The pool has forgotten it and must not hear of it again.
        connections[other][].endpoint = -1
        closeLater(other)
      }
    } else if connection[].firstStream < 0 {
      closeLater(index)
    }
  }

  /// An HTTP/2 connection takes no new streams.
  mutating func stopSharing(_ index: Int32) {
    let connection = connections[index]
    connection[].flags.insert(.draining)
    if connection[].endpoint >= 0 { pools.setDraining(index) }
  }

  /// After the frames that this turn still owes it.
  mutating func closeLater(_ index: Int32) {
    let connection = connections[index]
    guard connection[].phase == .http2 else {
      closeUpstream(index)
      return
    }
    connection[].session?.goAway(graceful: false)
    connection[].flags.insert(.draining)
    markDirty(index)
  }
}

/// A head in HTTP/1.1 form that is only kept: what of it has no such form is found when it is read again.
@safe
private struct HeadCopy {
  // INVARIANT: `output` has room for `capacity` bytes, the first `count` of which are set.
  private let output: UnsafeMutablePointer<UInt8>
  private let capacity: Int
  private var count = 0
  private(set) var isWhole = true

  init(_ output: UnsafeMutablePointer<UInt8>, capacity: Int) {
    unsafe self.output = output
    self.capacity = capacity
  }

  var bytes: Bytes { unsafe Bytes(start: output, count: count) }

  mutating func append(_ head: borrowing RequestHead, isChunked: Bool) {
    append(head.methodBytes)
    append(Bytes(" "))
    append(head.target)
    append(Bytes(" HTTP/1.1\r\n"))
    var hasHost = false
    var index = 0
    while index < head.fields.count {
      let field = head.fields[index]
      index &+= 1
      if field.isDropped { continue }
      if field.known == .host { hasHost = true }
      if field.flags & HeaderField.lineFlag != 0 {
        // SAFETY: name and value lie in one line; only whitespace lies between the value and its CR LF.
        var end = unsafe field.value + Int(field.valueLength)
        while unsafe end.pointee != 13 { unsafe end += 1 }
        append(unsafe Bytes(start: field.name, count: end + 2 - field.name))
      } else {
        appendLine(field.nameBytes, field.valueBytes)
      }
    }
    let authority = head.authority
    if !hasHost && !authority.isEmpty { appendLine(Bytes("host"), authority) }
    append(isChunked ? Bytes("transfer-encoding: chunked\r\n\r\n") : Bytes("\r\n"))
  }

  private mutating func appendLine(_ name: Bytes, _ value: Bytes) {
    append(name)
    append(Bytes(": "))
    append(value)
    append(Bytes("\r\n"))
  }

  @inline(__always)
  private mutating func append(_ bytes: Bytes) {
    guard bytes.count <= capacity &- count else {
      isWhole = false
      return
    }
    // SAFETY: the room was compared.
    unsafe (output + count).update(from: bytes.start, count: bytes.count)
    count &+= bytes.count
  }
}
