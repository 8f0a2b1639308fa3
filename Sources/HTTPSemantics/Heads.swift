/// What a request asks the connection to become (RFC 9110 section 7.8).
public enum Upgrade: UInt8, Sendable {
  /// Nothing, or something that is never honoured (h2c).
  case none
  /// RFC 6455, or RFC 8441 over HTTP/2.
  case webSocket
  case other
}

/// The head of a request, the same for every protocol version. The views live as long as the input that they
/// were cut from.
@frozen
public struct RequestHead {
  public var method: Method
  public var methodBytes: Bytes
  /// Path and query in origin-form, byte for byte as received ("*" for an asterisk-form OPTIONS).
  public var target: Bytes
  /// `target` up to the question mark.
  public var path: Bytes
  /// What follows the question mark, without it.
  public var query: Bytes
  /// Tells "/a?" from "/a".
  public var hasQuery: Bool
  /// Host or :authority without change; empty for an HTTP/1.0 request without Host.
  public var authority: Bytes
  /// `authority` without port and without the dot that ends a fully qualified name; IPv6 literals keep their
  /// brackets. In any case (RFC 9110 section 4.2.3: compare without case).
  public var host: Bytes
  /// Port of `authority`, -1 when it names none.
  public var port: Int32
  /// The connection's, so the owner of the connection sets it.
  public var scheme: Scheme
  /// Without pseudo-headers; Host stays in for HTTP/1 input.
  public var fields: HeaderTable
  /// In bytes, -1 when not announced.
  public var contentLength: Int64
  public var isChunked: Bool
  /// No body follows.
  public var endStream: Bool
  /// The connection may carry another request after this one.
  public var keepAlive: Bool
  /// 0 or 1 for HTTP/1; 1 for HTTP/2.
  public var minorVersion: UInt8
  /// The client waits for 100 (Continue) (RFC 9110 section 10.1.1).
  public var expectContinue: Bool
  public var upgrade: Upgrade
  /// content-type is application/grpc, application/grpc+… or application/grpc;…, and not grpc-web.
  public var isGRPC: Bool
  /// "TE: trailers" was sent (RFC 9110 section 10.1.4); the field itself is dropped.
  public var hasTETrailers: Bool

  @inlinable
  public init(fields: HeaderTable = .empty) {
    method = .other
    methodBytes = .empty
    target = .empty
    path = .empty
    query = .empty
    hasQuery = false
    authority = .empty
    host = .empty
    port = -1
    scheme = .http
    self.fields = fields
    contentLength = -1
    isChunked = false
    endStream = true
    keepAlive = true
    minorVersion = 1
    expectContinue = false
    upgrade = .none
    isGRPC = false
    hasTETrailers = false
  }

  /// Sets `target`, `path`, `query` and `hasQuery` from a target in origin-form or "*". Checks nothing.
  @inlinable
  public mutating func setTarget(_ bytes: Bytes) {
    target = bytes
    let mark = bytes.firstIndex(of: 0x3f)
    hasQuery = mark >= 0
    path = mark < 0 ? bytes : bytes.slice(0, mark)
    query = mark < 0 ? .empty : bytes.slice(mark + 1, bytes.count)
  }

  /// Sets `authority`, `host` and `port`; false when `bytes` is no valid authority (`parseAuthority`).
  @inlinable
  public mutating func setAuthority(_ bytes: Bytes) -> Bool {
    guard let parts = parseAuthority(bytes) else { return false }
    authority = bytes
    host = parts.host
    port = parts.port
    return true
  }
}

/// The head of a response, interim or final, the same for every protocol version.
@frozen
public struct ResponseHead {
  public var status: UInt16
  /// May be empty; bytes of the peer.
  public var reason: Bytes
  public var fields: HeaderTable
  /// In bytes, -1 when not announced. For HEAD and 304 it describes a body that does not follow.
  public var contentLength: Int64
  public var isChunked: Bool
  /// No body follows.
  public var endStream: Bool
  /// The connection may carry another exchange after this one.
  public var keepAlive: Bool
  /// The body ends where the connection does (RFC 9112 section 6.3, rule 8).
  public var untilClose: Bool
  public var minorVersion: UInt8
  /// Set with status 101 only.
  public var upgrade: Upgrade
  public var isGRPC: Bool

  @inlinable
  public init(fields: HeaderTable = .empty) {
    status = 0
    reason = .empty
    self.fields = fields
    contentLength = -1
    isChunked = false
    endStream = true
    keepAlive = true
    untilClose = false
    minorVersion = 1
    upgrade = .none
    isGRPC = false
  }

  /// 1xx other than 101: another head follows (RFC 9110 section 15.2).
  @inlinable
  public var isInterim: Bool { status >= 100 && status < 200 && status != 101 }
}

/// Whether a content-type value is gRPC over HTTP/2: application/grpc, application/grpc+proto,
/// application/grpc;…, but not application/grpc-web.
@inlinable
public func isGRPCContentType(_ value: Bytes) -> Bool {
  guard value.count >= 16, value.slice(0, 16).equalsIgnoringCase("application/grpc") else { return false }
  if value.count == 16 { return true }
  let next = value[16]
  return next == 0x2b || next == 0x3b || next == 0x20 || next == 0x09
}
