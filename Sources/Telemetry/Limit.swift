/// Everything that is limited: each has a name (`--limit name=value`), a default in `Limits`, and a
/// counter of how often it acted (`CounterBlock.hit`).
@frozen
public enum Limit: UInt8, CaseIterable, Sendable {
  // Connections.
  case maxConnections, maxConnectionsPerWorker, maxConnectionsPerClient, maxHandshakes
  case tlsHandshakeTimeout, tlsTicketKeyInterval, maxKeyUpdates
  case requestHeadTimeout, idleTimeout, requestBodyIdleTimeout, writeStallTimeout
  case udpSessionIdleTimeout, maxUDPSessions
  case tcpIdleTimeout, maxProxyHeaderBytes, maxClientHelloBytes
  // Heads and bodies.
  case maxRequestLineBytes, maxHeadBytes, maxHeaderFields, maxTrailerBytes, maxChunkExtensionBytes
  case maxRequestBodyBytes
  // Buffers.
  case bufferHighWater, bufferLowWater
  // HTTP/2.
  case maxConcurrentStreams, streamWindow, maxStreamWindow, connectionWindow
  case maxStreamResets, maxPings, maxSettings, maxEmptyFrames, maxPriorityFrames, maxWindowUpdates
  case maxContinuationFrames, maxUnknownFrames, maxQueuedControlFrames
  // Backends.
  case upstreamConnectTimeout, upstreamIdleTimeout, maxIdleUpstreamPerEndpoint
  case maxUpstreamPerEndpoint, maxUpstreamStreams, maxUpstreamSessions, maxInterimResponses
  // The process.
  case drainTimeout, maxAdminConnections, maxTurnMicroseconds, maxMemory

  /// Position in a `CounterBlock`.
  @inlinable public var index: Int {
    // SAFETY: an enum without payloads and below 257 cases is one byte that counts the cases from 0.
    Int(unsafe unsafeBitCast(self, to: UInt8.self))
  }

  public static let count = allCases.count

  public enum Unit: Sendable { case count, bytes, milliseconds }

  /// What there is to know of one limit.
  public struct Definition: Sendable {
    /// As written after `--limit`.
    public let name: StaticString
    public let unit: Unit
    /// Values that make sense. Where 0 is one of them it switches the limit off.
    public let range: ClosedRange<Int>
    public let help: StaticString
  }

  public var name: StaticString { definition.name }

  /// Acts in the course of ordinary traffic, so that a line in the log is worth it for debugging only.
  public var isOrdinary: Bool {
    switch self {
    case .idleTimeout, .tlsTicketKeyInterval, .bufferHighWater, .bufferLowWater, .streamWindow, .maxStreamWindow,
      .connectionWindow,
      .upstreamIdleTimeout, .maxIdleUpstreamPerEndpoint, .maxUpstreamStreams, .drainTimeout, .maxTurnMicroseconds:
      true
    default: false
    }
  }
}

extension Limit {
  private static let kibibyte = 1024
  private static let day = 86_400_000

  private static func count(
    _ name: StaticString, _ range: ClosedRange<Int>, _ help: StaticString
  ) -> Definition { Definition(name: name, unit: .count, range: range, help: help) }

  private static func bytes(
    _ name: StaticString, _ range: ClosedRange<Int>, _ help: StaticString
  ) -> Definition { Definition(name: name, unit: .bytes, range: range, help: help) }

  private static func time(
    _ name: StaticString, _ help: StaticString, from least: Int = 0
  ) -> Definition { Definition(name: name, unit: .milliseconds, range: least...(365 * day), help: help) }

