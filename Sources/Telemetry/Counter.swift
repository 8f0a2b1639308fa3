/// What one worker counts. The order is the layout of `CounterBlock`; add at the end of a group freely.
@frozen
public enum Counter: UInt8, CaseIterable, Sendable {
  // Client connections.
  case downstreamConnections, downstreamConnectionsActive, downstreamConnectionsHandedOver
  case acceptFailures
  case tlsHandshakes, tlsHandshakeFailures, tlsResumptions, tlsRenegotiations, tlsClientsRefused
  case downstreamBytesReceived, downstreamBytesSent
  // Below HTTP.
  case tcpConnections, tcpConnectionsActive
  case udpSessions, udpSessionsActive, udpDatagramsReceived, udpDatagramsSent, udpDatagramsDropped
  case proxyHeaders, proxyHeadersRefused, proxyPeersRefused, serverNamesUnknown
  // Requests and responses.
  case requestsHTTP1, requestsHTTP2, requestsGRPC, requestsGRPCWeb, requestsActive
  case upgrades, upgradesActive
  case responses1xx, responses2xx, responses3xx, responses4xx, responses5xx
  case responsesLocal
  case malformedRequests
  case downstreamAborts
  // HTTP/2 with clients.
  case http2StreamsActive, http2ResetsReceived, http2ResetsSent, http2GoAwaysSent, http2ProtocolErrors
  // Routing.
  case noListener, noHost, noRoute, noBackend, noEndpoint
  // Backends.
  case upstreamConnections, upstreamConnectionsActive, upstreamConnectFailures, upstreamLeases
  case upstreamRequests, upstreamRequestsActive, upstreamResets, upstreamRetries
  case upstreamGoAwaysReceived
  case upstreamTLSHandshakes, upstreamTLSResumptions
  case upstreamTLSExpired, upstreamTLSWrongName, upstreamTLSUnknownAuthority, upstreamTLSBadCertificate
  case upstreamTLSRefusedOurs, upstreamTLSNothingInCommon, upstreamTLSOther, upstreamTLSTruncations
  case malformedResponses
  case upstreamBytesReceived, upstreamBytesSent
  case requestTimeouts, backendTimeouts
  // The worker itself.
  case configurationsAdopted, loopTurns
  case accessLogLines, accessLogLinesDropped

  /// Position in a `CounterBlock`: cases are numbered in the order of their declaration.
  @inlinable public var index: Int {
    // SAFETY: an enum without payloads and below 257 cases is one byte that counts the cases from 0.
    Int(unsafe unsafeBitCast(self, to: UInt8.self))
  }

  public static let count = allCases.count

  /// Prometheus' two kinds of a plain number.
  public enum Kind: Sendable { case counter, gauge }

  /// Family name without labels, the label pairs (may be empty), help and kind.
  public struct Description: Sendable {
    public let family: StaticString
    public let labels: StaticString
    public let help: StaticString
    public let kind: Kind
  }
}

extension Counter {
  private static func total(
    _ family: StaticString, _ labels: StaticString, _ help: StaticString
  ) -> Description { Description(family: family, labels: labels, help: help, kind: .counter) }

  private static func gauge(
    _ family: StaticString, _ labels: StaticString, _ help: StaticString
  ) -> Description { Description(family: family, labels: labels, help: help, kind: .gauge) }

