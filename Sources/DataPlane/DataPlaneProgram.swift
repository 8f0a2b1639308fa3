import Sandbox
import SystemIO
import TLS
import Telemetry

/// The data-plane process from its parsed command line to its exit code.
public enum DataPlaneProgram {
  /// Starts the workers, then serves the controller, the admin socket and signals until drained.
  /// - Returns: the exit code; 1 when something that was asked for could not be opened.
  public static func run(_ arguments: DataPlaneArguments) -> Int32 {
    DescriptorLimit.raise()
    DescriptorLimit.raiseLockedMemory()
    TLSMemory.prepare()
    var control = arguments.control
    let log = control.log
    var options = DataPlaneOptions(workers: arguments.workers)
    options.limits = control.limits
    options.fallsBackToEpoll = arguments.engine == .auto
    options.log = log
    options.debugHTTP2 = arguments.debugHTTP2
    if let path = arguments.accessLogPath {
      do throws(AccessLogError) {
        let accessLog = try AccessLog(path: path)
        control.accessLog = accessLog
        options.accessLogDescriptor = accessLog.descriptor
      } catch {
        log.error(error.description)
        return 1
      }
    }
    let confinement = Confinement(user: arguments.user, refusal: arguments.sandbox, log: log)
    do throws(SandboxError) {
      try confinement.beforeThreads(arguments)
    } catch {
      log.error("\(error)")
      return 1
    }
    do throws(SystemError) {
      options.engine = try engine(for: arguments.engine, log)
    } catch {
      log.error("--engine uring: the system refuses io_uring (\(error)); auto and epoll work without it")
      return 1
    }
    do {
      let fleet = try Fleet(options: options)
      try fleet.start()
      log.info("\(arguments.workers) workers on \(options.engine == .uring ? "io_uring" : "epoll")")
      var thread = try ControlThread(options: control, fleet: fleet)
      guard fleet.awaitWorkers() else {
        log.error("not every worker could be started; --engine epoll needs less of the system")
        return 1
      }
      confinement.beforeServing()
      return thread.run()
    } catch {
      log.error("\(error)")
      return 1
    }
  }

  /// io_uring where the system allows it: container runtimes often do not (seccomp), kernels before 6.1 have not
  /// all of it, and `kernel.io_uring_disabled` may forbid it.
  private static func engine(
    for choice: DataPlaneArguments.EngineChoice, _ log: LineLogger
  ) throws(SystemError) -> DataPlaneOptions.Engine {
    switch choice {
    case .epoll: return .epoll
    case .uring:
      try UringEngine.probe()
      return .uring
    case .auto:
      do throws(SystemError) {
        try UringEngine.probe()
        return .uring
      } catch {
        log.info("io_uring is not to be had (\(error)): the workers use epoll")
        return .epoll
      }
    }
  }
}
