internal import COpenSSL

extension TLSFailure {
  /// What was wrong, as far as a person has to know it to mend it.
  public enum Cause: UInt8, Sendable, CaseIterable {
    // The peer's certificate, in our eyes.
    case expired, notYetValid, revoked, wrongName, unknownAuthority, badCertificate
    /// The peer said that our certificate is missing or not good enough.
    case refusedOurs
    /// No version, cipher or application protocol that both sides speak.
    case nothingInCommon
    /// The peer serves nobody of the name that we asked for.
    case unrecognizedName
    /// What came is no TLS.
    case notTLS
    /// Anything else.
    case other
  }

  public var cause: Cause {
    if kind == .certificate { return certificateCause }
    let reason = Int32(truncatingIfNeeded: code & 0x7f_ffff)
    switch reason {
    case SSL_R_WRONG_VERSION_NUMBER, SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST, SSL_R_PACKET_LENGTH_TOO_LONG,
      SSL_R_RECORD_LENGTH_MISMATCH:
      return .notTLS
    case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_NO_PROTOCOLS_AVAILABLE, SSL_R_NO_SHARED_CIPHER,
      SSL_R_WRONG_CIPHER_RETURNED, SSL_R_UNKNOWN_PROTOCOL, SSL_R_VERSION_TOO_LOW, SSL_R_UNSUPPORTED_SSL_VERSION:
      return .nothingInCommon
    default:
      return alertCause(reason - 1000)
    }
  }

  private var certificateCause: Cause {
    switch verifyCode {
    case X509_V_ERR_CERT_HAS_EXPIRED: .expired
    case X509_V_ERR_CERT_NOT_YET_VALID: .notYetValid
    case X509_V_ERR_CERT_REVOKED: .revoked
    case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH: .wrongName
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
      X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
      X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, X509_V_ERR_CERT_UNTRUSTED:
      .unknownAuthority
    default: .badCertificate
    }
  }

  /// Of an alert that the peer sent (RFC 8446 section 6.2), whose number the library adds to 1000.
  private func alertCause(_ alert: Int32) -> Cause {
    switch alert {
    case 41...46, 48, 49, 116: .refusedOurs
    case 40, 70, 71, 120: .nothingInCommon
    case 112: .unrecognizedName
    default: .other
    }
  }
}