  /// How `/metrics` shows this counter. Cases of one family differ in their labels.
  public var description: Description {
    switch self {
    case .downstreamConnections, .downstreamConnectionsActive, .downstreamConnectionsHandedOver,
      .acceptFailures, .tlsHandshakes, .tlsHandshakeFailures, .tlsResumptions, .tlsRenegotiations,
      .tlsClientsRefused, .downstreamBytesReceived, .downstreamBytesSent:
      connectionDescription
    case .udpSessions, .udpSessionsActive, .udpDatagramsReceived, .udpDatagramsSent, .udpDatagramsDropped:
      datagramDescription
    case .tcpConnections, .tcpConnectionsActive, .proxyHeaders, .proxyHeadersRefused, .proxyPeersRefused,
      .serverNamesUnknown:
      layer4Description
    case .noListener, .noHost, .noRoute, .noBackend, .noEndpoint:
      routingDescription
    case .upstreamConnections, .upstreamConnectionsActive, .upstreamConnectFailures, .upstreamLeases,
      .upstreamRequests, .upstreamRequestsActive, .upstreamResets, .upstreamRetries,
      .upstreamGoAwaysReceived, .malformedResponses, .upstreamBytesReceived, .upstreamBytesSent,
      .requestTimeouts, .backendTimeouts:
      upstreamDescription
    case .upstreamTLSHandshakes, .upstreamTLSResumptions, .upstreamTLSExpired, .upstreamTLSWrongName,
      .upstreamTLSUnknownAuthority, .upstreamTLSBadCertificate, .upstreamTLSRefusedOurs,
      .upstreamTLSNothingInCommon, .upstreamTLSOther, .upstreamTLSTruncations:
      upstreamTLSDescription
    case .http2StreamsActive, .http2ResetsReceived, .http2ResetsSent, .http2GoAwaysSent,
      .http2ProtocolErrors:
      http2Description
    case .configurationsAdopted, .loopTurns, .accessLogLines, .accessLogLinesDropped:
      workerDescription
    default:
      requestDescription
    }
  }

  private var connectionDescription: Description {
    let bytes: StaticString = "Bytes on client connections, as seen on the socket."
    switch self {
    case .downstreamConnections:
      return Self.total("sluice_downstream_connections_total", "", "Client connections accepted.")
    case .downstreamConnectionsActive:
      return Self.gauge("sluice_downstream_connections_active", "", "Client connections that are open.")
    case .downstreamConnectionsHandedOver:
      return Self.total(
        "sluice_downstream_connections_handed_over_total", "",
        "Client connections that came through the admin socket.")
    case .acceptFailures:
      return Self.total("sluice_accept_failures_total", "", "Failures to accept a connection.")
    case .tlsHandshakes:
      return Self.total("sluice_tls_handshakes_total", "result=\"ok\"", "TLS handshakes with clients.")
    case .tlsHandshakeFailures:
      return Self.total("sluice_tls_handshakes_total", "result=\"failed\"", "TLS handshakes with clients.")
    case .tlsResumptions:
      return Self.total(
        "sluice_tls_resumptions_total", "", "TLS handshakes with clients that a ticket spared (among all).")
    case .tlsRenegotiations:
      return Self.total(
        "sluice_tls_renegotiations_refused_total", "", "Client connections ended because they asked to renegotiate.")
    case .tlsClientsRefused:
      return Self.total(
        "sluice_tls_clients_refused_total", "",
        "TLS handshakes refused for want of a good client certificate (among those that failed).")
    case .downstreamBytesReceived:
      return Self.total("sluice_downstream_bytes_total", "direction=\"received\"", bytes)
    default:
      return Self.total("sluice_downstream_bytes_total", "direction=\"sent\"", bytes)
    }
  }

  private var datagramDescription: Description {
    let datagrams: StaticString = "UDP datagrams, by what became of them."
    switch self {
    case .udpSessions: return Self.total("sluice_udp_sessions_total", "", "UDP sessions opened.")
    case .udpSessionsActive: return Self.gauge("sluice_udp_sessions_active", "", "UDP sessions that are open.")
    case .udpDatagramsReceived:
      return Self.total("sluice_udp_datagrams_total", "direction=\"from_clients\"", datagrams)
    case .udpDatagramsSent:
      return Self.total("sluice_udp_datagrams_total", "direction=\"to_clients\"", datagrams)
    default: return Self.total("sluice_udp_datagrams_total", "direction=\"dropped\"", datagrams)
    }
  }

