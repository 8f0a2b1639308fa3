internal import CNghttp2
internal import HTTPSemantics

// SAFETY of this file: handles point to live records by the invariants of `HTTP2Session` and `HTTP2Inbox`;
// chunk offsets stay inside the chunk by its invariant; the library copies field lists during the submission.

struct RequestLine {
  var method: Bytes
  var scheme: Scheme
  var authority: Bytes
  var path: Bytes
  /// Not empty: an extended CONNECT (RFC 8441 section 4).
  var tunnelProtocol: Bytes
}

// MARK: Heads

func openRequest(
  _ state: UnsafeMutablePointer<SessionState>, _ line: RequestLine, _ fields: HTTP2FieldList,
  _ endStream: Bool,
  _ tag: UInt64
) -> Int32 {
  guard unsafe !state.pointee.isServer && !state.pointee.isDead else { return -1 }
  var pseudo = PseudoFields()
  pseudo.append(":method", line.method)
  pseudo.append(":scheme", line.scheme == .https ? Bytes("https") : Bytes("http"))
  if !line.authority.isEmpty { pseudo.append(":authority", line.authority) }
  pseudo.append(":path", line.path)
  if !line.tunnelProtocol.isEmpty { pseudo.append(":protocol", line.tunnelProtocol) }
  let (pairs, count) = unsafe fields.finish(pseudo, dropHost: !line.authority.isEmpty)
  let stream = unsafe addStream(state, 0)
  var provider = unsafe makeProvider(stream)
  let session = unsafe state.pointee.session
  let id =
    unsafe endStream
    ? nghttp2_submit_request(session, nil, pairs, count, nil, stream)
    : nghttp2_submit_request(session, nil, pairs, count, &provider, stream)
  if id < 0 {
    unsafe releaseStream(state, stream)
    return -1
  }
  unsafe state.pointee.closed.noteOpened(id)
  unsafe stream.pointee.id = id
  unsafe stream.pointee.tag = tag
  unsafe stream.pointee.isAnnounced = true
  unsafe stream.pointee.isPending = true
  unsafe stream.pointee.hasSource = !endStream
  unsafe stream.pointee.isEnded = endStream
  unsafe state.pointee.activeStreams &+= 1
  unsafe state.pointee.pendingRequests &+= 1
  return id
}

/// Three digits in memory of the caller.
private func statusText(_ status: UInt16, _ digits: UnsafeMutablePointer<UInt8>) -> Bytes {
  precondition(status >= 100 && status <= 999)
  unsafe digits[0] = 0x30 + UInt8(status / 100)
  unsafe digits[1] = 0x30 + UInt8(status / 10 % 10)
  unsafe digits[2] = 0x30 + UInt8(status % 10)
  return unsafe Bytes(start: UnsafePointer(digits), count: 3)
}

func sendResponse(
  _ state: UnsafeMutablePointer<SessionState>, _ id: Int32, _ status: UInt16, _ fields: HTTP2FieldList,
  _ endStream: Bool
) -> Bool {
  guard let stream = unsafe findStream(state, id) else { return false }
  if unsafe stream.pointee.hasSource || stream.pointee.isEnded { return false }
  return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 3) { digits in
    var pseudo = PseudoFields()
    unsafe pseudo.append(":status", statusText(status, digits.baseAddress.unsafelyUnwrapped))
    let (pairs, count) = unsafe fields.finish(pseudo, dropHost: false)
    var provider = unsafe makeProvider(stream)
    let session = unsafe state.pointee.session
    let result =
      unsafe endStream
      ? nghttp2_submit_response(session, id, pairs, count, nil)
      : nghttp2_submit_response(session, id, pairs, count, &provider)
    if result != 0 { return false }
    unsafe stream.pointee.hasSource = !endStream
    unsafe stream.pointee.isEnded = endStream
    return true
  }
}

