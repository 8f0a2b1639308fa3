import ArgumentParser

enum Version {
  static let text = "0.1.0"
}

struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "version", abstract: "Print the version.")

  func run() {
    Terminal.print("sluice \(Version.text)")
  }
}
