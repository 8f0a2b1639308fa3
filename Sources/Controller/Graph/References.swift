import GatewayAPI
import RoutingTable

/// Looks up what objects refer to, and whether they may.
struct References {
  let store: ResourceStore
  let options: ControllerOptions
  /// Set before routes are read.
  var backendTLS = BackendTLSTable()
  /// What the Gateway that leads to the backends shows to those that it speaks TLS with.
  var clientCertificate: ClientCertificate?
  /// The host of every request to the backends, where there is one.
  var requestHost: String?
  private let grants: [String: [ReferenceGrant]]
  /// What the ports of Services say about their protocol is nothing to us.
  var ignoresProtocols = false
  /// What is said of TLS with Services neither: what passes goes on as it came.
  var ignoresTLS = false

  init(store: ResourceStore, options: ControllerOptions) {
    self.store = store
    self.options = options
    let all = store.all(.referenceGrant).compactMap {
      if case .referenceGrant(let grant) = $0.resource { grant } else { nil }
    }
    grants = Dictionary(grouping: all, by: \.metadata.namespace)
  }

  /// Whether an object of `from` may refer to that object. In one namespace it always may.
  func isPermitted(
    from: ResourceKind, in namespace: String, to kind: ResourceKind, _ target: ServiceName
  ) -> Bool {
    if namespace == target.namespace { return true }
    return (grants[target.namespace] ?? []).contains { grant in
      grant.from.contains { $0.group == from.group && $0.kind == from.kind && $0.namespace == namespace }
        && grant.to.contains {
          $0.group == kind.group && $0.kind == kind.kind && ($0.name == nil || $0.name == target.name)
        }
    }
  }

  /// Where the Secrets of an Istio Gateway may lie, in the order in which they are looked for.
  func namespaces(ofCredentialsIn gatewayNamespace: String) -> [String] {
    [gatewayNamespace] + options.credentialNamespaces.filter { $0 != gatewayNamespace }
  }

  func overridden(_ service: ServiceName) -> BackendOverride? {
    options.backendOverrides.first { $0.name == service.name && $0.namespace == service.namespace }
      ?? options.backendOverrides.first { $0.name == service.name && $0.namespace == nil }
  }

  /// Of a Service: the version of the PROXY protocol header that its connections begin with, `v1` or `v2`.
  static let proxyProtocolAnnotation = "sluice.dev/proxy-protocol"

  /// The backend behind one port of a Service. Without a port it must have only one.
  func backend(_ name: ServiceName, port: Int?) throws(Fault) -> ModelBackend {
    let tls = ignoresTLS ? nil : try security(of: name, port: port)
    var backend = try place(of: name, port: port, isSecure: tls != nil)
    backend.tls = tls?.source
    backend.id += tls?.variant ?? ""
    switch store.service(name)?.metadata.annotations[Self.proxyProtocolAnnotation] {
    case nil, "off": break
    case "v1": backend.proxyProtocol = .v1
    case "v2": backend.proxyProtocol = .v2
    case let text?:
      throw Fault(
        "UnsupportedValue",
        "annotation \(Self.proxyProtocolAnnotation) of Service \(name) is \"\(text)\"; it takes v1, v2 or off")
    }
    return backend
  }

  private func place(of name: ServiceName, port: Int?, isSecure: Bool) throws(Fault) -> ModelBackend {
    let service = store.service(name)
    if let override = overridden(name) {
      guard let number = port ?? service?.onlyPort else {
        throw Fault("BackendNotFound", "\(name) needs a port: --backend gives an address and no port")
      }
      let known = service?.spec.ports.first { $0.port == number }
      return ModelBackend(
        id: "\(name):\(number)", proto: try proto(known?.appProtocol, name, number, isSecure: isSecure),
        origin: .host(override.address, port: UInt16(clamping: number)))
    }
    guard let service else {
      throw Fault(
        "BackendNotFound",
        "Service \(name) does not exist; create it, or say where it is with --backend \(name.name)=ADDRESS")
    }
    guard let number = port ?? service.onlyPort else {
      throw Fault("BackendNotFound", "Service \(name) has \(service.spec.ports.count) ports; name one")
    }
    let found = service.spec.ports.first { $0.port == number }
    if service.spec.type == .externalName {
      guard let host = service.spec.externalName, !host.isEmpty else {
        throw Fault("BackendNotFound", "Service \(name) is an ExternalName without spec.externalName")
      }
      return ModelBackend(
        id: "\(name):\(number)", proto: try proto(found?.appProtocol, name, number, isSecure: isSecure),
        origin: .host(host.hasSuffix(".") ? String(host.dropLast()) : host, port: UInt16(clamping: number)))
    }
    guard let found else {
      let ports = service.spec.ports.map { String($0.port) }.joined(separator: ", ")
      throw Fault(
        "BackendNotFound", "Service \(name) has no port \(number); it has \(ports.isEmpty ? "none" : ports)")
    }
    return ModelBackend(
      id: "\(name):\(number)", proto: try proto(found.appProtocol, name, number, isSecure: isSecure),
      origin: .slices(service: name, portName: found.name ?? "", port: UInt16(clamping: found.port)))
  }

  /// KEP-3726's names, and IANA's `grpc`. What asks for TLS needs a policy that says how the backend is known.
  private func proto(
    _ appProtocol: String?, _ name: ServiceName, _ port: Int, isSecure: Bool
  ) throws(Fault) -> BackendProtocol {
    if ignoresProtocols { return .automatic }
    switch appProtocol?.lowercased() {
    case nil, "", "http", "tcp": return .automatic
    case "kubernetes.io/h2c", "grpc", "h2c", "http2": return .h2c
    case "kubernetes.io/ws", "ws": return .http1
    case "https" where isSecure, "tls" where isSecure: return .automatic
    case "wss" where isSecure, "kubernetes.io/wss" where isSecure: return .http1
    case "https", "tls", "wss", "kubernetes.io/wss":
      throw Fault(
        "UnsupportedProtocol",
        "port \(port) of Service \(name) has appProtocol \(appProtocol ?? ""): "
          + "add a BackendTLSPolicy that targets it and says which certificate it must show"
      )
    case let other? where other.hasPrefix("kubernetes.io/"):
      throw Fault(
        "UnsupportedProtocol", "port \(port) of Service \(name) has the unknown appProtocol \(other)")
    default: return .automatic
    }
  }
}

extension Service {
  var onlyPort: Int? { spec.ports.count == 1 ? spec.ports[0].port : nil }
}
