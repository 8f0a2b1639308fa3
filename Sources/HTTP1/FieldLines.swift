internal import CLinux
internal import HTTPSemantics

// SAFETY of this file: every buffer has 16 readable bytes beyond its end (the parsers' promise to ask for),
// so a scan of 16 bytes may start at any byte before `end`. What a scan finds at or beyond `end` is never
// looked at.

let carriageReturn: UInt8 = 0x0d
let lineFeed: UInt8 = 0x0a

/// One field line as scanned; valid when `scanFieldLine` said `field`.
@safe
struct FieldLine {
  // INVARIANT: name and value lie in the scanned input; `next` is the byte after the line's CR LF.
  var name: UnsafePointer<UInt8>
  var nameLength: Int
  var value: UnsafePointer<UInt8>
  var valueLength: Int
  var next: UnsafePointer<UInt8>
  /// A name so far held token bytes besides letters, digits and "-". Stays set from line to line.
  var sawOddName = false

  @inline(__always)
  init(at start: UnsafePointer<UInt8>) {
    unsafe name = start
    nameLength = 0
    unsafe value = start
    valueLength = 0
    unsafe next = start
  }
}

enum LineResult {
  case field
  /// The empty line that ends a section; only `next` is set.
  case empty
  case incomplete
  case invalid(HTTP1Error)
}

/// Why a byte that may not stand there is refused.
func refusal(of byte: UInt8, otherwise: HTTP1Error) -> HTTP1Error {
  switch byte {
  case 0: .nul
  case lineFeed: .bareLF
  case carriageReturn: .bareCR
  default: otherwise
  }
}

/// Scans the line at `start` (RFC 9112 section 5): a token, a colon without whitespace before it, a value of
/// visible bytes, spaces, tabs and obs-text, CR LF. A line that begins with whitespace is refused, whether it
/// would be a continuation (section 5.2) or follow the start line (section 2.2).
@inline(__always)
func scanFieldLine(
  _ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>, _ line: inout FieldLine
) -> LineResult {
  guard unsafe start < end else { return .incomplete }
  var cursor = unsafe start
  while true {
    let mask = unsafe clinux_name_stop_mask16(cursor)
    if mask == 0 {
      unsafe cursor += 16
      if unsafe cursor >= end { return .incomplete }
      continue
    }
    unsafe cursor += mask.trailingZeroBitCount
    guard unsafe cursor < end else { return .incomplete }
    let byte = unsafe cursor.pointee
    if byte == 0x3a { break }
    guard ByteSet.token.contains(byte) else { return unsafe endOfName(start, cursor, end, &line) }
    line.sawOddName = true
    unsafe cursor += 1
    guard unsafe cursor < end else { return .incomplete }
  }
  unsafe line.name = start
  line.nameLength = unsafe cursor - start
  if line.nameLength == 0 { return .invalid(.fieldName) }
  unsafe cursor += 1
  while unsafe cursor < end && (cursor.pointee == 0x20 || cursor.pointee == 0x09) { unsafe cursor += 1 }
  unsafe line.value = cursor
  guard unsafe cursor < end else { return .incomplete }
  while true {
    let mask = unsafe clinux_control_mask16(cursor)
    if mask == 0 {
      unsafe cursor += 16
      if unsafe cursor >= end { return .incomplete }
      continue
    }
    unsafe cursor += mask.trailingZeroBitCount
    break
  }
  guard unsafe cursor < end else { return .incomplete }
  guard unsafe cursor.pointee == carriageReturn else {
    return unsafe .invalid(refusal(of: cursor.pointee, otherwise: .controlByte))
  }
  guard unsafe cursor + 1 < end else { return .incomplete }
  guard unsafe cursor[1] == lineFeed else { return .invalid(.bareCR) }
  unsafe line.next = cursor + 2
  while unsafe cursor > line.value && (cursor[-1] == 0x20 || cursor[-1] == 0x09) { unsafe cursor -= 1 }
  line.valueLength = unsafe cursor - line.value
  return .field
}

