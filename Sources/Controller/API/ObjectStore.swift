import Foundation
import GatewayAPI
import YAML

/// The objects of the standalone mode: in memory for reading, in SQLite for the next start, and every change
/// told to the watchers. One writer: the actor.
public actor ObjectStore {
  /// One object as it is kept.
  struct Entry: Sendable {
    var stored: StoredObject
    /// `stored.node` as JSON, in the preferred version of its kind.
    var json: [UInt8]
    /// By field manager: what it applied last (server-side apply).
    var applied: [String: Node]
  }

  enum ChangeType: String, Sendable {
    case added = "ADDED"
    case modified = "MODIFIED"
    case deleted = "DELETED"
  }

  struct Change: Sendable {
    var type: ChangeType
    /// After the change; for a deletion the last state with the deletion's resource version.
    var entry: Entry
    /// Before the change; nil for a creation.
    var previous: Entry?

    var resourceVersion: UInt64 { entry.stored.resourceVersion }
  }

  /// What a writer wants an object to be.
  struct Draft: Sendable {
    var node: Node
    var applied: [String: Node]
    /// Only `status` is taken from the node, or everything but it.
    var isStatus: Bool
  }

  enum Outcome: Sendable {
    case created(Entry, [Diagnostic])
    case updated(Entry, [Diagnostic])
    /// The draft says what is there already: nothing was written.
    case unchanged(Entry, [Diagnostic])
    /// Its last finalizer went, and with it the object.
    case removed(Entry, [Diagnostic])
  }

  /// A watcher that is this many changes behind is cut off and has to list again.
  static let watcherBacklog = 16_384
  /// How many changes are kept for watchers that come back.
  static let historyLength = 8_192

  private let database: ObjectDatabase
  private let now: @Sendable () -> String
  private var entries: [ResourceKind: [ResourceKey: Entry]] = [:]
  private(set) var lastResourceVersion: UInt64 = 0
  private var history: [Change] = []
  /// A watch from before this version cannot be served: its changes are forgotten.
  private var historyStart: UInt64 = 0
  private var watchers: [UInt64: @Sendable (Change) -> Bool] = [:]
  private var nextWatcher: UInt64 = 0

  /// - Parameters:
  ///   - path: the SQLite file; nil keeps nothing, for tests.
  ///   - now: the time as RFC 3339, for `creationTimestamp`.
  public init(path: String?, now: @escaping @Sendable () -> String = ObjectStore.timestamp) throws {
    database = try ObjectDatabase(path: path)
    self.now = now
    let (rows, last) = try database.load()
    lastResourceVersion = last
    historyStart = last
    for row in rows {
      guard let entry = try Self.read(row) else { continue }
      entries[entry.stored.key.kind, default: [:]][entry.stored.key] = entry
    }
  }

  /// An object that no longer decodes (its rules became stricter) is an error: it is not dropped in silence.
  private static func read(_ row: ObjectDatabase.Row) throws -> Entry? {
    let result = parse(row.body)
    guard let node = result.documents.first, case (let resource?, _) = decodeResource(node) else {
      throw APIError.internalFailure(
        "the stored object \(row.key.resource) \(row.key.namespace)/\(row.key.name) cannot be read: "
          + result.diagnostics.map(\.description).joined(separator: "; "))
    }
    var applied: [String: Node] = [:]
    for (manager, body) in row.applied { applied[manager] = parse(body).documents.first }
    let stored = StoredObject(
      key: resource.key, node: node, resource: resource, resourceVersion: row.resourceVersion)
    return Entry(stored: stored, json: row.body, applied: applied)
  }

  public static func timestamp() -> String {
    Date.now.formatted(.iso8601)
  }

  // MARK: Reading

  func entry(_ key: ResourceKey) -> Entry? { entries[key.kind]?[key] }

  /// In the order of namespace and name.
  func list(_ kind: ResourceKind, namespace: String?) -> (entries: [Entry], resourceVersion: UInt64) {
    let all = entries[kind, default: [:]].values
    let chosen = namespace.map { wanted in all.filter { $0.stored.key.namespace == wanted } } ?? Array(all)
    return (chosen.sorted { $0.stored.key < $1.stored.key }, lastResourceVersion)
  }

  // MARK: Writing

  /// Changes one object: `change` sees the current one (nil: none) and answers what it shall be.
  /// - Throws: what `change` throws; 422 when the result is not valid; 500 when SQLite fails. Nothing is
  ///   changed then.
  func write(
    _ key: ResourceKey, dryRun: Bool = false, refusesUnknownFields: Bool = false,
    _ change: @Sendable (Entry?) throws(APIError) -> Draft
  ) throws(APIError) -> Outcome {
    let current = entry(key)
    let draft = try change(current)
    var node = merged(draft, over: current)
    setSystemFields(of: &node, key: key, current: current)
    let (resource, diagnostics) = decodeResource(node)
    guard let resource, !diagnostics.contains(where: \.isError) else {
      throw .invalid(
        kind: key.kind.kind, group: key.kind.group, name: key.name,
        causes: diagnostics.filter(\.isError).map(Self.cause))
    }
    if refusesUnknownFields { try Self.refuseUnknownFields(diagnostics) }
    if let current, same(node, current.stored.node) && draft.applied == current.applied {
      return .unchanged(current, diagnostics)
    }
    let version = lastResourceVersion + 1
    node["metadata"]?["resourceVersion"] = .string(String(version))
    // Decoded before the version was known; the rest is the same.
    let typed = decodeResource(node).0 ?? resource
    let entry = Entry(
      stored: StoredObject(key: key, node: node, resource: typed, resourceVersion: version),
      json: JSON.bytes(node), applied: draft.applied)
    let isGone = isDeleting(node) && finalizers(node).isEmpty
    if !dryRun {
      let type: ChangeType = isGone ? .deleted : current == nil ? .added : .modified
      try commit([Change(type: type, entry: entry, previous: current)] + implied(by: key, current: current))
    }
    if isGone { return .removed(entry, diagnostics) }
    return current == nil ? .created(entry, diagnostics) : .updated(entry, diagnostics)
  }

  /// Deletes an object, or marks it as being deleted while finalizers hold it. A Namespace takes what is in
  /// it along.
  func delete(
    _ key: ResourceKey, dryRun: Bool = false, if holds: @Sendable (Entry) throws(APIError) -> Void = { _ in }
  ) throws(APIError) -> (entry: Entry, isGone: Bool) {
    guard let current = entry(key) else {
      throw .notFound(resource: key.kind.plural, group: key.kind.group, name: key.name)
    }
    try holds(current)
    var version = lastResourceVersion
    var changes: [Change] = []
    if key.kind == .namespace {
      for kind in ResourceKind.allCases where kind.isNamespaced {
        for inner in list(kind, namespace: key.name).entries {
          version += 1
          changes.append(deletion(of: inner, version: version))
        }
      }
    }
    version += 1
    changes.append(deletion(of: current, version: version))
    if !dryRun { try commit(changes) }
    let result = changes[changes.count - 1]
    return (result.entry, result.type == .deleted)
  }

  private func deletion(of entry: Entry, version: UInt64) -> Change {
    var node = entry.stored.node
    let isHeld = !finalizers(node).isEmpty
    if isHeld && !isDeleting(node) { node["metadata"]?["deletionTimestamp"] = .string(now()) }
    node["metadata"]?["resourceVersion"] = .string(String(version))
    let resource = decodeResource(node).0 ?? entry.stored.resource
    let stored = StoredObject(
      key: entry.stored.key, node: node, resource: resource, resourceVersion: version)
    let marked = Entry(stored: stored, json: JSON.bytes(node), applied: entry.applied)
    return Change(type: isHeld ? .modified : .deleted, entry: marked, previous: entry)
  }

  /// A namespace comes into being with the first object in it.
  private func implied(by key: ResourceKey, current: Entry?) -> [Change] {
    guard current == nil, key.kind.isNamespaced else { return [] }
    let namespace = ResourceKey(kind: .namespace, namespace: "", name: key.namespace)
    guard entry(namespace) == nil else { return [] }
    let version = lastResourceVersion + 2
    var node: Node = ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": .string(key.namespace)]]
    setSystemFields(of: &node, key: namespace, current: nil)
    node["metadata"]?["resourceVersion"] = .string(String(version))
    guard let resource = decodeResource(node).0 else { return [] }
    let stored = StoredObject(key: namespace, node: node, resource: resource, resourceVersion: version)
    return [Change(type: .added, entry: Entry(stored: stored, json: JSON.bytes(node), applied: [:]))]
  }

  /// Writes the changes to the file, then to memory, then to the watchers: what a watcher was told survives.
  private func commit(_ changes: [Change]) throws(APIError) {
    guard let last = changes.last?.resourceVersion else { return }
    do {
      try database.write(changes.map(row), lastResourceVersion: last)
    } catch {
      throw .internalFailure("the store could not be written: \(error)")
    }
    lastResourceVersion = last
    for change in changes {
      let key = change.entry.stored.key
      entries[key.kind, default: [:]][key] = change.type == .deleted ? nil : change.entry
      history.append(change)
      for (identifier, tell) in watchers where !tell(change) { watchers[identifier] = nil }
    }
    if history.count >= 2 * Self.historyLength {
      history.removeFirst(history.count - Self.historyLength)
      historyStart = history[0].resourceVersion - 1
    }
  }

  private func row(_ change: Change) -> ObjectDatabase.Change {
    let stored = change.entry.stored
    let key = ObjectDatabase.RowKey(
      resource: stored.key.kind.qualifiedName, namespace: stored.key.namespace, name: stored.key.name)
    if change.type == .deleted { return .remove(key) }
    return .put(
      ObjectDatabase.Row(
        key: key, resourceVersion: stored.resourceVersion, body: change.entry.json,
        applied: change.entry.applied.mapValues { JSON.bytes($0) }))
  }

  // MARK: Watching

  enum WatchSignal: Sendable {
    case change(Change)
    /// Everything up to this version has been sent.
    case bookmark(UInt64)
    /// The objects that were there at the start have all been sent.
    case initialEnd(UInt64)
  }

  enum WatchStart: Sendable {
    /// The objects that are there come first, as additions.
    case initial
    /// Changes after this version only.
    case after(UInt64)
  }

  struct Watch: Sendable {
    let signals: AsyncStream<WatchSignal>
    fileprivate let continuation: AsyncStream<WatchSignal>.Continuation

    func end() { continuation.finish() }
  }

  /// Changes of a kind. The stream ends when the watcher does not keep up; it then has to start anew.
  /// - Throws: 410 when the changes after the given version are no longer remembered.
  func watch(_ kind: ResourceKind, namespace: String?, from start: WatchStart) throws(APIError) -> Watch {
    if case .after(let version) = start {
      guard version >= historyStart else {
        throw .expired("too old resource version: \(version) (\(historyStart))")
      }
      guard version <= lastResourceVersion else {
        throw .expired("resource version \(version) is from the future; the last is \(lastResourceVersion)")
      }
    }
    let (signals, continuation) = AsyncStream.makeStream(
      of: WatchSignal.self,
      bufferingPolicy: .bufferingOldest(Self.watcherBacklog + (entries[kind]?.count ?? 0)))
    let tell: @Sendable (Change) -> Bool = { change in
      let key = change.entry.stored.key
      guard key.kind == kind, namespace == nil || key.namespace == namespace else { return true }
      if case .enqueued = continuation.yield(.change(change)) { return true }
      continuation.finish()
      return false
    }
    switch start {
    case .initial:
      for entry in list(kind, namespace: namespace).entries {
        _ = tell(Change(type: .added, entry: entry, previous: nil))
      }
      continuation.yield(.initialEnd(lastResourceVersion))
    case .after(let version):
      for change in history where change.resourceVersion > version { _ = tell(change) }
    }
    register(tell, continuation)
    return Watch(signals: signals, continuation: continuation)
  }

  /// Tells the watcher how far it has come.
  func bookmark(_ watch: Watch) { watch.continuation.yield(.bookmark(lastResourceVersion)) }

  private func register<Element>(
    _ tell: @escaping @Sendable (Change) -> Bool, _ continuation: AsyncStream<Element>.Continuation
  ) {
    let identifier = nextWatcher
    nextWatcher += 1
    watchers[identifier] = tell
    continuation.onTermination = { [weak self] _ in
      Task { [weak self] in await self?.unregister(identifier) }
    }
  }

  private func unregister(_ identifier: UInt64) { watchers[identifier] = nil }
}

