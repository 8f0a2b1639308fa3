import GatewayAPI
import Testing
import YAML

@testable import Controller

@Suite struct ConditionMergeTests {
  private func old(_ type: String, _ status: String, time: String, reason: String = "Old") -> Node {
    .mapping([
      ("type", .string(type)), ("status", .string(status)), ("reason", .string(reason)),
      ("lastTransitionTime", .string(time)),
    ])
  }

  private func merged(_ new: [Condition], _ old: [Node]?) -> [String] {
    (mergedConditions(new, old: old.map { .sequence($0) }, now: "now").sequence ?? []).map { node in
      ["type", "status", "reason", "lastTransitionTime"].map { node[$0]?.string ?? "-" }
        .joined(separator: " ")
    }
  }

  @Test func timeChangesOnlyWithStatus() {
    let new = [
      Condition("Accepted", .true, reason: "Accepted"), Condition("Programmed", .true, reason: "Programmed"),
      Condition("ResolvedRefs", .true, reason: "ResolvedRefs"),
    ]
    #expect(
      merged(new, [old("Accepted", "True", time: "before"), old("Programmed", "False", time: "before")])
        == [
          "Accepted True Accepted before", "Programmed True Programmed now",
          "ResolvedRefs True ResolvedRefs now",
        ])
  }

  @Test func othersAreKeptAndOurOldOnesGo() {
    let before = [
      old("example.org/Seen", "True", time: "t1"), old("sluice.dev/FieldsNotActedOn", "True", time: "t2"),
      old("PartiallyInvalid", "True", time: "t3"), old("PassedValidation", "True", time: "t4"),
    ]
    #expect(
      merged([Condition("Accepted", .false, reason: "X")], before)
        == ["Accepted False X now", "example.org/Seen True Old t1", "PassedValidation True Old t4"])
  }

  @Test func emptyTimesAndNoConditions() {
    #expect(merged([], nil) == [])
    #expect(
      merged([Condition("Accepted", .true, reason: "R")], [old("Accepted", "True", time: "")])
        == ["Accepted True R now"])
  }

  /// A status that says the same is not written again, whatever the time is.
  @Test func unchangedStatusIsNoPatch() throws {
    var store = try GoldenCase.store(
      try #require(GoldenCase(name: "HoopGatewayAPI").read("input.yaml")), file: "f")
    var memory = BuildMemory()
    let graph = Graph.build(store, ControllerOptions(), memory: &memory)
    let stage = { (store: ResourceStore, now: String) in
      StatusStage(graph: graph, store: store, dataPlane: DataPlaneState(), addresses: ["127.0.0.1"], now: now)
        .patches()
    }
    let first = stage(store, "2026-01-01T00:00:00Z")
    #expect(first.count == 2)
    for patch in first {
      var object = try #require(store[patch.key])
      object.node["status"] = patch.status
      store.apply(object)
    }
    #expect(stage(store, "2030-01-01T00:00:00Z").isEmpty)
  }
}
