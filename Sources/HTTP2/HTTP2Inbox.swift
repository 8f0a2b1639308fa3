internal import CNghttp2
internal import HTTPSemantics
internal import IdleMemory

/// Called with one line of text per frame, without a line end; `argument` is what was given with the hook.
public typealias HTTP2DebugLog =
  @convention(c) (_ argument: UnsafeMutableRawPointer?, _ line: UnsafePointer<UInt8>?, _ count: Int) -> Void

/// A worker's memory for all of its sessions: what `receive` and `drain` report, header bytes, free lists of
/// stream records and data chunks, the time.
///
/// A handle of one pointer; trivial; one thread. Events accumulate until `reset`.
@safe
public struct HTTP2Inbox {
  // INVARIANT: valid from `make` until `destroy`, which comes after every session's `destroy`.
  let state: UnsafeMutablePointer<InboxState>

  /// Nil when memory is out. `server` and `client` bound the sessions of either side. Without `keepsBlocks` memory
  /// goes back to the heap at once, where a tool for wrong accesses looks for it.
  public static func make(
    server: HTTP2Limits = HTTP2Limits(), client: HTTP2Limits = HTTP2Limits(), keepsBlocks: Bool = true
  ) -> HTTP2Inbox? {
    let blocks = BlockPool(mostBytes: keepsBlocks ? BlockPool.defaultBytes : 0)
    guard let state = unsafe InboxState.make(server: server, client: client, blocks: blocks) else { return nil }
    return unsafe HTTP2Inbox(state: state)
  }

  /// Every session of this inbox must have been destroyed.
  public func destroy() { unsafe InboxState.destroy(state) }

  /// How many events wait.
  @inline(__always)
  public var count: Int { unsafe state.pointee.eventCount }

  /// The events in the order in which they happened; traps outside `count`.
  @inline(__always)
  public subscript(index: Int) -> HTTP2Event {
    precondition(index >= 0 && index < count)
    // SAFETY: the array holds `eventCount` events.
    return unsafe state.pointee.events[index]
  }

  /// Forgets the events and everything that they view.
  public func reset() { unsafe InboxState.reset(state) }

  /// Tells the flood limits the time; once an event-loop turn is enough. Any origin, never backwards.
  public func setNow(milliseconds: UInt64) { unsafe state.pointee.nowMilliseconds = milliseconds }

  /// Logs every frame of the sessions of this inbox (SLUICE_DEBUG=http2); nil turns it off.
  public func setDebugLog(_ log: HTTP2DebugLog?, argument: UnsafeMutableRawPointer?) {
    unsafe state.pointee.debugLog = log
    unsafe state.pointee.debugArgument = argument
  }

  /// The emptied list for the next submission. There is one an inbox: making another empties the first.
  public func fieldList() -> HTTP2FieldList { unsafe HTTP2FieldList(state: state) }
}

/// What `HTTP2Inbox` points to.
@safe
struct InboxState {
  // INVARIANT: owned; read by the sessions of either side.
  let server: UnsafeMutablePointer<HTTP2Limits>
  let client: UnsafeMutablePointer<HTTP2Limits>
  var nowMilliseconds: UInt64 = 0
  var callbacks: OpaquePointer?
  var serverOption: OpaquePointer?
  var clientOption: OpaquePointer?

  // INVARIANT: `events` has room for `eventCapacity`, the first `eventCount` are initialised.
  var events: UnsafeMutablePointer<HTTP2Event>
  var eventCount = 0
  var eventCapacity: Int

  var arena: Arena
  /// The header block that the running `receive` reads; owned, its bytes lie in the arena.
  let block: UnsafeMutablePointer<HeaderBlock>

  // INVARIANT: lists of records that nobody else points to; `closing` ones may still be named by events.
  var freeStreams: UnsafeMutablePointer<StreamState>?
  var closing: UnsafeMutablePointer<StreamState>?
  var freeChunks: UnsafeMutablePointer<Chunk>?
  var freeChunkCount = 0
  /// What the library allocates.
  var blocks: BlockPool
  /// Memory of sessions; nil: all of it comes from the heap, and none rests.
  let slots: IdleSlots?

  // INVARIANT: room for `pairCapacity` entries.
  var pairs: UnsafeMutablePointer<nghttp2_nv>
  var pairCapacity: Int

  var debugLog: HTTP2DebugLog?
  var debugArgument: UnsafeMutableRawPointer?

  /// Chunks kept for reuse; 512 of 4 KiB are 2 MiB.
  static var maxFreeChunks: Int { 512 }
}

