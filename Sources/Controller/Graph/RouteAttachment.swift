import GatewayAPI
import RoutingTable

/// Routes of the Gateway API → parents that they attach to, and their entries in the listeners.
struct RouteAttachment {
  var references: References
  /// Ours, with settled listeners.
  var gateways: [GatewayNode]
  private var indexByKey: [ResourceKey: Int] = [:]
  private(set) var nodes: [RouteNode] = []
  private var served: [ListenerSlot: SlotRoutes] = [:]
  /// Whose a rule below HTTP is.
  private var owners: [Int: ResourceKey] = [:]

  /// What is attached to one slot so far.
  private struct SlotRoutes {
    var hostsByKind: [ResourceKind: [Hostname]] = [:]
    var routes: Set<ResourceKey> = []
    var entries: [Hostname: [RankedEntry]] = [:]
    var seniority: Seniority?

    mutating func note(_ route: ResourceKey, _ hosts: [Hostname], _ gateway: Seniority) {
      if routes.insert(route).inserted { hostsByKind[route.kind, default: []] += hosts }
      seniority = min(seniority ?? gateway, gateway)
    }
  }

  /// What one route serves on one slot.
  private struct SlotHosts {
    /// Pattern → the most specific of the route's own hostnames behind it.
    var hosts: [Hostname: Hostname]
    /// TLS ends there, and bytes are served.
    var isDecrypted: Bool
  }

  init(references: References, gateways: [GatewayNode]) {
    self.references = references
    self.gateways = gateways
    for (index, gateway) in gateways.enumerated() { indexByKey[gateway.object.key] = index }
  }

  /// Attaches every route, the oldest first: of an HTTPRoute and a GRPCRoute that want one host, the older
  /// one gets it.
  mutating func attachAll(memory: inout BuildMemory, builder: inout ModelBuilder) {
    var drafts = RouteDrafts(references: references)
    let kinds: [ResourceKind] = [.httpRoute, .grpcRoute, .tlsRoute, .tcpRoute, .udpRoute]
    let objects = kinds.flatMap { references.store.all($0) }
      .map { (object: $0, identity: ObjectIdentity($0)) }
      .sorted { $0.identity.seniority < $1.identity.seniority }
    for (object, identity) in objects {
      switch object.resource {
      case .httpRoute(let route) where concernsUs(route.parentRefs, identity):
        let notices = show(route.parentRefs, identity, &drafts)
        attach(drafts.draft(route, identity, &builder), of: object, adding: notices, &memory, &builder)
      case .grpcRoute(let route) where concernsUs(route.parentRefs, identity):
        let notices = show(route.parentRefs, identity, &drafts)
        attach(drafts.draft(route, identity, &builder), of: object, adding: notices, &memory, &builder)
      case .tlsRoute(let route) where concernsUs(route.parentRefs, identity):
        let notices = show(route.parentRefs, identity, &drafts)
        attach(drafts.draft(route, identity, &builder), of: object, adding: notices, &memory, &builder)
      case .tcpRoute(let route) where concernsUs(route.parentRefs, identity):
        let notices = show(route.parentRefs, identity, &drafts)
        attach(drafts.draft(route, identity, &builder), of: object, adding: notices, &memory, &builder)
      case .udpRoute(let route) where concernsUs(route.parentRefs, identity):
        attach(drafts.draft(route, identity, &builder), of: object, &memory, &builder)
      case .httpRoute, .grpcRoute, .tlsRoute, .tcpRoute, .udpRoute:
        // No parent is ours; an entry that we once wrote is taken back.
        nodes.append(RouteNode(object: identity, parents: []))
      default: break
      }
    }
    var unreached: [ResourceKey: Set<String>] = [:]
    for (slot, routes) in served {
      let hosts = routes.entries.mapValues { entries in entries.sorted { $0.rank < $1.rank }.map(\.entry) }
      note(hosts, on: slot, &unreached)
      builder.add(
        RouteBlock(law: .fallsThrough, hosts: hosts), to: slot,
        seniority: routes.seniority ?? Seniority(created: "", namespace: "", name: ""))
    }
    for index in nodes.indices {
      guard let names = unreached[nodes[index].object.key] else { continue }
      for parent in nodes[index].parents.indices where nodes[index].parents[parent].accepted.holds {
        nodes[index].parents[parent].notices.append(.unreached(names.sorted(), "an older route has them"))
      }
    }
    nodes.sort { $0.object.key < $1.object.key }
  }

  /// Below HTTP the first of those that want a name has all of its connections.
  private func note(
    _ hosts: [Hostname: [EntrySource]], on slot: ListenerSlot, _ unreached: inout [ResourceKey: Set<String>]
  ) {
    for (pattern, entries) in hosts {
      guard let winner = entries.first.flatMap({ owners[$0.rule] }) else { continue }
      for loser in entries.compactMap({ owners[$0.rule] }) where loser != winner {
        unreached[loser, default: []].insert("\(pattern) on port \(slot.port)")
      }
    }
  }

  // MARK: one route

