import Controller
import Logging
import ServiceLifecycle
import UnixSignals
import YAML

/// Everything that the process runs, wired: store → loop → publisher, and the API beside them.
struct ControllerProgram {
  private let server: APIServer
  private let loop: ControllerLoop
  private let publisher: Publisher
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
    let publisher: Publisher
    do {
      publisher = try Publisher(path: options.control ?? directory.file("control.sock")) { level, text in
        logger.log(level: Self.level(level), "\(text)")
      }
    } catch {
      throw Unusable(reason: "\(error)")
    }
    let loop = ControllerLoop(
      source: store, statusWriter: store, publisher: publisher,
      options: ControllerOptions(
        bindAddress: options.bind, portMap: options.portMap.ports,
        backendOverrides: options.backends.map(\.value))
    ) { level, text in logger.log(level: Self.level(level), "\(text)") }
    self.loop = loop
    self.publisher = publisher
    let extra = options.kubeconfigOut
    let host = options.api.host
    server = APIServer(
      options: .init(
        host: host, port: options.api.port, adminPath: options.admin ?? directory.file("admin.sock")),
      store: store, credentials: credentials, logger: logger,
      explain: { subject, port in await loop.explain(subject, port: port) },
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

  private static func level(_ level: PublisherLogLevel) -> Logger.Level {
    switch level {
    case .debug: .debug
    case .info: .info
    case .error: .error
    }
  }

  private static func level(_ level: ControllerLogLevel) -> Logger.Level {
    switch level {
    case .debug: .debug
    case .info: .info
    case .warning: .warning
    case .error: .error
    }
  }

  private static func makeLogger(_ level: Logger.Level) -> Logger {
    var logger = Logger(label: "controller")
    logger.logLevel = level
    return logger
  }

  func run() async throws {
    var configuration = ServiceGroupConfiguration(
      services: [.init(service: server), .init(service: PipelineService(loop: loop, publisher: publisher))],
      gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    // Watches never end by themselves.
    configuration.maximumGracefulShutdownDuration = .seconds(1)
    do {
      try await ServiceGroup(configuration: configuration).run()
    } catch let error as CannotListen {
      throw Unusable(reason: "\(error)")
    }
  }
}

/// The controller's pipeline as a service: it runs until the process ends.
private struct PipelineService: Service {
  let loop: ControllerLoop
  let publisher: Publisher

  func run() async throws {
    await cancelWhenGracefulShutdown { await loop.run() }
    publisher.stop()
  }
}
