import CLinux
import Glibc
import SystemIO
import Testing

/// Bodies of tests that need a process of their own.
enum Exhaustion<Engine: IOEngine & ~Copyable> {
  static func setLimit(_ soft: UInt64) {
    var limit = rlimit()
    _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = min(rlim_t(soft), limit.rlim_max)
    precondition(unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
  }

  static func requireNoBusyLoop(_ d: Driver<Engine>) throws {
    var turns = 0
    let end = monotonicNanoseconds() + 200_000_000
    while monotonicNanoseconds() < end {
      d.turn(20)
      turns += 1
    }
    try #require(turns < 40)
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
    try #require(fillers.count > 10 && clinux_errno() == EMFILE)
    for _ in 0..<3 { _ = close(fillers.removeLast()) }
    // The test's own process opens descriptors of its own now and then. Should it take the reserve
    // in the moment when that is given up, the socket rests until there is room.
    func isSettled(_ log: [Recorded]) -> Bool {
      log.count { $0.kind == .accepted || $0.kind == .refused && $0.count == 1 } == peers.count
    }
    while !d.until(seconds: 2, isSettled) {
      let filler = fillers.popLast()
      _ = close(try #require(filler))
    }
    let accepted = d.log.filter { $0.kind == .accepted }
    try #require(accepted.count >= 1 && accepted.count < peers.count)
    try #require(d.log.allSatisfy { $0.kind == .accepted || $0.error == EMFILE })
    try #require(d.log.allSatisfy { $0.socket == listener })
    try requireNoBusyLoop(d)
    // Room again: the next one is taken in.
    for event in accepted { _ = close(event.descriptor) }
    for _ in 0..<8 { _ = close(fillers.removeLast()) }
    peers.append(Sockets.connect(to: address))
    try #require(d.until { $0.count { $0.kind == .accepted } == accepted.count + 1 })
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
    try #require(d.until { !$0.isEmpty })
    try requireNoBusyLoop(d)
    try #require(d.log.count < 40 && d.log.allSatisfy { $0.kind == .refused && $0.count == 0 })
    setLimit(256)
    try #require(d.until { $0.count { $0.kind == .accepted } == 5 })
    for event in d.log where event.kind == .accepted { _ = close(event.descriptor) }
    // The reserve is back: connections are refused at once instead of waiting.
    var more: [Int32] = []
    let late = (0..<10).map { _ in Sockets.connect(to: address) }
    while case let filler = eventfd(0, 0), filler >= 0 { more.append(filler) }
    let isRefused = { (log: [Recorded]) in log.contains { $0.kind == .refused && $0.count == 1 } }
    while !d.until(seconds: 2, isRefused) {
      let filler = more.popLast()
      _ = close(try #require(filler))
    }
    (fillers + more).forEach { _ = close($0) }
    withExtendedLifetime((peers, late)) {}
  }

  static func thousands(options: EngineOptions = EngineOptions()) throws {
    setLimit(16_384)
    var options = options
    // Without a share of time: in a slow build a turn would have time for one of all that are ready.
    options.bulkNanoseconds = .max
    let d = try Driver<Engine>(options)
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
      for socket in sockets { try #require(peers[socket.index]?.write("hello \(round)") == 7) }
      try #require(d.until { $0.count == count })
      try #require(Set(d.log.map(\.socket.index)).count == count)
      for event in d.log { d.send(event.socket, event.bytes) }
      d.turn(0)
      for socket in sockets {
        try #require(peers[socket.index]?.read() == .bytes(Array("hello \(round)".utf8)))
      }
    }
    d.log = []
    for socket in sockets.prefix(count / 2) { peers[socket.index]?.close() }
    try #require(d.until { $0.count == count / 2 })
    try #require(d.log.allSatisfy { $0.kind == .endOfStream })
    for socket in sockets { d.engine.close(socket) }
    try #require(d.turn(0).isEmpty)
  }
}
