import GatewayAPI
import RoutingTable

/// What one build gathers for the model, each thing once.
struct ModelBuilder {
  private(set) var rules: [RuleSource] = []
  private(set) var backends: [ModelBackend] = []
  private(set) var certificates: [CertificateSource] = []
  /// Blocks of each listener, in the order in which they were made.
  private(set) var blocks: [ListenerSlot: [(seniority: Seniority, block: RouteBlock)]] = [:]
  private var backendIndex: [String: Int] = [:]
  private var certificateIndex: [String: Int] = [:]

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

  mutating func add(_ rule: RuleSource) -> Int {
    rules.append(rule)
    return rules.count - 1
  }

  mutating func add(_ block: RouteBlock, to slot: ListenerSlot, seniority: Seniority) {
    blocks[slot, default: []].append((seniority, block))
  }

  /// The model of everything that was gathered, for the slots that were won by listeners that can serve.
  func model(_ slots: [ListenerSlot: SlotService]) -> RoutingModel {
    var model = RoutingModel(rules: rules, backends: backends, certificates: certificates)
    let byPort = Dictionary(grouping: slots.keys, by: \.port)
    for (port, slotsOfPort) in byPort.sorted(by: { $0.key < $1.key }) {
      let ordered = slotsOfPort.sorted { Hostname.inOrder($0.hostname, $1.hostname) }
      var names = TLSNames()
      for slot in ordered { names.reserve(slot.hostname) }
      let listeners = ordered.map { slot in
        let service = slots[slot]
        return ModelListener(
          name: service?.name ?? "", hostname: slot.hostname,
          tls: names.bindings(slot.hostname, service?.certificates ?? []),
          blocks: (blocks[slot] ?? []).sorted { $0.seniority < $1.seniority }.map(\.block))
      }
      model.sockets.append(ModelSocket(port: port, kind: ordered[0].kind, listeners: listeners))
    }
    return model
  }
}

/// What a won slot is served with.
struct SlotService {
  /// Name of the oldest claim.
  var name: String
  var certificates: [ListenerCertificate]
}

/// Deals out the server names of one socket: a listener's own hostname to its first certificate, then the
/// certificates' own names as far as the hostname covers them and nobody has them yet.
private struct TLSNames {
  private var taken: Set<Hostname> = []

  mutating func reserve(_ hostname: Hostname) { taken.insert(hostname) }

  mutating func bindings(_ hostname: Hostname, _ certificates: [ListenerCertificate]) -> [TLSBinding] {
    var bindings: [TLSBinding] = []
    for (position, certificate) in certificates.enumerated() {
      var names = position == 0 ? [hostname.description] : []
      for name in certificate.names.map(Hostname.init)
      where certificates.count > 1 && !name.isAny && hostname.covers(name) && taken.insert(name).inserted {
        names.append(name.text)
      }
      if !names.isEmpty { bindings.append(TLSBinding(names: names, certificate: certificate.index)) }
    }
    return bindings
  }
}
