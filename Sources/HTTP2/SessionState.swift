internal import CNghttp2
internal import HTTPSemantics

/// Outbound bytes of a stream; the bytes follow the header in the same allocation.
@safe
struct Chunk {
  var next: UnsafeMutablePointer<Chunk>?
  // INVARIANT: 0 ≤ start ≤ end ≤ `room`; bytes start..<end wait.
  var start: Int32 = 0
  var end: Int32 = 0

  static var size: Int { 4096 }
  static var room: Int { size - MemoryLayout<Chunk>.stride }

  /// SAFETY: `chunk` was allocated with `size` bytes.
  static func bytes(_ chunk: UnsafeMutablePointer<Chunk>) -> UnsafeMutablePointer<UInt8> {
    unsafe (UnsafeMutableRawPointer(chunk) + MemoryLayout<Chunk>.stride).assumingMemoryBound(to: UInt8.self)
  }
}

/// One stream, from a free list of the inbox.
@safe
struct StreamState {
  // INVARIANT: in the session's list while open; `next` alone links the lists of the inbox.
  var next: UnsafeMutablePointer<StreamState>?
  var previous: UnsafeMutablePointer<StreamState>?
  // INVARIANT: links streams of one session with `isAwake`.
  var nextAwake: UnsafeMutablePointer<StreamState>?
  /// Set as long as the record is not reused, to tell apart streams of one ID; read as an address only.
  var session: UnsafeMutablePointer<SessionState>?
  var tag: UInt64 = 0
  var id: Int32 = 0
  var resetCode: UInt32 = 0
  /// The caller has heard of it: it gets a `streamClosed`.
  var isAnnounced = false
  /// The request waits for its HEADERS frame to go out (client).
  var isPending = false
  var hasFinalHead = false
  /// The data source said that it had nothing; a write must wake it.
  var isDeferred = false
  /// In the session's list of streams to wake.
  var isAwake = false
  /// A head that does not end our half has been submitted.
  var hasSource = false
  /// Nothing more may be written.
  var isEnded = false
  /// END_STREAM is on the wire.
  var endSent = false
  var isResetByUs = false
  /// The caller has been told that the peer broke the rules.
  var isReported = false
  /// Out of its session: nothing can be sent on it any more.
  var isClosed = false
  var resetsAfterEnd = false
  /// Bytes in the chunks.
  var queued = 0
  /// Since when the peer has taken less than `stallBytes` of the queue, in milliseconds of the caller's; 0: nothing
  /// waits. And what it took.
  var waitingSince: UInt32 = 0
  var taken: UInt32 = 0
  /// Bytes of `data` events that were not given back.
  var unconsumed = 0
  /// The peer's window where it has grown (0: as it was), and what was given back since.
  var window: UInt32 = 0
  var givenBack = 0
  // INVARIANT: `first` to `last` are the stream's own chunks; both nil or none.
  var first: UnsafeMutablePointer<Chunk>?
  var last: UnsafeMutablePointer<Chunk>?
  /// Trailers that wait for the end of the data: `StoredFields` in a block; owned.
  var trailers: UnsafeMutableRawPointer?
}

/// What `HTTP2Session` points to.
@safe
struct SessionState {
  var memory = SessionMemory()
  let inbox: UnsafeMutablePointer<InboxState>
  // INVARIANT: the inbox's, for this side.
  let limits: UnsafeMutablePointer<HTTP2Limits>
  // INVARIANT: the library's session; alive as long as this record. To be used through `session` only.
  private var library: OpaquePointer?
  let isServer: Bool
  /// No more events; only the GOAWAY is still to go.
  var isDead = false
  var deadCode: UInt32 = 0
  var limit = HTTP2Limit.none
  /// CONTINUATION frames of the block that is being read.
  var continuations: UInt32 = 0
  /// A shutdown notice is out and its PING has not been answered.
  var awaitsPing = false
  /// The final GOAWAY goes out with the next `drain`. Only then is it known which stream was the last: what is read
  /// before that is still served.
  var owesGoAway = false
  /// Resets of ours that were counted when the fault came, and have not been sent.
  var countedResets: UInt32 = 0
  var pendingRequests: Int32 = 0
  var activeStreams: Int32 = 0
  /// Bytes that all streams have queued.
  var queued = 0
  var logID: UInt64 = 0
  // INVARIANT: every stream of the session, open or pending.
  var streams: UnsafeMutablePointer<StreamState>?
  // INVARIANT: streams that have data again, in the order in which they got it; both nil or none.
  var firstAwake: UnsafeMutablePointer<StreamState>?
  var lastAwake: UnsafeMutablePointer<StreamState>?
  // INVARIANT: nil, or the open stream that was found last.
  var found: UnsafeMutablePointer<StreamState>?
  var block: UnsafeMutablePointer<HeaderBlock>?
  /// When the present header block was left unfinished, in the inbox's milliseconds; 0: none is.
  var headBegan: UInt64 = 0
  // INVARIANT: set during `drain` only; `outCount` ≤ `outCapacity`.
  var out: UnsafeMutablePointer<UInt8>?
  var outCount = 0
  var outCapacity = 0
  var flood = FloodCounters()
  var closed = ClosedStreams()
  var walk: FrameWalk
  /// The peer's SETTINGS have come.
  var hasSettings = false

