internal import CNghttp2
internal import HTTPSemantics

/// A part of a header block's bytes.
struct Part {
  var offset: UInt32 = 0
  var count: UInt32 = 0
}

/// One field of a header block that is still being read.
struct RawField {
  var name: Part
  var value: Part
  var known: KnownHeader
  var flags: UInt8
}

/// A header block while it is read, field by field.
///
/// The bytes lie as HTTP/1 lines, "name: value CR LF", so that an HTTP/1 writer can copy runs of them.
/// Everything is an offset: a block that is incomplete at the end of a `receive` moves from the arena to
/// memory of its own.
@safe
struct HeaderBlock {
  // INVARIANT: `bytes` has room for `byteCapacity` and 64 more, the first `byteCount` are set. While the
  // block is the inbox's, the memory is the arena's; a carried block owns it (`isCarried`).
  var bytes: UnsafeMutablePointer<UInt8>?
  var byteCount = 0
  var byteCapacity = 0
  // INVARIANT: room for `fieldCapacity`, the first `fieldCount` are set; owned.
  var fields: UnsafeMutablePointer<RawField>
  var fieldCount = 0
  var fieldCapacity: Int
  /// Name, value and 32 for each field so far, pseudo-headers too (RFC 9113 section 10.5.1).
  var size = 0
  /// Fields that came after the first that was too much.
  var refused = 0
  let largest: Int
  var streamID: Int32 = 0
  var isCarried = false
  var overflow = HTTP2Limit.none
  var status: UInt16 = 0
  var method = Part()
  var scheme = Part()
  var authority = Part()
  var path = Part()
  var tunnelProtocol = Part()

  init(fieldCapacity: Int, largest: Int) {
    unsafe fields = UnsafeMutablePointer<RawField>.allocate(capacity: fieldCapacity)
    self.fieldCapacity = fieldCapacity
    self.largest = largest
  }

  func destroy() { unsafe fields.deallocate() }

  // SAFETY of this file: offsets are made by `append` only, which checks or makes the room first.

  mutating func begin(_ streamID: Int32, in memory: UnsafeMutablePointer<UInt8>, capacity: Int) {
    unsafe bytes = memory
    byteCapacity = capacity
    byteCount = 0
    fieldCount = 0
    size = 0
    refused = 0
    self.streamID = streamID
    overflow = .none
    status = 0
    method = Part()
    scheme = Part()
    authority = Part()
    path = Part()
    tunnelProtocol = Part()
  }

  mutating func append(
    _ name: UnsafePointer<UInt8>, _ nameCount: Int, _ value: UnsafePointer<UInt8>, _ valueCount: Int,
    hidden: Bool, limits: UnsafeMutablePointer<HTTP2Limits>
  ) {
    size &+= nameCount &+ valueCount &+ 32
    if overflow != .none {
      refused &+= 1
      return
    }
    if unsafe size > Int(limits.pointee.maxHeaderBytes) {
      overflow = .headerBytes
      return
    }
    if unsafe nameCount > 0 && name[0] == 0x3a {
      unsafe appendPseudo(name, nameCount, value, valueCount)
      return
    }
    if unsafe fieldCount >= Int(limits.pointee.maxHeaderFields) || fieldCount >= fieldCapacity {
      overflow = .headerFields
      return
    }
    unsafe appendLine(name, nameCount, value, valueCount, hidden)
  }

  @inline(__always)
  private mutating func appendLine(
    _ name: UnsafePointer<UInt8>, _ nameCount: Int, _ value: UnsafePointer<UInt8>, _ valueCount: Int,
    _ hidden: Bool
  ) {
    let out = unsafe room(nameCount &+ valueCount &+ 4)
    unsafe memcpy(out, name, nameCount)
    unsafe out[nameCount] = 0x3a
    unsafe out[nameCount &+ 1] = 0x20
    unsafe memcpy(out + nameCount + 2, value, valueCount)
    unsafe out[nameCount &+ valueCount &+ 2] = 0x0d
    unsafe out[nameCount &+ valueCount &+ 3] = 0x0a
    let known = unsafe KnownHeader.classify(UnsafePointer(out), nameCount)
    let offset = UInt32(truncatingIfNeeded: byteCount)
    let field = RawField(
      name: Part(offset: offset, count: UInt32(truncatingIfNeeded: nameCount)),
      value: Part(
        offset: offset &+ UInt32(truncatingIfNeeded: nameCount) &+ 2,
        count: UInt32(truncatingIfNeeded: valueCount)),
      known: known, flags: hidden ? HeaderField.neverIndexedFlag | HeaderField.lineFlag : HeaderField.lineFlag
    )
    unsafe (fields + fieldCount).initialize(to: field)
    fieldCount &+= 1
    byteCount &+= nameCount &+ valueCount &+ 4
  }

