import HTTP1
import HTTPSemantics
import Testing

/// What a decoder made of a body.
private struct Decoded: Equatable {
  var body: [UInt8] = []
  var trailers: [UInt8] = []
  var consumed = 0
  var isEnded = false
  var error: HTTP1Error?
}

/// Feeds the bytes in pieces of the given sizes (the last repeats), as a connection does: what is not
/// consumed is kept and comes again in front of the next piece.
private func decode(_ bytes: [UInt8], pieces: [Int], limits: HTTP1Limits = .init(), filler: UInt8 = 0)
  -> Decoded
{
  let memory = GuardedMemory(capacity: bytes.count)
  var decoder = ChunkedDecoder()
  var decoded = Decoded()
  var available = 0
  var piece = 0
  while true {
    let step = takeStep(bytes[decoded.consumed..<available], memory, &decoder, &decoded, limits, filler)
    if step == .stop { return decoded }
    if step == .more {
      if available == bytes.count { return decoded }
      available = min(bytes.count, available + pieces[min(piece, pieces.count - 1)])
      piece += 1
    }
  }
}

private enum Progress { case stop, more, again }

private func takeStep(
  _ input: ArraySlice<UInt8>, _ memory: borrowing GuardedMemory, _ decoder: inout ChunkedDecoder,
  _ decoded: inout Decoded, _ limits: HTTP1Limits, _ filler: UInt8
) -> Progress {
  let start = unsafe memory.place(input, filler: filler)
  switch unsafe decoder.next(start, input.count, limits: limits) {
  case .data(let offset, let count, let consumed):
    #expect(count > 0 && consumed >= offset + count && consumed <= input.count)
    decoded.body += input[(input.startIndex + offset)..<(input.startIndex + offset + count)]
    decoded.consumed += consumed
    return .again
  case .needMore(let consumed):
    #expect(consumed <= input.count)
    decoded.consumed += consumed
    return .more
  case .end(let consumed, let trailers):
    decoded.consumed += consumed
    let end = input.startIndex + consumed
    decoded.trailers = Array(input[(end - trailers)..<end])
    decoded.isEnded = decoder.isEnded
    #expect(unsafe decoder.next(start, input.count, limits: limits) == .end(consumed: 0, trailers: 0))
    return .stop
  case .invalid(let error):
    decoded.error = error
    #expect(unsafe decoder.next(start, input.count, limits: limits) == .invalid(error) || input.isEmpty)
    return .stop
  }
}

private let valid: [(String, String, String)] = [
  ("0\r\n\r\n", "", ""),
  ("000\r\n\r\n", "", ""),
  ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
  ("0005\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", ""),
  ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", ""),
  ("10\r\n0123456789abcdef\r\n0\r\n\r\n", "0123456789abcdef", ""),
  ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", ""),
  ("1;a\r\nx\r\n1;a=b;c=\"d e;\"\r\ny\r\n0;last\r\n\r\n", "xy", ""),
  ("1; a = b\t\r\nx\r\n0\r\n\r\n", "x", ""),
  ("1;\r\nx\r\n0\r\n\r\n", "x", ""),
  ("1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n", "x", "X-Sum: 1\r\n\r\n"),
  (
    "0\r\nA: b\r\nC:\r\nLong-Name-With-More-Than-16: and a value that is longer\r\n\r\n", "",
    "A: b\r\nC:\r\nLong-Name-With-More-Than-16: and a value that is longer\r\n\r\n"
  ),
]

