import HTTP2
import HTTPSemantics
import SystemIO
import TLS
import Telemetry

/// Bytes from a socket on their way to the protocol that reads them.
extension Worker where Engine: ~Copyable {
  /// Whether the connection is still the one that `handle` named.
  @inline(__always)
  func isAlive(_ index: Int32, _ handle: Socket) -> Bool {
    let connection = connections[index]
    return connection[].role != .free && connection[].handle == handle
  }

  @inline(__always)
  mutating func received(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    if connection[].role == .downstream {
      counters.add(.downstreamBytesReceived, bytes.count)
    } else {
      counters.add(.upstreamBytesReceived, bytes.count)
    }
    plainOrSecure(index, bytes)
  }

  @inline(__always)
  mutating func plainOrSecure(_ index: Int32, _ bytes: Bytes) {
    if connections[index][].tls != nil {
      receivedCiphertext(index, bytes)
    } else {
      input(index, bytes)
    }
  }

  /// Plain bytes: what the peer said, without TLS.
  @inline(__always)
  private mutating func input(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    switch connection[].phase {
    case .http1:
      if connection[].role == .downstream {
        requestBytes(index, bytes)
      } else {
        responseBytes(index, bytes)
      }
    case .http2: sessionBytes(index, bytes)
    case .tunnel: tunnelBytes(index, bytes)
    case .detecting: detect(index, bytes)
    case .proxyHeader: proxyHeaderBytes(index, bytes)
    case .clientHello: clientHelloBytes(index, bytes)
    case .handshaking, .connecting: break
    }
  }

  @inline(never)
  mutating func receivedCiphertext(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    if connection[].phase == .handshaking, connection[].role == .downstream {
      let isBehind = connection[].flags.contains(.waitsForTurn)
      if isBehind || timeIsUp() {
        _ = connection[].stash.append(bytes, limit: .max)
        if !isBehind { waitForTurn(index) }
        return
      }
    }
    readCiphertext(index, bytes)
  }

  mutating func readHandshakeOn(_ index: Int32) {
    var stashed = connections[index][].stash.take()
    resumeReading(index)
    readCiphertext(index, stashed.bytes)
    stashed.release()
  }

  private mutating func readCiphertext(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    let handle = connection[].handle
    guard let tls = connection[].tls else { return }
    unsafe tls.feed(bytes.start, bytes.count)
    while true {
      let result = unsafe tls.read(into: plaintext.base, capacity: plaintext.capacity)
      let hasAlert = tls.pendingOutput > 0
      sendCiphertext(index)
      guard isAlive(index, handle) else { return }
      if connection[].phase == .handshaking && tls.isHandshakeDone { handshakeDone(index, tls) }
      guard isAlive(index, handle) else { return }
      switch result {
      case .bytes(let count):
        input(index, unsafe Bytes(start: plaintext.base, count: count))
        guard isAlive(index, handle) else { return }
      case .needMore:
        return
      case .closed:
        peerEnded(index)
        return
      case .failed(let failure):
        tlsFailed(index, failure, hasAlert: hasAlert)
        return
      }
    }
  }

  private mutating func tlsFailed(_ index: Int32, _ failure: TLSFailure, hasAlert: Bool) {
    let connection = connections[index]
    guard connection[].role == .downstream else {
      upstreamTLSFailed(index, failure)
      return
    }
    if connection[].phase == .handshaking { counters.add(.tlsHandshakeFailures) }
    switch failure.kind {
    case .certificate: counters.add(.tlsClientsRefused)
    case .renegotiation: counters.add(.tlsRenegotiations)
    case .keyUpdates: hit(.maxKeyUpdates, index)
    case .handshake, .record, .local: break
    }
    if hasAlert && connection[].phase != .tunnel {
      // The alert is to arrive.
      clientGone(index)
      closeWhenDrained(index)
    } else {
      failed(index, error: 71)
    }
  }

  private mutating func handshakeDone(_ index: Int32, _ tls: TLSConnection) {
    let connection = connections[index]
    if connection[].role == .upstream {
      upstreamSecured(index, tls)
      return
    }
    counters.add(.tlsHandshakes)
    if !tls.clientIdentity.isEmpty { connection[].flags.insert(.isIdentified) }
    if tls.isResumed {
      counters.add(.tlsResumptions)
    } else if tls.hasForeignTicket {
      counters.hit(.tlsTicketKeyInterval)
    }
    leaveHandshakes(index)
    if beginsTCP(index, tls) { return }
    if tls.negotiated == .h2 {
      startHTTP2Server(index)
    } else {
      connection[].phase = .http1
      arm(index, at: nowMilliseconds + UInt64(limits.requestHeadTimeout))
    }
  }

  /// Whether the client asked for a name under which bytes are served.
  private mutating func beginsTCP(_ index: Int32, _ tls: TLSConnection) -> Bool {
    guard let socket = currentSocket(slot: connections[index][].socketSlot) else { return false }
    let view = cells[currentCell][].view
    guard view.traits(socket: socket).servesDecryptedBytes,
      let rule = view.image.bytesRule(socket: socket, serverName: tls.serverName)
    else { return false }
    beginTCP(index, rule: rule, isPassthrough: false, serverName: tls.serverName, early: .empty)
    return true
  }

