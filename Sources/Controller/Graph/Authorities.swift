import GatewayAPI
import RoutingTable

/// Finds and checks the certificates of authorities that clients of a listener are held against.
struct AuthorityLookup {
  var references: References

  /// What applies to an HTTPS listener of a Gateway: of its port, before that of all ports.
  static func validation(_ tls: GatewayTLS?, port: Int) -> GatewayTLS.Validation? {
    guard let tls else { return nil }
    if let own = tls.perPort.first(where: { $0.port == port }) { return own.validation }
    return tls.defaultValidation
  }

  /// Resolves the references of a validation onto the listener. One that is bad takes only itself out, and with it
  /// the clients that it would have let in; when all are, nobody may come in and the listener is refused.
  func apply(
    _ validation: GatewayTLS.Validation, from namespace: String, to node: inout ListenerNode,
    builder: inout ModelBuilder
  ) -> [Fault] {
    var found: [TrustBundleSource] = []
    var faults: [Fault] = []
    for (index, reference) in validation.caCertificateRefs.enumerated() {
      do throws(Fault) {
        found.append(try bundle(reference, from: namespace))
      } catch {
        faults.append(error.at("spec.tls.frontend: caCertificateRefs[\(index)]"))
      }
    }
    guard !found.isEmpty else {
      node.accepted = .no("NoValidCACertificate", bounded(faults.map(\.message)))
      return faults
    }
    let mode: ClientValidationSource.Mode = validation.mode == .allowInsecureFallback ? .unchecked : .required
    node.clientValidation = ClientValidationSource(mode: mode, trustBundle: builder.intern(Self.joined(found)))
    return faults
  }

  static func joined(_ bundles: [TrustBundleSource]) -> TrustBundleSource {
    TrustBundleSource(
      name: bundles.map(\.name).joined(separator: ", "),
      pem: Array(bundles.map(\.pem).joined(separator: [UInt8(ascii: "\n")])))
  }

  private func bundle(_ reference: ObjectReference, from namespace: String) throws(Fault) -> TrustBundleSource {
    let kinds: [ResourceKind] = [.configMap, .secret]
    guard let kind = kinds.first(where: { $0.group == reference.group && $0.kind == reference.kind }) else {
      let group = reference.group.isEmpty ? "core" : reference.group
      throw Fault(
        "InvalidCACertificateKind",
        "\(reference.kind) of group \(group) is not a kind that holds certificates of authorities; "
          + "a ConfigMap is, and a Secret")
    }
    let target = ServiceName(namespace: reference.namespace ?? namespace, name: reference.name)
    guard references.isPermitted(from: .gateway, in: namespace, to: kind, target) else {
      throw Fault(
        "RefNotPermitted",
        "no ReferenceGrant in namespace \(target.namespace) lets Gateways of \(namespace) "
          + "use \(kind.kind) \(target.name)")
    }
    return try bundle(kind, target)
  }

  /// The authorities in a ConfigMap or a Secret.
  func bundle(_ kind: ResourceKind, _ target: ServiceName) throws(Fault) -> TrustBundleSource {
    let name = "\(kind.kind) \(target)"
    let data =
      kind == .secret
      ? references.store.secret(namespace: target.namespace, name: target.name)?.data
      : references.store.configMap(namespace: target.namespace, name: target.name)?.data
    guard let data else { throw Fault("InvalidCACertificateRef", "\(name) does not exist") }
    return try bundle(name, data)
  }

  /// The authorities in an object's data, with a list of revoked certificates where there is one.
  private func bundle(_ name: String, _ data: [String: [UInt8]]) throws(Fault) -> TrustBundleSource {
    // Istio also reads `cacert`, and `crl` with it.
    guard let pem = data["ca.crt"] ?? data["cacert"] else {
      throw Fault("InvalidCACertificateRef", "\(name) has no ca.crt")
    }
    var all = pem
    if let revoked = data["ca.crl"] ?? data["crl"] { all += [UInt8(ascii: "\n")] + revoked }
    do throws(Fault) {
      try inspectAuthorities(all)
    } catch {
      throw error.at(name)
    }
    return TrustBundleSource(name: name, pem: all)
  }

  // MARK: Istio

  /// The authorities of Istio's settings: of the Secret that is named for them, else in the Secret of the certificate,
  /// else in the one of that name with `-cacert` behind it.
  ///
  /// - Parameter namespace: of the object with the settings; Secrets of the ingress are looked for after its own.
  func authorities(credential name: String, named own: String?, in namespace: String) throws(Fault)
    -> TrustBundleSource
  {
    let candidates = own.map { [$0] } ?? [name, "\(name)-cacert"]
    let namespaces = references.namespaces(ofCredentialsIn: namespace)
    for candidate in candidates {
      for namespace in namespaces {
        guard let secret = references.store.secret(namespace: namespace, name: candidate) else { continue }
        guard secret.data["ca.crt"] ?? secret.data["cacert"] != nil || candidate != name else { break }
        return try bundle("Secret \(namespace)/\(candidate)", secret.data)
      }
    }
    throw Fault(
      "InvalidCACertificateRef",
      "no Secret \(candidates.joined(separator: " or ")) with ca.crt in the namespaces "
        + namespaces.joined(separator: ", "))
  }
}
