import Glibc
import RoutingTable
import Telemetry
import Testing

@testable import DataPlane

/// A plain TCP socket, or a TLS socket whose server names lead to backends, on port 80.
private func table(
  _ endpoints: [UInt16], kind: SocketKind = .tcp, hostname: String = "",
  proxyProtocol: ProxyProtocolVersion = .none, revision: UInt64 = 1
) -> TableSource {
  let backend = BackendSource(
    id: "default/b", endpoints: endpoints.map { EndpointSource(address: "127.0.0.1", port: $0) },
    proxyProtocol: proxyProtocol)
  let rule = RuleSource(provenance: "test", action: .forward([WeightedBackend(backend: 0)]))
  let host = VirtualHostSource(pattern: hostname.isEmpty ? "*" : hostname, entries: [EntrySource(rule: 0)])
  let listener = ListenerSource(
    name: "default/g/l", hostname: hostname, virtualHosts: [host], proto: kind == .tcp ? .tcp : .tlsPassthrough)
  return TableSource(
    revision: revision,
    sockets: [SocketSource(address: "127.0.0.1", port: 80, bindPort: 0, kind: kind, listeners: [listener])],
    backends: [backend], rules: [rule])
}

extension TestFleet {
  fileprivate func expect(_ counter: Counter, _ value: UInt64) {
    for _ in 0..<5000 where fleet.counters[0].value(counter) != value { usleep(2000) }
    #expect(fleet.counters[0].value(counter) == value, "\(counter)")
  }
}