// MARK: The controller's side

extension ObjectStore: ResourceSource, StatusWriter {
  nonisolated public func events() -> AsyncStream<ResourceEvent> {
    let (stream, continuation) = AsyncStream.makeStream(of: ResourceEvent.self)
    Task { await feed(continuation) }
    return stream
  }

  private func feed(_ continuation: AsyncStream<ResourceEvent>.Continuation) {
    continuation.yield(.initialize)
    for kind in ResourceKind.allCases {
      for entry in list(kind, namespace: nil).entries { continuation.yield(.initApply(entry.stored)) }
    }
    continuation.yield(.initDone)
    register(
      { change in
        let key = change.entry.stored.key
        continuation.yield(change.type == .deleted ? .delete(key) : .apply(change.entry.stored))
        return true
      }, continuation)
  }

  /// Writes the statuses in one transaction. A patch for an object that is gone, or is another one by now
  /// (uid), is left out: the controller sees the change and answers it.
  public func write(_ patches: [StatusPatch]) async {
    var version = lastResourceVersion
    var changes: [Change] = []
    for patch in patches {
      guard let current = entry(patch.key),
        patch.uid.isEmpty || current.stored.node["metadata"]?["uid"]?.string == patch.uid,
        current.stored.node["status"] != patch.status
      else { continue }
      version += 1
      var node = current.stored.node
      node["status"] = patch.status
      node["metadata"]?["resourceVersion"] = .string(String(version))
      guard let resource = decodeResource(node).0 else { continue }
      let stored = StoredObject(
        key: patch.key, node: node, resource: resource, resourceVersion: version)
      let entry = Entry(stored: stored, json: JSON.bytes(node), applied: current.applied)
      changes.append(Change(type: .modified, entry: entry, previous: current))
    }
    // The next rebuild writes the status again; until then the old one stands.
    try? commit(changes)
  }

