internal import COpenSSL
internal import HTTPSemantics

/// Which certificate answers for which names of one listener, and whom it asks for a certificate.
public struct TLSBinding: Sendable {
  /// Server names (RFC 6066 section 3): "www.example.com", "*.example.com" (every name below, the longest
  /// such suffix wins), "*" or "" (any name, and clients that send none).
  public var names: [String]
  public var certificate: TLSCertificate
  /// How certificates of clients are judged; nil: none is asked for.
  public var clients: TLSClientValidation?
  /// False: what the client offers by ALPN is passed over, because the names lead to no protocol that we know.
  public var negotiatesALPN = true

  public init(names: [String], certificate: TLSCertificate, clients: TLSClientValidation? = nil) {
    self.names = names
    self.certificate = certificate
    self.clients = clients
  }
}

/// Protocol versions that may be offered; nothing below is compiled in.
public enum TLSVersion: UInt8, Sendable {
  case tls12, tls13

  var number: Int32 { self == .tls12 ? TLS1_2_VERSION : TLS1_3_VERSION }
}

/// The TLS side of one listener: its certificates, its tickets. Built on the control thread; workers use
/// `handle`.
///
/// Connections in a handshake keep what they need: the object may go away while they live.
public final class TLSServer: Sendable {
  public let handle: TLSServerHandle
  /// What was left out though the server works: staples that are not sent, certificates out of their time.
  public let notices: [String]

  /// - Parameters:
  ///   - bindings: the first of two that claim the same name wins.
  ///   - alpn: in order of our preference; a client that offers others only is turned away.
  ///   - identity: names the listener; a ticket of one identity is not honoured by another, even with the
  ///     same keys. Neither is one of another binding, another server name or other authorities for clients.
  ///   - ticketKeys: shared, so that tickets live through a change of configuration; nil: own keys.
  ///   - maxKeyUpdates: KeyUpdate messages (RFC 8446 section 4.6.3) that one connection may send.
  public init(
    bindings: [TLSBinding], alpn: [ALPN] = [.h2, .http1], minimumVersion: TLSVersion = .tls12,
    maximumVersion: TLSVersion = .tls13, identity: String = "", ticketKeys: TLSTicketKeys? = nil,
    maxKeyUpdates: Int = 100
  ) throws(TLSError) {
    let settings = ServerSettings(
      alpn: alpn, minimum: minimumVersion, maximum: maximumVersion, identity: identity,
      ticketKeys: ticketKeys ?? TLSTicketKeys(intervalMilliseconds: 3_600_000), maxKeyUpdates: maxKeyUpdates)
    let base = unsafe try makeServerContext(settings)
    do {
      notices = try unsafe fillServer(base, bindings, settings)
    } catch {
      unsafe SSL_CTX_free(base)
      throw error
    }
    unsafe handle = TLSServerHandle(base: base)
  }

  deinit { unsafe SSL_CTX_free(handle.base) }
}

/// What a worker needs of a `TLSServer`, which must be alive when a connection is accepted. Trivial.
@safe
public struct TLSServerHandle: @unchecked Sendable {
  // INVARIANT: the library counts references by itself, thread-safe; the context is not changed once it is
  // published.
  let base: OpaquePointer
}

struct ServerSettings {
  var alpn: [ALPN]
  var minimum: TLSVersion
  var maximum: TLSVersion
  var identity: String
  var ticketKeys: TLSTicketKeys
  var maxKeyUpdates: Int
}

// SAFETY of the rest: contexts are alive while they are configured, and not published yet.

