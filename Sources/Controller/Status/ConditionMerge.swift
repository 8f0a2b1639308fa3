import GatewayAPI
import YAML

/// Types of the conditions that are ours to set and to take away. Every other writer's stay.
private let ownTypes: Set<String> = [
  "Accepted", "Programmed", "ResolvedRefs", "Conflicted", "PartiallyInvalid", insecureValidation,
]
/// Gateway API's name for the condition of a Gateway with `AllowInsecureFallback`.
let insecureValidation = "InsecureFrontendValidationMode"
private let ownPrefix = "sluice.dev/"

func isOwnCondition(_ type: String) -> Bool { ownTypes.contains(type) || type.hasPrefix(ownPrefix) }

/// The `conditions` list of a status. A condition keeps its lastTransitionTime while its status stays the
/// same; ours that are no longer said go; those of other writers are kept as they are.
func mergedConditions(_ new: [Condition], old: Node?, now: String) -> Node {
  let before = old?.sequence ?? []
  var nodes: [Node] = new.map { condition in
    var condition = condition
    let match = before.first { $0["type"]?.string == condition.type }
    let time = match?["lastTransitionTime"]?.string ?? ""
    let isSame = match?["status"]?.string == condition.status.rawValue && !time.isEmpty
    condition.lastTransitionTime = isSame ? time : now
    return condition.node()
  }
  nodes += before.filter { !isOwnCondition($0["type"]?.string ?? "") }
  return .sequence(nodes)
}

/// Makes the conditions of one object in one version.
struct ConditionWriter {
  var generation: Int64

  func condition(_ type: String, _ verdict: Verdict) -> Condition {
    Condition(
      type, verdict.holds ? .true : .false, reason: verdict.reason, message: verdict.message,
      observedGeneration: generation)
  }

  /// A condition that is true when something is wrong.
  func problem(_ type: String, _ fault: Fault) -> Condition {
    Condition(type, .true, reason: fault.reason, message: fault.message, observedGeneration: generation)
  }

  func notice(_ notice: Notice) -> Condition {
    Condition(
      ownPrefix + notice.type, .true, reason: notice.reason, message: notice.message,
      observedGeneration: generation)
  }

  func refused(_ reason: String) -> Condition {
    self.notice(
      Notice(
        type: "SnapshotRefused", reason: "LastGoodKept",
        message: "the newest configuration is not in use, the last good one is: \(reason)"))
  }
}
