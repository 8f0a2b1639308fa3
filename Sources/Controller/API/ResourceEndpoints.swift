import Foundation
import GatewayAPI
import HTTPTypes
import Hummingbird
import NIOCore
import YAML

/// The verbs on objects: get, list, create, update, patch, delete. What they answer is decided here; the
/// store does the changing.
struct ResourceEndpoints: Sendable {
  let store: ObjectStore

  /// One decoded request on an object or a collection.
  struct Call: Sendable {
    var path: APIPath.ResourcePath
    var query: [String: String]
    var contentType: String
    var body: [UInt8]
    var table: TableView.IncludedObject?

    var isDryRun: Bool { query["dryRun"] == "All" }
    var isStrict: Bool { query["fieldValidation"] == "Strict" }
  }

  func get(_ call: Call) async throws(APIError) -> APIAnswer {
    let key = try key(call)
    guard let entry = await store.entry(key) else { throw notFound(key) }
    if let included = call.table {
      let view = TableView(kind: key.kind, included: included, now: .now)
      return APIAnswer(
        200, view.node([shown(entry.stored.node, call)], resourceVersion: entry.stored.resourceVersion))
    }
    return APIAnswer(200, json: json(entry, call))
  }

  func list(_ call: Call) async throws(APIError) -> APIAnswer {
    let selection = try selection(call)
    let (all, version) = await store.list(call.path.kind, namespace: call.path.namespace)
    let chosen = selection.isEverything ? all : all.filter { selection.matches($0.stored) }
    if let included = call.table {
      let view = TableView(kind: call.path.kind, included: included, now: .now)
      return APIAnswer(200, view.node(chosen.map { shown($0.stored.node, call) }, resourceVersion: version))
    }
    let apiVersion = call.path.kind.apiVersion(call.path.version)
    let head =
      "{\"kind\":\"\(call.path.kind.kind)List\",\"apiVersion\":\"\(apiVersion)\","
      + "\"metadata\":{\"resourceVersion\":\"\(version)\"},\"items\":["
    var body = Array(head.utf8)
    for (index, entry) in chosen.enumerated() {
      if index > 0 { body.append(UInt8(ascii: ",")) }
      body += json(entry, call)
    }
    body += Array("]}".utf8)
    return APIAnswer(200, json: body)
  }

  func create(_ call: Call) async throws(APIError) -> APIAnswer {
    var node = try document(call)
    try check(node, call)
    let kind = call.path.kind
    if node["metadata"]?["name"]?.string == nil, let prefix = node["metadata"]?["generateName"]?.string {
      let letters = "bcdfghjklmnpqrstvwxz2456789"
      node["metadata"]?["name"] = .string(
        prefix + String((0..<5).compactMap { _ in letters.randomElement() }))
    }
    guard let name = node["metadata"]?["name"]?.string, !name.isEmpty else {
      throw .invalid(
        kind: kind.kind, group: kind.group, name: "",
        causes: [.init(reason: "FieldValueRequired", field: "metadata.name", message: "is required")])
    }
    let key = ResourceKey(kind: kind, namespace: call.path.namespace ?? "default", name: name)
    let created = node
    let outcome = try await store.write(key, dryRun: call.isDryRun, refusesUnknownFields: call.isStrict) {
      current throws(APIError) in
      if current != nil {
        throw .alreadyExists(resource: kind.plural, group: kind.group, name: name)
      }
      return ObjectStore.Draft(node: created, applied: [:], isStatus: false)
    }
    return try answer(outcome, call)
  }

  func update(_ call: Call) async throws(APIError) -> APIAnswer {
    let key = try key(call)
    let node = try document(call)
    try check(node, call)
    if let name = node["metadata"]?["name"]?.string, name != key.name {
      throw .badRequest("the name of the object (\(name)) does not match the name on the URL (\(key.name))")
    }
    let isStatus = call.path.isStatus
    let outcome = try await store.write(key, dryRun: call.isDryRun, refusesUnknownFields: call.isStrict) {
      current throws(APIError) in
      // Kubernetes lets some built-in kinds be created by an update; custom resources are not.
      guard let current else { throw notFound(key) }
      try precondition(node, current)
      return ObjectStore.Draft(node: node, applied: current.applied, isStatus: isStatus)
    }
    return try answer(outcome, call)
  }