  public var definition: Definition {
    switch self {
    case .maxConnections, .maxConnectionsPerWorker, .maxConnectionsPerClient, .maxHandshakes,
      .tlsHandshakeTimeout, .tlsTicketKeyInterval, .maxKeyUpdates, .requestHeadTimeout, .idleTimeout,
      .requestBodyIdleTimeout, .writeStallTimeout:
      connectionDefinition
    case .tcpIdleTimeout, .udpSessionIdleTimeout, .maxUDPSessions, .maxProxyHeaderBytes, .maxClientHelloBytes:
      layer4Definition
    case .maxRequestLineBytes, .maxHeadBytes, .maxHeaderFields, .maxTrailerBytes,
      .maxChunkExtensionBytes, .maxRequestBodyBytes, .bufferHighWater, .bufferLowWater:
      messageDefinition
    case .upstreamConnectTimeout, .upstreamIdleTimeout, .maxIdleUpstreamPerEndpoint,
      .maxUpstreamPerEndpoint, .maxUpstreamStreams, .maxUpstreamSessions, .maxInterimResponses, .drainTimeout,
      .maxAdminConnections, .maxTurnMicroseconds, .maxMemory:
      upstreamDefinition
    default: http2Definition
    }
  }

  private var connectionDefinition: Definition {
    switch self {
    case .maxConnections:
      Self.count(
        "max-connections", 0...10_000_000,
        "client connections of the process; more are closed at once; 0 for what descriptors allow")
    case .maxConnectionsPerWorker:
      Self.count(
        "max-connections-per-worker", 0...10_000_000,
        "client connections of one worker; more are closed at once; 0 for no limit")
    case .maxConnectionsPerClient:
      Self.count(
        "max-connections-per-client", 0...10_000_000,
        "connections of one client address (IPv6: one /64) to one worker; more are closed at once; 0 for no limit")
    case .maxHandshakes:
      Self.count(
        "max-handshakes", 0...10_000_000,
        "unfinished TLS handshakes of one worker; the oldest is closed for one more; 0 for no limit")
    case .tlsHandshakeTimeout: Self.time("tls-handshake-timeout", "from accept to a finished handshake")
    case .tlsTicketKeyInterval:
      Self.time(
        "tls-ticket-key-interval",
        "new keys for TLS tickets, the old ones being good for as long again; 0: no tickets")
    case .maxKeyUpdates:
      Self.count("max-tls-key-updates", 1...1_000_000, "KeyUpdate messages of a TLS 1.3 connection")
    case .requestHeadTimeout:
      Self.time("request-head-timeout", "from the first byte of a request head to its last (slowloris): 408")
    case .idleTimeout:
      Self.time(
        "idle-timeout", "a client connection without a request; never acts on an open stream")
    case .requestBodyIdleTimeout:
      Self.time(
        "request-body-idle-timeout",
        "a request body without a byte (slow body): 408; not for answered requests, in HTTP/2 not for gRPC")
    default:
      Self.time(
        "write-stall-timeout",
        "a client that takes nothing of what waits for it (slow read); a stream of which less than 1 KiB is taken")
    }
  }

  private var layer4Definition: Definition {
    switch self {
    case .tcpIdleTimeout:
      Self.time("tcp-idle-timeout", "a TCP or TLS passthrough connection without a byte either way", from: 1)
    case .udpSessionIdleTimeout:
      Self.time("udp-session-idle-timeout", "a UDP session without a datagram either way", from: 1)
    case .maxUDPSessions:
      Self.count("max-udp-sessions", 1...1_000_000, "UDP sessions of one worker: datagrams of new clients are dropped")
    case .maxProxyHeaderBytes:
      Self.bytes("max-proxy-header-bytes", 232...65_551, "PROXY protocol header of version 2 with its extensions")
    default:
      Self.bytes(
        "max-client-hello-bytes", 512...(64 * Self.kibibyte),
        "records of a ClientHello whose server name decides about passthrough")
    }
  }

  private var messageDefinition: Definition {
    let most = 16 << 20
    return switch self {
    case .maxRequestLineBytes: Self.bytes("max-request-line-bytes", 64...most, "request line: 414")
    case .maxHeadBytes:
      Self.bytes("max-head-bytes", 256...most, "head; in HTTP/2 with 32 bytes for each field: 431")
    case .maxHeaderFields: Self.count("max-header-fields", 1...10_000, "fields of a head: 431")
    case .maxTrailerBytes: Self.bytes("max-trailer-bytes", 0...most, "trailer section of a chunked body")
    case .maxChunkExtensionBytes:
      Self.bytes("max-chunk-extension-bytes", 0...(64 * Self.kibibyte), "extensions of one chunk: 400")
    case .maxRequestBodyBytes:
      Self.bytes("max-request-body-bytes", 0...(1 << 50), "body of a request: 413; 0 for no limit")
    case .bufferHighWater:
      Self.bytes(
        "buffer-high-water", (4 * Self.kibibyte)...(64 << 20),
        "bytes that wait for a slow reader before the other side is no longer read")
    default:
      Self.bytes("buffer-low-water", 0...(64 << 20), "bytes left when the other side is read again")
    }
  }