  private mutating func attach(
    _ draft: RouteDraft, of object: StoredObject, adding notices: [Notice] = [], _ memory: inout BuildMemory,
    _ builder: inout ModelBuilder
  ) {
    var draft = draft
    draft.notices = Notice.fields(of: object) + notices
    attach(draft, &memory, &builder)
  }

  /// Chooses what the route's backends are shown: the client certificate of its Gateways, of the first where they
  /// differ, because its rules are the same for all of them.
  private func show(
    _ parents: [ParentReference], _ route: ObjectIdentity, _ drafts: inout RouteDrafts
  ) -> [Notice] {
    let shown = parents.compactMap { gatewayKey($0, route) }.compactMap { indexByKey[$0] }
      .map { gateways[$0].clientCertificate }
    drafts.references.clientCertificate = shown.first.flatMap(\.self)
    guard Set(shown).count > 1 else { return [] }
    return [
      Notice(
        type: "ClientCertificate", reason: "GatewaysDiffer",
        message: "its Gateways show different client certificates to backends; that of the first is used")
    ]
  }

  private func gatewayKey(_ reference: ParentReference, _ route: ObjectIdentity) -> ResourceKey? {
    guard reference.group == ResourceKind.gateway.group, reference.kind == "Gateway" else { return nil }
    return ResourceKey(
      kind: .gateway, namespace: reference.namespace ?? route.key.namespace, name: reference.name)
  }

  private func isOurs(_ reference: ParentReference, _ route: ObjectIdentity) -> Bool {
    guard let key = gatewayKey(reference, route) else { return references.options.isStandalone }
    if indexByKey[key] != nil { return true }
    // With no cluster nobody else will tell the author that the Gateway is missing.
    return references.options.isStandalone && references.store[key] == nil
  }

  private func concernsUs(_ parents: [ParentReference], _ route: ObjectIdentity) -> Bool {
    parents.contains { isOurs($0, route) }
  }

  private mutating func attach(
    _ draft: RouteDraft, _ memory: inout BuildMemory, _ builder: inout ModelBuilder
  ) {
    var draft = draft
    for index in draft.rules.indices { draft.rules[index].prove(memory: &memory, place: "rules[\(index)]") }
    var slots: [ListenerSlot: SlotHosts] = [:]
    var parents: [RouteParentNode] = []
    let broken = draft.rules.flatMap(\.faults)
    let isWhollyBroken = !broken.isEmpty && draft.rules.allSatisfy { !$0.faults.isEmpty }
    for reference in draft.parentRefs where isOurs(reference, draft.object) {
      var accepted = accept(draft, reference, &slots)
      let isDecrypted = slots.values.contains(where: \.isDecrypted)
      let resolved = Verdict.resolved.with(
        faults: draft.rules.flatMap { $0.referenceFaults + (isDecrypted ? $0.decryptedFaults : []) })
      if accepted.holds && isWhollyBroken { accepted = Verdict.accepted.with(faults: broken) }
      parents.append(
        RouteParentNode(
          reference: reference, accepted: accepted, resolved: resolved,
          partiallyInvalid: isWhollyBroken
            ? nil
            : broken.first.map {
              Fault($0.reason, bounded(broken.map(\.message)) + "; its requests get 500")
            },
          notices: draft.notices))
    }
    nodes.append(RouteNode(object: draft.object, parents: parents))
    serve(draft, slots, &builder)
  }

  /// Puts the entries of an attached route into the listeners.
  private mutating func serve(
    _ draft: RouteDraft, _ slots: [ListenerSlot: SlotHosts], _ builder: inout ModelBuilder
  ) {
    if slots.isEmpty { return }
    var decrypted: [Int: Int] = [:]
    var ranked: [RankedEntry] = []
    ranked.reserveCapacity(draft.rules.count)
    for (ruleIndex, rule) in draft.rules.enumerated() where !rule.matches.isEmpty {
      let number = builder.add(rule.source)
      if let source = rule.decrypted { decrypted[number] = builder.add(source) }
      if [.tlsRoute, .tcpRoute, .udpRoute].contains(draft.object.key.kind) {
        owners[number] = draft.object.key
        if let number = decrypted[number] { owners[number] = draft.object.key }
      }
      for (matchIndex, match) in rule.matches.enumerated() {
        var entry = match.entry
        entry.rule = number
        ranked.append(
          RankedEntry(
            rank: MatchRank(
              hostname: .any, weights: match.weights, seniority: draft.object.seniority, rule: ruleIndex,
              match: matchIndex),
            entry: entry))
      }
    }
    for (slot, attached) in slots {
      for (pattern, own) in attached.hosts {
        served[slot, default: SlotRoutes()].entries[pattern, default: []] += ranked.map { entry in
          var entry = entry
          entry.rank.hostname = own
          if attached.isDecrypted { entry.entry.rule = decrypted[entry.entry.rule] ?? entry.entry.rule }
          return entry
        }
      }
    }
  }

