import CLinux

/// The process's own log: one line a message on standard error (or another descriptor), whole lines only.
public struct LineLogger: Sendable {
  public enum Level: Int, Sendable, Comparable {
    case debug, info, warning, error

    public static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }

    public init?(name: String) {
      switch name {
      case "debug": self = .debug
      case "info": self = .info
      case "warning": self = .warning
      case "error": self = .error
      default: return nil
      }
    }

    var name: StaticString {
      switch self {
      case .debug: "debug"
      case .info: "info"
      case .warning: "warning"
      case .error: "error"
      }
    }
  }

  /// Messages below are dropped.
  public var level: Level
  public var descriptor: Int32

  public init(level: Level = .info, descriptor: Int32 = 2) {
    self.level = level
    self.descriptor = descriptor
  }

  public func debug(_ message: @autoclosure () -> String) { write(.debug, message) }
  public func info(_ message: @autoclosure () -> String) { write(.info, message) }
  public func warning(_ message: @autoclosure () -> String) { write(.warning, message) }
  public func error(_ message: @autoclosure () -> String) { write(.error, message) }

  private func write(_ level: Level, _ message: () -> String) {
    guard level >= self.level else { return }
    let text = message()
    line(level, capacity: text.utf8.count) { line in
      // A line feed in a message (a peer's text) must not look like a line of ours.
      for byte in text.utf8 { line.byte(byte < 0x20 || byte == 0x7F ? 0x20 : byte) }
    }
  }

  /// One line of at most `capacity` bytes, whatever the level; `fill` writes what it says, without a line feed.
  func line(_ level: Level, capacity: Int, _ fill: (inout LineWriter) -> Void) {
    let room = 64 + capacity
    unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: room) { memory in
      guard let base = memory.baseAddress else { return }
      var line = unsafe LineWriter(base, capacity: room - 1)
      line.time(clinux_realtime_nanoseconds())
      line.byte(0x20)
      line.literal(level.name)
      line.literal(" dataplane: ")
      fill(&line)
      line.end()
      // A log that cannot be written must not stop the process.
      _ = unsafe CLinux.write(descriptor, base, line.count)
    }
  }
}

/// "Permission denied" for EACCES.
public func errorText(_ code: Int32) -> String {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { memory in
    guard let base = memory.baseAddress, let text = unsafe clinux_error_text(code, base, 256) else {
      return "error \(code)"
    }
    return unsafe String(cString: text)
  }
}
