import Glibc
import HTTP2
import RoutingTable
import Telemetry
import Testing

@testable import DataPlane

struct HTTP2ExchangeTests {
  private func table(_ port: UInt16, _ proto: BackendProtocol = .h2c, rule: RuleSource? = nil) -> TableSource {
    var source = TableSource.forwarding(to: port, rule: rule)
    source.backends[0].proto = proto
    return source
  }

  private func client(_ fleet: TestFleet) throws -> HTTP2Peer { try HTTP2Peer(fleet.connect(), server: false) }

  /// Every exchange and every stream that was counted in is counted out again.
  private func expectBalance(_ fleet: TestFleet) {
    let gauges: [Counter] = [.requestsActive, .http2StreamsActive, .upstreamRequestsActive]
    for _ in 0..<1000 {
      if gauges.allSatisfy({ fleet.fleet.counters[0].value($0) == 0 }) { return }
      usleep(2000)
    }
    for gauge in gauges { #expect(fleet.fleet.counters[0].value(gauge) == 0, "\(gauge)") }
  }

  @Test func bothSidesSpeakHTTP2WithTrailersAndInterim() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try client(fleet)
    let id = client.request("POST", "/a", [("te", "trailers")], end: false)
    client.write(id, "question")
    let server = try HTTP2Peer(backend.accept(), server: true)
    let got = try server.nextHead()
    #expect(server.messages[got]?.path == "/a")
    client.trailers(id, [("x-sum", "1")])
    #expect(server.wait { $0.messages[got]?.isEnded == true })
    #expect(server.messages[got]?.text == "question")
    #expect(server.messages[got]?.trailers == ["x-sum: 1"])
    server.inform(got, 103)
    server.respond(got, 200, [("x-answer", "yes")])
    server.write(got, "answer")
    server.trailers(got, [("grpc-status", "0")])
    #expect(client.wait { $0.messages[id]?.code != nil })
    #expect(client.messages[id]?.interim == [103])
    #expect(client.messages[id]?.status == 200)
    #expect(client.messages[id]?.text == "answer")
    #expect(client.messages[id]?.trailers == ["grpc-status: 0"])
    #expect(client.messages[id]?.code == 0)
    expectBalance(fleet)
  }

