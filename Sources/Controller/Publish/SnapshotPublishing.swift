/// The way out of the pipeline: whatever carries images to the data planes.
public protocol SnapshotPublishing: Sendable {
  /// Makes this the current snapshot: it is sent to every connected data plane and to each that connects later.
  func publish(revision: UInt64, image: [UInt8]) async
  /// Replaces the last endpoint change of the current snapshot. See `EndpointChange` for what it holds.
  func publishEndpoints(_ change: EndpointChange) async
  /// What the data planes said. One consumer: the controller's loop.
  var events: AsyncStream<PublisherEvent> { get }
}

/// What changed in the endpoints since a snapshot. It is cumulative: it holds every backend whose
/// endpoints differ from those in the snapshot, so the newest change alone brings a data plane up to date.
public struct EndpointChange: Sendable, Equatable {
  /// The snapshot that this applies to.
  public var revision: UInt64
  /// Rises by one with each change; starts at 1 after a snapshot.
  public var sequence: UInt64
  public var backends: [BackendEndpoints]

  public init(revision: UInt64, sequence: UInt64, backends: [BackendEndpoints]) {
    self.revision = revision
    self.sequence = sequence
    self.backends = backends
  }
}

public struct BackendEndpoints: Sendable, Equatable {
  /// The stable identity of the backend, as in the image.
  public var id: String
  public var endpoints: [BackendEndpoint]

  public init(id: String, endpoints: [BackendEndpoint]) {
    self.id = id
    self.endpoints = endpoints
  }
}

public struct BackendEndpoint: Sendable, Hashable {
  /// An IP literal.
  public var address: String
  public var port: UInt16
  public var weight: UInt16
  public var isReady: Bool
  public var isTerminating: Bool

  public init(
    address: String, port: UInt16, weight: UInt16 = 1, isReady: Bool = true, isTerminating: Bool = false
  ) {
    self.address = address
    self.port = port
    self.weight = weight
    self.isReady = isReady
    self.isTerminating = isTerminating
  }
}

/// What a data plane said; an input event of the pipeline like any other.
public enum PublisherEvent: Sendable, Equatable {
  case connected(instance: String)
  /// Every worker serves this revision (and this endpoint sequence; 0: the snapshot's own endpoints).
  case ack(instance: String, revision: UInt64, sequence: UInt64, sockets: [SocketReport])
  /// The data plane refused it and goes on with what it had.
  case nack(instance: String, revision: UInt64, sequence: UInt64, reason: String)
  case disconnected(instance: String)
}

/// What became of one listening socket of a snapshot.
public struct SocketReport: Sendable, Equatable {
  public var address: String
  /// The port that the Gateway names.
  public var port: UInt16
  /// The port that was bound.
  public var bindPort: UInt16
  /// Nil: bound. Otherwise why not.
  public var failure: BindFailure?

  public init(address: String, port: UInt16, bindPort: UInt16, failure: BindFailure? = nil) {
    self.address = address
    self.port = port
    self.bindPort = bindPort
    self.failure = failure
  }
}

public struct BindFailure: Sendable, Equatable {
  /// The errno of the call that failed.
  public var code: Int32
  /// Its text: "Permission denied".
  public var reason: String

  public init(code: Int32, reason: String) {
    self.code = code
    self.reason = reason
  }
}
