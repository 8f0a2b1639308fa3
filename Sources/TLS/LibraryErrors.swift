internal import COpenSSL

/// The newest message in OpenSSL's error queue, which is emptied.
func takeLibraryError() -> String {
  let code = ERR_peek_last_error()
  ERR_clear_error()
  return describe(libraryError: code)
}

func describe(libraryError code: UInt) -> String {
  if code == 0 { return "unknown error" }
  // SAFETY: the library writes at most the given size and ends the text with 0.
  return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
    let start = unsafe buffer.baseAddress.unsafelyUnwrapped
    if let reason = unsafe ERR_reason_error_string(code) { return unsafe String(cString: reason) }
    unsafe ERR_error_string_n(code, start, 256)
    return unsafe String(cString: start)
  }
}

extension TLSFailure: CustomStringConvertible {
  /// Allocates: for logs.
  public var description: String {
    let what =
      switch kind {
      case .handshake: "handshake failed"
      case .record: "connection failed"
      case .certificate: "the peer's certificate was refused"
      case .renegotiation: "renegotiation is refused"
      case .keyUpdates: "too many key updates"
      case .local: "internal failure"
      }
    if verifyCode != 0, let text = unsafe X509_verify_cert_error_string(Int(verifyCode)) {
      return unsafe "tls: \(what): \(String(cString: text))"
    }
    return code == 0 ? "tls: \(what)" : "tls: \(what): \(describe(libraryError: code))"
  }
}
