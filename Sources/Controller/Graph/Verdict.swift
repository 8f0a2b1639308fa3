/// What a stage found out about one aspect of an object; Status makes a condition of it.
struct Verdict: Sendable, Equatable {
  var holds: Bool
  /// The API's one-word reason.
  var reason: String
  /// A sentence for people; empty when there is nothing to add.
  var message: String

  static func yes(_ reason: String, _ message: String = "") -> Verdict {
    Verdict(holds: true, reason: reason, message: message)
  }

  static func no(_ reason: String, _ message: String) -> Verdict {
    Verdict(holds: false, reason: reason, message: message)
  }

  static let accepted = Verdict.yes("Accepted")
  static let resolved = Verdict.yes("ResolvedRefs")

  /// The first fault with the messages of all, or `self` when there is none.
  func with(faults: [Fault]) -> Verdict {
    guard let first = faults.first else { return self }
    var messages: [String] = []
    for fault in faults where !messages.contains(fault.message) { messages.append(fault.message) }
    return .no(first.reason, bounded(messages))
  }
}

/// One thing that is wrong with an object or a part of it.
struct Fault: Error, Sendable, Hashable {
  var reason: String
  var message: String

  init(_ reason: String, _ message: String) {
    self.reason = reason
    self.message = message
  }

  func at(_ place: String) -> Fault { Fault(reason, "\(place): \(message)") }
}

/// Joins sentences within what a condition's message may hold (32,768 characters), leaving the rest out
/// by number.
func bounded(_ messages: [String]) -> String {
  let shown = messages.prefix(20)
  let text = shown.joined(separator: "; ")
  return messages.count > shown.count ? text + "; and \(messages.count - shown.count) more" : text
}