struct TCPTests {
  @Test func bytesPassBothWaysUntilBothSidesHaveEnded() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table([backend.port]))
    let client = try fleet.connect()
    let server = try backend.accept()
    // Whoever speaks first.
    server.send("220 hello\r\n")
    #expect(client.receive(until: "\r\n") == "220 hello\r\n")
    client.send("QUIT\r\n")
    #expect(server.receive(until: "\r\n") == "QUIT\r\n")
    client.endSending()
    #expect(server.receiveAll().isEmpty && server.hasEnded)
    server.send("221 bye\r\n")
    #expect(client.receive(until: "\r\n") == "221 bye\r\n")
    fleet.expect(.tcpConnectionsActive, 1)
    server.endSending()
    #expect(client.receiveAll().isEmpty && client.hasEnded)
    fleet.expect(.tcpConnectionsActive, 0)
    #expect(fleet.fleet.counters[0].value(.tcpConnections) == 1)
    fleet.expect(.upstreamRequestsActive, 0)
    #expect(fleet.fleet.counters[0].value(.requestsActive) == 0)
  }

  @Test func aBackendMayEndFirst() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table([backend.port]))
    let client = try fleet.connect()
    client.send("question")
    let server = try backend.accept()
    #expect(server.receive(until: "question") == "question")
    server.send("answer")
    server.endSending()
    #expect(client.receiveAll() == "answer" && client.hasEnded)
    client.send("more")
    #expect(server.receive(until: "more") == "more")
    client.endSending()
    #expect(server.receiveAll().isEmpty && server.hasEnded)
  }

  @Test func whatCameBeforeTheConnectionStoodArrives() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table([backend.port]))
    let client = try fleet.connect()
    client.send("all of it")
    client.endSending()
    let server = try backend.accept()
    #expect(server.receiveAll() == "all of it" && server.hasEnded)
    server.send("done")
    server.endSending()
    #expect(client.receiveAll() == "done" && client.hasEnded)
  }

  @Test func aSlowReaderHoldsTheWriterBackAndLosesNothing() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table([backend.port]))
    let client = try fleet.connect()
    let server = try backend.accept()
    let megabyte = String(repeating: "0123456789abcdef", count: 65_536)
    let writer = try inThread {
      for _ in 0..<8 { server.send(megabyte) }
      server.endSending()
    }
    usleep(100_000)
    let held = fleet.fleet.counters[0].value(.downstreamBytesSent)
    #expect(held < 8 << 20)
    var count = 0
    while true {
      let some = client.receiveSome()
      if some.isEmpty { break }
      count += some.count
    }
    pthread_join(writer, nil)
    #expect(count == 8 << 20 && client.hasEnded)
  }

  @Test func anotherEndpointIsTriedWhereOneRefuses() throws {
    let dead = try TestBackend().port
    let backend = try TestBackend()
    let fleet = try TestFleet(table([dead, backend.port]))
    for round in 0..<4 {
      let client = try fleet.connect()
      client.send("hello \(round)")
      let server = try backend.accept()
      #expect(server.receive(until: "\(round)") == "hello \(round)")
    }
    #expect(fleet.fleet.counters[0].value(.upstreamRetries) > 0)
    #expect(fleet.fleet.counters[0].value(.tcpConnections) == 4)
  }

  @Test func aClientNobodyServesIsClosed() throws {
    let dead = try TestBackend().port
    for endpoints in [[dead], []] {
      let fleet = try TestFleet(table(endpoints))
      let client = try fleet.connect()
      #expect(client.receiveAll().isEmpty && client.hasEnded)
      fleet.expect(.tcpConnectionsActive, 0)
      fleet.expect(.downstreamConnectionsActive, 0)
      #expect(fleet.fleet.counters[0].value(.upstreamRequestsActive) == 0)
    }
  }

  @Test func anIdleConnectionIsClosed() throws {
    let backend = try TestBackend()
    var options = DataPlaneOptions(workers: 1)
    options.limits.tcpIdleTimeout = 1000
    let fleet = try TestFleet(table([backend.port]), options: options)
    let client = try fleet.connect()
    let server = try backend.accept()
    // Each byte is a new beginning.
    for _ in 0..<4 {
      usleep(300_000)
      server.send("x")
      #expect(client.receive(until: "x") == "x")
    }
    #expect(client.receiveAll().isEmpty && client.hasEnded)
    #expect(server.receiveAll().isEmpty && server.hasEnded)
    #expect(fleet.fleet.counters[0].hits(of: .tcpIdleTimeout) == 1)
    fleet.expect(.tcpConnectionsActive, 0)
  }

  @Test func aClientThatBreaksOffTakesTheBackendsConnectionAlong() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table([backend.port]))
    var client: TestConnection? = try fleet.connect()
    client?.send("hello")
    let server = try backend.accept()
    #expect(server.receive(until: "hello") == "hello")
    server.send("unread")
    usleep(100_000)
    client = nil
    #expect(server.receiveAll().isEmpty)
    server.endSending()
    fleet.expect(.tcpConnectionsActive, 0)
  }

  @Test func aSwapLeavesATunnelAlone() throws {
    let backend = try TestBackend()
    let other = try TestBackend()
    let fleet = try TestFleet(table([backend.port]))
    let client = try fleet.connect()
    let server = try backend.accept()
    for round in 2..<6 {
      try fleet.publish(table([other.port], revision: UInt64(round)))
      client.send("still \(round)")
      #expect(server.receive(until: "\(round)") == "still \(round)")
    }
    let second = try fleet.connect()
    second.send("new")
    #expect(try other.accept().receive(until: "new") == "new")
  }

  @Test(arguments: [ProxyProtocolVersion.v1, .v2])
  func aBackendIsToldByAHeader(version: ProxyProtocolVersion) throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(table([backend.port], proxyProtocol: version))
    let client = try fleet.connect()
    client.send("hello")
    let server = try backend.accept()
    // The client came by a unix socket, which has no address.
    let expected = version == .v1 ? "PROXY UNKNOWN\r\nhello" : "\r\n\r\n\0\r\nQUIT\n\u{21}\0\0\0hello"
    #expect(server.receive(until: "hello") == expected)
  }
}

// MARK: TLS passthrough

