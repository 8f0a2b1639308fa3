import COpenSSL

/// A certificate for the API's local address, which its kubeconfig names as the one to trust.
public struct SelfSignedCertificate: Sendable, Equatable {
  public let certificatePEM: [UInt8]
  public let keyPEM: [UInt8]

  public enum Failure: Error { case openSSL(step: String) }

  /// Valid for ten years; a P-256 key; `hosts` are IP addresses or DNS names.
  public static func make(commonName: String, hosts: [String]) throws(Failure) -> SelfSignedCertificate {
    let key = try unsafe makeKey()
    defer { unsafe EVP_PKEY_free(key) }
    guard let certificate = unsafe X509_new() else { throw .openSSL(step: "X509_new") }
    defer { unsafe X509_free(certificate) }
    try unsafe fill(certificate, key: key, commonName: commonName, hosts: hosts)
    let certificatePEM = try unsafe pem("certificate") { unsafe PEM_write_bio_X509($0, certificate) }
    let keyPEM = try unsafe pem("key") {
      unsafe PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil)
    }
    return SelfSignedCertificate(certificatePEM: certificatePEM, keyPEM: keyPEM)
  }

  // SAFETY: every pointer below comes from an OpenSSL constructor, is checked, and is freed by the function
  // that asked for it; OpenSSL copies what it is given.
  private static func makeKey() throws(Failure) -> OpaquePointer {
    guard let maker = unsafe EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nil) else {
      throw .openSSL(step: "EVP_PKEY_CTX_new_id")
    }
    defer { unsafe EVP_PKEY_CTX_free(maker) }
    var key: OpaquePointer?
    guard unsafe EVP_PKEY_keygen_init(maker) == 1,
      unsafe EVP_PKEY_CTX_set_ec_paramgen_curve_nid(maker, NID_X9_62_prime256v1) == 1,
      unsafe EVP_PKEY_keygen(maker, &key) == 1, let key = unsafe key
    else { throw .openSSL(step: "key generation") }
    return unsafe key
  }

  private static func fill(
    _ certificate: OpaquePointer, key: OpaquePointer, commonName: String, hosts: [String]
  ) throws(Failure) {
    let tenYears = 10 * 365 * 24 * 60 * 60
    let anHour = 60 * 60
    var serial: UInt64 = .random(in: 1...UInt64(Int64.max))
    serial |= 1
    let name = unsafe X509_get_subject_name(certificate)
    guard unsafe X509_set_version(certificate, 2) == 1,
      unsafe ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial) == 1,
      unsafe X509_gmtime_adj(X509_getm_notBefore(certificate), -anHour) != nil,
      unsafe X509_gmtime_adj(X509_getm_notAfter(certificate), tenYears) != nil,
      unsafe X509_set_pubkey(certificate, key) == 1,
      unsafe X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, commonName, -1, -1, 0) == 1,
      unsafe X509_set_issuer_name(certificate, name) == 1
    else { throw .openSSL(step: "certificate fields") }
    let names = hosts.map { isAddress($0) ? "IP:\($0)" : "DNS:\($0)" }.joined(separator: ",")
    let extensions: [(Int32, String)] = [
      (NID_basic_constraints, "critical,CA:TRUE"),
      (NID_key_usage, "critical,digitalSignature,keyCertSign"),
      (NID_ext_key_usage, "serverAuth"),
      (NID_subject_alt_name, names),
    ]
    for (identifier, value) in extensions {
      guard let made = unsafe X509V3_EXT_conf_nid(nil, nil, identifier, value) else {
        throw .openSSL(step: "extension \(value)")
      }
      defer { unsafe X509_EXTENSION_free(made) }
      guard unsafe X509_add_ext(certificate, made, -1) == 1 else {
        throw .openSSL(step: "extension \(value)")
      }
    }
    guard unsafe X509_sign(certificate, key, EVP_sha256()) > 0 else { throw .openSSL(step: "signature") }
  }

  private static func pem(
    _ what: String, _ write: (OpaquePointer) -> Int32
  ) throws(Failure) -> [UInt8] {
    guard let memory = unsafe BIO_new(BIO_s_mem()) else { throw .openSSL(step: "BIO_new") }
    defer { unsafe BIO_free(memory) }
    guard unsafe write(memory) == 1 else { throw .openSSL(step: "PEM of the \(what)") }
    var bytes = [UInt8](repeating: 0, count: Int(unsafe BIO_ctrl_pending(memory)))
    let count = unsafe bytes.withUnsafeMutableBytes {
      unsafe BIO_read(memory, $0.baseAddress, Int32($0.count))
    }
    guard count == bytes.count else { throw .openSSL(step: "PEM of the \(what)") }
    return bytes
  }

  /// An IPv6 literal holds a colon; an IPv4 literal only digits and dots.
  private static func isAddress(_ host: String) -> Bool {
    host.contains(":") || host.allSatisfy { $0.isASCII && ($0.isNumber || $0 == ".") }
  }
}
