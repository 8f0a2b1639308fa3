import RoutingTable
import YAML

/// The JSON form of a question to the routing table and of its answer. With the scheme `tls`, `tcp` or `udp` it is
/// about a connection (or a client's datagrams), and the authority is the server name of `tls`, which may be missing.
struct ExplainQuestion: Sendable {
  /// The listener's port.
  var port: UInt16
  var method: String
  var scheme: String
  var authority: String
  var target: String
  var headers: [(name: String, value: String)]
  /// Nil: it is about a request.
  private var transport: ExplainConnection.Transport?

  init(_ node: Node) throws(APIError) {
    scheme = node["scheme"]?.string ?? "http"
    transport = ExplainConnection.Transport(rawValue: scheme)
    let isConnection = transport != nil
    guard let authority = node["authority"]?.string ?? (isConnection ? "" : nil),
      let target = node["target"]?.string ?? (isConnection ? "" : nil), let port = Self.port(node["port"])
    else {
      throw .badRequest(
        isConnection
          ? "a question about a connection needs port (1 to 65535)"
          : "a question needs authority, port (1 to 65535) and target")
    }
    self.port = port
    self.authority = authority
    self.target = target
    method = node["method"]?.string ?? "GET"
    headers = (node["headers"]?.sequence ?? []).compactMap { header in
      guard let name = header["name"]?.string, let value = header["value"]?.string else { return nil }
      return (name, value)
    }
  }

  /// A function of its own: written in line, the optimiser of Swift 6.3.1 ends with a signal.
  @inline(never)
  private static func port(_ node: Node?) -> UInt16? {
    guard let number = node?.int else { return nil }
    return UInt16(exactly: number)
  }

  var isConnection: Bool { transport != nil }
  var isDatagram: Bool { transport == .udp }

  var subject: ExplainSubject {
    if let transport { return .connection(ExplainConnection(transport, serverName: authority)) }
    return .request(
      ExplainRequest(method: method, scheme: scheme, authority: authority, target: target, headers: headers))
  }

  /// In one line.
  var text: String {
    transport == nil ? "\(method) \(scheme)://\(authority)\(target)" : "\(scheme)://\(authority):\(port)"
  }
}

extension Explanation {
  /// The fields under their own names; `message` says the outcome in words.
  func node(for question: ExplainQuestion) -> Node {
    var node: Node = [
      "request": .string(question.text), "serves": .string("\(serves)"),
      "expectsProxyProtocol": .bool(expectsProxyProtocol),
      "outcome": .string(outcome.rawValue), "message": .string(words(for: question)),
      "socket": .string(socket), "kind": .string(Self.name(of: kind)),
      "passedOver": .sequence(passedOver.map(Self.node)), "otherPaths": .sequence(otherPaths.map(Self.node)),
      "knownHosts": .sequence(knownHosts.map { .string($0) }),
    ]
    for (name, value) in [
      ("listener", listener), ("listenerHostname", listenerHostname), ("virtualHost", virtualHost),
      ("pathNode", pathNode),
    ] { node[name] = value.map { .string($0) } }
    node["match"] = match.map(Self.node)
    return node
  }

  private static func name(of kind: SocketKind) -> String {
    switch kind {
    case .http: "HTTP"
    case .https: "TLS"
    case .tcp: "TCP"
    case .udp: "UDP"
    }
  }

  private func words(for question: ExplainQuestion) -> String {
    let isConnection = question.isConnection || serves != .http
    return switch outcome {
    case .matched where serves == .tlsPassthrough: "matched; TLS passes through to the backend"
    case .matched where kind == .https && serves == .tcp: "matched; TLS ends here, and the bytes in it go on"
    case .matched where serves == .tcp: "matched; the bytes go on as they are"
    case .matched where serves == .udp: "matched; the datagrams go on as they are"
    case .matched: "matched"
    case .noListener where isConnection: "refused: no listener of this port serves the server name"
    case .noListener: "404: no listener of this port serves the host"
    case .noHost where isConnection, .noRoute where isConnection:
      "refused: the listener takes it, but no route leads on"
    case .noHost: "404: the listener serves the host, but no route names it"
    case .noRoute: "404: routes name the host, but no rule matches the request"
    case .badAuthority: "400: the authority is not valid"
    case .requests: "TLS ends here and holds requests; ask for https://\(question.authority):\(question.port)/"
    case .otherProtocol: "refused: this port expects \(Self.name(of: kind))"
    }
  }

  private static func node(_ candidate: Candidate) -> Node {
    [
      "position": .int(candidate.position), "matcher": .string(candidate.matcher),
      "rule": .string(candidate.rule),
      "failures": .sequence(
        candidate.failures.map {
          ["predicate": .string($0.predicate), "wanted": .string($0.wanted), "got": .string($0.got)]
        }),
    ]
  }

  private static func node(_ match: Match) -> Node {
    var node: Node = [
      "position": .int(match.position), "matcher": .string(match.matcher), "rule": .string(match.rule),
      "isGRPC": .bool(match.isGRPC), "action": self.node(match.action),
    ]
    node["rewrittenTarget"] = match.rewrittenTarget.map { .string($0) }
    node["rewrittenHost"] = match.rewrittenHost.map { .string($0) }
    if match.requestTimeout > 0 { node["requestTimeout"] = .string("\(match.requestTimeout)ms") }
    if match.backendTimeout > 0 { node["backendTimeout"] = .string("\(match.backendTimeout)ms") }
    for (name, lines) in [
      ("requestHeaders", match.requestHeaders), ("responseHeaders", match.responseHeaders),
    ] where !lines.isEmpty { node[name] = .sequence(lines.map { .string($0) }) }
    return node
  }

  private static func node(_ action: Action) -> Node {
    switch action {
    case .redirect(let status, let location):
      ["type": "redirect", "status": .int(status), "location": .string(location)]
    case .respond(let status, let reason):
      ["type": "respond", "status": .int(status), "reason": .string(reason)]
    case .forward(let backends):
      ["type": "forward", "backends": .sequence(backends.map(node))]
    }
  }

  private static func node(_ backend: Backend) -> Node {
    var node: Node = ["weight": .int(backend.weight), "totalWeight": .int(backend.totalWeight)]
    node["id"] = backend.id.map { .string($0) }
    node["protocol"] = backend.proto.map { .string("\($0)") }
    node["endpoints"] = .sequence(
      backend.endpoints.map {
        [
          "address": .string($0.address), "port": .int($0.port), "weight": .int($0.weight),
          "isReady": .bool($0.isReady), "isTerminating": .bool($0.isTerminating),
        ]
      })
    return node
  }
}
