internal import COpenSSL
internal import HTTPSemantics

/// Which client certificates a server asks for, and what it does without a good one.
public struct TLSClientValidation: Sendable, Hashable {
  public enum Mode: UInt8, Sendable {
    /// No handshake without a certificate that verifies.
    case required = 1
    /// A client may send none; one that it sends must verify.
    case optional = 2
    /// Every client is let in; one whose certificate does not verify counts as one that sent none.
    case insecureFallback = 3
  }

  public var mode: Mode
  /// For messages, for example "default/clients-ca".
  public var name: String
  /// PEM certificates, each of them a trust anchor, and certificate revocation lists. With a list among them, every
  /// certificate of a chain must have one of its issuer.
  public var authoritiesPEM: [UInt8]

  /// Certificates between a client's and the trust anchor.
  static let maximumDepth: Int32 = 8

  public init(mode: Mode, name: String, authoritiesPEM: [UInt8]) {
    self.mode = mode
    self.name = name
    self.authoritiesPEM = authoritiesPEM
  }

  /// A number for mode and authorities, never 0: connections that were validated alike have the same.
  public var identity: UInt64 {
    let digest = sha256([mode.rawValue] + authoritiesPEM)
    var number: UInt64 = 0
    for index in 0..<8 { number = number << 8 | UInt64(digest[index]) }
    return max(1, number)
  }

  /// Throws what building a server with this validation would throw.
  public func check() throws(TLSError) {
    let made = unsafe try makeContext(TLS_server_method(), .tls12, .tls13)
    defer { unsafe SSL_CTX_free(made) }
    try unsafe configure(made)
  }

  var verifyMode: Int32 { SSL_VERIFY_PEER | (mode == .required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0) }

  // SAFETY: the context is alive and not yet published; its list of names takes references of its own.
  func configure(_ made: OpaquePointer) throws(TLSError) {
    try unsafe addAuthorities(authoritiesPEM, named: name, to: SSL_CTX_get_cert_store(made)) { certificate in
      unsafe _ = SSL_CTX_add_client_CA(made, certificate)
    }
  }
}

// MARK: Who the client is

/// When the handshake of a server's connection is done: notes who the client is. False when it may not be let in,
/// which the library has refused already; this is the second lock on the same door.
func admitClient(_ state: UnsafeMutablePointer<ConnectionState>) -> Bool {
  // SAFETY: `state` is alive by the invariant of `TLSConnection`; its entry lives as long as its context.
  guard let entry = unsafe state.pointee.entry, unsafe entry.pointee.verifyMode != 0 else { return true }
  let ssl = unsafe state.pointee.ssl
  let certificate = unsafe SSL_get0_peer_certificate(ssl)
  if let certificate = unsafe certificate, unsafe SSL_get_verify_result(ssl) == Int(X509_V_OK) {
    unsafe describeClient(certificate, state)
    return true
  }
  return unsafe entry.pointee.verifyMode & SSL_VERIFY_FAIL_IF_NO_PEER_CERT == 0
}

/// The most bytes of an identity; names that find no room are left out.
private let identityBytes = 2048

/// The value of an `x-forwarded-client-cert` field: `Hash=…;Subject="…";URI=…;DNS=…`. Hash is the SHA-256 of the
/// certificate in hexadecimal digits, Subject as RFC 2253 writes it, URI and DNS stand once for each of these names.
private func describeClient(_ certificate: OpaquePointer, _ state: UnsafeMutablePointer<ConnectionState>) {
  let text = UnsafeMutablePointer<UInt8>.allocate(capacity: identityBytes)
  var writer = unsafe IdentityWriter(base: text)
  var digest = InlineArray<64, UInt8>(repeating: 0)
  var count: UInt32 = 0
  // SAFETY: a digest has 64 bytes at most (EVP_MAX_MD_SIZE).
  unsafe withUnsafeMutableBytes(of: &digest) { raw in
    let place = unsafe raw.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
    unsafe _ = X509_digest(certificate, EVP_sha256(), place, &count)
  }
  writer.append("Hash=")
  for index in 0..<min(32, Int(count)) {
    writer.append(hexadecimalDigit(digest[index] >> 4))
    writer.append(hexadecimalDigit(digest[index] & 15))
  }
  unsafe appendSubject(certificate, &writer)
  unsafe appendNames(certificate, &writer)
  unsafe state.pointee.identity = unsafe text
  unsafe state.pointee.identityCount = writer.count
}

