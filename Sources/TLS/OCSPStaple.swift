internal import COpenSSL

/// A response of a certificate's OCSP responder (RFC 6960) that is worth sending with the certificate.
struct OCSPStaple {
  var bytes: [UInt8]
  /// Seconds since 1970 after which it says nothing any more; Int.max when it does not say.
  var until: Int

  // SAFETY: pointers come from the library and are released once; what is asked of a response lives as long.

  /// Throws when the response cannot be read, is for another certificate, is out of its time, or does not say "good".
  /// Its signature is left to the clients, who know the responder's issuer.
  init(_ certificate: TLSCertificate, _ loaded: LoadedCertificate) throws(TLSError) {
    ERR_clear_error()
    defer { ERR_clear_error() }
    func refused(_ message: String) -> TLSError {
      TLSError(.unreadable, certificate: certificate.name, message: "tls.ocsp-staple: \(message); it is not sent")
    }
    let response = unsafe certificate.ocspStaple.withUnsafeBufferPointer { memory in
      var cursor = memory.baseAddress
      return unsafe d2i_OCSP_RESPONSE(nil, &cursor, memory.count)
    }
    guard let response = unsafe response else { throw refused("is no OCSP response in DER") }
    defer { unsafe OCSP_RESPONSE_free(response) }
    let status = unsafe OCSP_response_status(response)
    guard status == 0 else { throw refused("the responder gave an error (\(status))") }
    guard let basic = unsafe OCSP_response_get1_basic(response) else { throw refused("is of an unknown kind") }
    defer { unsafe OCSP_BASICRESP_free(basic) }
    guard let single = unsafe Self.find(basic, loaded) else { throw refused("is for another certificate") }
    var this: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
    var next: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
    let verdict = unsafe OCSP_single_get0_status(single, nil, nil, &this, &next)
    if verdict != V_OCSP_CERTSTATUS_GOOD {
      throw refused(verdict == V_OCSP_CERTSTATUS_REVOKED ? "the certificate is revoked" : "knows nothing about it")
    }
    // Five minutes for clocks that differ.
    guard unsafe OCSP_check_validity(this, next, 300, -1) == 1 else { throw refused("is out of its time") }
    bytes = certificate.ocspStaple
    until = .max
    if let next = unsafe next {
      var days: Int32 = 0
      var seconds: Int32 = 0
      if unsafe ASN1_TIME_diff(&days, &seconds, nil, next) == 1 {
        until = Int(time(nil)) + Int(days) * 86_400 + Int(seconds)
      }
    }
  }

  /// The answer about the leaf: by the issuer's hashes where the chain has the issuer, else by the serial number.
  private static func find(_ basic: OpaquePointer, _ loaded: LoadedCertificate) -> OpaquePointer? {
    for index in 0..<(unsafe OCSP_resp_count(basic)) {
      guard let single = unsafe OCSP_resp_get0(basic, index), let id = unsafe OCSP_SINGLERESP_get0_id(single) else {
        continue
      }
      var algorithm: OpaquePointer?
      var serial: UnsafeMutablePointer<ASN1_INTEGER>?
      unsafe _ = OCSP_id_get0_info(nil, &algorithm, nil, &serial, id)
      guard unsafe ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(loaded.leaf)) == 0 else { continue }
      guard let issuer = unsafe loaded.chain.first else { return unsafe single }
      let digest = unsafe EVP_get_digestbyname(OBJ_nid2sn(OBJ_obj2nid(algorithm)))
      guard let own = unsafe OCSP_cert_to_id(digest, loaded.leaf, issuer) else { continue }
      defer { unsafe OCSP_CERTID_free(own) }
      if unsafe OCSP_id_cmp(own, id) == 0 { return unsafe single }
    }
    return nil
  }
}
