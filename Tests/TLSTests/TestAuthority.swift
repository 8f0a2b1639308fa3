import COpenSSL
import TLS
import Testing

/// Certificates made for one test, in memory.
@safe
struct TestCertificate {
  let certificate: TLSCertificate
  let x509: OpaquePointer
  let key: OpaquePointer

  /// Self-signed unless there is an issuer; times in seconds from now.
  init(
    _ name: String, names: [String], issuer: TestCertificate? = nil, isAuthority: Bool = false,
    from: Int = -3600, until: Int = 86_400, isRSA: Bool = false, usage: String? = nil
  ) throws {
    let key = unsafe try #require(isRSA ? makeRSAKey() : makeKey())
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
    if let usage { unsafe addExtension(x509, NID_ext_key_usage, usage) }
    unsafe try #require(X509_sign(x509, issuer?.key ?? key, EVP_sha256()) > 0)
    unsafe self.x509 = x509
    unsafe self.key = key
    let chain = unsafe pem { unsafe PEM_write_bio_X509($0, x509) }
    let keyText = unsafe pem { unsafe PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) }
    certificate = TLSCertificate(name: name, chainPEM: chain, keyPEM: keyText)
  }

  /// What this certificate's issuer says about it (RFC 6960), in DER; times in seconds from now.
  func staple(
    signedBy issuer: TestCertificate, status: Int32 = V_OCSP_CERTSTATUS_GOOD, from: Int = -60, until: Int? = 3600
  ) -> [UInt8] {
    let basic = unsafe OCSP_BASICRESP_new()
    defer { unsafe OCSP_BASICRESP_free(basic) }
    let id = unsafe OCSP_cert_to_id(EVP_sha1(), x509, issuer.x509)
    defer { unsafe OCSP_CERTID_free(id) }
    let this = unsafe X509_gmtime_adj(nil, from)
    let next = unsafe until.flatMap { unsafe X509_gmtime_adj(nil, $0) }
    defer {
      unsafe ASN1_TIME_free(this)
      unsafe ASN1_TIME_free(next)
    }
    unsafe _ = OCSP_basic_add1_status(
      basic, id, status, 0, status == V_OCSP_CERTSTATUS_REVOKED ? this : nil, this, next)
    unsafe _ = OCSP_basic_sign(basic, issuer.x509, issuer.key, EVP_sha256(), nil, 0)
    let response = unsafe OCSP_response_create(0, basic)
    defer { unsafe OCSP_RESPONSE_free(response) }
    var bytes: UnsafeMutablePointer<UInt8>?
    let count = unsafe i2d_OCSP_RESPONSE(response, &bytes)
    defer { unsafe CRYPTO_free(bytes, nil, 0) }
    return unsafe Array(UnsafeBufferPointer(start: bytes, count: Int(max(0, count))))
  }

  /// The authority's list of revoked certificates, in PEM.
  func revocations(of revoked: [TestCertificate]) -> [UInt8] {
    let list = unsafe X509_CRL_new()!
    defer { unsafe X509_CRL_free(list) }
    unsafe _ = X509_CRL_set_version(list, 1)
    unsafe _ = X509_CRL_set_issuer_name(list, X509_get_subject_name(x509))
    let now = unsafe X509_gmtime_adj(nil, -60)
    let later = unsafe X509_gmtime_adj(nil, 3600)
    defer {
      unsafe ASN1_TIME_free(now)
      unsafe ASN1_TIME_free(later)
    }
    unsafe _ = X509_CRL_set1_lastUpdate(list, now)
    unsafe _ = X509_CRL_set1_nextUpdate(list, later)
    for one in revoked {
      let entry = unsafe X509_REVOKED_new()
      unsafe _ = X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(one.x509))
      unsafe _ = X509_REVOKED_set_revocationDate(entry, now)
      unsafe _ = X509_CRL_add0_revoked(list, entry)
    }
    unsafe _ = X509_CRL_sign(list, key, EVP_sha256())
    return unsafe pem { unsafe PEM_write_bio_X509_CRL($0, list) }
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

private func makeRSAKey() -> OpaquePointer? {
  guard let generator = unsafe EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, nil) else { return nil }
  defer { unsafe EVP_PKEY_CTX_free(generator) }
  var key: OpaquePointer?
  guard unsafe EVP_PKEY_keygen_init(generator) == 1, unsafe EVP_PKEY_CTX_set_rsa_keygen_bits(generator, 2048) == 1,
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