private let refused: [(String, HTTP1Error, String)] = [
  ("\r\n", .bareCR, "9112 7.1: no size"), (";a\r\n", .chunkSize, "9112 7.1"),
  ("g\r\n", .chunkSize, "9112 7.1"),
  ("-1\r\n", .chunkSize, "9112 7.1"), ("+1\r\n", .chunkSize, "9112 7.1"), ("0x1\r\n", .chunkSize, "9112 7.1"),
  (" 1\r\nx", .chunkSize, "9112 7.1"), ("1 \r\nx", .chunkSize, "9112 7.1"),
  ("1 ;a\r\nx", .chunkSize, "9112 7.1"),
  ("1\t\r\nx", .chunkSize, "9112 7.1"), ("1,1\r\n", .chunkSize, "9112 7.1"),
  ("1\nx\r\n", .bareLF, "9112 2.2"),
  ("1\rx", .bareCR, "9112 2.2"), ("1\r\rx", .bareCR, "9112 2.2"), ("1\u{0}\r\n", .nul, "9112 7.1"),
  ("1_0\r\n", .chunkSize, "9112 7.1"), ("1\u{ff}", .chunkSize, "9112 7.1"),
  ("ffffffffffffffff\r\n", .chunkSizeOverflow, "9112 7.1: overflow"),
  ("10000000000000000\r\n", .chunkSizeOverflow, "9112 7.1: overflow"),
  ("00000000000000001\r\nx", .chunkSizeOverflow, "more than 16 digits"),
  ("1000000000000000\r\n", .chunkSizeOverflow, "2^60"),
  ("1;a\nx\r\n", .bareLF, "9112 7.1.1"), ("1;a\rx\r\n", .bareCR, "9112 7.1.1"),
  ("1;a\u{0}\r\nx", .nul, "9112 7.1.1"), ("1;a\u{1}\r\nx", .chunkExtension, "9112 7.1.1"),
  ("1;a=\"\n\"\r\nx", .bareLF, "9112 7.1.1: not even in a quoted string"),
  ("1\r\nxy\r\n", .chunkEnd, "9112 7.1"), ("1\r\nx\n0\r\n\r\n", .chunkEnd, "9112 7.1"),
  ("1\r\nx0\r\n\r\n", .chunkEnd, "9112 7.1"), ("1\r\nx\r0\r\n\r\n", .chunkEnd, "9112 7.1"),
  ("0\r\n\n", .bareLF, "9112 2.2"), ("0\r\n\rx", .bareCR, "9112 2.2"),
  ("0\r\n X: 1\r\n\r\n", .foldedLine, "9112 5.2"), ("0\r\nX: 1\r\n y\r\n\r\n", .foldedLine, "9112 5.2"),
  ("0\r\nX : 1\r\n\r\n", .whitespaceBeforeColon, "9112 5.1"),
  ("0\r\nX: a\nY: b\r\n\r\n", .bareLF, "9112 2.2"),
  ("0\r\nX: a\u{0}\r\n\r\n", .nul, "9110 5.5"),
  ("0\r\nGET / HTTP/1.1\r\n\r\n", .whitespaceBeforeColon, "9112 7.1.2"),
]

@Suite struct ChunkedTests {
  @Test func validBodies() {
    for (text, body, trailers) in valid {
      let bytes = Array(text.utf8)
      var expected = Decoded()
      expected.body = Array(body.utf8)
      expected.trailers = Array(trailers.utf8)
      expected.consumed = bytes.count
      expected.isEnded = true
      #expect(decode(bytes, pieces: [bytes.count]) == expected, "\(text.debugDescription)")
      for filler: UInt8 in [0, 0x0a, 0x0d, 0x30, 0x3a] {
        #expect(decode(bytes, pieces: [1], filler: filler) == expected, "\(text.debugDescription)")
      }
      let more = bytes + Array("GET / HTTP/1.1\r\n".utf8)
      #expect(decode(more, pieces: [more.count]) == expected, "\(text.debugDescription)")
      for count in 0..<bytes.count {
        let part = decode(Array(bytes[..<count]), pieces: [count + 1])
        #expect(!part.isEnded && part.error == nil && expected.body.starts(with: part.body))
      }
    }
  }

  @Test func refusedBodies() {
    for (text, error, section) in refused {
      let bytes = Array(text.utf8)
      for pieces in [[bytes.count], [1], [2, 3]] {
        #expect(decode(bytes, pieces: pieces).error == error, "RFC \(section): \(text.debugDescription)")
      }
    }
  }

  /// A chunk may be as large as fits 60 bits; nothing of it has to be there yet.
  @Test func largestChunk() {
    let decoded = decode(Array("0fffffffffffffff\r\nab".utf8), pieces: [100])
    #expect(decoded.error == nil && decoded.body == Array("ab".utf8))
  }

  @Test(arguments: 1...10)
  func splitAnywhere(_ seed: Int) {
    var generator = SeededGenerator(state: UInt64(seed))
    for _ in 0..<40 {
      var bytes: [UInt8] = []
      var body: [UInt8] = []
      for _ in 0..<Int.random(in: 0...6, using: &generator) {
        let chunk = (0..<Int.random(in: 1...70, using: &generator)).map { _ in
          Array("\r\n0;abc".utf8).randomElement(using: &generator)!
        }
        body += chunk
        let size = String(chunk.count, radix: 16, uppercase: Bool.random(using: &generator))
        bytes +=
          Array((Bool.random(using: &generator) ? "\(size);e=1" : size).utf8) + [13, 10] + chunk + [13, 10]
      }
      var trailers = ""
      for index in 0..<Int.random(in: 0...3, using: &generator) { trailers += "T\(index): v\r\n" }
      if !trailers.isEmpty { trailers += "\r\n" }
      bytes += Array("0\r\n\(trailers.isEmpty ? "\r\n" : trailers)".utf8)
      var expected = Decoded()
      expected.body = body
      expected.trailers = Array(trailers.utf8)
      expected.consumed = bytes.count
      expected.isEnded = true
      #expect(decode(bytes, pieces: [bytes.count]) == expected)
      #expect(decode(bytes, pieces: [1]) == expected)
      let pieces = (0..<20).map { _ in Int.random(in: 1...30, using: &generator) }
      #expect(decode(bytes, pieces: pieces) == expected, "seed \(seed), pieces \(pieces)")
      // A spoiled byte gives the same answer however the body is cut.
      var spoiled = bytes
      spoiled[Int.random(in: 0..<bytes.count, using: &generator)] ^=
        1 << UInt8.random(in: 0..<8, using: &generator)
      let whole = decode(spoiled, pieces: [bytes.count])
      let cut = decode(spoiled, pieces: pieces)
      #expect(whole.error == cut.error && whole.isEnded == cut.isEnded && whole.body == cut.body)
      #expect(whole.trailers == cut.trailers)
    }
  }

