/// Says in the process's log which limit acted, at what value and on whom.
///
/// Each limit gets one line a second at most; what came in between is counted and said later. A flood that runs
/// into limits a million times a second must not become a flood of lines. One worker's; nothing is shared.
@safe
public struct LimitLog: ~Copyable {
  private struct Entry {
    /// When a line may be written again, in the worker's milliseconds.
    var nextMilliseconds: UInt64 = 0
    var suppressed: UInt64 = 0
  }

  // INVARIANT: `Limit.count` entries, by the limit's index, until deinit.
  private let entries: UnsafeMutablePointer<Entry>
  private let log: LineLogger
  private let limits: Limits
  /// A bit for each limit with suppressed hits.
  private var pending: UInt64 = 0

  public init(log: LineLogger, limits: Limits) {
    precondition(Limit.count <= UInt64.bitWidth)
    unsafe entries = .allocate(capacity: Limit.count)
    unsafe entries.initialize(repeating: Entry(), count: Limit.count)
    self.log = log
    self.limits = limits
  }

  deinit { unsafe entries.deallocate() }

  /// Whether `flush` has something to say.
  public var hasSuppressed: Bool { pending != 0 }

  /// When `flush` may write the first of what was suppressed; the greatest number where nothing was.
  public var flushDeadline: UInt64 {
    var deadline = UInt64.max
    for limit in Limit.allCases where pending & 1 << UInt64(limit.index) != 0 {
      deadline = unsafe min(deadline, entries[limit.index].nextMilliseconds)
    }
    return deadline
  }

  /// A limit acted on `peer`, an address as text (empty: nobody in particular), at `now` milliseconds.
  public mutating func hit(_ limit: Limit, peer: LogText, port: UInt16, now: UInt64) {
    let level: LineLogger.Level = limit.isOrdinary ? .debug : .warning
    guard level >= log.level else { return }
    // SAFETY: of every use of `entries`: an index of a limit is below `Limit.count`.
    let entry = unsafe entries + limit.index
    guard unsafe now >= entry.pointee.nextMilliseconds else {
      unsafe entry.pointee.suppressed += 1
      pending |= 1 << UInt64(limit.index)
      return
    }
    write(limit, level, peer, port, now)
  }

  /// Writes what was suppressed and is a second old.
  public mutating func flush(now: UInt64) {
    guard pending != 0 else { return }
    for limit in Limit.allCases where pending & 1 << UInt64(limit.index) != 0 {
      guard unsafe now >= entries[limit.index].nextMilliseconds else { continue }
      write(limit, limit.isOrdinary ? .debug : .warning, LogText(), 0, now)
    }
  }

  private mutating func write(
    _ limit: Limit, _ level: LineLogger.Level, _ peer: LogText, _ port: UInt16, _ now: UInt64
  ) {
    let before = unsafe entries[limit.index].suppressed
    unsafe entries[limit.index] = Entry(nextMilliseconds: now + 1000)
    pending &= ~(1 << UInt64(limit.index))
    let value = UInt64(limits[limit])
    log.line(level, capacity: 512) { line in
      line.literal("limit ")
      line.literal(limit.name)
      line.literal(" (")
      line.number(value)
      switch limit.definition.unit {
      case .count: break
      case .bytes: line.literal(" bytes")
      case .milliseconds: line.literal(" ms")
      }
      line.literal(") reached")
      if let start = unsafe peer.start, peer.count > 0 {
        line.literal(" by ")
        for index in 0..<peer.count { line.byte(unsafe start[index]) }
        line.literal(" port ")
        line.number(UInt64(port))
      }
      if before > 0 {
        line.literal("; ")
        line.number(before)
        line.literal(" more times since the line before")
      }
    }
  }
}
