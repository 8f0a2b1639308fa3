internal import CNghttp2
internal import HTTPSemantics

// SAFETY of this file: the library calls these with the user data of the session, which is a live
// `SessionState`, with frames and bytes that are valid during the call, and with stream user data that is a
// live `StreamState`.

/// The callbacks only append events and keep books, so that nothing of the caller runs inside the library.
func setCallbacks(_ callbacks: OpaquePointer) {
  unsafe nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks) { _, header, data in
    unsafe didBeginFrame(sessionState(data), header.unsafelyUnwrapped)
  }
  unsafe nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { session, frame, data in
    unsafe didBeginHeaders(sessionState(data), frame.unsafelyUnwrapped)
  }
  unsafe nghttp2_session_callbacks_set_on_header_callback(callbacks) {
    _, frame, name, nameCount, value, valueCount, flags, data in
    let state = unsafe sessionState(data)
    guard let block = unsafe state.pointee.block else { return 0 }
    let hidden = flags & UInt8(NGHTTP2_NV_FLAG_NO_INDEX.rawValue) != 0
    unsafe block.pointee.append(
      name.unsafelyUnwrapped, nameCount, value.unsafelyUnwrapped, valueCount, hidden: hidden,
      limits: state.pointee.limits)
    return unsafe block.pointee.overflow == .none ? 0 : checkBomb(state, block)
  }
  unsafe nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks) { _, _, _, _, _, _, _, _ in
    // The library would skip the field; a message with an invalid one is refused as a whole.
    NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
  }
  unsafe nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, data in
    unsafe didReceiveFrame(sessionState(data), frame.unsafelyUnwrapped)
  }
  unsafe nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) {
    _, _, id, bytes, count, data in
    unsafe didReceiveData(sessionState(data), id, bytes.unsafelyUnwrapped, count)
    return 0
  }
  unsafe nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks) { _, frame, error, data in
    unsafe didRefuseFrame(sessionState(data), frame.unsafelyUnwrapped, error)
    return 0
  }
  unsafe nghttp2_session_callbacks_set_unpack_extension_callback(callbacks) { _, _, _, _ in
    // Ignored (RFC 9113 section 5.5).
    NGHTTP2_ERR_CANCEL.rawValue
  }
  unsafe nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { session, id, code, data in
    unsafe didCloseStream(sessionState(data), id, code)
    return 0
  }
  unsafe nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, data in
    unsafe didSendFrame(sessionState(data), frame.unsafelyUnwrapped)
  }
  unsafe nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks) { _, frame, error, data in
    unsafe didNotSendFrame(sessionState(data), frame.unsafelyUnwrapped, error)
    return 0
  }
  unsafe nghttp2_session_callbacks_set_send_data_callback(callbacks) {
    _, frame, header, count, source, data in
    unsafe sendData(
      sessionState(data), frame.unsafelyUnwrapped, header.unsafelyUnwrapped, count, source.unsafelyUnwrapped)
  }
}

@inline(__always)
private func sessionState(_ data: UnsafeMutableRawPointer?) -> UnsafeMutablePointer<SessionState> {
  unsafe data.unsafelyUnwrapped.assumingMemoryBound(to: SessionState.self)
}

/// Counts a frame that a peer may not send without bound; non-zero ends the session.
private func count(_ state: UnsafeMutablePointer<SessionState>, _ limit: HTTP2Limit) -> Int32 {
  let inbox = unsafe state.pointee.inbox
  let now = unsafe inbox.pointee.nowMilliseconds
  let limits = unsafe state.pointee.limits
  guard unsafe state.pointee.flood.count(limit, limits.pointee, now: now) else { return 0 }
  unsafe killSession(state, HTTP2ErrorCode.enhanceYourCalm, limit)
  return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
}

private func didBeginFrame(
  _ state: UnsafeMutablePointer<SessionState>, _ header: UnsafePointer<nghttp2_frame_hd>
) -> Int32 {
  if unsafe state.pointee.inbox.pointee.debugLog != nil {
    unsafe logFrame(state, header.pointee, isSent: false)
  }
  // A dead session only waits for its GOAWAY to go out.
  if unsafe state.pointee.isDead { return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue }
  let endStream = UInt8(NGHTTP2_FLAG_END_STREAM.rawValue)
  switch unsafe nghttp2_frame_type(UInt32(header.pointee.type)) {
  case NGHTTP2_DATA:
    if unsafe header.pointee.length == 0 && header.pointee.flags & endStream == 0 {
      return unsafe count(state, .emptyData)
    }
    return 0
  case NGHTTP2_HEADERS: return unsafe checkStream(state, header.pointee.stream_id)
  case NGHTTP2_RST_STREAM: return unsafe count(state, .resetsReceived)
  case NGHTTP2_PING: return unsafe count(state, .pings)
  case NGHTTP2_SETTINGS: return unsafe count(state, .settings)
  case NGHTTP2_PRIORITY: return unsafe count(state, .priorities)
  case NGHTTP2_WINDOW_UPDATE: return unsafe count(state, .windowUpdates)
  case NGHTTP2_CONTINUATION: return unsafe countContinuation(state)
  case NGHTTP2_PUSH_PROMISE: return 0
  default: return unsafe count(state, .unknownFrames)
  }
}

