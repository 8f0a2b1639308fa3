/// Frames that a peer has sent beyond what time has forgiven.
struct FloodCounters {
  var lastMilliseconds: UInt64 = 0
  var resetsReceived: UInt32 = 0
  var resetsSent: UInt32 = 0
  var pings: UInt32 = 0
  var settings: UInt32 = 0
  var emptyData: UInt32 = 0
  var priorities: UInt32 = 0
  var windowUpdates: UInt32 = 0
  var unknown: UInt32 = 0

  /// Counts one frame; true when that was one too many.
  @inline(__always)
  mutating func count(_ limit: HTTP2Limit, _ limits: borrowing HTTP2Limits, now: UInt64) -> Bool {
    if now &- lastMilliseconds >= 1000 { forgive(limits, now: now) }
    switch limit {
    case .resetsReceived: return Self.isAbove(&resetsReceived, limits.resetsReceived)
    case .resetsSent: return Self.isAbove(&resetsSent, limits.resetsSent)
    case .pings: return Self.isAbove(&pings, limits.pings)
    case .settings: return Self.isAbove(&settings, limits.settings)
    case .emptyData: return Self.isAbove(&emptyData, limits.emptyData)
    case .priorities: return Self.isAbove(&priorities, limits.priorities)
    case .windowUpdates: return Self.isAbove(&windowUpdates, limits.windowUpdates)
    case .unknownFrames: return Self.isAbove(&unknown, limits.unknownFrames)
    case .none, .headerBytes, .headerFields, .continuations, .concurrentStreams, .queuedAcknowledgements: return false
    }
  }

  @inline(__always)
  private static func isAbove(_ counter: inout UInt32, _ rate: HTTP2Rate) -> Bool {
    counter &+= 1
    return counter > rate.burst
  }

  private mutating func forgive(_ limits: borrowing HTTP2Limits, now: UInt64) {
    let seconds = UInt32(clamping: (now &- lastMilliseconds) / 1000)
    lastMilliseconds = now
    Self.lower(&resetsReceived, limits.resetsReceived, seconds)
    Self.lower(&resetsSent, limits.resetsSent, seconds)
    Self.lower(&pings, limits.pings, seconds)
    Self.lower(&settings, limits.settings, seconds)
    Self.lower(&emptyData, limits.emptyData, seconds)
    Self.lower(&priorities, limits.priorities, seconds)
    Self.lower(&windowUpdates, limits.windowUpdates, seconds)
    Self.lower(&unknown, limits.unknownFrames, seconds)
  }

  private static func lower(_ counter: inout UInt32, _ rate: HTTP2Rate, _ seconds: UInt32) {
    let (amount, overflow) = rate.perSecond.multipliedReportingOverflow(by: seconds)
    counter = overflow || amount >= counter ? 0 : counter - amount
  }
}
