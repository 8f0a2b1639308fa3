public import YAML

/// A field that an object sets, that is read and checked, and that nothing acts on yet.
public struct UnsupportedField: Hashable, Sendable {
  /// As `spec.rules[0].filters[1].cors`.
  public var path: FieldPath
  public var position: SourcePosition
  /// A sentence without the path.
  public var message: String
  /// The field restricts who may pass (authentication, client certificates). To leave it out would open
  /// what it closes, so what carries it must be refused and not served without it.
  public var failsClosed: Bool

  public func diagnostic(file: String?) -> Diagnostic {
    Diagnostic(.warning, file: file, position: position, path: path.description, message: message)
  }
}

/// The list of what is accepted and not acted on yet. A feature that lands removes its line here.
public enum FieldSupport {
  /// The unsupported fields that an object sets, in the order of the document. Fields that are null, false
  /// or empty say nothing and are left out.
  public static func unsupported(in node: Node, kind: ResourceKind) -> [UnsupportedField] {
    let found = (patterns[kind] ?? []).flatMap { pattern in
      pattern.occurrences(in: node).map { path, position in
        UnsupportedField(
          path: path, position: position, message: pattern.message, failsClosed: pattern.failsClosed)
      }
    }
    return found.sorted { ($0.position, $0.path.description) < ($1.position, $1.path.description) }
  }

  /// The list as texts, for documents and tests: `spec.rules[].retry`,
  /// `spec.listeners[].protocol=UDP`.
  public static func list(of kind: ResourceKind) -> [String] { (patterns[kind] ?? []).map(\.text) }

  private static let patterns: [ResourceKind: [FieldPattern]] = [
    .gatewayClass: ["spec.parametersRef"].map(FieldPattern.init),
    .gateway: gateway,
    .httpRoute: httpRoute,
    .grpcRoute: grpcRoute,
    .tlsRoute: ["spec.useDefaultGateways=All"].map(FieldPattern.init),
    .tcpRoute: ["spec.useDefaultGateways=All"].map(FieldPattern.init),
    .udpRoute: ["spec.useDefaultGateways=All"].map(FieldPattern.init),
    .backendTLSPolicy: ["spec.options"].map(FieldPattern.init),
    .istioGateway: istioGateway,
    .virtualService: virtualService,
    .destinationRule: destinationRule,
    .service: [
      "spec.sessionAffinity=ClientIP", "spec.internalTrafficPolicy=Local", "spec.trafficDistribution",
    ].map(FieldPattern.init),
    .endpointSlice: ["addressType=FQDN"].map(FieldPattern.init),
  ]

  private static let gateway: [FieldPattern] =
    [
      "spec.addresses", "spec.infrastructure", "spec.defaultScope=All",
      "spec.allowedListeners.namespaces.from=All|Selector|Same",
      "spec.listeners[].tls.options",
    ].map(FieldPattern.init)

  private static let httpRoute: [FieldPattern] =
    [
      "spec.useDefaultGateways=All", "spec.rules[].retry", "spec.rules[].sessionPersistence",
      "spec.rules[].filters[].requestMirror", "spec.rules[].filters[].cors",
      "spec.rules[].backendRefs[].filters[].requestMirror", "spec.rules[].backendRefs[].filters[].cors",
      "spec.rules[].backendRefs[].filters[].requestRedirect",
      "spec.rules[].backendRefs[].filters[].urlRewrite",
    ].map(FieldPattern.init)
    + [
      "spec.rules[].filters[].externalAuth", "spec.rules[].filters[].extensionRef",
      "spec.rules[].backendRefs[].filters[].externalAuth",
      "spec.rules[].backendRefs[].filters[].extensionRef",
    ].map(FieldPattern.closed)

  private static let grpcRoute: [FieldPattern] =
    [
      "spec.useDefaultGateways=All", "spec.rules[].sessionPersistence",
      "spec.rules[].filters[].requestMirror",
      "spec.rules[].backendRefs[].filters[].requestMirror",
    ].map(FieldPattern.init)
    + ["spec.rules[].filters[].extensionRef", "spec.rules[].backendRefs[].filters[].extensionRef"]
    .map(FieldPattern.closed)

  private static let istioGateway: [FieldPattern] =
    [
      "spec.servers[].bind", "spec.servers[].defaultEndpoint", "spec.servers[].port.targetPort",
      "spec.servers[].port.protocol=MONGO|REDIS|MYSQL|UDP|HTTP_PROXY",
      "spec.servers[].tls.mode=AUTO_PASSTHROUGH|ISTIO_MUTUAL",
      "spec.servers[].tls.credentialNames", "spec.servers[].tls.serverCertificate",
      "spec.servers[].tls.privateKey", "spec.servers[].tls.tlsCertificates",
      "spec.servers[].tls.minProtocolVersion=TLSV1_0|TLSV1_1|TLSV1_3",
      "spec.servers[].tls.maxProtocolVersion=TLSV1_0|TLSV1_1|TLSV1_2", "spec.servers[].tls.cipherSuites",
      "spec.servers[].tls.insecureSkipVerify",
    ].map(FieldPattern.init)
    + [
      "spec.servers[].tls.caCertificates", "spec.servers[].tls.caCrl", "spec.servers[].tls.subjectAltNames",
      "spec.servers[].tls.verifyCertificateSpki", "spec.servers[].tls.verifyCertificateHash",
    ].map(FieldPattern.closed)

