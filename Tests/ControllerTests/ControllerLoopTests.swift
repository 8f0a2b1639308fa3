import GatewayAPI
import RoutingTable
import Synchronization
import Testing
import YAML

@testable import Controller

/// A source, a publisher, a resolver and a status writer by hand.
final class Fakes: StatusWriter, SnapshotPublishing, HostResolving {
  struct Record {
    var snapshots: [(revision: UInt64, image: [UInt8])] = []
    var changes: [EndpointChange] = []
    var statuses: [ResourceKey: Node] = [:]
    var addresses: [String: [String]] = [:]

    func condition(_ type: String, of key: ResourceKey) -> String? {
      statuses[key]?["conditions"]?.sequence?.first { $0["type"]?.string == type }?["status"]?.string
    }
  }

  let record = Mutex(Record())
  let events: AsyncStream<PublisherEvent>
  let answer: AsyncStream<PublisherEvent>.Continuation
  let source: FakeSource
  let feed: AsyncStream<ResourceEvent>.Continuation

  init() {
    (events, answer) = AsyncStream.makeStream()
    let (resources, feed) = AsyncStream.makeStream(of: ResourceEvent.self)
    source = FakeSource(stream: resources)
    self.feed = feed
  }

  func addresses(of host: String) async -> [String] { record.withLock { $0.addresses[host] ?? [] } }
  func write(_ patches: [StatusPatch]) async {
    record.withLock { for patch in patches { $0.statuses[patch.key] = patch.status } }
  }
  func publish(revision: UInt64, image: [UInt8]) async {
    record.withLock { $0.snapshots.append((revision, image)) }
  }
  func publishEndpoints(_ change: EndpointChange) async { record.withLock { $0.changes.append(change) } }

  /// Waits until the record satisfies the condition; false after ten seconds.
  func eventually(_ condition: (Record) -> Bool) async -> Bool {
    for _ in 0..<2000 {
      if record.withLock({ condition($0) }) { return true }
      try? await Task.sleep(for: .milliseconds(5))
    }
    return false
  }

  func list(_ text: String) throws {
    feed.yield(.initialize)
    for node in Manifest(Array(text.utf8)).objects {
      feed.yield(.initApply(try GoldenCase.object(node, file: "f", version: 1)))
    }
    feed.yield(.initDone)
  }

  func apply(_ text: String, version: UInt64 = 2) throws {
    for node in Manifest(Array(text.utf8)).objects {
      feed.yield(.apply(try GoldenCase.object(node, file: "f", version: version)))
    }
  }

}

struct FakeSource: ResourceSource {
  let stream: AsyncStream<ResourceEvent>
  func events() -> AsyncStream<ResourceEvent> { stream }
}

@Suite struct ControllerLoopTests {
  static let base = """
    apiVersion: gateway.networking.k8s.io/v1
    kind: Gateway
    metadata: {name: web}
    spec:
      gatewayClassName: sluice
      listeners: [{name: http, port: 80, protocol: HTTP}]
    ---
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: shop}
    spec:
      parentRefs: [{name: web}]
      rules:
      - backendRefs: [{name: shop, port: 80}, {name: outside, port: 81}]
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: shop}
    spec: {ports: [{port: 80}]}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: outside}
    spec: {type: ExternalName, externalName: api.example.com}

    """

  static func slice(_ address: String) -> String {
    """
    apiVersion: discovery.k8s.io/v1
    kind: EndpointSlice
    metadata: {name: shop-1, labels: {kubernetes.io/service-name: shop}}
    addressType: IPv4
    ports: [{port: 8080}]
    endpoints: [{addresses: ["\(address)"]}]
    """
  }

  private let web = ResourceKey(kind: .gateway, namespace: "default", name: "web")