  /// The library has checked that each comes once, with valid characters and before the fields.
  private mutating func appendPseudo(
    _ name: UnsafePointer<UInt8>, _ nameCount: Int, _ value: UnsafePointer<UInt8>, _ valueCount: Int
  ) {
    let out = unsafe room(valueCount)
    unsafe memcpy(out, value, valueCount)
    let part = Part(
      offset: UInt32(truncatingIfNeeded: byteCount), count: UInt32(truncatingIfNeeded: valueCount))
    byteCount &+= valueCount
    let name = unsafe Bytes(start: name, count: nameCount)
    if name.equals(":method") {
      method = part
    } else if name.equals(":path") {
      path = part
    } else if name.equals(":scheme") {
      scheme = part
    } else if name.equals(":authority") {
      authority = part
    } else if name.equals(":protocol") {
      tunnelProtocol = part
    } else if name.equals(":status") {
      var number: UInt16 = 0
      var index = 0
      while index < valueCount, index < 3 {
        unsafe number = number &* 10 &+ UInt16(value[index] &- 0x30)
        index &+= 1
      }
      status = number
    }
  }

  @inline(__always)
  private mutating func room(_ count: Int) -> UnsafeMutablePointer<UInt8> {
    if byteCount &+ count > byteCapacity { grow(count) }
    return unsafe bytes.unsafelyUnwrapped + byteCount
  }

  /// Only a carried block is short of room: in the arena there is always enough for `largest`.
  private mutating func grow(_ count: Int) {
    precondition(isCarried)
    let capacity = max(byteCapacity * 2, byteCount + count)
    let grown = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity + 64)
    if let bytes = unsafe bytes {
      unsafe memcpy(grown, bytes, byteCount)
      unsafe bytes.deallocate()
    }
    unsafe bytes = grown
    byteCapacity = capacity
  }

  /// A copy in memory of its own, for the time between two calls of `receive`.
  static func carry(_ block: UnsafeMutablePointer<HeaderBlock>) -> UnsafeMutablePointer<HeaderBlock> {
    let kept = UnsafeMutablePointer<HeaderBlock>.allocate(capacity: 1)
    unsafe kept.initialize(to: block.pointee)
    let fieldCapacity = unsafe block.pointee.fieldCapacity
    unsafe kept.pointee.fields = UnsafeMutablePointer<RawField>.allocate(capacity: fieldCapacity)
    unsafe memcpy(
      kept.pointee.fields, block.pointee.fields, block.pointee.fieldCount * MemoryLayout<RawField>.stride)
    let capacity = unsafe max(1024, block.pointee.byteCount)
    let bytes = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity + 64)
    if let source = unsafe block.pointee.bytes { unsafe memcpy(bytes, source, block.pointee.byteCount) }
    unsafe kept.pointee.bytes = bytes
    unsafe kept.pointee.byteCapacity = capacity
    unsafe kept.pointee.isCarried = true
    return unsafe kept
  }

  static func freeCarried(_ block: UnsafeMutablePointer<HeaderBlock>) {
    unsafe block.pointee.bytes?.deallocate()
    unsafe block.pointee.fields.deallocate()
    unsafe block.deallocate()
  }
}

// SAFETY of this extension: `session` is alive and its inbox is the one that is being filled.
extension SessionState {
  static func beginBlock(_ session: UnsafeMutablePointer<SessionState>, _ streamID: Int32) {
    unsafe dropBlock(session)
    let inbox = unsafe session.pointee.inbox
    let block = unsafe inbox.pointee.block
    let largest = unsafe block.pointee.largest
    let memory = unsafe inbox.pointee.arena.reserve(largest)
    unsafe block.pointee.begin(streamID, in: memory, capacity: largest)
    unsafe session.pointee.block = block
  }

  /// What a `receive` leaves unfinished must not stay in the arena.
  static func carryBlock(_ session: UnsafeMutablePointer<SessionState>) {
    guard let block = unsafe session.pointee.block, unsafe !block.pointee.isCarried else { return }
    unsafe session.pointee.headBegan = session.pointee.inbox.pointee.nowMilliseconds
    unsafe session.pointee.block = HeaderBlock.carry(block)
  }

  static func dropBlock(_ session: UnsafeMutablePointer<SessionState>) {
    guard let block = unsafe session.pointee.block else { return }
    if unsafe block.pointee.isCarried { unsafe HeaderBlock.freeCarried(block) }
    unsafe session.pointee.block = nil
    unsafe session.pointee.headBegan = 0
  }
}
