public import GatewayAPI
public import YAML

/// The one language in which every source of objects speaks: the embedded store, a cluster, a file.
public enum ResourceEvent: Sendable {
  /// A new listing begins; what was known stays in use until `initDone`.
  case initialize
  case initApply(StoredObject)
  /// The listing is whole: it replaces what was known, all at once.
  case initDone
  case apply(StoredObject)
  case delete(ResourceKey)
}

/// One object as it is stored, and what it says.
public struct StoredObject: Sendable {
  public var key: ResourceKey
  /// The whole object with metadata and status.
  public var node: Node
  public var resource: Resource
  /// Rises with every change of any object in the same source.
  public var resourceVersion: UInt64

  public init(key: ResourceKey, node: Node, resource: Resource, resourceVersion: UInt64) {
    self.key = key
    self.node = node
    self.resource = resource
    self.resourceVersion = resourceVersion
  }
}

/// Lists and watches. The first events are a whole listing (`initialize` … `initDone`).
public protocol ResourceSource: Sendable {
  func events() -> AsyncStream<ResourceEvent>
}
