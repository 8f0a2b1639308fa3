import HTTPSemantics
import TLS
import Testing

private let limit = 16 * 1024

/// A peek as ordinary values.
private enum Peek: Equatable {
  case needMore(Int)
  case complete(name: String, protocols: [UInt8])
  case invalid(ClientHelloError)
}

private func peek(_ bytes: [UInt8], limit: Int = limit) -> Peek {
  // Exactly sized, so that AddressSanitizer sees a read behind the end.
  let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, bytes.count))
  let scratch = UnsafeMutablePointer<UInt8>.allocate(capacity: limit)
  defer {
    unsafe copy.deallocate()
    unsafe scratch.deallocate()
  }
  unsafe copy.update(from: bytes, count: bytes.count)
  switch unsafe peekClientHello(Bytes(start: copy, count: bytes.count), limit: limit, scratch: scratch) {
  case .needMore(let count): return .needMore(count)
  case .invalid(let error): return .invalid(error)
  case .complete(let hello):
    let protocols = unsafe Array(
      UnsafeBufferPointer(start: hello.protocols.start, count: hello.protocols.count))
    return .complete(name: String(decoding: hello.serverName), protocols: protocols)
  }
}

private func vector(_ bytes: [UInt8], _ size: Int = 2) -> [UInt8] {
  (size == 3 ? [UInt8(bytes.count >> 16)] : []) + (size > 1 ? [UInt8(bytes.count >> 8 & 255)] : [])
    + [UInt8(bytes.count & 255)] + bytes
}

private func serverName(_ name: String, type: UInt8 = 0) -> [UInt8] {
  [0, 0] + vector(vector([type] + vector(Array(name.utf8))))
}

private func alpn(_ names: [String]) -> [UInt8] {
  [0, 16] + vector(vector(names.flatMap { vector(Array($0.utf8), 1) }))
}

/// A handshake message by hand.
private func message(
  _ extensions: [UInt8]?, version: [UInt8] = [3, 3], session: [UInt8] = [], suites: [UInt8] = [0x13, 1],
  compression: [UInt8] = [0], type: UInt8 = 1, tail: [UInt8] = []
) -> [UInt8] {
  var body = version + [UInt8](repeating: 7, count: 32) + vector(session, 1) + vector(suites)
  body += vector(compression, 1)
  if let extensions { body += vector(extensions) }
  return [type] + vector(body + tail, 3)
}

private func records(_ message: [UInt8], piece: Int = 16_384, version: [UInt8] = [3, 1]) -> [UInt8] {
  var all: [UInt8] = []
  var start = 0
  while start < message.count {
    let end = min(start + piece, message.count)
    all += [22] + version + vector(Array(message[start..<end]))
    start = end
  }
  return all
}

private let padding: [UInt8] = [0, 21] + vector([UInt8](repeating: 0, count: 3000))
private let whole = message(serverName("a.example.com") + padding + alpn(["h2", "http/1.1"]), session: [1, 2, 3])
private let wholeAnswer = Peek.complete(
  name: "a.example.com", protocols: vector(Array("h2".utf8), 1) + vector(Array("http/1.1".utf8), 1))

private typealias Case = (bytes: [UInt8], answer: Peek)

private let valid: [Case] = [
  (records(whole), wholeAnswer),
  (records(message(nil)), .complete(name: "", protocols: [])),
  (records(message([])), .complete(name: "", protocols: [])),
  (records(message(alpn(["x"]))), .complete(name: "", protocols: [1, 120])),
  (records(message(serverName("A-1_b.EXAMPLE."), version: [3, 1])), .complete(name: "A-1_b.EXAMPLE.", protocols: [])),
  (
    records(message(serverName(String(repeating: "a", count: 253))), version: [3, 3]),
    .complete(name: String(repeating: "a", count: 253), protocols: [])
  ),
  (records(message(serverName("x"), session: [UInt8](repeating: 1, count: 32))), .complete(name: "x", protocols: [])),
]

private func refused(_ bytes: [UInt8], _ error: ClientHelloError) -> Case { (bytes, .invalid(error)) }