/// A head that is somewhat too large is read to its end and answered with 431. One of many times the limit is no
/// mistake: few bytes that name a large field, or a crumb of a cookie, over and over (HPACK bomb, CVE-2026-49975).
/// Nothing more of it is unpacked.
private func checkBomb(
  _ state: UnsafeMutablePointer<SessionState>, _ block: UnsafeMutablePointer<HeaderBlock>
) -> Int32 {
  let limits = unsafe state.pointee.limits
  let isLarge = unsafe block.pointee.size > Int(limits.pointee.maxHeaderBytes) &* 4
  if unsafe !isLarge && block.pointee.refused <= Int(limits.pointee.maxHeaderFields) &* 4 { return 0 }
  unsafe killSession(state, HTTP2ErrorCode.enhanceYourCalm, isLarge ? .headerBytes : block.pointee.overflow)
  return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
}

/// The library passes over DATA and HEADERS on streams that it has forgotten; most of them break the rules. Non-zero
/// ends the session.
@inline(__always)
func checkStream(_ state: UnsafeMutablePointer<SessionState>, _ id: Int32) -> Int32 {
  if unsafe id & 1 == 0 || id > state.pointee.closed.highest || findStream(state, id) != nil { return 0 }
  return unsafe refuseClosedStream(state, id)
}

@inline(never)
private func refuseClosedStream(_ state: UnsafeMutablePointer<SessionState>, _ id: Int32) -> Int32 {
  switch unsafe state.pointee.closed.verdict(id) {
  case .late: return 0
  case .closed: unsafe killSession(state, HTTP2ErrorCode.streamClosed, .none)
  case .skipped: unsafe killSession(state, HTTP2ErrorCode.protocolError, .none)
  }
  return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
}

private func countContinuation(_ state: UnsafeMutablePointer<SessionState>) -> Int32 {
  unsafe state.pointee.continuations &+= 1
  if unsafe state.pointee.continuations <= state.pointee.limits.pointee.maxContinuations { return 0 }
  unsafe killSession(state, HTTP2ErrorCode.enhanceYourCalm, .continuations)
  return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
}

private func didBeginHeaders(
  _ state: UnsafeMutablePointer<SessionState>, _ frame: UnsafePointer<nghttp2_frame>
) -> Int32 {
  let id = unsafe frame.pointee.hd.stream_id
  unsafe state.pointee.continuations = 0
  if unsafe frame.pointee.headers.cat == NGHTTP2_HCAT_REQUEST {
    unsafe state.pointee.closed.noteOpened(id)
    let stream = unsafe addStream(state, id)
    unsafe _ = nghttp2_session_set_stream_user_data(state.pointee.session, id, stream)
  }
  unsafe SessionState.beginBlock(state, id)
  return 0
}

private func didReceiveFrame(
  _ state: UnsafeMutablePointer<SessionState>, _ frame: UnsafePointer<nghttp2_frame>
) -> Int32 {
  let header = unsafe frame.pointee.hd
  let inbox = unsafe state.pointee.inbox
  switch nghttp2_frame_type(UInt32(header.type)) {
  case NGHTTP2_HEADERS:
    unsafe didReceiveHead(state, header)
  case NGHTTP2_DATA:
    if header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0 {
      unsafe didReceiveEnd(state, header.stream_id)
    } else if unsafe header.length > 0 && frame.pointee.data.padlen >= header.length {
      // Nothing but padding.
      return unsafe count(state, .emptyData)
    }
  case NGHTTP2_RST_STREAM:
    guard let stream = unsafe findStream(state, header.stream_id), unsafe stream.pointee.isAnnounced else {
      return 0
    }
    let event = unsafe InboxState.append(inbox, .reset, header.stream_id, stream)
    unsafe event.pointee.errorCode = frame.pointee.rst_stream.error_code
  case NGHTTP2_SETTINGS:
    if header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) == 0 {
      unsafe state.pointee.hasSettings = true
      unsafe _ = InboxState.append(inbox, .settings, 0, nil)
    }
  case NGHTTP2_PING:
    let isAnswer = header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0
    if unsafe isAnswer && state.pointee.awaitsPing { unsafe oweGoAway(state) }
  case NGHTTP2_GOAWAY:
    unsafe state.pointee.closed.forgive()
    let event = unsafe InboxState.append(inbox, .goAway, frame.pointee.goaway.last_stream_id, nil)
    unsafe event.pointee.errorCode = frame.pointee.goaway.error_code
  default: break
  }
  return 0
}

