import GatewayAPI
import RoutingTable

/// VirtualServices → Istio Gateways that they are bound to, and their entries in the listeners.
///
/// Plain HTTP servers of one port are one listener in Istio, whoever owns them: what a VirtualService is
/// bound to decides which hosts it serves, not which server's listener finds it. HTTPS servers stand alone. What
/// is served below HTTP is in `VirtualServiceLayer4`.
struct VirtualServiceStage {
  var references: References
  /// With settled servers.
  var gateways: [IstioGatewayNode]
  private var indexByName: [String: Int] = [:]
  private var httpSlots: [UInt16: [ListenerSlot]] = [:]
  private(set) var nodes: [VirtualServiceNode] = []
  private var sources: [Source] = []
  private var bindings: [ListenerSlot: [Binding]] = [:]
  private var layer4 = VirtualServiceLayer4()

  /// One VirtualService with its rules; the oldest comes first.
  private struct Source {
    var namespace: String
    var rules: [IstioRuleDraft]
    /// Numbers of the rules in the model, once they were needed.
    var numbers: [Int]?
    /// What of it nothing comes to.
    var unreached: [String] = []
  }

  private struct Binding {
    var source: Int
    /// The host that the VirtualService serves (its own, narrowed to the server's).
    var host: Hostname
    /// That host, narrowed to the listener.
    var pattern: Hostname
    var gateway: String
  }

  /// What came of binding one VirtualService.
  private struct Bound {
    var requests = false
    var connections = false
    /// Some server that takes routes such as it has serves a host of it.
    var hasHostsInCommon = false
    /// What such servers serve.
    var served: Set<String> = []
  }

  init(references: References, gateways: [IstioGatewayNode]) {
    self.references = references
    self.gateways = gateways
    for (index, gateway) in gateways.enumerated() {
      indexByName[gateway.object.name] = index
      for slot in gateway.servers.flatMap(\.slots) where slot.kind == .http {
        if httpSlots[slot.port]?.contains(slot) != true { httpSlots[slot.port, default: []].append(slot) }
      }
    }
  }

  mutating func attachAll(memory: inout BuildMemory, builder: inout ModelBuilder) {
    let objects = references.store.all(.virtualService)
      .map { (object: $0, identity: ObjectIdentity($0)) }
      .sorted { $0.identity.seniority < $1.identity.seniority }
    for (object, _) in objects {
      guard case .virtualService(let service) = object.resource else { continue }
      attach(service, object, &memory, &builder)
    }
    let redirecting = addRedirects(&builder)
    let ordered = bindings.sorted { left, right in
      left.key.port == right.key.port
        ? Hostname.inOrder(left.key.hostname, right.key.hostname) : left.key.port < right.key.port
    }
    for (slot, bound) in ordered where !redirecting.contains(slot) {
      let hosts = entries(slot, bound, &memory, &builder)
      if let oldest = oldestOwner(of: slot) {
        builder.add(RouteBlock(law: .mostSpecificOnly, hosts: hosts), to: slot, seniority: oldest.seniority)
      }
    }
    for (slot, hosts) in layer4.entries(&builder) {
      guard let owner = oldestOwner(of: slot) else { continue }
      builder.add(RouteBlock(law: .mostSpecificOnly, hosts: hosts), to: slot, seniority: owner.seniority)
    }
    for source in nodes.indices where nodes[source].accepted.holds {
      let unreached = sources[source].unreached + layer4.unreached(source)
      let why = "others come first, or no server of its gateways has such connections"
      if !unreached.isEmpty { nodes[source].notices.append(.unreached(unreached, why)) }
    }
    nodes.sort { $0.object.key < $1.object.key }
  }

  // MARK: one VirtualService

  private mutating func attach(
    _ service: VirtualService, _ stored: StoredObject, _ memory: inout BuildMemory,
    _ builder: inout ModelBuilder
  ) {
    let object = ObjectIdentity(stored)
    var references = references
    references.requestHost = Hostname.only(of: service.hosts)
    let ingest = VirtualServiceRules(
      references: references, object: object, places: RulePlaces(service.metadata, service.origin))
    var rules: [IstioRuleDraft] = []
    for (index, route) in service.http.enumerated() {
      var rule = ingest.draft(route, index, &builder)
      rule.draft.prove(memory: &memory, place: "http[\(index)]")
      checkMatches(&rule, "http[\(index)]", &memory)
      rules.append(rule)
    }
    let connections = layer4Rules(service, ingest, &memory, &builder)
    let drafts = rules.map(\.draft) + connections.map(\.draft)
    var node = VirtualServiceNode(
      object: object, accepted: .accepted, resolved: .resolved, partiallyInvalid: nil,
      notices: Notice.fields(of: stored))
    var referenceFaults = drafts.flatMap(\.referenceFaults)
    var names = service.gateways.isEmpty ? ["mesh"] : service.gateways
    if names.contains("mesh") {
      names.removeAll { $0 == "mesh" }
      node.notices.append(
        Notice(
          type: "MeshIgnored", reason: "NotSupported", message: "the gateway mesh is not served by an ingress"
        ))
    }
    let known = names.map { $0.contains("/") ? $0 : "\(object.key.namespace)/\($0)" }.filter { name in
      if indexByName[name] != nil { return true }
      referenceFaults.append(Fault("GatewayNotFound", "Istio Gateway \(name) does not exist"))
      return false
    }
    let hosts = service.hosts.map(Hostname.init)
    sources.append(Source(namespace: object.key.namespace, rules: rules))
    layer4.add(connections, namespace: object.key.namespace)
    var bound = Bound()
    for name in known { bind(name, hosts, source: sources.count - 1, &bound) }
    if !rules.isEmpty, !bound.requests { sources[sources.count - 1].unreached = ["http"] }
    let broken = drafts.flatMap(\.faults)
    let isWhollyBroken =
      !broken.isEmpty && rules.allSatisfy { !$0.draft.faults.isEmpty } && connections.allSatisfy(\.isUnreachable)
    if let refusal = refusal(service, names, known, bound, isWhollyBroken) {
      node.accepted = refusal
    } else if isWhollyBroken {
      node.accepted = node.accepted.with(faults: broken)
    } else if let first = broken.first {
      node.partiallyInvalid = Fault(first.reason, bounded(broken.map(\.message)))
    }
    node.resolved = node.resolved.with(faults: referenceFaults)
    nodes.append(node)
  }