  init(inbox: UnsafeMutablePointer<InboxState>, isServer: Bool) {
    unsafe self.inbox = inbox
    unsafe limits = isServer ? inbox.pointee.server : inbox.pointee.client
    self.isServer = isServer
    walk = FrameWalk(prefaceLength: isServer ? Int(NGHTTP2_CLIENT_MAGIC_LEN) : 0)
  }

  /// The library's session, awake.
  var session: OpaquePointer? {
    @inline(__always) mutating get {
      if memory.image != nil { wake() }
      return unsafe library
    }
  }

  /// False when memory is out.
  static func makeLibrarySession(_ state: UnsafeMutablePointer<SessionState>) -> Bool {
    let inbox = unsafe state.pointee.inbox
    unsafe state.pointee.memory.takeSlot(inbox.pointee.slots)
    unsafe state.pointee.memory.isBuilding = true
    defer { unsafe state.pointee.memory.isBuilding = false }
    var hooks = unsafe SessionMemory.hooks(state)
    var made: OpaquePointer?
    let result =
      unsafe state.pointee.isServer
      ? nghttp2_session_server_new3(&made, inbox.pointee.callbacks, state, inbox.pointee.serverOption, &hooks)
      : nghttp2_session_client_new3(&made, inbox.pointee.callbacks, state, inbox.pointee.clientOption, &hooks)
    if result == 0 { unsafe state.pointee.library = made }
    return result == 0
  }
}

// SAFETY of this file: handles point to live records by the invariants of `HTTP2Session` and `HTTP2Inbox`;
// the library returns as user data what was given to it, which is such a record.

func makeSession(_ inbox: UnsafeMutablePointer<InboxState>, isServer: Bool) -> HTTP2Session? {
  let state = UnsafeMutablePointer<SessionState>.allocate(capacity: 1)
  unsafe state.initialize(to: SessionState(inbox: inbox, isServer: isServer))
  guard unsafe SessionState.makeLibrarySession(state) && submitSettings(state, state.pointee.limits.pointee) else {
    unsafe deleteSession(state)
    return nil
  }
  return unsafe HTTP2Session(state: state)
}

private func submitSettings(_ state: UnsafeMutablePointer<SessionState>, _ limits: HTTP2Limits) -> Bool {
  let isServer = unsafe state.pointee.isServer
  func entry(_ id: nghttp2_settings_id, _ value: UInt32) -> nghttp2_settings_entry {
    nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: value)
  }
  // A client lets the server open nothing; a server says how much it lets the client open, and that a request may
  // become a tunnel (RFC 8441).
  var settings = (
    entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.streamWindow),
    entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.maxHeaderBytes),
    entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, isServer ? limits.maxConcurrentStreams : 0),
    isServer ? entry(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1) : entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0)
  )
  let submitted = unsafe withUnsafeBytes(of: &settings) { raw in
    unsafe nghttp2_submit_settings(
      state.pointee.session, UInt8(NGHTTP2_FLAG_NONE.rawValue),
      raw.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: nghttp2_settings_entry.self), 4)
  }
  let window = Int32(clamping: limits.connectionWindow)
  let widened = unsafe nghttp2_session_set_local_window_size(
    state.pointee.session, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, window)
  return submitted == 0 && widened == 0
}

