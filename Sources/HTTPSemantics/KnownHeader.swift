/// Header names that some part of the proxy acts on. Every other name is `other`.
public enum KnownHeader: UInt8, Sendable, CaseIterable {
  case other
  case te, via
  case date, host, vary
  case accept, allow, cookie, expect, origin, server
  case altSvc, referer, trailer, upgrade
  case forwarded, location
  case keepAlive, setCookie, xRealIP
  case connection, userAgent
  case contentType, grpcStatus, retryAfter, traceparent
  case xRequestID, grpcMessage, grpcTimeout, cacheControl, authorization
  case contentLength, http2Settings, xForwardedFor
  case acceptEncoding, xForwardedHost, xForwardedPort
  case contentEncoding, xForwardedProto, wwwAuthenticate, proxyConnection
  case transferEncoding, secWebSocketKey
  case proxyAuthenticate
  case proxyAuthorization
  case secWebSocketAccept, secWebSocketVersion, secWebSocketProtocol, secWebSocketExtensions
  case xForwardedClientCert, xForwardedOther

  /// In lower case; empty for `other`. `xForwardedOther` is every name that begins so.
  public var name: StaticString {
    switch self {
    case .other: ""
    case .te: "te"
    case .via: "via"
    case .date: "date"
    case .host: "host"
    case .vary: "vary"
    case .accept: "accept"
    case .allow: "allow"
    case .cookie: "cookie"
    case .expect: "expect"
    case .origin: "origin"
    case .server: "server"
    case .altSvc: "alt-svc"
    case .referer: "referer"
    case .trailer: "trailer"
    case .upgrade: "upgrade"
    case .forwarded: "forwarded"
    case .location: "location"
    case .keepAlive: "keep-alive"
    case .setCookie: "set-cookie"
    case .xRealIP: "x-real-ip"
    case .connection: "connection"
    case .userAgent: "user-agent"
    case .contentType: "content-type"
    case .grpcStatus: "grpc-status"
    case .retryAfter: "retry-after"
    case .traceparent: "traceparent"
    case .xRequestID: "x-request-id"
    case .grpcMessage: "grpc-message"
    case .grpcTimeout: "grpc-timeout"
    case .cacheControl: "cache-control"
    case .authorization: "authorization"
    case .contentLength: "content-length"
    case .http2Settings: "http2-settings"
    case .xForwardedFor: "x-forwarded-for"
    case .acceptEncoding: "accept-encoding"
    case .xForwardedHost: "x-forwarded-host"
    case .xForwardedPort: "x-forwarded-port"
    case .contentEncoding: "content-encoding"
    case .xForwardedProto: "x-forwarded-proto"
    case .wwwAuthenticate: "www-authenticate"
    case .proxyConnection: "proxy-connection"
    case .transferEncoding: "transfer-encoding"
    case .secWebSocketKey: "sec-websocket-key"
    case .proxyAuthenticate: "proxy-authenticate"
    case .proxyAuthorization: "proxy-authorization"
    case .secWebSocketAccept: "sec-websocket-accept"
    case .secWebSocketVersion: "sec-websocket-version"
    case .secWebSocketProtocol: "sec-websocket-protocol"
    case .secWebSocketExtensions: "sec-websocket-extensions"
    case .xForwardedClientCert: "x-forwarded-client-cert"
    case .xForwardedOther: "x-forwarded-*"
    }
  }

  /// Never forwarded as it came (RFC 9110 section 7.6.1, RFC 7540 section 3.2.1). Content-Length is not among
  /// them; Transfer-Encoding is, because each side frames its body by itself.
  @inlinable @inline(__always)
  public var isHopByHop: Bool {
    switch self {
    case .connection, .keepAlive, .proxyConnection, .te, .transferEncoding, .upgrade, .http2Settings: true
    default: false
    }
  }

