/// What controller and data plane say to each other. Direction in parentheses: C controller, D data plane.
public enum ControlMessage: Sendable, Equatable {
  /// First message (D → C).
  case hello(Hello)
  /// A descriptor of the image comes with it (C → D).
  case snapshot(SnapshotNotice)
  /// (C → D)
  case endpointUpdate(EndpointUpdate)
  /// Every worker serves it (D → C).
  case ack(Ack)
  /// Refused; the data plane goes on with what it had (D → C).
  case nack(Nack)
  /// (D → C)
  case health(Health)
  /// Either side asks, the other one gives the number back.
  case ping(UInt64)
  case pong(UInt64)

  var kind: UInt16 {
    switch self {
    case .hello: 1
    case .snapshot: 2
    case .endpointUpdate: 3
    case .ack: 4
    case .nack: 5
    case .health: 6
    case .ping: 7
    case .pong: 8
    }
  }
}

public struct Hello: Sendable, Equatable {
  /// "dataplane"
  public var role: String
  /// Tells data planes apart, "default" where there is one.
  public var instance: String
  /// Process of the sender, for logs.
  public var process: UInt32
  /// What is in use now; 0: nothing.
  public var lastRevision: UInt64
  /// `imageChecksum` of it; 0: nothing.
  public var lastChecksum: UInt64

  public init(
    role: String, instance: String, process: UInt32, lastRevision: UInt64, lastChecksum: UInt64
  ) {
    self.role = role
    self.instance = instance
    self.process = process
    self.lastRevision = lastRevision
    self.lastChecksum = lastChecksum
  }
}

public struct SnapshotNotice: Sendable, Equatable {
  public var revision: UInt64
  /// Size of the image, in bytes.
  public var byteCount: UInt64
  /// `imageChecksum` of it.
  public var checksum: UInt64
  /// Not 0: the endpoint update with this sequence follows at once and is to be adopted together with the
  /// image, so that no worker ever serves this image with endpoints that are known to be old.
  public var endpointSequence: UInt64

  public init(revision: UInt64, byteCount: UInt64, checksum: UInt64, endpointSequence: UInt64) {
    self.revision = revision
    self.byteCount = byteCount
    self.checksum = checksum
    self.endpointSequence = endpointSequence
  }
}

/// All backends whose endpoints differ from those in the snapshot `revision`.
public struct EndpointUpdate: Sendable, Equatable {
  public var revision: UInt64
  /// Rises with each update of a snapshot, from 1.
  public var sequence: UInt64
  public var backends: [Backend]

  public struct Backend: Sendable, Equatable {
    /// Identity of the backend in the image.
    public var id: String
    public var endpoints: [Endpoint]

    public init(id: String, endpoints: [Endpoint]) {
      self.id = id
      self.endpoints = endpoints
    }
  }

  public init(revision: UInt64, sequence: UInt64, backends: [Backend]) {
    self.revision = revision
    self.sequence = sequence
    self.backends = backends
  }
}

public struct Endpoint: Sendable, Hashable {
  /// An IP literal.
  public var address: String
  public var port: UInt16
  public var weight: UInt16
  public var isReady: Bool
  public var isTerminating: Bool

  public init(address: String, port: UInt16, weight: UInt16, isReady: Bool, isTerminating: Bool) {
    self.address = address
    self.port = port
    self.weight = weight
    self.isReady = isReady
    self.isTerminating = isTerminating
  }
}

public struct Ack: Sendable, Equatable {
  public var revision: UInt64
  /// Of the endpoint update; 0: the snapshot's own endpoints.
  public var sequence: UInt64
  public var sockets: [SocketStatus]

  public init(revision: UInt64, sequence: UInt64, sockets: [SocketStatus]) {
    self.revision = revision
    self.sequence = sequence
    self.sockets = sockets
  }
}

/// What became of one listening socket of a snapshot.
public struct SocketStatus: Sendable, Equatable {
  /// "" is any address.
  public var address: String
  /// As the Gateway names it.
  public var port: UInt16
  /// As it was bound.
  public var bindPort: UInt16
  /// errno; 0: bound.
  public var code: Int32
  /// Its text; empty where it is bound.
  public var reason: String

  public init(address: String, port: UInt16, bindPort: UInt16, code: Int32 = 0, reason: String = "") {
    self.address = address
    self.port = port
    self.bindPort = bindPort
    self.code = code
    self.reason = reason
  }
}

public struct Nack: Sendable, Equatable {
  /// 0: what was refused named none that could be read.
  public var revision: UInt64
  public var sequence: UInt64
  /// For a person.
  public var reason: String

  public init(revision: UInt64, sequence: UInt64, reason: String) {
    self.revision = revision
    self.sequence = sequence
    self.reason = reason
  }
}

/// A summary that a data plane sends now and then.
public struct Health: Sendable, Equatable {
  public var uptimeMilliseconds: UInt64
  public var revision: UInt64
  public var sequence: UInt64
  public var connections: UInt64
  public var requests: UInt64
  public var isDraining: Bool

  public init(
    uptimeMilliseconds: UInt64, revision: UInt64, sequence: UInt64, connections: UInt64,
    requests: UInt64, isDraining: Bool
  ) {
    self.uptimeMilliseconds = uptimeMilliseconds
    self.revision = revision
    self.sequence = sequence
    self.connections = connections
    self.requests = requests
    self.isDraining = isDraining
  }
}
