import ArgumentParser
import Foundation
import GatewayAPI

/// How a command finds the API and which namespace it means.
struct ConnectionOptions: ParsableArguments {
  @Option(help: "The kubeconfig of the API.", completion: .file()) var kubeconfig: String?
  @Option(name: [.customShort("n"), .long], help: "The namespace (default: the kubeconfig's).")
  var namespace: String?

  func load() throws(CommandError) -> Kubeconfig {
    var found = try Kubeconfig.find(kubeconfig, environment: ProcessInfo.processInfo.environment)
    if let namespace { found.namespace = namespace }
    return found
  }
}

/// `KIND` and perhaps a name, from `KIND`, `KIND/NAME` or `KIND NAME`.
struct Target: Equatable {
  /// More than one kind can go by a word; in order of preference.
  var kinds: [ResourceKind]
  var name: String?

  init(_ words: [String]) throws(CommandError) {
    guard let first = words.first, words.count <= 2 else {
      throw .failed("name one object as KIND/NAME or KIND NAME")
    }
    let parts = first.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard parts.count + words.count <= 3, !parts.contains("") else {
      throw .failed("\(words.joined(separator: " ")): name one object as KIND/NAME or KIND NAME")
    }
    let kinds = ResourceKind.matching(parts[0])
    guard !kinds.isEmpty else {
      let known = ResourceKind.allCases.map(\.plural).joined(separator: ", ")
      throw .failed("there is no kind \(parts[0]); known are \(known)")
    }
    self.kinds = kinds
    name = parts.count == 2 ? parts[1] : words.count == 2 ? words[1] : nil
  }

  /// With a name.
  init(object words: [String]) throws(CommandError) {
    try self.init(words)
    guard name != nil else { throw .failed("which \(kinds[0].singular)? Write \(kinds[0].singular)/NAME") }
  }

  /// The first of the kinds that has an object of that name.
  func find(_ client: APIClient) async throws(CommandError) -> (key: ResourceKey, answer: APIClient.Answer) {
    var message = ""
    for kind in kinds {
      let key = ResourceKey(kind: kind, namespace: client.kubeconfig.namespace, name: name ?? "")
      let answer = try await client.send("GET", APIPaths.object(key))
      if answer.isSuccess { return (key, answer) }
      guard answer.code == 404 else { throw .failed(answer.message) }
      if message.isEmpty { message = answer.message }
    }
    let place = kinds[0].isNamespaced ? " in the namespace \(client.kubeconfig.namespace)" : ""
    throw .failed(message + place)
  }
}
