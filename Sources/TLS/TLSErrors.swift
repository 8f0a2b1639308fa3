/// Why a server or client could not be built. Names the certificate and what to do.
public struct TLSError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Reason: Sendable {
    case noCertificate, noKey, unreadable, mismatch, refused, noMemory
  }

  public let reason: Reason
  /// `TLSCertificate.name`; empty when the fault is not a certificate's.
  public let certificate: String
  public let message: String

  public init(_ reason: Reason, certificate: String, message: String) {
    self.reason = reason
    self.certificate = certificate
    self.message = message
  }

  public var description: String {
    certificate.isEmpty ? "tls: \(message)" : "tls: certificate \"\(certificate)\": \(message)"
  }
}

/// Why a connection failed.
public struct TLSFailure: Equatable, Sendable {
  public enum Kind: UInt8, Sendable {
    /// The peer does not follow the protocol, or nothing in common was found; an alert waits in the output.
    case handshake
    /// After the handshake: a damaged record, an alert of the peer.
    case record
    /// The peer's certificate was refused, or a client showed none where one is required; `verifyCode` says why.
    case certificate
    /// A client asked for a new handshake on the connection (TLS 1.2).
    case renegotiation
    /// A client sent more KeyUpdate messages than it may (TLS 1.3).
    case keyUpdates
    /// Our own: memory, or bytes written before the handshake was done.
    case local
  }

  public let kind: Kind
  /// OpenSSL's packed error, 0 without one.
  public let code: UInt
  /// X509_V_ERR_…, 0 without one.
  public let verifyCode: Int32
}

/// What came of `TLSConnection.read`.
public enum TLSRead: Equatable, Sendable {
  /// So many bytes of plaintext were put into the buffer. Read again: there may be more.
  case bytes(Int)
  /// All input is used up.
  case needMore
  /// The peer sent close_notify: the end of its stream, as it wanted it.
  case closed
  /// The connection is lost. Send the pending output (an alert), then close.
  case failed(TLSFailure)
}

/// Application protocols (RFC 7301).
public enum ALPN: UInt8, Sendable {
  case none, http1, h2

  /// RFC 7301 section 6.
  var wire: StaticString {
    switch self {
    case .none: ""
    case .http1: "http/1.1"
    case .h2: "h2"
    }
  }

  var wireName: [UInt8] { unsafe Array(UnsafeBufferPointer(start: wire.utf8Start, count: wire.utf8CodeUnitCount)) }

  /// One element of a list of protocol names; empty for none.
  var offer: [UInt8] { self == .none ? [] : [UInt8(wireName.count)] + wireName }
}
