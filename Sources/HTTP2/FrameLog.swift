internal import CNghttp2
internal import HTTPSemantics

/// A line of text in memory of the caller; what does not fit is left out.
@safe
struct LineWriter {
  // INVARIANT: `start` has room for `capacity`, `count` of which are set.
  let start: UnsafeMutablePointer<UInt8>
  let capacity: Int
  var count = 0

  // SAFETY: the index is checked against the capacity.
  mutating func put(_ byte: UInt8) {
    if count < capacity {
      unsafe start[count] = byte
      count += 1
    }
  }

  mutating func put(_ text: StaticString) {
    let bytes = Bytes(text)
    for index in 0..<bytes.count { put(bytes[index]) }
  }

  mutating func putNumber(_ number: UInt64) {
    if number >= 10 { putNumber(number / 10) }
    put(0x30 + UInt8(number % 10) as UInt8)
  }
}

/// "connection 7 recv HEADERS stream=1 flags=END_STREAM|END_HEADERS length=32".
func logFrame(_ state: UnsafeMutablePointer<SessionState>, _ header: nghttp2_frame_hd, isSent: Bool) {
  // SAFETY: the session and its inbox are alive; the line lives in the temporary memory while the hook runs.
  let inbox = unsafe state.pointee.inbox
  guard let log = unsafe inbox.pointee.debugLog else { return }
  unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 160) { memory in
    let start = unsafe memory.baseAddress.unsafelyUnwrapped
    var line = unsafe LineWriter(start: start, capacity: 160)
    line.put("connection ")
    unsafe line.putNumber(state.pointee.logID)
    line.put(isSent ? " send " : " recv ")
    line.put(frameName(header.type))
    line.put(" stream=")
    line.putNumber(UInt64(UInt32(bitPattern: header.stream_id)))
    line.put(" flags=")
    putFlags(&line, header)
    line.put(" length=")
    line.putNumber(UInt64(header.length))
    unsafe log(inbox.pointee.debugArgument, start, line.count)
  }
}

private func frameName(_ type: UInt8) -> StaticString {
  switch type {
  case 0: "DATA"
  case 1: "HEADERS"
  case 2: "PRIORITY"
  case 3: "RST_STREAM"
  case 4: "SETTINGS"
  case 5: "PUSH_PROMISE"
  case 6: "PING"
  case 7: "GOAWAY"
  case 8: "WINDOW_UPDATE"
  case 9: "CONTINUATION"
  default: "UNKNOWN"
  }
}

private func putFlags(_ line: inout LineWriter, _ header: nghttp2_frame_hd) {
  var left = header.flags
  var isFirst = true
  func put(_ bit: UInt8, _ name: StaticString, _ line: inout LineWriter) {
    guard left & bit != 0 else { return }
    left &= ~bit
    if !isFirst { line.put(0x7c as UInt8) }
    isFirst = false
    line.put(name)
  }
  switch header.type {
  case 0: put(0x1, "END_STREAM", &line)
  case 4, 6: put(0x1, "ACK", &line)
  case 1: put(0x1, "END_STREAM", &line)
  default: break
  }
  if header.type == 1 || header.type == 5 || header.type == 9 { put(0x4, "END_HEADERS", &line) }
  if header.type < 2 || header.type == 5 { put(0x8, "PADDED", &line) }
  if header.type == 1 { put(0x20, "PRIORITY", &line) }
  if left != 0 {
    if !isFirst { line.put(0x7c as UInt8) }
    line.put("other:")
    line.putNumber(UInt64(left))
  } else if isFirst {
    line.put("-")
  }
}
