import HTTPSemantics

/// A connection below HTTP, or a client's datagrams, in ordinary values, for `RoutingImage.explain`.
public struct ExplainConnection: Hashable, Sendable {
  public enum Transport: String, Hashable, Sendable {
    /// A ClientHello comes first.
    case tls
    case tcp
    case udp
  }

  public var transport: Transport
  /// Of the ClientHello; empty: none.
  public var serverName: String

  public init(_ transport: Transport, serverName: String = "") {
    self.transport = transport
    self.serverName = transport == .tls ? serverName : ""
  }
}

/// What can be asked of an image.
public enum ExplainSubject: Hashable, Sendable {
  case request(ExplainRequest)
  case connection(ExplainConnection)

  /// Whether it is for a socket of this kind, TCP and UDP having ports of their own.
  public func isFor(_ kind: SocketKind) -> Bool {
    if case .connection(let connection) = self, connection.transport == .udp { return kind == .udp }
    return kind != .udp
  }
}

extension RoutingImage {
  /// Explains what becomes of this on this socket (its index).
  public func explain(socket index: Int, _ subject: ExplainSubject) -> Explanation {
    switch subject {
    case .request(let request): explain(socket: index, request)
    case .connection(let connection): explain(socket: index, connection)
    }
  }

  /// Set where it is not requests that are routed: on a socket of TCP, and under a name whose TLS ends elsewhere or
  /// holds bytes.
  func connection(of request: ExplainRequest, socket index: Int) -> ExplainConnection? {
    switch socket(index).kind {
    case .http: return nil
    case .tcp, .udp: return ExplainConnection(.tcp)
    case .https:
      // An address in brackets is no server name.
      let name = request.authority.hasPrefix("[") ? "" : request.authority.prefix { $0 != ":" }
      let found = String(name).withLiteralBytes { listener(socket: index, host: $0) }
      guard found >= 0, listener(Int(found)).proto != .http else { return nil }
      return ExplainConnection(.tls, serverName: String(name))
    }
  }

  /// Explains what `lookup` answers for a connection with this server name.
  public func explain(socket index: Int, _ connection: ExplainConnection) -> Explanation {
    let kind = socket(index).kind
    switch (connection.transport, kind) {
    case (.tls, .https), (.tcp, .tcp), (.udp, .udp):
      return connection.serverName.withLiteralBytes { explain(socket: index, serverName: $0) }
    // Bytes like others to a listener that looks at none.
    case (.tls, .tcp): return explain(socket: index, serverName: .empty)
    default:
      return begin(.otherProtocol, socket: index)
    }
  }

  private func explain(socket index: Int, serverName: Bytes) -> Explanation {
    let answer = lookup(socket: index, serverName: serverName)
    let name = String(decoding: serverName)
    var result = begin(.noListener, socket: index)
    result.passedOver = socket(index).listeners.filter { $0 != Int(answer.listener) }.prefix(20).map { other in
      let hostname = shown(listener(other).hostname)
      return Explanation.Candidate(
        position: other - socket(index).listeners.lowerBound,
        matcher: "listener \(String(decoding: listener(other).name)), server name \(hostname)", rule: "",
        failures: [failure(hostname, name, winner: answer.listener < 0 ? nil : listener(Int(answer.listener)).hostname)]
      )
    }
    guard answer.listener >= 0 else { return result }
    let chosen = listener(Int(answer.listener))
    result.listener = String(decoding: chosen.name)
    result.listenerHostname = String(decoding: chosen.hostname)
    result.serves = chosen.proto
    if chosen.proto == .http {
      result.outcome = .requests
      return result
    }
    result.outcome = .noHost
    let winner = answer.virtualHost < 0 ? nil : virtualHost(Int(answer.virtualHost)).pattern
    let others = chosen.virtualHosts.filter { $0 != Int(answer.virtualHost) }.prefix(20)
    result.passedOver =
      others.compactMap { candidate($0, of: chosen, name, winner) } + result.passedOver
    guard answer.virtualHost >= 0 else { return result }
    result.virtualHost = shown(virtualHost(Int(answer.virtualHost)).pattern)
    result.outcome = .noRoute
    guard answer.entry >= 0 else { return result }
    result.outcome = .matched
    result.match = match(answer, pattern: shown(virtualHost(Int(answer.virtualHost)).pattern), chosen.proto)
    return result
  }

  private func candidate(
    _ number: Int, of listener: ListenerView, _ name: String, _ winner: Bytes?
  ) -> Explanation.Candidate? {
    let host = record(.virtualHosts, number, as: VirtualHostRecord.self)
    guard host.entries.count > 0 else { return nil }
    let entry = record(.entries, Int(host.entries.first), as: EntryRecord.self)
    let pattern = shown(bytes(host.pattern))
    return Explanation.Candidate(
      position: number - listener.virtualHosts.lowerBound, matcher: "server name \(pattern)",
      rule: String(decoding: rule(Int32(bitPattern: entry.rule)).provenance),
      failures: [failure(pattern, name, winner: winner)])
  }

  /// Why a pattern is not the one that decides.
  private func failure(_ pattern: String, _ name: String, winner: Bytes?) -> Explanation.Failure {
    if let winner, covers(pattern, name) {
      return Explanation.Failure(
        predicate: "precedence", wanted: "the most specific name", got: "\(pattern), after \(shown(winner))")
    }
    return Explanation.Failure(predicate: "server name", wanted: pattern, got: name)
  }

  private func covers(_ pattern: String, _ name: String) -> Bool {
    if pattern == "*" { return true }
    let name = name.lowercased()
    return pattern.hasPrefix("*.") ? name.hasSuffix(pattern.dropFirst()) : name == pattern
  }

  private func shown(_ pattern: Bytes) -> String { pattern.isEmpty ? "*" : String(decoding: pattern) }

  private func match(_ answer: RouteAnswer, pattern: String, _ proto: ListenerProtocol) -> Explanation.Match {
    let rule = rule(answer.rule)
    let backends =
      rule.action == .forward
      ? (0..<rule.weightedBackendCount).map { describe(rule.weightedBackend($0), total: rule.record.totalWeight) } : []
    return Explanation.Match(
      position: 0,
      matcher: pattern == "*" ? "every \(proto == .udp ? "client" : "connection")" : "server name \(pattern)",
      rule: String(decoding: rule.provenance), isGRPC: false, action: .forward(backends), rewrittenTarget: nil,
      rewrittenHost: nil, requestTimeout: 0, backendTimeout: 0, requestHeaders: [], responseHeaders: [])
  }
}