  @Test func limits() {
    var limits = HTTP1Limits()
    limits.maxChunkExtensionBytes = 4
    limits.maxTrailerBytes = 10
    func error(_ text: String, pieces: [Int] = [1]) -> HTTP1Error? {
      let whole = decode(Array(text.utf8), pieces: [10_000], limits: limits)
      let cut = decode(Array(text.utf8), pieces: pieces, limits: limits)
      #expect(whole.error == cut.error)
      return whole.error
    }
    #expect(error("1;abc\r\nx\r\n") == nil)
    #expect(error("1;abcd\r\nx\r\n") == .chunkExtensionTooLong)
    // All together: 16 times 4 and as much as the data.
    let chunk = "1;abc\r\nx\r\n"
    #expect(error(String(repeating: chunk, count: 21)) == nil)
    #expect(error(String(repeating: chunk, count: 22)) == .chunkExtensionTooLong)
    #expect(error("0\r\nA: 456\r\n\r\n") == nil)
    #expect(error("0\r\nA: 4567\r\n\r\n") == .trailerTooLarge)
    #expect(error("0\r\nA: 456789") == nil)
    #expect(error("0\r\nA: 7890123") == .trailerTooLarge)
  }
}

@Suite struct TrailerTests {
  private func parse(_ text: String, limits: HTTP1Limits = .init()) -> (HTTP1Error?, [String]) {
    let bytes = Array(text.utf8)
    let memory = GuardedMemory(capacity: bytes.count)
    let owned = OwnedTable()
    var table = owned.table
    let start = unsafe memory.place(bytes[...], filler: 0x3a)
    let error = unsafe parseTrailers(start, bytes.count, limits: limits, into: &table)
    return (error, table.lines)
  }

  @Test func kept() {
    let (error, lines) = parse("grpc-status: 0\r\nGrpc-Message:  a b \r\nX-Sum:1\r\nServer: x\r\n\r\n")
    #expect(error == nil && lines == ["grpc-status: 0", "Grpc-Message: a b", "X-Sum: 1", "Server: x"])
    let (none, nothing) = parse("")
    #expect(none == nil && nothing.isEmpty)
  }

  /// RFC 9110 section 6.5.1.
  @Test(arguments: [
    "Connection", "Keep-Alive", "TE", "Upgrade", "Proxy-Connection", "HTTP2-Settings", "Trailer", "Expect",
    "Authorization", "Cookie", "Set-Cookie", "Content-Type", "Content-Encoding", "Cache-Control", "Location",
    "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Real-IP",
    "Proxy-Authorization",
    "WWW-Authenticate", "X-Forwarded-Client-Cert", "X-Request-Id", "X-Forwarded-Foo", "X_Forwarded_For", "Keep_Alive",
  ])
  func dropped(_ name: String) {
    let (error, lines) = parse("A: 1\r\n\(name): x\r\n\r\n")
    #expect(error == nil && lines == ["A: 1", "-\(name): x"])
  }

  @Test(arguments: [
    "Host", "Content-Length", "Transfer-Encoding", "HOST", "content-length", "Content_Length", "transfer.encoding",
  ])
  func refusedNames(_ name: String) {
    #expect(parse("A: 1\r\n\(name): 1\r\n\r\n").0 == .trailerField)
  }

  @Test func count() {
    var limits = HTTP1Limits()
    limits.maxFields = 2
    #expect(parse("A: 1\r\nB: 1\r\n\r\n", limits: limits).0 == nil)
    #expect(parse("A: 1\r\nB: 1\r\nC: 1\r\n\r\n", limits: limits).0 == .tooManyFields)
  }
}
