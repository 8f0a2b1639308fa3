import CLinux
import RoutingTable
import Testing

@testable import Controller

@Suite struct ScaleTests {
  /// Work grows with the number of routes, not with its square: five times the routes may take at most
  /// fifteen times the processor time (of this thread: what else the machine does counts little).
  @Test(.timeLimit(.minutes(10))) func buildingIsNotQuadratic() throws {
    let small = try time(routes: 400)
    let large = try time(routes: 2000)
    #expect(large < small * 15, "400 routes \(small) ns, 2000 routes \(large) ns")
  }

  private func time(routes: Int) throws -> Int {
    let gateway = """
      apiVersion: gateway.networking.k8s.io/v1
      kind: Gateway
      metadata: {name: web}
      spec:
        gatewayClassName: sluice
        listeners: [{name: http, port: 80, protocol: HTTP}]

      """
    let texts = (0..<routes).map { number in
      """
      apiVersion: gateway.networking.k8s.io/v1
      kind: HTTPRoute
      metadata: {name: r\(number)}
      spec:
        parentRefs: [{name: web}]
        hostnames: [h\(number).example.org]
        rules: [{backendRefs: [{name: s\(number), port: 80}]}]

      """
    }
    let text = ([gateway] + texts).joined(separator: "---\n")
    let store = try GoldenCase.store(Array(text.utf8), file: "f")
    var memory = BuildMemory()
    let start = processorNanoseconds()
    let graph = Graph.build(store, ControllerOptions(), memory: &memory)
    let table = TableCompiler.table(
      graph.model, revision: 1, bindAddress: "", portMap: [:], endpoints: { _ in [] })
    let spent = processorNanoseconds() - start
    #expect(table.sockets[0].listeners[0].virtualHosts.count == routes)
    return spent
  }

  /// What this thread has had of a processor.
  private func processorNanoseconds() -> Int {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
  }
}
