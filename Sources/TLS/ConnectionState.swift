internal import COpenSSL
internal import HTTPSemantics
internal import IdleMemory

/// What `TLSConnection` points to.
@safe
struct ConnectionState {
  // INVARIANT: the library's connection, ours; its BIO holds the address of this record. To be used through
  // `ssl` only.
  private let library: OpaquePointer
  // INVARIANT: set while the library's record of the connection rests; it must not be touched then.
  private var image: IdleImage?
  let isServer: Bool
  var isHandshakeDone = false
  var failure: TLSFailure?
  // INVARIANT: a view of the caller's buffer, `inputCount` bytes not read yet.
  var input: UnsafePointer<UInt8>?
  var inputCount = 0
  // INVARIANT: owned; start ≤ end ≤ capacity; bytes start..<end come before `input`.
  var kept: UnsafeMutablePointer<UInt8>?
  var keptStart = 0
  var keptEnd = 0
  var keptCapacity = 0
  // INVARIANT: owned; start ≤ end ≤ capacity; bytes start..<end wait to be sent.
  var output: UnsafeMutablePointer<UInt8>?
  var outputStart = 0
  var outputEnd = 0
  var outputCapacity = 0
  // INVARIANT: set during `writeThrough` only; `sinkCount` ≤ `sinkCapacity`.
  var sink: UnsafeMutablePointer<UInt8>?
  var sinkCount = 0
  var sinkCapacity = 0
  // INVARIANT: of the context that the connection began with, which outlives it; nil on a client's side.
  let server: UnsafeMutablePointer<ServerTable>?
  // INVARIANT: of `server`; set once the ClientHello has been read.
  var entry: UnsafeMutablePointer<ServerEntry>?
  // INVARIANT: owned, `identityCount` bytes; nil without a client certificate that was verified.
  var identity: UnsafeMutablePointer<UInt8>?
  var identityCount = 0
  var keyUpdates: UInt32 = 0
  /// A ticket of keys that are not ours, or no longer, was shown.
  var hasForeignTicket = false

  init(ssl: OpaquePointer, server: UnsafeMutablePointer<ServerTable>?) {
    unsafe library = ssl
    unsafe self.server = unsafe server
    isServer = unsafe server != nil
  }

  /// The library's connection, awake: every way to it leads through here.
  var ssl: OpaquePointer {
    @inline(__always) mutating get {
      if image != nil { wake() }
      return unsafe library
    }
  }

  var isResting: Bool { image != nil }

  @inline(never)
  private mutating func wake() {
    guard let image else { return }
    self.image = nil
    unsafe TLSMemory.bringBack(library, image)
  }

  /// Puts the library's record away, if nothing is under way on the connection.
  static func rest(_ state: UnsafeMutablePointer<ConnectionState>) {
    guard unsafe state.pointee.isHandshakeDone && state.pointee.failure == nil && !state.pointee.isResting else {
      return
    }
    if unsafe hasUnread(state) || state.pointee.outputEnd > state.pointee.outputStart { return }
    unsafe state.pointee.image = TLSMemory.putAway(state.pointee.library)
  }
}

// SAFETY of this file: `state` is alive by the invariant of `TLSConnection`; copies stay inside the bounds
// that the fields above state.

/// The library's side of a connection; it is never changed once made.
nonisolated(unsafe) private let connectionMethod: OpaquePointer? = unsafe makeMethod()