  /// Says who the client is or what it asked for, in place of what the connection says. From a peer that is not
  /// trusted it is neither believed nor passed on.
  @inlinable @inline(__always)
  public var isPeerClaim: Bool {
    switch self {
    case .forwarded, .xForwardedFor, .xForwardedProto, .xForwardedHost, .xForwardedPort, .xForwardedClientCert,
      .xForwardedOther, .xRealIP:
      true
    default: false
    }
  }

  /// Decides how a message is framed or where it goes: a peer may neither have it removed through Connection
  /// nor send it as a trailer (RFC 9110 sections 6.5.1 and 7.6.1).
  @inlinable @inline(__always)
  public var isFramingOrRouting: Bool {
    switch self {
    case .host, .contentLength, .transferEncoding: true
    default: false
    }
  }

  /// Whether a sender may put it into a trailer section. Not what belongs to the connection, modifies the request,
  /// authenticates or describes the content (RFC 9110 section 6.5.1), nor cookies and what a proxy says about the
  /// client: whoever joins trailers and head would take it for part of the head.
  public var mayBeTrailer: Bool {
    if isHopByHop || isPeerClaim || isFramingOrRouting { return false }
    switch self {
    case .accept, .acceptEncoding, .allow, .authorization, .cacheControl, .contentEncoding, .contentType, .cookie,
      .expect, .location, .origin, .proxyAuthenticate, .proxyAuthorization, .setCookie, .trailer, .wwwAuthenticate,
      .xRequestID, .secWebSocketAccept, .secWebSocketExtensions, .secWebSocketKey, .secWebSocketProtocol,
      .secWebSocketVersion:
      return false
    default: return true
    }
  }

  /// The kind of a name in any case. Reads exactly `count` bytes. The name must be a token (RFC 9110 section
  /// 5.6.2): control bytes may be taken for the letters that they differ from by 0x20.
  @inlinable
  public static func classify(_ name: UnsafePointer<UInt8>, _ count: Int) -> KnownHeader {
    switch count {
    case 2: return unsafe is2(name, 0x6574) ? .te : .other
    case 3: return unsafe (name[0] | 0x20) == 0x76 && is2(name + 1, 0x6169) ? .via : .other
    case 4...7: return unsafe classifyShort(name, count)
    case 8...13: return unsafe classifyMedium(name, count)
    case 14...17: return unsafe classifyLong(name, count)
    case 18...24: return unsafe classifyLongest(name, count)
    default: return unsafe count > 24 ? classifyForwarded(name, count) : .other
    }
  }

  /// What a name that holds other bytes than letters, digits and "-" is to a reader that takes all those bytes
  /// for "-"; `other` for every other name.
  @inline(never)
  public static func disguised(by name: Bytes) -> KnownHeader {
    guard name.count <= 64 else { return .other }
    return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { copy in
      guard let start = copy.baseAddress else { return .other }
      var isOdd = false
      var index = 0
      while index < name.count {
        let byte = name[index]
        let isPlain = byte &- 0x30 < 10 || (byte | 0x20) &- 0x61 < 26 || byte == 0x2d
        if !isPlain { isOdd = true }
        // SAFETY: the index is below the count, which is at most the capacity.
        unsafe start[index] = isPlain ? byte : 0x2d
        index += 1
      }
      return unsafe isOdd ? classify(UnsafePointer(start), name.count) : .other
    }
  }
}

// SAFETY of the rest of this file: `word`, `half` and `is2` read 8, 4 and 2 bytes that lie inside the name,
// because every case has checked the length first; the loads of longer names overlap instead of running past
// the end.

@inlinable @inline(__always)
func is2(_ name: UnsafePointer<UInt8>, _ pair: UInt16) -> Bool {
  unsafe UnsafeRawPointer(name).loadUnaligned(as: UInt16.self) | 0x2020 == pair
}

@inlinable @inline(__always)
func half(_ name: UnsafePointer<UInt8>) -> UInt32 { unsafe loadHalfWord(name) | 0x2020_2020 }

