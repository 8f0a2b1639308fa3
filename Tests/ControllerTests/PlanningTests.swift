import GatewayAPI
import RoutingTable
import Testing

@testable import Controller

@Suite struct SnapshotPlannerTests {
  private func table(_ endpoints: [String: [String]], host: String = "a.example.org") -> TableSource {
    TableSource(
      sockets: [SocketSource(port: 80, listeners: [ListenerSource(name: host, hostname: host)])],
      backends: endpoints.sorted { $0.key < $1.key }.map { id, addresses in
        BackendSource(id: id, endpoints: addresses.map { EndpointSource(address: $0, port: 80) })
      })
  }

  private func change(_ step: SnapshotPlanner.Step) -> [String: [String]]? {
    guard case .endpoints(let change) = step else { return nil }
    return Dictionary(uniqueKeysWithValues: change.backends.map { ($0.id, $0.endpoints.map(\.address)) })
  }

  private func started(_ table: TableSource) -> SnapshotPlanner {
    var planner = SnapshotPlanner()
    if case .snapshot(let table) = planner.plan(table, now: 1000) { planner.commit(table) }
    return planner
  }

  @Test func onlyRoutesMakeSnapshots() {
    var planner = started(table(["x": ["10.0.0.1"]]))
    #expect(planner.revision == 1000)
    let same = planner.plan(table(["x": ["10.0.0.1"]]), now: 2000)
    #expect(same == .nothing)
    let moved = planner.plan(table(["x": ["10.0.0.2"]]), now: 2000)
    #expect(change(moved) == ["x": ["10.0.0.2"]])
    #expect(planner.revision == 1000)
    guard case .snapshot(let next) = planner.plan(table(["x": []], host: "b.example.org"), now: 900) else {
      Issue.record("a changed listener needs a snapshot")
      return
    }
    #expect(next.revision == 1001, "a clock that goes back must not make revisions fall")
  }

  @Test func changesAreCumulative() {
    var planner = started(table(["x": ["10.0.0.1"], "y": ["10.0.1.1"]]))
    let new = { (address: String) in [EndpointSource(address: address, port: 80)] }
    let steps = [
      planner.plan(endpoints: [("x", new("10.0.0.2"))]),
      planner.plan(endpoints: [("y", new("10.0.1.2"))]),
      // Back to what the snapshot says: it stays in the list, or a data plane would keep the old change.
      planner.plan(endpoints: [("x", new("10.0.0.1"))]),
      planner.plan(endpoints: [("x", new("10.0.0.1"))]),
      planner.plan(endpoints: [("unknown", new("10.9.9.9"))]),
    ]
    #expect(
      steps.map(change) == [
        ["x": ["10.0.0.2"]], ["x": ["10.0.0.2"], "y": ["10.0.1.2"]], ["x": ["10.0.0.1"], "y": ["10.0.1.2"]],
        nil, nil,
      ])
    #expect(planner.endpoints(of: "y")?.map(\.address) == ["10.0.1.2"])
  }

  /// A snapshot that did not go out changes nothing about what the next one is compared with.
  @Test func uncommittedSnapshotIsPlannedAgain() {
    var planner = SnapshotPlanner()
    let first = planner.plan(table([:]), now: 5)
    let second = planner.plan(table([:]), now: 5)
    #expect(first == second)
    #expect(first != .nothing)
  }
}

@Suite struct DataPlaneStateTests {
  private let version = ObjectVersion(
    key: ResourceKey(kind: .gateway, namespace: "default", name: "web"), uid: "u", generation: 1)

  private func ack(_ revision: UInt64, _ instance: String = "a", failure: BindFailure? = nil)
    -> PublisherEvent
  {
    .ack(
      instance: instance, revision: revision, sequence: 0,
      sockets: [SocketReport(address: "", port: 80, bindPort: 80, failure: failure)])
  }

  private func expect(_ wanted: Bool, _ got: Bool, _ place: SourceLocation = #_sourceLocation) {
    #expect(got == wanted, sourceLocation: place)
  }

  private func reason(_ state: DataPlaneState, _ version: ObjectVersion) -> String {
    state.programmed(version, port: 80).reason
  }

