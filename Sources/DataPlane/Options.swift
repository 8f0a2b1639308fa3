public import Telemetry

/// How the data-plane process was asked to run.
public struct DataPlaneOptions: Sendable {
  /// What the workers' engine is made of.
  public enum Engine: String, Sendable, CaseIterable {
    case uring
    case epoll
  }

  /// Worker threads; each has its own loop, listeners, buffers and pools.
  public var workers: Int
  public var engine = Engine.epoll
  /// A worker that gets no ring of io_uring after all (locked memory may run out) uses epoll.
  public var fallsBackToEpoll = false
  public var limits = Limits()
  /// Descriptor of the access log; nil: off.
  public var accessLogDescriptor: Int32?
  public var log = LineLogger()
  /// Log a line per HTTP/2 frame (`SLUICE_DEBUG=http2`).
  public var debugHTTP2 = false

  public init(workers: Int) { self.workers = max(1, workers) }
}