func destroySession(_ state: UnsafeMutablePointer<SessionState>) {
  unsafe state.pointee.isDead = true
  while let stream = unsafe state.pointee.streams { unsafe releaseStream(state, stream) }
  unsafe SessionState.dropBlock(state)
  unsafe deleteSession(state)
}

private func deleteSession(_ state: UnsafeMutablePointer<SessionState>) {
  unsafe nghttp2_session_del(state.pointee.session)
  unsafe state.pointee.memory.giveSlot(state.pointee.inbox.pointee.slots)
  unsafe state.deinitialize(count: 1)
  unsafe state.deallocate()
}

// MARK: Streams

func addStream(_ state: UnsafeMutablePointer<SessionState>, _ id: Int32) -> UnsafeMutablePointer<StreamState> {
  let stream = unsafe InboxState.takeStream(state.pointee.inbox)
  unsafe stream.pointee.id = id
  unsafe stream.pointee.session = state
  unsafe stream.pointee.next = state.pointee.streams
  unsafe state.pointee.streams?.pointee.previous = stream
  unsafe state.pointee.streams = stream
  return unsafe stream
}

/// Takes the stream out of the session. Its record stays readable until the inbox is reset.
func releaseStream(_ state: UnsafeMutablePointer<SessionState>, _ stream: UnsafeMutablePointer<StreamState>) {
  let inbox = unsafe state.pointee.inbox
  unsafe dropQueue(state, stream)
  if unsafe stream.pointee.isAwake { unsafe leaveAwake(state, stream) }
  if unsafe state.pointee.found == stream { unsafe state.pointee.found = nil }
  if let previous = unsafe stream.pointee.previous {
    unsafe previous.pointee.next = stream.pointee.next
  } else {
    unsafe state.pointee.streams = stream.pointee.next
  }
  unsafe stream.pointee.next?.pointee.previous = stream.pointee.previous
  unsafe stream.pointee.isClosed = true
  if unsafe stream.pointee.isAnnounced { unsafe state.pointee.activeStreams &-= 1 }
  if unsafe stream.pointee.isPending { unsafe state.pointee.pendingRequests &-= 1 }
  unsafe stream.pointee.previous = nil
  unsafe stream.pointee.next = inbox.pointee.closing
  unsafe inbox.pointee.closing = stream
}

func dropQueue(_ state: UnsafeMutablePointer<SessionState>, _ stream: UnsafeMutablePointer<StreamState>) {
  while let chunk = unsafe stream.pointee.first {
    unsafe stream.pointee.first = chunk.pointee.next
    unsafe InboxState.giveChunk(state.pointee.inbox, chunk)
  }
  unsafe stream.pointee.last = nil
  unsafe state.pointee.queued &-= stream.pointee.queued
  unsafe stream.pointee.queued = 0
  if let trailers = unsafe stream.pointee.trailers {
    unsafe state.pointee.inbox.pointee.blocks.give(trailers)
    unsafe stream.pointee.trailers = nil
  }
}

/// The open stream of this ID.
@inline(__always)
func findStream(_ state: UnsafeMutablePointer<SessionState>, _ id: Int32) -> UnsafeMutablePointer<
  StreamState
>? {
  // Calls about one stream come in twos and threes.
  if let found = unsafe state.pointee.found, unsafe found.pointee.id == id { return unsafe found }
  if let data = unsafe nghttp2_session_get_stream_user_data(state.pointee.session, id) {
    let stream = unsafe data.assumingMemoryBound(to: StreamState.self)
    unsafe state.pointee.found = stream
    return unsafe stream
  }
  // The library knows a request only once its HEADERS frame has been made.
  if unsafe state.pointee.pendingRequests == 0 { return nil }
  var stream = unsafe state.pointee.streams
  while let candidate = unsafe stream, unsafe candidate.pointee.id != id {
    unsafe stream = candidate.pointee.next
  }
  return unsafe stream
}

func tagStream(_ state: UnsafeMutablePointer<SessionState>, _ id: Int32, _ tag: UInt64) {
  if let stream = unsafe findStream(state, id) {
    unsafe stream.pointee.tag = tag
    return
  }
  // Closed since, but its events still wait.
  var stream = unsafe state.pointee.inbox.pointee.closing
  while let candidate = unsafe stream {
    if unsafe candidate.pointee.id == id && candidate.pointee.session == state {
      unsafe candidate.pointee.tag = tag
      return
    }
    unsafe stream = candidate.pointee.next
  }
}

