public import RoutingTable

/// How urgent a line of the controller's log is.
public enum ControllerLogLevel: Sendable { case debug, info, warning, error }
public typealias ControllerLog = @Sendable (ControllerLogLevel, String) -> Void

/// Turns events into snapshots and statuses: gathers a short burst of them, builds the graph, publishes what
/// changed, and writes the conditions that changed. All of the deciding is in the stages; here is the order.
public actor ControllerLoop {
  private let source: any ResourceSource
  private let statusWriter: any StatusWriter
  private let publisher: any SnapshotPublishing
  private let resolver: any HostResolving
  private let clock: any WallClock
  private let options: ControllerOptions
  private let log: ControllerLog

  private var store = ResourceStore()
  /// The listing that is under way.
  private var listing: ResourceStore?
  private var isListed = false
  private var graph = Graph()
  private var memory = BuildMemory()
  private var planner = SnapshotPlanner()
  private var dataPlane = DataPlaneState()
  private var hosts = HostTable()
  private var image: LoadedImage?

  private var change = StoreChange()
  private var hostsChanged = false
  private var needsStatus = false
  private var isScheduled = false
  private var isFlushing = false

  public init(
    source: any ResourceSource, statusWriter: any StatusWriter, publisher: any SnapshotPublishing,
    options: ControllerOptions, resolver: any HostResolving = SystemResolver(),
    clock: any WallClock = SystemWallClock(), log: @escaping ControllerLog = { _, _ in }
  ) {
    self.source = source
    self.statusWriter = statusWriter
    self.publisher = publisher
    self.options = options
    self.resolver = resolver
    self.clock = clock
    self.log = log
  }

  /// Runs until the task is cancelled or the source ends.
  public func run() async {
    let resources = source.events()
    let answers = publisher.events
    await withTaskGroup(of: Void.self) { group in
      group.addTask {
        for await event in resources { await self.take(event) }
      }
      group.addTask {
        for await event in answers { await self.take(event) }
      }
      group.addTask { await self.refreshHosts() }
      // The source's end, or cancellation, ends the rest.
      await group.next()
      group.cancelAll()
    }
  }

  // MARK: events

  func take(_ event: ResourceEvent) {
    switch event {
    case .initialize: listing = ResourceStore()
    case .initApply(let object): listing?.apply(object)
    case .initDone:
      guard let whole = listing else { return }
      store = whole
      listing = nil
      isListed = true
      change.needsBuild = true
    case .apply(let object):
      change.note(store[object.key], object)
      store.apply(object)
      listing?.apply(object)
    case .delete(let key):
      change.note(store[key], nil)
      store.delete(key)
      listing?.delete(key)
    }
    schedule()
  }

  func take(_ event: PublisherEvent) {
    switch event {
    case .connected(let instance): log(.info, "data plane \(instance) connected")
    case .disconnected(let instance): log(.warning, "data plane \(instance) disconnected")
    case .nack(let instance, let revision, let sequence, let reason):
      log(.error, "data plane \(instance) refused revision \(revision) (endpoints \(sequence)): \(reason)")
    case .ack(let instance, let revision, let sequence, _):
      log(.debug, "data plane \(instance) serves revision \(revision) (endpoints \(sequence))")
    }
    if dataPlane.note(event) {
      needsStatus = true
      schedule()
    }
  }

  /// Waits for a burst to be over, as long as that takes only milliseconds.
  private func schedule() {
    guard !isScheduled, isListed else { return }
    isScheduled = true
    let wait = Duration.milliseconds(options.debounceMilliseconds)
    Task {
      try? await Task.sleep(for: wait)
      await self.flush()
    }
  }

  // MARK: the pipeline

  private func flush() async {
    isScheduled = false
    // Publishing and writing let other work in; whoever is at it takes what came meanwhile.
    if isFlushing { return }
    isFlushing = true
    while change.needsBuild || !change.services.isEmpty || hostsChanged || needsStatus {
      let work = change
      change = StoreChange()
      let lookedUp = hostsChanged
      hostsChanged = false
      if work.needsBuild {
        await rebuild()
      } else if lookedUp || !work.services.isEmpty {
        await updateEndpoints(of: lookedUp ? nil : work.services)
      }
      if work.needsBuild || needsStatus {
        needsStatus = false
        await writeStatus()
      }
    }
    isFlushing = false
  }

  private func rebuild() async {
    graph = Graph.build(store, options, memory: &memory)
    let resolution = EndpointResolution(store: store, hosts: hosts.addresses)
    ask(for: graph.model.backends, resolution)
    let table = TableCompiler.table(
      graph.model, revision: 0, bindAddress: options.bindAddress, portMap: options.portMap,
      endpoints: resolution.endpoints)
    let step = planner.plan(table, now: clock.milliseconds)
    guard case .snapshot(let table) = step else {
      dataPlane.compileRefusal = nil
      dataPlane.publish(revision: planner.revision, versions: graph.versions)
      await publish(step)
      return
    }
    do throws(TableError) {
      let bytes = try RoutingTable.compile(table)
      image = try Self.load(bytes)
      planner.commit(table)
      dataPlane.compileRefusal = nil
      dataPlane.publish(revision: table.revision, versions: graph.versions)
      log(.info, "snapshot \(table.revision): \(table.rules.count) rules, \(bytes.count) bytes")
      await publisher.publish(revision: table.revision, image: bytes)
    } catch {
      dataPlane.compileRefusal = "the table does not compile: \(error)"
      log(.error, "the table does not compile, the last good one stays: \(error)")
    }
  }

  /// What the data plane will check is checked here first.
  private static func load(_ bytes: [UInt8]) throws(TableError) -> LoadedImage {
    do throws(ImageError) {
      return try LoadedImage(bytes)
    } catch {
      throw TableError("image", "\(error)")
    }
  }

  /// Routes stay as they are; nil means every backend.
  private func updateEndpoints(of services: Set<ServiceName>?) async {
    let resolution = EndpointResolution(store: store, hosts: hosts.addresses)
    let concerned = graph.model.backends.filter { backend in
      guard let services else { return true }
      guard case .slices(let service, _, _) = backend.origin else { return false }
      return services.contains(service)
    }
    ask(for: concerned, resolution)
    await publish(planner.plan(endpoints: concerned.map { ($0.id, resolution.endpoints(of: $0)) }))
  }

  private func publish(_ step: SnapshotPlanner.Step) async {
    guard case .endpoints(let change) = step else { return }
    log(.debug, "endpoints \(change.sequence) of snapshot \(change.revision)")
    await publisher.publishEndpoints(change)
  }

  private func writeStatus() async {
    let patches = StatusStage(
      graph: graph, store: store, dataPlane: dataPlane, addresses: options.statusAddresses,
      now: clock.timestamp
    ).patches()
    if !patches.isEmpty { await statusWriter.write(patches) }
  }

  // MARK: host names

  private func ask(for backends: [ModelBackend], _ resolution: EndpointResolution) {
    for name in hosts.unasked(backends.flatMap(resolution.hostNames)) { look(up: name) }
  }

  private func look(up name: String) {
    let resolver = self.resolver
    Task {
      let found = await resolver.addresses(of: name)
      self.resolved(name, found)
    }
  }

  private func resolved(_ name: String, _ addresses: [String]) {
    if addresses.isEmpty { log(.warning, "no address for the host \(name); the last known stay in use") }
    if hosts.note(name, addresses) {
      hostsChanged = true
      schedule()
    }
  }

  private func refreshHosts() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: .seconds(options.resolveIntervalSeconds))
      let resolution = EndpointResolution(store: store, hosts: hosts.addresses)
      hosts.keep(only: Set(graph.model.backends.flatMap(resolution.hostNames)))
      for name in hosts.names { look(up: name) }
    }
  }

  // MARK: questions

  /// The revision of the current snapshot; 0 before the first.
  public var currentRevision: UInt64 { planner.revision }

  /// What the current image does with a request, a connection or datagrams to that port; nil when nothing is served
  /// there.
  public func explain(_ subject: ExplainSubject, port: UInt16) -> Explanation? {
    guard let image else { return nil }
    var explanation: Explanation?
    image.withImage { view in
      for index in 0..<view.socketCount {
        let socket = view.socket(index)
        guard socket.port == port, subject.isFor(socket.kind) else { continue }
        explanation = view.explain(socket: index, subject)
        return
      }
    }
    return explanation.map(withCurrentEndpoints).map { withRivals($0, port) }
  }

  /// Below HTTP the image holds only who has a name. Who else wants it, the model knows.
  private func withRivals(_ explanation: Explanation, _ port: UInt16) -> Explanation {
    guard explanation.serves != .http, let winner = explanation.match?.rule, let pattern = explanation.virtualHost,
      let socket = graph.model.sockets.first(where: { $0.port == port && $0.kind == explanation.kind }),
      let listener = socket.listeners.first(where: { $0.name == explanation.listener })
    else { return explanation }
    var explanation = explanation
    let named = Set(explanation.passedOver.filter { $0.failures.first?.predicate == "precedence" }.map(\.rule))
    let rivals = TableCompiler.entries(of: listener, for: Hostname(pattern)).dropFirst().prefix(20)
      .map { graph.model.rules[$0.rule].provenance }.filter { !named.contains($0) }
    explanation.passedOver =
      rivals.enumerated().map { index, rule in
        Explanation.Candidate(
          position: index + 1, matcher: explanation.match?.matcher ?? "", rule: rule,
          failures: [
            Explanation.Failure(predicate: "precedence", wanted: "the first place", got: "one after \(winner)")
          ])
      } + explanation.passedOver
    return explanation
  }

  /// The ports of the current image, for a question that named another.
  public var servedPorts: [UInt16] {
    graph.model.sockets.map(\.port)
  }

  /// The image holds the endpoints of its own time; later changes went out apart.
  private func withCurrentEndpoints(_ explanation: Explanation) -> Explanation {
    guard var match = explanation.match, case .forward(var backends) = match.action else {
      return explanation
    }
    for index in backends.indices {
      guard let id = backends[index].id, let current = planner.endpoints(of: id) else { continue }
      backends[index].endpoints = current.map {
        Explanation.Endpoint(
          address: $0.address, port: $0.port, weight: $0.weight, isReady: $0.isReady,
          isTerminating: $0.isTerminating)
      }
    }
    match.action = .forward(backends)
    var explanation = explanation
    explanation.match = match
    return explanation
  }
}

extension ControllerOptions {
  /// What Gateways say about where they are.
  var statusAddresses: [String] {
    if !gatewayAddresses.isEmpty { return gatewayAddresses }
    switch bindAddress {
    case "", "0.0.0.0": return ["127.0.0.1"]
    case "::": return ["::1"]
    default: return [bindAddress]
    }
  }
}