/// What both sides have in common: versions, forward-secret ciphers, no compression, no renegotiation.
func makeContext(
  _ method: OpaquePointer?, _ minimum: TLSVersion, _ maximum: TLSVersion
) throws(TLSError) -> OpaquePointer {
  guard let made = unsafe SSL_CTX_new(method) else {
    throw TLSError(.noMemory, certificate: "", message: "no TLS context: \(takeLibraryError())")
  }
  let tls12 =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:"
    + "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
  let tls13 = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
  // Without SHA-1, which RFC 9155 forbids in TLS 1.2.
  let signatures =
    "ECDSA+SHA256:ed25519:RSA-PSS+SHA256:RSA+SHA256:ECDSA+SHA384:RSA-PSS+SHA384:RSA+SHA384:ECDSA+SHA512:"
    + "RSA-PSS+SHA512:RSA+SHA512"
  let isConfigured =
    unsafe sluice_SSL_CTX_set_min_proto_version(made, minimum.number) == 1
    && sluice_SSL_CTX_set_max_proto_version(made, maximum.number) == 1
    && SSL_CTX_set_cipher_list(made, tls12) == 1 && SSL_CTX_set_ciphersuites(made, tls13) == 1
    && sluice_SSL_CTX_set1_groups_list(made, "X25519:P-256:P-384") == 1
    && sluice_SSL_CTX_set1_sigalgs_list(made, signatures) == 1
  guard isConfigured else {
    unsafe SSL_CTX_free(made)
    throw TLSError(
      .refused, certificate: "", message: "the TLS library refuses our ciphers: \(takeLibraryError())")
  }
  // Whatever the system's own configuration says: RSA keys of 2,048 bits, curves of 224 (SSL_CTX_set_security_level).
  unsafe SSL_CTX_set_security_level(made, 2)
  let noCompression: UInt64 = 1 << 17
  let serverPreference: UInt64 = 1 << 22
  let noRenegotiation: UInt64 = 1 << 30
  unsafe _ = SSL_CTX_set_options(made, noCompression | serverPreference | noRenegotiation)
  // An idle connection keeps no record buffers; a partial write is never retried from elsewhere, because the
  // output always takes everything.
  unsafe _ = sluice_SSL_CTX_set_mode(
    made, Int(SSL_MODE_RELEASE_BUFFERS) | Int(SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER))
  unsafe _ = sluice_SSL_CTX_set_session_cache_mode(made, Int(SSL_SESS_CACHE_OFF))
  return unsafe made
}

private func makeServerContext(_ settings: ServerSettings) throws(TLSError) -> OpaquePointer {
  let made = unsafe try makeContext(TLS_server_method(), settings.minimum, settings.maximum)
  // No early data (RFC 8446 section 8): it may be replayed.
  unsafe _ = SSL_CTX_set_max_early_data(made, 0)
  if settings.ticketKeys.intervalMilliseconds == 0 {
    let noTicket: UInt64 = 1 << 14
    unsafe _ = SSL_CTX_set_options(made, noTicket)
    unsafe _ = SSL_CTX_set_num_tickets(made, 0)
  } else {
    unsafe _ = SSL_CTX_set_num_tickets(made, 1)
    unsafe _ = SSL_CTX_set_timeout(made, settings.ticketKeys.lifetimeSeconds)
    unsafe _ = SSL_CTX_set_tlsext_ticket_key_evp_cb(made, useTicketKey)
    unsafe _ = SSL_CTX_set_session_ticket_cb(made, nil, judgeTicket, nil)
  }
  return unsafe made
}

/// - Returns: what to tell people about the certificates.
private func fillServer(
  _ base: OpaquePointer, _ bindings: [TLSBinding], _ settings: ServerSettings
) throws(TLSError) -> [String] {
  let table = unsafe makeTable(base, bindings, settings)
  unsafe attach(base, table, negotiatesALPN: true)
  var names: [(text: [UInt8], entry: UnsafeMutablePointer<ServerEntry>)] = unsafe []
  var notices: [String] = []
  for binding in bindings {
    let entry = unsafe table.pointee.entries + table.pointee.entryCount
    try unsafe makeEntry(binding, settings, table, entry, &notices)
    unsafe table.pointee.entryCount += 1
    for name in binding.names {
      let text = Array(name.utf8.map { lowercase($0) })
      if text.isEmpty || text == [0x2a] {
        if unsafe table.pointee.fallback == nil { unsafe table.pointee.fallback = unsafe entry }
      } else {
        unsafe names.append((text: text.first == 0x2a ? Array(text.dropFirst()) : text, entry: entry))
      }
    }
  }
  var cursor = 0
  for index in 0..<(unsafe names.count) {
    let name = unsafe names[index]
    let start = unsafe table.pointee.text + cursor
    let count = unsafe name.text.count
    unsafe start.update(from: name.text, count: count)
    cursor += count
    unsafe insert(ServerName(text: UnsafePointer(start), count: count, entry: name.entry), table)
  }
  return notices
}

