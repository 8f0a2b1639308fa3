import GatewayAPI
import RoutingTable

/// Istio Gateways with their servers. The selector chooses a workload; here every Gateway belongs to the one
/// ingress.
struct IstioGatewayStage {
  var references: References

  func gateways(memory: inout BuildMemory, builder: inout ModelBuilder) -> [IstioGatewayNode] {
    references.store.all(.istioGateway).compactMap { object in
      guard case .istioGateway(let gateway) = object.resource else { return nil }
      let closed = object.closedFields
      let names = Self.serverNames(gateway.servers)
      var servers: [ListenerNode] = []
      for (index, server) in gateway.servers.enumerated() {
        var node = self.server(
          server, names[index], namespace: gateway.metadata.namespace, &memory, &builder)
        node.apply(gateway.metadata.annotations)
        // Istio's name for what the annotation asks for.
        if node.protocolName == "GRPC-WEB" { node.options.http.translatesGRPCWeb = true }
        // Leaving out what keeps people out would let them in.
        if let field = closed.first(where: { "\($0.path).".hasPrefix("spec.servers[\(index)].") }),
          node.accepted.holds
        {
          node.accepted = .no("UnsupportedValue", "\(field.path) \(field.message)")
        }
        servers.append(node)
      }
      return IstioGatewayNode(
        object: ObjectIdentity(object), accepted: .accepted,
        notices: Notice.fields(of: object), servers: servers)
    }
  }

  /// The port's name, as Istio's own names go; the place in the list as well when two are the same.
  private static func serverNames(_ servers: [IstioServer]) -> [String] {
    let counts = Dictionary(grouping: servers, by: \.port.name).mapValues(\.count)
    return servers.enumerated().map { index, server in
      counts[server.port.name] == 1 ? server.port.name : "\(server.port.name)[\(index)]"
    }
  }

  private func server(
    _ server: IstioServer, _ name: String, namespace: String, _ memory: inout BuildMemory,
    _ builder: inout ModelBuilder
  ) -> ListenerNode {
    let protocolName = server.port.protocol.uppercased()
    let kind: SocketKind? =
      switch protocolName {
      case "HTTP", "HTTP2", "GRPC", "GRPC-WEB": .http
      case "HTTPS", "TLS": .https
      case "TCP": .tcp
      default: nil
      }
    var node = ListenerNode(
      name: name, port: UInt16(clamping: server.port.number), protocolName: protocolName, kind: kind,
      hosts: server.hosts.map { Self.host($0, gatewayNamespace: namespace) })
    switch (protocolName, server.tls?.mode) {
    case (_, .passthrough) where kind == .https: node.proto = .tlsPassthrough
    case ("TLS", _), ("TCP", _): node.proto = .tcp
    default: break
    }
    guard let kind else {
      node.accepted = .no(
        "UnsupportedProtocol", "protocol \(protocolName) is not served yet; HTTP, HTTPS, TLS and TCP are")
      return node
    }
    if kind == .http { node.redirectsToHTTPS = server.tls?.httpsRedirect ?? false }
    guard node.terminatesTLS else { return node }
    guard let tls = server.tls, [.simple, .mutual, .optionalMutual].contains(tls.mode) else {
      node.accepted = .no(
        "UnsupportedValue",
        "tls.mode \(server.tls?.mode.rawValue ?? "") is not supported; "
          + "PASSTHROUGH, SIMPLE, MUTUAL and OPTIONAL_MUTUAL are")
      return node
    }
    var faults = credentials(tls, namespace: namespace, &node, &memory, &builder)
    if tls.mode != .simple {
      do throws(Fault) {
        let bundle = try AuthorityLookup(references: references).authorities(
          credential: tls.credentialName ?? tls.credentialNames.first ?? "", named: tls.caCertCredentialName,
          in: namespace)
        node.clientValidation = ClientValidationSource(
          mode: tls.mode == .mutual ? .required : .optional, trustBundle: builder.intern(bundle))
      } catch {
        faults.append(error)
        // Nobody could be held against them.
        node.accepted = .no("NoValidCACertificate", error.message)
      }
    }
    node.resolved = Verdict.resolved.with(faults: faults)
    return node
  }

  private func credentials(
    _ tls: IstioServerTLS, namespace: String, _ node: inout ListenerNode, _ memory: inout BuildMemory,
    _ builder: inout ModelBuilder
  ) -> [Fault] {
    let names = tls.credentialName.map { [$0] } ?? tls.credentialNames
    if names.isEmpty {
      return [
        Fault(
          "InvalidCertificateRef",
          "certificates from files are not supported; name a Secret in credentialName")
      ]
    }
    var faults: [Fault] = []
    let lookup = CertificateLookup(references: references)
    for name in names {
      do throws(Fault) {
        node.certificates.append(
          try lookup.credential(name, gatewayNamespace: namespace, memory: &memory, builder: &builder))
      } catch {
        faults.append(error.at("credentialName \(name)"))
      }
    }
    return faults
  }

  /// `host`, `namespace/host`, `*/host` (every namespace) or `./host` (the Gateway's own).
  static func host(_ text: String, gatewayNamespace: String) -> ServerHost {
    let parts = text.split(separator: "/", maxSplits: 1).map(String.init)
    guard parts.count == 2 else { return ServerHost(hostname: Hostname(text)) }
    let namespace: String? =
      switch parts[0] {
      case "*": nil
      case ".": gatewayNamespace
      default: parts[0]
      }
    return ServerHost(hostname: Hostname(parts[1]), namespace: namespace)
  }
}

extension IstioGatewayNode {
  /// After the conflicts are settled.
  mutating func judgeServers() {
    let bad = servers.filter { !$0.accepted.holds }
    if bad.isEmpty { return }
    let message = bounded(bad.map { "server \($0.name): \($0.accepted.message)" })
    accepted =
      bad.count == servers.count ? .no("ListenersNotValid", message) : .yes("ListenersNotValid", message)
  }
}
