import GatewayAPI
import RoutingTable
import YAML

/// HTTPRoute and GRPCRoute → drafts: the ingest of the Gateway API's routes.
struct RouteDrafts {
  var references: References

  func draft(_ route: HTTPRoute, _ object: ObjectIdentity, _ builder: inout ModelBuilder) -> RouteDraft {
    var rules: [RuleDraft] = []
    var drafts = self
    drafts.references.requestHost = Hostname.only(of: route.hostnames)
    for (index, rule) in route.rules.enumerated() {
      rules.append(drafts.rule(rule, index, of: object, at: RulePlaces(route.metadata, route.origin), &builder))
    }
    return RouteDraft(
      object: object, parentRefs: route.parentRefs, hostnames: route.hostnames.map(Hostname.init),
      rules: rules)
  }

  func draft(_ route: GRPCRoute, _ object: ObjectIdentity, _ builder: inout ModelBuilder) -> RouteDraft {
    var rules: [RuleDraft] = []
    var drafts = self
    drafts.references.requestHost = Hostname.only(of: route.hostnames)
    for (index, rule) in route.rules.enumerated() {
      rules.append(drafts.rule(rule, index, of: object, at: RulePlaces(route.metadata, route.origin), &builder))
    }
    return RouteDraft(
      object: object, parentRefs: route.parentRefs, hostnames: route.hostnames.map(Hostname.init),
      rules: rules)
  }

  // MARK: HTTPRoute

  private func rule(
    _ rule: HTTPRouteRule, _ index: Int, of object: ObjectIdentity, at places: RulePlaces,
    _ builder: inout ModelBuilder
  ) -> RuleDraft {
    let effects = FilterEffects(rule.filters)
    let place = "rules[\(index)]"
    var draft = RuleDraft(
      source: RuleSource(
        provenance: "\(object.key) rule \(index)\(places.text(index, rule.position))",
        action: .forward([]), requestHeaders: effects.requestHeaders,
        responseHeaders: effects.responseHeaders, rewrite: effects.rewrite,
        requestTimeout: rule.timeouts?.request?.milliseconds ?? 0,
        backendTimeout: rule.timeouts?.backendRequest?.milliseconds ?? 0),
      matches: rule.matches.map(match))
    if let redirect = effects.redirect {
      draft.source.action = .redirect(redirect)
    } else {
      var references = references
      if let host = effects.rewrite?.host { references.requestHost = host }
      draft.forward(
        to: rule.backendRefs.map { ($0.backend, $0.weight, $0.filters) }, from: object.key, references,
        place, &builder)
    }
    for fault in effects.faults { draft.refuse(fault.at(place)) }
    return draft
  }

  private func match(_ match: HTTPRouteMatch) -> MatchDraft {
    let path: PathMatcher =
      switch match.path.type {
      case .exact: .exact(match.path.value)
      case .pathPrefix: .segmentPrefix(Self.withoutEndSlash(match.path.value))
      case .regularExpression: .regex(match.path.value)
      }
    let headers = Self.values(match.headers, ignoringCase: true)
    let queryParameters = Self.values(match.queryParams, ignoringCase: false)
    return MatchDraft(
      weights: MatchRank.pathWeights(path)
        + [match.method == nil ? 0 : 1, headers.count, queryParameters.count],
      entry: EntrySource(
        path: path, method: match.method?.rawValue, headers: headers, queryParameters: queryParameters,
        rule: 0))
  }

  /// A trailing slash of a prefix says nothing, so it must not make the prefix longer.
  private static func withoutEndSlash(_ prefix: String) -> String {
    prefix.count > 1 && prefix.hasSuffix("/") ? String(prefix.dropLast()) : prefix
  }

  /// Of several matches for one name only the first counts (HTTPRouteMatch.headers, .queryParams).
  private static func values(_ matches: [HTTPValueMatch], ignoringCase: Bool) -> [ValueMatch] {
    var seen: Set<String> = []
    return matches.compactMap { match in
      let name = ignoringCase ? match.name.lowercased() : match.name
      guard seen.insert(name).inserted else { return nil }
      return ValueMatch(
        name: name, test: match.type == .exact ? .exact(match.value) : .regex(match.value))
    }
  }

  // MARK: GRPCRoute

