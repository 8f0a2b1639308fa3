internal import COpenSSL

/// What a certificate and its key say, when a TLS server would take them.
struct CertificateFacts: Sendable, Hashable {
  /// DNS names of the leaf (subjectAltName), lower case, as written: `*.example.com` among them.
  var names: [String]
  /// Seconds since 1970 between which it is valid.
  var notBefore: Int
  var notAfter: Int
  var staple: StapleFacts?

  /// What people should know, though the certificate is served: clients may refuse it, or miss the staple.
  func notices(_ name: String) -> [Notice] {
    let now = time(nil)
    var notices: [Notice] = []
    if now > notAfter {
      notices.append(
        Notice(type: "CertificateOutOfTime", reason: "Expired", message: "the certificate of \(name) has expired"))
    } else if now < notBefore {
      notices.append(
        Notice(
          type: "CertificateOutOfTime", reason: "NotYetValid", message: "the certificate of \(name) is not valid yet"))
    }
    if let staple {
      let problem = staple.problem ?? (now > staple.until ? "is out of its time" : nil)
      if let problem {
        notices.append(
          Notice(
            type: "StapleNotSent", reason: "InvalidStaple", message: "tls.ocsp-staple of \(name) \(problem)"))
      }
    }
    return notices
  }
}

/// Reads PEM and asks OpenSSL the same questions that the data plane's TLS server will ask, so that a bad
/// Secret becomes a condition of one listener rather than a refused snapshot.
func inspectCertificate(
  chainPEM: [UInt8], keyPEM: [UInt8], ocspStaple: [UInt8]? = nil
) throws(Fault) -> CertificateFacts {
  ERR_clear_error()
  guard let rules = unsafe SSL_CTX_new(TLS_server_method()) else {
    throw Fault("InvalidCertificateRef", "OpenSSL has no memory for a TLS server")
  }
  defer { unsafe SSL_CTX_free(rules) }
  guard let leaf = unsafe readPEM(chainPEM, { unsafe PEM_read_bio_X509($0, nil, refusePassword, nil) }) else {
    throw Fault("InvalidCertificateRef", "tls.crt holds no readable PEM certificate")
  }
  defer { unsafe X509_free(leaf) }
  guard let key = unsafe readPEM(keyPEM, { unsafe PEM_read_bio_PrivateKey($0, nil, refusePassword, nil) })
  else {
    throw Fault("InvalidCertificateRef", "tls.key holds no readable PEM private key (without a password)")
  }
  defer { unsafe EVP_PKEY_free(key) }
  guard unsafe SSL_CTX_use_certificate(rules, leaf) == 1 else {
    throw Fault("InvalidCertificateRef", "the certificate is refused: \(lastOpenSSLReason())")
  }
  let isPair = unsafe X509_check_private_key(leaf, key) == 1 && SSL_CTX_use_PrivateKey(rules, key) == 1
  guard isPair else {
    throw Fault("InvalidCertificateRef", "tls.key is not the key of the certificate in tls.crt")
  }
  let names = unsafe dnsNames(of: leaf)
  ERR_clear_error()
  return unsafe CertificateFacts(
    names: names, notBefore: seconds(X509_get0_notBefore(leaf)), notAfter: seconds(X509_get0_notAfter(leaf)),
    staple: ocspStaple.map { unsafe inspectStaple($0, leaf: leaf) })
}

/// Throws when there is no certificate in the text, or one (or a list of revoked ones) that cannot be read.
func inspectAuthorities(_ pem: [UInt8]) throws(Fault) {
  ERR_clear_error()
  defer { ERR_clear_error() }
  guard let items = unsafe readPEM(pem, { unsafe PEM_X509_INFO_read_bio($0, nil, refusePassword, nil) }) else {
    throw Fault("InvalidCACertificateRef", "ca.crt holds what cannot be read: \(lastOpenSSLReason())")
  }
  defer {
    unsafe OPENSSL_sk_pop_free(items) { item in
      unsafe X509_INFO_free(item?.assumingMemoryBound(to: X509_INFO.self))
    }
  }
  // SAFETY: the stack holds X509_INFO structures, which live as long as it does.
  for index in 0..<(unsafe OPENSSL_sk_num(items)) {
    let item = unsafe OPENSSL_sk_value(items, index)?.assumingMemoryBound(to: X509_INFO.self)
    if unsafe item?.pointee.x509 != nil { return }
  }
  throw Fault("InvalidCACertificateRef", "ca.crt holds no readable PEM certificate")
}

private func refusePassword(
  _ buffer: UnsafeMutablePointer<CChar>?, _ size: Int32, _ writing: Int32, _ data: UnsafeMutableRawPointer?
) -> Int32 { 0 }

private func readPEM(_ bytes: [UInt8], _ read: (OpaquePointer) -> OpaquePointer?) -> OpaquePointer? {
  // SAFETY: the BIO reads from the array's memory and is freed before the array's pointer goes away.
  unsafe bytes.withUnsafeBytes { memory in
    guard memory.count > 0,
      let bio = unsafe BIO_new_mem_buf(memory.baseAddress, Int32(clamping: memory.count))
    else { return nil }
    defer { unsafe BIO_free(bio) }
    return unsafe read(bio)
  }
}

private func lastOpenSSLReason() -> String {
  let code = ERR_peek_last_error()
  guard let text = unsafe ERR_reason_error_string(code) else { return "OpenSSL error \(code)" }
  return unsafe String(cString: text)
}

private func dnsNames(of certificate: OpaquePointer) -> [String] {
  guard let list = unsafe X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil) else { return [] }
  let stack = OpaquePointer(list)
  defer { unsafe GENERAL_NAMES_free(stack) }
  var names: [String] = []
  let count = unsafe OPENSSL_sk_num(stack)
  for index in 0..<count {
    guard let entry = unsafe OPENSSL_sk_value(stack, index) else { continue }
    var form: Int32 = 0
    // SAFETY: the stack holds GENERAL_NAME structures; a value of form GEN_DNS is an ASN1_IA5STRING that
    // lives as long as the stack does.
    let name = unsafe entry.assumingMemoryBound(to: GENERAL_NAME.self)
    guard let value = unsafe GENERAL_NAME_get0_value(name, &form), form == GEN_DNS else { continue }
    let text = unsafe value.assumingMemoryBound(to: ASN1_STRING.self)
    let length = Int(unsafe ASN1_STRING_length(text))
    guard let start = unsafe ASN1_STRING_get0_data(text), length > 0 else { continue }
    let bytes = unsafe UnsafeBufferPointer(start: start, count: length)
    names.append(unsafe String(decoding: bytes, as: UTF8.self).lowercased())
  }
  return names
}
