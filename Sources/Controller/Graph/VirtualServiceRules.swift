import GatewayAPI
import RoutingTable

/// One entry of `http` of a VirtualService, read into the neutral form.
struct IstioRuleDraft {
  var draft: RuleDraft
  /// The matches as written; empty: every request.
  var matches: [IstioHTTPMatch]
  /// Every match was left out because of a fault.
  var isUnreachable = false
}

/// The rules of a VirtualService → drafts.
struct VirtualServiceRules {
  var references: References
  var object: ObjectIdentity
  var places: RulePlaces

  func draft(_ route: IstioHTTPRoute, _ index: Int, _ builder: inout ModelBuilder) -> IstioRuleDraft {
    var label = "http[\(index)]"
    if let name = route.name { label += " \(name)" }
    var draft = RuleDraft(
      source: RuleSource(
        provenance: "\(object.key) \(label)\(places.text(index, route.position))", action: .forward([]),
        requestHeaders: operations(route.headers.request),
        responseHeaders: operations(route.headers.response),
        rewrite: rewrite(route), requestTimeout: route.timeout?.milliseconds ?? 0),
      matches: [])
    if let redirect = route.redirect {
      draft.source.action = .redirect(self.redirect(redirect))
    } else if let response = route.directResponse {
      draft.source.action = .respond(
        status: UInt16(clamping: response.status), reason: String(decoding: response.body, as: UTF8.self))
    } else {
      draft.source.action = .forward(shares(route, "http[\(index)]", &draft, &builder))
    }
    if let delegate = route.delegate {
      draft.refuse(
        Fault("UnsupportedValue", "http[\(index)]: delegate to \(delegate.name) is not supported yet"))
    }
    if route.rewrite?.uriRegexRewrite != nil {
      draft.refuse(Fault("UnsupportedValue", "http[\(index)]: rewrite.uriRegexRewrite is not supported yet"))
    }
    return IstioRuleDraft(draft: draft, matches: route.match)
  }

  private func shares(
    _ route: IstioHTTPRoute, _ place: String, _ draft: inout RuleDraft, _ builder: inout ModelBuilder
  ) -> [WeightedBackend] {
    var shares: [WeightedBackend] = []
    for (index, target) in route.route.enumerated() {
      // One destination takes everything, whatever its weight; of several, those without weight nothing.
      let weight = route.route.count == 1 ? 1 : target.weight
      if weight == 0 { continue }
      var share = WeightedBackend(
        backend: nil, weight: UInt32(clamping: weight), requestHeaders: operations(target.headers.request),
        responseHeaders: operations(target.headers.response))
      do throws(Fault) {
        share.backend = builder.intern(try backend(target.destination, rewrite(route)?.host))
      } catch {
        draft.referenceFaults.append(error.at("\(place).route[\(index)].destination"))
      }
      shares.append(share)
    }
    return shares
  }

  /// - Parameter host: what the requests' host is rewritten to.
  private func backend(_ destination: IstioDestination, _ host: String?) throws(Fault) -> ModelBackend {
    var references = references
    // Without the port that an authority may have.
    if let host { references.requestHost = Hostname.only(of: [String(host.prefix { $0 != ":" })]) }
    return try references.backend(serviceName(of: destination), port: destination.port)
  }

  /// A short name is one of the VirtualService's own namespace; `name.namespace.svc.cluster.local` and its
  /// shorter forms name a Service of another.
  func serviceName(of destination: IstioDestination) throws(Fault) -> ServiceName {
    if let subset = destination.subset {
      throw Fault(
        "BackendNotFound",
        "subset \(subset) of \(destination.host) is defined by a DestinationRule, whose subsets are not supported yet")
    }
    return try service(destination.host)
  }

  private func service(_ host: String) throws(Fault) -> ServiceName {
    if let name = ServiceName(istioHost: host, in: object.key.namespace) { return name }
    let labels = host.lowercased().split(separator: ".").map(String.init)
    if labels.count == 2 {
      let name = ServiceName(namespace: labels[1], name: labels[0])
      if references.store.service(name) != nil || references.overridden(name) != nil { return name }
    }
    throw Fault(
      "BackendNotFound",
      "\(host) is no Service (write name or name.namespace.svc.cluster.local), "
        + "and ServiceEntry is not supported yet"
    )
  }

  private func operations(_ value: IstioHeaders.Operations) -> [HeaderOperation] {
    value.set.filter { !Self.isAuthority($0.name) }.map { HeaderOperation(.set, $0.name, $0.value) }
      + value.add.map { HeaderOperation(.add, $0.name, $0.value) }
      + value.remove.map { HeaderOperation(.remove, $0) }
  }

  private static func isAuthority(_ name: String) -> Bool {
    ["host", ":authority"].contains(name.lowercased())
  }

  /// Setting Host or :authority through `headers` rewrites the authority as `rewrite.authority` does.
  private func rewrite(_ route: IstioHTTPRoute) -> RewriteSource? {
    let fromHeaders = route.headers.request.set.first { Self.isAuthority($0.name) }?.value
    let host = route.rewrite?.authority ?? fromHeaders
    let path = route.rewrite?.uri.map { PathRewrite.replaceStringPrefix($0) }
    return host == nil && path == nil ? nil : RewriteSource(host: host, path: path)
  }

