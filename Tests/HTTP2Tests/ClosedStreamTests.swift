import HTTP2
import Testing

/// RFC 9113 section 5.1: what may still come for a stream that is gone.
struct ClosedStreamTests {
  static func data(_ stream: UInt32) -> [UInt8] { Raw.frame(0, 0, stream, [1, 2, 3]) }

  static let broken: [(String, [UInt8], UInt32)] = [
    ("DATA behind a reset", Raw.reset(1) + data(1), HTTP2ErrorCode.streamClosed),
    ("HEADERS behind a reset", Raw.reset(1) + Raw.headers(1, Raw.get), HTTP2ErrorCode.streamClosed),
    ("DATA behind a reset and another request", Raw.reset(1) + Raw.headers(3, Raw.get) + data(1), 5),
    ("a stream that was passed over", Raw.headers(7, Raw.get) + Raw.headers(5, Raw.get), HTTP2ErrorCode.protocolError),
    ("DATA on a stream that was passed over", Raw.headers(7, Raw.get) + data(3), HTTP2ErrorCode.protocolError),
  ]

  @Test(arguments: broken, [1, 2, 7, 12, Int.max])
  func whatTheRulesForbidEndsTheConnection(_ entry: (name: String, bytes: [UInt8], code: UInt32), piece: Int) throws {
    let server = try Endpoint(server: true)
    let result = server.receive(Raw.start + Raw.headers(1, Raw.post, end: false) + entry.bytes, piece: piece)
    // What comes in one read with the HEADERS that close a lower stream is seen before them, and dropped.
    if entry.name.hasSuffix("that was passed over"), result == .ok {
      #expect(server.events(.data).isEmpty && piece > 12)
      return
    }
    #expect(result == .fatal(errorCode: entry.code, limit: .none), "\(entry.name)")
    #expect(server.events(.data).isEmpty)
  }

  @Test(arguments: [1, 5, Int.max])
  func whatWasOnItsWayIsPassedOver(piece: Int) throws {
    let server = try Endpoint(server: true)
    var bytes = Raw.start
    for stream in stride(from: UInt32(1), to: 200, by: 2) { bytes += Raw.headers(stream, Raw.post, end: false) }
    #expect(server.receive(bytes, piece: piece) == .ok)
    for stream in stride(from: Int32(1), to: 200, by: 2) { server.session.reset(stream, HTTP2ErrorCode.cancel) }
    _ = server.drain()
    bytes = []
    // A hundred at once: more than are remembered one by one.
    for stream in stride(from: UInt32(1), to: 200, by: 2) {
      bytes += Self.data(stream) + Raw.headers(stream, [("x-trailer", "1")])
    }
    #expect(server.receive(bytes, piece: piece) == .ok)
    #expect(server.events(.data).isEmpty && server.events(.trailers).isEmpty)
    server.receive(Raw.headers(201, Raw.get))
    #expect(server.events(.requestHead).last?.stream == 201)
  }

  @Test func framesBehindAResetOfOursThatHasNotGoneOut() throws {
    let server = try Endpoint(server: true)
    server.receive(Raw.start + Raw.headers(1, Raw.post, end: false))
    server.session.reset(1, HTTP2ErrorCode.cancel)
    #expect(server.receive(Self.data(1)) == .ok)
    _ = server.drain()
    #expect(server.receive(Self.data(1)) == .ok)
    #expect(server.events(.data).isEmpty)
  }

  @Test func aStreamThatBothHaveEnded() throws {
    let server = try Endpoint(server: true)
    server.receive(Raw.start + Raw.headers(1, Raw.get))
    server.respond(1, end: true)
    _ = server.drain()
    #expect(server.receive(Self.data(1)) == .fatal(errorCode: HTTP2ErrorCode.streamClosed, limit: .none))
  }

  @Test func streamsOfAClientThatMayNotKnowOfTheGoAway() throws {
    let server = try Endpoint(server: true)
    server.receive(Raw.start + Raw.headers(1, Raw.post, end: false))
    server.session.goAway(graceful: false)
    _ = server.drain()
    #expect(server.receive(Raw.headers(3, Raw.post, end: false) + Self.data(3) + Self.data(1)) == .ok)
    #expect(server.events(.data).map(\.stream) == [1])
  }

  @Test func theStreamAheadOfTheOneThatIsRefused() throws {
    var limits = HTTP2Limits()
    limits.maxConcurrentStreams = 1
    let server = try Endpoint(server: true, limits: limits)
    // The limit is not acknowledged yet, so that the second stream is refused and its DATA passed over.
    let both = Raw.headers(1, Raw.post, end: false) + Raw.headers(3, Raw.post, end: false)
    #expect(server.receive(Raw.start + both + Self.data(3) + Self.data(1)) == .ok)
    #expect(server.events(.data).map(\.stream) == [1])
    #expect(server.receive(Self.data(3)) == .ok)
  }

  @Test func aBackendThatGoesOnBehindTheEnd() throws {
    let client = try Endpoint(server: false)
    _ = client.drain()
    _ = client.request()
    _ = client.drain()
    let head = Raw.headers(1, [(":status", "200")])
    #expect(client.receive(Raw.settings + head) == .ok)
    #expect(client.receive(Self.data(1)) == .fatal(errorCode: HTTP2ErrorCode.streamClosed, limit: .none))
  }
}
