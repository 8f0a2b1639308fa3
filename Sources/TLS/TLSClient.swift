internal import COpenSSL

/// How the certificates of backends are judged.
public enum TLSVerification: Sendable {
  /// Against the roots of the system.
  case system
  /// Against these PEM certificates only; `name` is for messages.
  case authorities(name: String, pem: [UInt8])
  /// The same of certificates that were read before.
  case trust(TrustStore)
  /// Not at all: the connection is encrypted, its other end may be anybody.
  case off
}

/// A name that a certificate may be good for.
public enum TLSPeerName: Sendable, Hashable {
  /// By the rules of RFC 9525: a wildcard of the certificate stands for one whole label.
  case dns(String)
  /// Byte by byte, as SPIFFE wants it.
  case uri(String)
}

/// The TLS side of connections to a group of backends. Built on the control thread; workers use `handle`.
///
/// Connections keep what they need of it: the object may go away while they live.
public final class TLSClient: Sendable {
  public let handle: TLSClientHandle

  /// - Parameters:
  ///   - peerNames: the certificate must carry one of these; empty: the `serverName` of the connection.
  ///   - alpn: what is offered, in order of preference, unless a connection says otherwise; empty: no offer.
  ///   - certificate: what we show when the backend asks for one.
  public init(
    verification: TLSVerification, peerNames: [TLSPeerName] = [], alpn: [ALPN] = [],
    certificate: TLSCertificate? = nil, minimumVersion: TLSVersion = .tls12, maximumVersion: TLSVersion = .tls13
  ) throws(TLSError) {
    let made = unsafe try makeContext(TLS_client_method(), minimumVersion, maximumVersion)
    do {
      try unsafe setVerification(made, verification, peerNames)
      if let certificate {
        let loaded = try LoadedCertificate(certificate)
        defer { loaded.destroy() }
        try unsafe use(loaded, made, certificate.name)
      }
    } catch {
      unsafe SSL_CTX_free(made)
      throw error
    }
    let wire = alpn.flatMap(\.offer)
    if !wire.isEmpty { unsafe _ = SSL_CTX_set_alpn_protos(made, wire, UInt32(wire.count)) }
    var isVerifying = true
    if case .off = verification { isVerifying = false }
    unsafe handle = TLSClientHandle(base: made, verifiesServerName: isVerifying && peerNames.isEmpty)
  }

  deinit { unsafe SSL_CTX_free(handle.base) }
}

/// What a worker needs of a `TLSClient`, which must be alive when a connection is started. Trivial.
@safe
public struct TLSClientHandle: @unchecked Sendable {
  // INVARIANT: the library counts references by itself, thread-safe; the context is not changed once it is
  // published.
  let base: OpaquePointer
  /// The certificate must be good for the name that the connection asks for.
  let verifiesServerName: Bool
}

// SAFETY of the rest: contexts are alive and not yet published while they are configured; names are made before
// that and only read afterwards; the callback gets what was registered with its context.

private func setVerification(
  _ made: OpaquePointer, _ verification: TLSVerification, _ peerNames: [TLSPeerName]
) throws(TLSError) {
  let store: TrustStore
  switch verification {
  case .off:
    unsafe SSL_CTX_set_verify(made, SSL_VERIFY_NONE, nil)
    return
  case .system: store = try TrustStore()
  case .authorities(let name, let pem): store = try TrustStore(name: name, pem: pem)
  case .trust(let known): store = known
  }
  unsafe SSL_CTX_set1_cert_store(made, store.handle.store)
  unsafe X509_VERIFY_PARAM_set_hostflags(SSL_CTX_get0_param(made), hostFlags)
  if peerNames.isEmpty {
    unsafe SSL_CTX_set_verify(made, SSL_VERIFY_PEER, nil)
  } else {
    unsafe _ = SSL_CTX_set_ex_data(made, peerNamesIndex, makePeerNames(peerNames))
    unsafe SSL_CTX_set_verify(made, SSL_VERIFY_PEER, checkPeerNames)
  }
}

/// A name stands in subjectAltName or it does not count (RFC 9525 section 2).
private let hostFlags = UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)

