import GatewayAPI

/// One version of one object: what "the data plane has this" is said about.
struct ObjectVersion: Hashable, Sendable {
  var key: ResourceKey
  var uid: String
  var generation: Int64
}

/// What the data planes said so far. An input of Status like the graph is; a value.
struct DataPlaneState: Sendable {
  struct Instance: Sendable {
    var acked: UInt64 = 0
    var sockets: [SocketReport] = []
    /// Revision and reason of a refusal that no later ack has answered.
    var refusal: (revision: UInt64, reason: String)?
  }

  /// What is to be served now; 0 before the first snapshot.
  private(set) var published: UInt64 = 0
  private(set) var instances: [String: Instance] = [:]
  /// The versions that were in the newest snapshot that every connected data plane acknowledged.
  private(set) var programmed: Set<ObjectVersion> = []
  private var inPublished: Set<ObjectVersion> = []
  /// Why the compiler refused the newest table; nil when it did not.
  var compileRefusal: String?

  /// A snapshot went out, or the objects changed in a way that the current one already serves.
  mutating func publish(revision: UInt64, versions: Set<ObjectVersion>) {
    published = revision
    inPublished = versions
    noteProgrammed()
  }

  /// True when the event changes what Status says.
  mutating func note(_ event: PublisherEvent) -> Bool {
    switch event {
    case .connected(let instance):
      if instances[instance] == nil { instances[instance] = Instance() }
    case .ack(let instance, let revision, let sequence, let sockets):
      // An endpoint change says nothing new about sockets or objects.
      if sequence > 0 && instances[instance]?.acked == revision && instances[instance]?.refusal == nil {
        return false
      }
      var entry = instances[instance] ?? Instance()
      entry.acked = revision
      entry.sockets = sockets
      if let refusal = entry.refusal, refusal.revision <= revision { entry.refusal = nil }
      instances[instance] = entry
    case .nack(let instance, let revision, _, let reason):
      instances[instance, default: Instance()].refusal = (revision, reason)
    case .disconnected(let instance):
      instances[instance] = nil
    }
    noteProgrammed()
    return true
  }

  private mutating func noteProgrammed() {
    if isAcknowledged { programmed = inPublished }
  }

  /// Every connected data plane, and at least one, serves the current snapshot.
  var isAcknowledged: Bool {
    published > 0 && !instances.isEmpty && instances.values.allSatisfy { $0.acked == published }
  }

  /// Why the newest configuration is not in use although it was sent; nil when nothing was refused.
  var refusal: String? {
    if let compileRefusal { return compileRefusal }
    for (name, instance) in instances.sorted(by: { $0.key < $1.key }) {
      if let refusal = instance.refusal {
        return "data plane \(name) refused revision \(refusal.revision): \(refusal.reason)"
      }
    }
    return nil
  }

  /// What became of a listener port in the data planes that reported; nil when none named it.
  func socket(port: UInt16) -> SocketReport? {
    let reports = instances.sorted { $0.key < $1.key }.flatMap(\.value.sockets).filter { $0.port == port }
    return reports.first { $0.failure != nil } ?? reports.first
  }

  /// Whether one listener of an object serves.
  func programmed(_ version: ObjectVersion, port: UInt16) -> Verdict {
    guard programmed.contains(version) else { return pending(version) }
    guard let report = socket(port: port) else {
      return instances.isEmpty
        ? .yes("Programmed", "as last acknowledged; no data plane is connected now")
        : .no("Pending", "no data plane has reported port \(port) yet")
    }
    guard let failure = report.failure else {
      return .yes(
        "Programmed",
        report.bindPort == report.port ? "" : "port \(report.port) is bound as \(report.bindPort)")
    }
    return .no(
      "PortUnavailable",
      "port \(report.bindPort) could not be bound: \(failure.reason) (errno \(failure.code)); "
        + Self.advice(version, report)
    )
  }

  /// Whether an object without listeners of its own (a VirtualService) is served.
  func programmed(_ version: ObjectVersion) -> Verdict {
    programmed.contains(version) ? .yes("Programmed") : pending(version)
  }

  private func pending(_ version: ObjectVersion) -> Verdict {
    if let refusal { return .no("Invalid", refusal) }
    if instances.isEmpty { return .no("Pending", "no data plane is connected") }
    return .no("Pending", "no data plane has acknowledged generation \(version.generation) yet")
  }

  private static func advice(_ version: ObjectVersion, _ report: SocketReport) -> String {
    let other = report.port < 1024 ? report.port + 8000 : report.port &+ 1
    let kind = version.key.kind == .istioGateway ? "gateways.networking.istio.io" : "gateway"
    return "run with --port-map \(report.port)=\(other), or reach it with: sluice port-forward "
      + "\(kind)/\(version.key.name) -n \(version.key.namespace) \(other):\(report.port)"
  }
}