private func didReceiveHead(_ state: UnsafeMutablePointer<SessionState>, _ header: nghttp2_frame_hd) {
  guard let block = unsafe state.pointee.block else { return }
  defer { unsafe SessionState.dropBlock(state) }
  guard let stream = unsafe findStream(state, header.stream_id) else { return }
  let id = header.stream_id
  let inbox = unsafe state.pointee.inbox
  let endStream = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
  if unsafe block.pointee.overflow != .none {
    unsafe refuseBlock(state, stream, block.pointee.overflow)
    return
  }
  if unsafe stream.pointee.hasFinalHead {
    guard let trailers = unsafe SessionState.makeTrailers(state, block) else {
      unsafe refuseStream(state, stream, HTTP2ErrorCode.protocolError, .none)
      return
    }
    let event = unsafe InboxState.append(inbox, .trailers, id, stream)
    unsafe event.pointee.endStream = true
    unsafe event.pointee.head = UnsafeMutableRawPointer(trailers)
  } else if unsafe state.pointee.isServer {
    guard let head = unsafe SessionState.makeRequestHead(state, block, endStream: endStream) else {
      unsafe refuseStream(state, stream, HTTP2ErrorCode.protocolError, .none)
      return
    }
    unsafe stream.pointee.hasFinalHead = true
    unsafe stream.pointee.isAnnounced = true
    unsafe state.pointee.activeStreams &+= 1
    let event = unsafe InboxState.append(inbox, .requestHead, id, stream)
    unsafe event.pointee.endStream = endStream
    unsafe event.pointee.head = UnsafeMutableRawPointer(head)
  } else {
    guard let head = unsafe SessionState.makeResponseHead(state, block, endStream: endStream) else {
      unsafe refuseStream(state, stream, HTTP2ErrorCode.protocolError, .none)
      return
    }
    let isInterim = unsafe head.pointee.isInterim
    unsafe stream.pointee.hasFinalHead = !isInterim
    let event = unsafe InboxState.append(inbox, isInterim ? .informational : .responseHead, id, stream)
    unsafe event.pointee.endStream = endStream
    unsafe event.pointee.head = UnsafeMutableRawPointer(head)
  }
}

/// A request head beyond the limits is answered with 431 (RFC 6585 section 5); everything else is reset.
private func refuseBlock(
  _ state: UnsafeMutablePointer<SessionState>, _ stream: UnsafeMutablePointer<StreamState>,
  _ limit: HTTP2Limit
) {
  guard unsafe state.pointee.isServer && !stream.pointee.hasFinalHead else {
    unsafe refuseStream(state, stream, HTTP2ErrorCode.enhanceYourCalm, limit)
    return
  }
  var fields = unsafe HTTP2FieldList(state: state.pointee.inbox)
  fields.append(name: "content-length", value: Bytes("0"))
  let id = unsafe stream.pointee.id
  unsafe _ = sendResponse(state, id, 431, fields, true)
  unsafe resetStreamAfterEnd(state, id, HTTP2ErrorCode.noError)
  unsafe appendMalformed(state, id, nil, HTTP2ErrorCode.enhanceYourCalm, limit)
  // One may be a mistake; many are an attack on whoever unpacks them, and count as resets.
  unsafe _ = count(state, .resetsSent)
}

private func refuseStream(
  _ state: UnsafeMutablePointer<SessionState>, _ stream: UnsafeMutablePointer<StreamState>, _ code: UInt32,
  _ limit: HTTP2Limit
) {
  let id = unsafe stream.pointee.id
  unsafe _ = nghttp2_submit_rst_stream(state.pointee.session, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, code)
  unsafe appendMalformed(state, id, stream, code, limit)
  unsafe countReset(state)
}

