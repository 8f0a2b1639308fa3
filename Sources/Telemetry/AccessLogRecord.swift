/// Bytes that a record shows; valid until `AccessLogRecord.format` returned.
@safe @frozen
public struct LogText {
  public var start: UnsafePointer<UInt8>?
  public var count: Int

  @inlinable public init() {
    unsafe start = nil
    count = 0
  }

  @inlinable public init(_ start: UnsafePointer<UInt8>?, _ count: Int) {
    unsafe self.start = unsafe start
    self.count = unsafe start == nil ? 0 : count
  }
}

/// One request as the access log shows it: a trivial struct that a worker fills at the end of a request
/// and formats at once. Empty texts and negative numbers are left out of the line.
@frozen
public struct AccessLogRecord {
  /// CLOCK_REALTIME nanoseconds of the request's first byte.
  public var startNanoseconds: UInt64 = 0
  public var durationMicroseconds: UInt64 = 0
  /// Until the response head came; negative: never.
  public var firstByteMicroseconds: Int64 = -1
  public var requestProtocol: RequestProtocol = .http1
  public var isTLS = false
  public var method = LogText()
  public var scheme = LogText()
  public var authority = LogText()
  /// Path and query as received.
  public var target = LogText()
  public var status: Int32 = 0
  /// Status of a gRPC response; negative: not gRPC or not known.
  public var grpcStatus: Int32 = -1
  public var requestBytes: UInt64 = 0
  public var responseBytes: UInt64 = 0
  /// Client address and port, the endpoint's address and port, as text.
  public var peer = LogText()
  public var upstream = LogText()
  /// Provenance of the rule, identity of the backend.
  public var rule = LogText()
  public var backend = LogText()
  public var requestID = LogText()
  public var userAgent = LogText()
  public var flags: ResponseFlags = []
  /// A reason in words where we refused the request; empty otherwise.
  public var reason = LogText()

  @inlinable public init() {}

  @frozen
  public enum RequestProtocol: UInt8, Sendable {
    case http1, http10, http2, webSocket
    /// A connection carried as bytes: clear text or decrypted by us, and TLS that we did not look into.
    case tcp, tlsPassthrough
    /// A session.
    case udp
  }

  /// Writes one JSON object and a line feed at `output`. Returns its length, or 0 when `capacity` bytes
  /// do not hold it; nothing of a line that does not fit is of use. 16 KiB hold every line whose texts
  /// together are below 2 KiB; control characters take six bytes each.
  public func format(into output: UnsafeMutablePointer<UInt8>, capacity: Int) -> Int {
    var line = unsafe LineWriter(output, capacity: capacity)
    line.literal("{\"time\":\"")
    line.time(startNanoseconds)
    line.literal("\",\"duration_us\":")
    line.number(durationMicroseconds)
    if firstByteMicroseconds >= 0 {
      line.literal(",\"first_byte_us\":")
      line.number(UInt64(firstByteMicroseconds))
    }
    line.literal(",\"protocol\":")
    switch requestProtocol {
    case .http1: line.literal("\"HTTP/1.1\"")
    case .http10: line.literal("\"HTTP/1.0\"")
    case .http2: line.literal("\"HTTP/2\"")
    case .webSocket: line.literal("\"WebSocket\"")
    case .tcp: line.literal("\"TCP\"")
    case .tlsPassthrough: line.literal("\"TLS\"")
    case .udp: line.literal("\"UDP\"")
    }
    if isTLS { line.literal(",\"tls\":true") }
    line.text(",\"method\":", method)
    line.text(",\"scheme\":", scheme)
    line.text(",\"authority\":", authority)
    line.text(",\"path\":", target)
    if requestProtocol.rawValue < RequestProtocol.tcp.rawValue {
      line.literal(",\"status\":")
      line.number(UInt64(max(status, 0)))
    }
    if grpcStatus >= 0 {
      line.literal(",\"grpc_status\":")
      line.number(UInt64(grpcStatus))
    }
    line.literal(",\"bytes_in\":")
    line.number(requestBytes)
    line.literal(",\"bytes_out\":")
    line.number(responseBytes)
    line.text(",\"peer\":", peer)
    line.text(",\"rule\":", rule)
    line.text(",\"backend\":", backend)
    line.text(",\"upstream\":", upstream)
    line.text(",\"request_id\":", requestID)
    line.text(",\"user_agent\":", userAgent)
    if !flags.isEmpty { line.flags(flags) }
    line.text(",\"reason\":", reason)
    line.literal("}\n")
    return line.overflowed ? 0 : line.count
  }
}
