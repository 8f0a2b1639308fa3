import GatewayAPI
import RoutingTable

/// One route of the Gateway API, read into the neutral form; nothing of its parents has been looked at.
struct RouteDraft {
  var object: ObjectIdentity
  var parentRefs: [ParentReference]
  /// Empty: every host of the listener.
  var hostnames: [Hostname]
  var rules: [RuleDraft]
  var notices: [Notice] = []
}

struct RuleDraft {
  var source: RuleSource
  /// The rule index of each entry is filled in when the rule is added to the model.
  var matches: [MatchDraft]
  /// Why the rule answers 500 to all of its requests; empty when it works.
  var faults: [Fault] = []
  /// References that do not resolve; their share of the requests gets 500.
  var referenceFaults: [Fault] = []
  /// The same rule where TLS has ended here, when that makes a difference: what was in it may have to be encrypted
  /// anew.
  var decrypted: RuleSource?
  /// References that do not resolve only there.
  var decryptedFaults: [Fault] = []
}

struct MatchDraft {
  var weights: [Int]
  var entry: EntrySource
}

extension RuleDraft {
  /// Makes the rule answer 500, and says why.
  mutating func refuse(_ fault: Fault) {
    faults.append(fault)
    source = Self.broken(source, fault)
  }

  static func broken(_ source: RuleSource, _ fault: Fault) -> RuleSource {
    RuleSource(
      provenance: source.provenance, action: .respond(status: 500, reason: "invalid rule"),
      isGRPC: source.isGRPC)
  }

  /// Asks the table about every piece of this rule, so that what it cannot take (a regular expression, a
  /// header name) stays the fault of this rule and never of the whole table. A match that is refused is left
  /// out; a rule that is refused answers 500.
  mutating func prove(memory: inout BuildMemory, place: String) {
    if !memory.soundRules.contains(source) {
      if let problem = source.problem {
        refuse(Fault("UnsupportedValue", problem.description).at(place))
      } else {
        memory.soundRules.insert(source)
      }
    }
    var kept: [MatchDraft] = []
    for (index, match) in matches.enumerated() {
      if !memory.soundEntries.contains(match.entry) {
        if let problem = match.entry.problem {
          faults.append(Fault("UnsupportedValue", problem.description).at("\(place).matches[\(index)]"))
          continue
        }
        memory.soundEntries.insert(match.entry)
      }
      kept.append(match)
    }
    matches = kept
  }
}

extension Duration {
  /// Whole milliseconds, at least 1 for anything above zero; zero stays zero (no limit).
  var milliseconds: UInt32 {
    let parts = components
    let value = parts.seconds.multipliedReportingOverflow(by: 1000)
    if value.overflow { return UInt32.max }
    let total = value.partialValue + parts.attoseconds / 1_000_000_000_000_000
    return total == 0 && self > .zero ? 1 : UInt32(clamping: total)
  }
}