func sendInformational(
  _ state: UnsafeMutablePointer<SessionState>, _ id: Int32, _ status: UInt16, _ fields: HTTP2FieldList
) -> Bool {
  precondition(status >= 100 && status < 200 && status != 101)
  guard let stream = unsafe findStream(state, id) else { return false }
  if unsafe stream.pointee.hasSource || stream.pointee.isEnded { return false }
  return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 3) { digits in
    var pseudo = PseudoFields()
    unsafe pseudo.append(":status", statusText(status, digits.baseAddress.unsafelyUnwrapped))
    let (pairs, count) = unsafe fields.finish(pseudo, dropHost: false)
    return unsafe nghttp2_submit_headers(
      state.pointee.session, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, nil, pairs, count, nil) == 0
  }
}

func sendTrailers(
  _ state: UnsafeMutablePointer<SessionState>, _ id: Int32, _ fields: HTTP2FieldList
) -> Bool {
  guard let stream = unsafe findStream(state, id) else { return false }
  if unsafe !stream.pointee.hasSource || stream.pointee.isEnded { return false }
  let (pairs, count) = unsafe fields.finish(PseudoFields(), dropHost: true)
  if count == 0 { return unsafe queueData(state, id, Bytes.empty.start, 0, true) }
  unsafe stream.pointee.isEnded = true
  if unsafe stream.pointee.queued == 0 && stream.pointee.isDeferred {
    // The data source sleeps behind everything that went out: no frame of it has to come first.
    return unsafe nghttp2_submit_trailer(state.pointee.session, id, pairs, count) == 0
  }
  guard let kept = unsafe StoredFields.copy(pairs, count, in: state.pointee.inbox) else { return false }
  unsafe stream.pointee.trailers = kept
  unsafe wakeSource(state, stream)
  return true
}

/// A copy of fields in one of the inbox's blocks: count, entries, bytes.
enum StoredFields {
  static func copy(
    _ pairs: UnsafeMutablePointer<nghttp2_nv>, _ count: Int, in inbox: UnsafeMutablePointer<InboxState>
  ) -> UnsafeMutableRawPointer? {
    var size = unsafe 16 + count * MemoryLayout<nghttp2_nv>.stride
    var cursor = size
    for index in 0..<count { size += unsafe pairs[index].namelen + pairs[index].valuelen }
    guard let memory = unsafe inbox.pointee.blocks.take(size) else { return nil }
    unsafe memory.storeBytes(of: count, as: Int.self)
    let entries = unsafe Self.pairs(memory)
    for index in 0..<count {
      var entry: nghttp2_nv = unsafe pairs[index]
      let name = unsafe (memory + cursor).assumingMemoryBound(to: UInt8.self)
      unsafe memcpy(name, entry.name, entry.namelen)
      let value = unsafe name + entry.namelen
      unsafe memcpy(value, entry.value, entry.valuelen)
      cursor += unsafe entry.namelen + entry.valuelen
      unsafe entry.name = name
      unsafe entry.value = value
      unsafe (entries + index).initialize(to: entry)
    }
    return unsafe memory
  }

  static func count(_ memory: UnsafeMutableRawPointer) -> Int { unsafe memory.load(as: Int.self) }

  static func pairs(_ memory: UnsafeMutableRawPointer) -> UnsafeMutablePointer<nghttp2_nv> {
    unsafe (memory + 16).assumingMemoryBound(to: nghttp2_nv.self)
  }
}

// MARK: Data

func queuedData(_ state: UnsafeMutablePointer<SessionState>, _ id: Int32) -> Int {
  guard let stream = unsafe findStream(state, id) else { return 0 }
  return unsafe stream.pointee.queued
}

