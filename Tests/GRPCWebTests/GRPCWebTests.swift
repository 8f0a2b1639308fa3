import GRPCWeb
import HTTPSemantics
import Testing

/// Runs `body` on a view of the bytes, in memory of exactly their size.
func with<R>(_ bytes: [UInt8], _ body: (Bytes) throws -> R) rethrows -> R {
  try unsafe bytes.withUnsafeBufferPointer { buffer in
    guard let start = buffer.baseAddress else { return try body(.empty) }
    return try unsafe body(Bytes(start: start, count: buffer.count))
  }
}

func with<R>(_ text: String, _ body: (Bytes) throws -> R) rethrows -> R { try with(Array(text.utf8), body) }

@Suite("gRPC-Web media types") struct MediaTypeTests {
  @Test(arguments: [
    ("application/grpc-web", "application/grpc-web", ""),
    ("application/grpc-web+proto", "application/grpc-web+proto", "+proto"),
    ("Application/gRPC-Web+Proto", "application/grpc-web+proto", "+Proto"),
    ("application/grpc-web+json", "application/grpc-web", "+json"),
    ("application/grpc-web; charset=utf-8", "application/grpc-web", ""),
    ("application/grpc-web+proto;a=+b", "application/grpc-web+proto", "+proto"),
    ("application/grpc-web;a=+proto", "application/grpc-web", ""),
    ("application/grpc-web-text", "application/grpc-web-text", ""),
    ("application/grpc-web-text+proto", "application/grpc-web-text+proto", "+proto"),
    ("application/grpc-web-text-base64", "application/grpc-web-text", ""),
    ("application/grpc-web-text-base64+proto ;q=1", "application/grpc-web-text+proto", "+proto"),
  ])
  func known(_ value: String, answer: String, suffix: String) throws {
    let type = try #require(with(value) { GRPCWebMediaType($0) })
    #expect(type.answer.description == answer)
    #expect(with(value) { String(decoding: grpcWebSuffix($0)) } == suffix)
  }

  @Test(arguments: [
    "", "application/grpc", "application/grpc+proto", "application/grpc-webx", "application/grpc-web-tex",
    "application/grpc-web-textual", "application/grpc-web-text-base32", "text/plain", "application/grpc-web/x",
    "application/json; a=application/grpc-web",
  ])
  func others(_ value: String) { #expect(with(value) { GRPCWebMediaType($0) } == nil) }

  @Test(arguments: [
    ("*/*", nil), ("", nil), ("text/html, application/json", nil),
    ("application/grpc-web-text", "application/grpc-web-text"),
    ("text/html , application/grpc-web-text+proto;q=0.9,*/*", "application/grpc-web-text+proto"),
    ("application/grpc-web,application/grpc-web-text", "application/grpc-web"), (",,", nil),
  ])
  func accept(_ value: String, answer: String?) {
    #expect(with(value) { GRPCWebMediaType(accept: $0)?.answer.description } == answer)
  }
}

/// The bytes of base64 text that comes in pieces of `size`; nil when it is refused.
private func decode(_ text: String, size: Int) -> [UInt8]? {
  var decoder = GRPCWebTextDecoder()
  var result: [UInt8] = []
  let all = Array(text.utf8)
  for start in stride(from: 0, to: all.count, by: size) {
    let piece = Array(all[start..<min(all.count, start + size)])
    let room = GRPCWebTextDecoder.mostBytes(for: piece.count)
    let bytes: [UInt8]? = with(piece) { bytes in
      var failed = false
      let part = unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
        let written = unsafe decoder.decode(bytes, into: buffer.baseAddress.unsafelyUnwrapped)
        failed = written < 0
        #expect(written <= room)
        count = max(0, written)
      }
      return failed ? nil : part
    }
    guard let bytes else { return nil }
    result += bytes
  }
  return decoder.isComplete ? result : nil
}