/// The records of a ClientHello as a client would send them.
private func clientHello(_ name: String?, piece: Int = .max) -> [UInt8] {
  func vector(_ bytes: [UInt8]) -> [UInt8] { [UInt8(bytes.count >> 8), UInt8(bytes.count & 255)] + bytes }
  let list = name.map { [0, 0] + vector(vector([0] + vector(Array($0.utf8)))) } ?? []
  let body = [3, 3] + [UInt8](repeating: 9, count: 32) + [0, 0, 2, 0x13, 1, 1, 0] + vector(list)
  let message = [1, 0] + vector(body)
  var records: [UInt8] = []
  var start = 0
  while start < message.count {
    let end = min(message.count, start + min(piece, 1000))
    records += [22, 3, 1] + vector(Array(message[start..<end]))
    start = end
  }
  return records
}

extension TestConnection {
  /// Byte by byte, as slowly as the system takes them.
  fileprivate func send(_ bytes: [UInt8]) {
    for var byte in bytes { unsafe _ = Glibc.send(descriptor, &byte, 1, Int32(MSG_NOSIGNAL)) }
  }

  fileprivate func receiveBytes(_ count: Int) -> [UInt8] {
    var all: [UInt8] = []
    while all.count < count {
      let some = receiveSome(count - all.count)
      if some.isEmpty { break }
      all += some
    }
    return all
  }
}

struct PassthroughTests {
  private func fleet(_ port: UInt16, _ change: (inout DataPlaneOptions) -> Void = { _ in }) throws -> TestFleet {
    var options = DataPlaneOptions(workers: 1)
    change(&options)
    return try TestFleet(table([port], kind: .https, hostname: "*.example.com"), options: options)
  }

  private static let alert: [UInt8] = [21, 3, 3, 0, 2, 2, 112]

  @Test(arguments: [Int.max, 7, 1])
  func theClientHelloArrivesUntouched(piece: Int) throws {
    let backend = try TestBackend()
    let fleet = try fleet(backend.port)
    let client = try fleet.connect()
    let hello = clientHello("a.Example.com", piece: piece)
    client.send(hello)
    let server = try backend.accept()
    #expect(server.receiveBytes(hello.count) == hello)
    server.send("not even TLS")
    #expect(client.receive(until: "TLS") == "not even TLS")
    client.send("and back")
    #expect(server.receive(until: "back") == "and back")
  }

  @Test(arguments: ["example.org", "example.com", nil] as [String?])
  func aNameThatNobodyServesGetsAnAlert(name: String?) throws {
    let fleet = try fleet(1)
    let client = try fleet.connect()
    client.send(clientHello(name))
    #expect(client.receiveBytes(8) == Self.alert && client.hasEnded)
    fleet.expect(.serverNamesUnknown, 1)
    #expect(fleet.fleet.counters[0].value(.tcpConnections) == 0)
  }

  @Test func whatIsNoClientHelloIsClosed() throws {
    let fleet = try fleet(1)
    let plain = try fleet.connect()
    plain.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    #expect(plain.receiveAll().isEmpty && plain.hasEnded)
    let broken = try fleet.connect()
    broken.send([22, 3, 1, 0, 5, 1, 0, 0, 1, 3])
    #expect(broken.receiveBytes(8) == [21, 3, 3, 0, 2, 2, 50] && broken.hasEnded)
    fleet.expect(.tlsHandshakeFailures, 2)
  }

  @Test func aClientHelloMayNeitherBeLateNorLarge() throws {
    let fleet = try fleet(1) {
      $0.limits.tlsHandshakeTimeout = 300
      $0.limits.maxClientHelloBytes = 512
    }
    let late = try fleet.connect()
    late.send(Array(clientHello("a.example.com").dropLast()))
    #expect(late.receiveAll().isEmpty && late.hasEnded)
    #expect(fleet.fleet.counters[0].hits(of: .tlsHandshakeTimeout) == 1)
    let large = try fleet.connect()
    large.send([22, 3, 1, 2, 1])
    #expect(large.receiveBytes(8) == [21, 3, 3, 0, 2, 2, 50] && large.hasEnded)
    #expect(fleet.fleet.counters[0].hits(of: .maxClientHelloBytes) == 1)
  }
}
