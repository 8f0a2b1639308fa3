public import GatewayAPI

/// The current objects, and the look-ups that building needs. A value: a copy is a snapshot.
public struct ResourceStore: Sendable {
  private var objects: [ResourceKind: [ResourceKey: StoredObject]] = [:]
  private var slicesByService: [ServiceName: Set<ResourceKey>] = [:]

  public init() {}

  public subscript(_ key: ResourceKey) -> StoredObject? { objects[key.kind]?[key] }

  /// All objects of a kind, by namespace and name.
  public func all(_ kind: ResourceKind) -> [StoredObject] {
    (objects[kind] ?? [:]).values.sorted { $0.key < $1.key }
  }

  /// Whether any object of the kind is there.
  func hasAny(_ kind: ResourceKind) -> Bool { !(objects[kind] ?? [:]).isEmpty }

  public mutating func apply(_ object: StoredObject) {
    if let service = self[object.key]?.sliceService { slicesByService[service]?.remove(object.key) }
    objects[object.key.kind, default: [:]][object.key] = object
    if let service = object.sliceService { slicesByService[service, default: []].insert(object.key) }
  }

  public mutating func delete(_ key: ResourceKey) {
    guard let old = objects[key.kind]?.removeValue(forKey: key) else { return }
    guard let service = old.sliceService else { return }
    slicesByService[service]?.remove(key)
    if slicesByService[service]?.isEmpty == true { slicesByService[service] = nil }
  }

  /// The EndpointSlices of a Service, by name.
  func slices(of service: ServiceName) -> [EndpointSlice] {
    (slicesByService[service] ?? []).sorted().compactMap {
      if case .endpointSlice(let slice)? = self[$0]?.resource { slice } else { nil }
    }
  }

  func service(_ name: ServiceName) -> Service? {
    let key = ResourceKey(kind: .service, namespace: name.namespace, name: name.name)
    return if case .service(let service)? = self[key]?.resource { service } else { nil }
  }

  func secret(namespace: String, name: String) -> Secret? {
    let key = ResourceKey(kind: .secret, namespace: namespace, name: name)
    return if case .secret(let secret)? = self[key]?.resource { secret } else { nil }
  }

  func configMap(namespace: String, name: String) -> ConfigMap? {
    let key = ResourceKey(kind: .configMap, namespace: namespace, name: name)
    return if case .configMap(let map)? = self[key]?.resource { map } else { nil }
  }

  /// Labels of a namespace. One without an object has the label that Kubernetes gives to each.
  func labels(ofNamespace name: String) -> [String: String] {
    let key = ResourceKey(kind: .namespace, namespace: "", name: name)
    var labels = ["kubernetes.io/metadata.name": name]
    if let object = self[key] { labels.merge(object.resource.metadata.labels) { $1 } }
    return labels
  }
}

extension StoredObject {
  /// The label that ties a slice to its Service (discovery.k8s.io/v1).
  static let serviceNameLabel = "kubernetes.io/service-name"

  var sliceService: ServiceName? {
    guard key.kind == .endpointSlice, let name = resource.metadata.labels[Self.serviceNameLabel] else {
      return nil
    }
    return ServiceName(namespace: key.namespace, name: name)
  }
}

/// What a batch of events touched: whether routes must be built again or only endpoints looked up.
struct StoreChange: Sendable {
  var needsBuild = false
  var services: Set<ServiceName> = []

  mutating func note(_ before: StoredObject?, _ after: StoredObject?) {
    for object in [before, after] {
      guard let object else { continue }
      if object.key.kind == .endpointSlice {
        if let service = object.sliceService { services.insert(service) }
      } else if !Self.isOnlyStatus(before, after) {
        needsBuild = true
      }
    }
  }

  /// Our own status writes come back as events; they change nothing that is built.
  private static func isOnlyStatus(_ before: StoredObject?, _ after: StoredObject?) -> Bool {
    guard let before, let after, before.key.kind.hasStatus else { return false }
    let old = before.resource.metadata
    let new = after.resource.metadata
    return old.generation == new.generation && new.generation > 0 && old.uid == new.uid
      && old.labels == new.labels && old.annotations == new.annotations
  }
}
