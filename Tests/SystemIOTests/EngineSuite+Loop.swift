import CLinux
import Glibc
import SystemIO
import Testing

/// One socket of the random test and what passed through it.
struct RandomEnd {
  let socket: Socket
  let peer: Peer
  var sent = 0, arrived = 0, written = 0, received = 0
  var isReceiving = false, peerIsDone = false, isDone = false, endSeen = false, peerEndSeen = false
  init(_ socket: Socket, _ peer: Peer) { (self.socket, self.peer) = (socket, peer) }
}

extension EngineSuite where Engine: ~Copyable {
  func connects() throws {
    let d = try D()
    let descriptor = try ListeningSocket.open(address: "127.0.0.1", port: 0)
    let listener = d.engine.listen(on: descriptor)
    let socket = try d.engine.connect(to: ListeningSocket.localAddress(of: descriptor))
    d.send(socket, Array("early".utf8))
    d.engine.startReceiving(socket)
    #expect(d.until { $0.contains { $0.kind == .accepted } && $0.contains { $0.kind == .drained } })
    #expect(d.kinds(socket) == [.connected, .drained])
    let accepted = try #require(d.log.first { $0.kind == .accepted })
    let server = try d.adopted(accepted.descriptor)
    d.engine.startReceiving(server)
    #expect(d.until { $0.contains { $0.kind == .received } })
    #expect(d.received(server) == Array("early".utf8))
    d.send(server, Array("reply".utf8))
    #expect(d.until { $0.count { $0.kind == .received } == 2 })
    #expect(d.received(socket) == Array("reply".utf8))
    d.engine.stopListening(listener)
  }

  func reportsRefusedConnections() throws {
    let d = try D()
    // Bound but not listening: nobody else gets the port, and connecting is refused.
    let bound = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { _ = close(bound) }
    var address = SocketAddress(ipv4: 0x7f00_0001, port: 0)
    #expect(unsafe withUnsafeBytes(of: address) { unsafe clinux_bind(bound, $0.baseAddress, 16) } == 0)
    address = try ListeningSocket.localAddress(of: bound)
    for shutsDown in [false, true] {
      let socket = try d.engine.connect(to: address)
      d.send(socket, Array("early".utf8))
      if shutsDown { d.engine.shutdownWrite(socket) }
      #expect(d.until { $0.contains { $0.socket == socket } })
      for _ in 0..<3 { d.turn(2) }
      #expect(d.kinds(socket) == [.failed])
      #expect(d.log.last?.error == ECONNREFUSED)
      #expect(d.engine.unsentBytes(socket) == 0)
      d.engine.close(socket)
    }
    // Nobody waits for this one any more.
    let dropped = try d.engine.connect(to: address)
    d.engine.closeWhenDrained(dropped)
    #expect(d.until { _ in d.engine.closingCount == 0 })
    #expect(d.kinds(dropped) == [])
  }

  func wakesFromAnotherThread() throws {
    let d = try D()
    let wake = d.engine.wakeDescriptor()
    var thread = pthread_t()
    let argument = unsafe UnsafeMutableRawPointer(bitPattern: Int(wake))
    _ = unsafe pthread_create(
      &thread, nil,
      { argument in
        let descriptor = Int32(Int(bitPattern: argument))
        var one: UInt64 = 1
        for _ in 0..<3 {
          usleep(20_000)
          _ = unsafe write(descriptor, &one, 8)
        }
        return nil
      }, argument)
    for _ in 0..<3 {
      d.engine.wait(untilNanoseconds: .max)
      #expect(d.next()?.kind == .woken)
      #expect(d.next() == nil)
    }
    _ = pthread_join(thread, nil)
    #expect(d.turn(0).isEmpty)
  }

  func waitsUntilTheDeadline() throws {
    let d = try D()
    let start = monotonicNanoseconds()
    d.engine.wait(untilNanoseconds: start + 30_000_000)
    #expect(monotonicNanoseconds() >= start + 30_000_000)
    #expect(d.next() == nil)
    d.engine.wait(untilNanoseconds: start)
    #expect(d.next() == nil)
  }

  func sharesATurnFairly() throws {
    var options = EngineOptions()
    options.receiveBytes = 1_000
    options.receivesPerTurn = 3
    options.bulkNanoseconds = .max
    let d = try D(options)
    let (greedyDescriptor, greedyPeer) = Sockets.pair()
    let (modestDescriptor, modestPeer) = Sockets.pair()
    let greedy = try d.adopted(greedyDescriptor), modest = try d.adopted(modestDescriptor)
    let message = pattern(20_000)
    #expect(greedyPeer.write(message[...]) == 20_000)
    #expect(modestPeer.write("x") == 1)
    d.engine.startReceiving(greedy)
    d.engine.startReceiving(modest)
    #expect((1...3).contains(d.turn().count { $0.socket == greedy }))
    // What is left needs no new edge.
    #expect((1...3).contains(d.turn(5_000).count { $0.socket == greedy }))
    // Memory to receive into may have run out in the first turn, not in the second.
    #expect(d.log.count { $0.socket == modest } == 1)
    #expect(d.until { _ in d.received(greedy).count == message.count })
    #expect(d.received(greedy) == message)
  }

