import GatewayAPI
import RoutingTable

/// Results of checks that cost more than a look-up, kept from one build to the next. It changes no answer.
public struct BuildMemory: Sendable {
  struct CheckedSecret {
    var resourceVersion: UInt64
    var result: Result<CertificateFacts, Fault>
  }

  var certificates: [ResourceKey: CheckedSecret] = [:]
  /// Pieces that the table takes; entries with rule 0.
  var soundRules: Set<RuleSource> = []
  var soundEntries: Set<EntrySource> = []

  public init() {}

  /// How many pieces are remembered before all are forgotten: churn must not grow the memory for ever.
  private static let limit = 200_000

  mutating func forget(notIn store: ResourceStore) {
    if soundRules.count > Self.limit { soundRules = [] }
    if soundEntries.count > Self.limit { soundEntries = [] }
    certificates = certificates.filter { store[$0.key] != nil }
  }
}

/// Finds and checks the Secret behind a certificate reference.
struct CertificateLookup {
  var references: References

  /// The certificate of one Secret.
  func certificate(
    namespace: String, name: String, memory: inout BuildMemory, builder: inout ModelBuilder
  ) throws(Fault) -> ListenerCertificate {
    let key = ResourceKey(kind: .secret, namespace: namespace, name: name)
    guard let object = references.store[key], case .secret(let secret) = object.resource else {
      throw Fault("InvalidCertificateRef", "Secret \(namespace)/\(name) does not exist")
    }
    // Istio also reads the keys `cert` and `key`.
    guard let chain = secret.data["tls.crt"] ?? secret.data["cert"],
      let privateKey = secret.data["tls.key"] ?? secret.data["key"]
    else {
      throw Fault("InvalidCertificateRef", "Secret \(namespace)/\(name) has no tls.crt and tls.key")
    }
    let result: Result<CertificateFacts, Fault>
    if let known = memory.certificates[key], known.resourceVersion == object.resourceVersion {
      result = known.result
    } else {
      do throws(Fault) {
        result = .success(
          try inspectCertificate(chainPEM: chain, keyPEM: privateKey, ocspStaple: secret.data[Self.stapleKey]))
      } catch {
        result = .failure(error.at("Secret \(namespace)/\(name)"))
      }
      memory.certificates[key] = BuildMemory.CheckedSecret(
        resourceVersion: object.resourceVersion, result: result)
    }
    let facts = try result.get()
    let index = builder.intern(
      CertificateSource(
        name: "\(namespace)/\(name)", chainPEM: chain, keyPEM: privateKey,
        ocspStaple: secret.data[Self.stapleKey] ?? []))
    return ListenerCertificate(
      name: "Secret \(namespace)/\(name)", index: index, names: facts.names,
      notices: facts.notices("Secret \(namespace)/\(name)"))
  }

  /// Key of an OCSP response in DER; the name that other ingress controllers read it by as well.
  private static let stapleKey = "tls.ocsp-staple"

  /// The Secret of an Istio `credentialName`: in the Gateway's own namespace, then where ingress gateways
  /// run.
  func credential(
    _ name: String, gatewayNamespace: String, memory: inout BuildMemory, builder: inout ModelBuilder
  ) throws(Fault) -> ListenerCertificate {
    let namespaces = references.namespaces(ofCredentialsIn: gatewayNamespace)
    for namespace in namespaces where references.store.secret(namespace: namespace, name: name) != nil {
      return try certificate(namespace: namespace, name: name, memory: &memory, builder: &builder)
    }
    throw Fault(
      "InvalidCertificateRef",
      "no Secret \(name) in the namespaces \(namespaces.joined(separator: ", "))" + hint(namespaces))
  }

  /// A wrong name is the usual fault, so the certificates that are there are named.
  private func hint(_ namespaces: [String]) -> String {
    let others = references.store.all(.secret)
      .filter { object in
        guard namespaces.contains(object.key.namespace), case .secret(let secret) = object.resource else {
          return false
        }
        return secret.data["tls.crt"] != nil
      }
      .prefix(3).map { "\($0.key.namespace)/\($0.key.name)" }
    return others.isEmpty ? "" : "; certificates are in \(others.joined(separator: ", "))"
  }
}