// MARK: Names other than the one that was asked for

/// The names that a context takes, in raw memory; it belongs to the context and dies with it.
@safe
private struct PeerNames {
  // INVARIANT: `count` elements, each with `count` bytes and a zero behind them; ours.
  var names: UnsafeMutablePointer<PeerName>
  var count: Int
}

@safe
private struct PeerName {
  var text: UnsafeMutablePointer<CChar>
  var count: Int
  var isURI: Bool
}

/// The index under which a context keeps its names.
private let peerNamesIndex: Int32 = unsafe sluice_SSL_CTX_new_index { _, data, _, _, _, _ in
  guard let names = unsafe data?.assumingMemoryBound(to: PeerNames.self) else { return }
  for index in 0..<(unsafe names.pointee.count) { unsafe names.pointee.names[index].text.deallocate() }
  unsafe names.pointee.names.deallocate()
  unsafe names.deallocate()
}

private func makePeerNames(_ list: [TLSPeerName]) -> UnsafeMutablePointer<PeerNames> {
  let names = UnsafeMutablePointer<PeerName>.allocate(capacity: list.count)
  for (index, name) in list.enumerated() {
    let (bytes, isURI) =
      switch name {
      case .dns(let text): (Array(text.utf8), false)
      case .uri(let text): (Array(text.utf8), true)
      }
    let text = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count + 1)
    for (place, byte) in bytes.enumerated() { unsafe text[place] = CChar(bitPattern: byte) }
    unsafe text[bytes.count] = 0
    unsafe (names + index).initialize(to: PeerName(text: text, count: bytes.count, isURI: isURI))
  }
  let made = UnsafeMutablePointer<PeerNames>.allocate(capacity: 1)
  unsafe made.initialize(to: PeerNames(names: names, count: list.count))
  return unsafe made
}

/// Asked for every certificate of the chain; the leaf comes last, when the rest has been found good.
private func checkPeerNames(_ isGood: Int32, _ chain: OpaquePointer?) -> Int32 {
  guard isGood == 1, unsafe X509_STORE_CTX_get_error_depth(chain) == 0 else { return isGood }
  let ssl = unsafe X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx())
  let context = unsafe SSL_get_SSL_CTX(OpaquePointer(ssl))
  let names = unsafe SSL_CTX_get_ex_data(context, peerNamesIndex)?.assumingMemoryBound(to: PeerNames.self)
  if let names = unsafe names, let leaf = unsafe X509_STORE_CTX_get_current_cert(chain) {
    for index in 0..<(unsafe names.pointee.count) {
      if unsafe carries(leaf, names.pointee.names[index]) { return 1 }
    }
  }
  unsafe X509_STORE_CTX_set_error(chain, X509_V_ERR_HOSTNAME_MISMATCH)
  return 0
}

private func carries(_ leaf: OpaquePointer, _ name: PeerName) -> Bool {
  if !name.isURI { return unsafe X509_check_host(leaf, name.text, name.count, hostFlags, nil) == 1 }
  guard let list = unsafe X509_get_ext_d2i(leaf, NID_subject_alt_name, nil, nil) else { return false }
  let stack = OpaquePointer(list)
  defer { unsafe GENERAL_NAMES_free(stack) }
  for index in 0..<(unsafe OPENSSL_sk_num(stack)) {
    guard let entry = unsafe OPENSSL_sk_value(stack, index) else { continue }
    var form: Int32 = 0
    // SAFETY: the stack holds GENERAL_NAME structures; a value of form GEN_URI is an ASN1_IA5STRING that lives as
    // long as the stack does.
    let value = unsafe GENERAL_NAME_get0_value(entry.assumingMemoryBound(to: GENERAL_NAME.self), &form)
    guard let value = unsafe value, form == GEN_URI else { continue }
    let text = unsafe value.assumingMemoryBound(to: ASN1_STRING.self)
    guard unsafe Int(ASN1_STRING_length(text)) == name.count, let start = unsafe ASN1_STRING_get0_data(text)
    else { continue }
    if unsafe memcmp(start, name.text, name.count) == 0 { return true }
  }
  return false
}
