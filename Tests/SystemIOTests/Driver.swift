import SystemIO

/// What an event said, kept beyond the turn.
struct Recorded: Equatable {
  var kind: IOEventKind
  var socket: Socket
  var error: Int32 = 0
  var bytes: [UInt8] = []
  var descriptor: Int32 = -1
  var peer = SocketAddress()
  var count = 0
}

/// Turns an engine by hand and keeps what it says.
final class Driver<Engine: IOEngine & ~Copyable> {
  var engine: Engine
  var log: [Recorded] = []

  init(_ options: EngineOptions = EngineOptions()) throws {
    engine = try Engine(options: options)
  }

  /// One turn; waits no longer than `milliseconds`. Returns what came.
  @discardableResult
  func turn(_ milliseconds: UInt64 = 20) -> [Recorded] {
    let before = log.count
    engine.wait(untilNanoseconds: monotonicNanoseconds() + milliseconds * 1_000_000)
    while let event = next() { log.append(event) }
    return Array(log[before...])
  }

  func next() -> Recorded? {
    var event = IOEvent()
    guard engine.next(&event) else { return nil }
    var recorded = Recorded(kind: event.kind, socket: event.socket, count: event.count)
    switch event.kind {
    case .received:
      recorded.bytes = unsafe Array(UnsafeBufferPointer(start: event.bytes, count: event.count))
    case .accepted:
      recorded.descriptor = event.descriptor
      recorded.peer = event.peer
    case .failed, .sendFailed, .refused: recorded.error = event.error
    default: break
    }
    return recorded
  }

  /// Turns until `condition` holds; false: it did not within `seconds`.
  func until(seconds: UInt64 = 60, _ condition: ([Recorded]) -> Bool) -> Bool {
    let end = monotonicNanoseconds() + seconds * 1_000_000_000
    while !condition(log) {
      if monotonicNanoseconds() > end { return false }
      turn()
    }
    return true
  }

  func send(_ socket: Socket, _ bytes: [UInt8]) {
    unsafe bytes.withUnsafeBufferPointer { buffer in
      if let start = buffer.baseAddress { unsafe engine.send(socket, copying: start, count: buffer.count) }
    }
  }

  /// The same by way of the reserved space.
  func sendReserved(_ socket: Socket, _ bytes: [UInt8]) {
    let space = unsafe engine.reserve(bytes.count)
    for (i, byte) in bytes.enumerated() { unsafe space[i] = byte }
    engine.send(socket, reserved: bytes.count)
  }

  func received(_ socket: Socket) -> [UInt8] {
    log.filter { $0.kind == .received && $0.socket == socket }.flatMap(\.bytes)
  }

  /// The kinds of a socket's events, with runs of `received` taken as one.
  func kinds(_ socket: Socket) -> [IOEventKind] {
    var kinds: [IOEventKind] = []
    for event in log where event.socket == socket {
      if event.kind == .received, kinds.last == .received { continue }
      kinds.append(event.kind)
    }
    return kinds
  }

  /// A receiving socket over a new pair.
  func adopted(_ descriptor: Int32) throws -> Socket {
    guard let socket = engine.adopt(descriptor) else { throw NoSlot() }
    return socket
  }
}

struct NoSlot: Error {}
