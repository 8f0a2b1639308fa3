internal import CLinux
public import HTTPSemantics

// SAFETY of this file: as in FieldLines.swift, scans may read up to 16 bytes beyond `end` and look at none of
// them.

/// Parses a whole response head in `[p, p + n)`; 16 bytes beyond it must be readable. A backend is trusted no
/// more than a client: the same strictness, and every refusal means 502 and a closed connection.
///
/// Where the body ends (RFC 9112 section 6.3): 1xx, 204, 304 and every answer to HEAD have none; then
/// chunked; then Content-Length; otherwise it ends with the connection (`untilClose`). A Content-Length of
/// 1xx and 204 is flagged to be dropped; a 204 that announces a body is taken without one and its connection
/// is not used again. A 101 must carry Upgrade and Connection: upgrade; `upgrade` says to what, and the bytes
/// behind the head belong to that protocol. Whether it had been asked for is for the caller to know.
public func parseResponseHead(
  _ p: UnsafePointer<UInt8>, _ n: Int, requestMethod: Method, limits: HTTP1Limits,
  into head: inout ResponseHead,
  consumed: inout Int
) -> HeadResult {
  consumed = 0
  let end = unsafe p + n
  var cursor = unsafe p
  switch unsafe parseStatusLine(&cursor, end, &head) {
  case .invalid(let error): return .invalid(error)
  case .incomplete: return n >= limits.maxHeadBytes ? .invalid(.headTooLarge) : .incomplete
  case .complete: break
  }
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
  if let error = finish(&head, notes, requestMethod) { return .invalid(error) }
  consumed = length
  return .complete
}

/// RFC 9112 section 4. The space before an absent reason may be missing too, as many servers have it.
@inline(__always)
private func parseStatusLine(
  _ cursor: inout UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>, _ head: inout ResponseHead
) -> HeadResult {
  let count = unsafe end - cursor
  guard count >= 13 else { return unsafe checkPartialStatusLine(cursor, count) }
  let version = unsafe Bytes(start: cursor, count: 8)
  if version.equals("HTTP/1.1") {
    head.minorVersion = 1
  } else if version.equals("HTTP/1.0") {
    head.minorVersion = 0
  } else {
    return .invalid(isVersion(version) ? .unsupportedVersion : .statusLine)
  }
  guard unsafe cursor[8] == 0x20 else { return .invalid(.statusLine) }
  let hundreds = unsafe cursor[9] &- 0x30
  let tens = unsafe cursor[10] &- 0x30
  let ones = unsafe cursor[11] &- 0x30
  guard hundreds < 10 && tens < 10 && ones < 10 else { return .invalid(.statusLine) }
  guard hundreds >= 1 && hundreds <= 5 else { return .invalid(.statusCode) }
  head.status = UInt16(hundreds) * 100 + UInt16(tens) * 10 + UInt16(ones)
  unsafe cursor += 12
  if unsafe cursor.pointee == 0x20 {
    unsafe cursor += 1
  } else if unsafe cursor.pointee != carriageReturn {
    return unsafe .invalid(cursor.pointee == lineFeed ? .bareLF : .statusLine)
  }
  let reason = unsafe cursor
  while unsafe cursor < end {
    let mask = unsafe clinux_control_mask16(cursor)
    unsafe cursor += mask == 0 ? 16 : mask.trailingZeroBitCount
    if mask != 0 { break }
  }
  guard unsafe cursor < end else { return .incomplete }
  guard unsafe cursor.pointee == carriageReturn else {
    return unsafe .invalid(refusal(of: cursor.pointee, otherwise: .controlByte))
  }
  guard unsafe cursor + 1 < end else { return .incomplete }
  guard unsafe cursor[1] == lineFeed else { return .invalid(.bareCR) }
  head.reason = unsafe Bytes(start: reason, count: cursor - reason)
  unsafe cursor += 2
  return .complete
}

/// Refuses at once what can no longer become a status line: a backend that speaks another protocol.
@inline(never)
private func checkPartialStatusLine(_ start: UnsafePointer<UInt8>, _ count: Int) -> HeadResult {
  let text = unsafe Bytes(start: start, count: count)
  var index = 0
  while index < count {
    let byte = text[index]
    let isGood =
      switch index {
      case 5, 7, 9, 10, 11: byte &- 0x30 < 10
      case 8: byte == 0x20
      case 12: byte == 0x20 || byte == carriageReturn
      default: byte == Bytes("HTTP/1.1")[index]
      }
    if !isGood { return .invalid(refusal(of: byte, otherwise: .statusLine)) }
    index += 1
  }
  return .incomplete
}

/// Puts what the fields said together; nil when all is well.
@inline(__always)
private func finish(_ head: inout ResponseHead, _ notes: FieldNotes, _ method: Method) -> HTTP1Error? {
  let isOld = head.minorVersion == 0
  if notes.hasTransferEncoding && isOld { return .transferEncodingInHTTP10 }
  head.contentLength = notes.contentLength
  head.isChunked = notes.hasTransferEncoding
  head.keepAlive = !notes.close && (!isOld || notes.keepAlive)
  head.isGRPC = notes.isGRPC
  head.upgrade = .none
  head.untilClose = false
  let isInformational = head.status < 200
  if isInformational || head.status == 204 {
    head.endStream = true
    if notes.hasTransferEncoding || notes.contentLength > 0 { head.keepAlive = false }
    head.contentLength = -1
    head.isChunked = false
    if notes.contentLengthIndex >= 0 {
      drop(head.fields, notes.contentLengthIndex)
    }
    if isInformational && notes.hasTransferEncoding { return .transferEncoding }
    if head.status == 101 {
      guard notes.connectionUpgrade && (notes.offersWebSocket || notes.offersOther) else {
        return .upgradeMissing
      }
      head.upgrade = notes.offersWebSocket && !notes.offersOther && !notes.offersH2C ? .webSocket : .other
      head.keepAlive = false
    }
  } else if head.status == 304 || method == .head {
    head.endStream = true
  } else if notes.hasTransferEncoding {
    head.endStream = false
  } else if notes.contentLength >= 0 {
    head.endStream = notes.contentLength == 0
  } else {
    head.endStream = false
    head.untilClose = true
    head.keepAlive = false
  }
  if notes.hasOddNames, let error = dropDisguisedNames(head.fields) { return error }
  return notes.listsNames ? dropListedNames(head.fields) : nil
}
