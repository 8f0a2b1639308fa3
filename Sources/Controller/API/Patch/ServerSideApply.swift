import YAML

/// Server-side apply in a simple form: each field manager's last applied configuration is kept. Applying a
/// new one sets its fields, removes those that this manager no longer names and no other manager applied,
/// and refuses with a conflict where another manager applied another value, unless forced.
///
/// A list is one value, owned and replaced whole; there are no list-map merges.
enum ServerSideApply {
  struct Result: Equatable {
    var object: Node
    /// The configurations by manager, with the new one.
    var applied: [String: Node]
  }

  static func apply(
    _ configuration: Node, manager: String, to live: Node?, applied: [String: Node], force: Bool
  ) throws(APIError) -> Result {
    let wanted = significant(configuration)
    let previous = applied[manager]
    var others = applied
    others[manager] = nil
    var conflicts: [(path: [String], manager: String)] = []
    for (path, value) in leaves(wanted) {
      for (other, theirs) in others.sorted(by: { $0.key < $1.key }) {
        guard let held = find(theirs, path), held != value else { continue }
        conflicts.append((path, other))
      }
    }
    if !force, !conflicts.isEmpty { throw .applyConflict(conflicts.map { (shown($0.path), $0.manager) }) }
    for conflict in conflicts {
      others[conflict.manager] = others[conflict.manager].flatMap { removed($0, conflict.path[...]) }
    }
    var object = live ?? .mapping([])
    for path in previous.map(leaves)?.map(\.path) ?? [] where find(wanted, path) == nil {
      let isHeld = others.values.contains { find($0, path) != nil }
      if !isHeld { object = removed(object, path[...]) ?? .mapping([]) }
    }
    for (path, value) in leaves(wanted) { object = set(object, path[...], value) }
    others[manager] = wanted
    return Result(object: object, applied: others)
  }

  /// What a manager can own: not the identity, not what the API itself sets.
  private static func significant(_ configuration: Node) -> Node {
    var result = configuration
    for field in ["apiVersion", "kind", "status"] { result[field] = nil }
    if var metadata = result["metadata"] {
      for field in [
        "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields",
      ] { metadata[field] = nil }
      result["metadata"] = metadata.entries?.isEmpty == true ? nil : metadata
    }
    return result
  }

  /// The values that are not objects, with their paths; an empty object counts as a value.
  private static func leaves(_ node: Node) -> [(path: [String], value: Node)] {
    var found: [(path: [String], value: Node)] = []
    func walk(_ node: Node, _ path: [String]) {
      if let entries = node.entries, !entries.isEmpty {
        for entry in entries { walk(entry.value, path + [entry.key]) }
      } else if !path.isEmpty {
        found.append((path, node))
      }
    }
    walk(node, [])
    return found
  }

  private static func find(_ node: Node, _ path: [String]) -> Node? {
    var current = node
    for step in path {
      guard let next = current[step] else { return nil }
      current = next
    }
    return current
  }

  private static func set(_ node: Node, _ path: ArraySlice<String>, _ value: Node) -> Node {
    guard let step = path.first else {
      // An empty object asks for the object to be there, not for it to be empty.
      if value.entries?.isEmpty == true, node.entries != nil { return node }
      return value
    }
    var result = node.entries == nil ? Node.mapping([]) : node
    result[step] = set(result[step] ?? .null, path.dropFirst(), value)
    return result
  }

  /// Without the value at `path`; an object that becomes empty by that goes too (nil).
  private static func removed(_ node: Node, _ path: ArraySlice<String>) -> Node? {
    guard let step = path.first else { return nil }
    guard let inner = node[step] else { return node }
    var result = node
    result[step] = removed(inner, path.dropFirst())
    return result.entries?.isEmpty == true ? nil : result
  }

  private static func shown(_ path: [String]) -> String {
    path.map { $0.contains(".") ? "[\"\($0)\"]" : ".\($0)" }.joined()
  }
}
