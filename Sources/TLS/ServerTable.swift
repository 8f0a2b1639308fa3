internal import COpenSSL
internal import HTTPSemantics

/// What a server asks and answers by server name, in raw memory; it belongs to the base context and dies with it,
/// which is after the last connection: each keeps a reference to the context that it began with.
@safe
struct ServerTable {
  // INVARIANT: `names` has `count` entries sorted by `order`, texts in `text`; a wildcard is kept as its
  // suffix with the leading dot, which no exact name has. `entries` has `entryCount` elements; one reference to
  // the context of each is ours.
  var names: UnsafeMutablePointer<ServerName>
  var count = 0
  var text: UnsafeMutablePointer<UInt8>
  var entries: UnsafeMutablePointer<ServerEntry>
  var entryCount = 0
  var fallback: UnsafeMutablePointer<ServerEntry>?
  /// Length-prefixed names in order of preference (RFC 7301 section 3.1).
  var alpn: UnsafeMutablePointer<UInt8>
  var alpnCount: Int
  // INVARIANT: one retained reference, given back in `release`.
  var ticketKeys: Unmanaged<TLSTicketKeys>
  var maxKeyUpdates: UInt32

  /// Frees what the table owns, and itself.
  static func release(_ table: UnsafeMutablePointer<ServerTable>) {
    for index in 0..<(unsafe table.pointee.entryCount) {
      unsafe SSL_CTX_free(table.pointee.entries[index].context)
      unsafe table.pointee.entries[index].staple?.deallocate()
    }
    unsafe table.pointee.ticketKeys.release()
    unsafe table.pointee.names.deallocate()
    unsafe table.pointee.text.deallocate()
    unsafe table.pointee.entries.deallocate()
    unsafe table.pointee.alpn.deallocate()
    unsafe table.deallocate()
  }
}

/// One binding: its certificate, whom it lets in, and what its tickets are bound to.
@safe
struct ServerEntry {
  // INVARIANT: owned by the table, as is `staple` with `stapleCount` bytes.
  var context: OpaquePointer
  var staple: UnsafeMutablePointer<UInt8>?
  var stapleCount = 0
  /// Seconds since 1970 after which the staple is stale.
  var stapleUntil = 0
  /// SHA-256 of all that a session must not be carried over from: see `SessionScope`.
  var scope: InlineArray<32, UInt8>
  /// SSL_VERIFY_…; 0: clients are not asked for a certificate.
  var verifyMode: Int32 = 0
  /// Clients whose certificate does not verify are let in as if they had none.
  var isLenient = false
  /// `TLSClientValidation.identity`; 0: clients are not asked for a certificate.
  var validation: UInt64 = 0
}

@safe
struct ServerName {
  var text: UnsafePointer<UInt8>
  var count: Int
  var entry: UnsafeMutablePointer<ServerEntry>

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
  unsafe ServerTable.release(table)
}

func makeTable(
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
      entries: UnsafeMutablePointer<ServerEntry>.allocate(capacity: max(1, bindings.count)),
      alpn: alpn, alpnCount: wire.count, ticketKeys: Unmanaged.passRetained(settings.ticketKeys),
      maxKeyUpdates: UInt32(clamping: settings.maxKeyUpdates)))
  unsafe _ = SSL_CTX_set_ex_data(base, serverTableIndex, table)
  return unsafe table
}

/// Keeps the order; the first binding of a name stays.
func insert(_ name: ServerName, _ table: UnsafeMutablePointer<ServerTable>) {
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

// MARK: During a handshake

/// The ClientHello callback, before anything else of the message is acted on: the name decides about certificate,
/// client certificates and which tickets are honoured. A callback for the name alone would come too late, because
/// the library looks at tickets first. After a HelloRetryRequest it is asked again, for what the second one says.
func chooseBinding(
  _ ssl: OpaquePointer?, _ alert: UnsafeMutablePointer<Int32>?, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
  guard let table = unsafe argument?.assumingMemoryBound(to: ServerTable.self),
    let state = unsafe connectionState(of: ssl)
  else { return SSL_CLIENT_HELLO_ERROR }
  let name = unsafe helloName(ssl)
  // RFC 1035 section 2.3.4: names are at most 255 bytes; the library refuses longer ones.
  let count = min(name.count, 255)
  return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 32 + 256) { buffer in
    let scoped = unsafe buffer.baseAddress.unsafelyUnwrapped
    let text = unsafe scoped + 32
    for index in 0..<count { unsafe text[index] = lowercase(name.start[index]) }
    let found = unsafe count > 0 ? findEntry(table, text, count) : nil
    guard let entry = unsafe found ?? table.pointee.fallback else {
      // RFC 6066 section 3: a fatal unrecognized_name.
      unsafe alert?.pointee = SSL_AD_UNRECOGNIZED_NAME
      return SSL_CLIENT_HELLO_ERROR
    }
    for index in 0..<32 { unsafe scoped[index] = entry.pointee.scope[index] }
    return unsafe adopt(entry, ssl, state, scope: scoped, 32 + count)
      ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR
  }
}

