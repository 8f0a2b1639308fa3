import GatewayAPI
import RoutingTable

/// What is said of TLS with Services: by BackendTLSPolicies and, where none of them speaks, by DestinationRules.
struct BackendTLSTable: Sendable {
  enum Entry: Sendable {
    case clear
    case settings(BackendTLSSource)
    /// The server name, and the name in the certificate if no others are given, is the host of the requests.
    case requestHost(BackendTLSSource, owner: String)
    /// Of an object that cannot be followed: the backend is not spoken to at all, least of all in the clear.
    case invalid(Fault)
  }

  /// Which ports of a Service.
  enum Section: Hashable, Sendable {
    /// All that nothing else is said of.
    case whole
    case name(String)
    case number(Int)
  }

  var policies: [ServiceName: [Section: Entry]] = [:]
  /// By namespace and host: `name.namespace.svc.cluster.local`, or a pattern of such names.
  var rules: [String: [Hostname: [Section: Entry]]] = [:]

  /// - Parameter ingress: the namespaces of the ingress, whose rules hold for Services of all namespaces.
  func entry(_ service: ServiceName, port: Int?, portName: String?, ingress: [String]) -> Entry? {
    if let policy = policies[service], let entry = portName.flatMap({ policy[.name($0)] }) ?? policy[.whole] {
      return entry
    }
    let patterns = service.host.coveringPatterns
    for namespace in Self.order(service, ingress) {
      guard let hosts = rules[namespace], let rule = patterns.lazy.compactMap({ hosts[$0] }).first else { continue }
      return port.flatMap { rule[.number($0)] } ?? rule[.whole]
    }
    return nil
  }

  /// As Istio looks for rules: where the client is (here, the ingress), where the Service is, then in its own root.
  private static func order(_ service: ServiceName, _ ingress: [String]) -> [String] {
    ingress.filter { $0 != rootNamespace } + [service.namespace]
      + (ingress.contains(rootNamespace) ? [rootNamespace] : [])
  }

  /// The default of Istio's `meshConfig.rootNamespace`.
  private static let rootNamespace = "istio-system"
}

extension ServiceName {
  /// The Service of an Istio host: `name` in that namespace, `name.namespace.svc` or
  /// `name.namespace.svc.cluster.local`; nil: another host, or a pattern.
  init?(istioHost host: String, in namespace: String) {
    let labels = host.lowercased().split(separator: ".").map(String.init)
    guard let name = labels.first, name != "*" else { return nil }
    switch labels.dropFirst(2).joined(separator: ".") {
    case "" where labels.count == 1: self.init(namespace: namespace, name: name)
    case "svc", "svc.cluster.local": self.init(namespace: labels[1], name: name)
    default: return nil
    }
  }

  /// How Istio calls it.
  var host: Hostname { Hostname("\(name).\(namespace).svc.cluster.local") }
}

extension References {
  /// Reason of a backend that is there, but what is said of TLS with it cannot be followed.
  static let invalidTLS = "InvalidBackendTLS"

  /// What is said of TLS with one port of a Service; nil: nothing, or that there is none.
  ///
  /// - Returns: the settings, and what tells them from other settings of the same port.
  func security(of name: ServiceName, port: Int?) throws(Fault) -> (source: BackendTLSSource, variant: String)? {
    let service = store.service(name)
    let number = port ?? service?.onlyPort
    let portName = service?.spec.ports.first { $0.port == number }?.name
    guard
      let entry = backendTLS.entry(name, port: number, portName: portName, ingress: options.credentialNamespaces)
    else { return nil }
    var found: (source: BackendTLSSource, variant: String)
    switch entry {
    case .clear: return nil
    case .invalid(let fault): throw Fault(Self.invalidTLS, fault.message)
    case .settings(let source): found = (source, "")
    case .requestHost(let source, let owner): found = try named(source, owner)
    }
    if found.source.certificate == nil, let shown = clientCertificate {
      found.source.certificate = shown.index
      // Connections that show different certificates are those of different backends.
      found.variant += " as \(shown.name)"
    }
    return found
  }

  private func named(
    _ source: BackendTLSSource, _ owner: String
  ) throws(Fault) -> (source: BackendTLSSource, variant: String) {
    var source = source
    guard let requestHost else {
      if source.verifies && source.subjectAltNames.isEmpty {
        throw Fault(
          "UnsupportedValue",
          "\(owner): without tls.sni the certificate must be for the host of the request, and the route has no "
            + "single one; set sni or subjectAltNames")
      }
      return (source, "")
    }
    source.serverName = requestHost
    return (source, " to \(requestHost)")
  }
}