func queueData(
  _ state: UnsafeMutablePointer<SessionState>, _ id: Int32, _ bytes: UnsafePointer<UInt8>, _ count: Int,
  _ endStream: Bool
) -> Bool {
  guard let stream = unsafe findStream(state, id) else { return false }
  if unsafe !stream.pointee.hasSource || stream.pointee.isEnded || stream.pointee.isResetByUs { return false }
  var done = 0
  while done < count {
    var last = unsafe stream.pointee.last
    if unsafe last == nil || Int(last.unsafelyUnwrapped.pointee.end) == Chunk.room {
      guard let fresh = unsafe InboxState.takeChunk(state.pointee.inbox) else { return false }
      if let last = unsafe last {
        unsafe last.pointee.next = fresh
      } else {
        unsafe stream.pointee.first = fresh
      }
      unsafe stream.pointee.last = fresh
      unsafe last = fresh
    }
    let chunk = unsafe last.unsafelyUnwrapped
    let part = unsafe min(count &- done, Chunk.room &- Int(chunk.pointee.end))
    unsafe memcpy(Chunk.bytes(chunk) + Int(chunk.pointee.end), bytes + done, part)
    unsafe chunk.pointee.end &+= Int32(truncatingIfNeeded: part)
    done &+= part
  }
  unsafe stream.pointee.queued &+= count
  unsafe state.pointee.queued &+= count
  unsafe stream.pointee.isEnded = endStream
  if count > 0 || endStream { unsafe wakeSource(state, stream) }
  return true
}

@inline(__always)
private func wakeSource(
  _ state: UnsafeMutablePointer<SessionState>, _ stream: UnsafeMutablePointer<StreamState>
) {
  guard unsafe stream.pointee.isDeferred && !stream.pointee.isAwake else { return }
  unsafe stream.pointee.isAwake = true
  unsafe stream.pointee.nextAwake = nil
  if let last = unsafe state.pointee.lastAwake {
    unsafe last.pointee.nextAwake = stream
  } else {
    unsafe state.pointee.firstAwake = stream
  }
  unsafe state.pointee.lastAwake = stream
}

/// Lets the library have the next stream that has data again; false: there is none.
private func wakeNext(_ state: UnsafeMutablePointer<SessionState>) -> Bool {
  guard let stream = unsafe state.pointee.firstAwake else { return false }
  unsafe state.pointee.firstAwake = stream.pointee.nextAwake
  if unsafe state.pointee.firstAwake == nil { unsafe state.pointee.lastAwake = nil }
  unsafe stream.pointee.isAwake = false
  if unsafe stream.pointee.isDeferred {
    unsafe stream.pointee.isDeferred = false
    unsafe _ = nghttp2_session_resume_data(state.pointee.session, stream.pointee.id)
  }
  return true
}

/// A stream that goes away is woken no more.
func leaveAwake(_ state: UnsafeMutablePointer<SessionState>, _ stream: UnsafeMutablePointer<StreamState>) {
  unsafe stream.pointee.isAwake = false
  var before: UnsafeMutablePointer<StreamState>?
  var candidate = unsafe state.pointee.firstAwake
  while let present = unsafe candidate, unsafe present != stream {
    unsafe before = present
    unsafe candidate = present.pointee.nextAwake
  }
  if let before = unsafe before {
    unsafe before.pointee.nextAwake = stream.pointee.nextAwake
  } else {
    unsafe state.pointee.firstAwake = stream.pointee.nextAwake
  }
  if unsafe state.pointee.lastAwake == stream { unsafe state.pointee.lastAwake = before }
}

private func makeProvider(_ stream: UnsafeMutablePointer<StreamState>) -> nghttp2_data_provider {
  var provider = unsafe nghttp2_data_provider()
  unsafe provider.source.ptr = UnsafeMutableRawPointer(stream)
  unsafe provider.read_callback = { session, id, _, length, flags, source, data in
    let stream = unsafe source.unsafelyUnwrapped.pointee.ptr.assumingMemoryBound(to: StreamState.self)
    let state = unsafe data.unsafelyUnwrapped.assumingMemoryBound(to: SessionState.self)
    return unsafe offerData(session.unsafelyUnwrapped, state, id, length, flags.unsafelyUnwrapped, stream)
  }
  return unsafe provider
}

