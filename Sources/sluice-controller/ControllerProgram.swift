import Controller
import Logging
import ServiceLifecycle
import UnixSignals
import YAML

/// Everything that the process runs, wired: store → loop → publisher, and the API beside them.
struct ControllerProgram {
  private let server: APIServer
  private let logger: Logger

  init(_ options: ControllerCommand) async throws {
    LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
    let logger = Self.makeLogger(options.logLevel.level)
    self.logger = logger
    let directory: DataDirectory
    let store: ObjectStore
    let credentials: Credentials
    do {
      directory = try DataDirectory(path: options.dataDir)
      try directory.lock()
      store = try ObjectStore(path: directory.file("sluice.db"))
      try await store.seed()
      credentials = try Credentials.load(from: directory, host: options.api.host)
    } catch {
      throw Unusable(reason: "\(error)")
    }
    let extra = options.kubeconfigOut
    let host = options.api.host
    server = APIServer(
      options: .init(
        host: host, port: options.api.port, adminPath: options.admin ?? directory.file("admin.sock")),
      store: store, credentials: credentials, logger: logger,
      explain: { _ throws(APIError) in .null },
      onListening: { port in
        let endpoint = HostAndPort(host: host, port: port)
        let kubeconfig = Array(credentials.kubeconfig(endpoint: "\(endpoint)").utf8)
        do {
          try directory.write(kubeconfig, to: "kubeconfig")
          if let extra { try DataDirectory.write(kubeconfig, toPath: extra) }
          logger.info("API at https://\(endpoint), kubeconfig in \(directory.file("kubeconfig"))")
        } catch {
          logger.error("the kubeconfig could not be written: \(error)")
        }
      })
  }

  private static func makeLogger(_ level: Logger.Level) -> Logger {
    var logger = Logger(label: "controller")
    logger.logLevel = level
    return logger
  }

  func run() async throws {
    var configuration = ServiceGroupConfiguration(
      services: [.init(service: server)], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    // Watches never end by themselves.
    configuration.maximumGracefulShutdownDuration = .seconds(1)
    try await ServiceGroup(configuration: configuration).run()
  }
}