/// A byte that neither continues nor ends a name: the empty line, or a refusal.
@inline(never)
private func endOfName(
  _ start: UnsafePointer<UInt8>, _ cursor: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>,
  _ line: inout FieldLine
) -> LineResult {
  let byte = unsafe cursor.pointee
  let isFirst = unsafe cursor == start
  if isFirst && byte == carriageReturn {
    guard unsafe cursor + 1 < end else { return .incomplete }
    guard unsafe cursor[1] == lineFeed else { return .invalid(.bareCR) }
    unsafe line.next = cursor + 2
    return .empty
  }
  if byte == 0x20 || byte == 0x09 { return .invalid(isFirst ? .foldedLine : .whitespaceBeforeColon) }
  return .invalid(refusal(of: byte, otherwise: .fieldName))
}

/// What the fields of one head said about framing and the connection.
struct FieldNotes {
  var contentLength: Int64 = -1
  var contentLengthIndex: Int32 = -1
  var hostIndex: Int32 = -1
  var hasTransferEncoding = false
  var close = false
  var keepAlive = false
  var connectionUpgrade = false
  var listsNames = false
  var expectIndex: Int32 = -1
  var offersWebSocket = false
  var offersOther = false
  var offersH2C = false
  var isGRPC = false
  var hasTETrailers = false
  var hasOddNames = false
}

/// Parses field lines up to and with the empty line into `table`, notes what they say, sets `next` behind
/// them.
func parseFieldLines(
  _ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>, maxFields: Int, _ table: inout HeaderTable,
  _ notes: inout FieldNotes, _ next: inout UnsafePointer<UInt8>
) -> HeadResult {
  var line = unsafe FieldLine(at: start)
  let room = min(maxFields, table.capacity)
  var count = 0
  while true {
    switch unsafe scanFieldLine(line.next, end, &line) {
    case .field: break
    case .empty:
      table.count = count
      unsafe next = line.next
      notes.hasOddNames = line.sawOddName
      return .complete
    case .incomplete: return .incomplete
    case .invalid(let error): return .invalid(error)
    }
    guard count < room else { return .invalid(.tooManyFields) }
    let known = unsafe KnownHeader.classify(line.name, line.nameLength)
    let value = unsafe Bytes(start: line.value, count: line.valueLength)
    let field = unsafe HeaderField(
      name: Bytes(start: line.name, count: line.nameLength), value: value, known: known,
      flags: HeaderField.lineFlag | (known.isHopByHop ? HeaderField.dropFlag : 0))
    // SAFETY: `count` is below the table's capacity.
    unsafe (table.base + count).initialize(to: field)
    if known != .other, let error = notes.note(known, value, Int32(truncatingIfNeeded: count)) {
      return .invalid(error)
    }
    count &+= 1
  }
}

extension FieldNotes {
  /// Nil when all is well.
  mutating func note(_ known: KnownHeader, _ value: Bytes, _ index: Int32) -> HTTP1Error? {
    switch known {
    case .host:
      if hostIndex >= 0 { return .duplicateHost }
      hostIndex = index
    case .contentLength:
      if contentLengthIndex >= 0 { return .duplicateContentLength }
      if hasTransferEncoding { return .contentLengthWithTransferEncoding }
      contentLength = parseLength(value)
      if contentLength < 0 { return .contentLength }
      contentLengthIndex = index
    case .transferEncoding:
      if hasTransferEncoding { return .duplicateTransferEncoding }
      if contentLengthIndex >= 0 { return .contentLengthWithTransferEncoding }
      hasTransferEncoding = true
      if !value.equalsIgnoringCase("chunked") {
        return isToken(value) ? .unsupportedTransferCoding : .transferEncoding
      }
    case .connection: return noteConnection(value)
    case .expect:
      if expectIndex >= 0 || !value.equalsIgnoringCase("100-continue") { return .expectation }
      expectIndex = index
    case .upgrade: noteUpgrade(value)
    case .http2Settings: offersH2C = true
    case .te: noteTE(value)
    case .contentType:
      if isGRPCContentType(value) { isGRPC = true }
    default: break
    }
    return nil
  }

