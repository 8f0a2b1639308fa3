import Glibc
import HTTPSemantics
import RoutingTable
import Telemetry
import Testing

@testable import DataPlane

/// Ends, pauses and limits in the middle of HTTP/1 exchanges.
struct HTTP1EdgeTests {
  @Test func aPausedUploadGoesOnWithAPartialTrailerSection() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    // The backend is connected to and its socket buffers are filled before the trailer section is whole.
    client.send("POST /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    let server = try backend.accept()
    let piece = String(repeating: "x", count: 1 << 16)
    let chunks = String(repeating: "10000\r\n\(piece)\r\n", count: 160)
    let writer = try inThread {
      client.send(chunks + "0\r\nx-sum: ")
      usleep(300_000)
      client.send("1\r\n\r\n")
    }
    usleep(200_000)
    let end = "\r\n0\r\nx-sum: 1\r\n\r\n"
    let request = server.receive(toSuffix: end)
    #expect(request.count > 160 << 16)
    #expect(request.suffix(end.utf8.count) == Array(end.utf8)[...])
    pthread_join(writer, nil)
    server.send("HTTP/1.1 204 No Content\r\n\r\n")
    #expect(client.receive(until: "\r\n\r\n").hasPrefix("HTTP/1.1 204 "))
  }

  @Test func trailersThatComeBeforeTheBackendIsConnectedArrive() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    client.send(
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n")
    let server = try backend.accept()
    let end = "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"
    #expect(server.receive(until: "1\r\n\r\n").hasSuffix(end))
  }

  /// Byte by byte: up to 1 KiB each is looked at, then every 512th, the last one, and all beyond the limit.
  @Test(arguments: [(1 << 16, 1024 + 6), (3000, 1024 + 3 + 1002)])
  func aLongHeadIsParsedForEachStepAndAtItsEnd(limit: Int, looks: Int) {
    let text = "GET / HTTP/1.1\r\nHost: x\r\nx: " + String(repeating: "a", count: 3969) + "\r\n\r\n"
    let head = Array(text.utf8)
    #expect(head.count == 4001)
    var connection = Connection()
    defer { connection.stash.release() }
    var due: [Int] = []
    for count in 1...head.count {
      let isKept = unsafe head[(count - 1)...].withUnsafeBufferPointer {
        unsafe connection.stash.append(Bytes(start: $0.baseAddress!, count: 1), limit: .max)
      }
      #expect(isKept)
      guard connection.isHeadDue(limit: limit) else { continue }
      due.append(count)
      connection.headIsIncomplete(at: count)
    }
    #expect(due.count == looks && due.last == head.count, "\(due.suffix(8))")
  }

