import SystemIO
import Telemetry

/// How the time of a turn is shared out: no client waits for as long as it pleases another one. What one client's input
/// asks for beyond a slice waits, once the turn has been long, in `unread` until the events of the others were seen;
/// meanwhile nothing more is read from it.
extension Worker where Engine: ~Copyable {
  /// Nanoseconds that a connection to a backend costs after it was begun: the kernel makes it at the turn's end, and
  /// has something sent on it and closes it later.
  static var connectNanoseconds: UInt64 { 40_000 }
  /// Most timers of a kind that fire in a turn.
  static var timersPerTurn: Int { 64 }

  /// Whether the turn has no time left for what can wait. (Mutating, because a borrowed worker is copied.)
  @inline(__always)
  mutating func timeIsUp() -> Bool { engine.nowNanoseconds() &- nowNanoseconds &+ owedNanoseconds >= turnNanoseconds }

  /// The slice for a client that has more than one, or where the turn is long or has asked much of the kernel.
  var smallSlice: Int { max(1, slice / 4) }

  /// The rest of what the client sent, which is stashed, waits for a later turn.
  @inline(never)
  mutating func waitForTurn(_ index: Int32) {
    counters.hit(.maxTurnMicroseconds)
    connections[index][].flags.insert(.waitsForTurn)
    pauseReading(index)
    unread.append(index)
  }

  /// Goes on with what was left over: with one connection, and with more while there is time.
  mutating func readOn() {
    var left = unread.count
    while left > 0 {
      left -= 1
      let index = unread.popFirst()
      let connection = connections[index]
      guard connection[].role == .downstream, connection[].flags.contains(.waitsForTurn) else { continue }
      connection[].flags.remove(.waitsForTurn)
      switch connection[].phase {
      case .handshaking: readHandshakeOn(index)
      case .http1: readRequestsOn(index)
      case .http2: readSessionOn(index)
      case .proxyHeader, .clientHello, .detecting, .connecting, .tunnel: resumeReading(index)
      }
      if timeIsUp() { return }
    }
  }
}