  @Test func programmedOnlyAfterTheAck() {
    var state = DataPlaneState()
    #expect(reason(state, version) == "Pending")
    state.publish(revision: 7, versions: [version])
    #expect(reason(state, version) == "Pending")
    expect(true, state.note(.connected(instance: "a")))
    expect(true, state.note(ack(6)))
    #expect(reason(state, version) == "Pending")
    expect(true, state.note(ack(7)))
    #expect(reason(state, version) == "Programmed")
    #expect(state.programmed(version, port: 81).reason == "Pending")
  }

  @Test func anOlderVersionStaysProgrammedWhileTheNextIsOnItsWay() {
    var state = DataPlaneState()
    state.publish(revision: 1, versions: [version])
    _ = state.note(ack(1))
    var next = version
    next.generation = 2
    var other = version
    other.key.name = "other"
    state.publish(revision: 2, versions: [next, other])
    #expect(reason(state, next) == "Pending")
    #expect(reason(state, version) == "Programmed")
    _ = state.note(ack(2))
    #expect(reason(state, next) == "Programmed")
    #expect(reason(state, version) == "Pending", "the object has moved on")
  }

  @Test func everyConnectedDataPlaneCounts() {
    var state = DataPlaneState()
    state.publish(revision: 1, versions: [version])
    _ = state.note(.connected(instance: "b"))
    _ = state.note(ack(1, "a"))
    #expect(!state.isAcknowledged)
    _ = state.note(ack(1, "b", failure: BindFailure(code: 98, reason: "Address already in use")))
    let verdict = state.programmed(version, port: 80)
    #expect(verdict.reason == "PortUnavailable")
    #expect(verdict.message.contains("Address already in use (errno 98)"))
    #expect(verdict.message.contains("--port-map 80=8080"))
    #expect(verdict.message.contains("port-forward gateway/web -n default 8080:80"))
    _ = state.note(.disconnected(instance: "b"))
    #expect(reason(state, version) == "Programmed")
  }

  @Test func aNackStaysUntilANewerAck() {
    var state = DataPlaneState()
    state.publish(revision: 1, versions: [version])
    _ = state.note(ack(1))
    state.publish(revision: 2, versions: [version])
    _ = state.note(.nack(instance: "a", revision: 2, sequence: 0, reason: "bad"))
    #expect(state.refusal?.contains("bad") == true)
    #expect(reason(state, version) == "Programmed", "the last good snapshot serves this version")
    _ = state.note(ack(1))
    #expect(state.refusal != nil)
    state.publish(revision: 3, versions: [version])
    _ = state.note(ack(3))
    #expect(state.refusal == nil)
  }

  @Test func endpointAcksAreNoNews() {
    var state = DataPlaneState()
    state.publish(revision: 1, versions: [version])
    expect(true, state.note(ack(1)))
    expect(false, state.note(.ack(instance: "a", revision: 1, sequence: 3, sockets: [])))
    #expect(reason(state, version) == "Programmed")
  }
}

@Suite struct OptionsTests {
  @Test(
    arguments: [
      ("hoopgateway=127.0.0.1", "hoopgateway", nil, "127.0.0.1"),
      ("hoop.default=::1", "hoop", "default", "::1"), ("a=[2001:db8::1]", "a", nil, "2001:db8::1"),
      ("a.b=host.example.org", "a", "b", "host.example.org"),
    ] as [(String, String, String?, String)])
  func backendOverride(text: String, name: String, namespace: String?, address: String) throws {
    #expect(
      try BackendOverride(parsing: text)
        == BackendOverride(name: name, namespace: namespace, address: address))
  }

  @Test(arguments: ["hoop", "=1.2.3.4", "a=", "a=127.0.0.1:80", "a.=1.2.3.4", ".b=1.2.3.4", "a=http://x"])
  func badBackendOverride(text: String) {
    #expect(throws: BackendOverrideError.self) { try BackendOverride(parsing: text) }
  }

  @Test(
    arguments: [
      (0, "1970-01-01T00:00:00Z"), (951_782_400, "2000-02-29T00:00:00Z"),
      (1_767_225_599, "2025-12-31T23:59:59Z"),
      (1_772_323_261, "2026-03-01T00:01:01Z"), (4_107_542_399, "2100-02-28T23:59:59Z"),
    ] as [(UInt64, String)])
  func timestamps(seconds: UInt64, text: String) {
    struct Fixed: WallClock { var milliseconds: UInt64 }
    #expect(Fixed(milliseconds: seconds * 1000 + 999).timestamp == text)
  }
}
