internal import COpenSSL
internal import HTTPSemantics

/// Which certificate answers for which names of one listener.
public struct TLSBinding: Sendable {
  /// Server names (RFC 6066 section 3): "www.example.com", "*.example.com" (every name below, the longest
  /// such suffix wins), "*" or "" (any name, and clients that send none).
  public var names: [String]
  public var certificate: TLSCertificate

  public init(names: [String], certificate: TLSCertificate) {
    self.names = names
    self.certificate = certificate
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

  /// - Parameters:
  ///   - bindings: the first of two that claim the same name wins.
  ///   - alpn: in order of our preference; a client that offers others only is turned away.
  ///   - identity: names the listener; a ticket of one identity is not honoured by another, even with the
  ///     same keys.
  ///   - ticketKeys: from `makeTicketKeys`, so that tickets live through a change of configuration; nil: own
  ///     keys.
  public init(
    bindings: [TLSBinding], alpn: [ALPN] = [.h2, .http1], minimumVersion: TLSVersion = .tls12,
    maximumVersion: TLSVersion = .tls13, identity: String = "", ticketKeys: [UInt8]? = nil
  ) throws(TLSError) {
    let settings = ServerSettings(
      alpn: alpn, minimum: minimumVersion, maximum: maximumVersion, identity: Array(identity.utf8))
    let base = unsafe try makeServerBase(settings, ticketKeys)
    do {
      try unsafe fillServer(base, bindings, settings)
    } catch {
      unsafe SSL_CTX_free(base)
      throw error
    }
    unsafe handle = TLSServerHandle(base: base)
  }

  deinit { unsafe SSL_CTX_free(handle.base) }

  /// Random keys for `ticketKeys`.
  public static func makeTicketKeys() -> [UInt8] {
    var keys = [UInt8](repeating: 0, count: ticketKeyBytes)
    // SAFETY: the array has as many bytes as it is asked for.
    let made = unsafe keys.withUnsafeMutableBytes { raw in
      unsafe RAND_bytes(raw.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(raw.count))
    }
    precondition(made == 1)
    return keys
  }
}

/// What a worker needs of a `TLSServer`, which must be alive when a connection is accepted. Trivial.
@safe
public struct TLSServerHandle: @unchecked Sendable {
  // INVARIANT: the library counts references by itself, thread-safe; the context is not changed once it is
  // published.
  let base: OpaquePointer
}

private let ticketKeyBytes = 80

struct ServerSettings {
  var alpn: [ALPN]
  var minimum: TLSVersion
  var maximum: TLSVersion
  var identity: [UInt8]
}

/// The SNI table of a server in raw memory; it belongs to the base context and dies with it.
@safe
struct ServerTable {
  // INVARIANT: `names` has `count` entries sorted by `order`, texts in `text`; a wildcard is kept as its
  // suffix with the leading dot, which no exact name has. One reference to each context of `contexts` is
  // ours.
  var names: UnsafeMutablePointer<ServerName>
  var count = 0
  var text: UnsafeMutablePointer<UInt8>
  var contexts: UnsafeMutablePointer<OpaquePointer>
  var contextCount = 0
  var fallback: OpaquePointer?
  /// Length-prefixed names in order of preference (RFC 7301 section 3.1).
  var alpn: UnsafeMutablePointer<UInt8>
  var alpnCount: Int
}

@safe
struct ServerName {
  var text: UnsafePointer<UInt8>
  var count: Int
  var context: OpaquePointer

