public import HTTPSemantics

/// One HTTP/2 connection, server or client side: bytes in, events out, bytes out. No sockets, no clock.
///
/// A handle of one pointer; trivial. Everything is asked of it on the thread that owns its inbox. `receive`
/// and `drain` append events to the inbox; nothing else does. Calls that name a stream which has closed do
/// nothing.
@safe
public struct HTTP2Session {
  // INVARIANT: `state` is valid from `server`/`client` until `destroy`; whoever holds the session forgets it
  // then.
  let state: UnsafeMutablePointer<SessionState>

  /// A session that answers requests. Its SETTINGS wait in `drain`. Nil when memory is out.
  public static func server(_ inbox: HTTP2Inbox) -> HTTP2Session? {
    unsafe makeSession(inbox.state, isServer: true)
  }

  /// A session that sends requests. Preface and SETTINGS wait in `drain`. Nil when memory is out.
  public static func client(_ inbox: HTTP2Inbox) -> HTTP2Session? {
    unsafe makeSession(inbox.state, isServer: false)
  }

  /// Frees everything. Makes no events: the caller knows its streams.
  public func destroy() { unsafe destroySession(state) }

  /// Shown in debug log lines and nowhere else, for example the number of the connection.
  public func setLogID(_ id: UInt64) { unsafe state.pointee.logID = id }

  /// For a session that nothing has happened on for a while: keeps what it knows in a tenth of the memory. The
  /// next call that needs it wakes it, at the price of some page faults. Does nothing while streams are open.
  public func rest() { unsafe SessionState.rest(state) }

  /// Whether the session's memory is put away.
  public var isResting: Bool { unsafe state.pointee.memory.image != nil }

  // MARK: Bytes

  /// Reads `count` bytes from the peer and appends what they mean to the inbox, whose events view them; what was
  /// read may be moved to bring bodies together. Some errors of the connection
  /// show only in `status` after the next `drain`.
  public func receive(_ bytes: UnsafeMutablePointer<UInt8>, _ count: Int) -> HTTP2Result {
    var used = 0
    return unsafe receiveBytes(state, bytes, count, .max, &used)
  }

  /// The same, but of no more than `mostFrames` frames that are no large DATA, at least one. `used` says how many bytes
  /// these were, unless the session has come to an end; the others are to be shown again, first.
  public func receive(
    _ bytes: UnsafeMutablePointer<UInt8>, _ count: Int, mostFrames: Int, used: inout Int
  ) -> HTTP2Result {
    unsafe receiveBytes(state, bytes, count, max(1, mostFrames), &used)
  }

  /// Writes what is to be sent, at most `capacity` bytes (at least 32 KiB), and returns how many bytes there
  /// are. Called once an event-loop turn, until 0. Appends events too: `writable`, `streamClosed`.
  public func drain(into out: UnsafeMutablePointer<UInt8>, capacity: Int) -> Int {
    unsafe drainBytes(state, out, capacity)
  }

  /// What the connection has come to. After `drain` has sent a GOAWAY with an error it is fatal, and
  /// `isFinished`.
  public var status: HTTP2Result { unsafe sessionStatus(state) }

  /// Whether `drain` would yield bytes. False while all queued data waits for the peer's window.
  public var wantsWrite: Bool { unsafe sessionWantsWrite(state) }

  /// Nothing will come and nothing has to go: close the connection.
  public var isFinished: Bool { unsafe sessionIsFinished(state) }

  // MARK: Streams

  /// Streams that were announced (server) or asked for (client) and have not closed.
  public var activeStreams: Int { unsafe Int(state.pointee.activeStreams) }

  /// Client: streams that the server lets us have at once.
  public var remoteMaxConcurrentStreams: Int { unsafe remoteStreamLimit(state) }

  /// Client: whether `submitRequest` would go out at once (room below the limit, no GOAWAY, IDs left).
  public var canOpenStream: Bool { unsafe mayOpenStream(state) }

  /// Whether the peer's SETTINGS have come.
  public var hasSettings: Bool { unsafe state.pointee.hasSettings }

  /// Client: whether the server takes extended CONNECT (RFC 8441 section 3); known once `hasSettings`.
  public var takesExtendedConnect: Bool { unsafe remoteTakesConnect(state) }

  /// Names a stream for its owner; events of it that wait in the inbox carry the tag from now on.
  public func setTag(_ stream: Int32, _ tag: UInt64) { unsafe tagStream(state, stream, tag) }

