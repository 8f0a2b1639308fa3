import ArgumentParser
import GatewayAPI
import YAML

struct DeleteCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete",
    abstract: "Delete objects by name or by the files that describe them.",
    discussion: """
      Examples:
        sluice delete httproute/shop -n web
        sluice delete -f manifests/hoop/
      """)

  @Argument(help: "KIND/NAME or KIND NAME.") var target: [String] = []
  @Option(name: [.customShort("f"), .long], help: "A file, a directory (with all below it) or - .")
  var filename: [String] = []
  @Flag(help: "It is no error when an object is not there.") var ignoreNotFound = false
  @OptionGroup var connection: ConnectionOptions

  func validate() throws {
    guard target.isEmpty != filename.isEmpty else {
      throw ValidationError("Name either an object (KIND/NAME) or files (-f).")
    }
  }

  func run() async throws {
    let kubeconfig = try connection.load()
    try await APIClient.with(kubeconfig) { client in
      var keys: [ResourceKey] = []
      if filename.isEmpty {
        let target = try Target(object: self.target)
        do {
          keys = [try await target.find(client).key]
        } catch CommandError.failed where ignoreNotFound {
          return
        }
      } else {
        let input = try Input.read(filename, namespace: kubeconfig.namespace)
        try input.report()
        keys = input.inOrder.reversed().map(\.key)
      }
      var missing: [String] = []
      for key in keys {
        let answer = try await client.send("DELETE", APIPaths.object(key))
        if answer.isSuccess {
          Terminal.print("\(key.shown) deleted")
        } else if answer.code == 404 {
          missing.append(answer.message)
        } else {
          throw CommandError.failed(answer.message)
        }
      }
      if !missing.isEmpty && !ignoreNotFound {
        throw CommandError.failed(missing.joined(separator: "; "))
      }
    }
  }
}
