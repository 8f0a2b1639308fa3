/// Request methods that the proxy has to tell apart (RFC 9110 section 9, RFC 5789).
public enum Method: UInt8, Sendable {
  case get, head, post, put, delete, connect, options, trace, patch
  /// Any other token; the bytes are in `RequestHead.methodBytes`.
  case other

  /// Methods are case-sensitive (RFC 9110 section 9.1): "get" is `other`.
  @inlinable
  public init(classifying bytes: Bytes) {
    switch bytes.count {
    case 3: self = bytes.equals("GET") ? .get : bytes.equals("PUT") ? .put : .other
    case 4: self = bytes.equals("HEAD") ? .head : bytes.equals("POST") ? .post : .other
    case 5: self = bytes.equals("PATCH") ? .patch : bytes.equals("TRACE") ? .trace : .other
    case 6: self = bytes.equals("DELETE") ? .delete : .other
    case 7: self = bytes.equals("OPTIONS") ? .options : bytes.equals("CONNECT") ? .connect : .other
    default: self = .other
    }
  }

  /// RFC 9110 section 9.2.2: several identical requests have the effect of one.
  @inlinable
  public var isIdempotent: Bool {
    switch self {
    case .get, .head, .put, .delete, .options, .trace: true
    case .post, .connect, .patch, .other: false
    }
  }

  /// RFC 9110 section 9.2.1: the client asks for no change of state.
  @inlinable
  public var isSafe: Bool {
    switch self {
    case .get, .head, .options, .trace: true
    case .post, .put, .delete, .connect, .patch, .other: false
    }
  }

  /// The token as it is written, empty for `other`.
  public var name: StaticString {
    switch self {
    case .get: "GET"
    case .head: "HEAD"
    case .post: "POST"
    case .put: "PUT"
    case .delete: "DELETE"
    case .connect: "CONNECT"
    case .options: "OPTIONS"
    case .trace: "TRACE"
    case .patch: "PATCH"
    case .other: ""
    }
  }
}

public enum Scheme: UInt8, Sendable {
  case http, https
}
