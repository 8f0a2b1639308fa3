public import YAML

/// gateway.networking.k8s.io GatewayClass: which controller takes care of the Gateways that name it.
public struct GatewayClass: Hashable, Sendable {
  public struct ParametersReference: Hashable, Sendable {
    public var group: String
    public var kind: String
    public var name: String
    public var namespace: String?
  }

  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var controllerName: String
  public var parametersRef: ParametersReference?
  public var description: String?
  public var status: GatewayClassStatus

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    let spec = reader.requiredObject("spec") { spec in
      (
        spec.requiredString("controllerName", .controllerName),
        spec.object("parametersRef") { ParametersReference(&$0) },
        spec.string("description", .text(0...64))
      )
    }
    (controllerName, parametersRef, description) = spec
    status = readStatus(&reader) { GatewayClassStatus(&$0) } ?? GatewayClassStatus()
  }
}

extension GatewayClass.ParametersReference {
  init(_ reader: inout ObjectReader) {
    group = reader.requiredString("group", .group)
    kind = reader.requiredString("kind", .kind)
    name = reader.requiredString("name", .referenceName)
    namespace = reader.string("namespace", .label)
  }
}

public struct GatewayClassStatus: Hashable, Sendable {
  public var conditions: [Condition]
  public var supportedFeatures: [String]

  public init(conditions: [Condition] = [], supportedFeatures: [String] = []) {
    self.conditions = conditions
    self.supportedFeatures = supportedFeatures
  }

  init(_ reader: inout ObjectReader) {
    conditions = readConditions(&reader)
    supportedFeatures = reader.list("supportedFeatures") { $0.string("name") } ?? []
  }

  /// Feature names are sorted, as the specification asks for.
  public func node() -> Node {
    var node: Node = ["conditions": .sequence(conditions.map { $0.node() })]
    if !supportedFeatures.isEmpty {
      node["supportedFeatures"] = .sequence(supportedFeatures.sorted().map { ["name": .string($0)] })
    }
    return node
  }
}