@inlinable @inline(__always)
func word(_ name: UnsafePointer<UInt8>) -> UInt64 { unsafe loadWord(name) | 0x2020_2020_2020_2020 }

/// Whether the name, of the literal's length and of 4 to 7 bytes, is the literal. The optimiser makes
/// constants of the literal's words.
@inlinable @inline(__always)
func isShort(_ name: UnsafePointer<UInt8>, _ literal: StaticString) -> Bool {
  let last = literal.utf8CodeUnitCount - 4
  return unsafe half(name) == half(literal.utf8Start) && half(name + last) == half(literal.utf8Start + last)
}

/// The same for 8 to 16 bytes.
@inlinable @inline(__always)
func isMedium(_ name: UnsafePointer<UInt8>, _ literal: StaticString) -> Bool {
  let last = literal.utf8CodeUnitCount - 8
  return unsafe word(name) == word(literal.utf8Start) && word(name + last) == word(literal.utf8Start + last)
}

/// The same for 17 to 24 bytes.
@inlinable @inline(__always)
func isLong(_ name: UnsafePointer<UInt8>, _ literal: StaticString) -> Bool {
  unsafe isMedium(name, literal) && word(name + 8) == word(literal.utf8Start + 8)
}

@inlinable
func classifyShort(_ name: UnsafePointer<UInt8>, _ count: Int) -> KnownHeader {
  let first = unsafe name[0] | 0x20
  switch (count, first) {
  case (4, 0x68): return unsafe isShort(name, "host") ? .host : .other
  case (4, 0x64): return unsafe isShort(name, "date") ? .date : .other
  case (4, 0x76): return unsafe isShort(name, "vary") ? .vary : .other
  case (5, 0x61): return unsafe isShort(name, "allow") ? .allow : .other
  case (6, 0x61): return unsafe isShort(name, "accept") ? .accept : .other
  case (6, 0x63): return unsafe isShort(name, "cookie") ? .cookie : .other
  case (6, 0x65): return unsafe isShort(name, "expect") ? .expect : .other
  case (6, 0x6f): return unsafe isShort(name, "origin") ? .origin : .other
  case (6, 0x73): return unsafe isShort(name, "server") ? .server : .other
  case (7, 0x61): return unsafe isShort(name, "alt-svc") ? .altSvc : .other
  case (7, 0x72): return unsafe isShort(name, "referer") ? .referer : .other
  case (7, 0x74): return unsafe isShort(name, "trailer") ? .trailer : .other
  case (7, 0x75): return unsafe isShort(name, "upgrade") ? .upgrade : .other
  default: return .other
  }
}

@inlinable
func classifyMedium(_ name: UnsafePointer<UInt8>, _ count: Int) -> KnownHeader {
  let first = unsafe name[0] | 0x20
  switch (count, first) {
  case (8, 0x6c): return unsafe isMedium(name, "location") ? .location : .other
  case (9, 0x66): return unsafe isMedium(name, "forwarded") ? .forwarded : .other
  case (9, 0x78): return unsafe isMedium(name, "x-real-ip") ? .xRealIP : .other
  case (10, 0x63): return unsafe isMedium(name, "connection") ? .connection : .other
  case (10, 0x6b): return unsafe isMedium(name, "keep-alive") ? .keepAlive : .other
  case (10, 0x73): return unsafe isMedium(name, "set-cookie") ? .setCookie : .other
  case (10, 0x75): return unsafe isMedium(name, "user-agent") ? .userAgent : .other
  case (11, 0x67): return unsafe isMedium(name, "grpc-status") ? .grpcStatus : .other
  case (11, 0x72): return unsafe isMedium(name, "retry-after") ? .retryAfter : .other
  case (11, 0x74): return unsafe isMedium(name, "traceparent") ? .traceparent : .other
  case (12, 0x63): return unsafe isMedium(name, "content-type") ? .contentType : .other
  case (12, 0x78): return unsafe isMedium(name, "x-request-id") ? .xRequestID : .other
  case (12, 0x67):
    if unsafe isMedium(name, "grpc-timeout") { return .grpcTimeout }
    return unsafe isMedium(name, "grpc-message") ? .grpcMessage : .other
  case (13, 0x61): return unsafe isMedium(name, "authorization") ? .authorization : .other
  case (13, 0x63): return unsafe isMedium(name, "cache-control") ? .cacheControl : .other
  case (13, 0x78): return unsafe classifyForwarded(name, count)
  default: return .other
  }
}

