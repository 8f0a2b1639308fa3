import HTTP2
import HTTPSemantics

/// A server that echoes. The first byte: bit 0 puts a connection preface and empty SETTINGS in front, the rest is
/// the size of the pieces.
func fuzzServerSession(_ input: Input) -> Int32 {
  guard input.count > 1, let inbox = HTTP2Inbox.make(keepsBlocks: false) else { return 0 }
  defer { inbox.destroy() }
  guard let session = HTTP2Session.server(inbox) else { return 0 }
  defer { session.destroy() }
  let capacity = 32 * 1024
  let output = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
  defer { output.deallocate() }
  var opening: [UInt8] = []
  if input.bytes[0] & 1 == 1 {
    opening = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
  }
  let bytes = opening + input.array.dropFirst()
  let piece = Int(input.bytes[0] >> 1) * 4 + 1
  var time: UInt64 = 0
  var start = 0
  while start < bytes.count {
    let end = min(start + piece, bytes.count)
    let view = Input(Array(bytes[start..<end]))
    defer { view.keep() }
    start = end
    time += 1
    inbox.setNow(milliseconds: time)
    let result = session.receive(view.start, view.count)
    answer(session, inbox)
    var sent = 0
    while true {
      let count = session.drain(into: output, capacity: capacity)
      check(count >= 0 && count <= capacity, "\(count) of \(capacity)")
      answer(session, inbox)
      if count == 0 { break }
      sent += count
      check(sent < 64 << 20, "output without end")
    }
    check(session.activeStreams >= 0 && session.totalQueuedBytes >= 0, "a count below zero")
    if result != .ok || session.isFinished { break }
  }
  return 0
}

/// What happened so far, and then nothing of it is kept.
private func answer(_ session: HTTP2Session, _ inbox: HTTP2Inbox) {
  var index = 0
  while index < inbox.count {
    let event = inbox[index]
    switch event.kind {
    case .requestHead:
      event.setTag(UInt64(event.streamID))
      let head = event.requestHead.pointee
      check(head.path.count > 0, "a request without a path")
      var fields = inbox.fieldList()
      fields.append(head.fields)
      session.submitResponse(event.streamID, status: 200, fields: fields, endStream: event.endStream)
    case .data:
      if event.bytes.count > 0 {
        session.write(event.streamID, event.bytes.start, event.bytes.count, endStream: event.endStream)
        session.consume(event.streamID, event.bytes.count)
      } else if event.endStream {
        session.write(event.streamID, event.bytes.start, 0, endStream: true)
      }
    case .trailers:
      var fields = inbox.fieldList()
      fields.append(event.trailers)
      session.submitTrailers(event.streamID, fields: fields)
    case .endStream: session.write(event.streamID, Bytes.empty.start, 0, endStream: true)
    default: break
    }
    index += 1
  }
  inbox.reset()
}

/// A client with three requests under way, one of them with a body. The first byte is the size of the pieces.
func fuzzClientSession(_ input: Input) -> Int32 {
  guard input.count > 1, let inbox = HTTP2Inbox.make(keepsBlocks: false) else { return 0 }
  defer { inbox.destroy() }
  guard let session = HTTP2Session.client(inbox) else { return 0 }
  defer { session.destroy() }
  let capacity = 32 * 1024
  let output = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
  defer { output.deallocate() }
  for number in 0..<3 as Range<UInt64> {
    let stream = session.submitRequest(
      method: Bytes("POST"), scheme: .http, authority: Bytes("a.test"), path: Bytes("/"), fields: inbox.fieldList(),
      endStream: number > 0, tag: number + 1)
    check(stream > 0, "no stream for request \(number)")
  }
  let bytes = Array(input.array.dropFirst())
  let piece = Int(input.bytes[0]) * 2 + 1
  var start = 0
  while start < bytes.count {
    while session.drain(into: output, capacity: capacity) > 0 {}
    let end = min(start + piece, bytes.count)
    let view = Input(Array(bytes[start..<end]))
    defer { view.keep() }
    start = end
    inbox.setNow(milliseconds: UInt64(start))
    let result = session.receive(view.start, view.count)
    noteAnswers(session, inbox)
    if result != .ok || session.isFinished { break }
  }
  while session.drain(into: output, capacity: capacity) > 0 {}
  return 0
}

private func noteAnswers(_ session: HTTP2Session, _ inbox: HTTP2Inbox) {
  for index in 0..<inbox.count {
    let event = inbox[index]
    switch event.kind {
    case .responseHead:
      let status = event.responseHead.pointee.status
      check(status >= 200 && status <= 599, "status \(status)")
    case .data where event.bytes.count > 0: session.consume(event.streamID, event.bytes.count)
    case .requestHead: check(false, "a client was asked for something")
    default: break
    }
  }
  inbox.reset()
}