// SAFETY of this extension: `state` is the one allocation of an inbox, from `make` to `destroy`; lists are
// walked only on the inbox's thread.
extension InboxState {
  static func make(
    server: HTTP2Limits, client: HTTP2Limits, blocks: BlockPool
  ) -> UnsafeMutablePointer<InboxState>? {
    var callbacks: OpaquePointer?
    guard unsafe nghttp2_session_callbacks_new(&callbacks) == 0, let callbacks = unsafe callbacks else {
      return nil
    }
    unsafe setCallbacks(callbacks)
    guard let serverOption = unsafe makeOption(server), let clientOption = unsafe makeOption(client) else {
      return nil
    }
    let fields = Int(max(server.maxHeaderFields, client.maxHeaderFields))
    let bytes = Int(max(server.maxHeaderBytes, client.maxHeaderBytes))
    let state = UnsafeMutablePointer<InboxState>.allocate(capacity: 1)
    let pairCapacity = 256 + fields
    unsafe state.initialize(
      to: InboxState(
        server: place(server), client: place(client), callbacks: callbacks, serverOption: serverOption,
        clientOption: clientOption,
        events: UnsafeMutablePointer<HTTP2Event>.allocate(capacity: 512), eventCapacity: 512,
        arena: Arena(blockSize: 256 * 1024),
        block: place(HeaderBlock(fieldCapacity: fields, largest: bytes)),
        blocks: blocks, slots: IdleSlots.make(slotBytes: SessionMemory.slotBytes, count: SessionMemory.slotCount),
        pairs: UnsafeMutablePointer<nghttp2_nv>.allocate(capacity: pairCapacity), pairCapacity: pairCapacity))
    return unsafe state
  }

  private static func place<Value>(_ value: Value) -> UnsafeMutablePointer<Value> {
    let memory = UnsafeMutablePointer<Value>.allocate(capacity: 1)
    unsafe memory.initialize(to: value)
    return unsafe memory
  }

  private static func makeOption(_ limits: HTTP2Limits) -> OpaquePointer? {
    var option: OpaquePointer?
    guard unsafe nghttp2_option_new(&option) == 0, let option = unsafe option else { return nil }
    // The caller decides when a byte counts as read; closed streams are not kept for the priority tree.
    unsafe nghttp2_option_set_no_auto_window_update(option, 1)
    unsafe nghttp2_option_set_no_closed_streams(option, 1)
    unsafe nghttp2_option_set_peer_max_concurrent_streams(option, limits.maxConcurrentStreams)
    // The library counts a frame whose header arrives in pieces once for each piece; the real count is ours.
    unsafe nghttp2_option_set_max_continuations(option, Int(limits.maxContinuations) * 10 + 10)
    unsafe nghttp2_option_set_max_deflate_dynamic_table_size(option, 4096)
    unsafe nghttp2_option_set_max_outbound_ack(option, Int(limits.maxQueuedAcknowledgements))
    // Frames of unknown types are seen only by those who ask for them; they are counted and dropped.
    for type in UInt8(NGHTTP2_CONTINUATION.rawValue) + 1...UInt8.max {
      unsafe nghttp2_option_set_user_recv_extension_type(option, type)
    }
    // Resets are counted here, with their own limit and name.
    unsafe nghttp2_option_set_stream_reset_rate_limit(option, UInt64(UInt32.max), UInt64(UInt32.max))
    return unsafe option
  }

  static func destroy(_ state: UnsafeMutablePointer<InboxState>) {
    unsafe reset(state)
    while let stream = unsafe state.pointee.freeStreams {
      unsafe state.pointee.freeStreams = stream.pointee.next
      unsafe stream.deallocate()
    }
    while let chunk = unsafe state.pointee.freeChunks {
      unsafe state.pointee.freeChunks = chunk.pointee.next
      unsafe free(chunk)
    }
    unsafe state.pointee.blocks.destroy()
    unsafe state.pointee.arena.destroy()
    unsafe state.pointee.block.pointee.destroy()
    unsafe state.pointee.block.deallocate()
    unsafe state.pointee.server.deallocate()
    unsafe state.pointee.client.deallocate()
    unsafe state.pointee.events.deallocate()
    unsafe state.pointee.pairs.deallocate()
    unsafe state.pointee.slots?.destroy()
    unsafe nghttp2_session_callbacks_del(state.pointee.callbacks)
    unsafe nghttp2_option_del(state.pointee.serverOption)
    unsafe nghttp2_option_del(state.pointee.clientOption)
    unsafe state.deinitialize(count: 1)
    unsafe state.deallocate()
  }

  static func reset(_ state: UnsafeMutablePointer<InboxState>) {
    unsafe state.pointee.eventCount = 0
    unsafe state.pointee.arena.reset()
    while let stream = unsafe state.pointee.closing {
      unsafe state.pointee.closing = stream.pointee.next
      unsafe stream.pointee.next = state.pointee.freeStreams
      unsafe state.pointee.freeStreams = stream
    }
  }

