/// Error codes of RST_STREAM and GOAWAY (RFC 9113 section 7).
public enum HTTP2ErrorCode {
  public static var noError: UInt32 { 0 }
  public static var protocolError: UInt32 { 1 }
  public static var internalError: UInt32 { 2 }
  public static var flowControlError: UInt32 { 3 }
  public static var streamClosed: UInt32 { 5 }
  public static var frameSizeError: UInt32 { 6 }
  public static var refusedStream: UInt32 { 7 }
  public static var cancel: UInt32 { 8 }
  public static var compressionError: UInt32 { 9 }
  public static var connectError: UInt32 { 10 }
  public static var enhanceYourCalm: UInt32 { 11 }
  public static var http11Required: UInt32 { 13 }
}

/// How many frames of one kind a peer may send: a bucket of `burst` tokens that gets `perSecond` tokens back.
public struct HTTP2Rate: Sendable {
  public var burst: UInt32
  public var perSecond: UInt32

  public init(burst: UInt32, perSecond: UInt32) {
    self.burst = burst
    self.perSecond = perSecond
  }
}

/// What one session may cost. Sizes are bytes.
public struct HTTP2Limits: Sendable {
  /// Streams that the peer may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS). On a client session: the
  /// most that we open, and what we take for granted until the peer's SETTINGS say something else.
  public var maxConcurrentStreams: UInt32 = 100
  /// Bytes of one stream that may be on their way to us without being consumed
  /// (SETTINGS_INITIAL_WINDOW_SIZE).
  public var streamWindow: UInt32 = 65_536
  /// What the window of a stream grows to, by doubling, while four windows of it were given back.
  public var maxStreamWindow: UInt32 = 262_144
  /// The same for all streams of the connection together.
  public var connectionWindow: UInt32 = 1 << 20
  /// Size of one header block: name, value and 32 for each field (RFC 9113 section 10.5.1).
  public var maxHeaderBytes: UInt32 = 60 * 1024
  /// Fields of one header block; each cookie crumb counts.
  public var maxHeaderFields: UInt32 = 100
  /// A stream's outbound queue that falls below this makes a `writable` event.
  public var lowWater: UInt32 = 16 * 1024
  /// CONTINUATION frames of one header block (CVE-2024-27316).
  public var maxContinuations: UInt32 = 8
  /// RST_STREAM of the peer (CVE-2023-44487).
  public var resetsReceived = HTTP2Rate(burst: 1000, perSecond: 100)
  /// RST_STREAM that the peer's faults made us send (CVE-2025-8671). Resets asked for by `reset` do not
  /// count.
  public var resetsSent = HTTP2Rate(burst: 200, perSecond: 20)
  /// PING (CVE-2019-9512).
  public var pings = HTTP2Rate(burst: 100, perSecond: 10)
  /// SETTINGS (CVE-2019-9515).
  public var settings = HTTP2Rate(burst: 50, perSecond: 5)
  /// DATA without a byte and without END_STREAM (CVE-2019-9518).
  public var emptyData = HTTP2Rate(burst: 100, perSecond: 10)
  /// PRIORITY (CVE-2019-9513).
  public var priorities = HTTP2Rate(burst: 500, perSecond: 100)
  public var windowUpdates = HTTP2Rate(burst: 20_000, perSecond: 10_000)
  /// GOAWAY, and frames of types that nobody has defined here.
  public var unknownFrames = HTTP2Rate(burst: 1000, perSecond: 100)
  /// Answers to PING and SETTINGS that wait because the peer does not read (CVE-2019-9512, CVE-2019-9515).
  public var maxQueuedAcknowledgements: UInt32 = 1000

  public init() {}
}

/// Which limit of `HTTP2Limits` was passed.
public enum HTTP2Limit: UInt8, Sendable, CaseIterable {
  case none
  case headerBytes, headerFields, continuations, concurrentStreams
  case resetsReceived, resetsSent, pings, settings, emptyData, priorities, windowUpdates, unknownFrames
  /// Answers that the peer makes us queue and does not read (PING and SETTINGS acknowledgements).
  case queuedAcknowledgements

  /// Name for counters and logs.
  public var name: StaticString {
    switch self {
    case .none: "none"
    case .headerBytes: "http2_header_bytes"
    case .headerFields: "http2_header_fields"
    case .continuations: "http2_continuations"
    case .concurrentStreams: "http2_concurrent_streams"
    case .resetsReceived: "http2_resets_received"
    case .resetsSent: "http2_resets_sent"
    case .pings: "http2_pings"
    case .settings: "http2_settings"
    case .emptyData: "http2_empty_data"
    case .priorities: "http2_priorities"
    case .windowUpdates: "http2_window_updates"
    case .unknownFrames: "http2_unknown_frames"
    case .queuedAcknowledgements: "http2_queued_acknowledgements"
    }
  }
}

/// What came of handing bytes to a session.
public enum HTTP2Result: Equatable, Sendable {
  case ok
  /// The connection is lost. `drain` still yields the GOAWAY that tells the peer why; then close. No further
  /// events are made for its streams.
  case fatal(errorCode: UInt32, limit: HTTP2Limit)
}
