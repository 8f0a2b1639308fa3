import Glibc
import SystemIO
import Testing

/// How sockets end that have no owner any more.
extension EngineSuite where Engine: ~Copyable {
  func closesWhenDrained() throws {
    let d = try D()
    let (descriptor, peer) = try Sockets.tcpPair(buffer: 4_096)
    let socket = try d.adopted(descriptor)
    d.engine.startReceiving(socket)
    let answer = pattern(500_000)
    d.send(socket, answer)
    d.engine.closeWhenDrained(socket)
    #expect(d.engine.closingCount == 1)
    #expect(d.engine.unsentBytes(socket) == 0, "the handle is stale")
    var got: [UInt8] = [], last = Peer.Read.nothing
    let end = monotonicNanoseconds() + 60_000_000_000
    while last != .end, monotonicNanoseconds() < end {
      // The peer goes on sending; a plain close would reset and lose the answer.
      _ = peer.write(pattern(3_000)[...])
      last = peer.read(limit: 20_000)
      if case .bytes(let bytes) = last { got += bytes }
      d.turn(0)
    }
    #expect(last == .end)
    #expect(got == answer)
    #expect(d.engine.closingCount == 1)
    peer.close()
    #expect(d.until { _ in d.engine.closingCount == 0 })
    #expect(d.log.isEmpty)
  }

  func goesOnClosingWhileThePeerReads() throws {
    var options = EngineOptions()
    options.closeDrainMilliseconds = 1000
    let d = try D(options)
    let (descriptor, peer) = Sockets.pair()
    let socket = try d.adopted(descriptor)
    let answer = pattern(2_000_000)
    d.send(socket, answer)
    d.engine.closeWhenDrained(socket)
    let start = monotonicNanoseconds()
    var got: [UInt8] = []
    // Several times as long as it would wait for a peer that takes nothing.
    while case .bytes(let bytes) = peer.read(limit: 100_000) {
      got += bytes
      let pause = monotonicNanoseconds() + 150_000_000
      while monotonicNanoseconds() < pause { d.turn(10) }
    }
    #expect(monotonicNanoseconds() - start > 2_000_000_000)
    #expect(got == answer)
  }

  func boundsTheTimeOfClosing() throws {
    var options = EngineOptions()
    options.closeDrainMilliseconds = 60
    options.lingerMilliseconds = 60
    let d = try D(options)
    let (fullDescriptor, fullPeer) = Sockets.pair()
    let (quietDescriptor, quietPeer) = Sockets.pair()
    let full = try d.adopted(fullDescriptor), quiet = try d.adopted(quietDescriptor)
    d.send(full, pattern(2_000_000))
    let start = monotonicNanoseconds()
    d.engine.closeWhenDrained(full)
    d.engine.closeWhenDrained(quiet)
    #expect(d.engine.closingCount == 2)
    // The engine's own times end a wait without a deadline.
    while d.engine.closingCount > 0, monotonicNanoseconds() < start + 5_000_000_000 {
      d.engine.wait(untilNanoseconds: .max)
      #expect(d.next() == nil)
    }
    #expect(d.engine.closingCount == 0)
    // Times are kept in whole milliseconds, of which the first has begun already.
    #expect(monotonicNanoseconds() >= start + 59_000_000)
    #expect(quietPeer.read() == .end)
    withExtendedLifetime((fullPeer, quietPeer)) {}
  }

  private func adoptedPairs(_ d: D, _ count: Int) throws -> (sockets: [Socket], peers: [Peer]) {
    let pairs = (0..<count).map { _ in Sockets.pair() }
    return (try pairs.map { try d.adopted($0.0) }, pairs.map(\.1))
  }

  private func ended(_ peers: [Peer]) -> Int { peers.count { $0.read() == .end } }

  func closesFewInATurn() throws {
    var options = EngineOptions()
    options.closesPerTurn = 2
    let d = try D(options)
    d.turn(0)
    let (sockets, peers) = try adoptedPairs(d, 12)
    for socket in sockets {
      d.engine.startReceiving(socket)
      d.engine.close(socket)
    }
    #expect(ended(peers) <= 2)
    // Nobody hears of one that waits, and nothing that is sent to it arrives.
    #expect(peers[11].write("late") == 4)
    d.send(sockets[11], [1])
    var before = ended(peers)
    for _ in 0..<10 where before < peers.count {
      #expect(d.turn(0).isEmpty)
      let now = ended(peers)
      #expect(now - before <= 2)
      before = now
    }
    #expect(before == peers.count)
    d.turn(0)
    #expect(d.engine.closingCount == 0)
  }

  /// What waits is bounded: of many, more are closed.
  func closesMoreWhereManyWait() throws {
    var options = EngineOptions()
    options.closesPerTurn = 1
    let d = try D(options)
    d.turn(0)
    let (sockets, peers) = try adoptedPairs(d, 72)
    sockets.forEach { d.engine.close($0) }
    for _ in 0..<62 { d.turn(0) }
    #expect(ended(peers) == peers.count)
    #expect(d.engine.closingCount == 0)
  }

  func endsFewTimesInATurn() throws {
    var options = EngineOptions()
    options.lingerMilliseconds = 30
    options.timersPerTurn = 3
    options.closesPerTurn = 100
    let d = try D(options)
    let (sockets, peers) = try adoptedPairs(d, 10)
    sockets.forEach { d.engine.closeWhenDrained($0) }
    d.turn(0)
    #expect(ended(peers) == peers.count)
    #expect(d.engine.closingCount == 10)
    usleep(60_000)
    var left = 10
    while left > 0 {
      #expect(d.turn().isEmpty)
      #expect((1...3).contains(left - d.engine.closingCount))
      if left == d.engine.closingCount { break }
      left = d.engine.closingCount
    }
  }

  /// The number of a socket may still be in the queue of those to be discarded from, where an owner before it had put
  /// it. `list` puts it there.
  func closesWhatIsListed(_ list: (inout Engine, Socket) -> Void) throws {
    var options = EngineOptions()
    options.closesPerTurn = 1
    let d = try D(options)
    d.turn(0)
    let (sockets, peers) = try adoptedPairs(d, 3)
    d.turn(0)
    list(&d.engine, sockets[2])
    for socket in sockets { d.engine.close(socket) }
    for _ in 0..<5 { #expect(d.turn(0).isEmpty) }
    #expect(ended(peers) == 3)
    #expect(d.engine.closingCount == 0)
  }
}
