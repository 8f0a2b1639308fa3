import ArgumentParser
import Controller
import Glibc
import Logging

@main
struct ControllerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sluice-controller",
    abstract: "Reads Gateway API and Istio resources, compiles them and pushes them to the data plane.",
    discussion: """
      `sluice run` starts this program together with sluice-dataplane. By itself:
        sluice-controller --data-dir /var/lib/sluice

      Exit codes: 64 wrong usage; 78 it cannot run as it is configured (the address is taken, the data \
      directory is in use or not writable); both mean that starting it again does not help.
      """)

  @Option(help: "Where objects, credentials and sockets are kept.") var dataDir: String
  @Option(help: "HOST:PORT of the REST API; port 0 takes any free one.") var api = HostAndPort.standard
  @Option(help: "The unix socket that data planes connect to (default: control.sock in the data directory).")
  var control: String?
  @Option(help: "The data plane's admin socket (default: admin.sock in the data directory).")
  var admin: String?
  @Option(help: "The IP address that listeners are bound to (default: every address).") var bind = ""
  @Option(help: "Bind other ports than the listeners name: 80=8080,443=8443.") var portMap = PortMap()
  @Option(
    name: .customLong("backend"),
    help: "NAME[.NAMESPACE]=ADDRESS: where a Service without an object is. May be repeated.")
  var backends: [BackendArgument] = []
  @Option(help: "Also write the kubeconfig here.") var kubeconfigOut: String?
  @Option(help: "trace, debug, info, notice, warning, error or critical.") var logLevel = LogLevel.info

  static func main() async {
    do {
      var command = try parseAsRoot()
      if var program = command as? ControllerCommand {
        try await program.run()
      } else {
        try command.run()
      }
    } catch let error as Unusable {
      let line = Array("error: \(error.reason)\n".utf8)
      _ = unsafe line.withUnsafeBytes { unsafe write(2, $0.baseAddress, $0.count) }
      exit(withError: ExitCode(78))
    } catch {
      exit(withError: error)
    }
  }

  mutating func run() async throws {
    signal(SIGPIPE, SIG_IGN)
    // Objects hold private keys: nothing that is written here is for others.
    umask(0o077)
    let program = try await ControllerProgram(self)
    try await program.run()
  }
}

/// The program cannot run as it is configured, however often it is started.
struct Unusable: Error {
  let reason: String
}

/// `--log-level`.
enum LogLevel: String, ExpressibleByArgument, CaseIterable {
  case trace, debug, info, notice, warning, error, critical

  var level: Logger.Level { Logger.Level(rawValue: rawValue) ?? .info }
}

/// `--api`.
struct HostAndPort: ExpressibleByArgument, CustomStringConvertible {
  static let standard = HostAndPort(host: "127.0.0.1", port: 6180)
  let host: String
  let port: Int

  init(host: String, port: Int) {
    self.host = host
    self.port = port
  }

  init?(argument: String) {
    guard let colon = argument.lastIndex(of: ":"),
      let port = Int(argument[argument.index(after: colon)...]), (0...65_535).contains(port)
    else { return nil }
    var host = String(argument[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
    guard !host.isEmpty else { return nil }
    self.init(host: host, port: port)
  }

  var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
  var defaultValueDescription: String { description }
}

/// `--port-map`.
struct PortMap: ExpressibleByArgument {
  var ports: [UInt16: UInt16] = [:]

  init() {}

  init?(argument: String) {
    for pair in argument.split(separator: ",") {
      let parts = pair.split(separator: "=", omittingEmptySubsequences: false)
      guard parts.count == 2, let from = UInt16(parts[0]), let to = UInt16(parts[1]), from > 0, to > 0,
        ports[from] == nil
      else { return nil }
      ports[from] = to
    }
  }

  var defaultValueDescription: String { "none" }
}

/// `--backend`.
struct BackendArgument: ExpressibleByArgument {
  let value: BackendOverride

  init?(argument: String) {
    guard let value = try? BackendOverride(parsing: argument) else { return nil }
    self.value = value
  }
}