  func patch(_ call: Call) async throws(APIError) -> APIAnswer {
    let key = try key(call)
    let patch = try document(call)
    let isStatus = call.path.isStatus
    if call.contentType == "application/apply-patch+yaml" { return try await apply(patch, key, call) }
    let type = call.contentType
    let outcome = try await store.write(key, dryRun: call.isDryRun, refusesUnknownFields: call.isStrict) {
      current throws(APIError) in
      guard let current else { throw notFound(key) }
      try precondition(patch, current)
      let live = current.stored.node
      let node: Node
      switch type {
      case "application/merge-patch+json": node = MergePatch.apply(patch, to: live)
      case "application/strategic-merge-patch+json": node = try StrategicMerge.apply(patch, to: live)
      case "application/json-patch+json": node = try JSONPatch.apply(patch, to: live)
      default: throw .unsupportedMediaType(type)
      }
      return ObjectStore.Draft(node: node, applied: current.applied, isStatus: isStatus)
    }
    return try answer(outcome, call)
  }

  private func apply(_ patch: Node, _ key: ResourceKey, _ call: Call) async throws(APIError) -> APIAnswer {
    guard let manager = call.query["fieldManager"], !manager.isEmpty else {
      throw .badRequest("fieldManager is required for an apply patch")
    }
    try check(patch, call)
    if let name = patch["metadata"]?["name"]?.string, name != key.name {
      throw .badRequest("metadata.name (\(name)) does not match the name on the URL (\(key.name))")
    }
    let isForced = call.query["force"] == "true"
    let isStatus = call.path.isStatus
    let outcome = try await store.write(key, dryRun: call.isDryRun, refusesUnknownFields: call.isStrict) {
      current throws(APIError) in
      if isStatus && current == nil { throw notFound(key) }
      if let current { try precondition(patch, current) }
      if isStatus {
        // A status has one writer here; it is replaced whole and no fields of it are tracked.
        return ObjectStore.Draft(node: patch, applied: current?.applied ?? [:], isStatus: true)
      }
      let result = try ServerSideApply.apply(
        patch, manager: manager, to: current?.stored.node, applied: current?.applied ?? [:], force: isForced)
      return ObjectStore.Draft(node: result.object, applied: result.applied, isStatus: false)
    }
    return try answer(outcome, call)
  }

  func delete(_ call: Call) async throws(APIError) -> APIAnswer {
    let key = try key(call)
    let conditions = call.body.isEmpty ? nil : try document(call)["preconditions"]
    let (entry, isGone) = try await store.delete(key, dryRun: call.isDryRun) { entry throws(APIError) in
      let metadata = entry.stored.node["metadata"]
      for field in ["uid", "resourceVersion"] {
        guard let wanted = conditions?[field]?.string, wanted != metadata?[field]?.string else { continue }
        throw .conflict(
          resource: key.kind.plural, group: key.kind.group, name: key.name,
          why: "the precondition on \(field) failed: wanted \(wanted)")
      }
    }
    guard isGone else { return APIAnswer(200, shown(entry.stored.node, call)) }
    var details: Node = ["name": .string(key.name), "kind": .string(key.kind.plural)]
    if !key.kind.group.isEmpty { details["group"] = .string(key.kind.group) }
    details["uid"] = entry.stored.node["metadata"]?["uid"]
    return APIAnswer(
      200,
      ["kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Success", "details": details])
  }

  func deleteCollection(_ call: Call) async throws(APIError) -> APIAnswer {
    let selection = try selection(call)
    let chosen = await store.list(call.path.kind, namespace: call.path.namespace).entries
    for entry in chosen where selection.matches(entry.stored) {
      _ = try await store.delete(entry.stored.key, dryRun: call.isDryRun)
    }
    return APIAnswer(200, ["kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Success"])
  }

  // MARK: Parts

  func selection(_ call: Call) throws(APIError) -> Selection {
    try Selection(labelSelector: call.query["labelSelector"], fieldSelector: call.query["fieldSelector"])
  }

