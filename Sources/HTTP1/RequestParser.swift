internal import CLinux
public import HTTPSemantics

// SAFETY of this file: as in FieldLines.swift, scans may read up to 16 bytes beyond `end` and look at none of
// them.

/// Parses a whole request head in `[p, p + n)`; 16 bytes beyond it must be readable.
///
/// Strict RFC 9112: what is ambiguous is refused. On `.complete`, `head` is set (its table is filled from
/// index 0) and `consumed` is the length of the head. On `.incomplete` call again from the same start with
/// more bytes; the contents of `head` mean nothing then. `head.scheme` is the connection's and is left as it
/// is. One empty line before the request line is skipped (section 2.2).
///
/// - Fields that belong to the connection (RFC 9110 section 7.6.1) and those that Connection lists are
///   flagged to be dropped; Trailer is kept, because trailers are forwarded.
/// - Absolute-form becomes origin-form; its authority must equal Host, if there is one, without regard to
///   case, and its scheme `head.scheme` (RFC 9110 section 7.4).
/// - `upgrade` is set only for HTTP/1.1, with Connection: upgrade, and never for h2c; `.webSocket` only for
///   GET. With a body it is refused: a backend that switches would read the body as the new protocol's.
/// - `expectContinue` is set only for HTTP/1.1 with a body; otherwise the expectation means nothing and is
///   flagged to be dropped (RFC 9110 section 10.1.1).
/// - Names that some readers would take for others are refused or flagged: `dropDisguisedNames`.
public func parseRequestHead(
  _ p: UnsafePointer<UInt8>, _ n: Int, limits: HTTP1Limits, into head: inout RequestHead, consumed: inout Int
) -> HeadResult {
  consumed = 0
  guard n > 0 else { return .incomplete }
  let end = unsafe p + n
  var start = unsafe p
  if unsafe p.pointee == carriageReturn {
    guard n > 1 else { return .incomplete }
    guard unsafe p[1] == lineFeed else { return .invalid(.bareCR) }
    unsafe start += 2
  }
  var cursor = unsafe start
  var isAbsolute = false
  switch unsafe parseRequestLine(start, end, &head, &cursor, &isAbsolute) {
  case .invalid(let error): return .invalid(error)
  case .incomplete:
    return unsafe end - start > limits.maxRequestLine ? .invalid(.requestLineTooLong) : .incomplete
  case .complete: break
  }
  if unsafe cursor - start - 2 > limits.maxRequestLine { return .invalid(.requestLineTooLong) }
  var notes = FieldNotes()
  var next = unsafe cursor
  let result = unsafe parseFieldLines(cursor, end, maxFields: limits.maxFields, &head.fields, &notes, &next)
  switch result {
  case .invalid: return result
  case .incomplete: return n >= limits.maxHeadBytes ? .invalid(.headTooLarge) : .incomplete
  case .complete: break
  }
  let length = unsafe next - p
  if length > limits.maxHeadBytes { return .invalid(.headTooLarge) }
  if let error = finish(&head, notes, isAbsolute: isAbsolute) { return .invalid(error) }
  consumed = length
  return .complete
}

/// Method, target and version (RFC 9112 section 3); `next` is the byte after the line.
@inline(__always)
private func parseRequestLine(
  _ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>, _ head: inout RequestHead,
  _ next: inout UnsafePointer<UInt8>, _ isAbsolute: inout Bool
) -> HeadResult {
  var cursor = unsafe start
  while true {
    let mask = unsafe clinux_name_stop_mask16(cursor)
    unsafe cursor += mask == 0 ? 16 : mask.trailingZeroBitCount
    guard unsafe cursor < end else { return .incomplete }
    if mask == 0 { continue }
    let byte = unsafe cursor.pointee
    if byte == 0x20 { break }
    guard ByteSet.token.contains(byte) else { return .invalid(refusal(of: byte, otherwise: .method)) }
    unsafe cursor += 1
    guard unsafe cursor < end else { return .incomplete }
  }
  let methodLength = unsafe cursor - start
  if methodLength == 0 { return .invalid(.method) }
  head.methodBytes = unsafe Bytes(start: start, count: methodLength)
  head.method = Method(classifying: head.methodBytes)
  if head.method == .connect { return .invalid(.connectRefused) }
  unsafe cursor += 1
  guard unsafe cursor < end else { return .incomplete }
  isAbsolute = false
  if unsafe cursor.pointee != 0x2f {
    let result = unsafe parseOtherForm(&cursor, end, &head, &isAbsolute)
    if result != .complete { return result }
    let isTargetWhole = unsafe cursor.pointee == 0x20
    if isTargetWhole {
      return unsafe parseVersion(cursor + 1, end, &head, &next)
    }
  }
  let target = unsafe cursor
  switch unsafe scanTarget(&cursor, end, &head) {
  case .complete: break
  case let other: return other
  }
  head.target = unsafe Bytes(start: target, count: cursor - target)
  return unsafe parseVersion(cursor + 1, end, &head, &next)
}

