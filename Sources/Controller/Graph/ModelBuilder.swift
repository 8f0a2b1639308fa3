import GatewayAPI
import RoutingTable

/// What one build gathers for the model, each thing once.
struct ModelBuilder {
  private(set) var rules: [RuleSource] = []
  private(set) var backends: [ModelBackend] = []
  private(set) var certificates: [CertificateSource] = []
  private(set) var trustBundles: [TrustBundleSource] = []
  /// Blocks of each listener, in the order in which they were made.
  private(set) var blocks: [ListenerSlot: [(seniority: Seniority, block: RouteBlock)]] = [:]
  private var backendIndex: [String: Int] = [:]
  private var certificateIndex: [String: Int] = [:]
  private var trustBundleIndex: [String: Int] = [:]

  mutating func intern(_ backend: ModelBackend) -> Int {
    if let index = backendIndex[backend.id] { return index }
    backends.append(backend)
    backendIndex[backend.id] = backends.count - 1
    return backends.count - 1
  }

  mutating func intern(_ certificate: CertificateSource) -> Int {
    if let index = certificateIndex[certificate.name] { return index }
    certificates.append(certificate)
    certificateIndex[certificate.name] = certificates.count - 1
    return certificates.count - 1
  }

  mutating func intern(_ bundle: TrustBundleSource) -> Int {
    if let index = trustBundleIndex[bundle.name] { return index }
    trustBundles.append(bundle)
    trustBundleIndex[bundle.name] = trustBundles.count - 1
    return trustBundles.count - 1
  }

  mutating func add(_ rule: RuleSource) -> Int {
    rules.append(rule)
    return rules.count - 1
  }

  mutating func add(_ block: RouteBlock, to slot: ListenerSlot, seniority: Seniority) {
    blocks[slot, default: []].append((seniority, block))
  }

  /// The model of everything that was gathered, for the slots that were won by listeners that can serve.
  func model(_ slots: [ListenerSlot: SlotService]) -> RoutingModel {
    var model = RoutingModel(
      rules: rules, backends: backends, certificates: certificates, trustBundles: trustBundles)
    let byPort = Dictionary(grouping: slots.keys) { Int($0.port) << 1 | ($0.kind == .udp ? 1 : 0) }
    for (_, slotsOfPort) in byPort.sorted(by: { $0.key < $1.key }) {
      let ordered = slotsOfPort.sorted { Hostname.inOrder($0.hostname, $1.hostname) }
      var names = TLSNames()
      for slot in ordered { names.reserve(slot.hostname) }
      let listeners = ordered.map { slot in
        let service = slots[slot]
        return ModelListener(
          name: service?.name ?? "", hostname: slot.hostname, proto: service?.proto ?? .http,
          options: service?.options ?? ListenerOptions(),
          tls: names.bindings(slot.hostname, service?.certificates ?? [], service?.clientValidation),
          clientValidation: service?.clientValidation,
          blocks: (blocks[slot] ?? []).sorted { $0.seniority < $1.seniority }.map(\.block))
      }
      model.sockets.append(
        ModelSocket(
          port: ordered[0].port, kind: ordered[0].kind,
          // Claims that do not agree were settled.
          proxyProtocol: ordered.compactMap { slots[$0]?.proxyProtocol }.first, listeners: listeners))
    }
    model.dropUnused()
    return model
  }
}

