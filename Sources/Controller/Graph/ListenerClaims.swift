import GatewayAPI
import RoutingTable

/// One wish of one object: to serve this hostname on this port. Gateway listeners make one each, Istio
/// servers one for each of their hosts.
struct ListenerClaim: Sendable {
  struct ID: Hashable, Sendable {
    var owner: ResourceKey
    /// Index of the listener or server.
    var section: Int
    /// Index of the host in an Istio server; 0 otherwise.
    var host: Int
  }

  var id: ID
  var sectionName: String
  var seniority: Seniority
  var port: UInt16
  var kind: SocketKind
  var proxyProtocol: [NetworkSource]?
  var hostname: Hostname

  var isIstio: Bool { id.owner.kind == .istioGateway }
  var name: String { "\(id.owner.namespace)/\(id.owner.name)/\(sectionName)" }
}

/// The place in the model that a claim won. Claims of several Gateways may win the same one.
struct ListenerSlot: Hashable, Sendable {
  var port: UInt16
  var kind: SocketKind
  var hostname: Hostname
}

struct ClaimOutcome: Sendable {
  var slot: ListenerSlot?
  /// Set when the claim lost: HostnameConflict, ProtocolConflict or PortUnavailable.
  var conflict: Fault?
  /// Names of older claims that the slot is shared with.
  var sharedWith: [String] = []
}

/// Settles who serves what. In one Gateway no listener of a conflict wins (Gateway API: an implementation
/// must not pick a winner). Between objects the oldest wins; plain HTTP under one hostname is shared,
/// because there requests can be told apart by the routes alone.
struct ClaimCourt {
  var portMap: [UInt16: UInt16]

  func settle(_ claims: [ListenerClaim]) -> [ListenerClaim.ID: ClaimOutcome] {
    var outcomes: [ListenerClaim.ID: ClaimOutcome] = [:]
    // A port of TCP and the same of UDP have nothing to do with each other.
    for isDatagram in [false, true] {
      settle(claims.filter { ($0.kind == .udp) == isDatagram }, &outcomes)
    }
    return outcomes
  }

  private func settle(_ claims: [ListenerClaim], _ outcomes: inout [ListenerClaim.ID: ClaimOutcome]) {
    var boundBy: [UInt16: UInt16] = [:]
    for (port, rivals) in Dictionary(grouping: claims, by: \.port).sorted(by: { $0.key < $1.key }) {
      let bindPort = portMap[port] ?? port
      if let other = boundBy[bindPort] {
        let fault = Fault(
          "PortUnavailable",
          "ports \(other) and \(port) are both mapped to port \(bindPort); change --port-map")
        for claim in rivals { outcomes[claim.id] = ClaimOutcome(conflict: fault) }
        continue
      }
      boundBy[bindPort] = port
      settlePort(rivals.sorted(by: Self.inOrder), &outcomes)
    }
  }

  private static func inOrder(_ left: ListenerClaim, _ right: ListenerClaim) -> Bool {
    if left.seniority != right.seniority { return left.seniority < right.seniority }
    if left.isIstio != right.isIstio { return right.isIstio }
    return (left.id.section, left.id.host) < (right.id.section, right.id.host)
  }

  private func settlePort(
    _ claims: [ListenerClaim], _ outcomes: inout [ListenerClaim.ID: ClaimOutcome]
  ) {
    var first: ListenerClaim?
    var winners: [Hostname: [ListenerClaim]] = [:]
    let kinds = Dictionary(grouping: claims, by: \.id.owner).mapValues { Set($0.map(\.kind)) }
    let twins = Dictionary(grouping: claims.filter { !$0.isIstio }) { Twin($0) }.filter { $0.value.count > 1 }
    for claim in claims {
      if let fault = domesticConflict(claim, kinds[claim.id.owner] ?? [], twins[Twin(claim)] ?? []) {
        outcomes[claim.id] = ClaimOutcome(conflict: fault)
        continue
      }
      if let first, first.kind != claim.kind {
        outcomes[claim.id] = ClaimOutcome(conflict: Self.protocolConflict(claim.port, [first.kind, claim.kind]))
        continue
      }
      if let first, first.proxyProtocol != claim.proxyProtocol {
        outcomes[claim.id] = ClaimOutcome(
          conflict: Fault(
            "ProtocolConflict",
            "port \(claim.port) takes \(first.proxyProtocol == nil ? "no PROXY protocol" : "the PROXY protocol") "
              + "for \(first.name), and its connections begin alike for all; set "
              + "\(ListenerSettings.proxyProtocolAnnotation) alike"))
        continue
      }
      let older = winners[claim.hostname] ?? []
      if claim.kind != .http, let holder = older.first {
        let served =
          claim.kind == .https ? "\(Self.name(of: .https)) for \(claim.hostname)" : Self.name(of: claim.kind)
        outcomes[claim.id] = ClaimOutcome(
          conflict: Fault("HostnameConflict", "port \(claim.port) already serves \(served) as \(holder.name)"))
        continue
      }
      if first == nil { first = claim }
      winners[claim.hostname, default: []].append(claim)
      outcomes[claim.id] = ClaimOutcome(
        slot: ListenerSlot(port: claim.port, kind: claim.kind, hostname: claim.hostname),
        sharedWith: older.filter { $0.id.owner != claim.id.owner }.map(\.name))
    }
  }

  /// Listeners of one Gateway that cannot be told apart.
  private struct Twin: Hashable {
    var owner: ResourceKey
    var kind: SocketKind
    var hostname: Hostname

    init(_ claim: ListenerClaim) {
      owner = claim.id.owner
      kind = claim.kind
      hostname = claim.hostname
    }
  }

  private func domesticConflict(
    _ claim: ListenerClaim, _ kinds: Set<SocketKind>, _ twins: [ListenerClaim]
  ) -> Fault? {
    if kinds.count > 1 { return Self.protocolConflict(claim.port, kinds) }
    if claim.isIstio || twins.count < 2 { return nil }
    let others = twins.filter { $0.id != claim.id }.map(\.sectionName)
    return Fault(
      "HostnameConflict",
      "port \(claim.port) and hostname \(claim.hostname) are also those of listener "
        + others.joined(separator: ", "))
  }

  private static func protocolConflict(_ port: UInt16, _ kinds: Set<SocketKind>) -> Fault {
    let names = kinds.sorted { $0.rawValue < $1.rawValue }.map(name).joined(separator: " and ")
    return Fault("ProtocolConflict", "port \(port) is claimed for \(kinds.count == 2 ? "both " : "")\(names)")
  }

  private static func name(of kind: SocketKind) -> String {
    switch kind {
    case .http: "HTTP"
    case .https: "HTTPS"
    case .tcp: "TCP"
    case .udp: "UDP"
    }
  }
}