private let invalid: [Case] = [
  refused(Array("GET / HTTP/1.1\r\n".utf8), .notTLS),
  refused([0x80, 0x2e, 1, 3, 1], .notTLS),
  refused([23, 3, 3, 0, 1, 0], .notTLS),
  refused([22, 2], .recordVersion),
  refused([22, 3, 1, 0, 0], .recordLength),
  refused([22, 3, 1, 0x40, 1], .recordLength),
  refused([22, 3, 1, 0x40, 0], .tooLong),
  refused(records(message(nil, type: 2)), .message),
  refused([22, 3, 1, 0, 1, 0], .message),
  refused([22, 3, 1, 0, 4, 1, 0x00, 0x40, 0x01], .tooLong),
  refused([22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff], .tooLong),
  refused(records(message(nil) + [1]), .trailingBytes),
  refused(Array(records(whole, piece: 100).prefix(105)) + [21, 3, 1, 0, 2, 2, 0], .recordType),
  refused(Array(records(whole, piece: 100).prefix(105)) + [22, 3, 1, 0, 0], .recordLength),
  refused(records(message(nil, version: [3, 0])), .version),
  refused(records(message(nil, version: [2, 0])), .version),
  refused(records([1] + vector([3], 3)), .version),
  refused(records([1] + vector([3, 3, 1], 3)), .sessionID),
  refused(records(message(nil, session: [UInt8](repeating: 1, count: 33))), .sessionID),
  refused(records(message(nil, suites: [])), .cipherSuites),
  refused(records(message(nil, suites: [1, 2, 3])), .cipherSuites),
  refused(records(message(nil, compression: [])), .compression),
  refused(records(message(nil, tail: [0])), .extensions),
  refused(records(message([], tail: [0])), .extensions),
  refused(records(message([0])), .extensions),
  refused(records(message([0, 9, 0, 1])), .extensions),
  refused(records(message([0, 0, 0, 0])), .serverName),
  refused(records(message(serverName(""))), .serverName),
  refused(records(message(serverName("a", type: 1))), .serverName),
  refused(records(message(serverName("a") + serverName("b"))), .serverName),
  refused(records(message(serverName(".a"))), .serverName),
  refused(records(message(serverName("a\0b"))), .serverName),
  refused(records(message(serverName("a:443"))), .serverName),
  refused(records(message(serverName("*.example.com"))), .serverName),
  refused(records(message(serverName(String(repeating: "a", count: 254)))), .serverName),
  refused(records(message([0, 0] + vector(vector([0] + vector([97]) + [0] + vector([98]))))), .serverName),
  refused(records(message([0, 0] + vector(vector([0] + vector([97])) + [1]))), .serverName),
  refused(records(message(alpn([]))), .protocols),
  refused(records(message(alpn([""]))), .protocols),
  refused(records(message(alpn(["h2"]) + alpn(["h2"]))), .protocols),
  refused(records(message([0, 16] + vector(vector([3, 104, 50])))), .protocols),
]

struct ClientHelloTests {
  @Test(arguments: valid.indices)
  func theNameIsFoundHoweverTheMessageComes(index: Int) {
    let (bytes, answer) = valid[index]
    #expect(peek(bytes) == answer)
    #expect(peek(bytes + [20, 3, 3, 0, 1, 1]) == answer)
    expectGrowing(bytes, answer)
  }

  @Test(arguments: [1, 2, 3, 4, 5, 99, 1000, 4000])
  func aMessageMayComeInManyRecords(piece: Int) {
    let bytes = records(whole, piece: piece)
    let room = limit + 16 * 1024
    #expect(peek(bytes, limit: room) == wholeAnswer)
    #expect(peek(bytes + [20, 3, 3], limit: room) == wholeAnswer)
    if piece >= 99 { expectGrowing(bytes, wholeAnswer) }
  }

  /// Every beginning asks for more, and never for less than what would be enough.
  private func expectGrowing(_ bytes: [UInt8], _ answer: Peek) {
    for end in 0..<bytes.count {
      guard case .needMore(let least) = peek(Array(bytes[..<end])) else {
        Issue.record("\(end) of \(bytes.count) bytes are enough")
        return
      }
      #expect(least > end && least <= bytes.count)
    }
  }

  @Test(arguments: invalid.indices)
  func aMalformedMessageIsRefused(index: Int) {
    let (bytes, answer) = invalid[index]
    #expect(peek(bytes) == answer, "case \(index)")
    for end in 0..<bytes.count {
      switch peek(Array(bytes[..<end])) {
      case .needMore: break
      case let other: #expect(other == answer, "case \(index), \(end) bytes")
      }
    }
  }

  @Test func everyErrorIsInTheTable() {
    let seen = invalid.compactMap { if case .invalid(let error) = $0.answer { error } else { nil } }
    #expect(Set(seen) == Set(ClientHelloError.allCases))
  }

  @Test func theLimitIsOfTheRecords() {
    let bytes = records(whole)
    #expect(peek(bytes, limit: bytes.count) == wholeAnswer)
    #expect(peek(bytes, limit: bytes.count - 1) == .invalid(.tooLong))
    // One byte a record: six times as long.
    #expect(peek(records(whole, piece: 1)) == .invalid(.tooLong))
  }

  @Test func theLibrarysOwnMessageIsRead() throws {
    let client = try End(connect: TLSClient(verification: .off), name: "www.example.com")
    client.readAll()
    guard case .complete(let name, _) = peek(client.output()) else {
      Issue.record("not read")
      return
    }
    #expect(name == "www.example.com")
  }

  @Test func mutatedMessagesNeverTrap() {
    var state: UInt64 = 5
    func random() -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state
    }
    let small = message(serverName("a.example.com") + alpn(["h2"]), session: [1, 2, 3])
    for round in 0..<20_000 {
      var bytes = records(small, piece: round % 3 == 0 ? 40 : 16_384)
      for _ in 0...Int(random() % 4) {
        let place = Int(random() % UInt64(bytes.count))
        switch random() % 4 {
        case 0: bytes[place] = UInt8(truncatingIfNeeded: random())
        case 1: bytes.insert(UInt8(truncatingIfNeeded: random()), at: place)
        case 2 where bytes.count > 1: bytes.remove(at: place)
        default: bytes[place] ^= 1 << UInt8(random() % 8)
        }
      }
      let all = peek(bytes)
      let part = peek(Array(bytes.prefix(Int(random() % UInt64(bytes.count + 1)))))
      if case .needMore = part { continue }
      #expect(part == all)
    }
  }
}
