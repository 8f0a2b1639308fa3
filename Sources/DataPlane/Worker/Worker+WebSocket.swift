import HTTP1
import HTTP2
import HTTPSemantics
import SystemIO
import Telemetry

/// WebSockets with HTTP/2 on one side or both (RFC 8441): the extended CONNECT of a client, carried to the backend as
/// an HTTP/1.1 Upgrade or as an extended CONNECT of our own, and the Upgrade of a client whose backend speaks HTTP/2.
///
/// To both sides it is a request whose body and response body are the tunnel: DATA is framed by nothing on an
/// HTTP/1.1 connection, END_STREAM is the half-close of the other side, and flow control is that of any body. What the
/// client sends before the backend has agreed waits: with its window, or unread.
extension Worker where Engine: ~Copyable {
  /// What a request that wants to change protocols is to the backend. False: it was answered here.
  mutating func askUpgrade(_ stream: Int32, _ head: inout RequestHead) -> Bool {
    let s = streams[stream]
    let speaksHTTP2 = s[].flags.contains(.http2Upstream)
    guard s[].flags.contains(.downstreamHTTP2) else {
      guard head.upgrade == .webSocket else { return true }
      if speaksHTTP2 { return translateUpgrade(stream, &head) }
      s[].flags.insert(.wantsUpgrade)
      return true
    }
    guard head.upgrade == .webSocket else {
      reply(stream, status: 501, reason: "extended CONNECT carries WebSockets only", flags: .malformed)
      return false
    }
    guard !head.endStream else {
      reply(stream, status: 400, reason: "a WebSocket that ends before it begins", flags: .malformed)
      return false
    }
    s[].flags.insert(.extendedConnect)
    // RFC 8441 section 5: the handshake of HTTP/2 has neither.
    for name in [KnownHeader.secWebSocketKey, .secWebSocketAccept] {
      let index = head.fields.firstIndex(of: name)
      if index >= 0 { drop(head.fields, index) }
    }
    guard !speaksHTTP2 else { return true }
    s[].flags.insert(.wantsUpgrade)
    s[].webSocketKey = WebSocketKey(random.next(), random.next())
    if let place = unsafe text.reserve(WebSocketKey.length) {
      unsafe s[].webSocketKey.write(to: place)
      let key = unsafe Bytes(start: place, count: WebSocketKey.length)
      add(&head.fields, .secWebSocketKey, "sec-websocket-key", key)
    }
    return true
  }

  /// An HTTP/1.1 client's Upgrade to a backend that speaks HTTP/2: an extended CONNECT, a request that goes on. The key
  /// is ours to answer (RFC 8441 section 5). False: it was answered here.
  private mutating func translateUpgrade(_ stream: Int32, _ head: inout RequestHead) -> Bool {
    let s = streams[stream]
    let index = head.fields.firstIndex(of: .secWebSocketKey)
    guard index >= 0, let key = WebSocketKey(head.fields[index].valueBytes),
      head.fields.firstIndex(of: .secWebSocketKey, from: index + 1) < 0
    else {
      counters.add(.malformedRequests)
      reply(
        stream, status: 400, reason: "Sec-WebSocket-Key is not 16 bytes in base64 (RFC 6455 section 4.1)",
        flags: .malformed)
      return false
    }
    s[].webSocketKey = key
    s[].flags.insert(.extendedConnect)
    s[].flags.remove(.requestEnded)
    drop(head.fields, index)
    // It is 0, which would be said of the tunnel.
    let length = head.fields.firstIndex(of: .contentLength)
    if length >= 0 { drop(head.fields, length) }
    head.contentLength = -1
    head.endStream = false
    return true
  }

  /// An HTTP/1.1 backend's 1xx or 2xx to the Upgrade request of an extended CONNECT: 101 becomes 200 (RFC 8441
  /// section 5), every other success would be taken for one.
  /// - Returns: false when the exchange is over.
  mutating func answerExtendedConnect(_ index: Int32, _ stream: Int32, _ head: inout ResponseHead) -> Bool {
    guard head.status == 101, head.upgrade == .webSocket, acceptsKey(stream, head.fields) else {
      counters.add(.malformedResponses)
      cancelUpstream(stream)
      reply(stream, status: 502, reason: "the backend did not switch to WebSocket", flags: .upstreamMalformed)
      return false
    }
    let connection = connections[index]
    connection[].incoming = .untilClose
    connection[].flags.remove(.keepAlive)
    head.status = 200
    head.endStream = false
    head.contentLength = -1
    _ = forwardResponse(stream, &head, body: .empty)
    openStreamTunnel(stream)
    return true
  }

