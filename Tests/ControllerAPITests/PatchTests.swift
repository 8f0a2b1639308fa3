import Testing
import YAML

@testable import Controller

private func node(_ text: String) -> Node { YAML.parse(text).documents.first ?? .null }

@Suite struct PatchTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var target: String
    var patch: String
    var result: String
    var testDescription: String { name }
  }

  @Test(arguments: [
    Case(name: "sets and removes", target: "{a: 1, b: 2}", patch: "{a: null, c: 3}", result: "{b: 2, c: 3}"),
    Case(
      name: "merges inside", target: "{s: {a: 1, b: 2}}", patch: "{s: {b: 3}}", result: "{s: {a: 1, b: 3}}"),
    Case(name: "replaces lists", target: "{l: [1, 2]}", patch: "{l: [3]}", result: "{l: [3]}"),
    Case(name: "object over scalar", target: "{a: 1}", patch: "{a: {b: null, c: 1}}", result: "{a: {c: 1}}"),
  ])
  func mergePatch(_ test: Case) {
    #expect(MergePatch.apply(node(test.patch), to: node(test.target)) == node(test.result))
  }

  @Test(arguments: [
    Case(
      name: "ports merge by number", target: "{spec: {ports: [{port: 80, name: a}, {port: 81}]}}",
      patch: "{spec: {ports: [{port: 80, targetPort: 8080}]}}",
      result: "{spec: {ports: [{port: 80, name: a, targetPort: 8080}, {port: 81}]}}"),
    Case(
      name: "an element is deleted, the order is set",
      target: "{spec: {ports: [{port: 80}, {port: 81}, {port: 82}]}}",
      patch:
        "{spec: {$setElementOrder/ports: [{port: 82}, {port: 80}], ports: [{port: 81, $patch: delete}]}}",
      result: "{spec: {ports: [{port: 82}, {port: 80}]}}"),
    Case(
      name: "other lists are replaced", target: "{spec: {rules: [1, 2]}}", patch: "{spec: {rules: [3]}}",
      result: "{spec: {rules: [3]}}"),
    Case(
      name: "finalizers are a set", target: "{metadata: {finalizers: [a, b]}}",
      patch: "{metadata: {finalizers: [c], $deleteFromPrimitiveList/finalizers: [a]}}",
      result: "{metadata: {finalizers: [b, c]}}"),
    Case(
      name: "replace directive", target: "{spec: {a: 1, b: 2}}", patch: "{spec: {$patch: replace, c: 3}}",
      result: "{spec: {c: 3}}"),
  ])
  func strategicMerge(_ test: Case) throws {
    #expect(try StrategicMerge.apply(node(test.patch), to: node(test.target)) == node(test.result))
  }

  @Test(arguments: [
    Case(
      name: "add at the end", target: "{l: [1]}", patch: "[{op: add, path: /l/-, value: 2}]",
      result: "{l: [1, 2]}"),
    Case(
      name: "insert, replace, remove", target: "{l: [1, 3], a: x}",
      patch: "[{op: add, path: /l/1, value: 2}, {op: replace, path: /l/0, value: 0}, {op: remove, path: /a}]",
      result: "{l: [0, 2, 3]}"),
    Case(
      name: "escaped names", target: "{m: {a/b: 1}}", patch: "[{op: replace, path: /m/a~1b, value: 2}]",
      result: "{m: {a/b: 2}}"),
    Case(
      name: "move and test", target: "{a: 1}",
      patch: "[{op: test, path: /a, value: 1}, {op: move, from: /a, path: /b}]", result: "{b: 1}"),
  ])
  func jsonPatch(_ test: Case) throws {
    #expect(try JSONPatch.apply(node(test.patch), to: node(test.target)) == node(test.result))
  }

  @Test(arguments: [
    "[{op: remove, path: /gone}]", "[{op: test, path: /a, value: 2}]", "[{op: add, path: /l/9, value: 1}]",
    "{}",
  ])
  func jsonPatchRefuses(_ patch: String) {
    #expect(throws: APIError.self) { try JSONPatch.apply(node(patch), to: node("{a: 1, l: []}")) }
  }

  @Test func applyRemovesWhatItNoLongerNames() throws {
    let first = try ServerSideApply.apply(
      node("{spec: {a: 1, b: 2}}"), manager: "one", to: nil, applied: [:], force: false)
    let second = try ServerSideApply.apply(
      node("{spec: {a: 1}}"), manager: "one", to: MergePatch.apply(node("{spec: {x: 9}}"), to: first.object),
      applied: first.applied, force: false)
    #expect(second.object == node("{spec: {a: 1, x: 9}}"))
  }

  @Test func applyKeepsWhatAnotherManagerHolds() throws {
    let first = try ServerSideApply.apply(
      node("{spec: {a: 1}}"), manager: "one", to: nil, applied: [:], force: false)
    let second = try ServerSideApply.apply(
      node("{spec: {a: 1}}"), manager: "two", to: first.object, applied: first.applied, force: false)
    let third = try ServerSideApply.apply(
      node("{spec: {b: 1}}"), manager: "one", to: second.object, applied: second.applied, force: false)
    #expect(third.object == node("{spec: {a: 1, b: 1}}"))
  }

  @Test func applyConflictsUnlessForced() throws {
    let first = try ServerSideApply.apply(
      node("{spec: {a: 1}}"), manager: "one", to: nil, applied: [:], force: false)
    let error = #expect(throws: APIError.self) {
      try ServerSideApply.apply(
        node("{spec: {a: 2}}"), manager: "two", to: first.object, applied: first.applied, force: false)
    }
    #expect(error?.code == 409)
    #expect(error?.message == "Apply failed with 1 conflict: conflict with \"one\": .spec.a")
    let forced = try ServerSideApply.apply(
      node("{spec: {a: 2}}"), manager: "two", to: first.object, applied: first.applied, force: true)
    #expect(forced.object == node("{spec: {a: 2}}"))
  }
}
