import HTTP2
import HTTPSemantics
import Testing

struct HostileInputTests {
  // MARK: Header blocks

  @Test(arguments: [1, 3, 64, Int.max])
  func blockOverManyFramesAndReceives(piece: Int) throws {
    let server = try Endpoint(server: true)
    var fields = Raw.get + [("cookie", "a=1")]
    for index in 0..<40 { fields.append(("x-field-\(index)", String(repeating: "v", count: index * 20))) }
    fields.append(("cookie", "b=2"))
    let block = Raw.block(fields)
    let cuts = [0, 1, 50, block.count / 2, block.count]
    var bytes = Raw.start
    for index in 0..<4 {
      let part = Array(block[cuts[index]..<cuts[index + 1]])
      bytes += Raw.frame(index == 0 ? 1 : 9, (index == 0 ? 1 : 0) | (index == 3 ? 4 : 0), 1, part)
    }
    #expect(server.receive(bytes + Raw.headers(3, Raw.get), piece: piece) == .ok)
    let head = try #require(server.events(.requestHead).first)
    #expect(head.fields.count == 41 && head.fields[0] == "cookie: a=1; b=2" && head.endStream)
    #expect(head.fields[40] == "x-field-39: " + String(repeating: "v", count: 780))
    #expect(server.events(.requestHead).map(\.stream) == [1, 3])
  }

  @Test(arguments: [1, Int.max])
  func headsBeyondTheLimitsGet431(piece: Int) throws {
    let tooMany = (0..<101).map { ("x-\($0)", "v") }
    let tooLong = (0..<9).map { ("x-\($0)", String(repeating: "v", count: 7000)) }
    let crumbs = (0..<480).map { _ in ("cookie", "") }
    for (fields, limit) in [
      (tooMany, HTTP2Limit.headerFields), (tooLong, .headerBytes), (crumbs, .headerFields),
    ] {
      let server = try Endpoint(server: true)
      let client = try Endpoint(server: false)
      _ = client.drain()
      _ = client.request("POST", end: false)
      _ = client.drain()
      client.receive(server.drain())
      let block = Raw.block(Raw.post + fields)
      var bytes = Raw.start
      var start = 0
      while start < block.count {
        let end = min(start + 16_000, block.count)
        bytes += Raw.frame(start == 0 ? 1 : 9, end == block.count ? 4 : 0, 1, Array(block[start..<end]))
        start = end
      }
      #expect(server.receive(bytes, piece: piece) == .ok)
      #expect(server.events(.requestHead).isEmpty && server.events(.streamClosed).isEmpty)
      #expect(server.events(.malformed).map(\.limit) == [limit])
      client.receive(server.drain())
      #expect(client.events(.responseHead).map(\.status) == [431])
      #expect(client.events(.reset).map(\.code) == [HTTP2ErrorCode.noError])
      // The connection goes on.
      server.receive(Raw.headers(3, Raw.get))
      #expect(server.events(.requestHead).map(\.stream) == [3])
    }
  }