  private func redirect(_ redirect: IstioRedirect) -> RedirectSource {
    var host = redirect.authority
    var port = RedirectPort.fromRequest
    // The authority may bring a port of its own.
    if let authority = redirect.authority {
      port = .schemeDefault
      let parts = authority.split(separator: ":", omittingEmptySubsequences: false)
      if parts.count == 2, let number = UInt16(parts[1]) {
        host = String(parts[0])
        port = .number(number)
      }
    }
    if redirect.scheme != nil, redirect.authority == nil { port = .schemeDefault }
    if let number = redirect.port { port = .number(UInt16(clamping: number)) }
    switch redirect.derivePort {
    case .protocolDefault: port = .schemeDefault
    case .requestPort: port = .fromRequest
    case nil: break
    }
    let path =
      redirect.uri.map { PathRewrite.replaceFull($0) }
      ?? redirect.prefixRewrite.map { PathRewrite.replaceStringPrefix($0) }
    return RedirectSource(
      scheme: redirect.scheme, host: host, port: port, path: path,
      status: UInt16(clamping: redirect.redirectCode))
  }
}

/// Where a request comes in: some parts of a match are answered by that alone.
struct IstioEntryPoint {
  var slot: ListenerSlot
  /// `namespace/name` of the Gateways through which the VirtualService is bound there.
  var gateways: Set<String>
  var namespace: String
}

extension IstioHTTPMatch {
  /// The entries of this match at one entry point. None: it cannot hold there.
  func entries(at point: IstioEntryPoint) throws(Fault) -> [EntrySource] {
    if let port, port != Int(point.slot.port) { return [] }
    if let scheme, try !scheme.holds(for: point.slot.kind == .https ? "https" : "http") { return [] }
    if !gateways.isEmpty {
      let names = gateways.map { $0.contains("/") ? $0 : "\(point.namespace)/\($0)" }
      if !names.contains(where: point.gateways.contains) { return [] }
    }
    if !sourceLabels.isEmpty || sourceNamespace != nil {
      throw Fault("UnsupportedValue", "sourceLabels and sourceNamespace match nothing at an ingress")
    }
    var entry = EntrySource(path: uri?.path ?? .any, pathIgnoresCase: ignoreUriCase, rule: 0)
    entry.headers =
      headers.map { ValueMatch(name: $0.name, test: $0.match.test) }
      + withoutHeaders.map {
        // A missing header counts as the empty one, unless only its presence is asked for.
        ValueMatch(
          name: $0.name, test: $0.match.test, invert: true, missingIsEmpty: $0.match.test != .present)
      }
    entry.queryParameters = queryParams.map { ValueMatch(name: $0.name, test: $0.match.test) }
    entry.authority = authority.map { ValueMatch(name: "", test: $0.test) }
    guard let method else { return [entry] }
    return try method.methods.map { token in
      var entry = entry
      entry.method = token
      return entry
    }
  }
}

extension EntrySource {
  /// Holds for every request (Istio's catch-all route).
  var isCatchAll: Bool {
    guard method == nil, headers.isEmpty, queryParameters.isEmpty, authority == nil else { return false }
    return switch path {
    case .any, .stringPrefix(""), .stringPrefix("/"), .segmentPrefix("/"): true
    case .regex(let pattern): [".*", "/.*"].contains(pattern)
    default: false
    }
  }
}

extension IstioStringMatch {
  fileprivate var path: PathMatcher {
    switch self {
    case .exact(let text): .exact(text)
    case .prefix(let text): .stringPrefix(text)
    case .regex("*"), .present: .any
    case .regex(let pattern): .regex(pattern)
    }
  }

  /// An empty value, and the regular expression `*`, ask for presence.
  fileprivate var test: ValueTest {
    switch self {
    case .exact(""), .prefix(""), .regex(""), .regex("*"), .present: .present
    case .exact(let text): .exact(text)
    case .prefix(let text): .prefix(text)
    case .regex(let pattern): .regex(pattern)
    }
  }

  /// The answer for one known text; alternatives of plain words are all that is understood of expressions.
  fileprivate func holds(for text: String) throws(Fault) -> Bool {
    switch self {
    case .exact(let wanted): return wanted == text
    case .prefix(let wanted): return text.hasPrefix(wanted)
    case .present: return true
    case .regex: return try words.contains(text)
    }
  }

  fileprivate var methods: [String?] {
    get throws(Fault) {
      switch self {
      case .exact(let method): return [method]
      case .present: return [nil]
      case .prefix(""): return [nil]
      case .prefix(let start):
        return HTTPRouteMatch.Method.allCases.map(\.rawValue).filter { $0.hasPrefix(start) }
      case .regex("*"), .regex(".*"), .regex(".+"): return [nil]
      case .regex: return try words
      }
    }
  }

  /// `GET|POST` and `(GET|POST)`.
  private var words: [String] {
    get throws(Fault) {
      guard case .regex(var pattern) = self else { return [] }
      if pattern.hasPrefix("^") { pattern.removeFirst() }
      if pattern.hasSuffix("$") { pattern.removeLast() }
      if pattern.hasPrefix("("), pattern.hasSuffix(")") { pattern = String(pattern.dropFirst().dropLast()) }
      let words = pattern.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
      let isPlain = words.allSatisfy { word in
        !word.isEmpty && word.allSatisfy { $0.isASCII && ($0.isLetter || $0 == "-") }
      }
      guard isPlain else {
        throw Fault(
          "UnsupportedValue", "the regular expression \(pattern) is too much here; write words as GET|POST")
      }
      return words
    }
  }
}
