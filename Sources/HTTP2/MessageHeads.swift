internal import CLinux
internal import CNghttp2
internal import HTTPSemantics

/// What a finished header block says, as views of arena memory.
@safe
struct BlockView {
  // INVARIANT: the arena holds the block's bytes and the table until the inbox is reset.
  var base: UnsafePointer<UInt8>
  var table: HeaderTable
  var contentLength: Int64 = -1
  var isGRPC = false
  var hasTETrailers = false
  var expectContinue = false
  /// Index of the Host field, -1 without one; -2 when there are several.
  var host = -1
  /// A name can be taken for that of a field which frames or routes the message.
  var isDisguised = false

  func bytes(_ part: Part) -> Bytes { unsafe Bytes(start: base + Int(part.offset), count: Int(part.count)) }
}

// SAFETY of this file: `session` is alive; blocks and tables are sized by their counts; what is put into the
// arena is trivial and read until the inbox is reset.
extension SessionState {
  /// Puts the block's bytes and its field table into the arena, cookies joined (RFC 9113 section 8.2.3).
  static func finishBlock(
    _ session: UnsafeMutablePointer<SessionState>, _ block: UnsafeMutablePointer<HeaderBlock>
  ) -> BlockView {
    let inbox = unsafe session.pointee.inbox
    let count = unsafe block.pointee.byteCount
    var base = unsafe block.pointee.bytes.unsafelyUnwrapped
    if unsafe block.pointee.isCarried {
      let copy = unsafe inbox.pointee.arena.take(count)
      unsafe memcpy(copy, base, count)
      unsafe base = copy
    } else {
      unsafe inbox.pointee.arena.commit(count)
    }
    let fieldCount = unsafe block.pointee.fieldCount
    let memory = unsafe inbox.pointee.arena.take(max(1, fieldCount) * MemoryLayout<HeaderField>.stride)
    let fields = unsafe UnsafeMutableRawPointer(memory).bindMemory(
      to: HeaderField.self, capacity: max(1, fieldCount))
    var view = unsafe BlockView(
      base: UnsafePointer(base), table: HeaderTable(base: fields, capacity: max(1, fieldCount)))
    var cookies = 0
    var index = 0
    while index < fieldCount {
      let raw = unsafe block.pointee.fields[index]
      var field = HeaderField(
        name: view.bytes(raw.name), value: view.bytes(raw.value), known: raw.known, flags: raw.flags)
      if raw.known != .other {
        classify(&field, &view, &cookies)
      } else if unsafe isOdd(field.name, field.nameBytes.count) {
        unmask(&field, &view)
      }
      _ = view.table.append(field)
      index &+= 1
    }
    if cookies > 1 { unsafe joinCookies(inbox, &view) }
    return view
  }

  /// Whether a name holds other bytes than letters, digits and "-". The block has a colon behind it.
  @inline(__always)
  private static func isOdd(_ name: UnsafePointer<UInt8>, _ count: Int) -> Bool {
    var offset = 0
    while offset < count {
      // SAFETY: the arena keeps 64 bytes behind what it hands out readable.
      let mask = unsafe clinux_name_stop_mask16(name + offset)
      if mask != 0 { return offset &+ mask.trailingZeroBitCount < count }
      offset &+= 16
    }
    return false
  }

  /// What HTTP/1.1 does with names that some readers take for others, which the next hop may be or speak to.
  @inline(never)
  private static func unmask(_ field: inout HeaderField, _ view: inout BlockView) {
    let disguised = KnownHeader.disguised(by: field.nameBytes)
    if disguised.isFramingOrRouting { view.isDisguised = true }
    if disguised.isHopByHop || disguised.isPeerClaim { field.isDropped = true }
  }

  private static func classify(_ field: inout HeaderField, _ view: inout BlockView, _ cookies: inout Int) {
    switch field.known {
    case .cookie: cookies += 1
    case .host: view.host = view.host == -1 ? view.table.count : -2
    case .te:
      // The library lets no other value through.
      view.hasTETrailers = true
      field.isDropped = true
    case .contentLength: view.contentLength = number(field.valueBytes)
    case .contentType: view.isGRPC = isGRPCContentType(field.valueBytes)
    case .expect: view.expectContinue = field.valueBytes.equalsIgnoringCase("100-continue")
    case .http2Settings: field.isDropped = true
    default: break
    }
  }