  private func key(_ call: Call) throws(APIError) -> ResourceKey {
    guard let name = call.path.name else { throw .methodNotAllowed }
    return ResourceKey(kind: call.path.kind, namespace: call.path.namespace ?? "", name: name)
  }

  private func notFound(_ key: ResourceKey) -> APIError {
    .notFound(resource: key.kind.plural, group: key.kind.group, name: key.name)
  }

  private func document(_ call: Call) throws(APIError) -> Node {
    if call.contentType == KubernetesProtobuf.mediaType { return try KubernetesProtobuf.node(call.body) }
    let result = parse(call.body)
    if let error = result.diagnostics.first(where: \.isError) {
      throw .badRequest("the body cannot be read: \(error)")
    }
    guard let node = result.documents.first, result.documents.count == 1 else {
      throw .badRequest("the body must be one JSON or YAML document")
    }
    return node
  }

  /// The object must be of the kind, version and namespace that the URL names.
  private func check(_ node: Node, _ call: Call) throws(APIError) {
    let path = call.path
    let apiVersion = path.kind.apiVersion(path.version)
    if let kind = node["kind"]?.string, kind != path.kind.kind {
      throw .badRequest("the object is a \(kind), the URL is for \(path.kind.kind)")
    }
    if let given = node["apiVersion"]?.string, given != apiVersion {
      throw .badRequest("the object's apiVersion is \(given), the URL is for \(apiVersion)")
    }
    if let namespace = node["metadata"]?["namespace"]?.string, path.kind.isNamespaced, !namespace.isEmpty,
      let wanted = path.namespace, namespace != wanted
    {
      throw .badRequest(
        "the namespace of the object (\(namespace)) does not match the namespace on the URL (\(wanted))")
    }
  }

  /// An object or patch that carries a resource version or uid is meant for that state only.
  private func precondition(_ node: Node, _ current: ObjectStore.Entry) throws(APIError) {
    let key = current.stored.key
    for field in ["resourceVersion", "uid"] {
      guard let wanted = node["metadata"]?[field]?.string, !wanted.isEmpty,
        wanted != current.stored.node["metadata"]?[field]?.string
      else { continue }
      throw .conflict(
        resource: key.kind.plural, group: key.kind.group, name: key.name, why: APIError.outdated)
    }
  }

  private func answer(_ outcome: ObjectStore.Outcome, _ call: Call) throws(APIError) -> APIAnswer {
    switch outcome {
    case .created(let entry, let diagnostics):
      APIAnswer(201, json: json(entry, call), warnings: warnings(diagnostics, call))
    case .updated(let entry, let diagnostics), .unchanged(let entry, let diagnostics),
      .removed(let entry, let diagnostics):
      APIAnswer(200, json: json(entry, call), warnings: warnings(diagnostics, call))
    }
  }

  private func warnings(_ diagnostics: [Diagnostic], _ call: Call) -> [String] {
    if call.query["fieldValidation"] == "Ignore" { return [] }
    return diagnostics.filter { !$0.isError }.map {
      $0.path.isEmpty ? $0.message : "\($0.path): \($0.message)"
    }
  }

  /// The object in the version that was asked for.
  func shown(_ node: Node, _ call: Call) -> Node {
    if call.path.version == call.path.kind.versions[0] { return node }
    var result = node
    result["apiVersion"] = .string(call.path.kind.apiVersion(call.path.version))
    return result
  }

  func json(_ entry: ObjectStore.Entry, _ call: Call) -> [UInt8] {
    if call.path.version == call.path.kind.versions[0] { return entry.json }
    return JSON.bytes(shown(entry.stored.node, call))
  }
}

/// A whole answer, before it becomes a response.
struct APIAnswer: Sendable {
  var code: Int
  var body: [UInt8]
  var type = "application/json"
  /// Each becomes a `Warning` header that kubectl prints.
  var warnings: [String] = []

  init(_ code: Int, _ node: Node, type: String = "application/json") {
    self.code = code
    self.body = JSON.bytes(node)
    self.type = type
  }

  init(_ code: Int, json: [UInt8], warnings: [String] = []) {
    self.code = code
    self.body = json
    self.warnings = warnings
  }
}
