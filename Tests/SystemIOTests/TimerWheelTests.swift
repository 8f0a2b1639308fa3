import SystemIO
import Testing

@Suite struct TimerWheelTests {
  @Test func firesInTimeAndNotBefore() {
    var wheel = TimerWheel(capacity: 8, tickMilliseconds: 4)
    wheel.advance(nowMilliseconds: 1_000)
    wheel.schedule(3, atMilliseconds: 1_010)
    wheel.schedule(5, atMilliseconds: 5_000)
    #expect(wheel.count == 2)
    #expect(wheel.nextDeadline <= 1_012 && wheel.nextDeadline > 1_000)
    wheel.advance(nowMilliseconds: 1_009)
    #expect(wheel.popExpired() == -1)
    wheel.advance(nowMilliseconds: 1_012)
    #expect(wheel.popExpired() == 3)
    #expect(wheel.popExpired() == -1)
    #expect(wheel.isScheduled(5) && !wheel.isScheduled(3))
    wheel.advance(nowMilliseconds: 9_000)
    #expect(wheel.popExpired() == 5)
    #expect(wheel.nextDeadline == .max && wheel.count == 0)
  }

  @Test func takesPassedFarAndRepeatedTimes() {
    var wheel = TimerWheel(capacity: 4, tickMilliseconds: 1)
    wheel.advance(nowMilliseconds: 1 << 40)
    wheel.schedule(0, atMilliseconds: 5)
    #expect(wheel.nextDeadline <= 1 << 40)
    #expect(wheel.popExpired() == 0)
    // Beyond what the levels can tell apart.
    let far: UInt64 = 1 << 40 + 3 << 36
    wheel.schedule(1, atMilliseconds: far)
    wheel.schedule(2, atMilliseconds: (1 << 40) + 50)
    wheel.schedule(2, atMilliseconds: (1 << 40) + 70)
    wheel.advance(nowMilliseconds: (1 << 40) + 60)
    #expect(wheel.popExpired() == -1)
    wheel.advance(nowMilliseconds: (1 << 40) + 70)
    #expect(wheel.popExpired() == 2)
    wheel.advance(nowMilliseconds: far - 1)
    #expect(wheel.popExpired() == -1)
    #expect(wheel.nextDeadline <= far)
    wheel.advance(nowMilliseconds: far)
    #expect(wheel.popExpired() == 1)
    // Cancelled between expiry and the pop.
    wheel.schedule(3, atMilliseconds: far)
    wheel.cancel(3)
    wheel.cancel(3)
    #expect(wheel.popExpired() == -1)
  }

  /// Against a dictionary of deadlines.
  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func agreesWithANaiveModel(seed: UInt64) {
    var random = Seeded(seed &* 7_919)
    let capacity: Int32 = 200
    let tick = [1, 4, 16][Int(seed % 3)] as UInt64
    var wheel = TimerWheel(capacity: Int(capacity), tickMilliseconds: tick)
    var model: [Int32: UInt64] = [:]
    var now = UInt64.random(in: 0...1 << 34, using: &random)
    wheel.advance(nowMilliseconds: now)
    for step in 0..<4_000 {
      let id = Int32.random(in: 0..<capacity, using: &random)
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<5:
        let reach = UInt64(1) << UInt64.random(in: 0...26, using: &random)
        let time = now &+ UInt64.random(in: 0...reach, using: &random)
        wheel.schedule(id, atMilliseconds: time)
        model[id] = time
      case 5, 6:
        wheel.cancel(id)
        model[id] = nil
      default:
        let reach = UInt64(1) << UInt64.random(in: 0...22, using: &random)
        // Half the time to the moment that the wheel itself asks for.
        if Bool.random(using: &random), wheel.nextDeadline != .max {
          now = max(now, wheel.nextDeadline)
        } else {
          now += UInt64.random(in: 0...reach, using: &random)
        }
        wheel.advance(nowMilliseconds: now)
        while case let id = wheel.popExpired(), id >= 0 {
          guard let time = model.removeValue(forKey: id) else {
            Issue.record("seed \(seed) step \(step): timer \(id) was not set")
            return
          }
          #expect(time <= now, "seed \(seed) step \(step): timer \(id) fired early")
        }
        // Everything that a tick has passed since has fired.
        let missed = model.filter { $0.value / tick + 1 <= now / tick }
        #expect(missed.isEmpty, "seed \(seed) step \(step)")
      }
      #expect(wheel.count == model.count)
      if let first = model.values.min() {
        let next = wheel.nextDeadline
        #expect(next <= max(first + tick - 1, now), "seed \(seed) step \(step): would sleep too long")
      } else {
        #expect(wheel.nextDeadline == .max)
      }
    }
  }
}
