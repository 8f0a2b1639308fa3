internal import COpenSSL

/// A certificate chain and its private key, as they stand in a Secret of type kubernetes.io/tls.
public struct TLSCertificate: Sendable {
  /// For messages, for example "default/hoop-tls".
  public var name: String
  /// The leaf first, then the certificates that lead to the root.
  public var chainPEM: [UInt8]
  public var keyPEM: [UInt8]
  /// A DER response of the certificate's OCSP responder, to be sent with it; empty: none.
  public var ocspStaple: [UInt8]

  public init(name: String, chainPEM: [UInt8], keyPEM: [UInt8], ocspStaple: [UInt8] = []) {
    self.name = name
    self.chainPEM = chainPEM
    self.keyPEM = keyPEM
    self.ocspStaple = ocspStaple
  }

  /// Throws what building a server with this certificate would throw.
  public func check() throws(TLSError) {
    let loaded = try LoadedCertificate(self)
    loaded.destroy()
  }
}

/// OpenSSL's objects of one certificate; who makes it destroys it.
@safe
struct LoadedCertificate {
  // INVARIANT: one reference to each is ours until `destroy`.
  let leaf: OpaquePointer
  let chain: [OpaquePointer]
  let key: OpaquePointer

  // SAFETY of this file: pointers come from the library and are released once; the memory BIO reads from an
  // array that outlives it.

  init(_ source: TLSCertificate) throws(TLSError) {
    ERR_clear_error()
    let certificates = unsafe try Self.readChain(source)
    guard let leaf = unsafe certificates.first else {
      throw TLSError(
        .noCertificate, certificate: source.name,
        message: "tls.crt holds no PEM certificate (expected -----BEGIN CERTIFICATE-----)")
    }
    do throws(TLSError) {
      unsafe key = try Self.readKey(source, leaf)
    } catch {
      unsafe Self.release(certificates)
      throw error
    }
    unsafe self.leaf = leaf
    unsafe chain = Array(certificates.dropFirst())
  }

  func destroy() {
    unsafe X509_free(leaf)
    unsafe Self.release(chain)
    unsafe EVP_PKEY_free(key)
  }

  private static func release(_ certificates: [OpaquePointer]) {
    for index in 0..<(unsafe certificates.count) { unsafe X509_free(certificates[index]) }
  }

  private static func readChain(_ source: TLSCertificate) throws(TLSError) -> [OpaquePointer] {
    let result = unsafe source.chainPEM.withUnsafeBytes { raw -> Result<[OpaquePointer], TLSError> in
      var found: [OpaquePointer] = unsafe []
      guard let bio = unsafe BIO_new_mem_buf(raw.baseAddress, Int32(clamping: raw.count)) else {
        return unsafe .failure(TLSError(.noMemory, certificate: source.name, message: "out of memory"))
      }
      defer { unsafe _ = BIO_free(bio) }
      while let certificate = unsafe PEM_read_bio_X509(bio, nil, nil, nil) {
        unsafe found.append(certificate)
      }
      let error = ERR_peek_last_error()
      ERR_clear_error()
      // The end of the text shows as "no start line"; anything else is a damaged certificate.
      if error != 0 && Int32(truncatingIfNeeded: error & 0x7f_ffff) != PEM_R_NO_START_LINE {
        unsafe Self.release(found)
        let text = describe(libraryError: error)
        return unsafe .failure(
          TLSError(
            .unreadable, certificate: source.name,
            message: "tls.crt: certificate \(found.count + 1) cannot be read: \(text)"))
      }
      return unsafe .success(found)
    }
    return unsafe try result.get()
  }

  private static func readKey(
    _ source: TLSCertificate, _ leaf: OpaquePointer
  ) throws(TLSError) -> OpaquePointer {
    let key = unsafe source.keyPEM.withUnsafeBytes { raw -> OpaquePointer? in
      guard let bio = unsafe BIO_new_mem_buf(raw.baseAddress, Int32(clamping: raw.count)) else { return nil }
      defer { unsafe _ = BIO_free(bio) }
      // Without this the library would ask for a passphrase on the terminal.
      return unsafe PEM_read_bio_PrivateKey(bio, nil, { _, _, _, _ in 0 }, nil)
    }
    if let key = unsafe key {
      let belongs = unsafe X509_check_private_key(leaf, key) == 1
      ERR_clear_error()
      if belongs { return unsafe key }
      unsafe EVP_PKEY_free(key)
      throw TLSError(
        .mismatch, certificate: source.name,
        message: "tls.key is not the private key of the first certificate in tls.crt")
    }
    let error = ERR_peek_last_error()
    ERR_clear_error()
    if !String(decoding: source.keyPEM, as: UTF8.self).contains("-----BEGIN") {
      throw TLSError(
        .noKey, certificate: source.name,
        message: "tls.key holds no PEM private key (expected -----BEGIN PRIVATE KEY-----)")
    }
    throw TLSError(
      .unreadable, certificate: source.name,
      message:
        "tls.key cannot be read: \(describe(libraryError: error)) (keys with a passphrase are not supported)")
  }

  /// What is wrong with the times of the leaf; nil when it is valid now. Such a certificate is used all the same:
  /// clients that check refuse it, those that do not go on, and there is no better one to take its place.
  var outOfTime: String? {
    if unsafe X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0 {
      return unsafe "expired at \(Self.text(of: X509_get0_notAfter(leaf)))"
    }
    if unsafe X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0 {
      return unsafe "not valid before \(Self.text(of: X509_get0_notBefore(leaf)))"
    }
    return nil
  }

  private static func text(of time: UnsafePointer<ASN1_TIME>?) -> String {
    guard let bio = unsafe BIO_new(BIO_s_mem()) else { return "?" }
    defer { unsafe _ = BIO_free(bio) }
    unsafe _ = ASN1_TIME_print(bio, time)
    return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { buffer in
      let count = unsafe BIO_read(bio, buffer.baseAddress, 64)
      return unsafe String(
        decoding: UnsafeBufferPointer(rebasing: buffer.prefix(Int(max(0, count)))), as: UTF8.self)
    }
  }
}
