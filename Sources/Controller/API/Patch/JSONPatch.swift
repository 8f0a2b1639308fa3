import YAML

/// JSON patch (RFC 6902) with JSON pointers (RFC 6901).
enum JSONPatch {
  /// Applies all operations in order, or throws and changes nothing.
  static func apply(_ patch: Node, to target: Node) throws(APIError) -> Node {
    guard let operations = patch.sequence else {
      throw .badRequest("a JSON patch is a list of operations, this is \(patch.kindDescription)")
    }
    var result = target
    for (index, operation) in operations.enumerated() {
      do {
        try perform(operation, on: &result)
      } catch {
        throw .badRequest("operation \(index) of the JSON patch: \(error.reason)")
      }
    }
    return result
  }

  private struct Refusal: Error { let reason: String }

  private static func perform(_ operation: Node, on target: inout Node) throws(Refusal) {
    guard let name = operation["op"]?.string, let pathText = operation["path"]?.string else {
      throw Refusal(reason: "op and path must be strings")
    }
    let path = try pointer(pathText)
    switch name {
    case "add":
      target = try edited(target, path[...], .add(try value(of: operation)))
    case "replace":
      target = try edited(target, path[...], .replace(try value(of: operation)))
    case "remove":
      target = try edited(target, path[...], .remove)
    case "test":
      guard try find(target, path) == value(of: operation) else {
        throw Refusal(reason: "test failed: \(pathText) has another value")
      }
    case "move":
      let from = try pointer(operation["from"]?.string ?? "")
      let moved = try find(target, from)
      target = try edited(target, from[...], .remove)
      target = try edited(target, path[...], .add(moved))
    case "copy":
      let from = try pointer(operation["from"]?.string ?? "")
      target = try edited(target, path[...], .add(try find(target, from)))
    default:
      throw Refusal(reason: "op \(name) is not add, remove, replace, move, copy or test")
    }
  }

  private static func value(of operation: Node) throws(Refusal) -> Node {
    guard let value = operation["value"] else { throw Refusal(reason: "value is missing") }
    return value
  }

  private static func pointer(_ text: String) throws(Refusal) -> [String] {
    if text.isEmpty { return [] }
    guard text.hasPrefix("/") else { throw Refusal(reason: "the pointer \(text) does not start with /") }
    return text.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map {
      replacing("~0", by: "~", in: replacing("~1", by: "/", in: String($0)))
    }
  }

  private static func replacing(_ old: String, by new: String, in text: String) -> String {
    text.split(separator: old, omittingEmptySubsequences: false).joined(separator: new)
  }

  private static func find(_ node: Node, _ path: [String]) throws(Refusal) -> Node {
    var current = node
    for step in path {
      guard let next = current.sequence == nil ? current[step] : Int(step).flatMap({ current[$0] }) else {
        throw Refusal(reason: "there is nothing at /\(path.joined(separator: "/"))")
      }
      current = next
    }
    return current
  }

  private enum Edit {
    case add(Node), replace(Node), remove
  }

  private static func edited(
    _ node: Node, _ path: ArraySlice<String>, _ edit: Edit
  ) throws(Refusal) -> Node {
    guard let step = path.first else {
      switch edit {
      case .add(let value), .replace(let value): return value
      case .remove: throw Refusal(reason: "the whole object cannot be removed")
      }
    }
    if let elements = node.sequence {
      return try editedList(elements, step, path.dropFirst(), edit)
    }
    guard node.entries != nil else {
      throw Refusal(reason: "\(step) is looked for in \(node.kindDescription)")
    }
    var result = node
    if path.count > 1 {
      guard let inner = node[step] else { throw Refusal(reason: "there is no field \(step)") }
      result[step] = try edited(inner, path.dropFirst(), edit)
      return result
    }
    switch edit {
    case .add(let value): result[step] = value
    case .replace(let value):
      guard node[step] != nil else { throw Refusal(reason: "there is no field \(step) to replace") }
      result[step] = value
    case .remove:
      guard node[step] != nil else { throw Refusal(reason: "there is no field \(step) to remove") }
      result[step] = nil
    }
    return result
  }

  private static func editedList(
    _ elements: [Node], _ step: String, _ rest: ArraySlice<String>, _ edit: Edit
  ) throws(Refusal) -> Node {
    var elements = elements
    if rest.isEmpty, case .add(let value) = edit {
      guard let index = step == "-" ? elements.count : Int(step), (0...elements.count).contains(index) else {
        throw Refusal(reason: "the index \(step) is out of range")
      }
      elements.insert(value, at: index)
      return .sequence(elements)
    }
    guard let index = Int(step), elements.indices.contains(index) else {
      throw Refusal(reason: "the index \(step) is out of range")
    }
    switch (rest.isEmpty, edit) {
    case (true, .remove): elements.remove(at: index)
    case (true, .add(let value)), (true, .replace(let value)): elements[index] = value
    case (false, _): elements[index] = try edited(elements[index], rest, edit)
    }
    return .sequence(elements)
  }
}
