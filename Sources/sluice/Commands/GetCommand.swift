import ArgumentParser
import GatewayAPI
import YAML

struct GetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "get",
    abstract: "Show objects.",
    discussion: """
      KIND is a kind, its plural or short name, also with its group (gateways.networking.istio.io), or `all`.

      Examples:
        sluice get gateways -A
        sluice get httproute shop -n web -o yaml
        sluice get all -A -o wide
        sluice get gateways -w
      """)

  @Argument(help: "KIND, KIND/NAME or KIND NAME.") var target: [String]
  @Flag(name: [.customShort("A"), .long], help: "In all namespaces.") var allNamespaces = false
  @Flag(name: [.customShort("w"), .long], help: "Go on and show changes.") var watch = false
  @Option(name: [.customShort("l"), .long], help: "Only objects with these labels: team=web,tier!=db.")
  var selector: String?
  @Option(name: [.customShort("o"), .long], help: "\(OutputFormat.list)") var output = OutputFormat.table
  @OptionGroup var connection: ConnectionOptions

  static let tableType = "application/json;as=Table;v=v1;g=meta.k8s.io"

  func run() async throws {
    let kubeconfig = try connection.load()
    let isEverything = target == ["all"]
    let kinds = isEverything ? ResourceKind.allCases : try Target(target).kinds
    let name = isEverything ? nil : try Target(target).name
    if watch && kinds.count > 1 && isEverything {
      throw CommandError.failed("-w shows changes of one kind; name it")
    }
    try await APIClient.with(kubeconfig) { client in
      if let name {
        try await one(name, kinds, client)
      } else {
        try await list(kinds, client, isEverything: isEverything)
      }
    }
  }

  private func query(_ more: [String] = []) -> String {
    let parts = (selector.map { ["labelSelector=\(APIPaths.escaped($0))"] } ?? []) + more
    return parts.isEmpty ? "" : "?" + parts.joined(separator: "&")
  }

  private func one(_ name: String, _ kinds: [ResourceKind], _ client: APIClient) async throws {
    let (key, answer) = try await Target(["\(kinds[0].qualifiedName)", name], kinds: kinds).find(client)
    switch output {
    case .yaml, .json: Renderer(format: output).print(answer.body)
    case .name: Terminal.print(key.shown)
    case .table, .wide:
      let table = try await client.call("GET", APIPaths.object(key), accept: Self.tableType)
      let shown = text(table.body, key.kind, prefix: false)
      for line in shown.lines() { Terminal.print(line) }
      if watch {
        let query = query(["fieldSelector=metadata.name%3D\(APIPaths.escaped(name))"])
        try await follow(key.kind, client, table.body, query: query, widths: shown.widths())
      }
    }
  }

  private func list(_ kinds: [ResourceKind], _ client: APIClient, isEverything: Bool) async throws {
    var answers: [(ResourceKind, Node)] = []
    let accept = output == .yaml || output == .json ? "application/json" : Self.tableType
    for kind in kinds {
      answers.append((kind, try await client.call("GET", path(kind, client) + query(), accept: accept).body))
    }
    if output == .yaml || output == .json { return printList(answers) }
    let filled = answers.filter { $0.1["rows"]?.sequence?.isEmpty == false }
    if filled.isEmpty {
      let place = allNamespaces ? "" : " in the namespace \(client.kubeconfig.namespace)"
      Terminal.error("no objects found\(place)")
    }
    var widths: [Int] = []
    for (index, (kind, answer)) in filled.enumerated() {
      let table = text(answer, kind, prefix: filled.count > 1 || isEverything)
      if output == .name {
        for row in answer["rows"]?.sequence ?? [] {
          let name = row["object"]?["metadata"]?["name"]?.string ?? ""
          Terminal.print(ResourceKey(kind: kind, namespace: "", name: name).shown)
        }
        continue
      }
      if index > 0 { Terminal.print("") }
      for line in table.lines() { Terminal.print(line) }
      widths = table.widths()
    }
    if watch, let (kind, answer) = filled.first ?? answers.first {
      try await follow(kind, client, answer, query: query(), widths: widths)
    }
  }

  private func path(_ kind: ResourceKind, _ client: APIClient) -> String {
    APIPaths.collection(kind, namespace: allNamespaces ? nil : client.kubeconfig.namespace)
  }

  /// One kind's list as it came; several kinds as one `List`.
  private func printList(_ answers: [(ResourceKind, Node)]) {
    var items: [Node] = []
    for (kind, answer) in answers {
      for var item in answer["items"]?.sequence ?? [] {
        if item["kind"] == nil { item["kind"] = .string(kind.kind) }
        items.append(item)
      }
    }
    Renderer(format: output).print(["apiVersion": "v1", "kind": "List", "items": .sequence(items)])
  }

  private func follow(
    _ kind: ResourceKind, _ client: APIClient, _ start: Node, query: String, widths: [Int]
  ) async throws {
    let version = start["metadata"]?["resourceVersion"]?.string ?? ""
    let joint = query.isEmpty ? "?" : "&"
    var widths = widths
    var isFirst = widths.isEmpty
    let path = path(kind, client) + query + "\(joint)watch=true&resourceVersion=\(version)"
    try await client.watch(path, accept: Self.tableType) { event in
      guard let object = event["object"] else { return true }
      if event["type"]?.string == "ERROR" {
        throw CommandError.failed(object["message"]?.string ?? "the watch ended with an error")
      }
      var table = text(object, kind, prefix: false)
      if event["type"]?.string == "DELETED" {
        table.rows = table.rows.map { $0 + ["(deleted)"] }
      }
      for line in table.lines(showHeader: isFirst, atLeast: widths) { Terminal.print(line) }
      widths = table.widths(atLeast: widths)
      isFirst = false
      return true
    }
  }

  /// The API's table, with the namespace in front where objects of several are shown.
  private func text(_ table: Node, _ kind: ResourceKind, prefix: Bool) -> TextTable {
    let columns = table["columnDefinitions"]?.sequence ?? []
    let chosen = columns.indices.filter { output == .wide || (columns[$0]["priority"]?.int ?? 0) == 0 }
    let showsNamespace = allNamespaces && kind.isNamespaced
    var result = TextTable(header: chosen.map { (columns[$0]["name"]?.string ?? "").uppercased() })
    if showsNamespace { result.header.insert("NAMESPACE", at: 0) }
    for row in table["rows"]?.sequence ?? [] {
      var cells = chosen.map { row["cells"]?[$0]?.string ?? "" }
      if prefix, !cells.isEmpty {
        cells[0] = ResourceKey(kind: kind, namespace: "", name: cells[0]).shown
      }
      if showsNamespace { cells.insert(row["object"]?["metadata"]?["namespace"]?.string ?? "", at: 0) }
      result.rows.append(cells)
    }
    return result
  }
}

extension Target {
  init(_ words: [String], kinds: [ResourceKind]) throws(CommandError) {
    try self.init(words)
    self.kinds = kinds
  }
}