/// Says how many bytes the next DATA frame takes; `sendData` writes them.
private func offerData(
  _ session: OpaquePointer, _ state: UnsafeMutablePointer<SessionState>, _ id: Int32, _ length: Int,
  _ flags: UnsafeMutablePointer<UInt32>, _ stream: UnsafeMutablePointer<StreamState>
) -> Int {
  let queued = unsafe stream.pointee.queued
  if unsafe queued == 0 && !stream.pointee.isEnded {
    unsafe stream.pointee.isDeferred = true
    return Int(NGHTTP2_ERR_DEFERRED.rawValue)
  }
  unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
  let count = min(queued, length)
  guard unsafe count == queued && stream.pointee.isEnded else { return count }
  unsafe flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
  if let kept = unsafe stream.pointee.trailers {
    unsafe flags.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
    unsafe _ = nghttp2_submit_trailer(session, id, StoredFields.pairs(kept), StoredFields.count(kept))
    unsafe state.pointee.inbox.pointee.blocks.give(kept)
    unsafe stream.pointee.trailers = nil
  }
  return count
}

/// Writes one DATA frame into the output of the running `drain`.
func sendData(
  _ state: UnsafeMutablePointer<SessionState>, _ frame: UnsafeMutablePointer<nghttp2_frame>,
  _ header: UnsafePointer<UInt8>, _ count: Int, _ source: UnsafeMutablePointer<nghttp2_data_source>
) -> Int32 {
  let stream = unsafe source.pointee.ptr.assumingMemoryBound(to: StreamState.self)
  // Its frame is reported right behind.
  unsafe state.pointee.found = stream
  let room = unsafe state.pointee.outCapacity &- state.pointee.outCount
  if room < count &+ 9 { return NGHTTP2_ERR_WOULDBLOCK.rawValue }
  // A reset between offer and frame drops the queue.
  if unsafe stream.pointee.queued < count { return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue }
  var out = unsafe state.pointee.out.unsafelyUnwrapped + state.pointee.outCount
  unsafe memcpy(out, header, 9)
  unsafe out += 9
  unsafe takeQueued(state, stream, &out, count)
  unsafe state.pointee.outCount &+= count &+ 9
  let inbox = unsafe state.pointee.inbox
  let before = unsafe stream.pointee.queued
  unsafe stream.pointee.queued &-= count
  unsafe stream.pointee.taken &+= UInt32(truncatingIfNeeded: count)
  unsafe state.pointee.queued &-= count
  let lowWater = unsafe Int(state.pointee.limits.pointee.lowWater)
  if before >= lowWater && before &- count < lowWater {
    unsafe _ = InboxState.append(inbox, .writable, stream.pointee.id, stream)
  }
  // The library goes on to the next frame by itself; it may return one that no longer fits.
  return room &- count &- 9 < largestFrame ? NGHTTP2_ERR_PAUSE.rawValue : 0
}

private func takeQueued(
  _ state: UnsafeMutablePointer<SessionState>, _ stream: UnsafeMutablePointer<StreamState>,
  _ out: inout UnsafeMutablePointer<UInt8>, _ count: Int
) {
  var left = count
  while left > 0, let chunk = unsafe stream.pointee.first {
    let part = unsafe min(left, Int(chunk.pointee.end &- chunk.pointee.start))
    unsafe memcpy(out, Chunk.bytes(chunk) + Int(chunk.pointee.start), part)
    unsafe out += part
    left &-= part
    unsafe chunk.pointee.start &+= Int32(truncatingIfNeeded: part)
    if unsafe chunk.pointee.start < chunk.pointee.end { continue }
    unsafe stream.pointee.first = chunk.pointee.next
    if unsafe stream.pointee.first == nil { unsafe stream.pointee.last = nil }
    unsafe InboxState.giveChunk(state.pointee.inbox, chunk)
  }
}

/// Header and payload of the largest frame that the library hands out at once, and a few bytes.
private let largestFrame = 16_384 + 32

