import Foundation
import GatewayAPI
import Testing
import YAML

@testable import Controller

private func node(_ text: String) -> Node { YAML.parse(text).documents.first ?? .null }

private let gateway = node(
  """
  apiVersion: gateway.networking.k8s.io/v1
  kind: Gateway
  metadata: {name: web, namespace: team}
  spec: {gatewayClassName: sluice, listeners: [{name: http, port: 80, protocol: HTTP}]}
  """)
private let key = ResourceKey(kind: .gateway, namespace: "team", name: "web")

extension ObjectStore {
  @discardableResult
  fileprivate func put(_ node: Node, _ key: ResourceKey, isStatus: Bool = false) throws -> Outcome {
    try write(key) { current throws(APIError) in
      Draft(node: node, applied: current?.applied ?? [:], isStatus: isStatus)
    }
  }

  fileprivate func metadata(_ key: ResourceKey) -> Node? { entry(key)?.stored.node["metadata"] }
}

@Suite struct StoreTests {
  @Test func generationCountsTheSpecOnly() async throws {
    let store = try ObjectStore(path: nil)
    try await store.put(gateway, key)
    #expect(await store.metadata(key)?["generation"]?.int == 1)
    var labelled = gateway
    labelled["metadata"]?["labels"] = ["a": "b"]
    try await store.put(labelled, key)
    #expect(await store.metadata(key)?["generation"]?.int == 1)
    var changed = labelled
    changed["spec"]?["gatewayClassName"] = "other"
    try await store.put(changed, key)
    #expect(await store.metadata(key)?["generation"]?.int == 2)
    #expect(await store.metadata(key)?["uid"]?.string?.count == 36)
  }

  @Test func theSameAgainChangesNothing() async throws {
    let store = try ObjectStore(path: nil)
    try await store.put(gateway, key)
    let before = await store.lastResourceVersion
    guard case .unchanged = try await store.put(gateway, key) else {
      Issue.record("the second write must be unchanged")
      return
    }
    #expect(await store.lastResourceVersion == before)
  }

  @Test func whatIsNotValidIsRefusedWithPaths() async throws {
    let store = try ObjectStore(path: nil)
    var bad = gateway
    bad["spec"]?["gatewayClassName"] = nil
    let broken = bad
    let error = await #expect(throws: APIError.self) { try await store.put(broken, key) }
    #expect(error?.code == 422)
    #expect(error?.causes.map(\.field) == ["spec.gatewayClassName"])
    #expect(await store.entry(key) == nil)
  }

  @Test func statusAndSpecAreApart() async throws {
    let store = try ObjectStore(path: nil)
    try await store.put(gateway, key)
    var both = gateway
    both["status"] = ["conditions": []]
    both["spec"]?["gatewayClassName"] = "other"
    try await store.put(both, key, isStatus: true)
    #expect(await store.entry(key)?.stored.node["spec"]?["gatewayClassName"]?.string == "sluice")
    #expect(await store.entry(key)?.stored.node["status"] == ["conditions": []])
    try await store.put(gateway, key)
    #expect(await store.entry(key)?.stored.node["status"] == ["conditions": []])
  }

  @Test func survivesARestart() async throws {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).db").path
    defer { for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + end) } }
    let version: UInt64
    do {
      let store = try ObjectStore(path: path)
      try await store.put(gateway, key)
      version = await store.lastResourceVersion
    }
    let store = try ObjectStore(path: path)
    #expect(await store.entry(key)?.stored.node["spec"] == gateway["spec"])
    #expect(await store.lastResourceVersion == version)
    try await store.put(gateway, ResourceKey(kind: .gateway, namespace: "team", name: "two"))
    #expect(await store.lastResourceVersion > version)
  }

  @Test func aNamespaceComesWithItsFirstObjectAndTakesAllAlong() async throws {
    let store = try ObjectStore(path: nil)
    try await store.put(gateway, key)
    let namespace = ResourceKey(kind: .namespace, namespace: "", name: "team")
    #expect(await store.metadata(namespace)?["labels"]?["kubernetes.io/metadata.name"]?.string == "team")
    _ = try await store.delete(namespace)
    #expect(await store.entry(key) == nil)
    #expect(await store.entry(namespace) == nil)
  }

  @Test func aFinalizerHoldsTheObject() async throws {
    let store = try ObjectStore(path: nil)
    var held = gateway
    held["metadata"]?["finalizers"] = ["example.org/hold"]
    try await store.put(held, key)
    #expect(try await store.delete(key).isGone == false)
    #expect(await store.metadata(key)?["deletionTimestamp"] != nil)
    try await store.put(gateway, key)
    #expect(await store.entry(key) == nil)
  }

  @Test func aWatchSeesWhatHappenedSince() async throws {
    let store = try ObjectStore(path: nil)
    try await store.put(gateway, key)
    let version = await store.lastResourceVersion
    var changed = gateway
    changed["spec"]?["gatewayClassName"] = "other"
    try await store.put(changed, key)
    let watch = try await store.watch(.gateway, namespace: "team", from: .after(version))
    _ = try await store.delete(key)
    await store.bookmark(watch)
    watch.end()
    var seen: [String] = []
    for await signal in watch.signals {
      switch signal {
      case .change(let change): seen.append(change.type.rawValue)
      case .bookmark(let at): seen.append("BOOKMARK \(at - version)")
      case .initialEnd: seen.append("INITIAL")
      }
    }
    #expect(seen == ["MODIFIED", "DELETED", "BOOKMARK 2"])
  }

  @Test func aWatchFromTheFutureHasToListAgain() async throws {
    let store = try ObjectStore(path: nil)
    let error = await #expect(throws: APIError.self) {
      try await store.watch(.gateway, namespace: nil, from: .after(99))
    }
    #expect(error?.code == 410)
  }

  @Test func secretsTakeTexts() async throws {
    let store = try ObjectStore(path: nil)
    let key = ResourceKey(kind: .secret, namespace: "team", name: "s")
    try await store.put(
      node("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: hello}}"), key)
    let stored = await store.entry(key)?.stored.node
    #expect(stored?["data"]?["a"]?.string == "aGVsbG8=")
    #expect(stored?["stringData"] == nil)
  }

  @Test func theControllerGetsAListingAndThenChanges() async throws {
    let store = try ObjectStore(path: nil)
    try await store.put(gateway, key)
    var events = store.events().makeAsyncIterator()
    var names: [String] = []
    while let event = await events.next() {
      switch event {
      case .initialize: names.append("initialize")
      case .initApply(let object): names.append("initApply \(object.key.name)")
      case .initDone:
        names.append("initDone")
        _ = try await store.delete(key)
      case .apply(let object): names.append("apply \(object.key.name)")
      case .delete(let key): names.append("delete \(key.name)")
      }
      if names.last == "delete web" { break }
    }
    #expect(names.first == "initialize")
    #expect(names.suffix(2) == ["initDone", "delete web"])
    #expect(names.contains("initApply web"))
  }
}
