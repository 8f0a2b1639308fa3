internal import CLinux
internal import Glibc

/// One submission to io_uring: `struct io_uring_sqe`, with the unions resolved to what the engine
/// uses. A test compares the layouts.
struct RingEntry {
  var operation: UInt8 = 0
  /// IOSQE_…
  var flags: UInt8 = 0
  /// Flags of the operation that found no other room.
  var priority: UInt16 = 0
  var descriptor: Int32 = -1
  var offset: UInt64 = 0
  var address: UInt64 = 0
  var length: UInt32 = 0
  var operationFlags: UInt32 = 0
  /// Comes back with the completion.
  var tag: UInt64 = 0
  var bufferGroup: UInt16 = 0
  var personality: UInt16 = 0
  var fileIndex: UInt32 = 0
  var unused: (UInt64, UInt64) = (0, 0)

  private static let skipSuccess = UInt8(1 << IOSQE_CQE_SKIP_SUCCESS_BIT)

  private init(_ operation: io_uring_op, _ descriptor: Int32, _ tag: RingTag) {
    self.operation = UInt8(operation.rawValue)
    self.descriptor = descriptor
    self.tag = tag.word
  }

  /// Names the file by its place in the ring's table, which spares the look-up of the descriptor.
  @inline(__always)
  func byFile(_ isRegistered: Bool) -> RingEntry {
    var entry = self
    if isRegistered { entry.flags |= UInt8(1 << IOSQE_FIXED_FILE_BIT) }
    return entry
  }

  /// Puts the descriptor at `number` into place `index` of the ring's table; -1 takes out what is
  /// there. `number` is read when the entry is submitted.
  static func setFile(_ index: Int32, _ number: UnsafePointer<Int32>) -> RingEntry {
    var entry = RingEntry(IORING_OP_FILES_UPDATE, -1, .ignored)
    entry.flags = skipSuccess
    entry.address = UInt64(UInt(bitPattern: number))
    entry.length = 1
    entry.offset = UInt64(UInt32(bitPattern: index))
    return entry
  }

  /// Receives into buffers of the ring's group until it is cancelled, the peer ends, or something
  /// fails.
  static func receive(_ descriptor: Int32, _ tag: RingTag) -> RingEntry {
    var entry = RingEntry(IORING_OP_RECV, descriptor, tag)
    entry.flags = UInt8(1 << IOSQE_BUFFER_SELECT_BIT)
    entry.priority = UInt16(IORING_RECV_MULTISHOT)
    entry.bufferGroup = BufferRing.group
    return entry
  }

  /// Sends at once what the kernel has room for. Only what was not sent whole has a completion:
  /// with the count that was, or with an error.
  static func send(
    _ descriptor: Int32, _ bytes: UnsafePointer<UInt8>, _ count: UInt32, _ tag: RingTag
  ) -> RingEntry {
    var entry = RingEntry(IORING_OP_SEND, descriptor, tag)
    entry.flags = skipSuccess
    entry.address = UInt64(UInt(bitPattern: bytes))
    entry.length = count
    entry.operationFlags = UInt32(MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL)
    return entry
  }

  /// Accepts until it is cancelled or fails; each completion is a descriptor.
  static func accept(_ descriptor: Int32, _ tag: RingTag) -> RingEntry {
    var entry = RingEntry(IORING_OP_ACCEPT, descriptor, tag)
    entry.priority = UInt16(IORING_ACCEPT_MULTISHOT)
    entry.operationFlags = UInt32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    return entry
  }

  /// `address` is read when the entry is submitted.
  static func connect(
    _ descriptor: Int32, _ address: UnsafeRawPointer, _ length: socklen_t, _ tag: RingTag
  ) -> RingEntry {
    var entry = RingEntry(IORING_OP_CONNECT, descriptor, tag)
    entry.address = UInt64(UInt(bitPattern: address))
    entry.offset = UInt64(length)
    return entry
  }

  /// Completes when one of `events` (POLL…) holds, or an error or hang-up, which need no asking.
  static func poll(_ descriptor: Int32, _ events: Int32, repeats: Bool, _ tag: RingTag) -> RingEntry {
    var entry = RingEntry(IORING_OP_POLL_ADD, descriptor, tag)
    entry.operationFlags = UInt32(events)
    entry.length = repeats ? UInt32(IORING_POLL_ADD_MULTI) : 0
    return entry
  }

  /// Ends what was submitted with `target`; it completes with ECANCELED.
  static func cancel(_ target: RingTag) -> RingEntry {
    var entry = RingEntry(IORING_OP_ASYNC_CANCEL, -1, .ignored)
    entry.flags = skipSuccess
    entry.address = target.word
    return entry
  }

  static func close(_ descriptor: Int32) -> RingEntry {
    var entry = RingEntry(IORING_OP_CLOSE, descriptor, .ignored)
    entry.flags = skipSuccess
    return entry
  }
}

/// Says what a completion is about: an operation on one owner of a slot.
struct RingTag: Equatable {
  enum Operation: UInt8 {
    /// Nobody waits for it.
    case ignored
    case receive, send, accept, connect, readable, room, hangUp, wake
  }

  /// Operation, 24 bits of the generation, index. A completion outlives its owner by a few turns
  /// at the most, so that 24 bits tell owners apart.
  var word: UInt64

  @inline(__always)
  init(word: UInt64) { self.word = word }

  @inline(__always)
  init(_ operation: Operation, _ index: Int32, _ generation: UInt32) {
    word = UInt64(operation.rawValue) << 56 | UInt64(generation & 0xff_ffff) << 32 | UInt64(UInt32(bitPattern: index))
  }

  static var ignored: RingTag { RingTag(word: 0) }

  @inline(__always)
  var operation: UInt8 { UInt8(truncatingIfNeeded: word >> 56) }

  @inline(__always)
  var index: Int32 { Int32(truncatingIfNeeded: word) }

  /// Whether the owner of the slot is still the one that it was submitted for.
  @inline(__always)
  func isOf(_ generation: UInt32) -> Bool {
    (UInt32(truncatingIfNeeded: word >> 32) ^ generation) & 0xff_ffff == 0
  }
}