/// What the library has to send by itself, as far as there is room.
private func drainReady(_ state: UnsafeMutablePointer<SessionState>) {
  let out = unsafe state.pointee.out.unsafelyUnwrapped
  while unsafe state.pointee.outCapacity &- state.pointee.outCount >= largestFrame {
    var bytes: UnsafePointer<UInt8>?
    let before = unsafe state.pointee.outCount
    let count = unsafe nghttp2_session_mem_send(state.pointee.session, &bytes)
    if count > 0, let bytes = unsafe bytes {
      unsafe memcpy(out + state.pointee.outCount, bytes, count)
      unsafe state.pointee.outCount &+= count
    } else if count < 0 {
      unsafe state.pointee.isDead = true
      return
    } else if unsafe state.pointee.outCount == before {
      return
    }
  }
}

func drainBytes(
  _ state: UnsafeMutablePointer<SessionState>, _ out: UnsafeMutablePointer<UInt8>, _ capacity: Int
) -> Int {
  precondition(capacity >= 2 * 16_384)
  unsafe state.pointee.out = out
  unsafe state.pointee.outCount = 0
  unsafe state.pointee.outCapacity = capacity
  if unsafe state.pointee.owesGoAway && !state.pointee.isDead { unsafe submitFinalGoAway(state) }
  // One stream after the other, each with all that it has: the library keeps those that are ready in
  // order of priority, which costs a walk through a tree a frame when there are many. What a stream
  // can have queued is bounded, so that each gets its turn.
  repeat {
    unsafe drainReady(state)
  } while unsafe !state.pointee.isDead && capacity &- state.pointee.outCount >= largestFrame && wakeNext(state)
  unsafe state.pointee.out = nil
  return unsafe state.pointee.outCount
}

// MARK: Resets

/// Less than this in the whole of the time counts as nothing: a window that opens by a byte now and then is no reader.
private let stallBytes: UInt32 = 1024

/// Resets the streams of which the peer has taken nothing for `timeout`; both times in the same milliseconds.
/// - Returns: how many.
func resetStalledStreams(_ state: UnsafeMutablePointer<SessionState>, now: UInt32, timeout: UInt32) -> Int {
  if unsafe state.pointee.queued == 0 || state.pointee.isDead { return 0 }
  var count = 0
  var next = unsafe state.pointee.streams
  while let stream = unsafe next {
    unsafe next = stream.pointee.next
    if unsafe stream.pointee.queued == 0 {
      unsafe stream.pointee.waitingSince = 0
    } else if unsafe stream.pointee.waitingSince == 0 || stream.pointee.taken >= stallBytes {
      unsafe stream.pointee.waitingSince = now
      unsafe stream.pointee.taken = 0
    } else if unsafe now &- stream.pointee.waitingSince >= timeout {
      count &+= 1
      unsafe resetStream(state, stream.pointee.id, HTTP2ErrorCode.enhanceYourCalm)
    }
  }
  return count
}

func resetStream(_ state: UnsafeMutablePointer<SessionState>, _ id: Int32, _ code: UInt32) {
  guard let stream = unsafe findStream(state, id), unsafe !stream.pointee.isResetByUs else { return }
  unsafe stream.pointee.isResetByUs = true
  unsafe stream.pointee.resetCode = code
  unsafe dropQueue(state, stream)
  unsafe _ = nghttp2_submit_rst_stream(state.pointee.session, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, code)
}

func resetStreamAfterEnd(_ state: UnsafeMutablePointer<SessionState>, _ id: Int32, _ code: UInt32) {
  guard let stream = unsafe findStream(state, id), unsafe !stream.pointee.isResetByUs else { return }
  unsafe stream.pointee.resetCode = code
  unsafe stream.pointee.resetsAfterEnd = true
  if unsafe stream.pointee.endSent { unsafe resetAfterEndNow(state, stream) }
}

func resetAfterEndNow(
  _ state: UnsafeMutablePointer<SessionState>, _ stream: UnsafeMutablePointer<StreamState>
) {
  let id = unsafe stream.pointee.id
  if unsafe nghttp2_session_get_stream_remote_close(state.pointee.session, id) != 0 { return }
  unsafe resetStream(state, id, stream.pointee.resetCode)
}
