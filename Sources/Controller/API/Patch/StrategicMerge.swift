import YAML

/// The Kubernetes strategic merge patch, as far as the kinds served here need it.
///
/// Maps merge as in a JSON merge patch. A list replaces the old one, except for the lists of
/// `mergeKeys`, whose elements are matched by that field, and `metadata.finalizers`, a set. The directives
/// `$patch: replace|delete`, `$retainKeys`, `$setElementOrder/…` and `$deleteFromPrimitiveList/…` are
/// obeyed. Source: Kubernetes API conventions, "Strategic Merge Patch".
enum StrategicMerge {
  /// By path without indices: the field that tells the elements of a list apart.
  private static let mergeKeys: [String: String] = [
    "metadata.ownerReferences": "uid",
    "spec.ports": "port",
    "status.conditions": "type",
  ]
  private static let sets: Set<String> = ["metadata.finalizers"]
  private static let orderPrefix = "$setElementOrder/"
  private static let deletePrefix = "$deleteFromPrimitiveList/"

  static func apply(_ patch: Node, to target: Node) throws(APIError) -> Node {
    try merge(patch, into: target, path: "")
  }

  private static func merge(_ patch: Node, into target: Node?, path: String) throws(APIError) -> Node {
    guard let changes = patch.entries else { return patch }
    if let directive = patch["$patch"]?.string {
      switch directive {
      case "replace": return without(directives: patch)
      case "delete": return .mapping([])
      case "merge": break
      default: throw .badRequest("$patch: \(directive) at \(shown(path)) is not replace, delete or merge")
      }
    }
    var result = target?.entries == nil ? Node.mapping([]) : target ?? .mapping([])
    if let retained = patch["$retainKeys"]?.sequence?.compactMap(\.string) {
      result = .mapping(
        (result.entries ?? []).filter { retained.contains($0.key) }.map { ($0.key, $0.value) })
    }
    for change in changes where !change.key.hasPrefix("$") {
      let inner = path.isEmpty ? change.key : "\(path).\(change.key)"
      if change.value.isNull {
        result[change.key] = nil
      } else if let elements = change.value.sequence {
        result[change.key] = try mergeList(elements, into: result[change.key], path: inner)
      } else {
        result[change.key] = try merge(change.value, into: result[change.key], path: inner)
      }
    }
    for change in changes {
      if change.key.hasPrefix(orderPrefix) {
        let field = String(change.key.dropFirst(orderPrefix.count))
        let inner = path.isEmpty ? field : "\(path).\(field)"
        result[field] = ordered(result[field], by: change.value.sequence ?? [], path: inner)
      } else if change.key.hasPrefix(deletePrefix), let gone = change.value.sequence {
        let field = String(change.key.dropFirst(deletePrefix.count))
        let kept = (result[field]?.sequence ?? []).filter { !gone.contains($0) }
        result[field] = .sequence(kept)
      }
    }
    return result
  }

  private static func mergeList(
    _ elements: [Node], into target: Node?, path: String
  ) throws(APIError) -> Node {
    let old = target?.sequence ?? []
    if sets.contains(path) {
      return .sequence(old + elements.filter { !old.contains($0) })
    }
    guard let mergeKey = mergeKeys[path] else { return .sequence(elements) }
    if elements.contains(where: { $0["$patch"]?.string == "replace" }) {
      return .sequence(elements.filter { $0["$patch"] == nil })
    }
    var result = old
    for element in elements {
      guard let identity = element[mergeKey] else {
        throw .badRequest("an element of \(path) in the patch has no \(mergeKey), by which elements merge")
      }
      let index = result.firstIndex { $0[mergeKey] == identity }
      if element["$patch"]?.string == "delete" {
        if let index { result.remove(at: index) }
      } else if let index {
        result[index] = try merge(element, into: result[index], path: path)
      } else {
        result.append(element)
      }
    }
    return .sequence(result)
  }

  /// Elements that the order names come first, in its order.
  private static func ordered(_ list: Node?, by order: [Node], path: String) -> Node? {
    guard let elements = list?.sequence else { return list }
    let mergeKey = mergeKeys[path]
    func rank(_ element: Node) -> Int {
      let identity = mergeKey.map { key in element[key] } ?? element
      let found = order.firstIndex { wanted in
        (mergeKey.map { key in wanted[key] } ?? wanted) == identity
      }
      return found ?? order.count
    }
    let ranked = elements.enumerated().map { (rank($0.element), $0.offset, $0.element) }
    return .sequence(ranked.sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map(\.2))
  }

  private static func without(directives patch: Node) -> Node {
    .mapping((patch.entries ?? []).filter { !$0.key.hasPrefix("$") }.map { ($0.key, $0.value) })
  }

  private static func shown(_ path: String) -> String { path.isEmpty ? "the root" : path }
}
