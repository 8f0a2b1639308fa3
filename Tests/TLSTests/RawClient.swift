import COpenSSL
import TLS
import Testing

/// The library's own client, for what `TLSClient` never does: renegotiation, key updates, early data, asking for
/// staples. Certificates of servers are not verified.
@safe
final class RawClient {
  let ssl: OpaquePointer
  private let context: OpaquePointer
  private let input: OpaquePointer
  private let sent: OpaquePointer
  private(set) var isDone = false
  var plaintext: [UInt8] = []

  init(
    name: String?, maximum: Int32 = TLS1_3_VERSION, minimum: Int32 = TLS1_2_VERSION, ciphers: String? = nil,
    groups: String? = nil, session: RawSession? = nil
  ) throws {
    unsafe context = try #require(SSL_CTX_new(TLS_client_method()))
    unsafe _ = sluice_SSL_CTX_set_min_proto_version(context, minimum)
    unsafe _ = sluice_SSL_CTX_set_max_proto_version(context, maximum)
    unsafe SSL_CTX_set_security_level(context, 0)
    if let ciphers { unsafe _ = SSL_CTX_set_cipher_list(context, ciphers) }
    if let groups { unsafe _ = sluice_SSL_CTX_set1_groups_list(context, groups) }
    unsafe ssl = try #require(SSL_new(context))
    unsafe input = try #require(BIO_new(BIO_s_mem()))
    unsafe sent = try #require(BIO_new(BIO_s_mem()))
    unsafe SSL_set_bio(ssl, input, sent)
    unsafe SSL_set_connect_state(ssl)
    if let name { unsafe _ = sluice_SSL_set_tlsext_host_name(ssl, name) }
    if let session { unsafe _ = SSL_set_session(ssl, session.pointer) }
  }

  deinit {
    // Otherwise the session counts as spoilt.
    unsafe SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
    unsafe SSL_free(ssl)
    unsafe SSL_CTX_free(context)
  }

  /// Goes on with what there is to read; the error's reason when the library gives up.
  @discardableResult
  func read() -> String? {
    ERR_clear_error()
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe SSL_read(ssl, &buffer, Int32(buffer.count))
      if unsafe SSL_is_init_finished(ssl) == 1 { isDone = true }
      if count > 0 {
        plaintext += buffer[..<Int(count)]
        continue
      }
      let code = ERR_peek_last_error()
      if code == 0 { return nil }
      return unsafe ERR_reason_error_string(code).map { unsafe String(cString: $0) }
    }
  }

  func write(_ bytes: [UInt8]) { unsafe _ = SSL_write(ssl, bytes, Int32(bytes.count)) }

  func feed(_ bytes: [UInt8]) { unsafe _ = BIO_write(input, bytes, Int32(bytes.count)) }

  func output() -> [UInt8] {
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe BIO_read(sent, &buffer, Int32(buffer.count))
      if count <= 0 { return all }
      all += buffer[..<Int(count)]
    }
  }

  /// Shows this certificate when the server asks for one.
  func use(_ certificate: TestCertificate) {
    unsafe _ = SSL_use_certificate(ssl, certificate.x509)
    unsafe _ = SSL_use_PrivateKey(ssl, certificate.key)
  }

  /// The session to resume; who takes it destroys it.
  func session() throws -> RawSession { unsafe RawSession(pointer: try #require(SSL_get1_session(ssl))) }

  func askForStaple() { unsafe _ = SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_STATUS_REQ_TYPE, 1, nil) }

  /// What the server stapled to its certificate.
  var staple: [UInt8] {
    var bytes: UnsafeMutablePointer<UInt8>?
    let count = unsafe withUnsafeMutablePointer(to: &bytes) {
      unsafe SSL_ctrl(ssl, SSL_CTRL_GET_TLSEXT_STATUS_REQ_OCSP_RESP, 0, $0)
    }
    return unsafe Array(UnsafeBufferPointer(start: bytes, count: max(0, count)))
  }

  func renegotiate() -> Bool { unsafe SSL_renegotiate(ssl) == 1 }

  func updateKeys() -> Bool { unsafe SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 }

  var isCompressing: Bool { unsafe SSL_get_current_compression(ssl) != nil }

  var isResumed: Bool { unsafe SSL_session_reused(ssl) == 1 }

  var cipher: String { unsafe String(cString: SSL_CIPHER_get_name(SSL_get_current_cipher(ssl))) }
}

/// What a client got to resume.
@safe
struct RawSession {
  let pointer: OpaquePointer

  func destroy() { unsafe SSL_SESSION_free(pointer) }

  var earlyDataBytes: UInt32 { unsafe SSL_SESSION_get_max_early_data(pointer) }

  var hasTicket: Bool { unsafe SSL_SESSION_has_ticket(pointer) == 1 }
}

/// Moves bytes until neither side has any. Returns why the client gave up, if it did.
@discardableResult
func pump(_ client: RawClient, _ server: End) -> String? {
  var problem = client.read()
  while true {
    let toServer = client.output()
    if !toServer.isEmpty { server.feed(toServer) }
    let toClient = server.output()
    if !toClient.isEmpty {
      client.feed(toClient)
      problem = client.read() ?? problem
    }
    if toServer.isEmpty && toClient.isEmpty { return problem }
  }
}