  /// Tries every listener that the reference names.
  private mutating func accept(
    _ draft: RouteDraft, _ reference: ParentReference, _ slots: inout [ListenerSlot: SlotHosts]
  ) -> Verdict {
    guard let key = gatewayKey(reference, draft.object) else {
      return .no("UnsupportedValue", "a parent of kind \(reference.kind) is not supported; a Gateway is")
    }
    guard let index = indexByKey[key] else { return .no("NoMatchingParent", "\(key) does not exist") }
    let chosen = gateways[index].listeners.indices.filter { position in
      let listener = gateways[index].listeners[position]
      return (reference.sectionName == nil || reference.sectionName == listener.name)
        && (reference.port == nil || reference.port == Int(listener.port))
    }
    if chosen.isEmpty { return .no("NoMatchingParent", noListener(key, reference, gateways[index])) }
    var refusals: [Fault] = []
    var attached = false
    for position in chosen {
      let listener = gateways[index].listeners[position]
      do throws(Fault) {
        let (slot, hosts) = try attachment(draft, to: listener, of: gateways[index])
        gateways[index].listeners[position].attachedRoutes += 1
        attached = true
        slots[slot] = SlotHosts(hosts: hosts, isDecrypted: slot.kind == .https && listener.proto == .tcp)
        note(draft, Array(hosts.keys), on: slot, gateways[index].object.seniority)
      } catch {
        refusals.append(Fault(error.reason, "listener \(listener.name): \(error.message)"))
      }
    }
    if attached { return .accepted }
    // The reason that came furthest says most.
    let order = ["HostnameConflict", "NoMatchingListenerHostname", "NotAllowedByListeners"]
    let reason = order.first { name in refusals.contains { $0.reason == name } } ?? "NoMatchingParent"
    return .no(reason, bounded(refusals.map(\.message)))
  }

  private func noListener(_ key: ResourceKey, _ reference: ParentReference, _ gateway: GatewayNode) -> String {
    var wanted: [String] = []
    if let name = reference.sectionName { wanted.append("name \(name)") }
    if let port = reference.port { wanted.append("port \(port)") }
    let known = gateway.listeners.map { "\($0.name) (\($0.port))" }.joined(separator: ", ")
    return "\(key) has no listener with \(wanted.joined(separator: " and ")); it has \(known)"
  }

  private func attachment(
    _ draft: RouteDraft, to listener: ListenerNode, of gateway: GatewayNode
  ) throws(Fault) -> (slot: ListenerSlot, hosts: [Hostname: Hostname]) {
    let key = draft.object.key
    guard listener.supportedKinds.contains(key.kind) else {
      throw Fault("NotAllowedByListeners", "routes of kind \(key.kind.kind) are not allowed")
    }
    let isAllowed =
      switch listener.allowedNamespaces {
      case .all: true
      case .same: key.namespace == gateway.object.key.namespace
      case .selected(let selector): selector.matches(references.store.labels(ofNamespace: key.namespace))
      }
    guard isAllowed else {
      throw Fault("NotAllowedByListeners", "routes from namespace \(key.namespace) are not allowed")
    }
    guard let slot = listener.slots.first else {
      throw Fault("NotAllowedByListeners", "it is not accepted itself: \(listener.accepted.message)")
    }
    let hosts = Self.hosts(draft.hostnames, on: slot)
    guard !hosts.isEmpty else {
      let names = draft.hostnames.map(\.description).joined(separator: ", ")
      throw Fault(
        "NoMatchingListenerHostname", "its hostname \(slot.hostname) has nothing in common with \(names)")
    }
    // Below HTTP the older of two routes has what both want.
    let other: ResourceKind? = key.kind == .httpRoute ? .grpcRoute : key.kind == .grpcRoute ? .httpRoute : nil
    guard let other else { return (slot, hosts) }
    for taken in served[slot]?.hostsByKind[other] ?? [] {
      if let host = hosts.keys.sorted(by: Hostname.inOrder).first(where: { $0.intersection(taken) != nil }) {
        throw Fault(
          "HostnameConflict",
          "an older \(other.kind) already serves \(taken), which \(host) has hosts in common with")
      }
    }
    return (slot, hosts)
  }

  /// What a route serves on a listener: pattern → the most specific of the route's own hostnames behind it.
  private static func hosts(_ own: [Hostname], on slot: ListenerSlot) -> [Hostname: Hostname] {
    if own.isEmpty { return [slot.hostname: .any] }
    var hosts: [Hostname: Hostname] = [:]
    for hostname in own {
      guard let pattern = hostname.intersection(slot.hostname) else { continue }
      if let other = hosts[pattern], !hostname.isMoreSpecific(than: other) { continue }
      hosts[pattern] = hostname
    }
    return hosts
  }

  private mutating func note(
    _ draft: RouteDraft, _ hosts: [Hostname], on slot: ListenerSlot, _ gateway: Seniority
  ) {
    // In place: a copy of what is attached so far would make attaching quadratic.
    served[slot, default: SlotRoutes()].note(draft.object.key, hosts, gateway)
  }
}
