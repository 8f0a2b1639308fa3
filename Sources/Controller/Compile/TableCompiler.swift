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
          tls: socket.listeners.flatMap(\.tls))
      },
      backends: model.backends.map {
        BackendSource(id: $0.id, proto: $0.proto, endpoints: endpoints($0))
      },
      rules: model.rules, certificates: model.certificates)
  }

  static func listener(_ listener: ModelListener) -> ListenerSource {
    let patterns = Set(listener.blocks.flatMap(\.hosts.keys)).sorted(by: Hostname.inOrder)
    return ListenerSource(
      name: listener.name, hostname: listener.hostname.text,
      virtualHosts: patterns.map { pattern in
        VirtualHostSource(
          pattern: pattern.text,
          entries: distinct(listener.blocks.flatMap { entries(of: $0, for: pattern) }))
      })
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