private func adopt(
  _ entry: UnsafeMutablePointer<ServerEntry>, _ ssl: OpaquePointer?, _ state: UnsafeMutablePointer<ConnectionState>,
  scope: UnsafePointer<UInt8>, _ count: Int
) -> Bool {
  guard unsafe SSL_set_SSL_CTX(ssl, entry.pointee.context) != nil else { return false }
  unsafe state.pointee.entry = unsafe entry
  // The mode goes with the connection, not with the context.
  unsafe SSL_set_verify(ssl, entry.pointee.verifyMode, entry.pointee.isLenient ? { _, _ in 1 } : nil)
  if unsafe entry.pointee.verifyMode != 0 { unsafe SSL_set_verify_depth(ssl, TLSClientValidation.maximumDepth) }
  // RFC 6066 section 3: a session is not resumed under another name.
  var digest = InlineArray<32, UInt8>(repeating: 0)
  return unsafe withUnsafeMutableBytes(of: &digest) { raw in
    let bytes = unsafe raw.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self)
    return unsafe EVP_Digest(scope, count, bytes, nil, EVP_sha256(), nil) == 1
      && SSL_set_session_id_context(ssl, bytes, 32) == 1
  }
}

/// The host name of a ClientHello (RFC 6066 section 3); empty without one, or when the extension is not well formed:
/// the library, which reads it later, ends the handshake then.
private func helloName(_ ssl: OpaquePointer?) -> Bytes {
  var start: UnsafePointer<UInt8>?
  var count = 0
  guard unsafe SSL_client_hello_get0_ext(ssl, UInt32(TLSEXT_TYPE_server_name), &start, &count) == 1,
    let bytes = unsafe start, count >= 5
  else { return .empty }
  // A list of its length, and in it one name: type 0, length, text.
  let listed = unsafe Int(bytes[0]) << 8 | Int(bytes[1])
  let length = unsafe Int(bytes[3]) << 8 | Int(bytes[4])
  guard unsafe bytes[2] == 0, listed == count - 2, length == count - 5 else { return .empty }
  return unsafe Bytes(start: bytes + 5, count: length)
}

/// The name is known already; this only says that it was taken, so that the library keeps and acknowledges it.
func acknowledgeName(
  _: OpaquePointer?, _: UnsafeMutablePointer<Int32>?, _: UnsafeMutableRawPointer?
) -> Int32 { SSL_TLSEXT_ERR_OK }

/// The whole name, then what is behind each dot, the longest first. `text` has room for one byte in front.
private func findEntry(
  _ table: UnsafeMutablePointer<ServerTable>, _ text: UnsafePointer<UInt8>, _ count: Int
) -> UnsafeMutablePointer<ServerEntry>? {
  if let found = unsafe search(table, text, count) { return unsafe found }
  for index in 1..<max(2, count) where unsafe index < count && text[index] == 0x2e {
    if let found = unsafe search(table, text + index, count - index) { return unsafe found }
  }
  return nil
}

private func search(
  _ table: UnsafeMutablePointer<ServerTable>, _ text: UnsafePointer<UInt8>, _ count: Int
) -> UnsafeMutablePointer<ServerEntry>? {
  var low = 0
  var high = unsafe table.pointee.count
  while low < high {
    let middle = (low + high) / 2
    let order = unsafe ServerName.order(text, count, table.pointee.names[middle])
    if order == 0 { return unsafe table.pointee.names[middle].entry }
    if order < 0 { high = middle } else { low = middle + 1 }
  }
  return nil
}

func chooseProtocol(
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

/// A client asks for a staple (RFC 6066 section 8). What is stale by now is not sent.
func sendStaple(_ ssl: OpaquePointer?, _: UnsafeMutableRawPointer?) -> Int32 {
  guard let entry = unsafe connectionState(of: ssl)?.pointee.entry, let staple = unsafe entry.pointee.staple,
    unsafe time(nil) <= entry.pointee.stapleUntil,
    let copy = unsafe CRYPTO_memdup(staple, entry.pointee.stapleCount, nil, 0)
  else { return SSL_TLSEXT_ERR_NOACK }
  // The library frees the copy.
  let bytes = unsafe copy.assumingMemoryBound(to: UInt8.self)
  return unsafe sluice_SSL_set_status_response(ssl, bytes, entry.pointee.stapleCount) == 1
    ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK
}
