import RoutingTable

/// The configuration of a simulation: what it serves, and from where.
struct SimulatedTable {
  var revision: UInt64 = 1
  /// The last byte of the addresses of the endpoints, of the HTTP/1.1 and of the HTTP/2 backend.
  var one = [1, 2]
  var two = [1, 2]
  var ports: [UInt16] = [80, 81]

  static func address(isHTTP2: Bool, _ number: Int) -> String { "10.0.\(isHTTP2 ? 2 : 1).\(number)" }

  var source: TableSource {
    let entries = Exchange.Route.allCases.enumerated().filter { $0.element != .nowhere }.map {
      EntrySource(path: .segmentPrefix("/\($0.element.rawValue)"), rule: $0.offset)
    }
    let host = VirtualHostSource(entries: entries)
    return TableSource(
      revision: revision,
      sockets: ports.map {
        SocketSource(
          address: "127.0.0.1", port: $0, bindPort: $0,
          listeners: [ListenerSource(name: "default/g/\($0)", virtualHosts: [host])])
      },
      backends: [backend("one", .http1, one, isHTTP2: false), backend("two", .h2c, two, isHTTP2: true)],
      rules: Exchange.Route.allCases.map(rule))
  }

  private func backend(_ name: String, _ proto: BackendProtocol, _ list: [Int], isHTTP2: Bool) -> BackendSource {
    BackendSource(
      id: "default/\(name)", proto: proto,
      endpoints: list.map { EndpointSource(address: Self.address(isHTTP2: isHTTP2, $0), port: 80) })
  }

  private func rule(_ route: Exchange.Route) -> RuleSource {
    let one = ActionSource.forward([WeightedBackend(backend: 0)])
    let two = ActionSource.forward([WeightedBackend(backend: 1)])
    let fields = [HeaderOperation(.set, "x-rule", route.rawValue)]
    return switch route {
    case .one: RuleSource(provenance: "one", action: one, requestHeaders: fields, responseHeaders: fields)
    case .two: RuleSource(provenance: "two", action: two, requestHeaders: fields, responseHeaders: fields)
    case .oneTimed: RuleSource(provenance: "one", action: one, requestTimeout: 900_000, backendTimeout: 800)
    case .twoTimed: RuleSource(provenance: "two", action: two, requestTimeout: 1_500)
    case .grpc: RuleSource(provenance: "grpc", action: two, isGRPC: true)
    case .redirect: RuleSource(provenance: "redirect", action: .redirect(RedirectSource(host: "other.test")))
    case .fixed: RuleSource(provenance: "fixed", action: .respond(status: 403, reason: "no"))
    case .nowhere: RuleSource(provenance: "nowhere", action: .forward([]))
    }
  }
}
