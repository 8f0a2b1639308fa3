import ArgumentParser
import Foundation
import YAML

struct ExplainCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Say where a request or a connection would go, and why.",
    discussion: """
      The compiled table answers: listener, host, path node, rule, backend and endpoints, and for each \
      candidate that was passed over the predicate that failed. Nothing is sent. Below HTTP, the host of \
      tls:// is the server name that the client asks for; without one, it asks for none.

      Examples:
        sluice explain http://hoop.yourdomain.org/api/healthz
        sluice explain -X POST -H 'content-type: application/grpc' \\
          http://hoop.yourdomain.org/protobuf.Transport/Connect
        sluice explain tls://db.example.com:443
        sluice explain tcp://:3306
        sluice explain udp://:53
      """)

  @Option(name: [.customShort("X"), .customLong("request")], help: "The method.") var method = "GET"
  @Option(name: [.customShort("H"), .customLong("header")], help: "'name: value'. May be repeated.")
  var headers: [String] = []
  @Option(name: [.customShort("o"), .long], help: "table, yaml or json.") var output = OutputFormat.table
  @Argument(help: "The URL as a client would ask for it, or tls://NAME:PORT, tcp://:PORT, udp://:PORT.")
  var url: String
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    let question = try Self.question(method: method, headers: headers, url: url)
    let kubeconfig = try connection.load()
    try await APIClient.with(kubeconfig) { client in
      let answer = try await client.call(
        "POST", "/apis/sluice.dev/v1alpha1/explain", body: JSON.bytes(question))
      if output == .yaml || output == .json { return Renderer(format: output).print(answer.body) }
      for line in ExplanationText(answer.body).lines() { Terminal.print(line) }
      switch answer.body["outcome"]?.string {
      case "matched", "requests": return
      default: throw CommandError.failed("no rule serves this \(Self.isConnection(url) ? "connection" : "request")")
      }
    }
  }

  /// What the API is asked: method, scheme, authority, port, target, headers.
  static func question(method: String, headers: [String], url: String) throws(CommandError) -> Node {
    if isConnection(url) {
      guard headers.isEmpty, method == "GET" else {
        throw .failed("\(url): -X and -H are for requests, of http or https")
      }
      return try connection(url)
    }
    let text = url.contains("://") ? url : "http://" + url
    guard let scheme = text.split(separator: ":").first, ["http", "https"].contains(scheme) else {
      throw .failed("\(url): the scheme must be http, https, tls, tcp or udp")
    }
    let rest = text.dropFirst(scheme.count + 3)
    let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    guard !authority.isEmpty, !authority.contains("@") else { throw .failed("\(url) names no host") }
    var target = String(rest.dropFirst(authority.count).prefix { $0 != "#" })
    if !target.hasPrefix("/") { target = "/" + target }
    let port = try Self.port(authority, url) ?? (scheme == "https" ? 443 : 80)
    var lines: [Node] = []
    var host = String(authority)
    for header in headers {
      guard let colon = header.firstIndex(of: ":"), colon != header.startIndex else {
        throw .failed("-H '\(header)': write it like 'name: value'")
      }
      let name = header[..<colon].lowercased()
      let value = header[header.index(after: colon)...].trimmingCharacters(in: .whitespaces)
      // As with curl: a Host header takes the URL's place, the URL still names the port.
      if name == "host" {
        host = value
      } else {
        lines.append(["name": .string(name), "value": .string(value)])
      }
    }
    return [
      "method": .string(method), "scheme": .string(String(scheme)), "authority": .string(host),
      "port": .int(port), "target": .string(target), "headers": .sequence(lines),
    ]
  }
}

extension ExplainCommand {
  static func isConnection(_ url: String) -> Bool {
    ["tls://", "tcp://", "udp://"].contains { url.hasPrefix($0) }
  }

  /// `tls://NAME:PORT` with either part left out at will; `tcp://:PORT` and `udp://:PORT`, whose host says nothing.
  private static func connection(_ url: String) throws(CommandError) -> Node {
    let scheme = String(url.prefix(3))
    var authority = url.dropFirst(6)
    if authority.hasSuffix("/") { authority.removeLast() }
    guard !authority.contains(where: { "/?#@".contains($0) }) else {
      throw .failed("\(url) must end with the port")
    }
    guard let port = try port(authority, url) ?? (scheme == "tls" ? 443 : nil) else {
      throw .failed("\(url) names no port; write \(scheme)://:PORT")
    }
    let name = authority.prefix { $0 != ":" && $0 != "[" }
    return [
      "scheme": .string(scheme), "authority": .string(scheme == "tls" ? String(name) : ""), "port": .int(port),
    ]
  }

