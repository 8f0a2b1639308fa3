import GatewayAPI
import YAML

/// The documents by which a client learns what is served: `/api`, `/apis` and the lists of resources, in the
/// plain and in the aggregated form (`apidiscovery.k8s.io/v2`).
enum Discovery {
  static let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
  static let statusVerbs = ["get", "patch", "update"]

  /// What kubectl shows as the server's version: the API level that the kinds served here come from.
  static func version() -> Node {
    [
      "major": "1", "minor": "37", "gitVersion": "v1.37.0+sluice", "gitCommit": "", "gitTreeState": "clean",
      "buildDate": "", "goVersion": "", "compiler": "swift", "platform": "linux",
    ]
  }

  static func coreVersions() -> Node {
    ["kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []]
  }

  /// Group names in the order in which kubectl shall prefer them: a bare `gateways` means the Gateway API's.
  static let groups = ["gateway.networking.k8s.io", "networking.istio.io", "discovery.k8s.io"]

  static func groupList() -> Node {
    [
      "kind": "APIGroupList", "apiVersion": "v1",
      "groups": .sequence(groups.map { group($0, asItem: true) ?? .null }),
    ]
  }

  static func group(_ name: String, asItem: Bool = false) -> Node? {
    let served = versions(of: name)
    guard !name.isEmpty, let preferred = served.first else { return nil }
    func entry(_ version: String) -> Node {
      ["groupVersion": .string("\(name)/\(version)"), "version": .string(version)]
    }
    var node: Node = asItem ? [:] : ["kind": "APIGroup", "apiVersion": "v1"]
    node["name"] = .string(name)
    node["versions"] = .sequence(served.map(entry))
    node["preferredVersion"] = entry(preferred)
    return node
  }

  static func resourceList(group: String, version: String) -> Node? {
    let kinds = kinds(group: group, version: version)
    guard !kinds.isEmpty else { return nil }
    var resources: [Node] = []
    for kind in kinds {
      var entry: Node = [
        "name": .string(kind.plural), "singularName": .string(kind.singular),
        "namespaced": .bool(kind.isNamespaced), "kind": .string(kind.kind), "verbs": list(verbs),
      ]
      if !kind.shortNames.isEmpty { entry["shortNames"] = list(kind.shortNames) }
      if !kind.categories.isEmpty { entry["categories"] = list(kind.categories) }
      resources.append(entry)
      if kind.hasStatus {
        resources.append([
          "name": .string("\(kind.plural)/status"), "singularName": "",
          "namespaced": .bool(kind.isNamespaced), "kind": .string(kind.kind), "verbs": list(statusVerbs),
        ])
      }
    }
    return [
      "kind": "APIResourceList", "apiVersion": "v1",
      "groupVersion": .string(group.isEmpty ? version : "\(group)/\(version)"),
      "resources": .sequence(resources),
    ]
  }

  static let aggregatedType = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

  /// All groups with their resources at once; `isCore` chooses what `/api` answers.
  static func aggregated(isCore: Bool) -> Node {
    let names = isCore ? [""] : groups
    let items = names.map { name -> Node in
      let versions = versions(of: name).map { version -> Node in
        let resources = kinds(group: name, version: version).map { aggregatedResource($0, version) }
        return ["version": .string(version), "resources": .sequence(resources), "freshness": "Current"]
      }
      return ["metadata": name.isEmpty ? [:] : ["name": .string(name)], "versions": .sequence(versions)]
    }
    return [
      "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": [:],
      "items": .sequence(items),
    ]
  }

  private static func aggregatedResource(_ kind: ResourceKind, _ version: String) -> Node {
    let responseKind: Node = [
      "group": .string(kind.group), "version": .string(version), "kind": .string(kind.kind),
    ]
    var resource: Node = [
      "resource": .string(kind.plural), "responseKind": responseKind,
      "scope": kind.isNamespaced ? "Namespaced" : "Cluster", "singularResource": .string(kind.singular),
      "verbs": list(verbs),
    ]
    if !kind.shortNames.isEmpty { resource["shortNames"] = list(kind.shortNames) }
    if !kind.categories.isEmpty { resource["categories"] = list(kind.categories) }
    if kind.hasStatus {
      resource["subresources"] = [
        ["subresource": "status", "responseKind": responseKind, "verbs": list(statusVerbs)]
      ]
    }
    return resource
  }

  static func kinds(group: String, version: String) -> [ResourceKind] {
    ResourceKind.allCases.filter { $0.group == group && $0.versions.contains(version) }
  }

  static func versions(of group: String) -> [String] {
    var found: [String] = []
    for kind in ResourceKind.allCases where kind.group == group {
      found += kind.versions.filter { !found.contains($0) }
    }
    return found
  }

  private static func list(_ words: [String]) -> Node { .sequence(words.map { .string($0) }) }
}

extension ResourceKind {
  /// Groups of kinds that `kubectl get` takes as one word.
  var categories: [String] {
    switch self {
    case .gatewayClass, .gateway, .httpRoute, .grpcRoute, .tlsRoute, .tcpRoute, .udpRoute, .referenceGrant,
      .backendTLSPolicy:
      ["gateway-api"]
    case .istioGateway, .virtualService, .destinationRule: ["istio-io", "networking-istio-io"]
    case .service, .endpointSlice, .secret, .configMap, .namespace: []
    }
  }
}
