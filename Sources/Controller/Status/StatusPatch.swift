public import GatewayAPI
public import YAML

/// A new status of one object. It is written only when the object still has this uid.
public struct StatusPatch: Sendable, Equatable {
  public var key: ResourceKey
  /// Empty: not checked.
  public var uid: String
  /// `metadata.generation` of the object that the status speaks of.
  public var observedGeneration: Int64
  /// The whole new `status`: what other writers put there is in it.
  public var status: Node

  public init(key: ResourceKey, uid: String, observedGeneration: Int64, status: Node) {
    self.key = key
    self.uid = uid
    self.observedGeneration = observedGeneration
    self.status = status
  }
}

/// Where statuses go.
public protocol StatusWriter: Sendable {
  /// Writes them; one that cannot be written (the object is gone or newer) is left out.
  func write(_ patches: [StatusPatch]) async
}
