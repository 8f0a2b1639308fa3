/// Why a command failed. The exit codes are part of the command line's promise (`sluice --help`).
enum CommandError: Error, Equatable {
  /// The operation failed or the API refused it. Exit code 1.
  case failed(String)
  /// An object or file is not valid; nothing was changed. Exit code 2.
  case invalid(String)
  /// The API cannot be reached. Exit code 3.
  case unreachable(String)
  /// The awaited condition did not come in time. Exit code 4.
  case timedOut(String)

  var exitCode: Int32 {
    switch self {
    case .failed: 1
    case .invalid: 2
    case .unreachable: 3
    case .timedOut: 4
    }
  }

  var message: String {
    switch self {
    case .failed(let text), .invalid(let text), .unreachable(let text), .timedOut(let text): text
    }
  }
}
