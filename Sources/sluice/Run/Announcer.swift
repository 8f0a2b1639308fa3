import Foundation
import GatewayAPI
import YAML

/// While the processes run: says where everything is, applies the objects of `-f`, and prints each listener's
/// status whenever it changes.
struct Announcer {
  enum Outcome { case ended, applyFailed }

  let layout: RunCommand.Layout
  let input: Input?

  func run() async -> Outcome {
    guard let kubeconfig = await ready() else { return .ended }
    Terminal.print(
      """
      sluice | API         \(kubeconfig.server)
      sluice | kubeconfig  \(layout.kubeconfig)
      sluice | control     \(layout.control)
      sluice | admin       \(layout.admin)
      """)
    do {
      try await APIClient.with(kubeconfig) { client in
        if let input {
          try await Applier(client: client).apply(input, dryRun: false) { Terminal.print("sluice | \($0)") }
        }
        await follow(client)
      }
    } catch {
      if Task.isCancelled { return .ended }
      Terminal.error("error: \((error as? CommandError)?.message ?? "\(error)")")
      kill(getpid(), SIGTERM)
      return .applyFailed
    }
    return .ended
  }

  /// The kubeconfig, once the API answers under it.
  private func ready() async -> Kubeconfig? {
    while !Task.isCancelled {
      if let kubeconfig = try? Kubeconfig.find(layout.kubeconfig, environment: [:]) {
        let answers = try? await APIClient.with(kubeconfig) { client in
          // Behind the token: a kubeconfig of an earlier run does not count.
          try await client.send("GET", "/version").isSuccess
        }
        if answers == true { return kubeconfig }
      }
      try? await Task.sleep(for: .milliseconds(100))
    }
    return nil
  }

  private func follow(_ client: APIClient) async {
    await withTaskGroup(of: Void.self) { group in
      for kind in [ResourceKind.gateway, .istioGateway] {
        group.addTask {
          var shown: [String: String] = [:]
          while !Task.isCancelled {
            try? await client.watch(APIPaths.collection(kind, namespace: nil) + "?watch=true") { event in
              for (subject, text) in Self.statuses(event, kind) where shown[subject] != text {
                shown[subject] = text
                Terminal.print("sluice | \(subject): \(text)")
              }
              return true
            }
            // The controller is being restarted, or the watch's time is over.
            try? await Task.sleep(for: .seconds(1))
          }
        }
      }
    }
  }

  /// What there is to say about each listener; nothing before the status speaks of the newest generation.
  static func statuses(_ event: Node, _ kind: ResourceKind) -> [(subject: String, text: String)] {
    guard let object = event["object"], event["type"]?.string != "DELETED",
      let metadata = object["metadata"], let name = metadata["name"]?.string
    else { return [] }
    let place = "\(metadata["namespace"]?.string ?? "")/\(name)"
    let gateway = kind == .gateway ? "gateway \(place)" : "istio gateway \(place)"
    let listeners = object["status"]?["listeners"]?.sequence ?? []
    let groups =
      listeners.isEmpty
      ? [(gateway, object["status"]?["conditions"])]
      : listeners.map { ("\(gateway) listener \($0["name"]?.string ?? "")", $0["conditions"]) }
    return groups.compactMap { subject, conditions in
      let all = conditions?.sequence ?? []
      guard let programmed = all.first(where: { $0["type"]?.string == "Programmed" }) else { return nil }
      let problems = all.filter { condition in
        let isBad = condition["type"]?.string == "Conflicted" ? "True" : "False"
        return condition["status"]?.string == isBad
      }
      if problems.isEmpty { return programmed["status"]?.string == "True" ? (subject, "programmed") : nil }
      let reasons = problems.map { problem in
        let (type, reason) = (problem["type"]?.string ?? "", problem["reason"]?.string ?? "")
        return "\(type) \(reason): \(problem["message"]?.string ?? "")"
      }
      let isServing = programmed["status"]?.string == "True"
      return (
        subject, (isServing ? "programmed, but " : "not programmed, ") + reasons.joined(separator: "; ")
      )
    }
  }
}
