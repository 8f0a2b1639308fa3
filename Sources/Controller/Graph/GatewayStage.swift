import GatewayAPI
import RoutingTable

/// Gateways of our classes with their listeners: protocol, kinds, certificates. What needs other Gateways
/// (conflicts) and routes (attachment) comes later.
struct GatewayStage {
  var references: References
  var classes: GatewayClassStage

  func gateways(memory: inout BuildMemory, builder: inout ModelBuilder) -> [GatewayNode] {
    references.store.all(.gateway).compactMap { object in
      guard case .gateway(let gateway) = object.resource else { return nil }
      return node(gateway, object, &memory, &builder)
    }
  }

  private func node(
    _ gateway: Gateway, _ object: StoredObject, _ memory: inout BuildMemory, _ builder: inout ModelBuilder
  ) -> GatewayNode? {
    let className = gateway.spec.gatewayClassName
    let claim = classes.claim(className)
    if claim == .foreign { return nil }
    var node = GatewayNode(object: ObjectIdentity(object), accepted: .accepted, notices: [], listeners: [])
    if claim == .assumed { node.notices.append(.gatewayClassAssumed(className)) }
    node.notices += Notice.fields(of: object)
    node.listeners = gateway.spec.listeners.map { listener(of: gateway, $0, &memory, &builder) }
    for index in node.listeners.indices { node.listeners[index].apply(gateway.metadata.annotations) }
    node.isInsecure = gateway.spec.tls?.allowsInsecureFallback ?? false
    if let reference = gateway.spec.tls?.clientCertificateRef {
      do throws(Fault) {
        let found = try certificate(
          reference, from: gateway.metadata.namespace, CertificateLookup(references: references), &memory, &builder)
        node.clientCertificate = ClientCertificate(
          index: found.index, name: "\(reference.namespace ?? gateway.metadata.namespace)/\(reference.name)")
      } catch {
        // Without it backends that ask for one will say no.
        let reason = error.reason == "RefNotPermitted" ? error.reason : "InvalidClientCertificateRef"
        node.referenceFault = Fault(reason, error.at("spec.tls.backend.clientCertificateRef").message)
      }
    }
    var rejection: Verdict?
    // Leaving out what keeps people out would let them in.
    if let field = object.closedFields.first {
      rejection = .no("UnsupportedValue", "\(field.path) \(field.message)")
    }
    if claim == .rejected {
      rejection = .no("InvalidParameters", "GatewayClass \(className) is not accepted")
    }
    if let reference = gateway.spec.infrastructure?.parametersRef {
      rejection = .no(
        "InvalidParameters",
        "spec.infrastructure.parametersRef names a \(reference.kind), "
          + "and no kind of parameters is supported yet"
      )
    }
    if let rejection {
      node.accepted = rejection
      for index in node.listeners.indices {
        node.listeners[index].accepted = .no("Pending", rejection.message)
      }
    }
    return node
  }

  private func listener(
    of gateway: Gateway, _ listener: GatewayListener, _ memory: inout BuildMemory,
    _ builder: inout ModelBuilder
  ) -> ListenerNode {
    let kind: SocketKind? =
      switch listener.protocol {
      case "HTTP": .http
      case "HTTPS", "TLS": .https
      case "TCP": .tcp
      case "UDP": .udp
      default: nil
      }
    var node = ListenerNode(
      name: listener.name, port: UInt16(clamping: listener.port), protocolName: listener.protocol, kind: kind,
      hosts: [ServerHost(hostname: Hostname(listener.hostname ?? ""))])
    switch listener.allowedRoutes.namespaces.from {
    case .all: node.allowedNamespaces = .all
    case .selector:
      if let selector = listener.allowedRoutes.namespaces.selector {
        node.allowedNamespaces = .selected(selector)
      }
    case .same, .none: node.allowedNamespaces = .same
    }
    switch (listener.protocol, listener.tls?.mode) {
    case ("TLS", .passthrough): node.proto = .tlsPassthrough
    case ("TLS", _), ("TCP", _): node.proto = .tcp
    case ("UDP", _): node.proto = .udp
    default: break
    }
    guard kind != nil else {
      node.accepted = .no(
        "UnsupportedProtocol",
        "protocol \(listener.protocol) is not one that is served; HTTP, HTTPS, TLS, TCP and UDP are")
      return node
    }
    var faults = supportedKinds(listener, &node)
    if node.terminatesTLS {
      faults += certificates(listener, namespace: gateway.metadata.namespace, &node, &memory, &builder)
      if let validation = AuthorityLookup.validation(gateway.spec.tls, port: listener.port) {
        faults += AuthorityLookup(references: references)
          .apply(validation, from: gateway.metadata.namespace, to: &node, builder: &builder)
      }
    }
    node.resolved = Verdict.resolved.with(faults: faults)
    return node
  }