private func appendMalformed(
  _ state: UnsafeMutablePointer<SessionState>, _ id: Int32, _ stream: UnsafeMutablePointer<StreamState>?,
  _ code: UInt32, _ limit: HTTP2Limit
) {
  unsafe stream?.pointee.isReported = true
  let event = unsafe InboxState.append(state.pointee.inbox, .malformed, id, stream)
  unsafe event.pointee.errorCode = code
  unsafe event.pointee.limit = limit
}

/// A reset that the library will send is counted at once: one `receive` may bring thousands of them.
private func countReset(_ state: UnsafeMutablePointer<SessionState>) {
  unsafe state.pointee.countedResets &+= 1
  unsafe _ = count(state, .resetsSent)
}

private func didReceiveData(
  _ state: UnsafeMutablePointer<SessionState>, _ id: Int32, _ bytes: UnsafePointer<UInt8>, _ count: Int
) {
  guard let stream = unsafe findStream(state, id), unsafe stream.pointee.isAnnounced else {
    // Nobody is going to give this window back.
    unsafe _ = nghttp2_session_consume(state.pointee.session, id, count)
    return
  }
  unsafe stream.pointee.unconsumed &+= count
  if unsafe joinData(state.pointee.inbox, stream, bytes, count) { return }
  let event = unsafe InboxState.append(state.pointee.inbox, .data, id, stream)
  unsafe event.pointee.bytes = Bytes(start: bytes, count: count)
}

/// Frames of one stream that follow each other become one event: a body that came with one read goes out with one
/// send. Their bytes are moved together over the frame header in between, which the library has read.
private func joinData(
  _ inbox: UnsafeMutablePointer<InboxState>, _ stream: UnsafeMutablePointer<StreamState>,
  _ bytes: UnsafePointer<UInt8>, _ count: Int
) -> Bool {
  guard unsafe inbox.pointee.eventCount > 0 else { return false }
  let last = unsafe inbox.pointee.events + (inbox.pointee.eventCount - 1)
  guard unsafe last.pointee.kind == .data && last.pointee.stream == stream else { return false }
  let held = unsafe last.pointee.bytes
  let end = unsafe held.start + held.count
  // A frame header and perhaps padding lie in between, where both are of one `receive`.
  let gap = unsafe bytes - end
  guard gap >= 0 && gap <= largestGap else { return false }
  // SAFETY: `receive` lets its bytes be moved, and what lies between was read.
  unsafe memmove(UnsafeMutablePointer(mutating: end), bytes, count)
  unsafe last.pointee.bytes = Bytes(start: held.start, count: held.count + count)
  return true
}

/// Two paddings with a frame header (RFC 9113 section 6.1).
private let largestGap = 255 + 9 + 1

private func didReceiveEnd(_ state: UnsafeMutablePointer<SessionState>, _ id: Int32) {
  guard let stream = unsafe findStream(state, id), unsafe stream.pointee.isAnnounced else { return }
  let inbox = unsafe state.pointee.inbox
  if unsafe inbox.pointee.eventCount > 0 {
    let last = unsafe inbox.pointee.events + (inbox.pointee.eventCount - 1)
    if unsafe last.pointee.kind == .data && last.pointee.stream == stream {
      unsafe last.pointee.endStream = true
      return
    }
  }
  let event = unsafe InboxState.append(inbox, .endStream, id, stream)
  unsafe event.pointee.endStream = true
}

private func didRefuseFrame(
  _ state: UnsafeMutablePointer<SessionState>, _ frame: UnsafePointer<nghttp2_frame>, _ error: Int32
) {
  let (code, _) = meaning(ofLibraryError: error)
  let id = unsafe frame.pointee.hd.stream_id
  let stream = unsafe id == 0 ? nil : findStream(state, id)
  if unsafe state.pointee.block?.pointee.streamID == id { unsafe SessionState.dropBlock(state) }
  // The library resets it, also where it has never let it begin (REFUSED_STREAM).
  if id & 1 == 1 {
    unsafe state.pointee.closed.noteOpened(id)
    unsafe state.pointee.closed.noteReset(id)
  }
  // More streams than allowed: the library refuses the stream, or ends the connection once the peer has
  // acknowledged the setting (RFC 9113 section 5.1.2).
  let isRefused = error == NGHTTP2_ERR_REFUSED_STREAM.rawValue
  let isFatal = unsafe error == NGHTTP2_ERR_PROTO.rawValue && stream == nil && isFull(state, frame)
  let limit: HTTP2Limit = isRefused || isFatal ? .concurrentStreams : .none
  unsafe appendMalformed(state, id, stream, code, limit)
  if id != 0 { unsafe countReset(state) }
}

