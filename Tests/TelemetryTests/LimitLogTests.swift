import Glibc
import Testing

@testable import Telemetry

struct LimitLogTests {
  /// The lines that `body` makes, without their times.
  private func lines(_ level: LineLogger.Level = .info, _ body: (inout LimitLog) -> Void) -> [String] {
    var ends: [Int32] = [0, 0]
    #expect(unsafe pipe(&ends) == 0)
    var log = LimitLog(log: LineLogger(level: level, descriptor: ends[1]), limits: Limits())
    body(&log)
    close(ends[1])
    var text = [UInt8](repeating: 0, count: 65_536)
    let count = unsafe read(ends[0], &text, text.count)
    close(ends[0])
    return String(decoding: text[..<max(0, count)], as: UTF8.self).split(separator: "\n").map { line in
      line.split(separator: " ", maxSplits: 1).dropFirst().joined()
    }
  }

  private func hit(_ log: inout LimitLog, _ limit: Limit, now: UInt64) {
    let address = Array("192.0.2.7".utf8)
    unsafe address.withUnsafeBufferPointer { bytes in
      unsafe log.hit(limit, peer: LogText(bytes.baseAddress, bytes.count), port: 4711, now: now)
    }
  }

  @Test func aLineASecondForEachLimit() {
    let said = lines { log in
      for now in 0..<2500 as Range<UInt64> { hit(&log, .maxPings, now: 5000 + now) }
      hit(&log, .requestHeadTimeout, now: 7400)
      let (before, deadline) = (log.hasSuppressed, log.flushDeadline)
      log.flush(now: 7999)
      log.flush(now: 8000)
      let (after, never) = (log.hasSuppressed, log.flushDeadline)
      #expect(before && !after && deadline == 8000 && never == .max)
      log.flush(now: 20_000)
    }
    let peer = "by 192.0.2.7 port 4711"
    #expect(
      said == [
        "warning dataplane: limit max-pings (120) reached \(peer)",
        "warning dataplane: limit max-pings (120) reached \(peer); 999 more times since the line before",
        "warning dataplane: limit max-pings (120) reached \(peer); 999 more times since the line before",
        "warning dataplane: limit request-head-timeout (10000 ms) reached \(peer)",
        "warning dataplane: limit max-pings (120) reached; 499 more times since the line before",
      ])
  }

  @Test func ordinaryOnesAreForDebugging() {
    #expect(lines { hit(&$0, .idleTimeout, now: 1) } == [])
    #expect(lines(.debug) { hit(&$0, .idleTimeout, now: 1) }.count == 1)
    #expect(lines(.error) { hit(&$0, .maxPings, now: 1) } == [])
  }
}