private func appendSubject(_ certificate: OpaquePointer, _ writer: inout IdentityWriter) {
  guard let bio = unsafe BIO_new(BIO_s_mem()) else { return }
  defer { unsafe _ = BIO_free(bio) }
  guard unsafe sluice_X509_NAME_print_rfc2253(bio, X509_get_subject_name(certificate)) >= 0 else { return }
  unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: identityBytes) { buffer in
    let place = unsafe buffer.baseAddress.unsafelyUnwrapped
    // SAFETY: the library writes no more than it is given room for.
    let count = unsafe max(0, BIO_read(bio, place, Int32(identityBytes)))
    unsafe writer.appendPair("Subject=", Bytes(start: place, count: Int(count)), isQuoted: true)
  }
}

private func appendNames(_ certificate: OpaquePointer, _ writer: inout IdentityWriter) {
  guard let list = unsafe X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil) else { return }
  let names = OpaquePointer(list)
  defer { unsafe GENERAL_NAMES_free(names) }
  for wanted in [GEN_URI, GEN_DNS] {
    for index in 0..<(unsafe OPENSSL_sk_num(names)) {
      var form: Int32 = 0
      guard let entry = unsafe OPENSSL_sk_value(names, index)?.assumingMemoryBound(to: GENERAL_NAME.self),
        let value = unsafe GENERAL_NAME_get0_value(entry, &form), form == wanted
      else { continue }
      // SAFETY: names of both forms are strings of ASN.1.
      let string = unsafe value.assumingMemoryBound(to: ASN1_STRING.self)
      guard let start = unsafe ASN1_STRING_get0_data(string) else { continue }
      let bytes = unsafe Bytes(start: start, count: Int(ASN1_STRING_length(string)))
      writer.appendPair(wanted == GEN_URI ? "URI=" : "DNS=", bytes, isQuoted: false)
    }
  }
}

private func hexadecimalDigit(_ number: UInt8) -> UInt8 { number < 10 ? 48 + number : 87 + number }

/// Composes an identity in memory of `identityBytes`.
@safe
private struct IdentityWriter {
  // INVARIANT: `identityBytes` bytes; count ≤ identityBytes.
  let base: UnsafeMutablePointer<UInt8>
  private(set) var count = 0

  init(base: UnsafeMutablePointer<UInt8>) { unsafe self.base = unsafe base }

  mutating func append(_ byte: UInt8) {
    guard count < identityBytes else { return }
    unsafe base[count] = byte
    count += 1
  }

  mutating func append(_ text: StaticString) {
    for index in 0..<text.utf8CodeUnitCount { unsafe append(text.utf8Start[index]) }
  }

  /// `;key=value`, as a whole or not at all. A value that is not printable ASCII says nothing that could be passed on;
  /// one with a separator in it is quoted.
  mutating func appendPair(_ key: StaticString, _ value: Bytes, isQuoted: Bool) {
    var quotes = isQuoted
    var length = 0
    for index in 0..<value.count {
      let byte = unsafe value.start[index]
      guard byte >= 0x20, byte < 0x7f else { return }
      length += byte == 0x22 || byte == 0x5c ? 2 : 1
      // Space, quote, comma, semicolon, equals sign.
      if byte == 0x20 || byte == 0x22 || byte == 0x2c || byte == 0x3b || byte == 0x3d { quotes = true }
    }
    guard count + 1 + key.utf8CodeUnitCount + length + 2 <= identityBytes else { return }
    append(0x3b)
    append(key)
    if quotes { append(0x22) }
    for index in 0..<value.count {
      let byte = unsafe value.start[index]
      if byte == 0x22 || quotes && byte == 0x5c { append(0x5c) }
      append(byte)
    }
    if quotes { append(0x22) }
  }
}