/// absolute-path ["?" query] up to the space behind it.
@inline(__always)
private func scanTarget(
  _ cursor: inout UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>, _ head: inout RequestHead
) -> HeadResult {
  let path = unsafe cursor
  while true {
    let mask = unsafe clinux_path_stop_mask16(cursor)
    unsafe cursor += mask == 0 ? 16 : mask.trailingZeroBitCount
    guard unsafe cursor < end else { return .incomplete }
    if mask != 0 { break }
  }
  head.path = unsafe Bytes(start: path, count: cursor - path)
  head.hasQuery = unsafe cursor.pointee == 0x3f
  head.query = .empty
  if head.hasQuery {
    unsafe cursor += 1
    let query = unsafe cursor
    guard unsafe cursor < end else { return .incomplete }
    while true {
      let mask = unsafe clinux_query_stop_mask16(cursor)
      unsafe cursor += mask == 0 ? 16 : mask.trailingZeroBitCount
      guard unsafe cursor < end else { return .incomplete }
      if mask != 0 { break }
    }
    head.query = unsafe Bytes(start: query, count: cursor - query)
  }
  let byte = unsafe cursor.pointee
  if byte == 0x20 { return .complete }
  if byte == carriageReturn { return .invalid(.requestLine) }
  return .invalid(refusal(of: byte, otherwise: .pathCharacter))
}

/// Asterisk-form and the front part of absolute-form (RFC 9112 sections 3.2.2 and 3.2.4). Leaves `cursor` at
/// the space, or at the slash that begins the path.
@inline(never)
private func parseOtherForm(
  _ cursor: inout UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>, _ head: inout RequestHead,
  _ isAbsolute: inout Bool
) -> HeadResult {
  if unsafe cursor.pointee == 0x2a {
    if head.method != .options { return .invalid(.asteriskForm) }
    head.setTarget(unsafe Bytes(start: cursor, count: 1))
    unsafe cursor += 1
    guard unsafe cursor < end else { return .incomplete }
    return unsafe cursor.pointee == 0x20 ? .complete : .invalid(.target)
  }
  var stop = unsafe cursor
  while unsafe stop < end && stop.pointee > 0x20 && stop.pointee < 0x7f { unsafe stop += 1 }
  let text = unsafe Bytes(start: cursor, count: stop - cursor)
  let isWhole = unsafe stop < end
  if text.isEmpty {
    return .invalid(unsafe refusal(of: cursor.pointee, otherwise: .requestLine))
  }
  let schemeLength = text.count >= 5 && lowercase(text[4]) == 0x73 ? 8 : 7
  let wanted = Bytes(schemeLength == 8 ? "https://" : "http://")
  let compared = min(text.count, schemeLength)
  guard text.slice(0, compared).equalsIgnoringCase(wanted.slice(0, compared)) else {
    return .invalid(.target)
  }
  if compared < schemeLength { return isWhole ? .invalid(.target) : .incomplete }
  let rest = text.slice(schemeLength, text.count)
  var length = 0
  while length < rest.count && rest[length] != 0x2f && rest[length] != 0x3f { length += 1 }
  if length == rest.count && !isWhole { return .incomplete }
  isAbsolute = true
  let scheme: Scheme = schemeLength == 8 ? .https : .http
  guard scheme == head.scheme else { return .invalid(.schemeDiffersFromConnection) }
  guard head.setAuthority(rest.slice(0, length)) else { return .invalid(.host) }
  unsafe cursor += schemeLength + length
  let byte = unsafe cursor.pointee
  if byte == 0x2f { return .complete }
  // An empty path is "/", or "*" for OPTIONS (section 3.2.4); before a query there is no contiguous
  // origin-form.
  guard byte == 0x20 else { return .invalid(.target) }
  head.setTarget(Bytes(head.method == .options ? "*" : "/"))
  return .complete
}

