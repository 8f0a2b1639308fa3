/// One endpoint of a backend as a candidate of a pick.
@frozen public struct EndpointChoice: Equatable, Sendable {
  /// The endpoint's slot: a small number that stays the same across configurations.
  public var slot: Int32
  /// Share of the picks; 0 gets none.
  public var weight: UInt16
  public var flags: UInt16

  public static let ready: UInt16 = 1
  /// Finishes what it has and gets nothing new.
  public static let terminating: UInt16 = 2

  @inlinable public init(slot: Int32, weight: UInt16 = 1, flags: UInt16 = EndpointChoice.ready) {
    self.slot = slot
    self.weight = weight
    self.flags = flags
  }

  @inlinable public var isEligible: Bool {
    weight != 0 && flags & (Self.ready | Self.terminating) == Self.ready
  }
}

/// What a pool knows of one endpoint.
@frozen public struct EndpointCounts: Equatable, Sendable {
  /// HTTP/1 connections that are leased plus HTTP/2 streams.
  public var active: Int
  /// Connections that carry nothing and could.
  public var idle: Int
  /// All connections, those included that are draining.
  public var connections: Int

  @inlinable public init(active: Int, idle: Int, connections: Int) {
    (self.active, self.idle, self.connections) = (active, idle, connections)
  }
}

/// What to do after a lease or a stream ended.
public enum ReleaseAction: Equatable, Sendable {
  case keep
  /// Close this connection: the released one or an older idle one. The table has forgotten it.
  case close(Int32)
}
