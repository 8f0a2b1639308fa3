import ArgumentParser
import GatewayAPI
import YAML

struct ApplyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "apply",
    abstract: "Create or change objects so that they are as the files say.",
    discussion: """
      All files are read and checked before anything is sent: an error leaves everything as it was. Fields \
      that this command set earlier and that the files no longer name are removed; what others set stays.

      Examples:
        sluice apply -f gateway.yaml
        sluice apply -f manifests/hoop/ -f extra.yaml
        cat route.yaml | sluice apply -f -
      """)

  @Option(name: [.customShort("f"), .long], help: "A file, a directory (with all below it) or - .")
  var filename: [String]
  @Flag(help: "Check with the API, but change nothing.") var dryRun = false
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    let kubeconfig = try connection.load()
    let input = try Input.read(filename, namespace: kubeconfig.namespace)
    try input.report()
    try await APIClient.with(kubeconfig) { client in
      try await Applier(client: client).apply(input, dryRun: dryRun) { Terminal.print($0) }
    }
  }
}

/// Sends objects by server-side apply under this command's name.
struct Applier {
  static let manager = "sluice"
  /// Where an object came from: an absolute path and a line.
  static let sourceAnnotation = "sluice.dev/applied-from"
  /// The lines of its rules there, so that explanations can name them.
  static let linesAnnotation = "sluice.dev/rule-lines"
  let client: APIClient

  /// The API is asked about every object before the first is changed.
  func apply(_ input: Input, dryRun: Bool, _ print: (String) -> Void) async throws(CommandError) {
    let objects = input.inOrder
    for object in objects { _ = try await send(object, dryRun: true) }
    for object in objects {
      let before = try await client.send("GET", APIPaths.object(object.key))
      let after = try await send(object, dryRun: dryRun)
      for warning in after.warnings where !isKnown(warning, input) { Terminal.error("warning: \(warning)") }
      let outcome: String
      if before.code == 404 {
        outcome = "created"
      } else if version(before) == version(after) {
        outcome = "unchanged"
      } else {
        outcome = "configured"
      }
      print("\(object.key.shown) \(outcome)\(dryRun ? " (dry run)" : "")")
    }
  }

  private func version(_ answer: APIClient.Answer) -> String? {
    answer.body["metadata"]?["resourceVersion"]?.string
  }

  /// What the files' own check already said, with the line.
  private func isKnown(_ warning: String, _ input: Input) -> Bool {
    input.diagnostics.contains { warning == "\($0.path): \($0.message)" || warning == $0.message }
  }

  private func send(_ object: InputObject, dryRun: Bool) async throws(CommandError) -> APIClient.Answer {
    var node = object.node
    if let line = object.resource.origin?.position.line, object.file != Input.standardInput {
      var metadata = node["metadata"] ?? .mapping([])
      var annotations = metadata["annotations"] ?? .mapping([])
      annotations[Self.sourceAnnotation] = .string("\(Input.resolved(object.file)):\(line)")
      let rules = ["rules", "http", "tls", "tcp"].flatMap { node["spec"]?[$0]?.sequence ?? [] }
      if !rules.isEmpty {
        annotations[Self.linesAnnotation] = .string(rules.map { "\($0.position.line)" }.joined(separator: ","))
      }
      metadata["annotations"] = annotations
      node["metadata"] = metadata
    }
    let path =
      APIPaths.object(object.key, version: object.version)
      + "?fieldManager=\(Self.manager)&force=true&fieldValidation=Warn\(dryRun ? "&dryRun=All" : "")"
    let answer = try await client.send(
      "PATCH", path, body: JSON.bytes(node), contentType: "application/apply-patch+yaml")
    if answer.isSuccess { return answer }
    let place = object.resource.origin.map { "\($0): " } ?? ""
    if answer.code == 422 { throw .invalid(place + answer.message) }
    throw .failed(place + answer.message)
  }
}

extension ResourceKey {
  /// As kubectl names objects: `httproute.gateway.networking.k8s.io/shop`.
  var shown: String {
    let kindName = kind.group.isEmpty ? kind.singular : "\(kind.singular).\(kind.group)"
    return "\(kindName)/\(name)"
  }
}