@Suite("gRPC-Web text of requests") struct TextDecoderTests {
  @Test(arguments: [
    ("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmE=", "fooba"),
    ("Zm9vYmFy", "foobar"),
    // Padding in the middle begins another text.
    ("Zg==Zg==", "ff"), ("Zm8=Zm9v", "fofoo"), ("Zm9vZg==Zm8=Zm9v", "fooffofoo"),
  ])
  func sound(_ text: String, _ bytes: String) {
    for size in 1...9 { #expect(decode(text, size: size) == Array(bytes.utf8), "\(size)") }
  }

  @Test(arguments: [
    "Z", "Zg", "Zg=", "Zm8", "=", "====", "Z===", "Zg=a", "Zg=Z", "Zg===", "Zm8==", "Zm9v=", "Zm9v\n", "Zm9v\r\nZm9v",
    "Zm 9", "Zm-_", "Zh==", "Zm9=", "Zm9v\u{0}AAA", "Zm\u{e4}v",
  ])
  func refused(_ text: String) {
    for size in 1...9 { #expect(decode(text, size: size) == nil, "\(size)") }
  }

  @Test func everyByte() {
    let bytes = (0..<3).flatMap { Array(repeating: UInt8(0), count: $0) + Array(0...255) }
    #expect(decode(base64(bytes), size: 7) == bytes)
  }
}

/// By the book, for comparison.
private func base64(_ bytes: [UInt8]) -> String {
  let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
  var text = ""
  for start in stride(from: 0, to: bytes.count, by: 3) {
    let group = bytes[start..<min(start + 3, bytes.count)]
    let bits = (0..<3).reduce(0) { $0 << 8 | (start + $1 < bytes.count ? Int(bytes[start + $1]) : 0) }
    for position in 0..<4 {
      text.append(position <= group.count ? alphabet[bits >> (18 - 6 * position) & 63] : "=")
    }
  }
  return text
}

private func message(_ payload: [UInt8]) -> [UInt8] {
  [0] + (0..<4).map { UInt8(truncatingIfNeeded: payload.count >> (24 - 8 * $0)) } + payload
}

private func encode(_ bytes: [UInt8], size: Int, capacity: Int) -> (text: String, encoder: GRPCWebEncoder) {
  var encoder = GRPCWebEncoder()
  var text = ""
  for start in stride(from: 0, to: bytes.count, by: size) {
    with(Array(bytes[start..<min(bytes.count, start + size)])) { piece in
      var rest = piece
      while !rest.isEmpty {
        let part = unsafe [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
          let step = unsafe encoder.encode(rest, into: buffer.baseAddress.unsafelyUnwrapped, capacity: capacity)
          #expect(step.used > 0 && step.written <= capacity)
          rest = rest.slice(step.used, rest.count)
          count = step.written
        }
        text += String(decoding: part, as: UTF8.self)
      }
    }
  }
  return (text, encoder)
}

@Suite("gRPC-Web bodies of responses") struct EncoderTests {
  static let messages: [[UInt8]] = [
    [], [1], [1, 2], [1, 2, 3], Array(0...255), [], Array(repeating: 0xff, count: 1000), [0, 0, 0, 0, 9],
  ]

  @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8, 64, 5000], [4, 5, 7, 8, 64, 4096])
  func paddedAtTheEndOfEachMessage(size: Int, capacity: Int) {
    let expected = Self.messages.map { base64(message($0)) }.joined()
    let encoded = encode(Self.messages.flatMap(message), size: size, capacity: capacity)
    #expect(encoded.text == expected)
    #expect(encoded.encoder.isBetweenMessages)
  }

  @Test func nothingIsKeptBackBeyondTwoBytes() {
    let whole = message(Array(0..<100))
    for count in 1..<whole.count {
      let encoded = encode(Array(whole.prefix(count)), size: count, capacity: 4096)
      #expect(encoded.text == String(base64(whole).prefix(count / 3 * 4)))
      #expect(!encoded.encoder.isBetweenMessages)
    }
  }

  @Test(arguments: [1, 3, 5, 6, 1000]) func binaryIsFollowed(size: Int) {
    let bytes = Self.messages.flatMap(message)
    let ends = Set(Self.messages.indices.map { Self.messages[...$0].flatMap(message).count })
    var encoder = GRPCWebEncoder()
    for start in stride(from: 0, to: bytes.count, by: size) {
      let end = min(bytes.count, start + size)
      with(Array(bytes[start..<end])) { encoder.follow($0) }
      #expect(encoder.isBetweenMessages == ends.contains(end), "\(end)")
    }
  }

  @Test func theLongestMessageThatALengthCanName() {
    var encoder = GRPCWebEncoder()
    with([0, 255, 255, 255, 255, 1]) { encoder.follow($0) }
    #expect(!encoder.isBetweenMessages)
  }
}

@Suite("gRPC-Web trailers") struct TrailerFrameTests {
  private func frame(_ fields: [(String, String)], capacity: Int) -> [UInt8]? {
    var sound = true
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
      var frame = unsafe GRPCWebTrailerFrame(buffer.baseAddress.unsafelyUnwrapped, capacity: capacity)
      for (name, value) in fields { with(name) { name in with(value) { frame.line(name, $0) } } }
      sound = frame.isSound
      count = sound ? frame.end().count : 0
    }
    return sound ? bytes : nil
  }

  @Test func lines() {
    let text = "grpc-status: 13\r\ngrpc-message: a%20b\r\nx-empty: \r\n"
    let fields = [("grpc-status", "13"), ("Grpc-Message", "a%20b"), ("x-empty", "")]
    #expect(frame(fields, capacity: 100) == [0x80, 0, 0, 0, UInt8(text.utf8.count)] + Array(text.utf8))
    #expect(frame(fields, capacity: text.utf8.count + 5)?.count == text.utf8.count + 5)
    #expect(frame(fields, capacity: text.utf8.count + 4) == nil)
    #expect(frame([], capacity: 5) == [0x80, 0, 0, 0, 0])
  }

  @Test func longerThanALengthOfOneByte() {
    let value = String(repeating: "v", count: 70_000)
    #expect(frame([("a", value)], capacity: 80_000)?.prefix(5) == [0x80, 0, 1, 0x11, 0x75])
  }
}
