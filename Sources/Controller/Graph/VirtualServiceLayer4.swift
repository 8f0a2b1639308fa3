import GatewayAPI
import RoutingTable

/// One entry of `tls` or `tcp` of a VirtualService, read into the neutral form.
struct IstioLayer4Draft {
  /// `tls[0]`.
  var place: String
  var isTLS: Bool
  var draft: RuleDraft
  /// Those that can be asked; empty: every connection.
  var matches: [IstioLayer4Match]
  /// Every match was left out because of a fault.
  var isUnreachable = false
  /// Of the rule in the model, once it was needed.
  var number: Int?
}

extension VirtualServiceRules {
  /// - Parameter line: the entry's place among all of the object, for `RulePlaces`.
  func draft(
    _ route: IstioLayer4Route, isTLS: Bool, _ index: Int, line: Int, _ builder: inout ModelBuilder
  ) -> IstioLayer4Draft {
    let place = "\(isTLS ? "tls" : "tcp")[\(index)]"
    var draft = RuleDraft(
      source: RuleSource(
        provenance: "\(object.key) \(place)\(places.text(line, route.position))", action: .forward([])),
      matches: [])
    var shares: [WeightedBackend] = []
    for (number, target) in route.route.enumerated() {
      // As of requests: one destination takes everything; of several, those without weight nothing.
      let weight = route.route.count == 1 ? 1 : target.weight
      if weight == 0 { continue }
      var share = WeightedBackend(backend: nil, weight: UInt32(clamping: weight))
      do throws(Fault) {
        let service = try serviceName(of: target.destination)
        // Istio's `tls` is for what passes through.
        let bytes: PlainBytes = isTLS ? .asItCame : .clear
        share.backend = builder.intern(try references.plainBackend(service, port: target.destination.port, bytes))
      } catch {
        draft.referenceFaults.append(error.at("\(place).route[\(number)].destination"))
      }
      shares.append(share)
    }
    draft.source.action = .forward(shares)
    var kept: [IstioLayer4Match] = []
    for (number, match) in route.match.enumerated() {
      if let fault = match.fault {
        draft.faults.append(fault.at("\(place).match[\(number)]"))
      } else {
        kept.append(match)
      }
    }
    return IstioLayer4Draft(
      place: place, isTLS: isTLS, draft: draft, matches: kept,
      // With every match gone the rule must not turn into one that matches everything.
      isUnreachable: kept.isEmpty && !route.match.isEmpty)
  }
}

extension IstioLayer4Match {
  /// Set when it asks what cannot be answered here; to leave out the question alone would open what it closes.
  fileprivate var fault: Fault? {
    let asked = [
      ("destinationSubnets", !destinationSubnets.isEmpty), ("sourceLabels", !sourceLabels.isEmpty),
      ("sourceNamespace", sourceNamespace != nil), ("sourceSubnet", sourceSubnet != nil),
    ].filter(\.1).map(\.0)
    if asked.isEmpty { return nil }
    return Fault(
      "UnsupportedValue",
      "\(asked.joined(separator: " and ")) cannot be asked of connections at an ingress; the match is left out")
  }
}

/// The routes of `tls` and `tcp` of all VirtualServices, in the listeners below HTTP.
///
/// In one VirtualService the first entry that matches wins. Between several the most specific name does, and of
/// equal ones the oldest object.
struct VirtualServiceLayer4 {
  private struct Source {
    var namespace: String
    var rules: [IstioLayer4Draft]
    var reached: Set<Reach> = []
  }

  private struct Reach: Hashable {
    var rule: Int
    var name: Hostname
  }

  /// An entry that may take connections of a listener.
  private struct Claim {
    var source: Int
    var rule: Int
    /// The entry's own name: a server name of `tls`, a host of the VirtualService of `tcp`.
    var name: Hostname
  }

  private var sources: [Source] = []
  /// By that part of the name that the listener has.
  private var claims: [ListenerSlot: [Hostname: [Claim]]] = [:]

  /// Takes the entries of the next VirtualService; the oldest comes first.
  mutating func add(_ rules: [IstioLayer4Draft], namespace: String) {
    sources.append(Source(namespace: namespace, rules: rules))
  }

  /// Whether the VirtualService has entries such as the server takes, be they good or bad.
  func hasRoutes(_ source: Int, for server: ListenerNode) -> Bool {
    server.kind != nil && sources[source].rules.contains { $0.isTLS == (server.proto == .tlsPassthrough) }
  }