  @Test func requestsShareAConnectionThatIsBeingOpened() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try client(fleet)
    let ids = (0..<20).map { client.request("GET", "/\($0)") }
    let server = try HTTP2Peer(backend.accept(), server: true)
    #expect(server.wait { $0.order.count == 20 })
    for got in server.order { server.respond(got, 204, end: true) }
    #expect(client.wait { peer in ids.allSatisfy { peer.messages[$0]?.code == 0 } })
    #expect(ids.allSatisfy { client.messages[$0]?.status == 204 })
    expectBalance(fleet)
  }

  /// They wait for its SETTINGS, because what is refused with a long body cannot be sent again.
  @Test func aBackendThatTakesOneRequestAtATimeIsAskedForNoMore() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try client(fleet)
    let body = [UInt8](repeating: 65, count: 10_000)
    let ids = (0..<3).map { client.request("POST", "/\($0)", end: false) }
    for id in ids { client.write(id, body, end: true) }
    var limits = HTTP2Limits()
    limits.maxConcurrentStreams = 1
    var servers: [HTTP2Peer] = []
    for number in 0..<3 {
      let server = try HTTP2Peer(backend.accept(), server: true, limits: limits)
      let got = try server.nextHead()
      #expect(server.messages[got]?.path == "/\(number)")
      #expect(server.wait { $0.messages[got]?.isEnded == true })
      #expect(server.messages[got]?.body == body)
      servers.append(server)
    }
    for server in servers { server.respond(server.order[0], 204, end: true) }
    #expect(client.wait { peer in ids.allSatisfy { peer.messages[$0]?.code == 0 } })
    #expect(ids.allSatisfy { client.messages[$0]?.status == 204 })
    #expect(servers.allSatisfy { $0.order.count == 1 })
    expectBalance(fleet)
  }

  /// What has waited for SETTINGS that never came was not sent: it goes to the next connection, whatever its method.
  @Test func requestsThatWaitForSettingsOutliveTheConnection() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try client(fleet)
    let ids = (0..<3).map { client.request("POST", "/\($0)", [("content-length", "0")]) }
    var silent: TestConnection? = try backend.accept()
    #expect(silent?.receiveSome().isEmpty == false)
    while fleet.fleet.counters[0].value(.upstreamRequestsActive) < 3 { usleep(500) }
    silent = nil
    let server = try HTTP2Peer(backend.accept(), server: true)
    #expect(server.wait { $0.order.count == 2 })
    for got in server.order { server.respond(got, 204, end: true) }
    #expect(client.wait { peer in ids.allSatisfy { peer.messages[$0]?.isEnded == true } })
    #expect(ids.map { client.messages[$0]?.status } == [502, 204, 204])
    expectBalance(fleet)
  }

  @Test func aConnectionThatFailsToOpenAnswersAllThatWait() throws {
    let fleet = try TestFleet(table(1))
    let client = try client(fleet)
    let ids = (0..<20).map { client.request("GET", "/\($0)") }
    #expect(client.wait { peer in ids.allSatisfy { peer.messages[$0]?.isEnded == true } })
    #expect(ids.allSatisfy { client.messages[$0]?.status == 503 })
    expectBalance(fleet)
  }

  @Test func aBackendThatGoesAwayFinishesItsStreamsAndIsReplaced() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try client(fleet)
    let first = client.request("GET", "/1")
    let server = try HTTP2Peer(backend.accept(), server: true)
    let got = try server.nextHead()
    server.session.goAway(graceful: false)
    server.flush()
    usleep(300_000)
    let second = client.request("GET", "/2")
    let other = try HTTP2Peer(backend.accept(), server: true)
    let gotOther = try other.nextHead()
    server.respond(got, 200)
    server.write(got, "first", end: true)
    other.respond(gotOther, 200)
    other.write(gotOther, "second", end: true)
    #expect(client.wait { $0.messages[first]?.isEnded == true && $0.messages[second]?.isEnded == true })
    #expect(client.messages[first]?.text == "first")
    #expect(client.messages[second]?.text == "second")
    // The old connection is closed by the proxy once nothing is left on it.
    #expect(server.waitForEnd())
    expectBalance(fleet)
  }

  @Test func aRefusedStreamIsSentOnceMore() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try client(fleet)
    let id = client.request("GET", "/1")
    let server = try HTTP2Peer(backend.accept(), server: true)
    server.session.reset(try server.nextHead(), HTTP2ErrorCode.refusedStream)
    server.flush()
    let other = try HTTP2Peer(backend.accept(), server: true)
    other.respond(try other.nextHead(), 204, end: true)
    #expect(client.wait { $0.messages[id]?.isEnded == true })
    #expect(client.messages[id]?.status == 204)
    expectBalance(fleet)
  }

  @Test func aResetByTheBackendIsA502OrAReset() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try client(fleet)
    let id = client.request("GET", "/1")
    let server = try HTTP2Peer(backend.accept(), server: true)
    server.session.reset(try server.nextHead(), HTTP2ErrorCode.internalError)
    server.flush()
    #expect(client.wait { $0.messages[id]?.isEnded == true })
    #expect(client.messages[id]?.status == 502)
    let next = client.request("GET", "/2")
    let got = try server.nextHead(1)
    server.respond(got, 200)
    server.write(got, "half")
    #expect(client.wait { $0.messages[next]?.text == "half" })
    server.session.reset(got, HTTP2ErrorCode.internalError)
    server.flush()
    #expect(client.wait { $0.messages[next]?.code != nil })
    #expect(client.messages[next]?.code == HTTP2ErrorCode.internalError)
    expectBalance(fleet)
  }

  @Test func aClientsResetReachesTheBackend() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try client(fleet)
    let id = client.request("POST", "/1", end: false)
    client.write(id, "some")
    let server = try HTTP2Peer(backend.accept(), server: true)
    let got = try server.nextHead()
    client.session.reset(id, HTTP2ErrorCode.cancel)
    client.flush()
    #expect(server.wait { $0.messages[got]?.code != nil })
    #expect(server.messages[got]?.code == HTTP2ErrorCode.cancel)
    expectBalance(fleet)
  }

  @Test func aClientThatVanishesLeavesNothingBehind() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    var client: HTTP2Peer? = try client(fleet)
    for number in 0..<5 { client?.request("POST", "/\(number)", end: false) }
    let server = try HTTP2Peer(backend.accept(), server: true)
    #expect(server.wait { $0.order.count == 5 })
    client = nil
    #expect(server.wait { peer in peer.order.allSatisfy { peer.messages[$0]?.code != nil } })
    expectBalance(fleet)
  }

  @Test func anEarlyResponseEndsTheUpload() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try client(fleet)
    let id = client.request("POST", "/1", end: false)
    client.write(id, "some")
    let server = try HTTP2Peer(backend.accept(), server: true)
    let got = try server.nextHead()
    server.respond(got, 403, [("content-length", "0")], end: true)
    #expect(client.wait { $0.messages[id]?.code != nil })
    #expect(client.messages[id]?.status == 403)
    #expect(client.messages[id]?.code == HTTP2ErrorCode.noError)
    expectBalance(fleet)
  }

  @Test func aBodyAboveTheLimitIs413InTheMiddle() throws {
    let backend = try TestBackend()
    var options = DataPlaneOptions(workers: 1)
    options.limits.maxRequestBodyBytes = 1000
    for proto in [BackendProtocol.h2c, .http1] {
      let fleet = try TestFleet(table(backend.port, proto), options: options)
      let client = try client(fleet)
      let id = client.request("POST", "/1", end: false)
      client.write(id, "some")
      let connection = try backend.accept()
      client.write(id, [UInt8](repeating: 65, count: 2000))
      #expect(client.wait { $0.messages[id]?.code != nil })
      #expect(client.messages[id]?.status == 413)
      expectBalance(fleet)
      _ = connection
    }
  }

  @Test func aRuleTimeoutInTheMiddleOfAnUpload() throws {
    let backend = try TestBackend()
    let rule = RuleSource(
      provenance: "test", action: .forward([WeightedBackend(backend: 0)]), requestTimeout: 200)
    for proto in [BackendProtocol.h2c, .http1] {
      let fleet = try TestFleet(table(backend.port, proto, rule: rule))
      let client = try client(fleet)
      let id = client.request("POST", "/1", end: false)
      client.write(id, "some")
      let connection = try backend.accept()
      #expect(client.wait { $0.messages[id]?.code != nil })
      #expect(client.messages[id]?.status == 504)
      expectBalance(fleet)
      _ = connection
    }
  }

  /// A slow client holds the backend back, and gets everything in the end.
  @Test func aLargeBodyPassesASlowClient() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port, .http1))
    let client = try client(fleet)
    let ids = (0..<3).map { client.request("GET", "/\($0)") }
    let size = 1 << 20
    let body = String(repeating: "0123456789abcdef", count: size / 16)
    var writers: [pthread_t] = []
    for _ in ids {
      let server = try backend.accept()
      _ = server.receive(until: "\r\n\r\n")
      writers.append(
        try inThread {
          server.send("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
          server.send(body)
        })
    }
    usleep(200_000)
    #expect(client.wait { peer in ids.allSatisfy { peer.messages[$0]?.isEnded == true } })
    for id in ids { #expect(client.messages[id]?.text == body) }
    for writer in writers { pthread_join(writer, nil) }
    expectBalance(fleet)
  }

  /// The same in the other direction, through an HTTP/2 backend that reads late.
  @Test func aLargeUploadWaitsForASlowBackend() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try fleet.connect()
    let size = 1 << 20
    let body = String(repeating: "0123456789abcdef", count: size / 16)
    let writer = try inThread {
      client.send("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: \(size)\r\n\r\n")
      client.send(body)
    }
    let server = try HTTP2Peer(backend.accept(), server: true)
    let got = try server.nextHead()
    usleep(200_000)
    #expect(server.wait { $0.messages[got]?.isEnded == true })
    #expect(server.messages[got]?.text == body)
    server.respond(got, 204, end: false)
    server.write(got, "", end: true)
    pthread_join(writer, nil)
    let answer = client.receive(until: "\r\n\r\n")
    #expect(answer.hasPrefix("HTTP/1.1 204 "))
    #expect(!answer.contains("chunked"))
    expectBalance(fleet)
  }

  @Test func connectionsOfEndpointsThatLeaveTheConfigurationEnd() throws {
    let backend = try TestBackend()
    let other = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try client(fleet)
    let first = client.request("GET", "/1")
    let server = try HTTP2Peer(backend.accept(), server: true)
    let got = try server.nextHead()
    try fleet.publish(table(other.port))
    server.respond(got, 200)
    server.write(got, "late", end: true)
    #expect(client.wait { $0.messages[first]?.isEnded == true })
    #expect(client.messages[first]?.text == "late")
    #expect(server.waitForEnd())
    let second = client.request("GET", "/2")
    let newer = try HTTP2Peer(other.accept(), server: true)
    newer.respond(try newer.nextHead(), 204, end: true)
    #expect(client.wait { $0.messages[second]?.isEnded == true })
    // Now without a stream: the connection is told to go at once.
    try fleet.publish(table(backend.port))
    #expect(newer.waitForEnd())
    expectBalance(fleet)
  }

  @Test func aFaultInTheBackendsFramesEndsItsStreams() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try client(fleet)
    let ids = (0..<3).map { client.request("POST", "/\($0)", end: false) }
    let connection = try backend.accept()
    let server = try HTTP2Peer(connection, server: true)
    #expect(server.wait { $0.order.count == 3 })
    connection.send(bytes: [0, 0, 1, 0, 0, 0, 0, 0, 1, 0])
    #expect(client.wait { peer in ids.allSatisfy { peer.messages[$0]?.isEnded == true } })
    #expect(ids.allSatisfy { client.messages[$0]?.status == 502 })
    expectBalance(fleet)
  }

  @Test func drainingSaysGoAwayAndFinishes() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table(backend.port))
    let client = try client(fleet)
    let id = client.request("GET", "/1")
    let server = try HTTP2Peer(backend.accept(), server: true)
    let got = try server.nextHead()
    fleet.fleet.beginDrain(milliseconds: 5000)
    #expect(client.wait { $0.wentAway })
    server.respond(got, 200)
    server.write(got, "late", end: true)
    #expect(client.wait { $0.messages[id]?.isEnded == true })
    #expect(client.messages[id]?.text == "late")
    #expect(client.waitForEnd())
  }
}

/// Runs `body` beside the test; the caller joins.
func inThread(_ body: @escaping () -> Void) throws -> pthread_t {
  final class Work {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
  }
  var thread = pthread_t()
  let work = unsafe Unmanaged.passRetained(Work(body)).toOpaque()
  let code = unsafe pthread_create(
    &thread, nil,
    { argument in
      unsafe Unmanaged<Work>.fromOpaque(argument!).takeRetainedValue().body()
      return nil
    }, work)
  try #require(code == 0)
  return thread
}
