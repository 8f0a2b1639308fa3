import GatewayAPI
import RoutingTable

/// TLSRoute, TCPRoute and UDPRoute → drafts. Their rules ask nothing of a connection.
extension RouteDrafts {
  func draft(_ route: TLSRoute, _ object: ObjectIdentity, _ builder: inout ModelBuilder) -> RouteDraft {
    RouteDraft(
      object: object, parentRefs: route.parentRefs, hostnames: route.hostnames.map(Hostname.init),
      rules: rules(
        route.rules, .asItCame, mayBeDecrypted: true, of: object, at: RulePlaces(route.metadata, route.origin),
        &builder))
  }

  func draft(_ route: TCPRoute, _ object: ObjectIdentity, _ builder: inout ModelBuilder) -> RouteDraft {
    RouteDraft(
      object: object, parentRefs: route.parentRefs, hostnames: [],
      rules: rules(route.rules, .clear, of: object, at: RulePlaces(route.metadata, route.origin), &builder))
  }

  func draft(_ route: UDPRoute, _ object: ObjectIdentity, _ builder: inout ModelBuilder) -> RouteDraft {
    RouteDraft(
      object: object, parentRefs: route.parentRefs, hostnames: [],
      rules: rules(route.rules, .asItCame, of: object, at: RulePlaces(route.metadata, route.origin), &builder))
  }

  private func rules(
    _ rules: [Layer4RouteRule], _ bytes: PlainBytes, mayBeDecrypted: Bool = false, of object: ObjectIdentity,
    at places: RulePlaces, _ builder: inout ModelBuilder
  ) -> [RuleDraft] {
    rules.enumerated().map { index, rule in
      var draft = RuleDraft(
        source: RuleSource(
          provenance: "\(object.key) rule \(index)\(places.text(index, rule.position))", action: .forward([])),
        matches: [MatchDraft(weights: [], entry: EntrySource(rule: 0))])
      draft.source.action = .forward(shares(rule, bytes, of: object, index, &draft.referenceFaults, &builder))
      if mayBeDecrypted {
        var decrypted = draft.source
        var faults: [Fault] = []
        decrypted.action = .forward(shares(rule, .clear, of: object, index, &faults, &builder))
        if decrypted.action != draft.source.action { draft.decrypted = decrypted }
        draft.decryptedFaults = faults.filter { !draft.referenceFaults.contains($0) }
      }
      return draft
    }
  }

  private func shares(
    _ rule: Layer4RouteRule, _ bytes: PlainBytes, of object: ObjectIdentity, _ index: Int, _ faults: inout [Fault],
    _ builder: inout ModelBuilder
  ) -> [WeightedBackend] {
    var shares: [WeightedBackend] = []
    for (number, item) in rule.backendRefs.enumerated() {
      var share = WeightedBackend(backend: nil, weight: UInt32(clamping: item.weight))
      do throws(Fault) {
        share.backend = builder.intern(try references.plainBackend(item.backend, from: object.key, bytes))
      } catch {
        faults.append(error.at("rules[\(index)].backendRefs[\(number)]"))
      }
      shares.append(share)
    }
    return shares
  }
}

/// What a connection below HTTP brings to a backend.
enum PlainBytes {
  /// Bytes that TLS may be put around, where a policy says so.
  case clear
  /// Datagrams, or TLS of the client's own; no policy changes them.
  case asItCame
}

extension References {
  /// A backend for bytes: whatever protocol its port names is between it and the client.
  func plainBackend(
    _ reference: BackendObjectReference, from route: ResourceKey, _ bytes: PlainBytes
  ) throws(Fault) -> ModelBackend {
    try asBytes(bytes) { (references) throws(Fault) in try references.backend(reference, from: route) }
  }

  func plainBackend(_ name: ServiceName, port: Int?, _ bytes: PlainBytes) throws(Fault) -> ModelBackend {
    try asBytes(bytes) { (references) throws(Fault) in try references.backend(name, port: port) }
  }

  private func asBytes(
    _ bytes: PlainBytes, _ find: (References) throws(Fault) -> ModelBackend
  ) throws(Fault) -> ModelBackend {
    var references = self
    references.ignoresProtocols = true
    references.ignoresTLS = bytes == .asItCame
    // There are no requests.
    references.requestHost = nil
    var backend = try find(references)
    // Not the one that requests go to by a protocol of their own.
    backend.id += backend.tls == nil ? "/tcp" : "/tls"
    backend.proto = .automatic
    return backend
  }
}
