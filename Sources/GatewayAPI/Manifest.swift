public import YAML

/// The objects of one text: its documents, with every list replaced by its items, and what is wrong with
/// the text itself. The objects are not decoded yet.
public struct Manifest: Sendable {
  public var file: String?
  public var objects: [Node]
  public var diagnostics: [Diagnostic]

  /// - Parameter file: names the text in diagnostics.
  public init(_ bytes: [UInt8], file: String? = nil) {
    let parsed = YAML.parse(bytes, file: file)
    self.file = file
    objects = []
    diagnostics = parsed.diagnostics
    for document in parsed.documents { add(document, path: .root) }
  }

  private mutating func add(_ node: Node, path: FieldPath) {
    guard node.entries != nil else {
      let message = "must be an object with apiVersion and kind, not \(node.kindDescription)"
      diagnostics.append(
        Diagnostic(.error, file: file, position: node.position, path: path.description, message: message))
      return
    }
    // `List` of the core group, and the lists that an API server answers with (`HTTPRouteList`).
    guard let kind = node["kind"]?.string, kind.hasSuffix("List"), let items = node["items"] else {
      objects.append(node)
      return
    }
    let place = path.appending("items")
    guard let elements = items.sequence else {
      if !items.isNull {
        diagnostics.append(
          Diagnostic(
            .error, file: file, position: items.position, path: place.description,
            message: "must be a list, not \(items.kindDescription)"))
      }
      return
    }
    for (index, item) in elements.enumerated() { add(filled(item, from: node), path: place.appending(index)) }
  }

  /// The items of a typed list may leave out what the list's own kind says.
  private func filled(_ item: Node, from list: Node) -> Node {
    guard let kind = list["kind"]?.string, kind != "List", item.entries != nil else { return item }
    var item = item
    if item["kind"] == nil { item["kind"] = .string(String(kind.dropLast(4))) }
    if item["apiVersion"] == nil { item["apiVersion"] = list["apiVersion"] }
    return item
  }
}