  /// The library has checked that a content-length holds digits that fit.
  private static func number(_ text: Bytes) -> Int64 {
    var result: Int64 = 0
    var index = 0
    while index < text.count {
      result = result &* 10 &+ Int64(text[index] &- 0x30)
      index &+= 1
    }
    return result
  }

  /// One cookie line in the place of the first crumb; the others are taken out of the table.
  private static func joinCookies(_ inbox: UnsafeMutablePointer<InboxState>, _ view: inout BlockView) {
    var length = 10
    var index = 0
    while index < view.table.count {
      let field = view.table[index]
      if field.known == .cookie { length += Int(field.valueLength) + 2 }
      index += 1
    }
    let line = unsafe inbox.pointee.arena.take(length)
    let name = Bytes("cookie: ")
    unsafe memcpy(line, name.start, 8)
    var end = 8
    var kept = 0
    var first = -1
    index = 0
    while index < view.table.count {
      let field = view.table[index]
      index += 1
      if field.known == .cookie {
        if first >= 0 {
          unsafe line[end] = 0x3b
          unsafe line[end + 1] = 0x20
          end += 2
        }
        unsafe memcpy(line + end, field.value, Int(field.valueLength))
        end += Int(field.valueLength)
        if first >= 0 { continue }
        first = kept
      }
      view.table[kept] = field
      if field.known == .host && view.host >= 0 { view.host = kept }
      kept += 1
    }
    unsafe line[end] = 0x0d
    unsafe line[end + 1] = 0x0a
    view.table[first] = unsafe HeaderField(
      name: Bytes(start: UnsafePointer(line), count: 6),
      value: Bytes(start: UnsafePointer(line) + 8, count: end - 8),
      known: .cookie, flags: HeaderField.lineFlag)
    view.table.count = kept
  }

  /// Nil when the request is malformed in a way that the library lets through.
  static func makeRequestHead(
    _ session: UnsafeMutablePointer<SessionState>, _ block: UnsafeMutablePointer<HeaderBlock>, endStream: Bool
  ) -> UnsafeMutablePointer<RequestHead>? {
    let inbox = unsafe session.pointee.inbox
    var view = unsafe finishBlock(session, block)
    if view.isDisguised { return nil }
    var head = RequestHead(fields: .empty)
    head.methodBytes = unsafe view.bytes(block.pointee.method)
    head.method = Method(classifying: head.methodBytes)
    let scheme = unsafe view.bytes(block.pointee.scheme)
    if scheme.equals("https") {
      head.scheme = .https
    } else if !scheme.equals("http") && head.method != .connect {
      return nil
    }
    guard unsafe setAuthority(&head, &view, view.bytes(block.pointee.authority)) else { return nil }
    let tunnel = unsafe view.bytes(block.pointee.tunnelProtocol)
    guard unsafe setTarget(&head, view.bytes(block.pointee.path), isTunnel: !tunnel.isEmpty) else { return nil }
    head.fields = view.table
    head.contentLength = view.contentLength
    head.endStream = endStream
    head.isGRPC = view.isGRPC
    head.hasTETrailers = view.hasTETrailers
    head.expectContinue = view.expectContinue && !endStream
    if !tunnel.isEmpty { guard setTunnel(&head, tunnel) else { return nil } }
    let memory = unsafe inbox.pointee.arena.take(MemoryLayout<RequestHead>.size)
    let place = unsafe UnsafeMutableRawPointer(memory).bindMemory(to: RequestHead.self, capacity: 1)
    unsafe place.initialize(to: head)
    return unsafe place
  }

