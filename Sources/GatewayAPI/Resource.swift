public import YAML

/// The text that an object was read from.
public struct SourceOrigin: Hashable, Sendable, CustomStringConvertible {
  /// nil when the text had no name.
  public var file: String?
  public var position: SourcePosition

  public init(file: String?, position: SourcePosition) {
    self.file = file
    self.position = position
  }

  public var description: String { (file.map { $0 + ":" } ?? "") + position.description }
}

/// An object of one of the kinds that are read.
public enum Resource: Hashable, Sendable {
  case gatewayClass(GatewayClass)
  case gateway(Gateway)
  case httpRoute(HTTPRoute)
  case grpcRoute(GRPCRoute)
  case tlsRoute(TLSRoute)
  case tcpRoute(TCPRoute)
  case udpRoute(UDPRoute)
  case referenceGrant(ReferenceGrant)
  case backendTLSPolicy(BackendTLSPolicy)
  case istioGateway(IstioGateway)
  case virtualService(VirtualService)
  case destinationRule(DestinationRule)
  case service(Service)
  case endpointSlice(EndpointSlice)
  case secret(Secret)
  case configMap(ConfigMap)
  case namespace(Namespace)

  public var kind: ResourceKind {
    switch self {
    case .gatewayClass: .gatewayClass
    case .gateway: .gateway
    case .httpRoute: .httpRoute
    case .grpcRoute: .grpcRoute
    case .tlsRoute: .tlsRoute
    case .tcpRoute: .tcpRoute
    case .udpRoute: .udpRoute
    case .referenceGrant: .referenceGrant
    case .backendTLSPolicy: .backendTLSPolicy
    case .istioGateway: .istioGateway
    case .virtualService: .virtualService
    case .destinationRule: .destinationRule
    case .service: .service
    case .endpointSlice: .endpointSlice
    case .secret: .secret
    case .configMap: .configMap
    case .namespace: .namespace
    }
  }

  public var metadata: ObjectMeta {
    switch self {
    case .gatewayClass(let value): value.metadata
    case .gateway(let value): value.metadata
    case .httpRoute(let value): value.metadata
    case .grpcRoute(let value): value.metadata
    case .tlsRoute(let value): value.metadata
    case .tcpRoute(let value): value.metadata
    case .udpRoute(let value): value.metadata
    case .referenceGrant(let value): value.metadata
    case .backendTLSPolicy(let value): value.metadata
    case .istioGateway(let value): value.metadata
    case .virtualService(let value): value.metadata
    case .destinationRule(let value): value.metadata
    case .service(let value): value.metadata
    case .endpointSlice(let value): value.metadata
    case .secret(let value): value.metadata
    case .configMap(let value): value.metadata
    case .namespace(let value): value.metadata
    }
  }

  public var origin: SourceOrigin? {
    switch self {
    case .gatewayClass(let value): value.origin
    case .gateway(let value): value.origin
    case .httpRoute(let value): value.origin
    case .grpcRoute(let value): value.origin
    case .tlsRoute(let value): value.origin
    case .tcpRoute(let value): value.origin
    case .udpRoute(let value): value.origin
    case .referenceGrant(let value): value.origin
    case .backendTLSPolicy(let value): value.origin
    case .istioGateway(let value): value.origin
    case .virtualService(let value): value.origin
    case .destinationRule(let value): value.origin
    case .service(let value): value.origin
    case .endpointSlice(let value): value.origin
    case .secret(let value): value.origin
    case .configMap(let value): value.origin
    case .namespace(let value): value.origin
    }
  }

  public var key: ResourceKey {
    ResourceKey(kind: kind, namespace: metadata.namespace, name: metadata.name)
  }
}

