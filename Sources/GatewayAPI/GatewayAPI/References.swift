public import YAML

let gatewayGroup = "gateway.networking.k8s.io"

/// A reference to an object of the same namespace.
public struct LocalObjectReference: Hashable, Sendable {
  public var group: String
  public var kind: String
  public var name: String

  init(_ reader: inout ObjectReader) {
    group = reader.requiredString("group", .group)
    kind = reader.requiredString("kind", .kind)
    name = reader.requiredString("name", .referenceName)
  }
}

/// A reference to an object of any namespace; group and kind must be given.
public struct ObjectReference: Hashable, Sendable {
  public var group: String
  public var kind: String
  public var name: String
  /// nil: the namespace of the object that refers.
  public var namespace: String?

  init(_ reader: inout ObjectReader) {
    group = reader.requiredString("group", .group)
    kind = reader.requiredString("kind", .kind)
    name = reader.requiredString("name", .referenceName)
    namespace = reader.string("namespace", .label)
  }
}

/// A reference to a Secret unless it says otherwise.
public struct SecretObjectReference: Hashable, Sendable {
  public var group: String
  public var kind: String
  public var name: String
  public var namespace: String?
  public var position: SourcePosition

  init(_ reader: inout ObjectReader) {
    position = reader.position
    group = reader.string("group", .group) ?? ""
    kind = reader.string("kind", .kind) ?? "Secret"
    name = reader.requiredString("name", .referenceName)
    namespace = reader.string("namespace", .label)
  }
}

/// What a route wants to be attached to.
public struct ParentReference: Hashable, Sendable {
  public var group: String
  public var kind: String
  public var namespace: String?
  public var name: String
  /// The name of a listener.
  public var sectionName: String?
  public var port: Int?
  public var position: SourcePosition

  public init(
    group: String = "gateway.networking.k8s.io", kind: String = "Gateway", namespace: String? = nil,
    name: String,
    sectionName: String? = nil, port: Int? = nil
  ) {
    self.group = group
    self.kind = kind
    self.namespace = namespace
    self.name = name
    self.sectionName = sectionName
    self.port = port
    position = .unknown
  }

  init(_ reader: inout ObjectReader) {
    position = reader.position
    group = reader.string("group", .group) ?? gatewayGroup
    kind = reader.string("kind", .kind) ?? "Gateway"
    namespace = reader.string("namespace", .label)
    name = reader.requiredString("name", .referenceName)
    sectionName = reader.string("sectionName", .objectName)
    port = reader.int("port", in: 1...65535)
  }

  /// Equal but for the place in the text.
  public func refersToSame(as other: ParentReference) -> Bool {
    group == other.group && kind == other.kind && namespace == other.namespace && name == other.name
      && sectionName == other.sectionName && port == other.port
  }

  public func node() -> Node {
    var node: Node = ["group": .string(group), "kind": .string(kind), "name": .string(name)]
    node["namespace"] = namespace.map { .string($0) }
    node["sectionName"] = sectionName.map { .string($0) }
    node["port"] = port.map { .int($0) }
    return node
  }
}

/// A reference to what requests are sent to, without a weight.
public struct BackendObjectReference: Hashable, Sendable {
  public var group: String
  public var kind: String
  public var name: String
  public var namespace: String?
  /// Always there for a Service.
  public var port: Int?

  init(_ reader: inout ObjectReader) {
    group = reader.string("group", .group) ?? ""
    kind = reader.string("kind", .kind) ?? "Service"
    name = reader.requiredString("name", .referenceName)
    namespace = reader.string("namespace", .label)
    port = reader.int("port", in: 1...65535)
    if group.isEmpty, kind == "Service", !reader.has("port") {
      reader.error(at: "port", "is required for a Service")
    }
  }
}

/// meta.v1 conditions without complaints: a status is what others wrote.
func readConditions(_ reader: inout ObjectReader) -> [Condition] {
  reader.list("conditions") { Condition(&$0) } ?? []
}

/// What routes of every kind share.
public struct CommonRouteFields: Hashable, Sendable {
  public enum DefaultGateways: String, CaseIterable, Sendable {
    case all = "All"
    case none = "None"
  }

  public var parentRefs: [ParentReference]
  /// Of a TCPRoute: none.
  public var hostnames: [String]
  public var useDefaultGateways: DefaultGateways?

  /// `count`: how many hostnames there may be; nil: there is no such field.
  init(_ reader: inout ObjectReader, hostnames count: ClosedRange<Int>? = 0...16) {
    parentRefs = reader.list("parentRefs", count: 0...32) { ParentReference(&$0) } ?? []
    switch count {
    case nil: hostnames = []
    case let count? where count.lowerBound > 0:
      hostnames = reader.requiredStrings("hostnames", count: count, .hostname)
    case let count?: hostnames = reader.strings("hostnames", count: count, .hostname) ?? []
    }
    useDefaultGateways = reader.choice("useDefaultGateways")
    checkParents(reader)
  }

  /// The CEL rules of `parentRefs`: one parent named twice needs a section or port each, and no two may be
  /// equal.
  private func checkParents(_ reader: ObjectReader) {
    for (index, one) in parentRefs.enumerated() {
      for other in parentRefs[..<index] {
        guard one.group == other.group, one.kind == other.kind, one.name == other.name,
          one.namespace == other.namespace
        else { continue }
        let sameShape =
          (one.sectionName == nil) == (other.sectionName == nil)
          && (one.port == nil) == (other.port == nil)
        if !sameShape {
          reader.error(
            at: "parentRefs", index: index,
            "names the parent \(one.name) again; then each reference to it needs a sectionName, or "
              + "each a port"
          )
        } else if one.sectionName == other.sectionName, one.port == other.port {
          reader.error(
            at: "parentRefs", index: index,
            "names the same parent as an earlier reference; sectionName or port must tell them apart")
        }
      }
    }
  }
}