  /// :authority, or Host in its place; both must name the same (RFC 9113 section 8.3.1). Host leaves the
  /// table.
  private static func setAuthority(_ head: inout RequestHead, _ view: inout BlockView, _ authority: Bytes)
    -> Bool
  {
    if view.host == -2 { return false }
    var name = authority
    if view.host >= 0 {
      let host = view.table[view.host].valueBytes
      if name.isEmpty { name = host } else if !name.equalsIgnoringCase(host) { return false }
      view.table[view.host].isDropped = true
    }
    return head.setAuthority(name)
  }

  /// Extended CONNECT (RFC 8441 section 4). One that asks for a WebSocket is to the routes what it is in HTTP/1.1, a
  /// GET; the library has checked that it has scheme, authority and path. Its DATA is no content, so that
  /// a content-length says nothing that could be true.
  private static func setTunnel(_ head: inout RequestHead, _ name: Bytes) -> Bool {
    guard head.contentLength < 0 && !head.path.equals("*") else { return false }
    head.upgrade = .other
    guard name.equalsIgnoringCase("websocket") else { return true }
    head.upgrade = .webSocket
    head.method = .get
    head.methodBytes = Bytes("GET")
    return true
  }

  private static func setTarget(_ head: inout RequestHead, _ path: Bytes, isTunnel: Bool) -> Bool {
    // CONNECT has no path.
    if head.method == .connect && !isTunnel { return true }
    if path.equals("*") {
      head.setTarget(path)
      return head.method == .options
    }
    head.setTarget(path)
    return isPath(head.path) && (!head.hasQuery || isQuery(head.query))
  }

  private static func isPath(_ path: Bytes) -> Bool {
    guard !path.isEmpty, path[0] == 0x2f else { return false }
    var index = 1
    while index < path.count {
      if unsafe !isPathByte(path.start[index]) { return false }
      index &+= 1
    }
    return true
  }

  private static func isQuery(_ query: Bytes) -> Bool {
    var index = 0
    while index < query.count {
      let byte = unsafe query.start[index]
      if !isPathByte(byte) && byte != 0x3f && byte != 0x5c { return false }
      index &+= 1
    }
    return true
  }

  /// Nil when the status is none (RFC 9110 section 15; the library has counted its digits), or a name is in disguise.
  static func makeResponseHead(
    _ session: UnsafeMutablePointer<SessionState>, _ block: UnsafeMutablePointer<HeaderBlock>, endStream: Bool
  ) -> UnsafeMutablePointer<ResponseHead>? {
    guard unsafe block.pointee.status >= 100 else { return nil }
    let inbox = unsafe session.pointee.inbox
    let view = unsafe finishBlock(session, block)
    if view.isDisguised { return nil }
    var head = ResponseHead(fields: view.table)
    head.status = unsafe block.pointee.status
    head.contentLength = view.contentLength
    head.endStream = endStream
    head.isGRPC = view.isGRPC
    let memory = unsafe inbox.pointee.arena.take(MemoryLayout<ResponseHead>.size)
    let place = unsafe UnsafeMutableRawPointer(memory).bindMemory(to: ResponseHead.self, capacity: 1)
    unsafe place.initialize(to: head)
    return unsafe place
  }

  /// Nil when they hold what frames or routes a message. Of a request's the rest that may be no trailers is dropped;
  /// those of responses are gRPC's, which may have any name.
  static func makeTrailers(
    _ session: UnsafeMutablePointer<SessionState>, _ block: UnsafeMutablePointer<HeaderBlock>
  ) -> UnsafeMutablePointer<HeaderTable>? {
    let inbox = unsafe session.pointee.inbox
    let view = unsafe finishBlock(session, block)
    if view.isDisguised { return nil }
    var index = 0
    while index < view.table.count {
      var field = view.table[index]
      if field.known != .other && !field.known.mayBeTrailer {
        if field.known.isFramingOrRouting { return nil }
        if unsafe session.pointee.isServer {
          field.isDropped = true
          view.table[index] = field
        }
      }
      index &+= 1
    }
    let memory = unsafe inbox.pointee.arena.take(MemoryLayout<HeaderTable>.size)
    let place = unsafe UnsafeMutableRawPointer(memory).bindMemory(to: HeaderTable.self, capacity: 1)
    unsafe place.initialize(to: view.table)
    return unsafe place
  }
}