func consumeData(_ state: UnsafeMutablePointer<SessionState>, _ id: Int32, _ count: Int) {
  guard count > 0, let stream = unsafe findStream(state, id) else { return }
  let given = unsafe min(count, stream.pointee.unconsumed)
  unsafe stream.pointee.unconsumed &-= given
  unsafe _ = nghttp2_session_consume(state.pointee.session, id, given)
  unsafe stream.pointee.givenBack &+= given
  if unsafe stream.pointee.givenBack >= Int(max(stream.pointee.window, state.pointee.limits.pointee.streamWindow)) &* 4
  {
    unsafe growWindow(state, stream)
  }
}

/// A stream of which much was taken gets more at once: with the usual window a single fast sender
/// waits for each half of it.
private func growWindow(_ state: UnsafeMutablePointer<SessionState>, _ stream: UnsafeMutablePointer<StreamState>) {
  let limits = unsafe state.pointee.limits
  let window = unsafe max(stream.pointee.window, limits.pointee.streamWindow)
  unsafe stream.pointee.givenBack = 0
  guard unsafe window < limits.pointee.maxStreamWindow else { return }
  let wider = unsafe min(window &* 2, limits.pointee.maxStreamWindow)
  unsafe stream.pointee.window = wider
  unsafe _ = nghttp2_session_set_local_window_size(
    state.pointee.session, UInt8(NGHTTP2_FLAG_NONE.rawValue), stream.pointee.id, Int32(clamping: wider))
}

// MARK: State of the connection

func sessionWantsWrite(_ state: UnsafeMutablePointer<SessionState>) -> Bool {
  unsafe state.pointee.firstAwake != nil || state.pointee.owesGoAway && !state.pointee.isDead
    || nghttp2_session_want_write(state.pointee.session) != 0
}

func sessionIsFinished(_ state: UnsafeMutablePointer<SessionState>) -> Bool {
  let reads = unsafe !state.pointee.isDead && nghttp2_session_want_read(state.pointee.session) != 0
  return unsafe !reads && !sessionWantsWrite(state)
}