  func readsMuchForALittleTime() throws {
    var options = EngineOptions()
    options.receiveBytes = 1_000
    options.bulkNanoseconds = 0
    let d = try D(options)
    let pairs = [Sockets.pair(), Sockets.pair()]
    let (modestDescriptor, modestPeer) = Sockets.pair()
    let modest = try d.adopted(modestDescriptor)
    d.engine.startReceiving(modest)
    let message = pattern(20_000)
    var greedy: [Socket] = []
    for (descriptor, peer) in pairs {
      greedy.append(try d.adopted(descriptor))
      #expect(peer.write(message[...]) == 20_000)
      d.engine.startReceiving(greedy[greedy.count - 1])
    }
    // A first full read of each says that it brings much.
    #expect(d.until { log in greedy.allSatisfy { socket in log.contains { $0.socket == socket } } })
    #expect(modestPeer.write("x") == 1)
    var turns = 0
    while greedy.contains(where: { d.received($0).count < message.count }), turns < 10_000 {
      #expect(d.turn().count { greedy.contains($0.socket) } <= 1)
      turns += 1
    }
    #expect(greedy.allSatisfy { d.received($0) == message })
    #expect(d.log.count { $0.socket == modest } == 1)
  }

  /// Random sockets, sizes, stops, half-closes and readers; every byte must arrive, in order.
  func carriesEverythingUnderRandomUse(seed: UInt64, options: EngineOptions = EngineOptions()) throws {
    var random = Seeded(seed)
    var options = options
    options.receiveBytes = Int.random(in: 100...5_000, using: &random)
    options.receivesPerTurn = UInt16.random(in: 1...4, using: &random)
    let d = try D(options)
    var ends: [RandomEnd] = []
    for i in 0..<12 {
      let (descriptor, peer) = try i % 2 == 0 ? Sockets.pair() : Sockets.tcpPair(buffer: 4_096)
      ends.append(RandomEnd(try d.adopted(descriptor), peer))
    }
    let total = 40_000
    let stop = monotonicNanoseconds() + 120_000_000_000
    while !ends.allSatisfy({ $0.endSeen && $0.peerEndSeen }), monotonicNanoseconds() < stop {
      let i = Int.random(in: 0..<ends.count, using: &random)
      var e = ends[i]
      switch Int.random(in: 0..<6, using: &random) {
      case 0 where e.sent < total && d.engine.unsentBytes(e.socket) < 40_000:
        let n = min(total - e.sent, Int.random(in: 1...15_000, using: &random))
        d.sendReserved(e.socket, pattern(n, from: e.sent))
        e.sent += n
      case 0 where e.sent == total && !e.isDone:
        d.engine.shutdownWrite(e.socket)
        e.isDone = true
      case 1 where e.written < total:
        let n = min(total - e.written, Int.random(in: 1...15_000, using: &random))
        e.written += e.peer.write(pattern(n, from: e.written)[...])
      case 1 where !e.peerIsDone:
        e.peer.shutdownWrite()
        e.peerIsDone = true
      case 2:
        switch e.peer.read(limit: Int.random(in: 1...9_000, using: &random)) {
        case .bytes(let bytes):
          #expect(bytes == pattern(bytes.count, from: e.arrived))
          e.arrived += bytes.count
        case .end: e.peerEndSeen = true
        default: break
        }
      case 3:
        if e.isReceiving { d.engine.stopReceiving(e.socket) } else { d.engine.startReceiving(e.socket) }
        e.isReceiving.toggle()
      default:
        for event in d.turn(1) {
          guard let at = ends.firstIndex(where: { $0.socket == event.socket }) else {
            Issue.record("event of an unknown socket")
            continue
          }
          // `e` is written back below; the end that it is a copy of must not be lost.
          func note(_ end: inout RandomEnd) {
            #expect(end.isReceiving || event.kind == .drained, "\(event.kind) while stopped")
            if event.kind == .received {
              #expect(event.bytes == pattern(event.bytes.count, from: end.received))
              end.received += event.bytes.count
            } else if event.kind == .endOfStream {
              #expect(!end.endSeen)
              end.endSeen = true
            } else {
              #expect(event.kind == .drained)
            }
          }
          if at == i { note(&e) } else { note(&ends[at]) }
        }
      }
      ends[i] = e
    }
    for end in ends {
      #expect(end.arrived == total && end.endSeen)
      #expect(end.received == total && end.peerEndSeen)
    }
  }
}