  /// The port that an authority names, if any.
  private static func port(_ authority: Substring, _ url: String) throws(CommandError) -> Int? {
    guard let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") else { return nil }
    guard let number = UInt16(authority[authority.index(after: colon)...]), number > 0 else {
      throw .failed("\(url): the port is not a number from 1 to 65535")
    }
    return Int(number)
  }
}

/// An explanation in words; the fields are those of the API's answer.
struct ExplanationText {
  private let answer: Node

  init(_ answer: Node) { self.answer = answer }

  /// Of bytes or datagrams rather than of requests.
  private var isConnection: Bool { answer["serves"]?.string.map { $0 != "http" } ?? false }

  func lines() -> [String] {
    let first = answer["expectsProxyProtocol"]?.bool == true ? ", behind a PROXY protocol header" : ""
    var lines = ["Asked for: \(text("request"))", "Socket:    \(text("socket")) (\(text("kind"))\(first))"]
    if let listener = answer["listener"]?.string {
      let host = answer["listenerHostname"]?.string ?? ""
      lines.append("Listener:  \(listener)\(host.isEmpty ? "" : " (\(host))")")
    }
    if let host = answer["virtualHost"]?.string { lines.append("Host:      \(host)") }
    if let node = answer["pathNode"]?.string { lines.append("Path node: \(node)") }
    if let match = answer["match"] { lines += self.match(match) }
    lines += candidates("Passed over", answer["passedOver"])
    if answer["match"] == nil || isConnection { lines.append("Outcome:   \(text("message"))") }
    guard answer["match"] == nil else { return lines }
    lines += candidates("Other paths of this host", answer["otherPaths"])
    let hosts = (answer["knownHosts"]?.sequence ?? []).compactMap(\.string)
    if !hosts.isEmpty { lines.append("Known hosts: \(hosts.joined(separator: ", "))") }
    return lines
  }

  private func text(_ field: String) -> String { answer[field]?.string ?? "" }

  private func match(_ match: Node) -> [String] {
    var lines = ["Match:     \(match["matcher"]?.string ?? "")", "Rule:      \(match["rule"]?.string ?? "")"]
    for name in ["rewrittenTarget", "rewrittenHost", "requestTimeout", "backendTimeout"] {
      guard let value = match[name] else { continue }
      lines.append("  \(name): \(value.string ?? JSON.write(value))")
    }
    for name in ["requestHeaders", "responseHeaders"] {
      for operation in match[name]?.sequence ?? [] { lines.append("  \(name): \(operation.string ?? "")") }
    }
    let action = match["action"]
    switch action?["type"]?.string {
    case "redirect":
      lines.append(
        "Answer:    redirect \(action?["status"]?.int ?? 0) to \(action?["location"]?.string ?? "")")
    case "respond":
      lines.append("Answer:    \(action?["status"]?.int ?? 0) \(action?["reason"]?.string ?? "")")
    default:
      let backends = action?["backends"]?.sequence ?? []
      if backends.isEmpty {
        lines.append("Answer:    \(isConnection ? "none" : "500"), the rule has no backend with a weight")
      }
      for backend in backends { lines += self.backend(backend) }
    }
    return lines
  }

  private func backend(_ backend: Node) -> [String] {
    let share = "\(backend["weight"]?.int ?? 0) of \(backend["totalWeight"]?.int ?? 0)"
    guard let name = backend["id"]?.string else {
      return ["Backend:   none, \(isConnection ? "closed" : "500") (weight \(share))"]
    }
    let proto = isConnection ? "" : "\(backend["protocol"]?.string ?? ""), "
    var lines = ["Backend:   \(name) (\(proto)weight \(share))"]
    let endpoints = backend["endpoints"]?.sequence ?? []
    if endpoints.isEmpty { lines.append("  no endpoints: \(isConnection ? "closed" : "503")") }
    for endpoint in endpoints {
      var line = "  \(endpoint["address"]?.string ?? ""):\(endpoint["port"]?.int ?? 0)"
      if endpoint["isReady"]?.bool == false { line += " not ready" }
      if endpoint["isTerminating"]?.bool == true { line += " terminating" }
      lines.append(line)
    }
    return lines
  }

  private func candidates(_ title: String, _ node: Node?) -> [String] {
    guard let candidates = node?.sequence, !candidates.isEmpty else { return [] }
    var lines = ["\(title):"]
    for candidate in candidates {
      let rule = candidate["rule"]?.string ?? ""
      lines.append("  \(candidate["matcher"]?.string ?? "")\(rule.isEmpty ? "" : "  [\(rule)]")")
      for failure in candidate["failures"]?.sequence ?? [] {
        let (wanted, got) = (failure["wanted"]?.string ?? "", failure["got"]?.string ?? "")
        lines.append(
          "    \(failure["predicate"]?.string ?? "") wanted \(wanted), got \(got.isEmpty ? "nothing" : got)")
      }
    }
    return lines
  }
}