  // MARK: Messages

  /// Client: opens a stream. `authority` empty: the Host field of the list goes along instead. `fields` is
  /// copied. With `tunnelProtocol` it is an extended CONNECT, whatever the method, and only where
  /// `takesExtendedConnect`. Returns the stream's ID, or -1 when none can be opened any more.
  public func submitRequest(
    method: Bytes, scheme: Scheme, authority: Bytes, path: Bytes, fields: HTTP2FieldList, endStream: Bool,
    tag: UInt64, tunnelProtocol: Bytes = .empty
  ) -> Int32 {
    let method = tunnelProtocol.isEmpty ? method : Bytes("CONNECT")
    let line = RequestLine(
      method: method, scheme: scheme, authority: authority, path: path, tunnelProtocol: tunnelProtocol)
    return unsafe openRequest(state, line, fields, endStream, tag)
  }

  /// Server: the final response; with `endStream` the whole of it (no body, or gRPC trailers-only).
  /// False when the stream has closed.
  @discardableResult
  public func submitResponse(_ stream: Int32, status: UInt16, fields: HTTP2FieldList, endStream: Bool) -> Bool {
    unsafe sendResponse(state, stream, status, fields, endStream)
  }

  /// Server: a 1xx response other than 101; the final one follows.
  @discardableResult
  public func submitInformational(_ stream: Int32, status: UInt16, fields: HTTP2FieldList) -> Bool {
    unsafe sendInformational(state, stream, status, fields)
  }

  /// Ends our half with trailers, after the data that is queued. `fields` is copied.
  @discardableResult
  public func submitTrailers(_ stream: Int32, fields: HTTP2FieldList) -> Bool {
    unsafe sendTrailers(state, stream, fields)
  }

  /// Queues a copy of the bytes behind the head; with `endStream` they are the last (count may be 0).
  /// The queue has no limit of its own: watch `queuedBytes`.
  @discardableResult
  public func write(_ stream: Int32, _ bytes: UnsafePointer<UInt8>, _ count: Int, endStream: Bool) -> Bool {
    unsafe queueData(state, stream, bytes, count, endStream)
  }

  /// Bytes written to the stream that have not been drained.
  public func queuedBytes(_ stream: Int32) -> Int { unsafe queuedData(state, stream) }

  /// The same over all streams of the session.
  public var totalQueuedBytes: Int { unsafe state.pointee.queued }

  /// Gives flow-control window back for `count` bytes of `data` events. What a stream did not give back when
  /// it closes is given back by itself.
  public func consume(_ stream: Int32, _ count: Int) { unsafe consumeData(state, stream, count) }

  /// RST_STREAM at once; queued data is dropped. `streamClosed` follows from `drain`.
  public func reset(_ stream: Int32, _ code: UInt32) { unsafe resetStream(state, stream, code) }

  /// RST_STREAM once our half has ended, unless the peer's half has ended by then: for a server that answered
  /// without reading the whole request (RFC 9113 section 8.1; noError).
  public func resetAfterEnd(_ stream: Int32, _ code: UInt32) {
    unsafe resetStreamAfterEnd(state, stream, code)
  }

  /// Resets every stream with queued data of which the peer has taken less than 1 KiB in the last `after`
  /// milliseconds, because its window, the connection's or the socket is closed. Call it now and then, with a clock of
  /// milliseconds that may wrap and is never 0. Returns how many were reset; `streamClosed` follows for each.
  public func resetStalled(nowMilliseconds now: UInt32, after: UInt32) -> Int {
    unsafe resetStalledStreams(state, now: now, timeout: after)
  }

  /// When a header block was left unfinished, in the milliseconds of `HTTP2Inbox.setNow`; 0: none is.
  public var headBegan: UInt64 { unsafe state.pointee.headBegan }

  // MARK: Connection

  /// No new streams. Graceful (server): announces GOAWAY with the highest ID and says the real last one as
  /// soon as the peer has answered a PING, so that no request on its way is lost; what is open goes on,
  /// `isFinished` turns true after it. Not graceful: the final GOAWAY now.
  public func goAway(graceful: Bool) { unsafe submitGoAway(state, graceful) }

  /// GOAWAY with an error; streams still open are lost. Drain and close.
  public func terminate(_ code: UInt32) { unsafe terminateSession(state, code) }

  /// Sends a PING. Not used by itself: gRPC servers punish clients that ping often.
  public func ping() { unsafe submitPing(state) }
}
