import CLinux

/// Wall-clock time, injected so that tests decide it.
public protocol WallClock: Sendable {
  /// Milliseconds since 1970-01-01T00:00:00Z.
  var milliseconds: UInt64 { get }
}

public struct SystemWallClock: WallClock {
  public init() {}

  public var milliseconds: UInt64 { clinux_realtime_nanoseconds() / 1_000_000 }
}

extension WallClock {
  /// RFC 3339 in UTC with whole seconds, as Kubernetes writes times.
  var timestamp: String {
    let seconds = milliseconds / 1000
    let (days, rest) = seconds.quotientAndRemainder(dividingBy: 86_400)
    // Days to a civil date of the Gregorian calendar, counted in eras of 400 years from 0000-03-01.
    let shifted = days + 719_468
    let (era, dayOfEra) = shifted.quotientAndRemainder(dividingBy: 146_097)
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    return "\(year)-\(two(month))-\(two(day))T\(two(rest / 3600)):\(two(rest / 60 % 60)):\(two(rest % 60))Z"
  }

  private func two(_ number: UInt64) -> String { number < 10 ? "0\(number)" : "\(number)" }
}