  /// Whether the backend's Sec-WebSocket-Accept answers the key that we sent; takes it out of the table.
  private func acceptsKey(_ stream: Int32, _ fields: HeaderTable) -> Bool {
    let index = fields.firstIndex(of: .secWebSocketAccept)
    guard index >= 0 else { return false }
    let given = fields[index].valueBytes
    drop(fields, index)
    let key = streams[stream][].webSocketKey
    return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: WebSocketKey.acceptLength) { memory in
      // SAFETY: an answer is of that many bytes.
      let accept = unsafe memory.baseAddress.unsafelyUnwrapped
      unsafe key.writeAccept(to: accept)
      return unsafe given.equals(Bytes(start: accept, count: WebSocketKey.acceptLength))
    }
  }

  /// An HTTP/2 backend's success for the extended CONNECT that stands for an HTTP/1.1 client's Upgrade: 101, and the
  /// client's connection is the tunnel's other end.
  /// - Returns: false when the exchange is over.
  mutating func answerUpgrade(_ stream: Int32, _ head: inout ResponseHead) -> Bool {
    let s = streams[stream]
    changeResponse(stream, &head)
    for name in [KnownHeader.contentLength, .secWebSocketAccept] {
      var index = head.fields.firstIndex(of: name)
      while index >= 0 {
        drop(head.fields, index)
        index = head.fields.firstIndex(of: name, from: index + 1)
      }
    }
    if let place = unsafe text.reserve(WebSocketKey.acceptLength) {
      unsafe s[].webSocketKey.writeAccept(to: place)
      let accept = unsafe Bytes(start: place, count: WebSocketKey.acceptLength)
      add(&head.fields, .secWebSocketAccept, "sec-websocket-accept", accept)
    }
    guard writeSwitch(stream, head) else { return false }
    s[].responseBody = .untilClose
    releaseStreamCell(stream)
    let downstream = s[].downstream
    let connection = connections[downstream]
    connection[].incoming = .untilClose
    connection[].flags.remove(.keepAlive)
    connection[].deadline = 0
    openStreamTunnel(stream)
    var early = connection[].stash.take()
    if !early.isEmpty { forwardRequestBody(stream, early.bytes) }
    early.release()
    if !s[].flags.contains(.downstreamPaused) { resumeReading(downstream) }
    if connection[].flags.contains(.peerClosed) { endRequest(stream, trailers: .empty) }
    return true
  }

  /// The backend has agreed, and the client been told: what it has sent meanwhile goes out.
  mutating func openStreamTunnel(_ stream: Int32) {
    let s = streams[stream]
    counters.add(.upgrades)
    counters.add(.upgradesActive)
    s[].flags.insert([.tunnelled, .headSent])
    s[].requestDeadline = 0
    s[].backendDeadline = 0
    sendPendingBody(stream)
  }

  /// The backend will send no more through the tunnel; the client still may.
  /// - Returns: false when this is no tunnel or the client has ended too: the response is whole.
  mutating func endTunnelHalf(_ stream: Int32) -> Bool {
    let s = streams[stream]
    guard s[].flags.contains(.tunnelled), !s[].flags.contains(.requestEnded) else { return false }
    s[].flags.insert(.responseEnded)
    if let session = connections[s[].downstream][].session {
      unsafe session.write(s[].downstreamID, Bytes.empty.start, 0, endStream: true)
      markDirty(s[].downstream)
    } else {
      endSending(s[].downstream)
    }
    return true
  }

  /// Both sides have ended; what the backend is still owed goes out.
  mutating func finishStreamTunnel(_ stream: Int32) {
    let s = streams[stream]
    let index = s[].upstream
    if index >= 0 && !s[].flags.contains(.http2Upstream) {
      connections[index][].stream = -1
      s[].upstream = -1
      counters.subtract(.upstreamRequestsActive)
      closeWhenDrained(index)
    } else if index >= 0 {
      payUpstream(stream)
      s[].upstreamID = 0
    }
    endExchange(stream)
  }
}