  private func rule(
    _ rule: GRPCRouteRule, _ index: Int, of object: ObjectIdentity, at places: RulePlaces,
    _ builder: inout ModelBuilder
  ) -> RuleDraft {
    let effects = FilterEffects(rule.filters)
    let place = "rules[\(index)]"
    var draft = RuleDraft(
      source: RuleSource(
        provenance: "\(object.key) rule \(index)\(places.text(index, rule.position))",
        action: .forward([]), isGRPC: true, requestHeaders: effects.requestHeaders,
        responseHeaders: effects.responseHeaders),
      matches: rule.matches.isEmpty
        ? [MatchDraft(weights: [0, 0, 0], entry: EntrySource(rule: 0))] : rule.matches.map(match))
    draft.forward(
      to: rule.backendRefs.map { ($0.backend, $0.weight, $0.filters) }, from: object.key, references, place,
      &builder)
    for fault in effects.faults { draft.refuse(fault.at(place)) }
    return draft
  }

  private func match(_ match: GRPCRouteMatch) -> MatchDraft {
    let headers = Self.values(match.headers, ignoringCase: true)
    let service = match.method?.service
    let method = match.method?.method
    return MatchDraft(
      weights: [service?.utf8.count ?? 0, method?.utf8.count ?? 0, headers.count],
      entry: EntrySource(path: Self.path(match.method), headers: headers, rule: 0))
  }

  /// A gRPC request's path is `/service/method`.
  private static func path(_ match: GRPCMethodMatch?) -> PathMatcher {
    guard let match, match.service != nil || match.method != nil else { return .any }
    if match.type == .exact {
      if let service = match.service {
        return match.method.map { .exact("/\(service)/\($0)") } ?? .segmentPrefix("/\(service)")
      }
      return .regex("/[^/]+/\(quotedForRegex(match.method ?? ""))")
    }
    let service = match.service.map { "(?:\($0))" } ?? "[^/]+"
    let method = match.method.map { "(?:\($0))" } ?? "[^/]+"
    return .regex("/\(service)/\(method)")
  }
}

/// The text as a regular expression (RE2) that matches only itself.
func quotedForRegex(_ text: String) -> String {
  var quoted = ""
  for character in text {
    if character.isASCII, !character.isLetter, !character.isNumber, character != "_" { quoted += "\\" }
    quoted.append(character)
  }
  return quoted
}

extension RuleDraft {
  /// Sends the rule's requests to backends; a reference that does not resolve answers 500 for its share.
  fileprivate mutating func forward(
    to backends: [(reference: BackendObjectReference, weight: Int, filters: [HTTPRouteFilter])],
    from route: ResourceKey, _ references: References, _ place: String, _ builder: inout ModelBuilder
  ) {
    var shares: [WeightedBackend] = []
    for (index, item) in backends.enumerated() {
      let place = "\(place).backendRefs[\(index)]"
      let effects = FilterEffects(item.filters)
      var share = WeightedBackend(
        backend: nil, weight: UInt32(clamping: item.weight), requestHeaders: effects.requestHeaders,
        responseHeaders: effects.responseHeaders)
      var unsupported = effects.faults
      if effects.redirect != nil || effects.rewrite != nil {
        unsupported.append(
          Fault("UnsupportedValue", "RequestRedirect and URLRewrite are not supported on a backendRef yet"))
      }
      faults += unsupported.map { $0.at(place) }
      do throws(Fault) {
        let backend = try references.backend(item.reference, from: route)
        if unsupported.isEmpty { share.backend = builder.intern(backend) }
      } catch {
        // The reference is good; what is wrong stands in the policy's status.
        if error.reason != References.invalidTLS { referenceFaults.append(error.at(place)) }
      }
      shares.append(share)
    }
    source.action = .forward(shares)
  }
}

extension References {
  /// The backend that a Gateway API route names.
  func backend(_ reference: BackendObjectReference, from route: ResourceKey) throws(Fault) -> ModelBackend {
    guard reference.group.isEmpty, reference.kind == "Service" else {
      let group = reference.group.isEmpty ? "core" : reference.group
      throw Fault("InvalidKind", "\(reference.kind) of group \(group) is not a kind of backend; a Service is")
    }
    let target = ServiceName(namespace: reference.namespace ?? route.namespace, name: reference.name)
    guard isPermitted(from: route.kind, in: route.namespace, to: .service, target) else {
      throw Fault(
        "RefNotPermitted",
        "no ReferenceGrant in namespace \(target.namespace) lets \(route.kind.kind)s of \(route.namespace) "
          + "use Service \(target.name)")
    }
    return try backend(target, port: reference.port)
  }
}
