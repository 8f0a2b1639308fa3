import CLinux
import Glibc
import SystemIO
import Testing

@Suite struct EpollEngineTests {
  private let suite = EngineSuite<EpollEngine>()

  @Test func acceptsReceivesAndSends() throws { try suite.acceptsReceivesAndSends() }
  @Test func keepsWhatTheKernelDoesNotTake() throws { try suite.keepsWhatTheKernelDoesNotTake() }
  @Test func appendsBehindKeptBytes() throws { try suite.appendsBehindKeptBytes() }
  @Test func leavesBytesInTheKernelWhileStopped() throws { try suite.leavesBytesInTheKernelWhileStopped() }
  @Test func peerHalfClosesFirst() throws { try suite.peerHalfClosesFirst() }
  @Test func halfClosesFirstAfterUnsentBytes() throws { try suite.halfClosesFirstAfterUnsentBytes() }
  @Test func deliversBytesBeforeAReset() throws { try suite.deliversBytesBeforeAReset() }
  @Test func deliversBytesBeforeAFailedSend() throws { try suite.deliversBytesBeforeAFailedSend() }
  @Test func saysThatSendingIsDeadWhileStopped() throws { try suite.saysThatSendingIsDeadWhileStopped() }
  @Test func failsWhenAUnixPeerGoes() throws { try suite.failsWhenAUnixPeerGoes() }
  @Test func givesNothingStaleToANewOwner() throws { try suite.givesNothingStaleToANewOwner() }
  @Test func connects() throws { try suite.connects() }
  @Test func reportsRefusedConnections() throws { try suite.reportsRefusedConnections() }
  @Test func wakesFromAnotherThread() throws { try suite.wakesFromAnotherThread() }
  @Test func waitsUntilTheDeadline() throws { try suite.waitsUntilTheDeadline() }
  @Test func sharesATurnFairly() throws { try suite.sharesATurnFairly() }
  @Test func closesWhenDrained() throws { try suite.closesWhenDrained() }
  @Test func boundsTheTimeOfClosing() throws { try suite.boundsTheTimeOfClosing() }

  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func carriesEverythingUnderRandomUse(seed: UInt64) throws {
    try suite.carriesEverythingUnderRandomUse(seed: seed)
  }

  // The three below change what the whole process may open, and so run in one of their own.

  @Test func survivesRunningOutOfDescriptors() async {
    await #expect(processExitsWith: .success) { try Exhaustion<EpollEngine>.runOut() }
  }

  @Test func restsWithoutAReserve() async {
    await #expect(processExitsWith: .success) { try Exhaustion<EpollEngine>.rest() }
  }

  @Test func carriesThousandsOfSockets() async {
    await #expect(processExitsWith: .success) { try Exhaustion<EpollEngine>.thousands() }
  }

  @Test func adoptsNothingAboveTheSlotLimit() throws {
    let (descriptor, peer) = Sockets.pair()
    var options = EngineOptions()
    options.slotLimit = Int(descriptor)
    // Whether the engine's own descriptors fit is up to what else is open just now.
    guard let d = try? Driver<EpollEngine>(options) else {
      _ = close(descriptor)
      return
    }
    #expect(d.engine.adopt(descriptor) == nil)
    // It is still ours.
    #expect(peer.write("x") == 1)
    #expect(close(descriptor) == 0)
  }
}

