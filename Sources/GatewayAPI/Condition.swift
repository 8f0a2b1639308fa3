public import YAML

/// meta/v1 Condition: one observation about an object.
public struct Condition: Hashable, Sendable {
  public enum Status: String, CaseIterable, Sendable {
    case `true` = "True"
    case `false` = "False"
    case unknown = "Unknown"
  }

  public var type: String
  public var status: Status
  /// One word in camel case that programs read.
  public var reason: String
  /// A sentence that people read.
  public var message: String
  /// `metadata.generation` of the object that was looked at.
  public var observedGeneration: Int64
  /// RFC 3339; empty until the condition is merged into a status.
  public var lastTransitionTime: String

  public init(
    _ type: String, _ status: Status, reason: String, message: String = "", observedGeneration: Int64 = 0,
    lastTransitionTime: String = ""
  ) {
    self.type = type
    self.status = status
    self.reason = reason
    self.message = message
    self.observedGeneration = observedGeneration
    self.lastTransitionTime = lastTransitionTime
  }

  init?(_ reader: inout ObjectReader) {
    type = reader.requiredString("type")
    status = reader.requiredChoice("status", Status.self) ?? .unknown
    reason = reader.string("reason") ?? ""
    message = reader.string("message") ?? ""
    // Istio allows the generation as a string.
    let generation = reader.value("observedGeneration")
    observedGeneration = generation?.int ?? generation?.string.flatMap { Int64($0) } ?? 0
    lastTransitionTime = reader.string("lastTransitionTime") ?? ""
    if type.isEmpty { return nil }
  }

  /// In the order of keys in which Kubernetes prints it.
  public func node() -> Node {
    .mapping([
      ("lastTransitionTime", .string(lastTransitionTime)),
      ("message", .string(message)),
      ("observedGeneration", .int(observedGeneration)),
      ("reason", .string(reason)),
      ("status", .string(status.rawValue)),
      ("type", .string(type)),
    ])
  }

  /// The new conditions with the time of each: the time of the old one of that type when its status is the
  /// same, else `now` (RFC 3339). Old conditions of types that are not among the new ones are dropped.
  public static func merged(_ new: [Condition], into old: [Condition], now: String) -> [Condition] {
    new.map { condition in
      var condition = condition
      let before = old.first { $0.type == condition.type }
      if let before, before.status == condition.status, !before.lastTransitionTime.isEmpty {
        condition.lastTransitionTime = before.lastTransitionTime
      } else {
        condition.lastTransitionTime = now
      }
      return condition
    }
  }
}
