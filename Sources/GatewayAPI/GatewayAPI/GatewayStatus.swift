public import YAML

public struct GatewayStatus: Hashable, Sendable {
  public var addresses: [GatewayAddress]
  public var conditions: [Condition]
  public var listeners: [ListenerStatus]
  public var attachedListenerSets: Int?

  public init(
    addresses: [GatewayAddress] = [], conditions: [Condition] = [], listeners: [ListenerStatus] = [],
    attachedListenerSets: Int? = nil
  ) {
    self.addresses = addresses
    self.conditions = conditions
    self.listeners = listeners
    self.attachedListenerSets = attachedListenerSets
  }

  init(_ reader: inout ObjectReader) {
    addresses = reader.list("addresses") { GatewayAddress(&$0) } ?? []
    conditions = readConditions(&reader)
    listeners = reader.list("listeners") { ListenerStatus(&$0) } ?? []
    attachedListenerSets = reader.int("attachedListenerSets")
  }

  public func node() -> Node {
    var node: Node = [:]
    if !addresses.isEmpty { node["addresses"] = .sequence(addresses.map { $0.node() }) }
    node["attachedListenerSets"] = attachedListenerSets.map { .int($0) }
    node["conditions"] = .sequence(conditions.map { $0.node() })
    if !listeners.isEmpty { node["listeners"] = .sequence(listeners.map { $0.node() }) }
    return node
  }
}

public struct ListenerStatus: Hashable, Sendable {
  public var name: String
  public var supportedKinds: [AllowedRoutes.RouteGroupKind]
  public var attachedRoutes: Int
  public var conditions: [Condition]

  public init(
    name: String, supportedKinds: [AllowedRoutes.RouteGroupKind], attachedRoutes: Int, conditions: [Condition]
  ) {
    self.name = name
    self.supportedKinds = supportedKinds
    self.attachedRoutes = attachedRoutes
    self.conditions = conditions
  }

  init(_ reader: inout ObjectReader) {
    name = reader.requiredString("name")
    supportedKinds = reader.list("supportedKinds") { AllowedRoutes.RouteGroupKind(&$0) } ?? []
    attachedRoutes = reader.int("attachedRoutes") ?? 0
    conditions = readConditions(&reader)
  }

  public func node() -> Node {
    [
      "attachedRoutes": .int(attachedRoutes),
      "conditions": .sequence(conditions.map { $0.node() }),
      "name": .string(name),
      "supportedKinds": .sequence(supportedKinds.map { $0.node() }),
    ]
  }
}

/// The status of HTTPRoute and GRPCRoute: one entry for each parent and controller.
public struct RouteStatus: Hashable, Sendable {
  public var parents: [RouteParentStatus]

  public init(parents: [RouteParentStatus] = []) { self.parents = parents }

  init(_ reader: inout ObjectReader) {
    parents = reader.list("parents") { RouteParentStatus(&$0) } ?? []
  }

  public func node() -> Node { ["parents": .sequence(parents.map { $0.node() })] }
}

public struct RouteParentStatus: Hashable, Sendable {
  public var parentRef: ParentReference
  public var controllerName: String
  public var conditions: [Condition]

  public init(parentRef: ParentReference, controllerName: String, conditions: [Condition]) {
    self.parentRef = parentRef
    self.controllerName = controllerName
    self.conditions = conditions
  }

  init(_ reader: inout ObjectReader) {
    parentRef = reader.requiredObject("parentRef") { ParentReference(&$0) }
    controllerName = reader.requiredString("controllerName")
    conditions = readConditions(&reader)
  }

  public func node() -> Node {
    [
      "conditions": .sequence(conditions.map { $0.node() }),
      "controllerName": .string(controllerName),
      "parentRef": parentRef.node(),
    ]
  }
}