private func makeMethod() -> OpaquePointer? {
  guard let method = unsafe BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sluice") else {
    return nil
  }
  unsafe _ = BIO_meth_set_read(method) { bio, out, count in
    guard let state = unsafe connectionState(bio), let out = unsafe out, count > 0 else { return -1 }
    let got = unsafe takeInput(
      state, UnsafeMutableRawPointer(out).assumingMemoryBound(to: UInt8.self), Int(count))
    unsafe sluice_BIO_clear_retry_flags(bio)
    if got == 0 {
      unsafe sluice_BIO_set_retry_read(bio)
      return -1
    }
    return Int32(truncatingIfNeeded: got)
  }
  unsafe _ = BIO_meth_set_write(method) { bio, bytes, count in
    guard let state = unsafe connectionState(bio), let bytes = unsafe bytes, count > 0 else { return -1 }
    unsafe sluice_BIO_clear_retry_flags(bio)
    let source = unsafe UnsafeRawPointer(bytes).assumingMemoryBound(to: UInt8.self)
    return unsafe putOutput(state, source, Int(count)) ? count : -1
  }
  unsafe _ = BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
  return unsafe method
}

private func connectionState(_ bio: OpaquePointer?) -> UnsafeMutablePointer<ConnectionState>? {
  unsafe BIO_get_data(bio)?.assumingMemoryBound(to: ConnectionState.self)
}

/// The connection that a callback of the library is about.
func connectionState(of ssl: OpaquePointer?) -> UnsafeMutablePointer<ConnectionState>? {
  unsafe connectionState(SSL_get_rbio(ssl))
}

func makeConnection(_ base: OpaquePointer, isServer: Bool) -> TLSConnection? {
  guard let method = unsafe connectionMethod, let ssl = unsafe SSL_new(base) else { return nil }
  guard let bio = unsafe BIO_new(method) else {
    unsafe SSL_free(ssl)
    return nil
  }
  let state = UnsafeMutablePointer<ConnectionState>.allocate(capacity: 1)
  let table = unsafe isServer ? SSL_CTX_get_ex_data(base, serverTableIndex) : nil
  unsafe state.initialize(
    to: ConnectionState(ssl: ssl, server: table?.assumingMemoryBound(to: ServerTable.self)))
  unsafe BIO_set_data(bio, state)
  unsafe BIO_set_init(bio, 1)
  unsafe SSL_set_bio(ssl, bio, bio)
  if isServer { unsafe SSL_set_accept_state(ssl) } else { unsafe SSL_set_connect_state(ssl) }
  return unsafe TLSConnection(state: state)
}

func destroyConnection(_ state: UnsafeMutablePointer<ConnectionState>) {
  // Otherwise a connection that ends without close_notify would spoil its session for the next one.
  if unsafe state.pointee.failure == nil {
    unsafe SSL_set_shutdown(state.pointee.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
  }
  unsafe SSL_free(state.pointee.ssl)
  unsafe state.pointee.kept?.deallocate()
  unsafe state.pointee.output?.deallocate()
  unsafe state.pointee.identity?.deallocate()
  unsafe state.deinitialize(count: 1)
  unsafe state.deallocate()
}

/// Offers one application protocol, whatever the context offers.
func offerProtocol(_ state: UnsafeMutablePointer<ConnectionState>, _ alpn: ALPN) -> Bool {
  let wire = alpn.wire
  return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 16) { buffer in
    let text = unsafe buffer.baseAddress.unsafelyUnwrapped
    unsafe text[0] = UInt8(wire.utf8CodeUnitCount)
    // SAFETY: the names are shorter than the room.
    unsafe memcpy(text + 1, wire.utf8Start, wire.utf8CodeUnitCount)
    return unsafe SSL_set_alpn_protos(state.pointee.ssl, text, UInt32(wire.utf8CodeUnitCount + 1)) == 0
  }
}

func setServerName(_ state: UnsafeMutablePointer<ConnectionState>, _ name: Bytes, _ verifies: Bool) -> Bool {
  if name.firstIndex(of: 0) >= 0 || name.count > 255 { return false }
  let ssl = unsafe state.pointee.ssl
  return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
    let text = unsafe buffer.baseAddress.unsafelyUnwrapped
    unsafe memcpy(text, name.start, name.count)
    unsafe text[name.count] = 0
    let parameters = unsafe SSL_get0_param(ssl)
    if unsafe X509_VERIFY_PARAM_set1_ip_asc(parameters, text) == 1 {
      // The library would hold the certificate against it from now on.
      if !verifies { unsafe _ = X509_VERIFY_PARAM_set1_ip(parameters, nil, 0) }
      return true
    }
    ERR_clear_error()
    if unsafe sluice_SSL_set_tlsext_host_name(ssl, text) != 1 { return false }
    return unsafe !verifies || SSL_set1_host(ssl, text) == 1
  }
}