extension RoutingModel {
  /// Keeps only rules that an entry leads to, backends that those rules use, and certificates and trust bundles that
  /// listeners and those backends use.
  fileprivate mutating func dropUnused() {
    var usedRules: Set<Int> = []
    var usedCertificates: Set<Int> = []
    for listener in sockets.flatMap(\.listeners) {
      usedCertificates.formUnion(listener.tls.map(\.certificate))
      for entry in listener.blocks.flatMap(\.hosts.values).joined() { usedRules.insert(entry.rule) }
    }
    let rulePlaces = Self.places(usedRules)
    rules = usedRules.sorted().map { rules[$0] }
    let usedBackends = Set(rules.flatMap { $0.action.backends })
    let backendPlaces = Self.places(usedBackends)
    backends = usedBackends.sorted().map { backends[$0] }
    usedCertificates.formUnion(backends.compactMap(\.tls?.certificate))
    let usedBundles = Set(
      sockets.flatMap(\.listeners).compactMap(\.clientValidation?.trustBundle)
        + backends.compactMap(\.tls?.trustBundle))
    let certificatePlaces = Self.places(usedCertificates)
    let bundlePlaces = Self.places(usedBundles)
    certificates = usedCertificates.sorted().map { certificates[$0] }
    trustBundles = usedBundles.sorted().map { trustBundles[$0] }
    for index in backends.indices {
      guard var tls = backends[index].tls else { continue }
      tls.certificate = tls.certificate.flatMap { certificatePlaces[$0] }
      tls.trustBundle = tls.trustBundle.flatMap { bundlePlaces[$0] }
      backends[index].tls = tls
    }
    for index in rules.indices {
      guard case .forward(var shares) = rules[index].action else { continue }
      for share in shares.indices {
        shares[share].backend = shares[share].backend.flatMap { backendPlaces[$0] }
      }
      rules[index].action = .forward(shares)
    }
    for socket in sockets.indices {
      for index in sockets[socket].listeners.indices {
        sockets[socket].listeners[index].renumber(rulePlaces, certificatePlaces, bundlePlaces)
      }
    }
  }

  /// Old index → new index.
  private static func places(_ used: Set<Int>) -> [Int: Int] {
    Dictionary(uniqueKeysWithValues: used.sorted().enumerated().map { ($0.element, $0.offset) })
  }
}

extension ModelListener {
  fileprivate mutating func renumber(_ rules: [Int: Int], _ certificates: [Int: Int], _ trustBundles: [Int: Int]) {
    if let validation = clientValidation {
      clientValidation?.trustBundle = trustBundles[validation.trustBundle] ?? 0
    }
    for index in tls.indices {
      tls[index].certificate = certificates[tls[index].certificate] ?? 0
      tls[index].clientValidation = clientValidation
    }
    for index in blocks.indices {
      blocks[index].hosts = blocks[index].hosts.mapValues { entries in
        entries.map { entry in
          var entry = entry
          entry.rule = rules[entry.rule] ?? 0
          return entry
        }
      }
    }
  }
}

extension ActionSource {
  fileprivate var backends: [Int] {
    if case .forward(let shares) = self { shares.compactMap(\.backend) } else { [] }
  }
}

/// What a won slot is served with.
struct SlotService {
  /// Name of the oldest claim.
  var name: String
  var proto = ListenerProtocol.http
  var options = ListenerOptions()
  var proxyProtocol: [NetworkSource]?
  var certificates: [ListenerCertificate]
  var clientValidation: ClientValidationSource?
}

/// Deals out the server names of one socket: a listener's own hostname to its first certificate, then the
/// certificates' own names as far as the hostname covers them and nobody has them yet.
private struct TLSNames {
  private var taken: Set<Hostname> = []

  mutating func reserve(_ hostname: Hostname) { taken.insert(hostname) }

  mutating func bindings(
    _ hostname: Hostname, _ certificates: [ListenerCertificate], _ validation: ClientValidationSource?
  ) -> [TLSBinding] {
    var bindings: [TLSBinding] = []
    for (position, certificate) in certificates.enumerated() {
      var names = position == 0 ? [hostname.description] : []
      for name in certificate.names.map(Hostname.init)
      where certificates.count > 1 && !name.isAny && hostname.covers(name) && taken.insert(name).inserted {
        names.append(name.text)
      }
      if !names.isEmpty {
        bindings.append(TLSBinding(names: names, certificate: certificate.index, clientValidation: validation))
      }
    }
    return bindings
  }
}