  /// Whether some entry of the VirtualService may take connections of the server.
  ///
  /// - Parameters:
  ///   - hosts: what the hosts of both have in common.
  ///   - gateway: `namespace/name`.
  mutating func bind(_ source: Int, to server: ListenerNode, hosts: Set<Hostname>, gateway: String) -> Bool {
    var isBound = false
    for (number, rule) in sources[source].rules.enumerated()
    where rule.isTLS == (server.proto == .tlsPassthrough) && !rule.isUnreachable {
      let holding = rule.matches.filter { $0.holds(port: server.port, gateway, sources[source].namespace) }
      if holding.isEmpty && !rule.matches.isEmpty { continue }
      for slot in server.slots {
        for (name, pattern) in Self.names(rule, holding, hosts, slot) {
          claims[slot, default: [:]][pattern, default: []].append(Claim(source: source, rule: number, name: name))
          isBound = true
        }
      }
    }
    return isBound
  }

  private static func names(
    _ rule: IstioLayer4Draft, _ matches: [IstioLayer4Match], _ hosts: Set<Hostname>, _ slot: ListenerSlot
  ) -> [(name: Hostname, pattern: Hostname)] {
    // Without TLS no name is said: whatever hosts they have in common, they have in common all connections.
    if slot.kind == .tcp { return [(.any, .any)] }
    let names = rule.isTLS ? Set(matches.flatMap(\.sniHosts).map(Hostname.init)) : hosts
    return names.compactMap { name in
      guard let pattern = name.intersection(slot.hostname), hosts.contains(where: { $0.covers(pattern) }) else {
        return nil
      }
      return (name, pattern)
    }
  }

  /// What each listener serves, once all are bound: by name all that want it, the one that has it first.
  mutating func entries(_ builder: inout ModelBuilder) -> [(slot: ListenerSlot, hosts: [Hostname: [EntrySource]])] {
    let ordered = claims.sorted { left, right in
      left.key.port == right.key.port
        ? Hostname.inOrder(left.key.hostname, right.key.hostname) : left.key.port < right.key.port
    }
    return ordered.map { slot, claims in
      var hosts: [Hostname: [EntrySource]] = [:]
      for pattern in claims.keys.sorted(by: Hostname.inOrder) {
        let rivals = Self.inOrder(pattern.coveringPatterns.flatMap { claims[$0] ?? [] })
        guard let winner = rivals.first else { continue }
        sources[winner.source].reached.insert(Reach(rule: winner.rule, name: winner.name))
        hosts[pattern] = rivals.map { EntrySource(rule: number(of: $0, &builder)) }
      }
      return (slot, hosts)
    }
  }

  private mutating func number(of claim: Claim, _ builder: inout ModelBuilder) -> Int {
    let rule = sources[claim.source].rules[claim.rule]
    let number = rule.number ?? builder.add(rule.draft.source)
    sources[claim.source].rules[claim.rule].number = number
    return number
  }

  /// Those of one VirtualService stay together, in the order of its list.
  private static func inOrder(_ claims: [Claim]) -> [Claim] {
    let lists = Dictionary(grouping: claims, by: \.source).values.map { rivals in
      rivals.sorted { $0.rule == $1.rule ? Hostname.inOrder($0.name, $1.name) : $0.rule < $1.rule }
    }
    let ordered = lists.sorted { left, right in
      if left[0].name.isMoreSpecific(than: right[0].name) { return true }
      if right[0].name.isMoreSpecific(than: left[0].name) { return false }
      return left[0].source < right[0].source
    }
    return ordered.flatMap(\.self)
  }

  /// Entries of a VirtualService that take no connection, though nothing is wrong with them: `tls[1] for a.b`.
  func unreached(_ source: Int) -> [String] {
    let reached = sources[source].reached
    return sources[source].rules.enumerated().compactMap { number, rule in
      if rule.isUnreachable { return nil }
      guard rule.isTLS else { return reached.contains { $0.rule == number } ? nil : rule.place }
      let names = Set(rule.matches.flatMap(\.sniHosts).map(Hostname.init))
        .filter { !reached.contains(Reach(rule: number, name: $0)) }
      if names.isEmpty { return nil }
      return "\(rule.place) for \(names.sorted(by: Hostname.inOrder).map(\.description).joined(separator: ", "))"
    }
  }
}

extension IstioLayer4Match {
  /// What the entry point alone answers.
  fileprivate func holds(port: UInt16, _ gateway: String, _ namespace: String) -> Bool {
    if let wanted = self.port, wanted != Int(port) { return false }
    return gateways.isEmpty || gateways.contains { ($0.contains("/") ? $0 : "\(namespace)/\($0)") == gateway }
  }
}