// MARK: Ciphertext

func feedInput(_ state: UnsafeMutablePointer<ConnectionState>, _ bytes: UnsafePointer<UInt8>, _ count: Int) {
  if unsafe state.pointee.failure != nil { return }
  // The order of the stream: what an earlier buffer left over comes first.
  if unsafe state.pointee.inputCount > 0 { unsafe keepUnread(state) }
  unsafe state.pointee.input = bytes
  unsafe state.pointee.inputCount = count
}

func keepUnread(_ state: UnsafeMutablePointer<ConnectionState>) {
  let count = unsafe state.pointee.inputCount
  guard count > 0, let input = unsafe state.pointee.input else { return }
  let waiting = unsafe state.pointee.keptEnd - state.pointee.keptStart
  if unsafe state.pointee.keptCapacity - state.pointee.keptEnd < count {
    let capacity = (waiting + count) * 3 / 2
    let grown = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
    if let kept = unsafe state.pointee.kept {
      unsafe memcpy(grown, kept + state.pointee.keptStart, waiting)
      unsafe kept.deallocate()
    }
    unsafe state.pointee.kept = grown
    unsafe state.pointee.keptStart = 0
    unsafe state.pointee.keptEnd = waiting
    unsafe state.pointee.keptCapacity = capacity
  }
  unsafe memcpy(state.pointee.kept.unsafelyUnwrapped + state.pointee.keptEnd, input, count)
  unsafe state.pointee.keptEnd += count
  unsafe state.pointee.inputCount = 0
  unsafe state.pointee.input = nil
}

func hasUnread(_ state: UnsafeMutablePointer<ConnectionState>) -> Bool {
  unsafe state.pointee.inputCount > 0 || state.pointee.keptEnd > state.pointee.keptStart
    || SSL_pending(state.pointee.ssl) > 0
}

private func takeInput(
  _ state: UnsafeMutablePointer<ConnectionState>, _ out: UnsafeMutablePointer<UInt8>, _ count: Int
) -> Int {
  let waiting = unsafe state.pointee.keptEnd - state.pointee.keptStart
  if waiting > 0, let kept = unsafe state.pointee.kept {
    let part = min(waiting, count)
    unsafe memcpy(out, kept + state.pointee.keptStart, part)
    unsafe state.pointee.keptStart += part
    if part == waiting {
      unsafe kept.deallocate()
      unsafe state.pointee.kept = nil
      unsafe state.pointee.keptStart = 0
      unsafe state.pointee.keptEnd = 0
      unsafe state.pointee.keptCapacity = 0
    }
    return part
  }
  guard let input = unsafe state.pointee.input else { return 0 }
  let part = unsafe min(state.pointee.inputCount, count)
  unsafe memcpy(out, input, part)
  unsafe state.pointee.input = input + part
  unsafe state.pointee.inputCount -= part
  return part
}

private func putOutput(
  _ state: UnsafeMutablePointer<ConnectionState>, _ bytes: UnsafePointer<UInt8>, _ count: Int
) -> Bool {
  var done = 0
  if unsafe state.pointee.outputEnd == state.pointee.outputStart, let sink = unsafe state.pointee.sink {
    done = unsafe min(count, state.pointee.sinkCapacity - state.pointee.sinkCount)
    unsafe memcpy(sink + state.pointee.sinkCount, bytes, done)
    unsafe state.pointee.sinkCount += done
    if done == count { return true }
  }
  let rest = count - done
  if unsafe state.pointee.outputCapacity - state.pointee.outputEnd < rest { unsafe growOutput(state, rest) }
  unsafe memcpy(state.pointee.output.unsafelyUnwrapped + state.pointee.outputEnd, bytes + done, rest)
  unsafe state.pointee.outputEnd += rest
  return true
}