@inlinable
func classifyLong(_ name: UnsafePointer<UInt8>, _ count: Int) -> KnownHeader {
  let first = unsafe name[0] | 0x20
  switch (count, first) {
  case (14, 0x63): return unsafe isMedium(name, "content-length") ? .contentLength : .other
  case (14, 0x68): return unsafe isMedium(name, "http2-settings") ? .http2Settings : .other
  case (15, 0x61): return unsafe isMedium(name, "accept-encoding") ? .acceptEncoding : .other
  case (15, 0x78): return unsafe isMedium(name, "x-forwarded-for") ? .xForwardedFor : classifyForwarded(name, count)
  case (16, 0x63): return unsafe isMedium(name, "content-encoding") ? .contentEncoding : .other
  case (16, 0x70): return unsafe isMedium(name, "proxy-connection") ? .proxyConnection : .other
  case (16, 0x77): return unsafe isMedium(name, "www-authenticate") ? .wwwAuthenticate : .other
  case (16, 0x78):
    if unsafe isMedium(name, "x-forwarded-host") { return .xForwardedHost }
    return unsafe isMedium(name, "x-forwarded-port") ? .xForwardedPort : classifyForwarded(name, count)
  case (17, 0x73): return unsafe isLong(name, "sec-websocket-key") ? .secWebSocketKey : .other
  case (17, 0x74): return unsafe isLong(name, "transfer-encoding") ? .transferEncoding : .other
  case (17, 0x78): return unsafe isLong(name, "x-forwarded-proto") ? .xForwardedProto : classifyForwarded(name, count)
  case (_, 0x78): return unsafe classifyForwarded(name, count)
  default: return .other
  }
}

@inlinable
func classifyLongest(_ name: UnsafePointer<UInt8>, _ count: Int) -> KnownHeader {
  let first = unsafe name[0] | 0x20
  switch (count, first) {
  case (18, 0x70): return unsafe isLong(name, "proxy-authenticate") ? .proxyAuthenticate : .other
  case (19, 0x70): return unsafe isLong(name, "proxy-authorization") ? .proxyAuthorization : .other
  case (20, 0x73): return unsafe isLong(name, "sec-websocket-accept") ? .secWebSocketAccept : .other
  case (21, 0x73): return unsafe isLong(name, "sec-websocket-version") ? .secWebSocketVersion : .other
  case (22, 0x73): return unsafe isLong(name, "sec-websocket-protocol") ? .secWebSocketProtocol : .other
  case (23, 0x78):
    return unsafe isLong(name, "x-forwarded-client-cert") ? .xForwardedClientCert : classifyForwarded(name, count)
  case (_, 0x78): return unsafe classifyForwarded(name, count)
  case (24, 0x73): return unsafe isLong(name, "sec-websocket-extensions") ? .secWebSocketExtensions : .other
  default: return .other
  }
}

/// Any other name that begins with "x-forwarded-" and goes on.
@inlinable
func classifyForwarded(_ name: UnsafePointer<UInt8>, _ count: Int) -> KnownHeader {
  unsafe count > 12 && word(name) == loadWord(Bytes("x-forwarded-").start)
    && word(name + 4) == loadWord(Bytes("x-forwarded-").start + 4) ? .xForwardedOther : .other
}