func remoteStreamLimit(_ state: UnsafeMutablePointer<SessionState>) -> Int {
  let theirs = unsafe nghttp2_session_get_remote_settings(
    state.pointee.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
  return unsafe Int(min(theirs, state.pointee.limits.pointee.maxConcurrentStreams))
}

func remoteTakesConnect(_ state: UnsafeMutablePointer<SessionState>) -> Bool {
  unsafe nghttp2_session_get_remote_settings(
    state.pointee.session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1
}

func mayOpenStream(_ state: UnsafeMutablePointer<SessionState>) -> Bool {
  guard unsafe !state.pointee.isDead && !state.pointee.isServer else { return false }
  guard unsafe nghttp2_session_check_request_allowed(state.pointee.session) != 0 else { return false }
  return unsafe Int(state.pointee.activeStreams) < remoteStreamLimit(state)
}

/// Ends the session with a GOAWAY of this code; `limit` says which limit did it.
func killSession(_ state: UnsafeMutablePointer<SessionState>, _ code: UInt32, _ limit: HTTP2Limit) {
  if unsafe state.pointee.isDead { return }
  unsafe state.pointee.isDead = true
  unsafe state.pointee.deadCode = code
  unsafe state.pointee.limit = limit
  unsafe _ = nghttp2_session_terminate_session(state.pointee.session, code)
}

func terminateSession(_ state: UnsafeMutablePointer<SessionState>, _ code: UInt32) {
  unsafe killSession(state, code, .none)
}

func submitPing(_ state: UnsafeMutablePointer<SessionState>) {
  unsafe _ = nghttp2_submit_ping(state.pointee.session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil)
}

func submitGoAway(_ state: UnsafeMutablePointer<SessionState>, _ graceful: Bool) {
  guard unsafe !state.pointee.isDead else { return }
  if unsafe graceful && state.pointee.isServer {
    if unsafe state.pointee.awaitsPing { return }
    unsafe state.pointee.awaitsPing = true
    unsafe _ = nghttp2_submit_shutdown_notice(state.pointee.session)
    unsafe submitPing(state)
    return
  }
  unsafe oweGoAway(state)
}

func oweGoAway(_ state: UnsafeMutablePointer<SessionState>) {
  unsafe state.pointee.awaitsPing = false
  unsafe state.pointee.owesGoAway = true
}

func submitFinalGoAway(_ state: UnsafeMutablePointer<SessionState>) {
  unsafe state.pointee.owesGoAway = false
  unsafe state.pointee.closed.forgive()
  let last = unsafe nghttp2_session_get_last_proc_stream_id(state.pointee.session)
  unsafe _ = nghttp2_submit_goaway(
    state.pointee.session, UInt8(NGHTTP2_FLAG_NONE.rawValue), last, HTTP2ErrorCode.noError, nil, 0)
}

// MARK: Bytes in

/// DATA with fewer bytes costs what a frame costs, rather than what its bytes cost.
private let smallData = 1024

func receiveBytes(
  _ state: UnsafeMutablePointer<SessionState>, _ bytes: UnsafePointer<UInt8>, _ count: Int, _ mostFrames: Int,
  _ used: inout Int
) -> HTTP2Result {
  used = count
  if unsafe state.pointee.isDead { return unsafe sessionStatus(state) }
  var fed = 0
  var position = 0
  var frames = 0
  var hasReset = false
  while let frame = unsafe state.pointee.walk.next(bytes, count, &position) {
    let isData = UInt32(frame.type) == NGHTTP2_DATA.rawValue
    if !isData || frame.length < smallData {
      frames &+= 1
      if frames > mostFrames {
        // The first frame is never one too many, so that this one begins in these bytes.
        unsafe state.pointee.walk.goBack()
        used = frame.start
        break
      }
    }
    if UInt32(frame.type) == NGHTTP2_RST_STREAM.rawValue { hasReset = true }
    if !isData { continue }
    // What the frames before this one say about its stream counts: one that is new they may open, and any reset.
    let isNew = unsafe frame.streamID > state.pointee.closed.highest
    guard unsafe hasReset || !isNew && findStream(state, frame.streamID) == nil else { continue }
    hasReset = false
    guard unsafe feed(state, bytes + fed, frame.start - fed) else { return unsafe sessionStatus(state) }
    fed = frame.start
    if unsafe checkStream(state, frame.streamID) != 0 { return unsafe sessionStatus(state) }
  }
  unsafe _ = feed(state, bytes + fed, used - fed)
  unsafe SessionState.carryBlock(state)
  return unsafe sessionStatus(state)
}

/// Lets the library read; false when the connection is lost.
@inline(__always)
private func feed(
  _ state: UnsafeMutablePointer<SessionState>, _ bytes: UnsafePointer<UInt8>, _ count: Int
) -> Bool {
  guard count > 0 else { return true }
  let read = unsafe nghttp2_session_mem_recv(state.pointee.session, bytes, count)
  if read < 0 {
    let (code, limit) = meaning(ofLibraryError: Int32(clamping: read))
    unsafe killSession(state, code, limit)
  }
  return unsafe !state.pointee.isDead
}

func sessionStatus(_ state: UnsafeMutablePointer<SessionState>) -> HTTP2Result {
  guard unsafe state.pointee.isDead else { return .ok }
  return unsafe .fatal(errorCode: state.pointee.deadCode, limit: state.pointee.limit)
}

/// The error code for the peer.
func meaning(ofLibraryError error: Int32) -> (UInt32, HTTP2Limit) {
  switch error {
  case NGHTTP2_ERR_FLOODED.rawValue: (HTTP2ErrorCode.enhanceYourCalm, .queuedAcknowledgements)
  case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS.rawValue: (HTTP2ErrorCode.enhanceYourCalm, .continuations)
  case NGHTTP2_ERR_NOMEM.rawValue, NGHTTP2_ERR_CALLBACK_FAILURE.rawValue:
    (HTTP2ErrorCode.internalError, .none)
  case NGHTTP2_ERR_FLOW_CONTROL.rawValue: (HTTP2ErrorCode.flowControlError, .none)
  case NGHTTP2_ERR_FRAME_SIZE_ERROR.rawValue: (HTTP2ErrorCode.frameSizeError, .none)
  case NGHTTP2_ERR_HEADER_COMP.rawValue: (HTTP2ErrorCode.compressionError, .none)
  case NGHTTP2_ERR_STREAM_CLOSED.rawValue: (HTTP2ErrorCode.streamClosed, .none)
  default: (HTTP2ErrorCode.protocolError, .none)
  }
}