private func growOutput(_ state: UnsafeMutablePointer<ConnectionState>, _ count: Int) {
  let waiting = unsafe state.pointee.outputEnd - state.pointee.outputStart
  let capacity = max(4096, (waiting + count) * 3 / 2)
  let grown = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
  if let output = unsafe state.pointee.output {
    unsafe memcpy(grown, output + state.pointee.outputStart, waiting)
    unsafe output.deallocate()
  }
  unsafe state.pointee.output = grown
  unsafe state.pointee.outputStart = 0
  unsafe state.pointee.outputEnd = waiting
  unsafe state.pointee.outputCapacity = capacity
}

func moveOutput(
  _ state: UnsafeMutablePointer<ConnectionState>, _ out: UnsafeMutablePointer<UInt8>, _ capacity: Int
) -> Int {
  let waiting = unsafe state.pointee.outputEnd - state.pointee.outputStart
  guard waiting > 0, let output = unsafe state.pointee.output else { return 0 }
  let part = min(waiting, capacity)
  unsafe memcpy(out, output + state.pointee.outputStart, part)
  unsafe state.pointee.outputStart += part
  if part == waiting {
    unsafe output.deallocate()
    unsafe state.pointee.output = nil
    unsafe state.pointee.outputStart = 0
    unsafe state.pointee.outputEnd = 0
    unsafe state.pointee.outputCapacity = 0
  }
  return part
}

// MARK: Plaintext

func readPlaintext(
  _ state: UnsafeMutablePointer<ConnectionState>, _ out: UnsafeMutablePointer<UInt8>, _ capacity: Int
) -> TLSRead {
  if let failure = unsafe state.pointee.failure { return .failed(failure) }
  let ssl = unsafe state.pointee.ssl
  ERR_clear_error()
  var count = 0
  let result = unsafe SSL_read_ex(ssl, out, capacity, &count)
  if unsafe !state.pointee.isHandshakeDone && SSL_is_init_finished(ssl) == 1 {
    unsafe state.pointee.isHandshakeDone = true
    if unsafe state.pointee.isServer && !guardConnection(state) { return unsafe .failed(fail(state, .certificate)) }
  }
  // What the library put up with and we do not: see `watchAfterHandshake`.
  if let failure = unsafe state.pointee.failure { return .failed(failure) }
  if result == 1 { return .bytes(count) }
  switch unsafe SSL_get_error(ssl, result) {
  case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return .needMore
  case SSL_ERROR_ZERO_RETURN:
    // Nothing counts behind close_notify; the caller's buffer is let go.
    unsafe state.pointee.inputCount = 0
    return .closed
  default:
    unsafe state.pointee.inputCount = 0
    return unsafe .failed(fail(state))
  }
}

/// - Parameter kind: nil: what the library's error says.
private func fail(
  _ state: UnsafeMutablePointer<ConnectionState>, _ kind: TLSFailure.Kind? = nil
) -> TLSFailure {
  let code = ERR_peek_last_error()
  ERR_clear_error()
  let verify = unsafe SSL_get_verify_result(state.pointee.ssl)
  let reason = Int32(truncatingIfNeeded: code & 0x7f_ffff)
  let isVerify = verify != 0 && reason == SSL_R_CERTIFICATE_VERIFY_FAILED
  let isCertificate = isVerify || reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE
  let told: TLSFailure.Kind =
    isCertificate ? .certificate : unsafe state.pointee.isHandshakeDone ? .record : .handshake
  let failure = TLSFailure(
    kind: kind ?? told, code: code, verifyCode: isVerify ? Int32(truncatingIfNeeded: verify) : 0)
  unsafe state.pointee.failure = failure
  return failure
}

