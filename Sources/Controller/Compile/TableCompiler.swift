import RoutingTable

/// Neutral model → source of a routing table. Host patterns get the entries that their law gives them.
enum TableCompiler {
  static func table(
    _ model: RoutingModel, revision: UInt64, bindAddress: String, portMap: [UInt16: UInt16],
    endpoints: (ModelBackend) -> [EndpointSource]
  ) -> TableSource {
    TableSource(
      revision: revision,
      sockets: model.sockets.map { socket in
        SocketSource(
          address: bindAddress, port: socket.port, bindPort: portMap[socket.port] ?? socket.port,
          kind: socket.kind, listeners: socket.listeners.map(listener),
          tls: socket.listeners.flatMap(\.tls), proxyProtocol: socket.proxyProtocol)
      },
      backends: model.backends.map {
        BackendSource(
          id: $0.id, proto: $0.proto, endpoints: endpoints($0), tls: $0.tls, proxyProtocol: $0.proxyProtocol)
      },
      rules: model.rules, certificates: model.certificates, trustBundles: model.trustBundles)
  }

  static func listener(_ listener: ModelListener) -> ListenerSource {
    let patterns = Set(listener.blocks.flatMap(\.hosts.keys)).sorted(by: Hostname.inOrder)
    return ListenerSource(
      name: listener.name, hostname: listener.hostname.text,
      virtualHosts: patterns.map { pattern in
        let own = entries(of: listener, for: pattern)
        // Below HTTP nothing tells the entries of a pattern apart, so that the first of them has all.
        return VirtualHostSource(
          pattern: pattern.text, entries: listener.proto == .http ? own : Array(own.prefix(1)))
      },
      proto: listener.proto, options: listener.options, clientValidation: listener.clientValidation)
  }

  /// All that want a pattern, in order of precedence.
  static func entries(of listener: ModelListener, for pattern: Hostname) -> [EntrySource] {
    distinct(listener.blocks.flatMap { entries(of: $0, for: pattern) })
  }

  /// A route that names both a name and a wildcard over it comes twice; the first time decides.
  private static func distinct(_ entries: [EntrySource]) -> [EntrySource] {
    var seen: Set<EntrySource> = []
    return entries.filter { seen.insert($0).inserted }
  }

  /// The entries that decide a request whose most specific pattern is `pattern`.
  private static func entries(of block: RouteBlock, for pattern: Hostname) -> [EntrySource] {
    let covering = pattern.coveringPatterns.compactMap { block.hosts[$0] }
    return switch block.law {
    case .fallsThrough: covering.flatMap(\.self)
    case .mostSpecificOnly: covering.first ?? []
    }
  }
}
