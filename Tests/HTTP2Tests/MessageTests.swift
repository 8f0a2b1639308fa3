import HTTP2
import HTTPSemantics
import Testing

/// Both sides in memory, whole and cut into pieces.
struct MessageTests {
  static let pieces = [1, 9, 1000, Int.max]

  @Test(arguments: pieces)
  func unary(piece: Int) throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    server.handler = { server, event in
      guard event.kind == .requestHead else { return }
      let head = unsafe event.requestHead.pointee
      #expect(head.method == .post)
      #expect(String(decoding: head.target) == "/a/b?c=d")
      #expect(String(decoding: head.path) == "/a/b")
      #expect(String(decoding: head.query) == "c=d")
      #expect(String(decoding: head.authority) == "Example.com:8080")
      #expect(String(decoding: head.host) == "Example.com")
      #expect(head.port == 8080)
      #expect(head.scheme == .http)
      #expect(head.contentLength == 5)
      #expect(head.isGRPC && head.hasTETrailers && !head.endStream)
      event.setTag(42)
      server.respond(event.streamID, 201, [("Content-Type", "text/plain"), ("X-Empty", "")])
      server.write(event.streamID, "wor")
      server.write(event.streamID, "ld", end: true)
    }
    let id = client.request(
      "POST", "/a/b?c=d", authority: "Example.com:8080",
      [
        ("Content-Length", "5"), ("Host", "other"), ("Content-Type", "application/grpc+proto"),
        ("TE", "trailers"),
        ("Connection", "close"), ("Keep-Alive", "1"), ("Proxy-Connection", "x"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"), ("X_Under-Score", "Value Kept"),
      ], end: false, tag: 9)
    #expect(id == 1)
    client.write(id, "hel")
    client.write(id, "lo", end: true)
    #expect(pump(client, server, piece: piece))

    #expect(
      server.seen.first { $0.kind == .requestHead }?.fields == [
        "content-length: 5", "content-type: application/grpc+proto", "x_under-score: Value Kept",
      ])
    #expect(server.body(id) == "hello")
    #expect(server.seen.last { $0.kind == .data || $0.kind == .endStream }?.endStream == true)
    let response = try #require(client.events(.responseHead).first)
    #expect(response.status == 201 && response.tag == 9)
    #expect(response.fields == ["content-type: text/plain", "x-empty: "])
    #expect(client.body(id) == "world")
    for side in [client, server] {
      let closed = side.events(.streamClosed)
      #expect(closed.count == 1 && closed[0].code == 0 && closed[0].stream == id)
      #expect(side.session.activeStreams == 0)
      #expect(side.events(.malformed).isEmpty)
    }
    #expect(server.events(.streamClosed)[0].tag == 42)
    #expect(client.events(.streamClosed)[0].tag == 9)
  }

  @Test func writesOfOneTurnShareAFrame() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request("POST", end: false)
    for _ in 0..<100 { client.write(id, "0123456789") }
    client.write(id, "", end: true)
    pump(client, server)
    #expect(client.frameNames("send", stream: id) == ["HEADERS END_HEADERS", "DATA END_STREAM"])
    #expect(server.body(id).utf8.count == 1000)
  }

  @Test func headsWithoutBodyAreOneFrame() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    server.handler = { server, event in
      if event.kind == .requestHead {
        #expect(event.endStream)
        server.respond(
          event.streamID, 200, [("grpc-status", "12"), ("content-type", "application/grpc")], end: true)
      }
    }
    let id = client.request()
    pump(client, server)
    #expect(client.frameNames("send", stream: id) == ["HEADERS END_STREAM|END_HEADERS"])
    #expect(server.frameNames("send", stream: id) == ["HEADERS END_STREAM|END_HEADERS"])
    let response = try #require(client.events(.responseHead).first)
    #expect(response.endStream && response.fields.contains("grpc-status: 12"))
    #expect(client.kinds(id) == [.responseHead, .streamClosed])
  }

  /// Trailers that are known before anything went out, while data waits, and after the data went out.
  @Test(arguments: [0, 1, 2], pieces)
  func responseTrailers(moment: Int, piece: Int) throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request()
    pump(client, server, piece: piece)
    server.respond(id, 200, [("content-type", "application/grpc")])
    if moment == 2 { pump(client, server, piece: piece) }
    server.write(id, "message")
    if moment > 0 { pump(client, server, piece: piece) }
    #expect(
      server.trailers(id, [("Grpc-Status", "0"), ("Transfer-Encoding", "chunked"), ("grpc-message", "fine")]))
    #expect(!server.write(id, "late"))
    pump(client, server, piece: piece)
    #expect(
      server.frameNames("send", stream: id) == [
        "HEADERS END_HEADERS", "DATA -", "HEADERS END_STREAM|END_HEADERS",
      ])
    let trailers = try #require(client.events(.trailers).first)
    #expect(trailers.fields == ["grpc-status: 0", "grpc-message: fine"] && trailers.endStream)
    #expect(client.body(id) == "message")
    #expect(client.events(.streamClosed).map(\.code) == [0])
    #expect(server.events(.streamClosed).map(\.code) == [0])
  }

  @Test func trailersWithoutData() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request()
    pump(client, server)
    server.respond(id)
    server.trailers(id, [("grpc-status", "5")])
    pump(client, server)
    #expect(client.events(.trailers).first?.fields == ["grpc-status: 5"])
    #expect(client.events(.streamClosed).map(\.code) == [0])
  }

  @Test func requestTrailers() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request("POST", end: false)
    client.write(id, "abc")
    client.trailers(id, [("x-checksum", "1")])
    pump(client, server)
    #expect(server.kinds(id) == [.requestHead, .data, .trailers])
    #expect(server.events(.trailers).first?.fields == ["x-checksum: 1"])
    server.respond(id, 204, [], end: true)
    pump(client, server)
    #expect(client.kinds(id) == [.responseHead, .streamClosed])
  }

  /// As HTTP/1.1 does it (RFC 9110 section 6.5.1). Those of a response may be gRPC's.
  @Test func requestTrailersThatMayBeNone() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let fields = [("authorization", "x"), ("x-forwarded-for", "1.2.3.4"), ("x_forwarded_for", "1.2.3.4"), ("a", "b")]
    let id = client.request("POST", end: false)
    client.trailers(id, fields)
    pump(client, server)
    #expect(server.events(.trailers).first?.fields == ["a: b"])
    server.respond(id)
    server.trailers(id, fields)
    pump(client, server)
    #expect(
      client.events(.trailers).first?.fields == ["authorization: x", "x-forwarded-for: 1.2.3.4", "a: b"])
  }

  static let disguises: [(String, isDropped: Bool)] = [
    ("x_forwarded_for", true), ("x-forwarded.for", true), ("x_forwarded-anything-else", true), ("x_real_ip", true),
    ("keep_alive", true), ("proxy_connection", true), ("http2~settings", true), ("x_", false), ("_", false),
    ("x_real_ip_", false), ("a-name-that-is-longer_than-sixteen-bytes", false), ("x-16-bytes-long_", false),
    ("x-fourteen-odd", false), ("!#$%&'*+-.^_`|~", false), ("content_lengths", false),
  ]

  @Test(arguments: disguises)
  func namesThatLookLikeOthers(name: String, isDropped: Bool) throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request("GET", "/", authority: "a", [(name, "1"), ("x", "y")])
    pump(client, server)
    let wanted = isDropped ? ["x: y"] : ["\(name): 1", "x: y"]
    #expect(server.events(.requestHead).first?.fields == wanted)
    server.fields([(name, "1")]) { _ = server.session.submitInformational(id, status: 103, fields: $0) }
    server.respond(id, 200, [(name, "1"), ("x", "y")], end: true)
    pump(client, server)
    #expect(client.events(.informational).first?.fields == (isDropped ? [] : ["\(name): 1"]))
    #expect(client.events(.responseHead).first?.fields == wanted)
  }

  @Test(arguments: [103, 200] as [UInt16])
  func responsesInDisguise(status: UInt16) throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request()
    pump(client, server)
    if status == 103 {
      server.fields([("transfer_encoding", "chunked")]) {
        _ = server.session.submitInformational(id, status: status, fields: $0)
      }
    } else {
      server.respond(id, status, [("content_length", "5")])
    }
    pump(client, server)
    #expect(client.kinds(id) == [.malformed, .streamClosed])
    #expect(server.events(.reset).map(\.code) == [HTTP2ErrorCode.protocolError])
  }

  @Test func emptyTrailersEndTheStream() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request("POST", end: false)
    client.write(id, "abc")
    client.trailers(id, [])
    pump(client, server)
    #expect(server.body(id) == "abc" && server.events(.data).last?.endStream == true)
  }

  @Test func interimResponses() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request("POST", end: false)
    pump(client, server)
    server.fields([]) { _ = server.session.submitInformational(id, status: 100, fields: $0) }
    server.fields([("link", "</x>")]) { _ = server.session.submitInformational(id, status: 103, fields: $0) }
    pump(client, server)
    client.write(id, "x", end: true)
    server.respond(id, 200, [], end: true)
    pump(client, server)
    #expect(client.events(.informational).map(\.status) == [100, 103])
    #expect(client.events(.informational).last?.fields == ["link: </x>"])
    #expect(client.events(.responseHead).map(\.status) == [200])
  }

  @Test func bothSidesTalkInTurn() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request("POST", end: false)
    pump(client, server)
    server.respond(id)
    for round in 0..<50 {
      client.write(id, "q\(round);")
      pump(client, server)
      #expect(server.seen.last?.data == Array("q\(round);".utf8))
      server.write(id, "a\(round);")
      pump(client, server)
      #expect(client.seen.last?.data == Array("a\(round);".utf8))
    }
    client.write(id, "", end: true)
    pump(client, server)
    #expect(server.seen.last?.kind == .endStream)
    server.trailers(id, [("grpc-status", "0")])
    pump(client, server)
    #expect(client.kinds(id).suffix(2) == [.trailers, .streamClosed])
  }

  @Test func cookieCrumbsAreJoined() throws {
    let server = try Endpoint(server: true)
    let fields =
      Raw.get + [
        ("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("x", "y"), ("cookie", "c=3"),
        ("host", "EXAMPLE.com"),
      ]
    server.receive(Raw.start + Raw.headers(1, fields))
    #expect(server.events(.requestHead).first?.fields == ["cookie: a=1; b=2; c=3", "accept: */*", "x: y"])
  }

  @Test func fieldsLieAsLinesInMemory() throws {
    let server = try Endpoint(server: true)
    var run = ""
    server.handler = { _, event in
      guard event.kind == .requestHead else { return }
      let table = unsafe event.requestHead.pointee.fields
      let first = table[0]
      let last = table[table.count - 1]
      let count = unsafe last.value + Int(last.valueLength) + 2 - first.name
      #expect(first.flags & HeaderField.lineFlag != 0)
      run = unsafe String(decoding: Bytes(start: first.name, count: count))
    }
    server.receive(Raw.start + Raw.headers(1, Raw.get + [("accept", "*/*"), ("user-agent", "t")]))
    #expect(run == "accept: */*\r\nuser-agent: t\r\n")
  }

  @Test func tagReachesEventsThatWaitAlready() throws {
    let server = try Endpoint(server: true)
    server.handler = { _, event in if event.kind == .requestHead { event.setTag(5) } }
    server.receive(
      Raw.start + Raw.headers(1, Raw.post, end: false) + Raw.frame(0, 0, 1, [1, 2]) + Raw.reset(1))
    #expect(server.kinds(1) == [.requestHead, .data, .reset, .streamClosed])
    #expect(server.seen.filter { $0.stream == 1 }.map(\.tag) == [5, 5, 5, 5])
    #expect(server.events(.streamClosed).first?.code == HTTP2ErrorCode.cancel)
    #expect(!server.respond(1, end: true))
  }

  @Test func responseHeadSaysWhatFollows() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    client.handler = { _, event in
      guard event.kind == .responseHead else { return }
      let head = unsafe event.responseHead.pointee
      #expect(head.contentLength == 4 && head.isGRPC && !head.endStream && !head.isChunked)
    }
    let id = client.request()
    pump(client, server)
    server.respond(id, 200, [("content-length", "4"), ("content-type", "application/grpc")])
    server.write(id, "abcd", end: true)
    pump(client, server)
    #expect(client.body(id) == "abcd")
  }

  @Test func hostStandsInForAuthority() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    server.handler = { _, event in
      guard event.kind == .requestHead else { return }
      #expect(unsafe String(decoding: event.requestHead.pointee.authority) == "named.example")
      #expect(unsafe lines(event.requestHead.pointee.fields) == [])
    }
    client.request("GET", "/", authority: "", [("Host", "named.example")])
    pump(client, server)
    #expect(server.events(.requestHead).count == 1)
  }
}