/// "HTTP/1.1" or "HTTP/1.0", then CR LF.
@inline(__always)
private func parseVersion(
  _ cursor: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>, _ head: inout RequestHead,
  _ next: inout UnsafePointer<UInt8>
) -> HeadResult {
  guard unsafe end - cursor >= 10 else { return unsafe checkPartialVersion(cursor, end) }
  let version = unsafe Bytes(start: cursor, count: 8)
  if version.equals("HTTP/1.1") {
    head.minorVersion = 1
  } else if version.equals("HTTP/1.0") {
    head.minorVersion = 0
  } else {
    return .invalid(isVersion(version) ? .unsupportedVersion : .version)
  }
  guard unsafe cursor[8] == carriageReturn else {
    return unsafe .invalid(cursor[8] == lineFeed ? .bareLF : .version)
  }
  guard unsafe cursor[9] == lineFeed else { return .invalid(.bareCR) }
  unsafe next = cursor + 10
  return .complete
}

/// Refuses at once what can no longer become a version.
@inline(never)
private func checkPartialVersion(_ cursor: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>) -> HeadResult {
  let text = unsafe Bytes(start: cursor, count: max(0, end - cursor))
  var index = 0
  while index < text.count {
    let byte = text[index]
    switch index {
    case 5, 7: if byte &- 0x30 > 9 { return .invalid(.version) }
    case 8:
      if !isVersion(text.slice(0, 8)) { return .invalid(.version) }
      if byte != carriageReturn { return .invalid(refusal(of: byte, otherwise: .version)) }
    default:
      if byte != Bytes("HTTP/1.1")[index] { return .invalid(refusal(of: byte, otherwise: .version)) }
    }
    index += 1
  }
  return .incomplete
}

/// HTTP-version of RFC 9112 section 2.3, eight bytes.
func isVersion(_ text: Bytes) -> Bool {
  text.count == 8 && text.hasPrefix("HTTP/") && text[5] &- 0x30 < 10 && text[6] == 0x2e
    && text[7] &- 0x30 < 10
}

/// Puts what the fields said together; nil when all is well.
@inline(__always)
private func finish(_ head: inout RequestHead, _ notes: FieldNotes, isAbsolute: Bool) -> HTTP1Error? {
  let isOld = head.minorVersion == 0
  if notes.hasTransferEncoding && isOld { return .transferEncodingInHTTP10 }
  if notes.hostIndex >= 0 {
    let host = head.fields[Int(notes.hostIndex)].valueBytes
    if isAbsolute {
      guard host.equalsIgnoringCase(head.authority) else { return .hostDiffersFromTarget }
    } else {
      guard head.setAuthority(host) else { return .host }
    }
  } else if !isOld {
    return .missingHost
  } else if !isAbsolute {
    head.authority = .empty
    head.host = .empty
    head.port = -1
  }
  head.contentLength = notes.contentLength
  head.isChunked = notes.hasTransferEncoding
  head.endStream = !notes.hasTransferEncoding && notes.contentLength <= 0
  head.keepAlive = !notes.close && (!isOld || notes.keepAlive)
  head.expectContinue = false
  if notes.expectIndex >= 0 {
    head.expectContinue = !isOld && !head.endStream
    if !head.expectContinue { drop(head.fields, notes.expectIndex) }
  }
  head.isGRPC = notes.isGRPC
  head.hasTETrailers = notes.hasTETrailers
  head.upgrade = .none
  if head.method == .trace && !head.endStream { return .traceWithBody }
  if notes.connectionUpgrade && !isOld {
    head.upgrade = notes.upgrade
    if head.upgrade != .none && !head.endStream { return .upgradeWithBody }
    if head.upgrade == .webSocket && head.method != .get { head.upgrade = .none }
  }
  if notes.hasOddNames, let error = dropDisguisedNames(head.fields) { return error }
  return notes.listsNames ? dropListedNames(head.fields) : nil
}
