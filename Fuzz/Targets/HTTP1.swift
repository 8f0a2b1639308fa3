import HTTP1
import HTTPSemantics

/// A head parses the same whether it arrives at once or cut short first, and what the writer makes of an accepted
/// one is accepted again with the same target.
func fuzzRequestHead(_ input: Input) -> Int32 {
  let limits = HTTP1Limits()
  return withFieldTable { table in
    var head = RequestHead(fields: table)
    var consumed = 0
    let result = parseRequestHead(input.start, input.count, limits: limits, into: &head, consumed: &consumed)
    guard result == .complete else { return 0 }
    check(consumed > 0 && consumed <= input.count, "consumed \(consumed) of \(input.count)")
    let short = input.part(0..<consumed - 1)
    defer { short.keep() }
    withFieldTable { table in
      var early = RequestHead(fields: table)
      var length = 0
      let result = parseRequestHead(short.start, short.count, limits: limits, into: &early, consumed: &length)
      check(result == .incomplete, "a head without its last byte is \(result)")
    }
    checkKey(head)
    guard head.minorVersion == 1 else { return 0 }
    rewrite(head)
    return 0
  }
}

/// A WebSocket's key is written as it was read.
private func checkKey(_ head: borrowing RequestHead) {
  let index = head.fields.firstIndex(of: .secWebSocketKey)
  guard index >= 0 else { return }
  let text = head.fields[index].valueBytes
  guard let key = WebSocketKey(text) else { return }
  withUnsafeTemporaryAllocation(of: UInt8.self, capacity: WebSocketKey.length + WebSocketKey.acceptLength) { memory in
    guard let start = memory.baseAddress else { return }
    key.write(to: start)
    let written = Bytes(start: start, count: WebSocketKey.length)
    check(written.equals(text), "the key was written otherwise")
    key.writeAccept(to: start + WebSocketKey.length)
    check(start[WebSocketKey.length + WebSocketKey.acceptLength - 1] == UInt8(ascii: "="), "the answer is no base64")
  }
}

private func rewrite(_ head: RequestHead) {
  let room = 128 * 1024
  let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: room)
  defer { memory.deallocate() }
  var writer = HeadWriter(memory, capacity: room)
  writer.requestLine(method: head.methodBytes, target: head.target)
  writer.fields(head.fields)
  writer.end()
  check(writer.isSound, "an accepted head cannot be written")
  let written = Input(memory, writer.count)
  defer { written.keep() }
  withFieldTable { table in
    var again = RequestHead(fields: table)
    var length = 0
    let result = parseRequestHead(
      written.start, written.count, limits: HTTP1Limits(), into: &again, consumed: &length)
    check(result == .complete, "a written head is \(result)")
    check(length == written.count, "a written head ends at \(length) of \(written.count)")
    check(again.target.equals(head.target), "the written target differs")
    check(again.contentLength == head.contentLength, "the written content-length differs")
    check(!again.isChunked, "a hop-by-hop field was written")
  }
}

/// The first byte is the method of the request.
func fuzzResponseHead(_ input: Input) -> Int32 {
  guard input.count > 1 else { return 0 }
  let method = Method(rawValue: input.bytes[0] % 10) ?? .get
  let text = input.part(1..<input.count)
  defer { text.keep() }
  withFieldTable { table in
    var head = ResponseHead(fields: table)
    var consumed = 0
    let result = parseResponseHead(
      text.start, text.count, requestMethod: method, limits: HTTP1Limits(), into: &head, consumed: &consumed)
    guard result == .complete else { return }
    check(consumed > 0 && consumed <= text.count, "consumed \(consumed) of \(text.count)")
    check(head.status >= 100 && head.status <= 599, "status \(head.status)")
    check(!(head.isChunked && head.contentLength >= 0), "two lengths")
    let short = text.part(0..<consumed - 1)
    defer { short.keep() }
    withFieldTable { table in
      var early = ResponseHead(fields: table)
      var length = 0
      let result = parseResponseHead(
        short.start, short.count, requestMethod: method, limits: HTTP1Limits(), into: &early, consumed: &length)
      check(result == .incomplete, "a head without its last byte is \(result)")
    }
  }
  return 0
}

/// What a chunked body came to.
private struct Body: Equatable {
  var data: [UInt8] = []
  var trailers: [UInt8] = []
  var consumed = 0
  var end: ChunkStep = .needMore(consumed: 0)
}

/// The first byte is the size of the pieces; the body must come out the same in pieces and at once.
func fuzzChunkedBody(_ input: Input) -> Int32 {
  guard input.count > 1 else { return 0 }
  let text = input.part(1..<input.count)
  defer { text.keep() }
  let whole = decode(text, piece: text.count)
  let pieces = decode(text, piece: Int(input.bytes[0] % 32) + 1)
  check(whole.data == pieces.data, "the body depends on how it was cut")
  check(whole.trailers == pieces.trailers, "the trailers depend on how the body was cut")
  check(whole.end == pieces.end && whole.consumed == pieces.consumed, "\(whole.end) or \(pieces.end)")
  if !whole.trailers.isEmpty {
    let section = Input(whole.trailers)
    defer { section.keep() }
    withFieldTable { table in
      var table = table
      _ = parseTrailers(section.start, section.count, limits: HTTP1Limits(), into: &table)
    }
  }
  return 0
}

private func decode(_ text: Input, piece: Int) -> Body {
  var decoder = ChunkedDecoder()
  var body = Body()
  var available = min(piece, text.count)
  while true {
    let view = text.part(body.consumed..<available)
    defer { view.keep() }
    let step = decoder.next(view.start, view.count, limits: HTTP1Limits())
    switch step {
    case .data(let offset, let count, let consumed):
      check(offset >= 0 && count > 0 && offset + count <= consumed && consumed <= view.count, "\(step)")
      body.data += view.array[offset..<offset + count]
      body.consumed += consumed
    case .needMore(let consumed):
      check(consumed >= 0 && consumed <= view.count, "\(step)")
      body.consumed += consumed
      if available == text.count { return body }
      available = min(available + piece, text.count)
    case .end(let consumed, let trailers):
      check(trailers >= 0 && trailers <= consumed && consumed <= view.count, "\(step)")
      body.trailers = Array(view.array[consumed - trailers..<consumed])
      body.consumed += consumed
      body.end = .end(consumed: 0, trailers: trailers)
      return body
    case .invalid:
      // How far it read depends on the pieces.
      body.consumed = 0
      body.end = step
      return body
    }
  }
}
