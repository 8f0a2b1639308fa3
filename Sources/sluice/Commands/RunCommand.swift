import ArgumentParser
import Foundation
import GatewayAPI
import Glibc
import YAML

struct RunCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Run the controller and the data plane, and serve the API.",
    discussion: """
      Starts sluice-controller and sluice-dataplane, which are looked for beside this program, and keeps \
      them running: one that ends is started again after a growing delay, and the other goes on. SIGTERM or \
      Ctrl-C drains connections first, then ends both; a second one ends them at once.

      Examples:
        sluice run
        sluice run -f manifests/ --port-map 80=8080,443=8443
        sluice run -f manifests/hoop/ --backend hoopgateway=127.0.0.1
      """)

  @Option(name: [.customShort("f"), .long], help: "Objects to apply at the start: a file or a directory.")
  var filename: [String] = []
  @Option(help: "Where state is kept (default: $XDG_STATE_HOME/sluice or ~/.local/state/sluice).")
  var dataDir: String?
  @Option(help: "HOST:PORT of the REST API; port 0 takes any free one.") var api = "127.0.0.1:6180"
  @Option(help: "The IP address that listeners are bound to (default: every address).") var bind: String?
  @Option(help: "Bind other ports than the listeners name: 80=8080,443=8443.") var portMap: String?
  @Option(
    name: .customLong("backend"),
    help: "NAME[.NAMESPACE]=ADDRESS: where a Service without an object is. May be repeated.")
  var backends: [String] = []
  @Option(help: "Worker threads of the data plane (default: one a core).") var workers: Int?
  @Option(help: "What the data plane does its I/O with: auto, uring or epoll.") var engine: String?
  @Option(
    help: "What becomes of system calls that the data plane does not need: deny, kill (the process) or off.")
  var sandbox: String?
  @Option(help: "A file for access-log lines (JSON), or - .") var accessLog: String?
  @Option(name: .customLong("limit"), help: "NAME=VALUE of a data-plane limit. May be repeated.")
  var limits: [String] = []
  @Option(help: "A TCP port for /metrics, /ready and /live.") var adminPort: Int?
  @Option(help: "How long open connections may last after SIGTERM: 30s, 2m.")
  var drainTimeout = TimeSpan(duration: .seconds(30), text: "30s")
  @Option(help: "The controller's log level.") var logLevel: String?

  /// sun_path of unix(7), without the final zero.
  private static let longestSocketPath = 107

  func run() async throws {
    let layout = try Layout(dataDir: dataDir, environment: ProcessInfo.processInfo.environment)
    // What cannot be applied is known before anything is started.
    let input = filename.isEmpty ? nil : try Input.read(filename, namespace: "default")
    try input?.report()
    let programs = try Self.programs()
    let supervisor = try Supervisor(
      children: [
        ChildProcess(name: "controller", path: programs.controller, arguments: controllerArguments(layout)),
        ChildProcess(name: "dataplane", path: programs.dataPlane, arguments: dataPlaneArguments(layout)),
      ], drainTimeout: drainTimeout.duration + .seconds(2))
    let announcer = Task { await Announcer(layout: layout, input: input).run() }
    let outcome = await Self.onOwnThread(supervisor)
    announcer.cancel()
    try outcome.get()
    if await announcer.value == .applyFailed {
      throw CommandError.failed("the objects of -f were not applied")
    }
  }

  /// The children die with the thread that started them, so it is one that lasts.
  private static func onOwnThread(_ supervisor: Supervisor) async -> Result<Void, CommandError> {
    await withCheckedContinuation { continuation in
      Thread.detachNewThread {
        do throws(CommandError) {
          try supervisor.run()
          continuation.resume(returning: .success(()))
        } catch {
          continuation.resume(returning: .failure(error))
        }
      }
    }
  }

  private static func programs() throws(CommandError) -> (controller: String, dataPlane: String) {
    let own = Input.resolved("/proc/self/exe")
    let folder = own.split(separator: "/").dropLast().map { "/\($0)" }.joined()
    let paths = ["sluice-controller", "sluice-dataplane"].map { "\(folder)/\($0)" }
    for path in paths where unsafe access(path, X_OK) != 0 {
      throw .failed("\(path) is missing; the three programs belong into one folder")
    }
    return (paths[0], paths[1])
  }

  private func controllerArguments(_ layout: Layout) -> [String] {
    var arguments = [
      "--data-dir", layout.dataDir, "--api", api, "--control", layout.control, "--admin", layout.admin,
    ]
    if let bind { arguments += ["--bind", bind] }
    if let portMap { arguments += ["--port-map", portMap] }
    for backend in backends { arguments += ["--backend", backend] }
    if let logLevel { arguments += ["--log-level", logLevel] }
    return arguments
  }

  private func dataPlaneArguments(_ layout: Layout) -> [String] {
    var arguments = [
      "--control", layout.control, "--state-dir", layout.dataPlaneState, "--admin", layout.admin,
    ]
    if let adminPort { arguments += ["--admin-port", String(adminPort)] }
    if let workers { arguments += ["--workers", String(workers)] }
    if let engine { arguments += ["--engine", engine] }
    if let sandbox { arguments += ["--sandbox", sandbox] }
    if let accessLog { arguments += ["--access-log", accessLog] }
    for limit in limits { arguments += ["--limit", limit] }
    let seconds = max(1, drainTimeout.duration.components.seconds)
    return arguments + ["--drain-timeout", "\(seconds)s"]
  }

  /// Where the two processes keep their things.
  struct Layout {
    let dataDir: String

    init(dataDir: String?, environment: [String: String]) throws(CommandError) {
      let chosen = dataDir ?? Kubeconfig.defaultDataDirectory(environment)
      do {
        try FileManager.default.createDirectory(
          atPath: chosen + "/dataplane", withIntermediateDirectories: true,
          attributes: [.posixPermissions: 0o700])
      } catch {
        throw .failed("cannot make the data directory \(chosen): \(error.localizedDescription)")
      }
      self.dataDir = Input.resolved(chosen)
      guard control.utf8.count <= longestSocketPath else {
        throw .failed("the path of the data directory is too long for a unix socket: \(chosen)")
      }
    }

    var kubeconfig: String { dataDir + "/kubeconfig" }
    var control: String { dataDir + "/control.sock" }
    var admin: String { dataDir + "/admin.sock" }
    var dataPlaneState: String { dataDir + "/dataplane" }
  }
}