  /// By length, then by bytes.
  static func order(_ text: UnsafePointer<UInt8>, _ count: Int, _ other: ServerName) -> Int32 {
    if count != other.count { return count < other.count ? -1 : 1 }
    return unsafe memcmp(text, other.text, count)
  }
}

// SAFETY of the rest: contexts are alive while they are configured; the table is made before its context is
// published and only read afterwards; callbacks get what was registered with them.

/// The index under which a base context keeps its table.
let serverTableIndex: Int32 = unsafe sluice_SSL_CTX_new_index { _, data, _, _, _, _ in
  guard let table = unsafe data?.assumingMemoryBound(to: ServerTable.self) else { return }
  for index in 0..<(unsafe table.pointee.contextCount) { unsafe SSL_CTX_free(table.pointee.contexts[index]) }
  unsafe table.pointee.names.deallocate()
  unsafe table.pointee.text.deallocate()
  unsafe table.pointee.contexts.deallocate()
  unsafe table.pointee.alpn.deallocate()
  unsafe table.deallocate()
}

private func makeServerBase(_ settings: ServerSettings, _ ticketKeys: [UInt8]?) throws(TLSError)
  -> OpaquePointer
{
  let base = unsafe try makeContext(TLS_server_method(), settings.minimum, settings.maximum)
  unsafe configureServer(base, settings)
  if var keys = ticketKeys {
    precondition(keys.count == ticketKeyBytes)
    unsafe _ = keys.withUnsafeMutableBytes { raw in
      unsafe SSL_CTX_ctrl(base, SSL_CTRL_SET_TLSEXT_TICKET_KEYS, raw.count, raw.baseAddress)
    }
  }
  return unsafe base
}

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
  let isConfigured =
    unsafe sluice_SSL_CTX_set_min_proto_version(made, minimum.number) == 1
    && sluice_SSL_CTX_set_max_proto_version(made, maximum.number) == 1
    && SSL_CTX_set_cipher_list(made, tls12) == 1 && SSL_CTX_set_ciphersuites(made, tls13) == 1
    && sluice_SSL_CTX_set1_groups_list(made, "X25519:P-256:P-384") == 1
  guard isConfigured else {
    unsafe SSL_CTX_free(made)
    throw TLSError(
      .refused, certificate: "", message: "the TLS library refuses our ciphers: \(takeLibraryError())")
  }
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

private func configureServer(_ made: OpaquePointer, _ settings: ServerSettings) {
  var digest = [UInt8](repeating: 0, count: 32)
  // The library takes at most 32 bytes: a digest of the identity.
  unsafe _ = settings.identity.withUnsafeBytes { identity in
    unsafe digest.withUnsafeMutableBytes { raw in
      unsafe EVP_Digest(identity.baseAddress, identity.count, raw.baseAddress, nil, EVP_sha256(), nil)
    }
  }
  unsafe _ = SSL_CTX_set_session_id_context(made, digest, 32)
  unsafe _ = SSL_CTX_set_num_tickets(made, 1)
}

private func fillServer(
  _ base: OpaquePointer, _ bindings: [TLSBinding], _ settings: ServerSettings
) throws(TLSError) {
  let table = unsafe makeTable(base, bindings, settings)
  unsafe attach(base, table)
  var names: [(text: [UInt8], context: OpaquePointer)] = unsafe []
  for binding in bindings {
    let made = unsafe try makeEntry(binding.certificate, settings, table)
    unsafe table.pointee.contexts[table.pointee.contextCount] = made
    unsafe table.pointee.contextCount += 1
    for name in binding.names {
      let text = Array(name.utf8.map { lowercase($0) })
      if text.isEmpty || text == [0x2a] {
        if unsafe table.pointee.fallback == nil { unsafe table.pointee.fallback = made }
      } else {
        unsafe names.append((text: text.first == 0x2a ? Array(text.dropFirst()) : text, context: made))
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
    unsafe insert(ServerName(text: UnsafePointer(start), count: count, context: name.context), table)
  }
}

/// Keeps the order; the first binding of a name stays.
private func insert(_ name: ServerName, _ table: UnsafeMutablePointer<ServerTable>) {
  var place = unsafe table.pointee.count
  while place > 0 {
    let order = unsafe ServerName.order(name.text, name.count, table.pointee.names[place - 1])
    if order == 0 { return }
    if order > 0 { break }
    place -= 1
  }
  let base = unsafe table.pointee.names
  unsafe (base + table.pointee.count).initialize(to: name)
  var index = unsafe table.pointee.count
  while index > place {
    unsafe base[index] = base[index - 1]
    index -= 1
  }
  unsafe base[place] = name
  unsafe table.pointee.count += 1
}

private func makeTable(
  _ base: OpaquePointer, _ bindings: [TLSBinding], _ settings: ServerSettings
) -> UnsafeMutablePointer<ServerTable> {
  var nameCount = 0
  var textBytes = 0
  for binding in bindings {
    nameCount += binding.names.count
    for name in binding.names { textBytes += name.utf8.count }
  }
  var wire: [UInt8] = []
  for item in settings.alpn where item != .none { wire += [UInt8(item.wireName.count)] + item.wireName }
  let alpn = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, wire.count))
  unsafe alpn.initialize(from: wire, count: wire.count)
  let table = UnsafeMutablePointer<ServerTable>.allocate(capacity: 1)
  unsafe table.initialize(
    to: ServerTable(
      names: UnsafeMutablePointer<ServerName>.allocate(capacity: max(1, nameCount)),
      text: UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, textBytes)),
      contexts: UnsafeMutablePointer<OpaquePointer>.allocate(capacity: max(1, bindings.count)),
      alpn: alpn, alpnCount: wire.count))
  unsafe _ = SSL_CTX_set_ex_data(base, serverTableIndex, table)
  return unsafe table
}

