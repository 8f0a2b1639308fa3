import Telemetry
import SystemIO

/// The data-plane process from its parsed command line to its exit code.
public enum DataPlaneProgram {
  /// Starts the workers, then serves the controller, the admin socket and signals until drained.
  /// - Returns: the exit code; 1 when something that was asked for could not be opened.
  public static func run(_ arguments: DataPlaneArguments) -> Int32 {
    DescriptorLimit.raise()
    var control = arguments.control
    let log = control.log
    var options = DataPlaneOptions(workers: arguments.workers)
    options.limits = control.limits
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
    do {
      let fleet = try Fleet(options: options)
      try fleet.start()
      log.info("\(arguments.workers) workers on epoll")
      var thread = try ControlThread(options: control, fleet: fleet)
      return thread.run()
    } catch {
      log.error("\(error)")
      return 1
    }
  }
}
