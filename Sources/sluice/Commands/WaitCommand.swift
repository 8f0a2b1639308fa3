import ArgumentParser
import GatewayAPI
import YAML

struct WaitCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wait",
    abstract: "Wait until an object has a condition or is gone.",
    discussion: """
      A condition counts only when it speaks of the object's newest generation. A route has it when all of \
      its parents have it.

      Examples:
        sluice wait gateway/hoopgateway --for=condition=Programmed --timeout 60s
        sluice wait httproute/shop --for=condition=Accepted=True
        sluice wait gateway/old --for=delete
      """)

  @Argument(help: "KIND/NAME or KIND NAME.") var target: [String]
  @Option(name: .customLong("for"), help: "condition=TYPE[=STATUS] or delete.") var goal: Goal
  @Option(help: "How long: 30s, 2m, 500ms.") var timeout = TimeSpan(duration: .seconds(30), text: "30s")
  @OptionGroup var connection: ConnectionOptions

  enum Goal: ExpressibleByArgument, Equatable {
    case condition(type: String, status: String)
    case deletion

    init?(argument: String) {
      let parts = argument.split(separator: "=").map(String.init)
      switch (parts.first, parts.count) {
      case ("delete", 1): self = .deletion
      case ("condition", 2): self = .condition(type: parts[1], status: "True")
      case ("condition", 3): self = .condition(type: parts[1], status: parts[2])
      default: return nil
      }
    }
  }

  private static let pause = Duration.milliseconds(150)

  func run() async throws {
    let kubeconfig = try connection.load()
    let target = try Target(object: target)
    let deadline = ContinuousClock.now + timeout.duration
    try await APIClient.with(kubeconfig) { client in
      var last = ""
      while true {
        let state = try await check(target, client)
        if let state { last = state } else { return }
        guard .now < deadline else {
          throw CommandError.timedOut("\(target.name ?? "") is not so after \(timeout.text): \(last)")
        }
        try await Task.sleep(for: Self.pause)
      }
    }
  }

  /// Nil: the goal is reached; otherwise how it stands.
  private func check(_ target: Target, _ client: APIClient) async throws -> String? {
    let found: (key: ResourceKey, answer: APIClient.Answer)
    do {
      found = try await target.find(client)
    } catch CommandError.failed(let message) {
      return goal == .deletion ? nil : message
    }
    guard case .condition(let type, let status) = goal else {
      Terminal.error("waiting for \(found.key.shown) to go")
      return "it is still there"
    }
    if let why = Self.lacks(found.answer.body, type: type, status: status) { return why }
    Terminal.print("\(found.key.shown) condition met")
    return nil
  }

  /// Why the object does not have the condition; nil when it has.
  static func lacks(_ object: Node, type: String, status: String) -> String? {
    let generation = object["metadata"]?["generation"]?.int ?? 0
    var places = [object["status"]?["conditions"]]
    if let parents = object["status"]?["parents"]?.sequence, !parents.isEmpty {
      places = parents.map { $0["conditions"] }
    }
    for conditions in places {
      guard let found = conditions?.sequence?.first(where: { $0["type"]?.string == type }) else {
        return "it has no condition \(type) yet"
      }
      if let observed = found["observedGeneration"]?.int, observed < generation {
        return "\(type) speaks of an older generation (\(observed) of \(generation))"
      }
      guard found["status"]?.string == status else {
        let reason = found["reason"]?.string ?? ""
        return
          "\(type) is \(found["status"]?.string ?? "Unknown") (\(reason)): \(found["message"]?.string ?? "")"
      }
    }
    return nil
  }
}

/// A duration with a unit: 500ms, 30s, 2m, 1h.
struct TimeSpan: ExpressibleByArgument, Equatable {
  let duration: Duration
  let text: String

  init(duration: Duration, text: String) {
    self.duration = duration
    self.text = text
  }

  init?(argument: String) {
    let digits = argument.prefix { $0.isASCII && $0.isNumber }
    guard let amount = Int64(digits), amount < 1_000_000 else { return nil }
    switch argument.dropFirst(digits.count) {
    case "ms": duration = .milliseconds(amount)
    case "s", "": duration = .seconds(amount)
    case "m": duration = .seconds(amount * 60)
    case "h": duration = .seconds(amount * 3600)
    default: return nil
    }
    text = argument
  }

  var defaultValueDescription: String { text }
}