/// The callbacks are asked of the base context first and of the chosen one later: both have them.
private func attach(_ made: OpaquePointer, _ table: UnsafeMutablePointer<ServerTable>) {
  unsafe sluice_SSL_CTX_set_servername(made, chooseCertificate, table)
  if unsafe table.pointee.alpnCount > 0 { unsafe SSL_CTX_set_alpn_select_cb(made, chooseProtocol, table) }
}

private func makeEntry(
  _ certificate: TLSCertificate, _ settings: ServerSettings, _ table: UnsafeMutablePointer<ServerTable>
) throws(TLSError) -> OpaquePointer {
  let loaded = try LoadedCertificate(certificate)
  defer { loaded.destroy() }
  let made = unsafe try makeContext(TLS_server_method(), settings.minimum, settings.maximum)
  unsafe configureServer(made, settings)
  unsafe attach(made, table)
  do {
    try unsafe use(loaded, made, certificate.name)
  } catch {
    unsafe SSL_CTX_free(made)
    throw error
  }
  return unsafe made
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

// MARK: During a handshake

private func chooseCertificate(
  _ ssl: OpaquePointer?, _ alert: UnsafeMutablePointer<Int32>?, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
  guard let table = unsafe argument?.assumingMemoryBound(to: ServerTable.self) else {
    return SSL_TLSEXT_ERR_NOACK
  }
  var chosen = unsafe table.pointee.fallback
  if let name = unsafe SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) {
    let count = unsafe strlen(name)
    if let found = unsafe findContext(table, name, count) { unsafe chosen = found }
  }
  guard let chosen = unsafe chosen else {
    // RFC 6066 section 3: a fatal unrecognized_name.
    unsafe alert?.pointee = SSL_AD_UNRECOGNIZED_NAME
    return SSL_TLSEXT_ERR_ALERT_FATAL
  }
  unsafe _ = SSL_set_SSL_CTX(ssl, chosen)
  return SSL_TLSEXT_ERR_OK
}

private func findContext(
  _ table: UnsafeMutablePointer<ServerTable>, _ name: UnsafePointer<CChar>, _ count: Int
) -> OpaquePointer? {
  // RFC 1035 section 2.3.4: names are at most 255 bytes.
  guard count > 0 && count <= 255 else { return nil }
  return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 256) { buffer in
    let text = unsafe buffer.baseAddress.unsafelyUnwrapped
    for index in 0..<count { unsafe text[index] = lowercase(UInt8(bitPattern: name[index])) }
    if let found = unsafe search(table, text, count) { return unsafe found }
    for index in 1..<max(2, count) where unsafe index < count && text[index] == 0x2e {
      if let found = unsafe search(table, text + index, count - index) { return unsafe found }
    }
    return nil
  }
}

private func search(
  _ table: UnsafeMutablePointer<ServerTable>, _ text: UnsafePointer<UInt8>, _ count: Int
) -> OpaquePointer? {
  var low = 0
  var high = unsafe table.pointee.count
  while low < high {
    let middle = (low + high) / 2
    let order = unsafe ServerName.order(text, count, table.pointee.names[middle])
    if order == 0 { return unsafe table.pointee.names[middle].context }
    if order < 0 { high = middle } else { low = middle + 1 }
  }
  return nil
}

private func chooseProtocol(
  _ ssl: OpaquePointer?, _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
  _ chosenCount: UnsafeMutablePointer<UInt8>?, _ offered: UnsafePointer<UInt8>?, _ offeredCount: UInt32,
  _ argument: UnsafeMutableRawPointer?
) -> Int32 {
  guard let table = unsafe argument?.assumingMemoryBound(to: ServerTable.self), let offered = unsafe offered
  else {
    return SSL_TLSEXT_ERR_ALERT_FATAL
  }
  let ours = unsafe table.pointee.alpn
  var mine = 0
  while unsafe mine < table.pointee.alpnCount {
    let length = unsafe Int(ours[mine])
    var theirs = 0
    // The library has checked that the offered list is well formed.
    while theirs < Int(offeredCount) {
      let other = unsafe Int(offered[theirs])
      if unsafe other == length && memcmp(ours + mine + 1, offered + theirs + 1, length) == 0 {
        unsafe chosen?.pointee = UnsafePointer(ours + mine + 1)
        unsafe chosenCount?.pointee = UInt8(length)
        return SSL_TLSEXT_ERR_OK
      }
      theirs += 1 + other
    }
    mine += 1 + length
  }
  // no_application_protocol (RFC 7301 section 3.2).
  return SSL_TLSEXT_ERR_ALERT_FATAL
}
