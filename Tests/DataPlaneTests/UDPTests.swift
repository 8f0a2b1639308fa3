import CLinux
import Glibc
import RoutingTable
import SystemIO
import Telemetry
import Testing

@testable import DataPlane

/// One end of a conversation by datagrams.
private final class Speaker {
  let descriptor: Int32
  private var batch = DatagramBatch()
  private var heard: [(text: String, peer: SocketAddress)] = []
  private var socket: Socket { Socket(index: descriptor, generation: 0) }
  /// Who sent what was heard last.
  private(set) var lastPeer = SocketAddress()

  /// Bound to a loopback port of the kernel's choice.
  init() throws { descriptor = try DatagramSocket.open(address: "127.0.0.1", port: 0, reusePort: false) }

  init(to port: UInt16) throws {
    descriptor = try DatagramSocket.connected(to: SocketAddress(ipv4: 0x7F00_0001, port: port))
  }

  deinit { close(descriptor) }

  var port: UInt16 { get throws { try ListeningSocket.localAddress(of: descriptor).port } }

  func say(_ text: String, to peer: SocketAddress? = nil) {
    var text = text
    let isSent = text.withUTF8 { unsafe socket.send(datagram: $0, to: peer) }
    #expect(isSent)
  }

  /// The next datagram; nil: none came in time, or the network said that nobody listens.
  func hear(milliseconds: Int32 = 30_000) -> String? {
    var question = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    if heard.isEmpty {
      guard unsafe poll(&question, 1, milliseconds) == 1 else { return nil }
      for number in 0..<max(0, batch.receive(socket)) {
        heard.append((unsafe String(decoding: batch.bytes(number), as: UTF8.self), batch.peer(number)))
      }
      if heard.isEmpty { return nil }
    }
    let next = heard.removeFirst()
    lastPeer = next.peer
    return next.text
  }
}

private func table(_ endpoints: [UInt16], at port: UInt16, revision: UInt64 = 1) -> TableSource {
  let backend = BackendSource(
    id: "default/b", endpoints: endpoints.map { EndpointSource(address: "127.0.0.1", port: $0) })
  let rule = RuleSource(provenance: "test", action: .forward([WeightedBackend(backend: 0)]))
  let listener = ListenerSource(
    name: "default/g/l", virtualHosts: [VirtualHostSource(entries: [EntrySource(rule: 0)])], proto: .udp)
  return TableSource(
    revision: revision,
    sockets: [SocketSource(address: "127.0.0.1", port: 53, bindPort: port, kind: .udp, listeners: [listener])],
    backends: [backend], rules: [rule])
}

extension TestFleet {
  fileprivate func value(_ counter: Counter) -> UInt64 { fleet.counters[0].value(counter) }

  fileprivate func expect(_ counter: Counter, _ value: UInt64) {
    for _ in 0..<5000 where self.value(counter) != value { usleep(2000) }
    #expect(self.value(counter) == value, "\(counter)")
  }
}

struct UDPTests {
  /// A port that nobody has just now.
  private func freePort() throws -> UInt16 { try Speaker().port }

  private func options(_ changes: (inout Limits) -> Void) -> DataPlaneOptions {
    var options = DataPlaneOptions(workers: 1)
    changes(&options.limits)
    return options
  }

