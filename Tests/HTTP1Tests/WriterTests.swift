import HTTP1
import HTTPSemantics
import Testing

/// Runs `body` on a writer with room for `capacity`; what it wrote, and the writer. Fails on a write beyond.
private func write(
  capacity: Int = 4096, _ body: (inout HeadWriter) -> Void
) -> (text: String, overflowed: Bool, isMalformed: Bool) {
  let output = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity + 16)
  defer { unsafe output.deallocate() }
  unsafe output.initialize(repeating: 0xee, count: capacity + 16)
  var writer = unsafe HeadWriter(output, capacity: capacity)
  body(&writer)
  for index in writer.count..<(capacity + 16) { #expect(unsafe output[index] == 0xee) }
  let text = unsafe String(decoding: UnsafeBufferPointer(start: output, count: writer.count), as: UTF8.self)
  #expect(writer.isSound == !(writer.overflowed || writer.isMalformed))
  return (text, writer.overflowed, writer.isMalformed)
}

/// Calls `body` with the head parsed from the text.
private func withRequest(_ text: String, _ body: (RequestHead) -> Void) {
  let bytes = Array(text.utf8)
  let memory = GuardedMemory(capacity: bytes.count)
  let owned = OwnedTable()
  var head = RequestHead(fields: owned.table)
  var consumed = 0
  let start = unsafe memory.place(bytes[...], filler: 0)
  let result = unsafe parseRequestHead(start, bytes.count, limits: .init(), into: &head, consumed: &consumed)
  #expect(result == .complete)
  body(head)
}