  private func supportedKinds(_ listener: GatewayListener, _ node: inout ListenerNode) -> [Fault] {
    let served: [ResourceKind] =
      switch (listener.protocol, node.proto) {
      case ("TLS", .tlsPassthrough): [.tlsRoute]
      case ("TLS", _): [.tlsRoute, .tcpRoute]
      case ("TCP", _): [.tcpRoute]
      case ("UDP", _): [.udpRoute]
      default: [.httpRoute, .grpcRoute]
      }
    let wanted = listener.allowedRoutes.kinds
    if wanted.isEmpty {
      node.supportedKinds = served
      return []
    }
    node.supportedKinds = served.filter { kind in
      wanted.contains { $0.group == kind.group && $0.kind == kind.kind }
    }
    return wanted.filter { want in !served.contains { $0.group == want.group && $0.kind == want.kind } }
      .map {
        Fault(
          "InvalidRouteKinds",
          "allowedRoutes names \($0.kind) of \($0.group), "
            + "which a listener of protocol \(listener.protocol) cannot serve"
        )
      }
  }

  private func certificates(
    _ listener: GatewayListener, namespace: String, _ node: inout ListenerNode, _ memory: inout BuildMemory,
    _ builder: inout ModelBuilder
  ) -> [Fault] {
    guard let tls = listener.tls, tls.mode == .terminate else {
      return [Fault("InvalidCertificateRef", "tls must terminate with a certificate")]
    }
    if tls.certificateRefs.isEmpty {
      return [Fault("InvalidCertificateRef", "tls.certificateRefs is empty")]
    }
    var faults: [Fault] = []
    let lookup = CertificateLookup(references: references)
    for (index, reference) in tls.certificateRefs.enumerated() {
      do throws(Fault) {
        node.certificates.append(
          try certificate(reference, from: namespace, lookup, &memory, &builder))
      } catch {
        faults.append(error.at("tls.certificateRefs[\(index)]"))
      }
    }
    return faults
  }

  private func certificate(
    _ reference: SecretObjectReference, from namespace: String, _ lookup: CertificateLookup,
    _ memory: inout BuildMemory, _ builder: inout ModelBuilder
  ) throws(Fault) -> ListenerCertificate {
    guard reference.group.isEmpty, reference.kind == "Secret" else {
      let group = reference.group.isEmpty ? "core" : reference.group
      throw Fault(
        "InvalidCertificateRef",
        "\(reference.kind) of group \(group) is not a kind that holds certificates; a Secret is")
    }
    let target = ServiceName(namespace: reference.namespace ?? namespace, name: reference.name)
    guard references.isPermitted(from: .gateway, in: namespace, to: .secret, target) else {
      throw Fault(
        "RefNotPermitted",
        "no ReferenceGrant in namespace \(target.namespace) lets Gateways of \(namespace) "
          + "use Secret \(target.name)"
      )
    }
    return try lookup.certificate(
      namespace: target.namespace, name: target.name, memory: &memory, builder: &builder)
  }
}

extension GatewayTLS {
  fileprivate var allowsInsecureFallback: Bool {
    ([defaultValidation] + perPort.map(\.validation)).contains { $0?.mode == .allowInsecureFallback }
  }
}

extension GatewayNode {
  /// After the conflicts are settled: a Gateway with no good listener is refused, one with some is not.
  mutating func judgeListeners() {
    guard accepted.holds else { return }
    let bad = listeners.filter { !$0.accepted.holds }.map(\.name)
    if bad.isEmpty { return }
    let message =
      "listeners that are not accepted: \(bad.joined(separator: ", ")); see the conditions of each"
    accepted =
      bad.count == listeners.count ? .no("ListenersNotValid", message) : .yes("ListenersNotValid", message)
  }
}
