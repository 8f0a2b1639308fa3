import HTTP1
import HTTP2
import HTTPSemantics
import SystemIO
import Telemetry

/// WebSockets of HTTP/2 clients (RFC 8441): an extended CONNECT, carried to the backend as an HTTP/1.1 Upgrade or as an
/// extended CONNECT of our own.
///
/// To both sides it is a request whose body and response body are the tunnel: DATA is framed by nothing on an
/// HTTP/1.1 connection, the client's END_STREAM is its half-close, and flow control is that of any body. What the
/// client sends before the backend has agreed waits, with its window.
extension Worker where Engine: ~Copyable {
  /// What a request that wants to change protocols is to the backend. False: it was answered here.
  mutating func askUpgrade(_ stream: Int32, _ head: inout RequestHead) -> Bool {
    let s = streams[stream]
    let speaksHTTP2 = s[].flags.contains(.http2Upstream)
    guard s[].flags.contains(.downstreamHTTP2) else {
      if head.upgrade == .webSocket && !speaksHTTP2 { s[].flags.insert(.wantsUpgrade) }
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
    s[].upgradeSeed = random.next()
    if let place = unsafe text.reserve(WebSocketHandshake.keyLength) {
      unsafe writeKey(stream, to: place)
      let key = unsafe Bytes(start: place, count: WebSocketHandshake.keyLength)
      add(&head.fields, .secWebSocketKey, "sec-websocket-key", key)
    }
    return true
  }

  private func writeKey(_ stream: Int32, to place: UnsafeMutablePointer<UInt8>) {
    var numbers = RandomSource(seed: streams[stream][].upgradeSeed)
    unsafe WebSocketHandshake.writeKey(numbers.next(), numbers.next(), to: place)
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
    let length = WebSocketHandshake.keyLength
    return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { memory in
      // SAFETY: a key and its answer are 52 bytes.
      let key = unsafe memory.baseAddress.unsafelyUnwrapped
      let accept = unsafe key + length
      unsafe writeKey(stream, to: key)
      unsafe WebSocketHandshake.writeAccept(Bytes(start: key, count: length), to: accept)
      return unsafe given.equals(Bytes(start: accept, count: WebSocketHandshake.acceptLength))
    }
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
