import YAML

/// gateway.networking.k8s.io ReferenceGrant: lets objects of other namespaces refer to objects of its own.
public struct ReferenceGrant: Hashable, Sendable {
  public struct From: Hashable, Sendable {
    public var group: String
    public var kind: String
    public var namespace: String
  }

  public struct To: Hashable, Sendable {
    public var group: String
    public var kind: String
    /// nil: every object of the kind.
    public var name: String?
  }

  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var from: [From]
  public var to: [To]

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    (from, to) = reader.requiredObject("spec") { spec in
      (
        spec.requiredList("from", count: 1...16) { From(&$0) },
        spec.requiredList("to", count: 1...16) { To(&$0) }
      )
    }
  }
}

extension ReferenceGrant.From {
  init(_ reader: inout ObjectReader) {
    group = reader.requiredString("group", .group)
    kind = reader.requiredString("kind", .kind)
    namespace = reader.requiredString("namespace", .label)
  }
}

extension ReferenceGrant.To {
  init(_ reader: inout ObjectReader) {
    group = reader.requiredString("group", .group)
    kind = reader.requiredString("kind", .kind)
    name = reader.string("name", .referenceName)
  }
}
