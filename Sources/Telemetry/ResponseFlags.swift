/// Why a response is what it is, for the access log: nothing set means that the backend made it and it
/// went through whole.
@frozen
public struct ResponseFlags: OptionSet, Sendable, Equatable {
  public var rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  @inlinable public static var noListener: Self { Self(rawValue: 1 << 0) }
  @inlinable public static var noHost: Self { Self(rawValue: 1 << 1) }
  @inlinable public static var noRoute: Self { Self(rawValue: 1 << 2) }
  /// The rule's backend does not exist or may not be used.
  @inlinable public static var noBackend: Self { Self(rawValue: 1 << 3) }
  /// The backend has no endpoint that may be picked.
  @inlinable public static var noHealthyEndpoint: Self { Self(rawValue: 1 << 4) }
  @inlinable public static var upstreamConnectFailure: Self { Self(rawValue: 1 << 5) }
  @inlinable public static var upstreamConnectTimeout: Self { Self(rawValue: 1 << 6) }
  @inlinable public static var upstreamReset: Self { Self(rawValue: 1 << 7) }
  @inlinable public static var upstreamMalformed: Self { Self(rawValue: 1 << 8) }
  @inlinable public static var requestTimeout: Self { Self(rawValue: 1 << 9) }
  @inlinable public static var backendTimeout: Self { Self(rawValue: 1 << 10) }
  @inlinable public static var downstreamClosed: Self { Self(rawValue: 1 << 11) }
  @inlinable public static var malformed: Self { Self(rawValue: 1 << 12) }
  @inlinable public static var limit: Self { Self(rawValue: 1 << 13) }
  @inlinable public static var misdirected: Self { Self(rawValue: 1 << 14) }
  @inlinable public static var redirect: Self { Self(rawValue: 1 << 15) }
  /// The rule itself answers.
  @inlinable public static var fixedResponse: Self { Self(rawValue: 1 << 16) }
  @inlinable public static var retried: Self { Self(rawValue: 1 << 17) }
  @inlinable public static var draining: Self { Self(rawValue: 1 << 18) }
  @inlinable public static var idleTimeout: Self { Self(rawValue: 1 << 19) }
  /// The socket's certificate could not be used or the handshake failed.
  @inlinable public static var tls: Self { Self(rawValue: 1 << 20) }
  /// TLS to the backend did not come about: its certificate, ours, or nothing in common.
  @inlinable public static var upstreamTLS: Self { Self(rawValue: 1 << 22) }

  /// The peer's word is not taken for whose connection it is.
  @inlinable public static var untrusted: Self { Self(rawValue: 1 << 21) }

  public static let count = 23

  /// Name of flag number `bit` as the access log writes it.
  public static func name(ofBit bit: Int) -> StaticString {
    switch bit {
    case 0: "no_listener"
    case 1: "no_host"
    case 2: "no_route"
    case 3: "no_backend"
    case 4: "no_healthy_endpoint"
    case 5: "upstream_connect_failure"
    case 6: "upstream_connect_timeout"
    case 7: "upstream_reset"
    case 8: "upstream_malformed"
    case 9: "request_timeout"
    case 10: "backend_timeout"
    case 11: "downstream_closed"
    case 12: "malformed"
    case 13: "limit"
    case 14: "misdirected"
    case 15: "redirect"
    case 16: "fixed_response"
    case 17: "retried"
    case 18: "draining"
    case 19: "idle_timeout"
    case 20: "tls"
    case 21: "untrusted"
    case 22: "upstream_tls"
    default: "unknown"
    }
  }
}
