import ArgumentParser
import YAML

struct ValidateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "validate",
    abstract: "Check files without sending them anywhere.",
    discussion: """
      Findings name file:line:column and the field's path. With -o json they are a list of objects.

      Examples:
        sluice validate -f manifests/
        cat route.yaml | sluice validate -f - --strict
      """)

  @Option(name: [.customShort("f"), .long], help: "A file, a directory (with all below it) or - .")
  var filename: [String]
  @Option(name: [.customShort("n"), .long], help: "The namespace of objects that name none.")
  var namespace = "default"
  @Flag(help: "Warnings count as errors.") var strict = false
  @Option(name: [.customShort("o"), .long], help: "\(OutputFormat.list)") var output = OutputFormat.table

  func run() throws {
    let input = try Input.read(filename, namespace: namespace)
    switch output {
    case .table, .wide, .name:
      for diagnostic in input.diagnostics { Terminal.error("\(diagnostic)") }
    case .json, .yaml:
      Renderer(format: output).print(.sequence(input.diagnostics.map(Self.node)))
    }
    let errors = input.diagnostics.count { $0.isError || strict }
    guard errors == 0 else { throw CommandError.invalid("\(errors) error\(errors == 1 ? "" : "s")") }
    if output == .table || output == .wide {
      let count = input.objects.count
      Terminal.print("\(count) object\(count == 1 ? " is" : "s are") valid")
    }
  }

  private static func node(_ diagnostic: Diagnostic) -> Node {
    [
      "severity": .string(diagnostic.severity.rawValue), "file": diagnostic.file.map { .string($0) } ?? .null,
      "line": .int(diagnostic.position.line), "column": .int(diagnostic.position.column),
      "path": .string(diagnostic.path), "message": .string(diagnostic.message),
    ]
  }
}