  private func run(
    _ fakes: Fakes, _ body: (ControllerLoop) async throws -> Void
  ) async throws {
    let loop = ControllerLoop(
      source: fakes.source, statusWriter: fakes, publisher: fakes,
      options: ControllerOptions(debounceMilliseconds: 1),
      resolver: fakes)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { await loop.run() }
      try await body(loop)
      group.cancelAll()
    }
  }

  @Test(.timeLimit(.minutes(10))) func endpointsChangeWithoutASnapshot() async throws {
    let fakes = Fakes()
    fakes.record.withLock { $0.addresses["api.example.com"] = ["192.0.2.1"] }
    try await run(fakes) { loop in
      try fakes.list(Self.base)
      #expect(await fakes.eventually { $0.snapshots.count == 1 })
      #expect(
        await fakes.eventually {
          $0.changes.last?.backends.contains { $0.id == "default/outside:81" && $0.endpoints.count == 1 }
            == true
        }, "the ExternalName was looked up")
      try fakes.apply(Self.slice("10.0.0.1"))
      #expect(
        await fakes.eventually {
          $0.changes.last?.backends.contains { $0.endpoints.contains { $0.address == "10.0.0.1" } } == true
        })
      #expect(fakes.record.withLock { $0.snapshots.count } == 1)
      let answer = await loop.explain(
        .request(ExplainRequest(authority: "any.example.org", target: "/x")), port: 80)
      guard case .forward(let backends)? = answer?.match?.action else {
        Issue.record("not forwarded: \(String(describing: answer))")
        return
      }
      #expect(backends.first?.endpoints.map(\.address) == ["10.0.0.1"], "explain knows the newest endpoints")
      #expect(await loop.explain(.request(ExplainRequest(authority: "x", target: "/")), port: 81) == nil)
    }
  }

  /// TCP and UDP have ports of their own, and who came second for a name is said too.
  @Test(.timeLimit(.minutes(10))) func explainsBelowHTTP() async throws {
    let fakes = Fakes()
    try await run(fakes) { loop in
      let input = GoldenCase(name: "Layer4").read("input.yaml") ?? []
      try fakes.list(String(decoding: input, as: UTF8.self))
      #expect(await fakes.eventually { $0.snapshots.count == 1 })
      let tcp = await loop.explain(.connection(ExplainConnection(.tcp)), port: 53)
      #expect(tcp?.match?.rule.hasPrefix("TCPRoute default/names rule 0") == true)
      let udp = await loop.explain(.connection(ExplainConnection(.udp)), port: 53)
      #expect(udp?.match?.rule.hasPrefix("UDPRoute default/names rule 0") == true)
      #expect(await loop.explain(.connection(ExplainConnection(.udp)), port: 443) == nil)
      let tls = await loop.explain(.connection(ExplainConnection(.tls, serverName: "a.example.com")), port: 443)
      #expect(tls?.match?.rule.hasPrefix("TLSRoute default/secure rule 0") == true)
      let second = tls?.passedOver.first
      #expect(second?.rule.hasPrefix("TLSRoute default/younger rule 0") == true && second?.position == 1)
      #expect(second?.failures.first?.predicate == "precedence")
    }
  }

  @Test(.timeLimit(.minutes(10))) func programmedFollowsTheAck() async throws {
    let fakes = Fakes()
    try await run(fakes) { loop in
      try fakes.list(Self.base)
      #expect(await fakes.eventually { $0.statuses[web] != nil })
      #expect(fakes.record.withLock { $0.condition("Programmed", of: web) } == "False")
      let revision = await loop.currentRevision
      fakes.answer.yield(.connected(instance: "a"))
      fakes.answer.yield(
        .ack(
          instance: "a", revision: revision, sequence: 0,
          sockets: [SocketReport(address: "", port: 80, bindPort: 80)]))
      #expect(await fakes.eventually { $0.condition("Programmed", of: web) == "True" })
      // A change that the table does not show is served already; its own generation says so.
      try fakes.apply(
        """
        apiVersion: gateway.networking.k8s.io/v1
        kind: Gateway
        metadata: {name: web, generation: 2}
        spec:
          gatewayClassName: sluice
          listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
        """)
      #expect(
        await fakes.eventually { record in
          record.statuses[web]?["conditions"]?.sequence?.contains {
            $0["type"]?.string == "Programmed" && $0["status"]?.string == "True"
              && $0["observedGeneration"]?.int == 2
          } == true
        })
      #expect(fakes.record.withLock { $0.snapshots.count } == 1)
      fakes.feed.yield(.delete(ResourceKey(kind: .httpRoute, namespace: "default", name: "shop")))
      #expect(await fakes.eventually { $0.snapshots.count == 2 })
      #expect(await loop.currentRevision > revision)
    }
  }

  /// Nothing is published before the first listing is whole: half of it would take routes away.
  @Test(.timeLimit(.minutes(10))) func nothingBeforeTheListing() async throws {
    let fakes = Fakes()
    try await run(fakes) { _ in
      fakes.feed.yield(.initialize)
      try fakes.apply(Self.base)
      try await Task.sleep(for: .milliseconds(50))
      #expect(fakes.record.withLock { $0.snapshots.isEmpty })
      try fakes.list(Self.base)
      #expect(await fakes.eventually { $0.snapshots.count == 1 })
    }
  }
}