/// Bodies of tests that need a process of their own; a trap is a failure.
enum Exhaustion<Engine: IOEngine & ~Copyable> {
  static func setLimit(_ soft: UInt64) {
    var limit = rlimit()
    _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = min(rlim_t(soft), limit.rlim_max)
    precondition(unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
  }

  static func runOut() throws {
    var options = EngineOptions()
    options.acceptPauseMilliseconds = 30
    let d = try Driver<Engine>(options)
    let descriptor = try ListeningSocket.open(address: "127.0.0.1", port: 0)
    let address = try ListeningSocket.localAddress(of: descriptor)
    let listener = d.engine.listen(on: descriptor)
    var peers = (0..<12).map { _ in Sockets.connect(to: address) }
    // Every number below the limit but three is taken by fillers.
    var fillers: [Int32] = []
    setLimit(256)
    while true {
      let filler = eventfd(0, 0)
      if filler < 0 { break }
      fillers.append(filler)
    }
    precondition(fillers.count > 10 && clinux_errno() == EMFILE)
    for _ in 0..<3 { _ = close(fillers.removeLast()) }
    precondition(d.until { $0.count { $0.kind == .accepted || $0.kind == .refused && $0.count == 1 } == 12 })
    let accepted = d.log.filter { $0.kind == .accepted }
    // Three, and what else the process itself may have closed meanwhile.
    precondition(accepted.count >= 3 && accepted.count <= 8)
    precondition(d.log.allSatisfy { $0.kind == .accepted || $0.error == EMFILE })
    precondition(d.log.allSatisfy { $0.socket == listener })
    // No busy loop: nothing more comes, and a wait lasts.
    let start = monotonicNanoseconds()
    precondition(d.turn(40).isEmpty)
    precondition(monotonicNanoseconds() >= start + 35_000_000)
    // Room again: the next one is taken in.
    for event in accepted { _ = close(event.descriptor) }
    for _ in 0..<4 { _ = close(fillers.removeLast()) }
    peers.append(Sockets.connect(to: address))
    precondition(d.until { $0.count { $0.kind == .accepted } == accepted.count + 1 })
    fillers.forEach { _ = close($0) }
  }

  /// Not even a connection to refuse can be taken in: the socket rests and goes on by itself.
  static func rest() throws {
    var options = EngineOptions()
    options.acceptPauseMilliseconds = 50
    let fillers = (0..<40).map { _ in eventfd(0, 0) }
    let d = try Driver<Engine>(options)
    let descriptor = try ListeningSocket.open(address: "127.0.0.1", port: 0)
    let address = try ListeningSocket.localAddress(of: descriptor)
    _ = d.engine.listen(on: descriptor)
    let peers = (0..<5).map { _ in Sockets.connect(to: address) }
    // Below every number of the engine's, the reserve's too; 0 to 2 are always taken.
    setLimit(3)
    precondition(d.until { !$0.isEmpty })
    var turns = 0
    let end = monotonicNanoseconds() + 200_000_000
    while monotonicNanoseconds() < end {
      d.turn(20)
      turns += 1
    }
    precondition(turns < 40, "a busy loop")
    precondition(d.log.count < 10 && d.log.allSatisfy { $0.kind == .refused && $0.count == 0 })
    setLimit(256)
    precondition(d.until { $0.count { $0.kind == .accepted } == 5 })
    for event in d.log where event.kind == .accepted { _ = close(event.descriptor) }
    // The reserve is back: connections are refused at once instead of waiting.
    var more: [Int32] = []
    let late = (0..<10).map { _ in Sockets.connect(to: address) }
    while case let filler = eventfd(0, 0), filler >= 0 { more.append(filler) }
    precondition(d.until { $0.contains { $0.kind == .refused && $0.count == 1 } })
    (fillers + more).forEach { _ = close($0) }
    withExtendedLifetime((peers, late)) {}
  }

  static func thousands() throws {
    setLimit(16_384)
    let d = try Driver<Engine>()
    let count = 3_000
    var peers: [Int32: Peer] = [:], sockets: [Socket] = []
    for _ in 0..<count {
      let (descriptor, peer) = Sockets.pair()
      let socket = try d.adopted(descriptor)
      d.engine.startReceiving(socket)
      peers[descriptor] = peer
      sockets.append(socket)
    }
    for round in 0..<3 {
      d.log = []
      for socket in sockets { precondition(peers[socket.index]?.write("hello \(round)") == 7) }
      precondition(d.until { $0.count == count })
      precondition(Set(d.log.map(\.socket.index)).count == count)
      for event in d.log { d.send(event.socket, event.bytes) }
      for socket in sockets {
        precondition(peers[socket.index]?.read() == .bytes(Array("hello \(round)".utf8)))
      }
    }
    d.log = []
    for socket in sockets.prefix(count / 2) { peers[socket.index]?.close() }
    precondition(d.until { $0.count == count / 2 })
    precondition(d.log.allSatisfy { $0.kind == .endOfStream })
    for socket in sockets { d.engine.close(socket) }
    precondition(d.turn(0).isEmpty)
  }
}