/// The callbacks are asked of the base context first and of the chosen one later: both have them.
private func attach(_ made: OpaquePointer, _ table: UnsafeMutablePointer<ServerTable>, negotiatesALPN: Bool) {
  unsafe SSL_CTX_set_client_hello_cb(made, chooseBinding, table)
  unsafe sluice_SSL_CTX_set_servername(made, acknowledgeName, nil)
  if unsafe negotiatesALPN && table.pointee.alpnCount > 0 {
    unsafe SSL_CTX_set_alpn_select_cb(made, chooseProtocol, table)
  }
}

private func makeEntry(
  _ binding: TLSBinding, _ settings: ServerSettings, _ table: UnsafeMutablePointer<ServerTable>,
  _ entry: UnsafeMutablePointer<ServerEntry>, _ notices: inout [String]
) throws(TLSError) {
  let certificate = binding.certificate
  let loaded = try LoadedCertificate(certificate)
  defer { loaded.destroy() }
  let made = unsafe try makeServerContext(settings)
  unsafe attach(made, table, negotiatesALPN: binding.negotiatesALPN)
  do {
    try unsafe use(loaded, made, certificate.name)
    if let clients = binding.clients { try unsafe clients.configure(made) }
  } catch {
    unsafe SSL_CTX_free(made)
    throw error
  }
  var filled = unsafe ServerEntry(context: made, scope: sessionScope(binding, settings))
  if let clients = binding.clients {
    filled.verifyMode = clients.verifyMode
    filled.isLenient = clients.mode == .insecureFallback
    filled.validation = clients.identity
  }
  if let notice = loaded.outOfTime { notices.append("certificate \"\(certificate.name)\": \(notice)") }
  if !certificate.ocspStaple.isEmpty {
    do throws(TLSError) {
      let staple = try OCSPStaple(certificate, loaded)
      let bytes = UnsafeMutablePointer<UInt8>.allocate(capacity: staple.bytes.count)
      unsafe bytes.initialize(from: staple.bytes, count: staple.bytes.count)
      unsafe filled.staple = unsafe bytes
      filled.stapleCount = staple.bytes.count
      filled.stapleUntil = staple.until
      unsafe sluice_SSL_CTX_set_status(made, sendStaple, nil)
    } catch {
      notices.append("\(error)")
    }
  }
  unsafe entry.initialize(to: filled)
}

/// What a session belongs to: the listener, the names of the binding, and whom it lets in. Of a server name, see
/// `chooseBinding`. A renewed certificate does not end sessions.
private func sessionScope(_ binding: TLSBinding, _ settings: ServerSettings) -> InlineArray<32, UInt8> {
  var text = Array(settings.identity.utf8)
  for name in binding.names { text += [0] + Array(name.utf8) }
  if let clients = binding.clients {
    text += [0, 0, clients.mode.rawValue]
    unsafe withUnsafeBytes(of: clients.identity.littleEndian) { unsafe text += Array($0) }
  }
  return sha256(text)
}

func sha256(_ bytes: [UInt8]) -> InlineArray<32, UInt8> {
  var digest = InlineArray<32, UInt8>(repeating: 0)
  unsafe withUnsafeMutableBytes(of: &digest) { raw in
    let place = unsafe raw.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
    unsafe _ = EVP_Digest(bytes, bytes.count, place, nil, EVP_sha256(), nil)
  }
  return digest
}

func use(_ loaded: LoadedCertificate, _ made: OpaquePointer, _ name: String) throws(TLSError) {
  var isUsed = unsafe SSL_CTX_use_certificate(made, loaded.leaf) == 1
  for index in 0..<(unsafe loaded.chain.count) {
    isUsed = unsafe isUsed && sluice_SSL_CTX_add1_chain_cert(made, loaded.chain[index]) == 1
  }
  isUsed = unsafe isUsed && SSL_CTX_use_PrivateKey(made, loaded.key) == 1
  if !isUsed {
    throw TLSError(.refused, certificate: name, message: "refused by the TLS library: \(takeLibraryError())")
  }
}