  private var layer4Description: Description {
    let headers: StaticString = "Connections on sockets with the PROXY protocol, by what became of them."
    switch self {
    case .tcpConnections:
      return Self.total(
        "sluice_tcp_connections_total", "", "Client connections carried as bytes (TCP, TLS passthrough).")
    case .tcpConnectionsActive:
      return Self.gauge("sluice_tcp_connections_active", "", "Client connections that are carried as bytes now.")
    case .proxyHeaders: return Self.total("sluice_proxy_headers_total", "result=\"accepted\"", headers)
    case .proxyHeadersRefused: return Self.total("sluice_proxy_headers_total", "result=\"malformed\"", headers)
    case .proxyPeersRefused: return Self.total("sluice_proxy_headers_total", "result=\"untrusted\"", headers)
    default:
      return Self.total(
        "sluice_server_names_unknown_total", "", "TLS connections refused because nobody serves their server name.")
    }
  }

  private var requestDescription: Description {
    let requests: StaticString = "Requests by the protocol that the client spoke."
    let responses: StaticString = "Response heads sent to clients, by class of status."
    switch self {
    case .requestsHTTP1: return Self.total("sluice_requests_total", "protocol=\"http1\"", requests)
    case .requestsHTTP2: return Self.total("sluice_requests_total", "protocol=\"http2\"", requests)
    case .requestsGRPC:
      return Self.total("sluice_grpc_requests_total", "", "Requests that are gRPC (among all requests).")
    case .requestsGRPCWeb:
      return Self.total("sluice_grpc_web_requests_total", "", "gRPC-Web requests translated to gRPC.")
    case .requestsActive:
      return Self.gauge("sluice_requests_active", "", "Requests that are not finished.")
    case .upgrades:
      return Self.total("sluice_upgrades_total", "", "Connections switched to another protocol (WebSocket).")
    case .upgradesActive:
      return Self.gauge("sluice_upgrades_active", "", "Connections that carry another protocol now.")
    case .responses1xx: return Self.total("sluice_responses_total", "class=\"1xx\"", responses)
    case .responses2xx: return Self.total("sluice_responses_total", "class=\"2xx\"", responses)
    case .responses3xx: return Self.total("sluice_responses_total", "class=\"3xx\"", responses)
    case .responses4xx: return Self.total("sluice_responses_total", "class=\"4xx\"", responses)
    case .responses5xx: return Self.total("sluice_responses_total", "class=\"5xx\"", responses)
    case .responsesLocal:
      return Self.total("sluice_responses_local_total", "", "Responses that no backend made.")
    case .malformedRequests:
      return Self.total("sluice_malformed_requests_total", "", "Requests refused because of their form.")
    default:
      return Self.total(
        "sluice_downstream_aborts_total", "", "Requests that the client gave up before their end.")
    }
  }

  private var http2Description: Description {
    let resets: StaticString = "RST_STREAM frames on client connections."
    switch self {
    case .http2StreamsActive:
      return Self.gauge("sluice_http2_streams_active", "", "Open HTTP/2 streams of clients.")
    case .http2ResetsReceived:
      return Self.total("sluice_http2_resets_total", "direction=\"received\"", resets)
    case .http2ResetsSent: return Self.total("sluice_http2_resets_total", "direction=\"sent\"", resets)
    case .http2GoAwaysSent:
      return Self.total("sluice_http2_goaways_sent_total", "", "GOAWAY frames sent to clients.")
    default:
      return Self.total(
        "sluice_http2_protocol_errors_total", "", "Client connections ended by an HTTP/2 error.")
    }
  }

  private var routingDescription: Description {
    let help: StaticString = "Requests that did not reach a backend, by what was missing."
    switch self {
    case .noListener: return Self.total("sluice_unrouted_requests_total", "missing=\"listener\"", help)
    case .noHost: return Self.total("sluice_unrouted_requests_total", "missing=\"host\"", help)
    case .noRoute: return Self.total("sluice_unrouted_requests_total", "missing=\"route\"", help)
    case .noBackend: return Self.total("sluice_unrouted_requests_total", "missing=\"backend\"", help)
    default: return Self.total("sluice_unrouted_requests_total", "missing=\"endpoint\"", help)
    }
  }

