import HTTP2
import HTTPSemantics
import Testing

struct ConnectionTests {
  // MARK: Resets

  @Test(arguments: [true, false])
  func resetDropsTheQueue(byClient: Bool) throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request("POST", end: false)
    pump(client, server)
    server.respond(id)
    pump(client, server)
    let (sender, receiver) = byClient ? (client, server) : (server, client)
    sender.write(id, String(repeating: "x", count: 40_000))
    #expect(sender.session.queuedBytes(id) == 40_000)
    sender.session.reset(id, HTTP2ErrorCode.cancel)
    #expect(sender.session.totalQueuedBytes == 0)
    sender.session.reset(id, HTTP2ErrorCode.internalError)
    pump(client, server)
    #expect(receiver.body(id).isEmpty)
    #expect(receiver.events(.reset).map(\.code) == [HTTP2ErrorCode.cancel])
    #expect(receiver.events(.streamClosed).map(\.code) == [HTTP2ErrorCode.cancel])
    #expect(sender.events(.streamClosed).map(\.code) == [HTTP2ErrorCode.cancel])
    #expect(!sender.write(id, "late") && sender.session.queuedBytes(id) == 0)
  }

  @Test func earlyAnswerThenReset() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request("POST", end: false)
    client.write(id, "part")
    pump(client, server)
    server.respond(id, 413)
    server.write(id, "too much", end: true)
    server.session.resetAfterEnd(id, HTTP2ErrorCode.noError)
    pump(client, server)
    #expect(client.body(id) == "too much")
    #expect(client.kinds(id).suffix(2) == [.reset, .streamClosed])
    #expect(client.events(.reset).map(\.code) == [HTTP2ErrorCode.noError])
    #expect(server.events(.streamClosed).count == 1)
  }

  @Test func resetAfterEndDoesNothingOnceThePeerHasEnded() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request()
    pump(client, server)
    server.respond(id, 200, [], end: true)
    server.session.resetAfterEnd(id, HTTP2ErrorCode.noError)
    pump(client, server)
    #expect(client.kinds(id) == [.responseHead, .streamClosed])
  }

  // MARK: Flow control

  /// 17 MiB through windows of 1 KiB and of 64 KiB, in bounded memory.
  @Test(arguments: [(1024, 4096), (65_536, 1 << 20)], [true, false])
  func largeBodies(windows: (stream: Int, connection: Int), upload: Bool) throws {
    var limits = HTTP2Limits()
    limits.streamWindow = UInt32(windows.stream)
    limits.connectionWindow = UInt32(max(65_535, windows.connection))
    limits.windowUpdates = HTTP2Rate(burst: .max, perSecond: 0)
    let client = try Endpoint(server: false, limits: limits)
    let server = try Endpoint(server: true, limits: limits)
    client.capacity = 32_768
    let id = client.request("POST", end: false)
    pump(client, server)
    server.respond(id)
    let (sender, receiver) = upload ? (client, server) : (server, client)
    receiver.keepsData = false
    let total = 17 << 20
    let block = String(repeating: "b", count: 50_000)
    var written = 0
    var largestQueue = 0
    while written < total || sender.session.totalQueuedBytes > 0 {
      while written < total && sender.session.queuedBytes(id) < 65_536 {
        let count = min(50_000, total - written)
        sender.write(id, count == 50_000 ? block : String(block.prefix(count)), end: written + count == total)
        written += count
      }
      largestQueue = max(largestQueue, sender.session.totalQueuedBytes)
      let before = receiver.received
      pump(client, server, rounds: 20)
      try #require(receiver.received > before || sender.session.totalQueuedBytes == 0)
    }
    #expect(receiver.received == total)
    #expect(largestQueue < 65_536 + 50_000)
    #expect(!sender.events(.writable).isEmpty)
  }

  @Test func nothingBeyondTheWindowUntilConsumed() throws {
    var limits = HTTP2Limits()
    limits.streamWindow = 1000
    let client = try Endpoint(server: false, limits: limits)
    let server = try Endpoint(server: true, limits: limits)
    server.consumes = false
    let id = client.request("POST", end: false)
    pump(client, server)
    client.write(id, String(repeating: "x", count: 5000), end: true)
    pump(client, server)
    #expect(server.received == 1000)
    #expect(client.session.queuedBytes(id) == 4000)
    #expect(!client.session.wantsWrite)
    server.session.consume(id, 600)
    pump(client, server)
    #expect(server.received == 1600)
    server.session.consume(id, 1 << 30)
    pump(client, server)
    #expect(server.received == 2600)
  }

  @Test(arguments: [(most: 1000, expected: 1000), (3000, 3000), (64_000, 8000)])
  func theWindowGrowsWhileMuchIsTaken(most: Int, expected: Int) throws {
    var limits = HTTP2Limits()
    limits.streamWindow = 1000
    limits.maxStreamWindow = UInt32(most)
    let client = try Endpoint(server: false, limits: limits)
    let server = try Endpoint(server: true, limits: limits)
    let id = client.request("POST", end: false)
    // The client has to know the window before it sends.
    pump(client, server)
    // Four windows of 1000, of 2000 and of 4000 bytes, and not quite four of 8000.
    client.write(id, String(repeating: "x", count: 30_000))
    pump(client, server)
    #expect(server.received == 30_000)
    server.consumes = false
    client.write(id, String(repeating: "y", count: 70_000), end: true)
    pump(client, server)
    // Half a window may not have been announced yet.
    let further = server.received - 30_000
    #expect(further >= expected / 2 && further <= expected, "\(further)")
  }

  /// DATA frames of one stream that follow each other are one event, whatever their padding; those of another stream
  /// in between part them. In pieces of any size the bodies are the same.
  @Test(arguments: [Int.max, 1, 7, 40]) func dataThatFollowsIsJoined(piece: Int) throws {
    let server = try Endpoint(server: true)
    let padded: UInt8 = 0x8
    #expect(
      server.receive(Raw.start + Raw.headers(1, Raw.get, end: false) + Raw.headers(3, Raw.get, end: false)) == .ok)
    let frames =
      Raw.frame(0, 0, 1, Array("one ".utf8)) + Raw.frame(0, padded, 1, [3] + Array("two ".utf8) + [0, 0, 0])
      + Raw.frame(0, padded, 1, [255] + Array("three ".utf8) + [UInt8](repeating: 0, count: 255))
      + Raw.frame(0, 0, 3, Array("other ".utf8)) + Raw.frame(0, 0, 1, Array("four".utf8))
      + Raw.frame(0, 1, 3, Array("stream".utf8))
    #expect(server.receive(frames, piece: piece) == .ok)
    #expect(server.body(1) == "one two three four" && server.body(3) == "other stream")
    #expect(server.events(.data).last?.endStream == true || server.events(.endStream).map(\.stream) == [3])
    if piece == .max { #expect(server.events(.data).map(\.stream) == [1, 3, 1, 3]) }
  }

  /// One stream's data goes out after the other's; one that goes away in between takes no other along.
  @Test(arguments: 0..<5) func streamsWithDataTakeTurns(broken: Int) throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let ids = (0..<5).map { _ in client.request("POST", end: false) }
    pump(client, server)
    for id in ids { client.write(id, "first of \(id)") }
    client.session.reset(ids[broken], HTTP2ErrorCode.cancel)
    pump(client, server)
    for id in ids where id != ids[broken] {
      #expect(server.body(id) == "first of \(id)")
      client.write(id, ", second", end: true)
    }
    pump(client, server)
    for (index, id) in ids.enumerated() {
      #expect(server.body(id) == (index == broken ? "" : "first of \(id), second"))
    }
    #expect(server.events(.endStream).count + server.events(.data).filter(\.endStream).count >= 4)
  }

  /// Bytes of a stream that nobody read must not be lost to the connection's window.
  @Test func closingGivesTheConnectionWindowBack() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    server.consumes = false
    let body = String(repeating: "x", count: 60_000)
    for _ in 0..<40 {
      let id = client.request("POST", end: false)
      client.write(id, body)
      pump(client, server)
      server.session.reset(id, HTTP2ErrorCode.cancel)
      pump(client, server)
    }
    #expect(server.received == 40 * 60_000)
    #expect(server.events(.streamClosed).count == 40)
  }

  @Test func writableComesOnceForEachFall() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request("POST", end: false)
    pump(client, server)
    client.write(id, "small")
    pump(client, server)
    #expect(client.events(.writable).isEmpty)
    for round in 1...3 {
      client.write(id, String(repeating: "x", count: 40_000))
      pump(client, server)
      #expect(client.events(.writable).count == round)
    }
  }

  // MARK: GOAWAY and concurrency

  @Test func gracefulGoAwayLosesNothing() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let first = client.request()
    pump(client, server)
    server.session.goAway(graceful: true)
    // On its way when the notice is sent.
    let second = client.request()
    pump(client, server)
    #expect(server.events(.requestHead).count == 2)
    #expect(client.events(.goAway).map(\.stream) == [Int32.max, second])
    #expect(!client.session.canOpenStream && client.request() == -1 || client.events(.streamClosed).isEmpty)
    #expect(!server.session.isFinished)
    for id in [first, second] { server.respond(id, 200, [], end: true) }
    pump(client, server)
    #expect(client.events(.responseHead).count == 2)
    #expect(server.session.isFinished)
    #expect(client.session.isFinished)
  }

  @Test func aRequestRightBehindTheAnswerToThePingIsCountedIn() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let first = client.request()
    pump(client, server)
    server.session.goAway(graceful: true)
    let notice = server.drain()
    // The PING overtakes the GOAWAY, and here it comes alone.
    try #require(notice.count > 17 && notice[3] == 6)
    client.receive(Array(notice[..<17]))
    let second = client.request()
    server.receive(client.drain())
    client.receive(Array(notice[17...]))
    pump(client, server)
    #expect(server.events(.requestHead).map(\.stream) == [first, second])
    #expect(client.events(.goAway).map(\.stream) == [Int32.max, second])
    #expect(client.events(.streamClosed).isEmpty)
    for id in [first, second] { server.respond(id, 200, [], end: true) }
    pump(client, server)
    #expect(client.events(.responseHead).count == 2)
    #expect(server.session.isFinished && client.session.isFinished)
  }

  @Test func streamsBeyondGoAwayAreRefused() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let first = client.request()
    pump(client, server)
    server.session.goAway(graceful: false)
    let second = client.request("GET", "/", tag: 2)
    let toServer = client.drain()
    client.receive(server.drain())
    server.receive(toServer)
    pump(client, server)
    let closed = client.events(.streamClosed)
    #expect(
      closed.map(\.stream) == [second] && closed[0].code == HTTP2ErrorCode.refusedStream && closed[0].tag == 2
    )
    server.respond(first, 200, [], end: true)
    pump(client, server)
    #expect(client.events(.responseHead).map(\.stream) == [first])
  }

  @Test func requestsAfterGoAwayCloseOnce() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    pump(client, server)
    server.session.goAway(graceful: false)
    pump(client, server)
    #expect(!client.session.canOpenStream)
    let id = client.request("GET", "/", tag: 3)
    pump(client, server)
    #expect(id == -1 || client.events(.streamClosed).map(\.tag) == [3])
    #expect(client.session.activeStreams == 0)
  }

  @Test func concurrencyIsTheServers() throws {
    var limits = HTTP2Limits()
    limits.maxConcurrentStreams = 2
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true, limits: limits)
    #expect(client.session.remoteMaxConcurrentStreams == 100)
    pump(client, server)
    #expect(client.session.remoteMaxConcurrentStreams == 2)
    client.request()
    #expect(client.session.canOpenStream)
    client.request()
    #expect(!client.session.canOpenStream)
    let third = client.request("GET", "/", tag: 3)
    pump(client, server)
    #expect(server.events(.requestHead).map(\.stream) == [1, 3])
    server.respond(1, 200, [], end: true)
    pump(client, server)
    #expect(server.events(.requestHead).map(\.stream) == [1, 3, third])
  }

  @Test func aRequestThatWaitsCanBeReset() throws {
    var limits = HTTP2Limits()
    limits.maxConcurrentStreams = 1
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true, limits: limits)
    pump(client, server)
    client.request()
    let second = client.request("POST", "/", end: false, tag: 2)
    client.write(second, "abc")
    client.session.reset(second, HTTP2ErrorCode.cancel)
    pump(client, server)
    #expect(client.events(.streamClosed).isEmpty || client.events(.streamClosed).map(\.tag) == [2])
    server.respond(1, 200, [], end: true)
    pump(client, server)
    #expect(
      client.events(.streamClosed).filter { $0.stream == second }.map(\.code) == [HTTP2ErrorCode.cancel])
    #expect(server.events(.requestHead).count == 1)
    #expect(client.session.activeStreams == 0)
  }

  @Test func settingsAndLog() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    client.request()
    pump(client, server)
    #expect(client.events(.settings).count == 1 && server.events(.settings).count == 1)
    #expect(
      server.frames.all.contains("connection 7 recv HEADERS stream=1 flags=END_STREAM|END_HEADERS length=13"))
    #expect(
      server.frames.all.contains { $0.hasPrefix("connection 7 send SETTINGS stream=0 flags=ACK length=0") })
  }

  @Test func destroyWithEverythingOpen() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    let id = client.request("POST", end: false)
    pump(client, server)
    server.respond(id)
    server.write(id, String(repeating: "x", count: 200_000))
    server.trailers(id, [("a", "b")])
    // A header block that never ends.
    server.receive(Raw.frame(1, 0, 3, Raw.block(Raw.get)))
    #expect(server.session.totalQueuedBytes == 200_000)
    #expect(server.session.activeStreams == 1)
  }
}
