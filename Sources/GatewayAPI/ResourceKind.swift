/// The kinds of objects that are read. A kind is served in several versions that are the same but for their
/// name.
public enum ResourceKind: String, CaseIterable, Hashable, Sendable {
  case gatewayClass
  case gateway
  case httpRoute
  case grpcRoute
  case tlsRoute
  case tcpRoute
  case udpRoute
  case referenceGrant
  case backendTLSPolicy
  case istioGateway
  case virtualService
  case destinationRule
  case service
  case endpointSlice
  case secret
  case configMap
  case namespace

  /// The value of `kind`. Two kinds are called Gateway; their groups tell them apart.
  public var kind: String {
    switch self {
    case .gatewayClass: "GatewayClass"
    case .gateway, .istioGateway: "Gateway"
    case .httpRoute: "HTTPRoute"
    case .grpcRoute: "GRPCRoute"
    case .tlsRoute: "TLSRoute"
    case .tcpRoute: "TCPRoute"
    case .udpRoute: "UDPRoute"
    case .referenceGrant: "ReferenceGrant"
    case .backendTLSPolicy: "BackendTLSPolicy"
    case .virtualService: "VirtualService"
    case .destinationRule: "DestinationRule"
    case .service: "Service"
    case .endpointSlice: "EndpointSlice"
    case .secret: "Secret"
    case .configMap: "ConfigMap"
    case .namespace: "Namespace"
    }
  }

  /// The API group; empty for the core group.
  public var group: String {
    switch self {
    case .gatewayClass, .gateway, .httpRoute, .grpcRoute, .tlsRoute, .tcpRoute, .udpRoute,
      .referenceGrant, .backendTLSPolicy:
      "gateway.networking.k8s.io"
    case .istioGateway, .virtualService, .destinationRule: "networking.istio.io"
    case .endpointSlice: "discovery.k8s.io"
    case .service, .secret, .configMap, .namespace: ""
    }
  }

  /// The served versions, the preferred one first.
  public var versions: [String] {
    switch self {
    case .gatewayClass, .gateway, .httpRoute, .referenceGrant: ["v1", "v1beta1"]
    case .istioGateway, .virtualService, .destinationRule: ["v1", "v1beta1", "v1alpha3"]
    case .tlsRoute: ["v1", "v1alpha3", "v1alpha2"]
    case .tcpRoute, .udpRoute: ["v1", "v1alpha2"]
    case .backendTLSPolicy: ["v1", "v1alpha3"]
    case .grpcRoute, .service, .endpointSlice, .secret, .configMap, .namespace: ["v1"]
    }
  }

  /// The name in REST paths.
  public var plural: String {
    switch self {
    case .gatewayClass: "gatewayclasses"
    case .gateway, .istioGateway: "gateways"
    case .httpRoute: "httproutes"
    case .grpcRoute: "grpcroutes"
    case .tlsRoute: "tlsroutes"
    case .tcpRoute: "tcproutes"
    case .udpRoute: "udproutes"
    case .referenceGrant: "referencegrants"
    case .backendTLSPolicy: "backendtlspolicies"
    case .virtualService: "virtualservices"
    case .destinationRule: "destinationrules"
    case .service: "services"
    case .endpointSlice: "endpointslices"
    case .secret: "secrets"
    case .configMap: "configmaps"
    case .namespace: "namespaces"
    }
  }

  public var singular: String { kind.lowercased() }

  public var shortNames: [String] {
    switch self {
    case .gatewayClass: ["gc"]
    case .gateway: ["gtw"]
    case .referenceGrant: ["refgrant"]
    case .backendTLSPolicy: ["btlspolicy"]
    case .istioGateway: ["gw"]
    case .virtualService: ["vs"]
    case .destinationRule: ["dr"]
    case .service: ["svc"]
    case .configMap: ["cm"]
    case .namespace: ["ns"]
    case .httpRoute, .grpcRoute, .tlsRoute, .tcpRoute, .udpRoute, .endpointSlice, .secret: []
    }
  }

  public var isNamespaced: Bool { self != .gatewayClass && self != .namespace }

  /// Whether objects of this kind carry a status that is ours to write.
  public var hasStatus: Bool {
    switch self {
    case .gatewayClass, .gateway, .httpRoute, .grpcRoute, .tlsRoute, .tcpRoute, .udpRoute, .backendTLSPolicy,
      .istioGateway, .virtualService, .destinationRule:
      true
    case .referenceGrant, .service, .endpointSlice, .secret, .configMap, .namespace: false
    }
  }

  /// `group/version` (`version` in the core group) of the preferred version.
  public var apiVersion: String { apiVersion(versions[0]) }

  public func apiVersion(_ version: String) -> String { group.isEmpty ? version : "\(group)/\(version)" }

  /// `httproutes.gateway.networking.k8s.io`; the plural alone in the core group.
  public var qualifiedName: String { group.isEmpty ? plural : "\(plural).\(group)" }

  /// The kind that an object names by `apiVersion` and `kind`, when that version is served.
  public init?(apiVersion: String, kind: String) {
    let found = Self.allCases.first { candidate in
      candidate.kind == kind && candidate.versions.contains { candidate.apiVersion($0) == apiVersion }
    }
    guard let found else { return nil }
    self = found
  }

  public init?(group: String, kind: String) {
    guard let found = Self.allCases.first(where: { $0.group == group && $0.kind == kind }) else { return nil }
    self = found
  }

  public init?(group: String, plural: String) {
    guard let found = Self.allCases.first(where: { $0.group == group && $0.plural == plural }) else {
      return nil
    }
    self = found
  }

  /// The kinds that a person may mean by a word: kind, singular, plural or short name in any case, also
  /// with the group behind a point (`gateways.networking.istio.io`). A bare `gateway` is the Gateway API's,
  /// and comes before Istio's.
  public static func matching(_ word: String) -> [ResourceKind] {
    let word = word.lowercased()
    let name = word.prefix { $0 != "." }
    let group = word.dropFirst(name.count + 1)
    return allCases.filter { kind in
      guard
        group.isEmpty || kind.group == group
          || kind.versions.contains(where: { "\($0).\(kind.group)" == group })
      else { return false }
      return kind.singular == name || kind.plural == name || kind.shortNames.contains(String(name))
    }
  }
}

/// The identity of an object among all others.
public struct ResourceKey: Hashable, Sendable, Comparable, CustomStringConvertible {
  public var kind: ResourceKind
  /// Empty for kinds without namespaces.
  public var namespace: String
  public var name: String

  public init(kind: ResourceKind, namespace: String, name: String) {
    self.kind = kind
    self.namespace = kind.isNamespaced ? namespace : ""
    self.name = name
  }

  public static func < (left: ResourceKey, right: ResourceKey) -> Bool {
    (left.kind.rawValue, left.namespace, left.name) < (right.kind.rawValue, right.namespace, right.name)
  }

  /// `HTTPRoute default/shop`; Istio's Gateway is named with its group.
  public var description: String {
    let kind = self.kind == .istioGateway ? "Gateway.networking.istio.io" : self.kind.kind
    return namespace.isEmpty ? "\(kind) \(name)" : "\(kind) \(namespace)/\(name)"
  }
}
