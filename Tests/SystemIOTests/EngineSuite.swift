import CLinux
import Glibc
import SystemIO
import Testing

/// What every engine has to do; EngineTests runs it for each. What was sent may need a turn to go
/// out, so that a test that waits for a peer turns the engine meanwhile.
struct EngineSuite<Engine: IOEngine & ~Copyable> {
  typealias D = Driver<Engine>

  func acceptsReceivesAndSends() throws {
    let d = try D()
    let descriptor = try ListeningSocket.open(address: "127.0.0.1", port: 0)
    let address = try ListeningSocket.localAddress(of: descriptor)
    let listener = d.engine.listen(on: descriptor)
    let peers = (0..<3).map { _ in Sockets.connect(to: address) }
    #expect(d.until { $0.count { $0.kind == .accepted } == 3 })
    let accepted = d.log
    #expect(accepted.allSatisfy { $0.socket == listener && $0.peer.ip == "127.0.0.1" && $0.peer.port != 0 })
    for event in accepted {
      #expect(Sockets.option(event.descriptor, Int32(IPPROTO_TCP), TCP_NODELAY) != 0)
      d.engine.startReceiving(try d.adopted(event.descriptor))
    }
    for peer in peers { #expect(peer.write("ping") == 4) }
    #expect(d.until { $0.count { $0.kind == .received } == 3 })
    for event in d.log where event.kind == .received {
      #expect(event.bytes == Array("ping".utf8))
      d.sendReserved(event.socket, Array("pong".utf8))
      #expect(d.engine.unsentBytes(event.socket) == 0)
    }
    for peer in peers { #expect(waitForBytes(d, peer, 4) == Array("pong".utf8)) }
    peers.forEach { $0.close() }
    #expect(d.until { $0.count { $0.kind == .endOfStream } == 3 })
    d.engine.stopListening(listener)
    #expect(!d.log.contains { $0.kind == .failed || $0.kind == .drained })
  }

  /// Reads of one peer, turning the engine where it must wait.
  func waitForBytes(_ d: D, _ peer: Peer, _ count: Int) -> [UInt8] {
    var all: [UInt8] = []
    for _ in 0..<5_000 where all.count < count {
      switch peer.read() {
      case .bytes(let bytes): all += bytes
      case .nothing: d.turn(1)
      case .end, .failed: return all
      }
    }
    return all
  }

  func keepsWhatTheKernelDoesNotTake() throws {
    for useReserve in [false, true] {
      let d = try D()
      let (descriptor, peer) = try Sockets.tcpPair(buffer: 4_096)
      let socket = try d.adopted(descriptor)
      let message = pattern(1_200_000)
      for start in stride(from: 0, to: message.count, by: 200_000) {
        let part = Array(message[start..<start + 200_000])
        if useReserve { d.sendReserved(socket, part) } else { d.send(socket, part) }
      }
      let queued = d.engine.unsentBytes(socket)
      #expect(queued > 800_000)
      var got: [UInt8] = []
      let end = monotonicNanoseconds() + 60_000_000_000
      while got.count < message.count, monotonicNanoseconds() < end {
        if case .bytes(let bytes) = peer.read(limit: 10_000) { got += bytes }
        d.turn(1)
      }
      #expect(got == message)
      d.turn()
      #expect(d.engine.unsentBytes(socket) == 0)
      #expect(d.kinds(socket) == [.drained])
    }
  }

  func appendsBehindKeptBytes() throws {
    let d = try D()
    // Small buffers, so that what is kept goes out piece by piece and never wholly.
    let (descriptor, peer) = try Sockets.tcpPair(buffer: 8_192)
    let socket = try d.adopted(descriptor)
    var random = Seeded(7)
    var sent = 0, got: [UInt8] = []
    let end = monotonicNanoseconds() + 60_000_000_000
    while sent < 1_500_000 {
      let n = Int.random(in: 1...20_000, using: &random)
      d.send(socket, pattern(n, from: sent))
      sent += n
      if d.engine.unsentBytes(socket) > 150_000 {
        while d.engine.unsentBytes(socket) > 50_000, monotonicNanoseconds() < end {
          if case .bytes(let bytes) = peer.read(limit: 30_000) { got += bytes }
          d.turn(0)
        }
      }
    }
    while got.count < sent, monotonicNanoseconds() < end {
      if case .bytes(let bytes) = peer.read() { got += bytes }
      d.turn(0)
    }
    #expect(got == pattern(sent))
    #expect(d.engine.unsentBytes(socket) == 0)
  }

  func leavesBytesInTheKernelWhileStopped() throws {
    let d = try D()
    let (descriptor, peer) = try Sockets.tcpPair(buffer: 8_192)
    let socket = try d.adopted(descriptor)
    let message = pattern(2_000_000)
    var at = peer.write(message[...])
    for _ in 0..<20 {
      d.turn(1)
      at += peer.write(message[at...])
    }
    // The peer feels it: it could not write everything.
    #expect(at < message.count)
    #expect(d.log.isEmpty)
    d.engine.startReceiving(socket)
    d.turn()
    d.engine.stopReceiving(socket)
    let before = d.received(socket).count
    #expect(before > 0)
    for _ in 0..<5 {
      d.turn(1)
      at += peer.write(message[at...])
    }
    #expect(d.received(socket).count == before)
    d.engine.startReceiving(socket)
    let end = monotonicNanoseconds() + 60_000_000_000
    while at < message.count, monotonicNanoseconds() < end {
      at += peer.write(message[at...])
      d.turn(1)
    }
    peer.shutdownWrite()
    #expect(d.until { $0.contains { $0.kind == .endOfStream } })
    #expect(d.received(socket) == message)
    #expect(d.kinds(socket) == [.received, .endOfStream])
  }

  func peerHalfClosesFirst() throws {
    for isTCP in [true, false] {
      let d = try D()
      let (descriptor, peer) = try isTCP ? Sockets.tcpPair() : Sockets.pair()
      let socket = try d.adopted(descriptor)
      let question = pattern(150_000)
      #expect(peer.write(question[...]) == question.count)
      peer.shutdownWrite()
      for _ in 0..<3 { d.turn(5) }
      #expect(d.log.isEmpty)
      d.engine.startReceiving(socket)
      #expect(d.until { $0.contains { $0.kind == .endOfStream } })
      #expect(d.received(socket) == question)
      d.send(socket, Array("answer".utf8))
      #expect(waitForBytes(d, peer, 6) == Array("answer".utf8))
      for _ in 0..<3 { d.turn(2) }
      #expect(d.kinds(socket) == [.received, .endOfStream])
      d.engine.shutdownWrite(socket)
      #expect(waitForEnd(d, peer) == .end)
      for _ in 0..<3 { d.turn(2) }
      // Both sides ended in order: that is no failure.
      #expect(d.kinds(socket) == [.received, .endOfStream])
      d.engine.close(socket)
    }
  }

  func waitForEnd(_ d: D, _ peer: Peer) -> Peer.Read {
    for _ in 0..<5_000 {
      switch peer.read() {
      case .bytes: continue
      case .nothing: d.turn(1)
      case let other: return other
      }
    }
    return .nothing
  }

  func halfClosesFirstAfterUnsentBytes() throws {
    let d = try D()
    let (descriptor, peer) = try Sockets.tcpPair(buffer: 4_096)
    let socket = try d.adopted(descriptor)
    d.engine.startReceiving(socket)
    let question = pattern(1_000_000)
    d.send(socket, question)
    d.engine.shutdownWrite(socket)
    #expect(d.engine.unsentBytes(socket) > 0)
    // What is sent after the half-close goes nowhere.
    d.send(socket, [1, 2, 3])
    var got: [UInt8] = [], ended = false
    let end = monotonicNanoseconds() + 60_000_000_000
    while !ended, monotonicNanoseconds() < end {
      switch peer.read(limit: 20_000) {
      case .bytes(let bytes): got += bytes
      case .end: ended = true
      default: break
      }
      d.turn(0)
    }
    #expect(ended)
    #expect(got == question)
    #expect(peer.write("answer") == 6)
    peer.close()
    #expect(d.until { $0.contains { $0.kind == .endOfStream } })
    #expect(d.received(socket) == Array("answer".utf8))
    #expect(d.kinds(socket) == [.drained, .received, .endOfStream])
  }

  func deliversBytesBeforeAReset() throws {
    let d = try D()
    let (descriptor, peer) = try Sockets.tcpPair()
    let socket = try d.adopted(descriptor)
    d.engine.startReceiving(socket)
    #expect(peer.write("413 too large") == 13)
    peer.reset()
    usleep(2_000)
    d.send(socket, pattern(10_000))
    d.send(socket, pattern(10_000))
    #expect(d.until { $0.contains { $0.kind == .failed } })
    for _ in 0..<3 { d.turn(2) }
    #expect(d.received(socket) == Array("413 too large".utf8))
    #expect(d.kinds(socket) == [.received, .failed])
    #expect(d.log.last?.error == ECONNRESET)
    #expect(d.engine.unsentBytes(socket) == 0)
  }

  /// The failure is found by a send, before the engine heard of anything.
  func deliversBytesBeforeAFailedSend() throws {
    let d = try D()
    let (descriptor, peer) = try Sockets.tcpPair()
    let (otherDescriptor, otherPeer) = Sockets.pair()
    let socket = try d.adopted(descriptor), other = try d.adopted(otherDescriptor)
    d.engine.startReceiving(socket)
    d.turn(5)
    d.engine.startReceiving(other)
    #expect(otherPeer.write("x") == 1)
    d.engine.wait(untilNanoseconds: monotonicNanoseconds() + 1_000_000_000)
    #expect(d.next()?.socket == other)
    #expect(peer.write("413 too large") == 13)
    peer.reset()
    usleep(2_000)
    d.send(socket, [1])
    #expect(d.until { $0.contains { $0.kind == .failed } })
    #expect(d.log.map(\.kind) == [.received, .failed])
    #expect(d.log.first?.bytes == Array("413 too large".utf8))
  }

  func saysThatSendingIsDeadWhileStopped() throws {
    let d = try D()
    let (descriptor, peer) = try Sockets.tcpPair()
    let (idleDescriptor, idlePeer) = try Sockets.tcpPair()
    let socket = try d.adopted(descriptor), idle = try d.adopted(idleDescriptor)
    #expect(peer.write("late") == 4)
    peer.reset()
    idlePeer.reset()
    #expect(d.until { $0.count >= 2 })
    for _ in 0..<3 { d.turn(2) }
    // With nothing to read the failure is said at once; else what was sent is not lost.
    #expect(d.kinds(idle) == [.failed])
    #expect(d.kinds(socket) == [.sendFailed])
    d.engine.startReceiving(socket)
    #expect(d.until { $0.contains { $0.kind == .failed && $0.socket == socket } })
    #expect(d.kinds(socket) == [.sendFailed, .received, .failed])
    #expect(d.received(socket) == Array("late".utf8))
    #expect(d.log.allSatisfy { $0.kind == .received || $0.error == ECONNRESET })
  }

  func failsWhenAUnixPeerGoes() throws {
    let d = try D()
    let (descriptor, peer) = Sockets.pair()
    let socket = try d.adopted(descriptor)
    d.engine.startReceiving(socket)
    #expect(peer.write("bye") == 3)
    peer.close()
    #expect(d.until { $0.contains { $0.kind == .endOfStream } })
    #expect(d.kinds(socket) == [.received, .endOfStream])
    d.send(socket, [1])
    #expect(d.until { $0.contains { $0.kind == .failed } })
    #expect(d.log.last?.error == EPIPE)
  }

  func givesNothingStaleToANewOwner() throws {
    let d = try D()
    var reuses = 0
    // An engine may close with the turn: in every second round the number is taken only after it.
    for round in 0..<50 {
      let (firstDescriptor, firstPeer) = Sockets.pair()
      let (secondDescriptor, secondPeer) = Sockets.pair()
      let sockets = [try d.adopted(firstDescriptor), try d.adopted(secondDescriptor)]
      sockets.forEach { d.engine.startReceiving($0) }
      #expect(firstPeer.write("one") == 3 && secondPeer.write("two") == 3)
      d.engine.wait(untilNanoseconds: monotonicNanoseconds() + 1_000_000_000)
      // Both events are pending. The first seen closes the other and takes its number again.
      let event = try #require(d.next())
      let other = event.socket == sockets[0] ? sockets[1] : sockets[0]
      d.engine.close(other)
      if round % 2 == 1 { #expect(d.turn(0).isEmpty) }
      let (newDescriptor, newPeer) = Sockets.pair()
      let new = try d.adopted(newDescriptor)
      d.engine.startReceiving(new)
      if new.index == other.index {
        reuses += 1
        #expect(new.generation != other.generation)
      }
      var more = d.next()
      while let event = more {
        #expect(event.socket == sockets[0] || event.socket == sockets[1])
        #expect(event.socket != other && event.socket != new)
        more = d.next()
      }
      // A stale handle reaches nobody.
      d.send(other, Array("stale".utf8))
      d.engine.shutdownWrite(other)
      d.engine.closeWhenDrained(other)
      d.engine.stopReceiving(other)
      d.engine.close(other)
      #expect(newPeer.read() == .nothing)
      #expect(d.turn(0).isEmpty)
      #expect(newPeer.write("new") == 3)
      #expect(d.turn(1_000) == [Recorded(kind: .received, socket: new, bytes: Array("new".utf8), count: 3)])
      d.engine.close(new)
      d.engine.close(event.socket)
      d.turn(0)
    }
    #expect(reuses > 0)
    #expect(d.turn(0).isEmpty)
  }
}