  static let malformed: [(String, [(String, String)])] = [
    ("no path", [(":method", "GET"), (":scheme", "http"), (":authority", "a")]),
    ("no method", [(":scheme", "http"), (":authority", "a"), (":path", "/")]),
    ("two paths", Raw.get + [(":path", "/b")]),
    ("unknown pseudo-header", [(":x", "1")] + Raw.get),
    ("pseudo-header after a field", [(":method", "GET"), ("a", "b"), (":path", "/"), (":scheme", "http")]),
    ("response pseudo-header", Raw.get + [(":status", "200")]),
    ("upper case", Raw.get + [("Accept", "x")]),
    ("connection", Raw.get + [("connection", "close")]),
    ("keep-alive", Raw.get + [("keep-alive", "1")]),
    ("transfer-encoding", Raw.get + [("transfer-encoding", "chunked")]),
    ("upgrade", Raw.get + [("upgrade", "h2c")]),
    ("te", Raw.get + [("te", "gzip")]),
    ("space in a name", Raw.get + [("a b", "c")]),
    ("colon in a name", Raw.get + [("a:b", "c")]),
    ("line feed in a name", Raw.get + [("a\nb", "c")]),
    ("empty name", Raw.get + [("", "c")]),
    ("line feed in a value", Raw.get + [("a", "b\nc: d")]),
    ("carriage return in a value", Raw.get + [("a", "b\rc")]),
    ("NUL in a value", Raw.get + [("a", "b\0c")]),
    ("space in the path", [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/a b")]),
    (
      "line feed in the path",
      [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/\nb")]
    ),
    ("fragment", [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/a#b")]),
    ("relative path", [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "a")]),
    ("asterisk with GET", [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "*")]),
    ("empty path", [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "")]),
    ("method with a space", [(":method", "G T"), (":scheme", "http"), (":authority", "a"), (":path", "/")]),
    ("foreign scheme", [(":method", "GET"), (":scheme", "ftp"), (":authority", "a"), (":path", "/")]),
    ("user information", [(":method", "GET"), (":scheme", "http"), (":authority", "u@a"), (":path", "/")]),
    ("no authority", [(":method", "GET"), (":scheme", "http"), (":path", "/")]),
    ("host against authority", Raw.get + [("host", "other.example")]),
    ("two hosts", Raw.get + [("host", "example.com"), ("host", "example.com")]),
    ("content-length that is none", Raw.get + [("content-length", "x")]),
    ("two content-lengths", Raw.post + [("content-length", "0"), ("content-length", "0")]),
    ("content-length without a body", Raw.post + [("content-length", "5")]),
    ("trailing space in a value", Raw.get + [("a", "b ")]),
    ("content-length in disguise", Raw.get + [("content_length", "5")]),
    ("content-length in another disguise", Raw.post + [("content.length", "0")]),
    ("transfer-encoding in disguise", Raw.get + [("transfer_encoding", "chunked")]),
  ]

  @Test(arguments: malformed)
  func malformedRequestsAreResetAlone(name: String, fields: [(String, String)]) throws {
    let server = try Endpoint(server: true)
    #expect(server.receive(Raw.start + Raw.headers(1, fields) + Raw.headers(3, Raw.get)) == .ok)
    _ = server.drain()
    #expect(server.events(.malformed).map(\.code) == [HTTP2ErrorCode.protocolError], "\(name)")
    #expect(server.events(.requestHead).map(\.stream) == [3], "\(name)")
    #expect(server.frameNames("send", stream: 1) == ["RST_STREAM -"], "\(name)")
    #expect(server.events(.streamClosed).isEmpty)
  }

  static let bodies: [(String, String, [UInt8])] = [
    ("too long", "3", Raw.frame(0, 1, 1, [1, 2, 3, 4])),
    ("too short", "3", Raw.frame(0, 1, 1, [1])),
    ("too long without an end", "3", Raw.frame(0, 0, 1, [1, 2, 3, 4])),
    ("trailers too early", "3", Raw.frame(0, 0, 1, [1]) + Raw.headers(1, [("a", "b")])),
    ("pseudo-header in trailers", "1", Raw.frame(0, 0, 1, [1]) + Raw.headers(1, [(":path", "/")])),
    ("trailers that do not end", "1", Raw.frame(0, 0, 1, [1]) + Raw.headers(1, [("a", "b")], end: false)),
    ("host in trailers", "1", Raw.frame(0, 0, 1, [1]) + Raw.headers(1, [("host", "example.com")])),
    ("a length in disguise in trailers", "1", Raw.frame(0, 0, 1, [1]) + Raw.headers(1, [("content_length", "1")])),
  ]

  @Test(arguments: bodies)
  func malformedBodiesCloseOnce(name: String, length: String, frames: [UInt8]) throws {
    let server = try Endpoint(server: true)
    server.receive(Raw.start + Raw.headers(1, Raw.post + [("content-length", length)], end: false) + frames)
    server.receive(Raw.headers(3, Raw.get))
    _ = server.drain()
    #expect(server.events(.malformed).count == 1, "\(name)")
    #expect(server.events(.streamClosed).map(\.stream) == [1], "\(name)")
    #expect(server.events(.trailers).isEmpty)
    #expect(!server.seen.contains { $0.stream == 1 && $0.endStream }, "\(name)")
    #expect(server.events(.requestHead).map(\.stream) == [1, 3], "\(name)")
  }

  /// A length that comes with the trailers is true as often as not.
  @Test func contentLengthIsNoTrailer() throws {
    let server = try Endpoint(server: true)
    server.receive(
      Raw.start + Raw.headers(1, Raw.post, end: false) + Raw.frame(0, 0, 1, [1])
        + Raw.headers(1, [("content-length", "1")]))
    _ = server.drain()
    #expect(server.events(.malformed).map(\.code) == [HTTP2ErrorCode.protocolError])
    #expect(server.events(.trailers).isEmpty)
  }

  /// What the library finds and what we reset in the same turn: the fault is told of, once.
  @Test(arguments: [HTTP2ErrorCode.cancel, HTTP2ErrorCode.noError])
  func faultsAreToldWhenTheStreamIsResetAtOnce(code: UInt32) throws {
    let server = try Endpoint(server: true)
    server.handler = { server, event in
      guard event.kind == .requestHead else { return }
      server.session.reset(event.streamID, code)
    }
    server.receive(
      Raw.start + Raw.headers(1, Raw.post + [("content-length", "3")], end: false)
        + Raw.frame(0, 0, 1, [1, 2, 3, 4]))
    _ = server.drain()
    #expect(server.events(.malformed).map(\.stream) == [1])
    #expect(server.events(.streamClosed).map(\.stream) == [1])
    #expect(server.frameNames("send", stream: 1) == ["RST_STREAM -"])
  }

  @Test func resetsOfOursAreNoFaults() throws {
    let server = try Endpoint(server: true)
    server.receive(Raw.start + Raw.headers(1, Raw.post + [("content-length", "3")], end: false))
    server.session.reset(1, HTTP2ErrorCode.cancel)
    _ = server.drain()
    server.receive(Raw.frame(0, 0, 1, [1, 2, 3, 4]))
    _ = server.drain()
    #expect(server.events(.malformed).isEmpty)
  }

  @Test func connectHasNoPath() throws {
    let server = try Endpoint(server: true)
    server.receive(Raw.start + Raw.headers(1, [(":method", "CONNECT"), (":authority", "a:443")], end: false))
    #expect(server.events(.requestHead).count == 1)
    server.receive(
      Raw.headers(
        3, [(":method", "CONNECT"), (":protocol", "websocket"), (":authority", "a")] + [(":path", "/")]))
    #expect(server.events(.requestHead).count == 1, "extended CONNECT was not announced")
  }

  // MARK: Floods

  static let floods: [(HTTP2Limit, [UInt8], [UInt8])] = [
    (.pings, [], Raw.frame(6, 0, 0, [UInt8](repeating: 0, count: 8))),
    (.settings, [], Raw.settings),
    (.emptyData, Raw.headers(1, Raw.post, end: false), Raw.frame(0, 0, 1, [])),
    (.priorities, [], Raw.frame(2, 0, 1, [0, 0, 0, 0, 16])),
    (.windowUpdates, [], Raw.frame(8, 0, 0, Raw.word(1))),
  ]

  @Test(arguments: floods)
  func floodsEndTheConnection(limit: HTTP2Limit, start: [UInt8], frame: [UInt8]) throws {
    var limits = HTTP2Limits()
    limits.windowUpdates = HTTP2Rate(burst: 500, perSecond: 100)
    let server = try Endpoint(server: true, limits: limits)
    #expect(server.receive(Raw.start + start) == .ok)
    _ = server.drain()
    // What time forgives is no flood.
    var now: UInt64 = 0
    for _ in 0..<600 {
      now += 1000
      server.inbox.setNow(milliseconds: now)
      #expect(server.receive(frame) == .ok)
      _ = server.drain()
    }
    var result = HTTP2Result.ok
    var sent = 0
    while result == .ok && sent < 1000 {
      result = server.receive(frame)
      _ = server.drain()
      sent += 1
    }
    #expect(result == .fatal(errorCode: HTTP2ErrorCode.enhanceYourCalm, limit: limit))
    #expect(sent > 40)
    #expect(server.frameNames("send", stream: 0).last == "GOAWAY -")
    #expect(server.session.isFinished)
    #expect(server.receive(frame) == .fatal(errorCode: HTTP2ErrorCode.enhanceYourCalm, limit: limit))
  }

  @Test func rapidReset() throws {
    let server = try Endpoint(server: true)
    server.receive(Raw.start)
    var result = HTTP2Result.ok
    var stream: UInt32 = 1
    while result == .ok && stream < 10_000 {
      result = server.receive(Raw.headers(stream, Raw.get) + Raw.reset(stream))
      _ = server.drain()
      stream += 2
    }
    #expect(result == .fatal(errorCode: HTTP2ErrorCode.enhanceYourCalm, limit: .resetsReceived))
    #expect(stream / 2 == 1001)
  }

  /// Resets that a peer makes us send (CVE-2025-8671): a window update of 0 on an open stream.
  @Test func provokedResets() throws {
    let server = try Endpoint(server: true)
    server.receive(Raw.start)
    var result = HTTP2Result.ok
    var stream: UInt32 = 1
    while result == .ok && stream < 4000 {
      result = server.receive(Raw.headers(stream, Raw.post + [("connection", "x")], end: false))
      _ = server.drain()
      stream += 2
    }
    #expect(result == .fatal(errorCode: HTTP2ErrorCode.enhanceYourCalm, limit: .resetsSent))
    #expect(stream / 2 < 400)
  }

  @Test func ownResetsAreNotThePeersFault() throws {
    let server = try Endpoint(server: true)
    server.receive(Raw.start)
    for index in 0..<1000 {
      let id = UInt32(index * 2 + 1)
      #expect(server.receive(Raw.headers(id, Raw.get)) == .ok)
      server.session.reset(Int32(id), HTTP2ErrorCode.refusedStream)
      _ = server.drain()
    }
    #expect(server.events(.streamClosed).count == 1000)
  }

  @Test func continuationFlood() throws {
    let server = try Endpoint(server: true)
    server.receive(Raw.start + Raw.frame(1, 0, 1, Raw.block(Raw.get)))
    var result = HTTP2Result.ok
    var sent = 0
    while result == .ok && sent < 100 {
      result = server.receive(Raw.frame(9, 0, 1, []))
      sent += 1
    }
    #expect(result == .fatal(errorCode: HTTP2ErrorCode.enhanceYourCalm, limit: .continuations))
    #expect(sent == 9)
  }

  // MARK: The connection as a whole

  static let fatal: [(String, [UInt8], UInt32)] = [
    ("HTTP/1", Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8), HTTP2ErrorCode.protocolError),
    ("no SETTINGS first", Raw.preface + Raw.headers(1, Raw.get), HTTP2ErrorCode.protocolError),
    ("even stream", Raw.start + Raw.headers(2, Raw.get), HTTP2ErrorCode.protocolError),
    ("frame too large", Raw.start + [0, 0x50, 0, 0, 0, 0, 0, 0, 1], HTTP2ErrorCode.frameSizeError),
    (
      "HPACK index out of range", Raw.start + Raw.frame(1, 5, 1, [0xff, 0xff, 0x7f]),
      HTTP2ErrorCode.compressionError
    ),
    (
      "another frame inside a header block",
      Raw.start + Raw.frame(1, 0, 1, Raw.block(Raw.get)) + Raw.reset(1), HTTP2ErrorCode.protocolError
    ),
    (
      "window overflow", Raw.start + Raw.frame(8, 0, 0, Raw.word(0x7fff_ffff)),
      HTTP2ErrorCode.flowControlError
    ),
  ]

  @Test(arguments: fatal)
  func brokenConnectionsEndWithGoAway(name: String, bytes: [UInt8], code: UInt32) throws {
    let server = try Endpoint(server: true)
    server.receive(bytes)
    _ = server.drain()
    #expect(server.session.status == .fatal(errorCode: code, limit: .none), "\(name)")
    #expect(server.receive(Raw.settings) == server.session.status)
    #expect(server.frameNames("send", stream: 0).contains("GOAWAY -"), "\(name)")
    #expect(server.session.isFinished)
  }

  /// Damaged transcripts: any outcome but a trap, and every announced stream closes at most once.
  @Test func damagedInput() throws {
    var random = SplitMix(state: 20_260)
    for _ in 0..<1500 {
      var bytes = Raw.start
      for _ in 0..<8 {
        let stream = UInt32(random.next(10))
        switch random.next(6) {
        case 0:
          bytes += Raw.headers(
            stream | 1, Raw.post + [("cookie", "a"), ("cookie", "b")], end: random.next(2) == 0)
        case 1:
          bytes += Raw.frame(
            0, UInt8(random.next(2)), stream | 1, [UInt8](repeating: 7, count: random.next(300)))
        case 2: bytes += Raw.reset(stream | 1)
        case 3: bytes += Raw.headers(stream | 1, [("trailer-field", "x")])
        case 4: bytes += Raw.frame(UInt8(random.next(12)), UInt8(random.next(256)), stream, [1, 2, 3, 4])
        default: bytes += Raw.frame(1, 1, stream | 1, Raw.block(Raw.get)) + Raw.frame(9, 4, stream | 1, [])
        }
      }
      for _ in 0..<random.next(4) { bytes[random.next(bytes.count)] = UInt8(random.next(256)) }
      let server = try Endpoint(server: true)
      server.handler = { server, event in
        if event.kind == .requestHead { server.respond(event.streamID, 200) }
        if event.kind == .data { server.write(event.streamID, "answer", end: event.endStream) }
      }
      server.receive(bytes, piece: 1 + random.next(200))
      _ = server.drain()
      let closed = server.events(.streamClosed).map(\.stream)
      #expect(Set(closed).count == closed.count)
      #expect(Set(closed).isSubset(of: Set(server.events(.requestHead).map(\.stream))))
    }
  }
}

/// Reproducible numbers.
struct SplitMix {
  var state: UInt64

  mutating func next(_ bound: Int) -> Int {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return Int((mixed ^ mixed >> 31) % UInt64(max(1, bound)))
  }
}