/// Reads one object strictly and checks it by itself.
///
/// An unknown field is a warning. A wrong type, a missing field and a broken rule are errors, and then
/// there is no resource. Everything that is wrong is reported, not only the first.
/// - Parameters:
///   - node: the whole object with `apiVersion` and `kind`.
///   - file: names the text in diagnostics and in the resource's origin.
///   - defaultNamespace: of an object that names none.
public func decodeResource(
  _ node: Node, file: String? = nil, defaultNamespace: String = "default"
) -> (resource: Resource?, diagnostics: [Diagnostic]) {
  let collector = DiagnosticCollector(file: file)
  var reader = ObjectReader(node, path: .root, collector: collector)
  let apiVersion = reader.requiredString("apiVersion")
  let name = reader.requiredString("kind")
  guard let kind = ResourceKind(apiVersion: apiVersion, kind: name) else {
    if !collector.hasErrors { reader.error(at: "kind", unknownKindMessage(apiVersion, name)) }
    return (nil, collector.diagnostics)
  }
  var metadata = reader.requiredObject("metadata") { ObjectMeta(&$0) }
  if kind.isNamespaced {
    if metadata.namespace.isEmpty { metadata.namespace = defaultNamespace }
  } else {
    metadata.namespace = ""
  }
  let origin = SourceOrigin(file: file, position: node.position)
  let resource = decode(kind, &reader, metadata, origin)
  reader.finish()
  return (collector.hasErrors ? nil : resource, collector.diagnostics)
}

private func decode(
  _ kind: ResourceKind, _ reader: inout ObjectReader, _ metadata: ObjectMeta, _ origin: SourceOrigin
) -> Resource {
  switch kind {
  case .gatewayClass: .gatewayClass(placed(GatewayClass(&reader, metadata), \.origin, origin))
  case .gateway: .gateway(placed(Gateway(&reader, metadata), \.origin, origin))
  case .httpRoute: .httpRoute(placed(HTTPRoute(&reader, metadata), \.origin, origin))
  case .grpcRoute: .grpcRoute(placed(GRPCRoute(&reader, metadata), \.origin, origin))
  case .tlsRoute: .tlsRoute(placed(TLSRoute(&reader, metadata), \.origin, origin))
  case .tcpRoute: .tcpRoute(placed(TCPRoute(&reader, metadata), \.origin, origin))
  case .udpRoute: .udpRoute(placed(UDPRoute(&reader, metadata), \.origin, origin))
  case .referenceGrant: .referenceGrant(placed(ReferenceGrant(&reader, metadata), \.origin, origin))
  case .backendTLSPolicy: .backendTLSPolicy(placed(BackendTLSPolicy(&reader, metadata), \.origin, origin))
  case .istioGateway: .istioGateway(placed(IstioGateway(&reader, metadata), \.origin, origin))
  case .virtualService: .virtualService(placed(VirtualService(&reader, metadata), \.origin, origin))
  case .destinationRule: .destinationRule(placed(DestinationRule(&reader, metadata), \.origin, origin))
  case .service: .service(placed(Service(&reader, metadata), \.origin, origin))
  case .endpointSlice: .endpointSlice(placed(EndpointSlice(&reader, metadata), \.origin, origin))
  case .secret: .secret(placed(Secret(&reader, metadata), \.origin, origin))
  case .configMap: .configMap(placed(ConfigMap(&reader, metadata), \.origin, origin))
  case .namespace: .namespace(placed(Namespace(&reader, metadata), \.origin, origin))
  }
}

private func placed<Value>(
  _ value: Value, _ field: WritableKeyPath<Value, SourceOrigin?>, _ origin: SourceOrigin
) -> Value {
  var value = value
  value[keyPath: field] = origin
  return value
}

private func unknownKindMessage(_ apiVersion: String, _ kind: String) -> String {
  let sameKind = ResourceKind.allCases.filter { $0.kind == kind }
  guard sameKind.isEmpty else {
    let served = sameKind.flatMap { kind in kind.versions.map { kind.apiVersion($0) } }.joined(
      separator: ", ")
    return "\(kind) is not known in apiVersion \(apiVersion); it is known in \(served)"
  }
  let known = Set(ResourceKind.allCases.map(\.kind)).sorted().joined(separator: ", ")
  return "\(kind) (\(apiVersion)) is not a kind that is read; those are \(known)"
}

/// Reads `status` as far as it can be read: it is what controllers wrote, never a reason to refuse an
/// object.
func readStatus<Status>(_ reader: inout ObjectReader, _ make: (inout ObjectReader) -> Status) -> Status? {
  guard let node = reader.value("status"), node.entries != nil else { return nil }
  var status = ObjectReader(node, path: reader.path.appending("status"), collector: .silent())
  return make(&status)
}
