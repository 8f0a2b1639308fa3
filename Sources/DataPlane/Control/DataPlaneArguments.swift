import CLinux
public import Sandbox
import Telemetry

/// A command line that cannot be used, as a sentence for its author.
public struct ArgumentError: Error, Equatable, CustomStringConvertible {
  public let description: String
}

/// The command line of the data plane. Parsed by hand: the process carries no Foundation.
public struct DataPlaneArguments: Sendable {
  public enum Action: Sendable, Equatable { case run, help, helpLimits, version }

  public var action = Action.run
  public var control = ControlOptions()
  public var workers: Int
  public enum EngineChoice: String, Sendable, CaseIterable {
    /// io_uring, or epoll where that is refused.
    case auto
    case uring
    case epoll
  }

  public var engine = EngineChoice.auto
  /// A line for each HTTP/2 frame (`SLUICE_DEBUG=http2`).
  public var debugHTTP2: Bool
  /// The user that the process becomes; nil: it stays who it is.
  public var user: String?
  public var sandbox = Sandbox.Refusal.deny
  /// Where the access log goes; nil: off.
  public var accessLogPath: String?

  public static let help = """
    Usage: sluice-dataplane [--control PATH] [options]

      --control PATH         unix socket of the controller
      --instance NAME        name of this data plane (default: default)
      --state-dir DIR        keeps the last good snapshot there, to start without a controller
      --admin PATH           admin socket: /metrics /ready /live /config /connections, CONNECT PORT
      --admin-port [IP:]PORT the same without CONNECT on a TCP port (IP: 127.0.0.1)
      --workers N            worker threads (default: one for each processor)
      --engine auto|uring|epoll
                             what the workers do their I/O with (default: auto, which is io_uring, or
                             epoll where the system refuses it)
      --user NAME            becomes this user before it serves; of root's powers only that to bind
                             ports below 1024 is kept in any case
      --sandbox deny|kill|off
                             what becomes of system calls that are not needed: they fail, they end the
                             process, or nothing is filtered and any file can be opened (default: deny)
      --access-log PATH|-    JSON lines; opened again on SIGHUP (default: off)
      --log-level LEVEL      debug, info, warning or error (default: info)
      --limit NAME=VALUE     any number of times; see --help-limits
      --drain-timeout TIME   the same as --limit drain-timeout=TIME
      --help-limits          all limits with their defaults and ranges
      --help, --version

    SIGTERM or SIGINT drains and ends; a second one ends at once.

    """

  public static let limitsHelp: String = Limit.allCases.map { limit in
    let name = "\(limit.name)"
    let unit =
      switch limit.definition.unit {
      case .count: ""
      case .bytes: " bytes"
      case .milliseconds: " ms"
      }
    let padding = String(repeating: " ", count: max(1, 32 - name.utf8.count))
    let range = limit.definition.range
    return "  \(name)\(padding)\(Limits()[limit])\(unit) [\(range.lowerBound)-\(range.upperBound)]:"
      + " \(limit.definition.help)\n"
  }.joined()

  /// `arguments` without the program's name. `workers`: how many to start where the line names none.
  public init(
    _ arguments: [String], workers: Int? = nil, debug: String = ""
  ) throws(ArgumentError) {
    self.workers = max(1, workers ?? Int(clinux_processors()))
    debugHTTP2 = debug.split(separator: ",").contains("http2")
    var rest = arguments[...]
    while let first = rest.popFirst() {
      let parts = first.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let flag = String(parts[0])
      switch flag {
      case "--help", "-h": action = .help
      case "--version": action = .version
      case "--help-limits": action = .helpLimits
      default:
        guard Self.flags.contains(flag) else {
          throw ArgumentError(description: "unknown argument \(first); --help lists what there is")
        }
        guard let value = parts.count == 2 ? String(parts[1]) : rest.popFirst() else {
          throw ArgumentError(description: "\(flag): a value is missing")
        }
        try set(flag, value)
      }
    }
    do throws(LimitError) { try control.limits.validate() } catch {
      throw ArgumentError(description: error.description)
    }
  }

  private static let flags: Set<String> = [
    "--control", "--instance", "--state-dir", "--admin", "--admin-port", "--workers", "--engine",
    "--access-log", "--user", "--sandbox", "--log-level", "--limit", "--drain-timeout",
  ]

  private mutating func set(_ flag: String, _ value: String) throws(ArgumentError) {
    func refuse(_ expected: String) -> ArgumentError {
      ArgumentError(description: "\(flag) \(value): expected \(expected)")
    }
    switch flag {
    case "--control": control.controlPath = value
    case "--instance": control.instance = value
    case "--state-dir": control.stateDirectory = value
    case "--admin": control.adminPath = value
    case "--admin-port":
      guard let place = Self.adminPort(value) else { throw refuse("PORT or IP:PORT with an IPv4 address") }
      control.adminPort = place
    case "--workers":
      guard let count = Int(value), (1...1024).contains(count) else {
        throw refuse("a number from 1 to 1024")
      }
      workers = count
    case "--engine":
      guard let choice = EngineChoice(rawValue: value) else {
        throw refuse("one of " + EngineChoice.allCases.map(\.rawValue).joined(separator: ", "))
      }
      engine = choice
    case "--access-log": accessLogPath = value
    case "--user": user = value
    case "--sandbox":
      guard let choice = Sandbox.Refusal(rawValue: value) else {
        throw refuse("one of " + Sandbox.Refusal.allCases.map(\.rawValue).joined(separator: ", "))
      }
      sandbox = choice
    case "--log-level":
      guard let level = LineLogger.Level(name: value) else { throw refuse("debug, info, warning or error") }
      control.log.level = level
    default:
      let assignment = flag == "--limit" ? value : "drain-timeout=\(value)"
      do throws(LimitError) { try control.limits.set(assignment) } catch {
        throw ArgumentError(description: "\(flag): \(error)")
      }
    }
  }

  static func adminPort(_ text: String) -> ControlOptions.AdminPort? {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard let last = parts.last, let port = UInt16(last), parts.count <= 2 else { return nil }
    guard parts.count == 2 else { return .init(address: 0x7F00_0001, port: port) }
    let bytes = parts[0].split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
    guard bytes.count == 4 else { return nil }
    var address: UInt32 = 0
    for byte in bytes {
      guard let byte else { return nil }
      address = address << 8 | UInt32(byte)
    }
    return .init(address: address, port: port)
  }
}