/// Whether a request came while the peer had as many streams as it may.
private func isFull(_ state: UnsafeMutablePointer<SessionState>, _ frame: UnsafePointer<nghttp2_frame>) -> Bool {
  guard unsafe state.pointee.isServer && frame.pointee.hd.type == UInt8(NGHTTP2_HEADERS.rawValue) else { return false }
  return unsafe state.pointee.activeStreams >= Int32(clamping: state.pointee.limits.pointee.maxConcurrentStreams)
}

private func didCloseStream(_ state: UnsafeMutablePointer<SessionState>, _ id: Int32, _ code: UInt32) {
  guard let stream = unsafe findStream(state, id) else { return }
  if unsafe state.pointee.block?.pointee.streamID == id { unsafe SessionState.dropBlock(state) }
  let unread = unsafe stream.pointee.unconsumed
  if unread > 0 {
    unsafe stream.pointee.unconsumed = 0
    unsafe _ = nghttp2_session_consume_connection(state.pointee.session, unread)
  }
  if unsafe stream.pointee.isAnnounced && !state.pointee.isDead {
    let event = unsafe InboxState.append(state.pointee.inbox, .streamClosed, id, stream)
    unsafe event.pointee.errorCode = code
  }
  unsafe _ = nghttp2_session_set_stream_user_data(state.pointee.session, id, nil)
  unsafe releaseStream(state, stream)
}

private func didSendFrame(
  _ state: UnsafeMutablePointer<SessionState>, _ frame: UnsafePointer<nghttp2_frame>
) -> Int32 {
  let header = unsafe frame.pointee.hd
  if unsafe state.pointee.inbox.pointee.debugLog != nil { unsafe logFrame(state, header, isSent: true) }
  switch nghttp2_frame_type(UInt32(header.type)) {
  case NGHTTP2_HEADERS, NGHTTP2_DATA:
    guard let stream = unsafe findStream(state, header.stream_id) else { return 0 }
    if unsafe stream.pointee.isPending {
      unsafe stream.pointee.isPending = false
      unsafe state.pointee.pendingRequests &-= 1
    }
    guard header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0 else { return 0 }
    unsafe stream.pointee.endSent = true
    if unsafe stream.pointee.resetsAfterEnd { unsafe resetAfterEndNow(state, stream) }
    return 0
  case NGHTTP2_RST_STREAM:
    unsafe state.pointee.closed.noteReset(header.stream_id)
    let stream = unsafe findStream(state, header.stream_id)
    // Ours, unless the library has found a fault in the same bytes and was first.
    let code = unsafe frame.pointee.rst_stream.error_code
    if let stream = unsafe stream, unsafe stream.pointee.isResetByUs && stream.pointee.resetCode == code { return 0 }
    if let stream = unsafe stream, unsafe stream.pointee.isAnnounced && !stream.pointee.isReported {
      // The library resets some streams without a word: DATA against content-length, for one.
      unsafe appendMalformed(state, header.stream_id, stream, code, .none)
    }
    if unsafe state.pointee.countedResets > 0 {
      unsafe state.pointee.countedResets &-= 1
    } else {
      unsafe _ = count(state, .resetsSent)
    }
    return 0
  case NGHTTP2_GOAWAY:
    let code = unsafe frame.pointee.goaway.error_code
    if unsafe code != HTTP2ErrorCode.noError && !state.pointee.isDead {
      // The library has ended the session by itself.
      unsafe state.pointee.isDead = true
      unsafe state.pointee.deadCode = code
    }
    return 0
  default: return 0
  }
}

/// A head that cannot be sent (too large for the library, or the stream is gone) must not leave the stream
/// hanging.
private func didNotSendFrame(
  _ state: UnsafeMutablePointer<SessionState>, _ frame: UnsafePointer<nghttp2_frame>, _ error: Int32
) {
  let header = unsafe frame.pointee.hd
  guard unsafe nghttp2_frame_type(UInt32(header.type)) == NGHTTP2_HEADERS && state.pointee.isServer else {
    return
  }
  guard let stream = unsafe findStream(state, header.stream_id) else { return }
  if error == NGHTTP2_ERR_STREAM_CLOSING.rawValue || error == NGHTTP2_ERR_STREAM_CLOSED.rawValue { return }
  unsafe stream.pointee.isResetByUs = true
  unsafe stream.pointee.resetCode = HTTP2ErrorCode.internalError
  unsafe _ = nghttp2_submit_rst_stream(
    state.pointee.session, UInt8(NGHTTP2_FLAG_NONE.rawValue), header.stream_id, HTTP2ErrorCode.internalError)
}
