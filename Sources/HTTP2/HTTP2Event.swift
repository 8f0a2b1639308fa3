public import HTTPSemantics

/// One thing that happened on a session. Its views live until the inbox is reset; those of `data` live in the
/// buffer that was handed to `receive`.
@safe
public struct HTTP2Event {
  public enum Kind: UInt8, Sendable {
    /// Server: a request. `requestHead` is valid. Its stream has tag 0 until `setTag`.
    case requestHead
    /// Client: the final response. `responseHead` is valid.
    case responseHead
    /// Client: 1xx. `responseHead` is valid; another head follows.
    case informational
    /// `bytes` of the body. Give them back with `consume` once they are done with.
    case data
    /// Trailer section; `trailers` is valid. Ends the peer's half of the stream.
    case trailers
    /// The peer's half ended without a byte or trailers in the last frame.
    case endStream
    /// RST_STREAM of the peer, with its `errorCode`. `streamClosed` follows.
    case reset
    /// The stream is gone, exactly once for every stream that had a `requestHead` event or came from
    /// `submitRequest`. `errorCode` is 0 when both halves ended. The ID names nothing any more.
    case streamClosed
    /// The outbound queue of the stream fell below `HTTP2Limits.lowWater`.
    case writable
    /// GOAWAY of the peer: `errorCode`, and in `streamID` the last stream that it worked on. Streams above it
    /// close with refusedStream and may be tried again elsewhere.
    case goAway
    /// SETTINGS of the peer: concurrency and windows may have changed.
    case settings
    /// The peer broke the rules of HTTP messages; the stream is being reset (or, for a request head beyond a
    /// limit, answered with 431). With `limit` when it is one. `streamID` 0: on the connection.
    case malformed
  }

  public internal(set) var kind: Kind
  /// The peer's half of the stream ends with this event (heads, data, trailers, endStream).
  public internal(set) var endStream: Bool
  public internal(set) var limit: HTTP2Limit
  public internal(set) var streamID: Int32
  public internal(set) var errorCode: UInt32
  /// `data` only.
  public internal(set) var bytes: Bytes
  // INVARIANT: `stream` is a stream record of the inbox; records are not reused before `HTTP2Inbox.reset`, so
  // it may be read even when the stream has closed since. `head` is arena memory of the kind that `kind`
  // says.
  var stream: UnsafeMutablePointer<StreamState>?
  var head: UnsafeMutableRawPointer?

  init(_ kind: Kind, streamID: Int32, stream: UnsafeMutablePointer<StreamState>?) {
    self.kind = kind
    endStream = false
    limit = .none
    self.streamID = streamID
    errorCode = 0
    bytes = .empty
    unsafe self.stream = stream
    unsafe head = nil
  }

  /// What `setTag` or `submitRequest` said for this stream; 0 before, and for events without a stream.
  public var tag: UInt64 {
    // SAFETY: the field's invariant.
    guard let stream = unsafe stream else { return 0 }
    return unsafe stream.pointee.tag
  }

  /// Whether the stream has closed or is being reset since: a request that the client has taken back at once.
  public var isStreamGone: Bool {
    // SAFETY: the field's invariant.
    guard let stream = unsafe stream else { return false }
    return unsafe stream.pointee.isClosed || stream.pointee.isReported
  }

  /// Names the stream for its owner. Events of it that wait in the inbox already carry the tag from now on.
  public func setTag(_ tag: UInt64) {
    // SAFETY: the field's invariant.
    guard let stream = unsafe stream else { return }
    unsafe stream.pointee.tag = tag
  }

  /// `requestHead` events only; valid until the inbox is reset.
  public var requestHead: UnsafeMutablePointer<RequestHead> {
    precondition(kind == .requestHead)
    // SAFETY: the kind says what lies at `head`.
    return unsafe head.unsafelyUnwrapped.assumingMemoryBound(to: RequestHead.self)
  }

  /// `responseHead` and `informational` events only; valid until the inbox is reset.
  public var responseHead: UnsafeMutablePointer<ResponseHead> {
    precondition(kind == .responseHead || kind == .informational)
    // SAFETY: the kind says what lies at `head`.
    return unsafe head.unsafelyUnwrapped.assumingMemoryBound(to: ResponseHead.self)
  }

  /// `trailers` events only; valid until the inbox is reset.
  public var trailers: HeaderTable {
    precondition(kind == .trailers)
    // SAFETY: the kind says what lies at `head`.
    return unsafe head.unsafelyUnwrapped.assumingMemoryBound(to: HeaderTable.self).pointee
  }
}