  @Test func eachClientHasASessionAndItsOwnAnswers() throws {
    let backend = try Speaker()
    let port = try freePort()
    let fleet = try TestFleet(table([backend.port], at: port))
    let clients = try (0..<3).map { _ in try Speaker(to: port) }
    var places: [UInt16] = []
    for round in 0..<2 {
      for (number, client) in clients.enumerated() {
        client.say("question \(number) \(round)")
        #expect(backend.hear() == "question \(number) \(round)")
        if round == 0 { places.append(backend.lastPeer.port) }
        // The same client always comes from the same port of ours.
        #expect(backend.lastPeer.port == places[number])
        backend.say("answer \(number)", to: backend.lastPeer)
      }
      for (number, client) in clients.enumerated() { #expect(client.hear() == "answer \(number)") }
    }
    #expect(Set(places).count == 3)
    fleet.expect(.udpSessionsActive, 3)
    #expect(fleet.value(.udpSessions) == 3)
    #expect(fleet.value(.udpDatagramsReceived) == 6 && fleet.value(.udpDatagramsDropped) == 0)
    fleet.expect(.udpDatagramsSent, 6)
  }

  @Test func manyAtOnceAndOnesOfAllSizesArrive() throws {
    let backend = try Speaker()
    let port = try freePort()
    let fleet = try TestFleet(table([backend.port], at: port))
    let client = try Speaker(to: port)
    for length in [0, 1, 1400, 9000, 60_000] {
      let text = String(repeating: "x", count: length)
      client.say(text)
      #expect(backend.hear() == text)
      backend.say(text, to: backend.lastPeer)
      #expect(client.hear() == text)
    }
    // More than one batch.
    for number in 0..<100 { client.say("\(number)") }
    for number in 0..<100 { #expect(backend.hear() == "\(number)") }
    #expect(fleet.value(.udpSessions) == 1)
  }

  @Test func aSilentSessionEnds() throws {
    let backend = try Speaker()
    let port = try freePort()
    let fleet = try TestFleet(table([backend.port], at: port), options: options { $0.udpSessionIdleTimeout = 150 })
    let client = try Speaker(to: port)
    client.say("one")
    #expect(backend.hear() == "one")
    let first = backend.lastPeer.port
    fleet.expect(.udpSessionsActive, 0)
    #expect(fleet.fleet.counters[0].hits(of: .udpSessionIdleTimeout) == 1)
    client.say("two")
    #expect(backend.hear() == "two" && backend.lastPeer.port != first)
    fleet.expect(.udpSessions, 2)
  }

  @Test func sessionsAreLimitedAndOthersGoOn() throws {
    let backend = try Speaker()
    let port = try freePort()
    let fleet = try TestFleet(table([backend.port], at: port), options: options { $0.maxUDPSessions = 2 })
    let clients = try (0..<3).map { _ in try Speaker(to: port) }
    for (number, client) in clients.enumerated() { client.say("\(number)") }
    #expect(Set([backend.hear(), backend.hear()]) == ["0", "1"])
    fleet.expect(.udpDatagramsDropped, 1)
    #expect(fleet.fleet.counters[0].hits(of: .maxUDPSessions) == 1)
    clients[0].say("again")
    #expect(backend.hear() == "again")
  }

  @Test func aDeadEndpointGivesTheSessionUp() throws {
    let port = try freePort()
    let fleet = try TestFleet(table([try freePort()], at: port))
    let client = try Speaker(to: port)
    client.say("anybody?")
    fleet.expect(.upstreamConnectFailures, 1)
    fleet.expect(.udpSessionsActive, 0)
    let backend = try Speaker()
    try fleet.publish(table([backend.port], at: port, revision: 2))
    client.say("somebody?")
    #expect(backend.hear() == "somebody?")
  }

  @Test func endpointsThatAreGoneLoseTheirSessionsAndListenersTheirs() throws {
    let backends = try (0..<2).map { _ in try Speaker() }
    let port = try freePort()
    let fleet = try TestFleet(table([backends[0].port], at: port))
    let client = try Speaker(to: port)
    client.say("first")
    #expect(backends[0].hear() == "first")
    try fleet.publish(table([backends[1].port], at: port, revision: 2))
    client.say("second")
    #expect(backends[1].hear() == "second")
    fleet.expect(.udpSessionsActive, 1)
    try fleet.publish(TableSource(revision: 3))
    fleet.expect(.udpSessionsActive, 0)
    _ = try Speaker(to: port)
  }
}
