import GatewayAPI
import RoutingTable

struct DestinationRuleNode: Sendable {
  var object: ObjectIdentity
  var accepted = Verdict.accepted
  var resolved = Verdict.resolved
  var notices: [Notice] = []
}

/// DestinationRules → settings of backends. Of two rules of one namespace for the same host the older is in force.
struct DestinationRuleStage {
  var references: References

  func resolve(
    _ table: inout BackendTLSTable, _ memory: inout BuildMemory, _ builder: inout ModelBuilder
  ) -> [DestinationRuleNode] {
    var nodes: [DestinationRuleNode] = []
    let objects = references.store.all(.destinationRule)
      .map { (object: $0, identity: ObjectIdentity($0)) }
      .sorted { $0.identity.seniority < $1.identity.seniority }
    for (object, identity) in objects {
      guard case .destinationRule(let rule) = object.resource else { continue }
      var node = DestinationRuleNode(object: identity, notices: Notice.fields(of: object))
      add(rule, &node, &table, &memory, &builder)
      nodes.append(node)
    }
    return nodes.sorted { $0.object.key < $1.object.key }
  }

  private func add(
    _ rule: DestinationRule, _ node: inout DestinationRuleNode, _ table: inout BackendTLSTable,
    _ memory: inout BuildMemory, _ builder: inout ModelBuilder
  ) {
    let namespace = rule.metadata.namespace
    guard rule.workloadSelector.isEmpty else {
      node.accepted = .no("UnsupportedValue", "spec.workloadSelector chooses other workloads than the ingress")
      return
    }
    let service = ServiceName(istioHost: rule.host, in: namespace)
    if let service {
      if references.store.service(service) == nil && references.overridden(service) == nil {
        node.resolved = .no("BackendNotFound", "Service \(service) does not exist")
      }
      if service.namespace != namespace && !references.options.credentialNamespaces.contains(namespace) {
        node.accepted = .no(
          "NotPermitted",
          "a rule of namespace \(namespace) is not for clients outside of it; put it into \(service.namespace), or "
            + "where the ingress is: \(references.options.credentialNamespaces.joined(separator: ", "))")
        return
      }
    } else if !rule.host.hasPrefix("*") {
      node.accepted = .no("UnsupportedValue", "host \(rule.host) is no Service, and ServiceEntry is not supported yet")
      return
    }
    let host = service?.host ?? Hostname(rule.host)
    guard table.rules[namespace]?[host] == nil else {
      node.accepted = .no("Conflicted", "an older DestinationRule of this namespace is in force for \(rule.host)")
      return
    }
    // A rule that says nothing of TLS still takes the place of a more general one.
    var entries: [BackendTLSTable.Section: BackendTLSTable.Entry] = [:]
    entries[.whole] = rule.tls.map { entry($0, "trafficPolicy.tls", &node, &memory, &builder) } ?? .clear
    for (index, port) in rule.ports.enumerated() {
      let place = "trafficPolicy.portLevelSettings[\(index)].tls"
      entries[.number(port.port)] = port.tls.map { entry($0, place, &node, &memory, &builder) } ?? .clear
    }
    table.rules[namespace, default: [:]][host] = entries
  }

  // MARK: its TLS

  private func entry(
    _ tls: IstioClientTLS, _ place: String, _ node: inout DestinationRuleNode, _ memory: inout BuildMemory,
    _ builder: inout ModelBuilder
  ) -> BackendTLSTable.Entry {
    let owner = "DestinationRule \(node.object.name)"
    do throws(Fault) {
      if tls.mode == .disable { return .clear }
      let source = try self.source(tls, in: node.object.key.namespace, &memory, &builder)
      return tls.sni == nil ? .requestHost(source, owner: owner) : .settings(source)
    } catch {
      let fault = error.at(place)
      if fault.reason == "UnsupportedValue" {
        node.accepted = node.accepted.with(faults: [fault])
      } else {
        node.resolved = node.resolved.with(faults: [fault])
      }
      return .invalid(fault.at(owner))
    }
  }

  private func source(
    _ tls: IstioClientTLS, in namespace: String, _ memory: inout BuildMemory, _ builder: inout ModelBuilder
  ) throws(Fault) -> BackendTLSSource {
    if tls.mode == .istioMutual {
      throw Fault("UnsupportedValue", "ISTIO_MUTUAL needs the certificates of a mesh; SIMPLE and MUTUAL are supported")
    }
    if let file = tls.files.first {
      throw Fault("UnsupportedValue", "\(file) names a file beside a sidecar; name a Secret in credentialName")
    }
    var source = BackendTLSSource(serverName: tls.sni ?? "", verifies: !tls.insecureSkipVerify)
    source.subjectAltNames = tls.subjectAltNames.map { SubjectAltName($0.contains("://") ? .uri : .dns, $0) }
    guard let name = tls.credentialName else { return source }
    if tls.mode == .mutual {
      source.certificate = try CertificateLookup(references: references)
        .credential(name, gatewayNamespace: namespace, memory: &memory, builder: &builder).index
    }
    if source.verifies {
      source.trustBundle = builder.intern(
        try AuthorityLookup(references: references).authorities(credential: name, named: nil, in: namespace))
    }
    return source
  }
}