  /// Clear text may be HTTP/1 or HTTP/2 with prior knowledge (RFC 9113 section 3.3): the preface tells.
  @inline(never)
  private mutating func detect(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    let preface = Bytes("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    var all = bytes
    var stashed = connection[].stash.take()
    defer { stashed.release() }
    if !stashed.isEmpty {
      _ = stashed.append(bytes, limit: limits.maxHeadBytes + bytes.count)
      all = stashed.bytes
    }
    let compared = min(all.count, preface.count)
    if !preface.slice(0, compared).equals(all.slice(0, compared)) {
      connection[].phase = .http1
      requestBytes(index, all)
    } else if compared == preface.count {
      startHTTP2Server(index)
      sessionBytes(index, all)
    } else {
      _ = connection[].stash.append(all, limit: preface.count)
    }
  }

  private mutating func startHTTP2Server(_ index: Int32) {
    let connection = connections[index]
    guard let session = HTTP2Session.server(inbox) else {
      closeConnection(index)
      return
    }
    connection[].session = session
    connection[].phase = .http2
    if connection[].flags.contains(.draining) { session.goAway(graceful: true) }
    // Until the client's SETTINGS have come.
    connection[].flags.insert(.headTimerRuns)
    arm(index, at: nowMilliseconds + UInt64(limits.requestHeadTimeout))
    markDirty(index)
  }

  /// The socket's end. A TLS backend that did not say close_notify before it may not have meant it: a response
  /// that ends with the connection may have been cut short (RFC 9112 section 9.8).
  mutating func socketEnded(_ index: Int32) {
    let connection = connections[index]
    if connection[].role == .upstream, connection[].tls != nil, !connection[].flags.contains(.peerClosed) {
      if connection[].phase == .http1, connection[].stream >= 0, connection[].incoming == .untilClose {
        counters.add(.upstreamTLSTruncations)
      }
      failed(index, error: 104)
    } else {
      peerEnded(index)
    }
  }

  /// The peer will send no more (FIN or close_notify).
  mutating func peerEnded(_ index: Int32) {
    let connection = connections[index]
    guard !connection[].flags.contains(.peerClosed) else { return }
    connection[].flags.insert(.peerClosed)
    switch connection[].role {
    case .downstream: clientEnded(index)
    case .upstream: upstreamEnded(index)
    case .free, .listener, .datagramListener, .datagramSession: break
    }
  }

  mutating func clientEnded(_ index: Int32) {
    let connection = connections[index]
    switch connection[].phase {
    case .tunnel: tunnelEnded(index)
    case .http1 where connection[].flags.contains(.waitsForTurn):
      // What it sent before its end comes first: see `readRequestsOn`.
      break
    case .http1 where connection[].stream >= 0 && connection[].incoming == .done:
      // Half-closed after a whole request: the client still wants its answer (RFC 9112 section 9.6).
      if connection[].stash.isEmpty { connection[].flags.remove(.keepAlive) }
    case .http1 where connection[].stream >= 0 && connection[].incoming == .untilClose:
      // Its half of a tunnel.
      endRequest(connection[].stream, trailers: .empty)
    case .http1
    where connection[].stream < 0 && !connection[].flags.isDisjoint(with: [.replay, .waitsForRoom]):
      // Requests that came before are still to be read: see `replayStashes`.
      break
    case .http1 where connection[].stream >= 0:
      failed(index, error: 104)
    default:
      clientGone(index)
      closeConnection(index)
    }
  }

  /// Nothing can be sent any more, but bytes that we have not read yet wait in the kernel: what a backend has
  /// answered before it reset still goes to the client; `failed` follows. A client that takes nothing is gone.
  mutating func sendFailed(_ index: Int32, error: Int32) {
    let connection = connections[index]
    if connection[].role == .upstream && connection[].phase != .tunnel { return }
    failed(index, error: error)
  }

  /// The socket is of no more use, in either direction.
  mutating func failed(_ index: Int32, error: Int32) {
    let connection = connections[index]
    switch connection[].role {
    case .downstream:
      if connection[].phase == .tunnel {
        tunnelFailed(index)
      } else {
        clientGone(index)
        closeConnection(index)
      }
    case .upstream:
      if connection[].phase == .tunnel {
        tunnelFailed(index)
      } else {
        upstreamFailed(index, error: error)
      }
    case .listener:
      counters.add(.acceptFailures)
    case .free, .datagramListener, .datagramSession:
      break
    }
  }

  /// Everything that was sent is out: who waited for room may go on.
  mutating func drained(_ index: Int32) {
    let connection = connections[index]
    switch connection[].phase {
    case .http2: markDirty(index)
    case .tunnel: tunnelDrained(index)
    case .handshaking: break
    default:
      let stream = connection[].stream
      guard stream >= 0 else {
        if connection[].flags.contains(.waitsForRoom) {
          connection[].flags.remove(.waitsForRoom)
          nextHTTP1Request(index)
        }
        return
      }
      if connection[].role == .downstream {
        resumeUpstream(stream)
      } else {
        resumeDownstream(stream)
      }
    }
  }
}
