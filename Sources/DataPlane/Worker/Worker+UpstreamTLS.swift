import HTTPSemantics
import RoutingTable
import SystemIO
import TLS
import Telemetry

/// TLS with backends: the handshake between `connecting` and the first byte of a request, sessions that spare most
/// of the next one, and what is told when it does not come about.
///
/// Nothing of a request is sent before the backend's certificate was found good: what fails here may be tried at
/// another endpoint, and is 503 (gRPC status 14) where there is none, as a refused connection is.
extension Worker where Engine: ~Copyable {
  /// The TLS side of a connection that is about to be opened for the stream; nil: the stream was answered.
  mutating func makeUpstreamTLS(_ stream: Int32, _ security: BackendSecurity) -> TLSConnection? {
    let s = streams[stream]
    guard case .tls(let client, let serverName) = security else {
      counters.add(.upstreamTLSOther)
      giveUp(stream, status: 503, reason: "the backend's TLS settings cannot be used", flags: .upstreamTLS)
      return nil
    }
    let alpn: ALPN =
      s[].flags.contains(.layer4) ? .none : s[].flags.contains(.http2Upstream) ? .h2 : .http1
    guard let tls = TLSConnection.connect(client, serverName: serverName, alpn: alpn) else {
      counters.add(.upstreamTLSOther)
      giveUp(stream, status: 503, reason: "no memory for TLS with the backend", flags: .upstreamTLS)
      return nil
    }
    if let session = sessions.take(endpoint: s[].endpoint) {
      tls.resume(session)
      session.destroy()
    }
    return tls
  }

  /// The socket stands; the time for the connection goes on to run.
  mutating func beginUpstreamTLS(_ index: Int32) {
    connections[index][].phase = .handshaking
    // Nothing has come, but the first look makes the ClientHello.
    receivedCiphertext(index, .empty)
  }

  /// The handshake is done and the backend is who it should be.
  mutating func upstreamSecured(_ index: Int32, _ tls: TLSConnection) {
    let connection = connections[index]
    counters.add(tls.isResumed ? .upstreamTLSResumptions : .upstreamTLSHandshakes)
    if connection[].flags.contains(.speaksHTTP2) && tls.negotiated != .h2 {
      // RFC 9113 section 3.3: over TLS, HTTP/2 has to be agreed on.
      connection[].tlsFault = .nothingInCommon
      counters.add(.upstreamTLSNothingInCommon)
      logUpstreamTLS(index, "it did not agree to HTTP/2 (ALPN h2)")
      upstreamFailed(index, error: 71)
      return
    }
    upstreamReady(index)
  }

  /// The connection is lost, during the handshake or later. A backend that does not take our certificate says so in
  /// TLS 1.3 when our side has finished and the request may be on its way.
  mutating func upstreamTLSFailed(_ index: Int32, _ failure: TLSFailure) {
    let connection = connections[index]
    let isHandshake = connection[].phase == .handshaking
    let cause = failure.cause
    if isHandshake || cause == .refusedOurs && !connection[].flags.contains(.readAnything) {
      connection[].tlsFault = cause
      counters.add(cause.counter)
      logUpstreamTLS(index, failure.description)
    }
    failed(index, error: 71)
  }

  /// The socket ended in the middle of the handshake, and nothing was said about why.
  mutating func noteHandshakeEnded(_ index: Int32, error: Int32) {
    let connection = connections[index]
    // Time that ran out is told as such.
    guard connection[].tlsFault == nil, error != 110 else { return }
    connection[].tlsFault = .other
    counters.add(.upstreamTLSOther)
    logUpstreamTLS(index, "it ended the connection during the TLS handshake")
  }

  /// Answers for a backend with which no TLS came about.
  mutating func replyUpstreamTLS(_ stream: Int32, _ cause: TLSFailure.Cause) {
    let reason: StaticString =
      switch cause {
      case .expired: "the backend's certificate has expired"
      case .notYetValid: "the backend's certificate is not valid yet"
      case .revoked: "the backend's certificate was revoked"
      case .wrongName: "the backend's certificate is for another name"
      case .unknownAuthority: "the backend's certificate is of an unknown authority"
      case .badCertificate: "the backend's certificate is not good"
      case .refusedOurs: "the backend refused our certificate"
      case .nothingInCommon: "the backend speaks no protocol over TLS that this proxy does"
      case .unrecognizedName: "the backend does not know the TLS server name"
      case .notTLS: "the backend does not speak TLS"
      case .other: "TLS with the backend failed"
      }
    giveUp(stream, status: 503, reason: reason, flags: [.upstreamConnectFailure, .upstreamTLS])
  }

  // MARK: The end

  /// Ends a connection that carries nothing; over TLS it is told (RFC 8446 section 6.1).
  mutating func closeIdle(_ index: Int32) {
    if connections[index][].tls == nil { closeConnection(index) } else { closeWhenDrained(index) }
  }

  /// Ends a connection whose exchange is over. An alert or a close_notify goes out first; an exchange that was broken
  /// off must not look whole.
  mutating func closeUpstream(_ index: Int32) {
    let connection = connections[index]
    let isWhole = connection[].phase == .http1 && connection[].incoming == .done
    if connection[].tls != nil && (isWhole || connection[].tlsFault != nil) {
      closeWhenDrained(index)
    } else {
      closeConnection(index)
    }
  }

  /// Keeps what the backend gave us to begin the next handshake with, once a connection.
  mutating func keepUpstreamSession(_ index: Int32) {
    let connection = connections[index]
    guard let tls = connection[].tls, connection[].endpoint >= 0, !connection[].flags.contains(.reused) else {
      return
    }
    if let session = tls.takeSession() { sessions.put(session, endpoint: connection[].endpoint) }
  }

  /// Sessions with endpoints that the newest configuration does not name.
  mutating func forgetSessions(of previous: ConfigurationView) {
    guard sessions.count > 0 else { return }
    let view = cells[currentCell][].view
    var endpoint: Int32 = 0
    while endpoint < previous.endpointSlotCount {
      if !view.isCurrent(endpoint: endpoint) { sessions.removeAll(endpoint: endpoint) }
      endpoint += 1
    }
  }

  // MARK: The log

  /// One line a second, of the first that failed: a backend whose certificate has expired fails every time. The
  /// counters have them all.
  @inline(never)
  private mutating func logUpstreamTLS(_ index: Int32, _ reason: String) {
    guard nowMilliseconds >= nextUpstreamTLSLine else { return }
    nextUpstreamTLSLine = nowMilliseconds + 1000
    let connection = connections[index]
    let stream = connection[].flags.contains(.speaksHTTP2) ? connection[].firstStream : connection[].stream
    var backend = ""
    if stream >= 0, streams[stream][].cell >= 0, streams[stream][].backend >= 0 {
      let image = cells[streams[stream][].cell][].view.image
      backend = String(decoding: image.backend(Int(streams[stream][].backend)).id)
    }
    log.warning("backend \(backend), endpoint \(connection[].peer): \(reason)")
  }
}

extension TLSFailure.Cause {
  fileprivate var counter: Counter {
    switch self {
    case .expired: .upstreamTLSExpired
    case .wrongName, .unrecognizedName: .upstreamTLSWrongName
    case .unknownAuthority: .upstreamTLSUnknownAuthority
    case .notYetValid, .revoked, .badCertificate: .upstreamTLSBadCertificate
    case .refusedOurs: .upstreamTLSRefusedOurs
    case .nothingInCommon: .upstreamTLSNothingInCommon
    case .notTLS, .other: .upstreamTLSOther
    }
  }
}
