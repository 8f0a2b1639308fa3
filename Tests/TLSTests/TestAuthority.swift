import COpenSSL
import TLS
import Testing

/// Certificates made for one test, in memory.
@safe
struct TestCertificate {
  let certificate: TLSCertificate
  private let x509: OpaquePointer
  private let key: OpaquePointer

  /// Self-signed unless there is an issuer; times in seconds from now.
  init(
    _ name: String, names: [String], issuer: TestCertificate? = nil, isAuthority: Bool = false,
    from: Int = -3600,
    until: Int = 86_400
  ) throws {
    let key = unsafe try #require(makeKey())
    let x509 = unsafe try #require(X509_new())
    unsafe _ = X509_set_version(x509, 2)
    unsafe _ = ASN1_INTEGER_set(X509_get_serialNumber(x509), Int.random(in: 1..<1_000_000_000))
    unsafe _ = X509_gmtime_adj(X509_getm_notBefore(x509), from)
    unsafe _ = X509_gmtime_adj(X509_getm_notAfter(x509), until)
    unsafe _ = X509_set_pubkey(x509, key)
    let subject = unsafe X509_get_subject_name(x509)
    unsafe _ = X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, name, -1, -1, 0)
    unsafe _ = X509_set_issuer_name(x509, X509_get_subject_name(issuer?.x509 ?? x509))
    if !names.isEmpty {
      unsafe addExtension(x509, NID_subject_alt_name, names.joined(separator: ","))
    }
    if isAuthority { unsafe addExtension(x509, NID_basic_constraints, "critical,CA:TRUE") }
    unsafe try #require(X509_sign(x509, issuer?.key ?? key, EVP_sha256()) > 0)
    unsafe self.x509 = x509
    unsafe self.key = key
    let chain = unsafe pem { unsafe PEM_write_bio_X509($0, x509) }
    let keyText = unsafe pem { unsafe PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) }
    certificate = TLSCertificate(name: name, chainPEM: chain, keyPEM: keyText)
  }

  func destroy() {
    unsafe X509_free(x509)
    unsafe EVP_PKEY_free(key)
  }
}

private func makeKey() -> OpaquePointer? {
  guard let generator = unsafe EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nil) else { return nil }
  defer { unsafe EVP_PKEY_CTX_free(generator) }
  var key: OpaquePointer?
  guard unsafe EVP_PKEY_keygen_init(generator) == 1,
    unsafe EVP_PKEY_CTX_set_ec_paramgen_curve_nid(generator, NID_X9_62_prime256v1) == 1,
    unsafe EVP_PKEY_keygen(generator, &key) == 1
  else { return nil }
  return unsafe key
}

private func addExtension(_ x509: OpaquePointer, _ nid: Int32, _ value: String) {
  let made = unsafe X509V3_EXT_conf_nid(nil, nil, nid, value)
  unsafe _ = X509_add_ext(x509, made, -1)
  unsafe X509_EXTENSION_free(made)
}

private func pem(_ write: (OpaquePointer) -> Int32) -> [UInt8] {
  let bio = unsafe BIO_new(BIO_s_mem())!
  defer { unsafe _ = BIO_free(bio) }
  unsafe _ = write(bio)
  var text = [UInt8](repeating: 0, count: 16_384)
  let count = unsafe text.withUnsafeMutableBytes { unsafe BIO_read(bio, $0.baseAddress, Int32($0.count)) }
  return Array(text[..<Int(max(0, count))])
}