  /// RFC 9110 section 7.6.1.
  private mutating func noteConnection(_ value: Bytes) -> HTTP1Error? {
    if value.equalsIgnoringCase("keep-alive") {
      keepAlive = true
      return nil
    }
    var members = ListMembers(value)
    while let member = members.next() {
      guard isToken(member) else { return .connection }
      if member.equalsIgnoringCase("close") {
        close = true
      } else if member.equalsIgnoringCase("keep-alive") {
        keepAlive = true
      } else if member.equalsIgnoringCase("upgrade") {
        connectionUpgrade = true
      } else {
        listsNames = true
      }
    }
    return nil
  }

  private mutating func noteUpgrade(_ value: Bytes) {
    var members = ListMembers(value)
    while let member = members.next() {
      if member.equalsIgnoringCase("websocket") {
        offersWebSocket = true
      } else if member.equalsIgnoringCase("h2c") {
        offersH2C = true
      } else {
        offersOther = true
      }
    }
  }

  private mutating func noteTE(_ value: Bytes) {
    var members = ListMembers(value)
    while let member = members.next() {
      if member.equalsIgnoringCase("trailers") { hasTETrailers = true }
    }
  }

  /// What an Upgrade field amounts to: only together with Connection: upgrade, and never h2c.
  var upgrade: Upgrade {
    if !connectionUpgrade || offersH2C { return .none }
    return offersWebSocket ? .webSocket : offersOther ? .other : .none
  }
}

/// 1*DIGIT below 10^18, or -1: no sign, no list, no whitespace (RFC 9110 section 8.6).
private func parseLength(_ value: Bytes) -> Int64 {
  guard value.count > 0 && value.count <= 18 else { return -1 }
  var result: Int64 = 0
  var index = 0
  while index < value.count {
    // SAFETY: the index is below the view's count.
    let digit = unsafe value.start[index] &- 0x30
    if digit > 9 { return -1 }
    result = result &* 10 &+ Int64(digit)
    index &+= 1
  }
  return result
}

func drop(_ table: HeaderTable, _ index: Int32) {
  var field = table[Int(index)]
  field.isDropped = true
  table[Int(index)] = field
}

/// Most names that Connection may list besides close, keep-alive and upgrade. Each is compared with every
/// field.
private let maxListedNames = 16

/// Flags the fields whose names Connection lists. A list that names Host, Content-Length or Transfer-Encoding
/// is refused: to drop these would change where the message goes or ends, to ignore the listing would leave
/// two readers with two messages.
@inline(never)
func dropListedNames(_ table: HeaderTable) -> HTTP1Error? {
  var listed = 0
  var index = 0
  while index < table.count {
    let field = table[index]
    index += 1
    guard field.known == .connection else { continue }
    var members = ListMembers(field.valueBytes)
    while let member = members.next() {
      if member.equalsIgnoringCase("close") || member.equalsIgnoringCase("upgrade") { continue }
      let known = unsafe KnownHeader.classify(member.start, member.count)
      if known.isFramingOrRouting { return .connectionListsFraming }
      if known.isHopByHop { continue }
      listed += 1
      if listed > maxListedNames { return .connection }
      var other = 0
      while other < table.count {
        var candidate = table[other]
        if candidate.nameBytes.equalsIgnoringCase(member) {
          candidate.isDropped = true
          table[other] = candidate
        }
        other += 1
      }
    }
  }
  return nil
}

/// Refuses names that a reader which takes every byte but letters and digits for the same (CGI variables,
/// RFC 3875 section 4.1.18) would take for Host, Content-Length or Transfer-Encoding, and flags those that it
/// would take for a field that is never forwarded as it came.
@inline(never)
func dropDisguisedNames(_ table: HeaderTable) -> HTTP1Error? {
  var index = 0
  while index < table.count {
    var field = table[index]
    let disguised = KnownHeader.disguised(by: field.nameBytes)
    if disguised.isFramingOrRouting { return .disguisedField }
    if disguised.isHopByHop || disguised.isPeerClaim {
      field.isDropped = true
      table[index] = field
    }
    index += 1
  }
  return nil
}
