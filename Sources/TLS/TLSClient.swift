internal import COpenSSL

/// How the certificates of backends are judged.
public enum TLSVerification: Sendable {
  /// Against the roots of the system.
  case system
  /// Against these PEM certificates only; `name` is for messages.
  case authorities(name: String, pem: [UInt8])
  /// Not at all: the connection is encrypted, its other end may be anybody.
  case off
}

/// The TLS side of connections to a group of backends. Built on the control thread; workers use `handle`.
public final class TLSClient: Sendable {
  public let handle: TLSClientHandle

  /// - Parameters:
  ///   - alpn: what is offered, in order of preference; empty: no offer.
  ///   - certificate: what we show when the backend asks for one.
  public init(
    verification: TLSVerification, alpn: [ALPN] = [], certificate: TLSCertificate? = nil,
    minimumVersion: TLSVersion = .tls12, maximumVersion: TLSVersion = .tls13
  ) throws(TLSError) {
    let made = unsafe try makeContext(TLS_client_method(), minimumVersion, maximumVersion)
    do {
      try unsafe setVerification(made, verification)
      if let certificate {
        let loaded = try LoadedCertificate(certificate)
        defer { loaded.destroy() }
        try unsafe use(loaded, made, certificate.name)
      }
    } catch {
      unsafe SSL_CTX_free(made)
      throw error
    }
    var wire: [UInt8] = []
    for item in alpn where item != .none { wire += [UInt8(item.wireName.count)] + item.wireName }
    if !wire.isEmpty { unsafe _ = SSL_CTX_set_alpn_protos(made, wire, UInt32(wire.count)) }
    var isVerifying = true
    if case .off = verification { isVerifying = false }
    unsafe handle = TLSClientHandle(base: made, isVerifying: isVerifying)
  }

  deinit { unsafe SSL_CTX_free(handle.base) }
}

/// What a worker needs of a `TLSClient`, which must be alive when a connection is started. Trivial.
@safe
public struct TLSClientHandle: @unchecked Sendable {
  // INVARIANT: the library counts references by itself, thread-safe; the context is not changed once it is
  // published.
  let base: OpaquePointer
  let isVerifying: Bool
}

// SAFETY: the context is alive and not yet published; the memory BIO reads from an array that outlives it.
private func setVerification(_ made: OpaquePointer, _ verification: TLSVerification) throws(TLSError) {
  switch verification {
  case .off:
    unsafe SSL_CTX_set_verify(made, SSL_VERIFY_NONE, nil)
  case .system:
    unsafe SSL_CTX_set_verify(made, SSL_VERIFY_PEER, nil)
    guard unsafe SSL_CTX_set_default_verify_paths(made) == 1 else {
      throw TLSError(.noCertificate, certificate: "", message: "no system roots: \(takeLibraryError())")
    }
  case .authorities(let name, let pem):
    unsafe SSL_CTX_set_verify(made, SSL_VERIFY_PEER, nil)
    let added = unsafe pem.withUnsafeBytes { raw -> Int in
      guard let bio = unsafe BIO_new_mem_buf(raw.baseAddress, Int32(clamping: raw.count)) else { return 0 }
      defer { unsafe _ = BIO_free(bio) }
      var count = 0
      while let certificate = unsafe PEM_read_bio_X509(bio, nil, nil, nil) {
        if unsafe X509_STORE_add_cert(SSL_CTX_get_cert_store(made), certificate) == 1 { count += 1 }
        unsafe X509_free(certificate)
      }
      return count
    }
    let error = ERR_peek_last_error()
    ERR_clear_error()
    if added == 0 || (error != 0 && Int32(truncatingIfNeeded: error & 0x7f_ffff) != PEM_R_NO_START_LINE) {
      throw TLSError(
        added == 0 ? .noCertificate : .unreadable, certificate: name,
        message: "ca.crt holds \(added) readable PEM certificates: \(describe(libraryError: error))")
    }
  }
}