@Suite struct WriterTests {
  @Test func keptLinesAreCopiedAsTheyAre() {
    let text =
      "GET /a?b HTTP/1.1\r\nHost: a\r\nX-Drop: 1\r\nConnection: x-drop\r\nA:1\r\nB: \t2 \t\r\n"
      + "TE: trailers\r\nC:\r\n\r\n"
    withRequest(text) { head in
      let written = write { writer in
        writer.requestLine(method: head.methodBytes, target: head.target)
        writer.fields(head.fields)
        writer.field("x-forwarded-for", Bytes("::1"))
        writer.end()
      }
      #expect(
        written.text
          == "GET /a?b HTTP/1.1\r\nHost: a\r\nA:1\r\nB: \t2 \t\r\nC:\r\nx-forwarded-for: ::1\r\n\r\n")
      #expect(!written.overflowed && !written.isMalformed)
    }
  }

  @Test func changedFieldsAreWrittenAnew() {
    withRequest("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\n\r\n") { head in
      var field = head.fields[1]
      field.setValue(Bytes("new"))
      head.fields[1] = field
      let written = write { $0.fields(head.fields) }
      #expect(written.text == "Host: a\r\nX: new\r\nY: 2\r\n")
    }
  }

  /// Whole lines that are not neighbours in memory are not one run.
  @Test func reorderedLines() {
    withRequest("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\nZ: 3\r\n\r\n") { head in
      let owned = OwnedTable()
      var table = owned.table
      let areAppended = [3, 0, 2].map { table.append(head.fields[$0]) }
      #expect(areAppended == [true, true, true])
      #expect(write { $0.fields(table) }.text == "Z: 3\r\nHost: a\r\nY: 2\r\n")
    }
  }

  /// What is written parses to the same kept fields and target; twice written is once written.
  @Test(arguments: validRequests.indices)
  func roundTrip(_ index: Int) {
    let (text, expected) = validRequests[index]
    if expected.host.isEmpty || !expected.lines.contains(where: { $0.lowercased().hasPrefix("host:") }) {
      return
    }
    withRequest(text) { head in
      func once(_ head: RequestHead) -> String {
        let written = write { writer in
          writer.requestLine(method: head.methodBytes, target: head.target)
          writer.fields(head.fields)
          writer.end()
        }
        #expect(!written.overflowed && !written.isMalformed)
        return written.text
      }
      let first = once(head)
      let again = parseRequest(first)
      #expect(again.result == .complete && again.target == expected.target && again.method == expected.method)
      #expect(again.lines == expected.lines.filter { !$0.hasPrefix("-") })
      withRequest(first) { #expect(once($0) == first) }
    }
  }

  /// Random tables: runs of lines, fields from elsewhere, dropped ones, in any order.
  @Test(arguments: 1...4)
  func randomTables(_ seed: Int) {
    var generator = SeededGenerator(state: UInt64(seed))
    for _ in 0..<200 {
      let count = Int.random(in: 0...20, using: &generator)
      let lines = (0..<count).map { "N\($0):\($0 % 3 == 0 ? "  " : "")v\($0)\($0 % 4 == 0 ? "\t " : "")" }
      let head = "GET / HTTP/1.1\r\nHost: a\r\n" + lines.map { $0 + "\r\n" }.joined() + "\r\n"
      withRequest(head) { head in
        var expected = "Host: a\r\n"
        for index in 0..<count {
          var field = head.fields[index + 1]
          switch Int.random(in: 0..<4, using: &generator) {
          case 0: field.isDropped = true
          case 1:
            field.setValue(Bytes("other"))
            expected += "N\(index): other\r\n"
          default: expected += lines[index] + "\r\n"
          }
          head.fields[index + 1] = field
        }
        #expect(write { $0.fields(head.fields) }.text == expected)
      }
    }
  }

  @Test func responses() {
    let written = write { writer in
      writer.statusLine(200)
      writer.contentLength(0)
      writer.contentLength(1_234_567_890)
      writer.contentLength(.max)
      writer.transferEncodingChunked()
      writer.connectionClose()
      writer.connectionKeepAlive()
      writer.connectionUpgrade(Bytes("websocket"))
      writer.field(Bytes("a"), Bytes("b"))
      writer.end()
    }
    #expect(
      written.text
        == "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 1234567890\r\n"
        + "content-length: 9223372036854775807\r\ntransfer-encoding: chunked\r\nconnection: close\r\n"
        + "connection: keep-alive\r\nconnection: upgrade\r\nupgrade: websocket\r\na: b\r\n\r\n")
    #expect(write { $0.statusLine(404, reason: Bytes("Nope")) }.text == "HTTP/1.1 404 Nope\r\n")
    #expect(write { $0.statusLine(599) }.text == "HTTP/1.1 599 Unknown\r\n")
    #expect(
      "\(standardReason(503))" == "Service Unavailable" && "\(standardReason(308))" == "Permanent Redirect")
  }

  /// With less room than needed, whatever the room, it says so and stays within it.
  @Test func overflow() {
    func all(_ writer: inout HeadWriter) {
      writer.statusLine(200)
      writer.field("name", Bytes("value"))
      writer.contentLength(12)
      writer.end()
    }
    let full = write { all(&$0) }
    #expect(!full.overflowed)
    for capacity in 0..<full.text.utf8.count { #expect(write(capacity: capacity) { all(&$0) }.overflowed) }
    #expect(!write(capacity: full.text.utf8.count) { all(&$0) }.overflowed)
  }

  /// Request and response splitting by values that did not come through this parser.
  @Test(arguments: ["a\r\nb: c", "a\n", "a\r", "a\u{0}", "a\u{7f}", "\u{1}"])
  func splitting(_ value: String) {
    let bytes = Array(value.utf8)
    unsafe bytes.withUnsafeBufferPointer { buffer in
      guard let start = buffer.baseAddress else { return }
      let evil = unsafe Bytes(start: start, count: buffer.count)
      #expect(write { $0.field("x", evil) }.isMalformed)
      #expect(write { $0.field(evil, Bytes("x")) }.isMalformed)
      #expect(write { $0.statusLine(200, reason: evil) }.isMalformed)
      #expect(write { $0.requestLine(method: Bytes("GET"), target: evil) }.isMalformed)
      #expect(write { $0.requestLine(method: evil, target: Bytes("/")) }.isMalformed)
      let owned = OwnedTable()
      var table = owned.table
      let isAppended = table.append(HeaderField(name: Bytes("x"), value: evil, known: .other))
      #expect(isAppended && write { $0.fields(table) }.isMalformed)
    }
    #expect(write { $0.field(Bytes("a b"), Bytes("x")) }.isMalformed)
    #expect(write { $0.field(Bytes("a:"), Bytes("x")) }.isMalformed)
    #expect(write { $0.field(Bytes(""), Bytes("x")) }.isMalformed)
    #expect(write { $0.requestLine(method: Bytes("GET"), target: Bytes("/a b")) }.isMalformed)
    #expect(write { $0.requestLine(method: Bytes("GET"), target: Bytes("")) }.isMalformed)
    #expect(!write { $0.field("x", Bytes("a\tb")) }.isMalformed)
  }

  @Test func chunks() {
    let output = UnsafeMutablePointer<UInt8>.allocate(capacity: maxChunkHeaderBytes)
    defer { unsafe output.deallocate() }
    func text(_ count: Int) -> String {
      unsafe String(decoding: UnsafeBufferPointer(start: output, count: count), as: UTF8.self)
    }
    for size in [1, 9, 10, 15, 16, 17, 255, 256, 65535, 65536, 1 << 40, Int.max] {
      let count = unsafe writeChunkHeader(size, to: output)
      #expect(text(count) == "\(String(size, radix: 16))\r\n")
      #expect(count <= maxChunkHeaderBytes)
    }
    let count = unsafe writeLastChunk(to: output)
    #expect(text(count) == "0\r\n\r\n")
    let trailers = write { writer in
      writer.lastChunk()
      writer.field("grpc-status", Bytes("0"))
      writer.end()
    }
    #expect(trailers.text == "0\r\ngrpc-status: 0\r\n\r\n")
  }
}
