internal import COpenSSL

/// Certificates of authorities that a peer's chain must lead to, read once; any number of contexts share it.
public final class TrustStore: Sendable {
  let handle: TrustStoreHandle

  /// The roots of the system, where OpenSSL looks for them (`SSL_CERT_FILE` and `SSL_CERT_DIR` say otherwise).
  public init() throws(TLSError) {
    let made = unsafe try Self.make()
    guard unsafe X509_STORE_set_default_paths(made) == 1 else {
      unsafe X509_STORE_free(made)
      throw TLSError(.noCertificate, certificate: "", message: "no system roots: \(takeLibraryError())")
    }
    // A file that is not there is in the queue of errors, and no reason to refuse the directory beside it.
    ERR_clear_error()
    unsafe handle = TrustStoreHandle(store: made)
  }

  /// - Parameters:
  ///   - name: for messages.
  ///   - pem: certificates; each of them is trusted, also one that another one signed.
  public init(name: String, pem: [UInt8]) throws(TLSError) {
    let made = unsafe try Self.make()
    ERR_clear_error()
    let added = unsafe Self.add(pem, to: made)
    let error = ERR_peek_last_error()
    ERR_clear_error()
    // The end of the text shows as "no start line"; anything else is a damaged certificate.
    if added == 0 || (error != 0 && Int32(truncatingIfNeeded: error & 0x7f_ffff) != PEM_R_NO_START_LINE) {
      unsafe X509_STORE_free(made)
      throw TLSError(
        added == 0 ? .noCertificate : .unreadable, certificate: name,
        message: "ca.crt holds \(added) readable PEM certificates: \(describe(libraryError: error))")
    }
    unsafe _ = X509_STORE_set_flags(made, UInt(X509_V_FLAG_PARTIAL_CHAIN))
    unsafe handle = TrustStoreHandle(store: made)
  }

  deinit { unsafe X509_STORE_free(handle.store) }

  private static func make() throws(TLSError) -> OpaquePointer {
    guard let made = unsafe X509_STORE_new() else {
      throw TLSError(.noMemory, certificate: "", message: "no certificate store: \(takeLibraryError())")
    }
    return unsafe made
  }

  // SAFETY: the store is not yet published; the memory BIO reads from an array that outlives it.
  private static func add(_ pem: [UInt8], to store: OpaquePointer) -> Int {
    unsafe pem.withUnsafeBytes { raw -> Int in
      guard let bio = unsafe BIO_new_mem_buf(raw.baseAddress, Int32(clamping: raw.count)) else { return 0 }
      defer { unsafe _ = BIO_free(bio) }
      var count = 0
      while let certificate = unsafe PEM_read_bio_X509(bio, nil, nil, nil) {
        if unsafe X509_STORE_add_cert(store, certificate) == 1 { count += 1 }
        unsafe X509_free(certificate)
      }
      return count
    }
  }
}

/// What a context needs of a `TrustStore`.
@safe
struct TrustStoreHandle: @unchecked Sendable {
  // INVARIANT: one reference is the `TrustStore`'s; the library locks the store by itself, and counts references
  // thread-safe.
  let store: OpaquePointer
}
