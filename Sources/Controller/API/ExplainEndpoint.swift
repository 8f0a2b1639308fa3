import RoutingTable
import YAML

/// The JSON form of a question to the routing table and of its answer.
struct ExplainQuestion: Sendable {
  /// The listener's port.
  var port: UInt16
  var method: String
  var scheme: String
  var authority: String
  var target: String
  var headers: [(name: String, value: String)]

  init(_ node: Node) throws(APIError) {
    guard let authority = node["authority"]?.string, let target = node["target"]?.string,
      let port = Self.port(node["port"])
    else { throw .badRequest("a question needs authority, port (1 to 65535) and target") }
    self.port = port
    self.authority = authority
    self.target = target
    method = node["method"]?.string ?? "GET"
    scheme = node["scheme"]?.string ?? "http"
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

  var request: ExplainRequest {
    ExplainRequest(method: method, scheme: scheme, authority: authority, target: target, headers: headers)
  }
}

extension Explanation {
  /// The fields under their own names; `message` says the outcome in words.
  func node(for question: ExplainQuestion) -> Node {
    var node: Node = [
      "request": .string("\(question.method) \(question.scheme)://\(question.authority)\(question.target)"),
      "outcome": .string(outcome.rawValue), "message": .string(words), "socket": .string(socket),
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

  private var words: String {
    switch outcome {
    case .matched: "matched"
    case .noListener: "404: no listener of this port serves the host"
    case .noHost: "404: the listener serves the host, but no route names it"
    case .noRoute: "404: routes name the host, but no rule matches the request"
    case .badAuthority: "400: the authority is not valid"
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