  private func layer4Rules(
    _ service: VirtualService, _ ingest: VirtualServiceRules, _ memory: inout BuildMemory,
    _ builder: inout ModelBuilder
  ) -> [IstioLayer4Draft] {
    let routes =
      service.tls.enumerated().map { ($0.element, $0.offset, true) }
      + service.tcp.enumerated().map { ($0.element, $0.offset, false) }
    return routes.enumerated().map { line, route in
      var rule = ingest.draft(
        route.0, isTLS: route.2, route.1, line: service.http.count + line, &builder)
      rule.draft.prove(memory: &memory, place: rule.place)
      // Below HTTP nobody could be told 500.
      if case .forward = rule.draft.source.action {} else { rule.isUnreachable = true }
      return rule
    }
  }

  private func refusal(
    _ service: VirtualService, _ names: [String], _ known: [String], _ bound: Bound, _ isWhollyBroken: Bool
  ) -> Verdict? {
    let fields = [("http", !service.http.isEmpty), ("tls", !service.tls.isEmpty), ("tcp", !service.tcp.isEmpty)]
      .filter(\.1).map(\.0).joined(separator: " or ")
    if fields.isEmpty {
      return .no("UnsupportedValue", "it has no routes, neither of http nor of tls nor of tcp")
    }
    if service.hosts.isEmpty {
      return .no(
        "UnsupportedValue", "without hosts it is for others to delegate to, which is not supported yet")
    }
    if names.isEmpty {
      return .no("NoMatchingParent", "it names no gateway but mesh; name one in spec.gateways")
    }
    if known.isEmpty { return .no("NoMatchingParent", "none of its gateways exists") }
    if bound.requests || bound.connections { return nil }
    let list = known.joined(separator: ", ")
    if bound.served.isEmpty {
      return .no(
        "NoMatchingParent",
        "no server of \(list) takes routes of \(fields): http is for HTTP and HTTPS, tls for the mode PASSTHROUGH, "
          + "tcp for TCP and for TLS that ends here")
    }
    if bound.hasHostsInCommon {
      // What is wrong with its matches says more.
      if isWhollyBroken { return nil }
      return .no("NoMatchingParent", "no match of \(fields) holds at a server of \(list), by its port and gateways")
    }
    return .no(
      "NoMatchingListenerHostname",
      "no server of \(list) serves its hosts for \(fields); they serve "
        + bound.served.sorted().joined(separator: ", "))
  }

  /// Matches that cannot be asked at any entry point, or that the table refuses, are left out and reported.
  private func checkMatches(_ rule: inout IstioRuleDraft, _ place: String, _ memory: inout BuildMemory) {
    let point = { (kind: SocketKind, port: Int) in
      IstioEntryPoint(
        slot: ListenerSlot(port: UInt16(clamping: port), kind: kind, hostname: .any), gateways: [],
        namespace: "")
    }
    var kept: [IstioHTTPMatch] = []
    for (index, match) in rule.matches.enumerated() {
      var probe = match
      probe.gateways = []
      do throws(Fault) {
        for kind in [SocketKind.http, .https] {
          for entry in try probe.entries(at: point(kind, match.port ?? 80))
          where !memory.soundEntries.contains(entry) {
            if let problem = entry.problem { throw Fault("UnsupportedValue", problem.description) }
            memory.soundEntries.insert(entry)
          }
        }
        kept.append(match)
      } catch {
        rule.draft.faults.append(error.at("\(place).match[\(index)]"))
      }
    }
    // With every match gone the rule must not turn into one that matches everything.
    if kept.isEmpty && !rule.matches.isEmpty { rule.isUnreachable = true }
    rule.matches = kept
  }

