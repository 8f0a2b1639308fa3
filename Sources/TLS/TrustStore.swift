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
  ///   - pem: certificates and certificate revocation lists, as `addAuthorities` takes them.
  public init(name: String, pem: [UInt8]) throws(TLSError) {
    let made = unsafe try Self.make()
    do {
      try unsafe addAuthorities(pem, named: name, to: made)
    } catch {
      unsafe X509_STORE_free(made)
      throw error
    }
    unsafe handle = TrustStoreHandle(store: made)
  }

  deinit { unsafe X509_STORE_free(handle.store) }

  private static func make() throws(TLSError) -> OpaquePointer {
    guard let made = unsafe X509_STORE_new() else {
      throw TLSError(.noMemory, certificate: "", message: "no certificate store: \(takeLibraryError())")
    }
    return unsafe made
  }
}

/// Adds PEM certificates, each of them a trust anchor (also one that another one signed), and certificate revocation
/// lists. With a list among them, every certificate of a chain must have one of its issuer.
///
/// - Parameter onCertificate: is told each certificate that was added.
// SAFETY of callers: the store is alive and not yet published. Here: the memory BIO reads from an array that outlives
// it; the store takes references of its own.
func addAuthorities(
  _ pem: [UInt8], named name: String, to store: OpaquePointer?, onCertificate: (OpaquePointer) -> Void = { _ in }
) throws(TLSError) {
  ERR_clear_error()
  let (items, code) = unsafe pem.withUnsafeBytes { raw -> (OpaquePointer?, UInt) in
    guard let bio = unsafe BIO_new_mem_buf(raw.baseAddress, Int32(clamping: raw.count)) else { return (nil, 0) }
    defer { unsafe _ = BIO_free(bio) }
    return unsafe (PEM_X509_INFO_read_bio(bio, nil, { _, _, _, _ in 0 }, nil), ERR_peek_last_error())
  }
  defer {
    ERR_clear_error()
    unsafe OPENSSL_sk_pop_free(items) { item in
      unsafe X509_INFO_free(item?.assumingMemoryBound(to: X509_INFO.self))
    }
  }
  var certificates = 0
  var lists = 0
  for index in 0..<(unsafe items == nil ? 0 : OPENSSL_sk_num(items)) {
    let item = unsafe OPENSSL_sk_value(items, index)?.assumingMemoryBound(to: X509_INFO.self)
    if let certificate = unsafe item?.pointee.x509, unsafe X509_STORE_add_cert(store, certificate) == 1 {
      unsafe onCertificate(certificate)
      certificates += 1
    }
    if let list = unsafe item?.pointee.crl, unsafe X509_STORE_add_crl(store, list) == 1 { lists += 1 }
  }
  if unsafe items == nil || certificates == 0 {
    throw TLSError(
      certificates == 0 && code == 0 ? .noCertificate : .unreadable, certificate: name,
      message: "ca.crt holds no readable PEM certificates: \(describe(libraryError: code))")
  }
  var flags = UInt(X509_V_FLAG_PARTIAL_CHAIN)
  if lists > 0 { flags |= UInt(X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) }
  unsafe _ = X509_STORE_set_flags(store, flags)
}

/// What a context needs of a `TrustStore`.
@safe
struct TrustStoreHandle: @unchecked Sendable {
  // INVARIANT: one reference is the `TrustStore`'s; the library locks the store by itself, and counts references
  // thread-safe.
  let store: OpaquePointer
}
