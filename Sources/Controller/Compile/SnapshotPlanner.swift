import RoutingTable

/// Decides whether a change needs a new snapshot, an endpoint change, or nothing. No I/O.
struct SnapshotPlanner: Sendable {
  enum Step: Equatable {
    case nothing
    case snapshot(TableSource)
    case endpoints(EndpointChange)
  }

  /// What was published last, without its endpoints and revision.
  private var routes: TableSource?
  private(set) var revision: UInt64 = 0
  private var sequence: UInt64 = 0
  /// Endpoints by backend in the snapshot, and those of now that differ or once did.
  private var inSnapshot: [String: [EndpointSource]] = [:]
  private var changed: [String: [EndpointSource]] = [:]

  /// The endpoints of a backend as the data planes know them.
  func endpoints(of id: String) -> [EndpointSource]? { changed[id] ?? inSnapshot[id] }

  /// Takes a newly built table. Revisions never fall, also over restarts, because they start at the time.
  mutating func plan(_ table: TableSource, now: UInt64) -> Step {
    var bare = table
    bare.revision = 0
    for index in bare.backends.indices { bare.backends[index].endpoints = [] }
    if bare == routes {
      return plan(endpoints: table.backends.map { ($0.id, $0.endpoints) })
    }
    var table = table
    table.revision = max(revision + 1, now)
    return .snapshot(table)
  }

  /// The snapshot was compiled and goes out.
  mutating func commit(_ table: TableSource) {
    var bare = table
    bare.revision = 0
    for index in bare.backends.indices { bare.backends[index].endpoints = [] }
    routes = bare
    revision = table.revision
    sequence = 0
    changed = [:]
    inSnapshot = Dictionary(table.backends.map { ($0.id, $0.endpoints) }) { first, _ in first }
  }

  /// Takes the endpoints of some backends; those of all others stay.
  mutating func plan(endpoints: [(id: String, endpoints: [EndpointSource])]) -> Step {
    var isNews = false
    for (id, list) in endpoints {
      guard let published = inSnapshot[id] else { continue }
      if (changed[id] ?? published) == list { continue }
      changed[id] = list
      isNews = true
    }
    if !isNews { return .nothing }
    sequence += 1
    return .endpoints(
      EndpointChange(
        revision: revision, sequence: sequence,
        backends: changed.sorted { $0.key < $1.key }.map { id, list in
          BackendEndpoints(
            id: id,
            endpoints: list.map {
              BackendEndpoint(
                address: $0.address, port: $0.port, weight: $0.weight, isReady: $0.isReady,
                isTerminating: $0.isTerminating)
            })
        }))
  }
}