  private var upstreamDescription: Description {
    let bytes: StaticString = "Bytes on backend connections, as seen on the socket."
    let timeouts: StaticString = "Timeouts of rules that ran out."
    switch self {
    case .upstreamConnections:
      return Self.total("sluice_upstream_connections_total", "", "Connections opened to backends.")
    case .upstreamConnectionsActive:
      return Self.gauge("sluice_upstream_connections_active", "", "Open connections to backends.")
    case .upstreamConnectFailures:
      return Self.total("sluice_upstream_connect_failures_total", "", "Connections that backends refused.")
    case .upstreamLeases:
      return Self.total("sluice_upstream_reuses_total", "", "Requests sent on a connection kept from before.")
    case .upstreamRequests:
      return Self.total("sluice_upstream_requests_total", "", "Requests sent to backends.")
    case .upstreamRequestsActive:
      return Self.gauge("sluice_upstream_requests_active", "", "Requests that a backend works on.")
    case .upstreamResets:
      return Self.total("sluice_upstream_resets_total", "", "Requests that a backend broke off.")
    case .upstreamRetries:
      return Self.total("sluice_upstream_retries_total", "", "Requests sent once more.")
    case .upstreamGoAwaysReceived:
      return Self.total("sluice_upstream_goaways_total", "", "GOAWAY frames from backends.")
    case .malformedResponses:
      return Self.total("sluice_malformed_responses_total", "", "Responses refused because of their form.")
    case .upstreamBytesReceived:
      return Self.total("sluice_upstream_bytes_total", "direction=\"received\"", bytes)
    case .upstreamBytesSent:
      return Self.total("sluice_upstream_bytes_total", "direction=\"sent\"", bytes)
    case .requestTimeouts:
      return Self.total("sluice_rule_timeouts_total", "timeout=\"request\"", timeouts)
    default:
      return Self.total("sluice_rule_timeouts_total", "timeout=\"backend\"", timeouts)
    }
  }

  private var upstreamTLSDescription: Description {
    let done: StaticString = "TLS handshakes with backends."
    let failed: StaticString = "TLS connections to backends that did not come about, by what was wrong."
    let family: StaticString = "sluice_upstream_tls_failures_total"
    switch self {
    case .upstreamTLSHandshakes:
      return Self.total("sluice_upstream_tls_handshakes_total", "resumed=\"no\"", done)
    case .upstreamTLSResumptions:
      return Self.total("sluice_upstream_tls_handshakes_total", "resumed=\"yes\"", done)
    case .upstreamTLSExpired: return Self.total(family, "reason=\"expired\"", failed)
    case .upstreamTLSWrongName: return Self.total(family, "reason=\"wrong_name\"", failed)
    case .upstreamTLSUnknownAuthority: return Self.total(family, "reason=\"unknown_authority\"", failed)
    case .upstreamTLSBadCertificate: return Self.total(family, "reason=\"bad_certificate\"", failed)
    case .upstreamTLSRefusedOurs: return Self.total(family, "reason=\"refused_ours\"", failed)
    case .upstreamTLSNothingInCommon: return Self.total(family, "reason=\"nothing_in_common\"", failed)
    case .upstreamTLSOther: return Self.total(family, "reason=\"other\"", failed)
    default:
      return Self.total(
        "sluice_upstream_tls_truncations_total", "",
        "Responses that only the end of the connection ends, and whose connection ended without close_notify.")
    }
  }

  private var workerDescription: Description {
    let lines: StaticString = "Access-log lines."
    switch self {
    case .configurationsAdopted:
      return Self.total("sluice_configurations_adopted_total", "", "Configurations a worker changed to.")
    case .loopTurns: return Self.total("sluice_loop_turns_total", "", "Turns of a worker's loop.")
    case .accessLogLines: return Self.total("sluice_access_log_lines_total", "result=\"written\"", lines)
    default: return Self.total("sluice_access_log_lines_total", "result=\"dropped\"", lines)
    }
  }
}
