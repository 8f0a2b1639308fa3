import CLinux
import Glibc

/// One supervised process: how to start it and what became of it.
struct ChildProcess {
  enum State: Equatable {
    case stopped
    case running(process: pid_t, output: Int32, since: ContinuousClock.Instant)
    case waiting(until: ContinuousClock.Instant)
  }

  enum Ending: Equatable, CustomStringConvertible {
    case exited(Int32)
    case signalled(Int32)

    var description: String {
      switch self {
      case .exited(let code): "exit status \(code)"
      case .signalled(let signal): "signal \(signal)"
      }
    }
  }

  let name: String
  let path: String
  let arguments: [String]
  var state = State.stopped
  var policy = RestartPolicy()
  var lines: LineSplitter

  init(name: String, path: String, arguments: [String]) {
    self.name = name
    self.path = path
    self.arguments = arguments
    self.lines = LineSplitter(prefix: name)
  }

  var process: pid_t? {
    if case .running(let process, _, _) = state { process } else { nil }
  }

  var output: Int32? {
    if case .running(_, let output, _) = state { output } else { nil }
  }

  /// Starts the process. Returns an errno on failure and leaves the state as it was.
  mutating func start(now: ContinuousClock.Instant) -> Int32 {
    var ends: [Int32] = [-1, -1]
    let piped = unsafe ends.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return Int32(-1) }
      return unsafe pipe2(base, O_CLOEXEC | O_NONBLOCK)
    }
    guard piped == 0 else { return errno }
    // The child's writes block as any log's do; only the reading end is polled.
    _ = fcntl(ends[1], F_SETFL, 0)
    var process: pid_t = 0
    let error = unsafe withCStrings([path] + arguments) { argv in
      unsafe clinux_spawn(path, argv, ends[1], &process)
    }
    close(ends[1])
    guard error == 0 else {
      close(ends[0])
      return error
    }
    state = .running(process: process, output: ends[0], since: now)
    return 0
  }

  /// Asks the kernel whether the process ended; collects it if so.
  mutating func reap() -> (ending: Ending, ranFor: Duration)? {
    guard case .running(let process, let output, let since) = state else { return nil }
    var status: Int32 = 0
    guard unsafe waitpid(process, &status, WNOHANG) == process else { return nil }
    var code: Int32 = 0
    let byItself = unsafe clinux_exited(status, &code) != 0
    drainOutput(output)
    close(output)
    state = .stopped
    return (byItself ? .exited(code) : .signalled(code), since.duration(to: .now))
  }

  /// Passes on what the process has written so far.
  mutating func drainOutput(_ descriptor: Int32) {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else { return }
      for line in lines.add(buffer[..<count]) { Terminal.error(line) }
    }
  }
}

/// Cuts a stream of bytes into lines and puts a process's name before each.
struct LineSplitter {
  /// A longer line is passed on in pieces.
  static let longestLine = 65_536
  private let prefix: String
  private var rest: [UInt8] = []

  init(prefix: String) {
    self.prefix = prefix
  }

  mutating func add(_ bytes: some Sequence<UInt8>) -> [String] {
    var lines: [String] = []
    for byte in bytes {
      if byte == UInt8(ascii: "\n") || rest.count == Self.longestLine {
        lines.append("\(prefix) | \(String(decoding: rest, as: UTF8.self))")
        rest.removeAll(keepingCapacity: true)
      }
      if byte != UInt8(ascii: "\n") { rest.append(byte) }
    }
    return lines
  }
}

/// Calls `body` with a null-terminated array of C strings that live as long as the call.
func withCStrings<Result>(
  _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
  var pointers = unsafe strings.map { unsafe strdup($0) } + [nil]
  defer {
    // The formatter would take away the space behind `unsafe`.
    // swift-format-ignore
    unsafe pointers.withUnsafeBufferPointer { for unsafe pointer in unsafe $0 { unsafe free(pointer) } }
  }
  return unsafe pointers.withUnsafeMutableBufferPointer { buffer in
    guard let base = buffer.baseAddress else { preconditionFailure("the array ends with nil") }
    return unsafe body(UnsafePointer(base))
  }
}
