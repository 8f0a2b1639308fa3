internal import COpenSSL

/// What is wrong with an OCSP response that is to be stapled, and when it says nothing any more (seconds since 1970).
/// The data plane asks the same before it sends one.
struct StapleFacts: Sendable, Hashable {
  var problem: String?
  var until = Int.max
}

// SAFETY of this file: pointers come from OpenSSL and are released once; what is asked of a response lives as long.

/// Reads a response in DER (RFC 6960) and holds it against the leaf that it should be about.
func inspectStaple(_ der: [UInt8], leaf: OpaquePointer) -> StapleFacts {
  defer { ERR_clear_error() }
  let response = unsafe der.withUnsafeBufferPointer { memory in
    var cursor = memory.baseAddress
    return unsafe d2i_OCSP_RESPONSE(nil, &cursor, memory.count)
  }
  guard let response = unsafe response else { return StapleFacts(problem: "is no OCSP response in DER") }
  defer { unsafe OCSP_RESPONSE_free(response) }
  guard unsafe OCSP_response_status(response) == 0, let basic = unsafe OCSP_response_get1_basic(response) else {
    return StapleFacts(problem: "is no answer, but an error of the responder")
  }
  defer { unsafe OCSP_BASICRESP_free(basic) }
  for index in 0..<(unsafe OCSP_resp_count(basic)) {
    guard let single = unsafe OCSP_resp_get0(basic, index), let id = unsafe OCSP_SINGLERESP_get0_id(single) else {
      continue
    }
    var serial: UnsafeMutablePointer<ASN1_INTEGER>?
    unsafe _ = OCSP_id_get0_info(nil, nil, nil, &serial, id)
    if unsafe ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(leaf)) == 0 { return unsafe judge(single) }
  }
  return StapleFacts(problem: "is about another certificate")
}

private func judge(_ single: OpaquePointer) -> StapleFacts {
  var this: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
  var next: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
  let verdict = unsafe OCSP_single_get0_status(single, nil, nil, &this, &next)
  if verdict != V_OCSP_CERTSTATUS_GOOD { return StapleFacts(problem: "does not say that the certificate is good") }
  return unsafe StapleFacts(until: next.map { unsafe seconds($0) } ?? .max)
}

/// Seconds since 1970.
func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int {
  var broken = unsafe tm()
  guard unsafe ASN1_TIME_to_tm(time, &broken) == 1 else { return 0 }
  return unsafe timegm(&broken)
}
