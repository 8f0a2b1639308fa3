import ArgumentParser
import GatewayAPI
import YAML

struct DescribeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "describe",
    abstract: "Show an object with its conditions, listeners, routes and where it came from.",
    discussion: """
      Examples:
        sluice describe gateway/hoopgateway
        sluice describe httproute shop -n web
        sluice describe gateways.networking.istio.io/hoopgateway
      """)

  @Argument(help: "KIND/NAME or KIND NAME.") var target: [String]
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    let kubeconfig = try connection.load()
    try await APIClient.with(kubeconfig) { client in
      let (key, answer) = try await Target(object: target).find(client)
      var description = Description(key: key, object: answer.body)
      if key.kind == .gateway || key.kind == .istioGateway {
        description.routes = try await routes(of: key, client)
      }
      for line in description.lines() { Terminal.print(line) }
    }
  }

  /// Routes of all namespaces that name this gateway as a parent.
  private func routes(of gateway: ResourceKey, _ client: APIClient) async throws -> [(ResourceKey, Node)] {
    let kinds: [ResourceKind] =
      gateway.kind == .gateway ? [.httpRoute, .grpcRoute, .tlsRoute, .tcpRoute, .udpRoute] : [.virtualService]
    var found: [(ResourceKey, Node)] = []
    for kind in kinds {
      let list = try await client.call("GET", APIPaths.collection(kind, namespace: nil)).body
      for route in list["items"]?.sequence ?? [] {
        let namespace = route["metadata"]?["namespace"]?.string ?? ""
        guard Self.isParent(gateway, of: route, in: namespace) else { continue }
        let key = ResourceKey(
          kind: kind, namespace: namespace, name: route["metadata"]?["name"]?.string ?? "")
        found.append((key, route))
      }
    }
    return found
  }

  static func isParent(_ gateway: ResourceKey, of route: Node, in namespace: String) -> Bool {
    if gateway.kind == .istioGateway {
      let names = (route["spec"]?["gateways"]?.sequence ?? []).compactMap(\.string)
      return names.contains { name in
        name == "\(gateway.namespace)/\(gateway.name)"
          || (name == gateway.name && namespace == gateway.namespace)
      }
    }
    return (route["spec"]?["parentRefs"]?.sequence ?? []).contains { parent in
      parent["name"]?.string == gateway.name
        && (parent["namespace"]?.string ?? namespace) == gateway.namespace
        && (parent["kind"]?.string ?? "Gateway") == "Gateway"
    }
  }
}

/// An object in words.
struct Description {
  let key: ResourceKey
  let object: Node
  var routes: [(ResourceKey, Node)] = []

  init(key: ResourceKey, object: Node) {
    self.key = key
    self.object = object
  }

  func lines() -> [String] {
    var lines = head()
    lines += spec()
    lines += listeners()
    lines += parents()
    lines += conditions("Conditions", object["status"]?["conditions"])
    if !routes.isEmpty { lines += attachedRoutes() }
    return lines
  }

  private func head() -> [String] {
    let metadata = object["metadata"]
    var lines = ["Name:         \(key.name)"]
    if key.kind.isNamespaced { lines.append("Namespace:    \(key.namespace)") }
    lines.append("Kind:         \(key.kind.kind) (\(object["apiVersion"]?.string ?? ""))")
    let labels = (metadata?["labels"]?.entries ?? []).map { "\($0.key)=\($0.value.string ?? "")" }
    if !labels.isEmpty { lines.append("Labels:       \(labels.joined(separator: ", "))") }
    lines.append("Generation:   \(metadata?["generation"]?.int ?? 0)")
    lines.append("Created:      \(metadata?["creationTimestamp"]?.string ?? "")")
    lines.append("Applied from: \(provenance)")
    let addresses = (object["status"]?["addresses"]?.sequence ?? []).compactMap { $0["value"]?.string }
    if !addresses.isEmpty { lines.append("Addresses:    \(addresses.joined(separator: ", "))") }
    return lines
  }

  private var provenance: String {
    let annotations = object["metadata"]?["annotations"]
    if let source = annotations?[Applier.sourceAnnotation]?.string { return source }
    if annotations?["kubectl.kubernetes.io/last-applied-configuration"] != nil { return "kubectl apply" }
    return "the API (no file was named)"
  }

  /// The object's own text; what a Secret holds stays out of terminals and logs.
  private func spec() -> [String] {
    if key.kind == .secret {
      let keys = (object["data"]?.entries ?? []).map {
        "  \($0.key): \(($0.value.string ?? "").count * 3 / 4) bytes"
      }
      return ["Data:"] + keys
    }
    var shown = object
    for field in ["apiVersion", "kind", "metadata", "status"] { shown[field] = nil }
    if shown.entries?.isEmpty != false { return [] }
    let text = YAML.write(shown["spec"] ?? shown)
    return ["Spec:"] + text.split(separator: "\n").map { "  \($0)" }
  }

  private func listeners() -> [String] {
    guard let listeners = object["status"]?["listeners"]?.sequence, !listeners.isEmpty else { return [] }
    var lines = ["Listeners:"]
    for listener in listeners {
      let name = listener["name"]?.string ?? ""
      lines.append("  \(name): \(listener["attachedRoutes"]?.int ?? 0) attached routes")
      lines += conditions(nil, listener["conditions"]).map { "  " + $0 }
    }
    return lines
  }

  private func parents() -> [String] {
    guard let parents = object["status"]?["parents"]?.sequence, !parents.isEmpty else { return [] }
    var lines = ["Parents:"]
    for parent in parents {
      let reference = parent["parentRef"]
      var name = "\(reference?["kind"]?.string ?? "Gateway")/\(reference?["name"]?.string ?? "")"
      if let section = reference?["sectionName"]?.string { name += " listener \(section)" }
      lines.append("  \(name):")
      lines += conditions(nil, parent["conditions"]).map { "  " + $0 }
    }
    return lines
  }

  private func conditions(_ title: String?, _ node: Node?) -> [String] {
    guard let conditions = node?.sequence, !conditions.isEmpty else { return [] }
    var table = TextTable(header: ["Type", "Status", "Reason", "Message"])
    table.rows = conditions.map { condition in
      ["type", "status", "reason", "message"].map { condition[$0]?.string ?? "" }
    }
    return (title.map { ["\($0):"] } ?? []) + table.lines().map { "  " + $0 }
  }

  private func attachedRoutes() -> [String] {
    var table = TextTable(header: ["Route", "Hostnames", "Accepted", "ResolvedRefs"])
    for (key, route) in routes {
      let names = route["spec"]?[key.kind == .virtualService ? "hosts" : "hostnames"]?.sequence ?? []
      func state(_ type: String) -> String {
        WaitCommand.lacks(route, type: type, status: "True").map { "no: \($0)" } ?? "yes"
      }
      table.rows.append([
        "\(key.kind.singular)/\(key.namespace)/\(key.name)",
        names.compactMap(\.string).joined(separator: ","), state("Accepted"), state("ResolvedRefs"),
      ])
    }
    return ["Routes that name it:"] + table.lines().map { "  " + $0 }
  }
}