  /// Puts what every installation starts with into an empty store.
  public func seed() throws {
    guard lastResourceVersion == 0 else { return }
    let objects: [(ResourceKey, Node)] = [
      (
        ResourceKey(kind: .namespace, namespace: "", name: "default"),
        ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": "default"]]
      ),
      (
        ResourceKey(kind: .gatewayClass, namespace: "", name: "sluice"),
        [
          "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
          "metadata": ["name": "sluice"],
          "spec": ["controllerName": .string(ControllerOptions.controllerName)],
        ]
      ),
    ]
    for (key, node) in objects {
      _ = try write(key) { _ throws(APIError) in Draft(node: node, applied: [:], isStatus: false) }
    }
  }
}

// MARK: Fields that the store itself sets

extension ObjectStore {
  /// The draft with the parts that its subresource cannot change taken from the current object.
  private func merged(_ draft: Draft, over current: Entry?) -> Node {
    guard let current else {
      var node = draft.node
      node["status"] = nil
      return node
    }
    if draft.isStatus {
      var node = current.stored.node
      node["status"] = draft.node["status"]
      return node
    }
    var node = draft.node
    if current.stored.key.kind.hasStatus { node["status"] = current.stored.node["status"] }
    return node
  }

  private func setSystemFields(of node: inout Node, key: ResourceKey, current: Entry?) {
    // In the order in which people write them.
    let rest = (node.entries ?? []).filter { !["apiVersion", "kind", "metadata", "status"].contains($0.key) }
    var ordered: [(String, Node)] = [
      ("apiVersion", .string(key.kind.apiVersion)), ("kind", .string(key.kind.kind)),
      ("metadata", node["metadata"] ?? .mapping([])),
    ]
    ordered += rest.map { ($0.key, $0.value) }
    if let status = node["status"] { ordered.append(("status", status)) }
    node = .mapping(ordered)
    var metadata = node["metadata"] ?? .mapping([])
    let old = current?.stored.node["metadata"]
    metadata["name"] = .string(key.name)
    metadata["namespace"] = key.kind.isNamespaced ? .string(key.namespace) : nil
    metadata["uid"] = old?["uid"] ?? .string(UUID().uuidString.lowercased())
    metadata["creationTimestamp"] = old?["creationTimestamp"] ?? .string(now())
    metadata["deletionTimestamp"] = old?["deletionTimestamp"]
    metadata["resourceVersion"] = old?["resourceVersion"]
    for field in ["managedFields", "selfLink", "generateName"] { metadata[field] = nil }
    var generation = old?["generation"]?.int ?? 0
    if current == nil || !same(content(node), content(current?.stored.node ?? .null)) { generation += 1 }
    metadata["generation"] = .int(generation)
    if key.kind == .namespace {
      var labels = metadata["labels"] ?? .mapping([])
      labels["kubernetes.io/metadata.name"] = .string(key.name)
      metadata["labels"] = labels
    }
    node["metadata"] = metadata
    if key.kind == .secret { Self.foldStringData(of: &node) }
  }