  /// Binds to every server of the Gateway whose hosts have something in common and that takes some of its routes.
  private mutating func bind(_ name: String, _ hosts: [Hostname], source: Int, _ bound: inout Bound) {
    guard let index = indexByName[name] else { return }
    for position in gateways[index].servers.indices {
      let server = gateways[index].servers[position]
      let isForRequests = server.proto == .http
      guard isForRequests ? !sources[source].rules.isEmpty : layer4.hasRoutes(source, for: server) else { continue }
      bound.served.formUnion(server.hosts.map(\.description))
      var found: Set<Hostname> = []
      for offer in server.hosts where offer.namespace == nil || offer.namespace == sources[source].namespace {
        guard server.serves(offer) else { continue }
        found.formUnion(hosts.compactMap { $0.intersection(offer.hostname) })
      }
      if found.isEmpty { continue }
      bound.hasHostsInCommon = true
      if isForRequests {
        bound.requests = true
        bindRequests(source, to: server, found, gateway: name)
      } else {
        guard layer4.bind(source, to: server, hosts: found, gateway: name) else { continue }
        bound.connections = true
      }
      gateways[index].servers[position].attachedRoutes += 1
    }
  }

  private mutating func bindRequests(
    _ source: Int, to server: ListenerNode, _ hosts: Set<Hostname>, gateway: String
  ) {
    let slots = server.kind == .http ? httpSlots[server.port] ?? [] : server.slots
    for slot in slots {
      for host in hosts {
        guard let pattern = host.intersection(slot.hostname) else { continue }
        bindings[slot, default: []].append(
          Binding(source: source, host: host, pattern: pattern, gateway: gateway))
      }
    }
  }

  // MARK: one listener

  private func oldestOwner(of slot: ListenerSlot) -> ObjectIdentity? {
    gateways.filter { $0.servers.contains { $0.slots.contains(slot) } }
      .map(\.object).min { $0.seniority < $1.seniority }
  }

  /// Servers with `httpsRedirect` answer 301 to everything.
  private func addRedirects(_ builder: inout ModelBuilder) -> Set<ListenerSlot> {
    var redirecting: Set<ListenerSlot> = []
    for gateway in gateways {
      for server in gateway.servers where server.redirectsToHTTPS {
        for slot in server.slots where oldestOwner(of: slot)?.key == gateway.object.key {
          guard redirecting.insert(slot).inserted else { continue }
          let rule = builder.add(
            RuleSource(
              provenance: "\(gateway.object.key) server \(server.name) httpsRedirect",
              action: .redirect(RedirectSource(scheme: "https", port: .schemeDefault, status: 301))))
          builder.add(
            RouteBlock(law: .mostSpecificOnly, hosts: [slot.hostname: [EntrySource(rule: rule)]]), to: slot,
            seniority: gateway.object.seniority)
        }
      }
    }
    return redirecting
  }

  private mutating func entries(
    _ slot: ListenerSlot, _ bound: [Binding], _ memory: inout BuildMemory, _ builder: inout ModelBuilder
  ) -> [Hostname: [EntrySource]] {
    var hosts: [Hostname: [EntrySource]] = [:]
    for (pattern, rivals) in Dictionary(grouping: bound, by: \.pattern)
      .sorted(by: { Hostname.inOrder($0.key, $1.key) })
    {
      // Where a wildcard and a name come down to one pattern, the name decides alone.
      guard let best = rivals.map(\.host).min(by: Hostname.inOrder) else { continue }
      let winners = rivals.filter { $0.host == best }
      let order = Set(winners.map(\.source)).sorted()
      var list: [EntrySource] = []
      var catchAlls: [EntrySource] = []
      for source in order {
        let point = IstioEntryPoint(
          slot: slot, gateways: Set(winners.filter { $0.source == source }.map(\.gateway)),
          namespace: sources[source].namespace)
        for entry in entries(source, at: point, &builder) {
          // Alone, the list order stands; merged, what matches everything goes to the end.
          if order.count > 1 && entry.isCatchAll { catchAlls.append(entry) } else { list.append(entry) }
        }
      }
      hosts[pattern] = list + catchAlls
    }
    return hosts
  }

  /// The entries of one VirtualService in list order, up to the first that matches everything.
  private mutating func entries(
    _ source: Int, at point: IstioEntryPoint, _ builder: inout ModelBuilder
  ) -> [EntrySource] {
    let numbers = sources[source].numbers ?? sources[source].rules.map { builder.add($0.draft.source) }
    sources[source].numbers = numbers
    var list: [EntrySource] = []
    for (rule, number) in zip(sources[source].rules, numbers) where !rule.isUnreachable {
      if rule.matches.isEmpty {
        list.append(EntrySource(rule: number))
        return list
      }
      for match in rule.matches {
        // What cannot be asked was left out before.
        for var entry in (try? match.entries(at: point)) ?? [] {
          entry.rule = number
          list.append(entry)
          if entry.isCatchAll { return list }
        }
      }
    }
    return list
  }
}

extension ListenerNode {
  /// Whether it won what it serves this host with.
  fileprivate func serves(_ offer: ServerHost) -> Bool {
    kind == .tcp ? !slots.isEmpty : slots.contains { $0.hostname == offer.hostname }
  }
}