/// A server's connection whose handshake is done: whether its client may go on.
private func guardConnection(_ state: UnsafeMutablePointer<ConnectionState>) -> Bool {
  // Two calls for each message that is neither data nor an alert, none for data.
  unsafe SSL_set_info_callback(state.pointee.ssl, watchAfterHandshake)
  return unsafe admitClient(state)
}

/// The library answers a client that wants a new handshake with a warning (no_renegotiation) and goes on, and takes
/// any number of KeyUpdate messages. Here the one ends the connection, and so do too many of the others.
private func watchAfterHandshake(_ ssl: OpaquePointer?, _ what: Int32, _ value: Int32) {
  guard let state = unsafe connectionState(of: ssl), unsafe state.pointee.failure == nil else { return }
  if what == SSL_CB_WRITE_ALERT && value & 0xff == SSL_AD_NO_RENEGOTIATION {
    unsafe state.pointee.failure = TLSFailure(kind: .renegotiation, code: 0, verifyCode: 0)
  } else if what == SSL_CB_ACCEPT_LOOP, unsafe SSL_get_state(ssl) == TLS_ST_SR_KEY_UPDATE {
    unsafe state.pointee.keyUpdates += 1
    if let server = unsafe state.pointee.server, unsafe state.pointee.keyUpdates > server.pointee.maxKeyUpdates {
      unsafe state.pointee.failure = TLSFailure(kind: .keyUpdates, code: 0, verifyCode: 0)
    }
  }
}

func writePlaintext(
  _ state: UnsafeMutablePointer<ConnectionState>, _ bytes: UnsafePointer<UInt8>, _ count: Int
) -> Bool {
  guard unsafe state.pointee.failure == nil && state.pointee.isHandshakeDone else { return false }
  if count == 0 { return true }
  ERR_clear_error()
  var written = 0
  if unsafe SSL_write_ex(state.pointee.ssl, bytes, count, &written) == 1 { return true }
  ERR_clear_error()
  unsafe state.pointee.failure = TLSFailure(kind: .local, code: 0, verifyCode: 0)
  return false
}

func writeThrough(
  _ state: UnsafeMutablePointer<ConnectionState>, _ bytes: UnsafePointer<UInt8>, _ count: Int,
  _ out: UnsafeMutablePointer<UInt8>, _ capacity: Int
) -> Int {
  let moved = unsafe moveOutput(state, out, capacity)
  unsafe state.pointee.sink = out
  unsafe state.pointee.sinkCount = moved
  unsafe state.pointee.sinkCapacity = capacity
  unsafe _ = writePlaintext(state, bytes, count)
  unsafe state.pointee.sink = nil
  return unsafe state.pointee.sinkCount
}

func closeNotify(_ state: UnsafeMutablePointer<ConnectionState>) {
  guard unsafe state.pointee.failure == nil && state.pointee.isHandshakeDone else { return }
  ERR_clear_error()
  unsafe _ = SSL_shutdown(state.pointee.ssl)
  ERR_clear_error()
}

// MARK: What was agreed on

func negotiatedProtocol(_ state: UnsafeMutablePointer<ConnectionState>) -> ALPN {
  var name: UnsafePointer<UInt8>?
  var count: UInt32 = 0
  unsafe SSL_get0_alpn_selected(state.pointee.ssl, &name, &count)
  guard let name = unsafe name else { return .none }
  let bytes = unsafe Bytes(start: name, count: Int(count))
  return bytes.equals("h2") ? .h2 : bytes.equals("http/1.1") ? .http1 : .none
}

func requestedName(_ state: UnsafeMutablePointer<ConnectionState>) -> Bytes {
  guard let name = unsafe SSL_get_servername(state.pointee.ssl, TLSEXT_NAMETYPE_host_name) else {
    return .empty
  }
  return unsafe Bytes(
    start: UnsafeRawPointer(name).assumingMemoryBound(to: UInt8.self), count: strlen(name))
}