  /// What the generation counts: everything but metadata and status.
  private func content(_ node: Node) -> Node {
    var result = node
    result["metadata"] = nil
    result["status"] = nil
    return result
  }

  private func same(_ one: Node, _ other: Node) -> Bool { one == other }

  /// core/v1 Secret: `stringData` is a write-only convenience, merged into `data`.
  private static func foldStringData(of node: inout Node) {
    if node["type"] == nil { node["type"] = "Opaque" }
    guard let texts = node["stringData"]?.entries else { return }
    var data = node["data"] ?? .mapping([])
    for text in texts {
      guard let value = text.value.string else { return }
      data[text.key] = .string(Data(value.utf8).base64EncodedString())
    }
    node["data"] = data
    node["stringData"] = nil
  }

  private func isDeleting(_ node: Node) -> Bool { node["metadata"]?["deletionTimestamp"]?.string != nil }

  private func finalizers(_ node: Node) -> [Node] { node["metadata"]?["finalizers"]?.sequence ?? [] }

  /// `fieldValidation=Strict`.
  private static func refuseUnknownFields(_ diagnostics: [Diagnostic]) throws(APIError) {
    let unknown = diagnostics.filter { !$0.isError && $0.message.hasPrefix("unknown field") }
    if unknown.isEmpty { return }
    let list = unknown.map { "unknown field \"\($0.path)\"" }.joined(separator: ", ")
    throw .badRequest("strict decoding error: \(list)")
  }

  private static func cause(_ diagnostic: Diagnostic) -> APIError.Cause {
    APIError.Cause(reason: "FieldValueInvalid", field: diagnostic.path, message: diagnostic.message)
  }
}