  private static let destinationRule: [FieldPattern] = [
    "spec.exportTo", "spec.subsets", "spec.workloadSelector", "spec.trafficPolicy.connectionPool",
    "spec.trafficPolicy.loadBalancer", "spec.trafficPolicy.outlierDetection", "spec.trafficPolicy.proxyProtocol",
    "spec.trafficPolicy.retryBudget", "spec.trafficPolicy.tunnel",
    "spec.trafficPolicy.portLevelSettings[].connectionPool", "spec.trafficPolicy.portLevelSettings[].loadBalancer",
    "spec.trafficPolicy.portLevelSettings[].outlierDetection",
  ].map(FieldPattern.init)

  private static let virtualService: [FieldPattern] =
    [
      "spec.exportTo", "spec.http[].delegate", "spec.http[].retries",
      "spec.http[].fault", "spec.http[].mirror", "spec.http[].mirrors", "spec.http[].mirrorPercent",
      "spec.http[].mirror_percent", "spec.http[].mirrorPercentage", "spec.http[].corsPolicy",
      "spec.http[].directResponse.body", "spec.http[].rewrite.uriRegexRewrite",
      "spec.http[].match[].statPrefix", "spec.http[].route[].destination.subset",
      "spec.tls[].route[].destination.subset", "spec.tcp[].route[].destination.subset",
    ].map(FieldPattern.init)
    + [
      "spec.http[].match[].sourceLabels", "spec.http[].match[].sourceNamespace",
      "spec.tls[].match[].destinationSubnets", "spec.tls[].match[].sourceLabels",
      "spec.tls[].match[].sourceNamespace", "spec.tcp[].match[].destinationSubnets",
      "spec.tcp[].match[].sourceLabels", "spec.tcp[].match[].sourceNamespace", "spec.tcp[].match[].sourceSubnet",
    ].map(FieldPattern.closed)
}

/// A path through an object in which `[]` stands for every element, with the values that count, if not all
/// do.
private struct FieldPattern: Sendable {
  let text: String
  let steps: [String]
  /// Empty: every value that says something.
  let values: [String]
  let failsClosed: Bool

  init(_ text: String) { self.init(text, failsClosed: false) }

  static func closed(_ text: String) -> FieldPattern { FieldPattern(text, failsClosed: true) }

  private init(_ text: String, failsClosed: Bool) {
    self.text = text
    self.failsClosed = failsClosed
    let halves = text.split(separator: "=", maxSplits: 1)
    steps = halves[0].split(separator: ".").flatMap { step in
      step.hasSuffix("[]") ? [String(step.dropLast(2)), "[]"] : [String(step)]
    }
    values = halves.count == 2 ? halves[1].split(separator: "|").map(String.init) : []
  }

  var message: String {
    let effect = failsClosed ? "what it would restrict is refused instead" : "it has no effect"
    guard values.isEmpty else { return "this value is accepted, but not acted on yet; \(effect)" }
    return "is accepted, but not acted on yet; \(effect)"
  }

  func occurrences(in node: Node) -> [(FieldPath, SourcePosition)] {
    var found: [(FieldPath, SourcePosition)] = []
    collect(node, steps[...], .root, &found)
    return found
  }

  private func collect(
    _ node: Node, _ rest: ArraySlice<String>, _ path: FieldPath, _ found: inout [(FieldPath, SourcePosition)]
  ) {
    guard let step = rest.first else {
      if counts(node) { found.append((path, node.position)) }
      return
    }
    if step == "[]" {
      for (index, element) in (node.sequence ?? []).enumerated() {
        collect(element, rest.dropFirst(), path.appending(index), &found)
      }
    } else if let child = node[step] {
      collect(child, rest.dropFirst(), path.appending(step), &found)
    }
  }

  private func counts(_ node: Node) -> Bool {
    if !values.isEmpty {
      // Istio reads protocols in any case.
      guard let text = node.string else { return false }
      return values.contains(text) || values.contains(text.uppercased())
    }
    return switch node.value {
    case .null: false
    case .bool(let value): value
    case .string(let text): !text.isEmpty
    case .sequence(let nodes): !nodes.isEmpty
    // An empty mapping of a field whose presence alone means something (`cors: {}`) counts too.
    case .mapping, .int, .float: true
    }
  }
}