  /// Wherever the end of a long head is cut, it is found: a client's and a backend's.
  @Test(arguments: 1...5)
  func theEndOfALongHeadInPieces(cut: Int) throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    let long = String(repeating: "a", count: 4000)
    func send(_ text: String, to peer: TestConnection) {
      let bytes = Array(text.utf8)
      for piece in [bytes.dropLast(cut)] + bytes.suffix(cut).map({ [$0] }) {
        peer.send(String(decoding: piece, as: UTF8.self))
        usleep(3000)
      }
    }
    var server: TestConnection?
    for number in 1...2 {
      send("GET /\(number) HTTP/1.1\r\nHost: x\r\nx-long: \(long)\r\nx-end: 1\r\n\r\n", to: client)
      let backendSide = try server ?? backend.accept()
      server = backendSide
      let request = backendSide.receive(until: "\r\n\r\n")
      #expect(request.hasPrefix("GET /\(number) ") && request.contains("x-end: 1\r\n"))
      send("HTTP/1.1 204 No Content\r\nx-long: \(long)\r\nx-end: \(number)\r\n\r\n", to: backendSide)
      #expect(client.receive(until: "\r\n\r\n").contains("x-end: \(number)\r\n"))
    }
  }

  @Test func aHalfClosedClientGetsAllItsPipelinedAnswers() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    client.endSending()
    let server = try backend.accept()
    #expect(server.receive(until: "\r\n\r\n").hasPrefix("GET /1 "))
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
    #expect(server.receive(until: "\r\n\r\n").hasPrefix("GET /2 "))
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo")
    let all = client.receiveAll()
    #expect(all.contains("one"))
    #expect(all.hasSuffix("two") && client.hasEnded)
  }

  @Test func aBodyThatNeverBeginsIs408() throws {
    let backend = try TestBackend()
    var options = DataPlaneOptions(workers: 1)
    options.limits.requestBodyIdleTimeout = 200
    let fleet = try TestFleet(.forwarding(to: backend.port), options: options)
    let client = try fleet.connect()
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    let server = try backend.accept()
    #expect(client.receiveAll().hasPrefix("HTTP/1.1 408 "))
    #expect(client.hasEnded)
    #expect(server.receiveAll().hasPrefix("POST / ") && server.hasEnded)
  }

  @Test func aBodyAboveTheLimitIs413InTheMiddle() throws {
    let backend = try TestBackend()
    var options = DataPlaneOptions(workers: 1)
    options.limits.maxRequestBodyBytes = 10
    let fleet = try TestFleet(.forwarding(to: backend.port), options: options)
    let client = try fleet.connect()
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    let server = try backend.accept()
    #expect(server.receive(until: "abc\r\n").contains("abc"))
    client.send("10\r\n0123456789abcdef\r\n0\r\n\r\n")
    #expect(client.receiveAll().hasPrefix("HTTP/1.1 413 "))
    #expect(!server.receiveAll().contains("0123"))
  }

  @Test func anEarlyResponseEndsTheConnection() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nxyz")
    let server = try backend.accept()
    // No letters that a request id may have.
    _ = server.receive(until: "xyz")
    server.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    #expect(client.receiveAll().hasSuffix("no"))
    #expect(server.receiveAll().isEmpty && server.hasEnded)
  }

  @Test func aResponseInADrainSaysClose() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    let server = try backend.accept()
    _ = server.receive(until: "\r\n\r\n")
    fleet.fleet.beginDrain(milliseconds: 5000)
    usleep(300_000)
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    let all = client.receiveAll()
    #expect(all.contains("connection: close\r\n"))
    #expect(all.hasSuffix("ok") && client.hasEnded)
  }

  @Test func idleConnectionsOfAListenerThatGoesEnd() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let silent = try fleet.connect()
    let idle = try fleet.connect()
    idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    let server = try backend.accept()
    _ = server.receive(until: "\r\n\r\n")
    server.send("HTTP/1.1 204 No Content\r\n\r\n")
    #expect(idle.receive(until: "\r\n\r\n").hasPrefix("HTTP/1.1 204 "))
    let session = try HTTP2Peer(fleet.connect(), server: false)
    var other = TableSource.forwarding(to: backend.port, revision: 2)
    other.sockets[0].port = 81
    try fleet.publish(other)
    #expect(silent.receiveAll().isEmpty && silent.hasEnded)
    #expect(idle.receiveAll().isEmpty && idle.hasEnded)
    #expect(session.waitForEnd() && session.wentAway)
  }

  @Test func requestsBehindAnUpgradeGoIntoTheTunnel() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    client.send(
      "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\nframe")
    let server = try backend.accept()
    #expect(!server.receive(until: "\r\n\r\n").contains("frame"))
    server.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    #expect(server.receive(until: "frame") == "frame")
    #expect(client.receive(until: "\r\n\r\n").hasPrefix("HTTP/1.1 101 "))
    server.endSending()
    #expect(client.receiveAll().isEmpty && client.hasEnded)
    client.endSending()
    #expect(server.receiveAll().isEmpty && server.hasEnded)
    for _ in 0..<5000 where fleet.fleet.counters[0].value(.requestsActive) != 0 { usleep(2000) }
    #expect(fleet.fleet.counters[0].value(.requestsActive) == 0)
    #expect(fleet.fleet.counters[0].value(.upstreamRequestsActive) == 0)
  }

  @Test func anUnaskedSwitchOfProtocolsIs502() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    let server = try backend.accept()
    _ = server.receive(until: "\r\n\r\n")
    server.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nearly")
    let answer = client.receive(until: "\r\n\r\n")
    #expect(answer.hasPrefix("HTTP/1.1 502 "))
  }

  @Test func aStaleIdleConnectionIsReplacedUnseen() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
    let server = try backend.accept()
    _ = server.receive(until: "\r\n\r\n")
    server.send("HTTP/1.1 204 No Content\r\n\r\n")
    _ = client.receive(until: "\r\n\r\n")
    client.send("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    // Read, then closed without an answer.
    #expect(server.receive(until: "\r\n\r\n").hasPrefix("GET /2 "))
    server.endSending()
    let other = try backend.accept()
    #expect(other.receive(until: "\r\n\r\n").hasPrefix("GET /2 "))
    other.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    #expect(client.receive(until: "ok").hasSuffix("ok"))
  }

  @Test func aBackendThatBreaksOffEndsTheClientsConnection() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
    let server = try backend.accept()
    _ = server.receive(until: "\r\n\r\n")
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    _ = client.receive(until: "half")
    server.endSending()
    #expect(client.receiveAll().isEmpty && client.hasEnded)
  }

  /// The last turn's descriptors are not written to or leaked after the workers have stopped.
  @Test func aStoppedFleetTakesNothing() throws {
    let fleet = try TestFleet(.forwarding(to: 1))
    fleet.fleet.beginDrain(milliseconds: 0)
    for _ in 0..<5000 where !fleet.fleet.isDrained { usleep(2000) }
    try #require(fleet.fleet.isDrained)
    let client = try fleet.connect()
    #expect(client.receiveAll().isEmpty && client.hasEnded)
  }
}
