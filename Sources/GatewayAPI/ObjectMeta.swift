import YAML

/// What every object carries under `metadata` (meta/v1 ObjectMeta).
public struct ObjectMeta: Hashable, Sendable {
  public struct OwnerReference: Hashable, Sendable {
    public var apiVersion: String
    public var kind: String
    public var name: String
    public var uid: String
    public var controller: Bool
    public var blockOwnerDeletion: Bool
  }

  public var name = ""
  /// Empty for kinds without namespaces.
  public var namespace = ""
  public var uid = ""
  public var resourceVersion = ""
  public var generation: Int64 = 0
  /// RFC 3339 in UTC with whole seconds, so that texts sort as their times do; empty when not set.
  public var creationTimestamp = ""
  public var deletionTimestamp: String?
  public var labels: [String: String] = [:]
  public var annotations: [String: String] = [:]
  public var finalizers: [String] = []
  public var ownerReferences: [OwnerReference] = []

  public init(name: String, namespace: String) {
    self.name = name
    self.namespace = namespace
  }

  init(_ reader: inout ObjectReader) {
    name = reader.requiredString("name", .objectName)
    namespace = reader.string("namespace", .label) ?? ""
    uid = reader.string("uid") ?? ""
    resourceVersion = reader.string("resourceVersion") ?? ""
    generation = Int64(reader.int("generation", in: 0...Int.max) ?? 0)
    creationTimestamp = reader.string("creationTimestamp") ?? ""
    deletionTimestamp = reader.string("deletionTimestamp")
    labels = reader.stringMap("labels", keys: .qualifiedName, values: .labelValue) ?? [:]
    annotations = reader.stringMap("annotations", keys: .qualifiedName) ?? [:]
    finalizers = reader.strings("finalizers") ?? []
    ownerReferences = reader.list("ownerReferences") { OwnerReference(&$0) } ?? []
    reader.allow("managedFields", "generateName", "selfLink", "deletionGracePeriodSeconds", "clusterName")
  }
}

extension ObjectMeta.OwnerReference {
  init(_ reader: inout ObjectReader) {
    apiVersion = reader.requiredString("apiVersion")
    kind = reader.requiredString("kind")
    name = reader.requiredString("name")
    uid = reader.requiredString("uid")
    controller = reader.bool("controller") ?? false
    blockOwnerDeletion = reader.bool("blockOwnerDeletion") ?? false
  }
}

/// meta/v1 LabelSelector: all of its requirements must hold. An empty selector selects everything.
public struct LabelSelector: Hashable, Sendable {
  public struct Requirement: Hashable, Sendable {
    public enum Operator: String, CaseIterable, Sendable {
      case isIn = "In"
      case notIn = "NotIn"
      case exists = "Exists"
      case doesNotExist = "DoesNotExist"
    }

    public var key: String
    public var `operator`: Operator
    public var values: [String]
  }

  public var matchLabels: [String: String]
  public var matchExpressions: [Requirement]

  public func matches(_ labels: [String: String]) -> Bool {
    matchLabels.allSatisfy { labels[$0.key] == $0.value }
      && matchExpressions.allSatisfy { requirement in
        let value = labels[requirement.key]
        return switch requirement.operator {
        case .isIn: value.map(requirement.values.contains) ?? false
        case .notIn: !(value.map(requirement.values.contains) ?? false)
        case .exists: value != nil
        case .doesNotExist: value == nil
        }
      }
  }

  init(_ reader: inout ObjectReader) {
    matchLabels = reader.stringMap("matchLabels", keys: .qualifiedName, values: .labelValue) ?? [:]
    matchExpressions = reader.list("matchExpressions") { Requirement(&$0) } ?? []
  }
}

extension LabelSelector.Requirement {
  /// nil when the operator is none; that is reported.
  fileprivate init?(_ reader: inout ObjectReader) {
    key = reader.requiredString("key", .qualifiedName)
    let found = reader.requiredChoice("operator", Operator.self)
    values = reader.strings("values") ?? []
    guard let found else { return nil }
    `operator` = found
    switch found {
    case .isIn, .notIn:
      if values.isEmpty {
        reader.error(at: "values", "must not be empty with the operator \(found.rawValue)")
      }
    case .exists, .doesNotExist:
      if !values.isEmpty { reader.error(at: "values", "must be empty with the operator \(found.rawValue)") }
    }
  }
}
