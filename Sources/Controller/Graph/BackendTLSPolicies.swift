import GatewayAPI
import RoutingTable

struct BackendTLSPolicyNode: Sendable {
  var object: ObjectIdentity
  var accepted = Verdict.accepted
  var resolved = Verdict.resolved
  var notices: [Notice] = []
  /// The Services that it targets, in force or not.
  var services: Set<ServiceName> = []
  /// Gateways that lead to them.
  var ancestors: [ResourceKey] = []
}

/// BackendTLSPolicies → settings of backends. Of two that name the same target the older one is in force, then the
/// one whose name comes first; one that names a port goes before one that names the whole Service.
struct BackendTLSPolicyStage {
  var references: References

  func resolve(_ table: inout BackendTLSTable, _ builder: inout ModelBuilder) -> [BackendTLSPolicyNode] {
    var nodes: [BackendTLSPolicyNode] = []
    let objects = references.store.all(.backendTLSPolicy)
      .map { (object: $0, identity: ObjectIdentity($0)) }
      .sorted { $0.identity.seniority < $1.identity.seniority }
    for (object, identity) in objects {
      guard case .backendTLSPolicy(let policy) = object.resource else { continue }
      nodes.append(node(policy, object, identity, &table, &builder))
    }
    return nodes.sorted { $0.object.key < $1.object.key }
  }

  private func node(
    _ policy: BackendTLSPolicy, _ object: StoredObject, _ identity: ObjectIdentity, _ table: inout BackendTLSTable,
    _ builder: inout ModelBuilder
  ) -> BackendTLSPolicyNode {
    var node = BackendTLSPolicyNode(object: identity, notices: Notice.fields(of: object))
    let entry = self.entry(policy, &node, &builder)
    var lost: [String] = []
    var unknown: [String] = []
    for target in policy.targetRefs {
      let name = ServiceName(namespace: policy.metadata.namespace, name: target.name)
      guard target.group.isEmpty, target.kind == "Service" else {
        unknown.append("\(target.kind) \(target.name)")
        continue
      }
      let section = target.sectionName.map { BackendTLSTable.Section.name($0) } ?? .whole
      // Known or not: what is not there yet must not be spoken to in the clear once it is.
      node.services.insert(name)
      if table.policies[name]?[section] == nil {
        table.policies[name, default: [:]][section] = entry
      } else {
        lost.append(target.name)
      }
    }
    if lost.count == policy.targetRefs.count {
      node.accepted = .no("Conflicted", "older policies are in force for Service \(bounded(lost))")
    } else if unknown.count == policy.targetRefs.count {
      node.accepted = .no("Invalid", "a policy for \(bounded(unknown)) has no effect; it can target a Service")
    }
    return node
  }

  private func entry(
    _ policy: BackendTLSPolicy, _ node: inout BackendTLSPolicyNode, _ builder: inout ModelBuilder
  ) -> BackendTLSTable.Entry {
    var source = BackendTLSSource(serverName: policy.hostname)
    source.subjectAltNames = policy.subjectAltNames.map {
      switch $0 {
      case .hostname(let name): SubjectAltName(.dns, name)
      case .uri(let uri): SubjectAltName(.uri, uri)
      }
    }
    if let wellKnown = policy.wellKnownCACertificates {
      if wellKnown == "System" { return .settings(source) }
      let fault = Fault("Invalid", "wellKnownCACertificates \(wellKnown) is not known here; System is")
      node.accepted = .no(fault.reason, fault.message)
      return .invalid(fault)
    }
    var found: [TrustBundleSource] = []
    var faults: [Fault] = []
    for (index, reference) in policy.caCertificateRefs.enumerated() {
      do throws(Fault) {
        found.append(try bundle(reference, in: policy.metadata.namespace))
      } catch {
        faults.append(error.at("caCertificateRefs[\(index)]"))
      }
    }
    node.resolved = node.resolved.with(faults: faults)
    guard !found.isEmpty else {
      node.accepted = .no("NoValidCACertificate", bounded(faults.map(\.message)))
      return .invalid(Fault("NoValidCACertificate", bounded(faults.map(\.message))))
    }
    source.trustBundle = builder.intern(AuthorityLookup.joined(found))
    return .settings(source)
  }

  private func bundle(_ reference: LocalObjectReference, in namespace: String) throws(Fault) -> TrustBundleSource {
    let kinds: [ResourceKind] = [.configMap, .secret]
    guard let kind = kinds.first(where: { $0.group == reference.group && $0.kind == reference.kind }) else {
      throw Fault(
        "InvalidKind", "\(reference.kind) of group \"\(reference.group)\" holds no certificates; a ConfigMap does")
    }
    return try AuthorityLookup(references: references)
      .bundle(kind, ServiceName(namespace: namespace, name: reference.name))
  }
}

extension BackendTLSPolicyNode {
  /// Most ancestors that a status may have.
  private static let mostAncestors = 16

  /// Finds the Gateways whose routes lead to the policy's Services.
  mutating func findAncestors(_ routes: [RouteNode], in store: ResourceStore) {
    var found: Set<ResourceKey> = []
    for route in routes where leads(route.object.key, in: store) {
      for parent in route.parents where parent.accepted.holds && parent.reference.kind == "Gateway" {
        found.insert(
          ResourceKey(
            kind: .gateway, namespace: parent.reference.namespace ?? route.object.key.namespace,
            name: parent.reference.name))
      }
    }
    ancestors = Array(found.sorted().prefix(Self.mostAncestors))
  }

  private func leads(_ route: ResourceKey, in store: ResourceStore) -> Bool {
    let backends: [BackendObjectReference] =
      switch store[route]?.resource {
      case .httpRoute(let value)?: value.rules.flatMap { $0.backendRefs.map(\.backend) }
      case .grpcRoute(let value)?: value.rules.flatMap { $0.backendRefs.map(\.backend) }
      case .tlsRoute(let value)?: value.rules.flatMap { $0.backendRefs.map(\.backend) }
      case .tcpRoute(let value)?: value.rules.flatMap { $0.backendRefs.map(\.backend) }
      default: []
      }
    return backends.contains {
      services.contains(ServiceName(namespace: $0.namespace ?? route.namespace, name: $0.name))
    }
  }
}
