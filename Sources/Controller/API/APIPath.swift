import GatewayAPI

/// What a request's path asks for. The paths are those of the Kubernetes API.
enum APIPath: Equatable {
  case health
  case version
  case openAPI(version: String, document: String)
  case coreVersions
  case groups
  case group(String)
  case resourceList(group: String, version: String)
  case resources(ResourcePath)
  /// The controller's explanation of a request: `/apis/sluice.dev/v1alpha1/explain`.
  case explain
  /// A tunnel to a listener's port: `…/namespaces/NS/gateways/NAME/portforward`.
  case portForward(ResourcePath)

  struct ResourcePath: Equatable {
    var kind: ResourceKind
    var version: String
    /// Nil: all namespaces, or a kind without them.
    var namespace: String?
    /// Nil: the collection.
    var name: String?
    var isStatus = false
  }

  static let ownGroup = "sluice.dev"
  static let ownVersion = "v1alpha1"

  init?(_ path: String) {
    let parts = path.split(separator: "/").map(String.init)
    switch (parts.first, parts.count) {
    case ("healthz", _), ("livez", _), ("readyz", _): self = .health
    case ("version", 1): self = .version
    case ("openapi", 2...):
      self = .openAPI(version: parts[1], document: parts.dropFirst(2).joined(separator: "/"))
    case ("api", 1): self = .coreVersions
    case ("api", 2...): self.init(group: "", version: parts[1], rest: parts[2...])
    case ("apis", 1): self = .groups
    case ("apis", 2): self = .group(parts[1])
    case ("apis", 3...): self.init(group: parts[1], version: parts[2], rest: parts[3...])
    default: return nil
    }
  }

  private init?(group: String, version: String, rest: ArraySlice<String>) {
    var rest = rest
    guard let first = rest.first else {
      self = .resourceList(group: group, version: version)
      return
    }
    if group == Self.ownGroup {
      guard version == Self.ownVersion, Array(rest) == ["explain"] else { return nil }
      self = .explain
      return
    }
    var namespace: String?
    // `namespaces/x` alone is the object; with more behind it, it is a scope.
    if first == "namespaces", rest.count >= 3, rest[rest.startIndex + 2] != "status" {
      namespace = rest[rest.startIndex + 1]
      rest = rest.dropFirst(2)
    }
    guard let plural = rest.popFirst(), let kind = ResourceKind(group: group, plural: plural),
      kind.versions.contains(version), namespace == nil || kind.isNamespaced
    else { return nil }
    let name = rest.popFirst()
    var path = ResourcePath(kind: kind, version: version, namespace: namespace, name: name)
    switch (rest.popFirst(), kind) {
    case (nil, _): self = .resources(path)
    case ("status", _) where kind.hasStatus:
      path.isStatus = true
      self = .resources(path)
    case ("portforward", .gateway), ("portforward", .istioGateway): self = .portForward(path)
    default: return nil
    }
    // An object of a namespaced kind is addressed with its namespace only.
    if !rest.isEmpty || (name != nil && kind.isNamespaced && namespace == nil) { return nil }
  }
}

/// The parameters behind the question mark.
struct APIQuery {
  private(set) var values: [String: String] = [:]

  init(_ text: String?) {
    for pair in (text ?? "").split(separator: "&") {
      let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let value = parts.count == 2 ? Self.decoded(parts[1]) : ""
      values[Self.decoded(parts[0])] = value
    }
  }

  subscript(_ name: String) -> String? { values[name] }

  func flag(_ name: String) -> Bool { ["true", "1"].contains(values[name]) }

  static func decoded(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "+") {
        bytes.append(UInt8(ascii: " "))
      } else if byte == UInt8(ascii: "%"), rest.count >= 2,
        let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      {
        bytes.append(value)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
