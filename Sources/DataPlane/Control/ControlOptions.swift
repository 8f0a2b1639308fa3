public import Telemetry

/// How the main thread was asked to run.
public struct ControlOptions: Sendable {
  /// The controller's unix socket; nil: only what is on disk is served.
  public var controlPath: String?
  /// Tells data planes of one controller apart.
  public var instance = "default"
  /// Where the last good snapshot is kept; nil: nowhere.
  public var stateDirectory: String?
  public var adminPath: String?
  /// IPv4 in host order and port; nil: none.
  public var adminPort: AdminPort?
  public var accessLog: AccessLog?
  public var limits = Limits()
  public var log = LineLogger()
  /// SIGTERM, SIGINT, SIGHUP come through the main thread (they must be blocked before any thread starts).
  public var handlesSignals = true

  public struct AdminPort: Sendable, Equatable {
    public var address: UInt32
    public var port: UInt16

    public init(address: UInt32, port: UInt16) {
      self.address = address
      self.port = port
    }
  }

  public init() {}
}