  private var http2Definition: Definition {
    let frames = 1...1_000_000
    let window = 65_535...Int(Int32.max)
    return switch self {
    case .maxConcurrentStreams:
      Self.count("max-concurrent-streams", 1...100_000, "open streams of one client connection")
    case .streamWindow: Self.bytes("stream-window", window, "flow-control window of a stream")
    case .maxStreamWindow:
      Self.bytes("max-stream-window", window, "what the window of a stream grows to while much comes and is taken")
    case .connectionWindow: Self.bytes("connection-window", window, "flow-control window of a connection")
    case .maxStreamResets:
      Self.count(
        "max-stream-resets", frames,
        "streams that a client resets in ten seconds (rapid reset), a fifth of that by making us reset")
    case .maxPings: Self.count("max-pings", frames, "PING frames of a connection in ten seconds")
    case .maxSettings: Self.count("max-settings", frames, "SETTINGS frames of a connection in ten seconds")
    case .maxEmptyFrames:
      Self.count("max-empty-frames", frames, "DATA frames without content and without END_STREAM in ten seconds")
    case .maxPriorityFrames:
      Self.count("max-priority-frames", frames, "PRIORITY frames of a connection in ten seconds")
    case .maxWindowUpdates:
      Self.count("max-window-updates", frames, "WINDOW_UPDATE frames of a connection in ten seconds")
    case .maxUnknownFrames:
      Self.count(
        "max-unknown-frames", frames, "GOAWAY frames and frames of unknown types of a connection in ten seconds")
    case .maxContinuationFrames:
      Self.count("max-continuation-frames", 1...1000, "CONTINUATION frames of one head")
    default:
      Self.count(
        "max-queued-control-frames", frames, "SETTINGS and PING answers that a client does not read")
    }
  }

  private var upstreamDefinition: Definition {
    switch self {
    case .upstreamConnectTimeout:
      Self.time("upstream-connect-timeout", "connection to an endpoint", from: 1)
    case .upstreamIdleTimeout:
      Self.time("upstream-idle-timeout", "a kept backend connection without a request", from: 1)
    case .maxIdleUpstreamPerEndpoint:
      Self.count(
        "max-idle-upstream-per-endpoint", 0...100_000, "kept connections to an endpoint, of one worker")
    case .maxUpstreamPerEndpoint:
      Self.count(
        "max-upstream-per-endpoint", 0...1_000_000, "connections to an endpoint, of one worker; 0: no limit")
    case .maxUpstreamStreams:
      Self.count("max-upstream-streams", 1...1_000_000, "requests at once on one HTTP/2 backend connection")
    case .maxInterimResponses:
      Self.count("max-interim-responses", 0...10_000, "1xx responses of a backend to one request: 502")
    case .maxUpstreamSessions:
      Self.count(
        "max-upstream-sessions", 0...64, "TLS sessions kept for resumption by an endpoint, of one worker; 0: none")
    case .drainTimeout:
      Self.time("drain-timeout", "from SIGTERM until what is still open is closed")
    case .maxAdminConnections:
      Self.count("max-admin-connections", 1...10_000, "connections of the admin socket and port")
    case .maxTurnMicroseconds:
      Self.count(
        "max-turn-microseconds", 0...1_000_000,
        "after that much of a worker's turn, what is left of a client's input waits for the next; 0 for no limit")
    default:
      Self.bytes(
        "max-memory", 0...(1 << 50),
        "memory of the process, at most 3/4 of what the system gives it; above it nothing new is taken: 503")
    }
  }
}
