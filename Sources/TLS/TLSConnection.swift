internal import COpenSSL
public import HTTPSemantics

/// One TLS connection: ciphertext in, plaintext out, and the other way round. No sockets.
///
/// A handle of one pointer; trivial; used by one thread. The order of use: `feed` what the socket gave,
/// `read` until it says `needMore`, then send what `takeOutput` yields.
@safe
public struct TLSConnection {
  // INVARIANT: `state` is valid from `accept`/`connect` until `destroy`; whoever holds the connection forgets
  // it then.
  let state: UnsafeMutablePointer<ConnectionState>

  /// The server's side of a fresh connection. Nil when memory is out.
  public static func accept(_ server: TLSServerHandle) -> TLSConnection? {
    unsafe makeConnection(server.base, isServer: true)
  }

  /// The client's side: the first `read` makes the ClientHello. `serverName` is sent (RFC 6066 section 3) and,
  /// where the client has no list of names, is what the certificate must be for; an IP address is checked but not
  /// sent; empty: neither, and a client that verifies then only checks the chain. `alpn` is all that is offered,
  /// `.none` leaves it to the client. Nil when memory is out or the name holds a NUL.
  public static func connect(
    _ client: TLSClientHandle, serverName: Bytes, alpn: ALPN = .none
  ) -> TLSConnection? {
    guard let made = unsafe makeConnection(client.base, isServer: false) else { return nil }
    let isOffered = unsafe alpn == .none || offerProtocol(made.state, alpn)
    if isOffered && serverName.isEmpty { return made }
    if isOffered, unsafe setServerName(made.state, serverName, client.verifiesServerName) { return made }
    made.destroy()
    return nil
  }

  public func destroy() { unsafe destroyConnection(state) }

  /// For a connection that nothing has happened on for a while: keeps what it knows in less memory. The next call
  /// that needs it wakes it, at the price of some page faults. Does nothing while bytes wait on either side, nor
  /// in a process without `TLSMemory.prepare`.
  public func rest() { unsafe ConnectionState.rest(state) }

  /// Whether the connection's memory is put away.
  public var isResting: Bool { unsafe state.pointee.isResting }

  // MARK: Ciphertext

  /// Shows the connection bytes of the socket. They are not copied: `read` until `needMore`, or call
  /// `keepInput`, before the buffer is used for something else.
  public func feed(_ bytes: UnsafePointer<UInt8>, _ count: Int) { unsafe feedInput(state, bytes, count) }

  /// Copies what `read` has not used up yet, for when reading stops early (back-pressure).
  public func keepInput() { unsafe keepUnread(state) }

  /// Whether a `read` without further input could yield something.
  public var hasInput: Bool { unsafe hasUnread(state) }

  /// Bytes to be sent.
  public var pendingOutput: Int { unsafe state.pointee.outputEnd - state.pointee.outputStart }

  /// Moves bytes to be sent; 0 when there are none. The memory behind them is given up when it is empty.
  public func takeOutput(into out: UnsafeMutablePointer<UInt8>, capacity: Int) -> Int {
    unsafe moveOutput(state, out, capacity)
  }

  // MARK: Plaintext

  /// Goes on with the handshake and yields plaintext.
  public func read(into out: UnsafeMutablePointer<UInt8>, capacity: Int) -> TLSRead {
    unsafe readPlaintext(state, out, capacity)
  }

  /// Encrypts the bytes behind what is pending already. False when the connection has failed or its handshake
  /// is not done.
  @discardableResult
  public func write(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    unsafe writePlaintext(state, bytes, count)
  }

  /// `write` and `takeOutput` in one, without the copy between them: pending output first, then as much of
  /// the new as fits; the rest is pending. Returns how many bytes were put into `out`. Room for everything is
  /// `count + (count / 16384 + 1) * 64` beyond what is pending.
  public func write(
    _ bytes: UnsafePointer<UInt8>, _ count: Int, into out: UnsafeMutablePointer<UInt8>, capacity: Int
  ) -> Int {
    unsafe writeThrough(state, bytes, count, out, capacity)
  }

  /// Says close_notify; it is then pending. Nothing may be written afterwards.
  public func shutdown() { unsafe closeNotify(state) }

  // MARK: What was agreed on

  public var isHandshakeDone: Bool { unsafe state.pointee.isHandshakeDone }

  /// Valid once the handshake is done.
  public var negotiated: ALPN { unsafe negotiatedProtocol(state) }

  /// The name that the client asked for; empty without one. Valid while the connection is.
  public var serverName: Bytes { unsafe requestedName(state) }

  /// Whether a ticket spared the full handshake.
  public var isResumed: Bool { unsafe SSL_session_reused(state.pointee.ssl) == 1 }

  /// "TLSv1.3" or "TLSv1.2".
  public var version: Bytes { unsafe text(SSL_get_version(state.pointee.ssl)) }

  /// Name of the cipher suite; empty before the handshake is done.
  public var cipher: Bytes { unsafe text(SSL_CIPHER_get_name(SSL_get_current_cipher(state.pointee.ssl))) }

  // MARK: The client (server)

  /// `TLSClientValidation.identity` of the binding that the client's server name chose; 0 where none asks for client
  /// certificates. Valid once the handshake is done.
  public var clientValidation: UInt64 { unsafe state.pointee.entry?.pointee.validation ?? 0 }

  /// Who the client has proved to be, as the value of an `x-forwarded-client-cert` field; empty without a
  /// certificate that was verified. Valid once the handshake is done and while the connection is.
  public var clientIdentity: Bytes {
    guard let identity = unsafe state.pointee.identity else { return .empty }
    return unsafe Bytes(start: identity, count: state.pointee.identityCount)
  }

  /// Whether the client showed a ticket of keys that are not ours, or no longer.
  public var hasForeignTicket: Bool { unsafe state.pointee.hasForeignTicket }

  // MARK: Tickets (client)

  /// The newest session of the connection, to be resumed by another; nil when there is none (in TLS 1.3 it comes
  /// after the handshake). Who takes it destroys it.
  public func takeSession() -> TLSSession? {
    guard let session = unsafe SSL_get1_session(state.pointee.ssl) else { return nil }
    if unsafe SSL_SESSION_is_resumable(session) == 1 { return unsafe TLSSession(session: session) }
    unsafe SSL_SESSION_free(session)
    return nil
  }

  /// Before the first `read`.
  public func resume(_ session: TLSSession) { unsafe _ = SSL_set_session(state.pointee.ssl, session.session) }
}

/// What a client may resume.
@safe
public struct TLSSession {
  // INVARIANT: one reference is ours until `destroy`.
  let session: OpaquePointer

  public func destroy() { unsafe SSL_SESSION_free(session) }
}

private func text(_ string: UnsafePointer<CChar>?) -> Bytes {
  guard let string = unsafe string else { return .empty }
  // SAFETY: the library's text ends with 0 and lives as long as the connection.
  return unsafe Bytes(
    start: UnsafeRawPointer(string).assumingMemoryBound(to: UInt8.self), count: strlen(string))
}
