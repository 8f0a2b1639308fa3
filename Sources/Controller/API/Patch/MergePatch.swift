import YAML

/// JSON merge patch (RFC 7396).
enum MergePatch {
  /// Objects are merged, null removes, anything else (lists too) replaces.
  static func apply(_ patch: Node, to target: Node?) -> Node {
    guard let changes = patch.entries else { return patch }
    var result = target?.entries == nil ? Node.mapping([]) : target ?? .mapping([])
    for change in changes {
      result[change.key] = change.value.isNull ? nil : apply(change.value, to: result[change.key])
    }
    return result
  }
}