  /// The place of the new event, for its owner to fill in what differs from the default.
  @inline(__always)
  static func append(
    _ state: UnsafeMutablePointer<InboxState>, _ kind: HTTP2Event.Kind, _ streamID: Int32,
    _ stream: UnsafeMutablePointer<StreamState>?
  ) -> UnsafeMutablePointer<HTTP2Event> {
    if unsafe state.pointee.eventCount == state.pointee.eventCapacity { unsafe growEvents(state) }
    let place = unsafe state.pointee.events + state.pointee.eventCount
    unsafe place.initialize(to: HTTP2Event(kind, streamID: streamID, stream: stream))
    unsafe state.pointee.eventCount &+= 1
    return unsafe place
  }

  private static func growEvents(_ state: UnsafeMutablePointer<InboxState>) {
    let capacity = unsafe state.pointee.eventCapacity * 2
    let grown = UnsafeMutablePointer<HTTP2Event>.allocate(capacity: capacity)
    unsafe grown.moveInitialize(from: state.pointee.events, count: state.pointee.eventCount)
    unsafe state.pointee.events.deallocate()
    unsafe state.pointee.events = grown
    unsafe state.pointee.eventCapacity = capacity
  }

  static func takeStream(_ state: UnsafeMutablePointer<InboxState>) -> UnsafeMutablePointer<StreamState> {
    if let stream = unsafe state.pointee.freeStreams {
      unsafe state.pointee.freeStreams = stream.pointee.next
      unsafe stream.initialize(to: StreamState())
      return unsafe stream
    }
    let stream = UnsafeMutablePointer<StreamState>.allocate(capacity: 1)
    unsafe stream.initialize(to: StreamState())
    return unsafe stream
  }

  static func takeChunk(_ state: UnsafeMutablePointer<InboxState>) -> UnsafeMutablePointer<Chunk>? {
    if let chunk = unsafe state.pointee.freeChunks {
      unsafe state.pointee.freeChunks = chunk.pointee.next
      unsafe state.pointee.freeChunkCount &-= 1
      unsafe chunk.initialize(to: Chunk())
      return unsafe chunk
    }
    guard let memory = unsafe malloc(Chunk.size) else { return nil }
    let chunk = unsafe memory.bindMemory(to: Chunk.self, capacity: 1)
    unsafe chunk.initialize(to: Chunk())
    return unsafe chunk
  }

  static func giveChunk(_ state: UnsafeMutablePointer<InboxState>, _ chunk: UnsafeMutablePointer<Chunk>) {
    guard unsafe state.pointee.freeChunkCount < maxFreeChunks else {
      unsafe free(chunk)
      return
    }
    unsafe chunk.pointee.next = state.pointee.freeChunks
    unsafe state.pointee.freeChunks = chunk
    unsafe state.pointee.freeChunkCount &+= 1
  }
}

/// Memory that is handed out front to back and forgotten at once. What was handed out never moves.
@safe
struct Arena {
  @safe
  private struct Block {
    var previous: UnsafeMutableRawPointer?
    var capacity: Int
  }

  // INVARIANT: `current` starts with a `Block` header followed by its `capacity` bytes, of which `used` are
  // handed out.
  private var current: UnsafeMutableRawPointer?
  private var used = 0
  private let blockSize: Int

  init(blockSize: Int) { self.blockSize = blockSize }

  /// Makes sure that `count` bytes lie in one piece behind the cursor, and 64 beyond them for wide reads.
  mutating func reserve(_ count: Int) -> UnsafeMutablePointer<UInt8> {
    let needed = count + 64
    if let current = unsafe current {
      let capacity = unsafe current.load(as: Block.self).capacity
      if used &+ needed <= capacity { return unsafe base(current) + used }
    }
    let capacity = max(blockSize, needed)
    let size = capacity + MemoryLayout<Block>.size
    // SAFETY: sized for the header and `capacity` bytes, aligned for both.
    let block = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
    unsafe block.storeBytes(of: Block(previous: current, capacity: capacity), as: Block.self)
    unsafe current = block
    used = 0
    return unsafe base(block)
  }

  /// Keeps the first `count` bytes of the last `reserve`; the next one starts 16-aligned behind them.
  @inline(__always)
  mutating func commit(_ count: Int) { used = (used &+ count &+ 15) & ~15 }

  mutating func take(_ count: Int) -> UnsafeMutablePointer<UInt8> {
    let start = unsafe reserve(count)
    commit(count)
    return unsafe start
  }

  /// Keeps the oldest block, if it is of the ordinary size.
  mutating func reset() {
    used = 0
    while let block = unsafe current {
      let header = unsafe block.load(as: Block.self)
      if unsafe header.capacity == blockSize && header.previous == nil { return }
      unsafe current = header.previous
      unsafe block.deallocate()
    }
  }

  mutating func destroy() {
    while let block = unsafe current {
      unsafe current = block.load(as: Block.self).previous
      unsafe block.deallocate()
    }
    used = 0
  }

  private func base(_ block: UnsafeMutableRawPointer) -> UnsafeMutablePointer<UInt8> {
    unsafe (block + MemoryLayout<Block>.size).assumingMemoryBound(to: UInt8.self)
  }
}
