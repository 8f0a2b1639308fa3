import RoutingTable
import YAML

/// A table as YAML that a person can read: rules and backends by name where they are used.
func dump(_ table: TableSource) -> Node {
  let dumper = TableDumper(table: table)
  var node: Node = .mapping([
    ("sockets", .sequence(table.sockets.map(dumper.socket))),
    ("rules", .sequence(table.rules.enumerated().map { dumper.rule($0.element, $0.offset) })),
    ("backends", .sequence(table.backends.map(dumper.backend))),
    (
      "certificates",
      .sequence(table.certificates.map { .string($0.name + ($0.ocspStaple.isEmpty ? "" : " with OCSP staple")) })
    ),
  ])
  if !table.trustBundles.isEmpty {
    node["trustBundles"] = .sequence(table.trustBundles.map { .string($0.name) })
  }
  return node
}

private struct TableDumper {
  var table: TableSource

  func socket(_ socket: SocketSource) -> Node {
    var node: Node = .mapping([
      ("bind", .string("\(socket.address.isEmpty ? "*" : socket.address):\(socket.bindPort)")),
      ("port", .int(socket.port)),
      ("kind", .string("\(socket.kind)")),
    ])
    if let networks = socket.proxyProtocol {
      node["proxyProtocol"] = .string("from \(networks.map(\.text).joined(separator: ", "))")
    }
    if !socket.tls.isEmpty {
      node["tls"] = .sequence(
        socket.tls.map {
          .string("\($0.names.joined(separator: ", ")): \(table.certificates[$0.certificate].name)")
        })
    }
    node["listeners"] = .sequence(
      socket.listeners.map { listener in
        var node: Node = .mapping([
          ("name", .string(listener.name)), ("hostname", .string(listener.hostname)),
          (
            "virtualHosts",
            .mapping(
              listener.virtualHosts.map {
                ($0.pattern.isEmpty ? "*" : $0.pattern, .sequence($0.entries.map(entry)))
              })
          ),
        ])
        if listener.proto != .http { node["protocol"] = .string("\(listener.proto)") }
        let options = options(listener.options)
        if !options.isEmpty { node["options"] = .string(options.joined(separator: ", ")) }
        if let validation = listener.clientValidation {
          let bundle = table.trustBundles[validation.trustBundle].name
          node["clientCertificate"] = .string("\(validation.mode), held against \(bundle)")
        }
        return node
      })
    return node
  }

  private func options(_ options: ListenerOptions) -> [String] {
    var parts: [String] = []
    if options.escapedSlashes != .keep { parts.append("escaped slashes: \(options.escapedSlashes)") }
    if options.mergesSlashes { parts.append("merges slashes") }
    if options.translatesGRPCWeb { parts.append("translates gRPC-Web") }
    return parts
  }

  private func entry(_ entry: EntrySource) -> Node {
    var parts: [String] = []
    switch entry.path {
    case .any: parts.append("any path")
    case .exact(let path): parts.append("exact \(path)")
    case .segmentPrefix(let path): parts.append("segments \(path)")
    case .stringPrefix(let path): parts.append("prefix \(path)")
    case .regex(let path): parts.append("regex \(path)")
    }
    if entry.pathIgnoresCase { parts.append("ignoring case") }
    if let method = entry.method { parts.append("method \(method)") }
    parts += entry.headers.map { "header \(value($0))" }
    parts += entry.queryParameters.map { "query \(value($0))" }
    if let authority = entry.authority { parts.append("authority\(value(authority))") }
    return .string("\(parts.joined(separator: ", ")) -> rule \(entry.rule)")
  }

  private func value(_ match: ValueMatch) -> String {
    let test =
      switch match.test {
      case .exact(let text): "= \(text)"
      case .prefix(let text): "starts \(text)"
      case .regex(let text): "~ \(text)"
      case .present: "present"
      case .absent: "absent"
      }
    return (match.invert ? "not " : "") + "\(match.name) \(test)"
      + (match.missingIsEmpty ? " (missing is empty)" : "")
  }

  func rule(_ rule: RuleSource, _ index: Int) -> Node {
    var node: Node = .mapping([("rule", .int(index)), ("from", .string(rule.provenance))])
    switch rule.action {
    case .forward(let shares):
      node["forward"] = .sequence(
        shares.map { share in
          let id = share.backend.map { table.backends[$0].id } ?? "500"
          let changes =
            operations(share.requestHeaders, "request") + operations(share.responseHeaders, "response")
          return .string(([("\(id) weight \(share.weight)")] + changes).joined(separator: "; "))
        })
    case .redirect(let redirect):
      node["redirect"] = .string("\(redirect)".replacing("RoutingTable.", with: ""))
    case .respond(let status, let reason): node["respond"] = .string("\(status) \(reason)")
    }
    if rule.isGRPC { node["grpc"] = true }
    let changes = operations(rule.requestHeaders, "request") + operations(rule.responseHeaders, "response")
    if !changes.isEmpty { node["headers"] = .sequence(changes.map { .string($0) }) }
    if let rewrite = rule.rewrite {
      node["rewrite"] = .string("host \(rewrite.host ?? "-"), path \(rewrite.path.map { "\($0)" } ?? "-")")
    }
    if rule.requestTimeout > 0 { node["requestTimeout"] = .int(rule.requestTimeout) }
    if rule.backendTimeout > 0 { node["backendTimeout"] = .int(rule.backendTimeout) }
    return node
  }

  private func operations(_ list: [HeaderOperation], _ side: String) -> [String] {
    list.map { "\(side) \($0.kind) \($0.name)\($0.kind == .remove ? "" : ": \($0.value)")" }
  }

  func backend(_ backend: BackendSource) -> Node {
    var node: Node = .mapping([
      ("id", .string(backend.id)), ("protocol", .string("\(backend.proto)")),
      (
        "endpoints",
        .sequence(
          backend.endpoints.map {
            .string(
              "\($0.address) \($0.port)\($0.isReady ? "" : " unready")"
                + ($0.isTerminating ? " terminating" : "")
            )
          })
      ),
    ])
    if backend.proxyProtocol != .none { node["proxyProtocol"] = .string("\(backend.proxyProtocol)") }
    if let tls = backend.tls { node["tls"] = .string(describe(tls)) }
    return node
  }

  private func describe(_ tls: BackendTLSSource) -> String {
    var parts = ["server name \(tls.serverName.isEmpty ? "-" : tls.serverName)"]
    if !tls.subjectAltNames.isEmpty {
      parts.append("names " + tls.subjectAltNames.map { "\($0.kind) \($0.value)" }.joined(separator: " or "))
    }
    parts.append("held against \(tls.trustBundle.map { table.trustBundles[$0].name } ?? "the system's authorities")")
    if !tls.verifies { parts.append("not verified") }
    if let certificate = tls.certificate { parts.append("shows \(table.certificates[certificate].name)") }
    return parts.joined(separator: ", ")
  }
}
