import GatewayAPI

/// Which GatewayClasses are ours, and which class names of Gateways.
struct GatewayClassStage {
  enum Claim: Equatable {
    case ours
    /// No GatewayClass object has the name, and no cluster is there that could hold one.
    case assumed
    case foreign
    /// Ours, but not accepted.
    case rejected
  }

  private var claims: [String: Claim] = [:]
  private let isStandalone: Bool
  private(set) var nodes: [GatewayClassNode] = []

  init(store: ResourceStore, options: ControllerOptions) {
    isStandalone = options.isStandalone
    for object in store.all(.gatewayClass) {
      guard case .gatewayClass(let value) = object.resource else { continue }
      guard value.controllerName == ControllerOptions.controllerName else {
        claims[value.metadata.name] = .foreign
        continue
      }
      var accepted = Verdict.accepted
      if let reference = value.parametersRef {
        accepted = .no(
          "InvalidParameters",
          "parametersRef names a \(reference.kind), and no kind of parameters is supported yet")
      }
      claims[value.metadata.name] = accepted.holds ? .ours : .rejected
      nodes.append(GatewayClassNode(object: ObjectIdentity(object), accepted: accepted))
    }
  }

  func claim(_ className: String) -> Claim {
    if let known = claims[className] { return known }
    guard isStandalone else { return .foreign }
    return className == "sluice" ? .ours : .assumed
  }
}

extension ObjectIdentity {
  init(_ object: StoredObject) {
    let metadata = object.resource.metadata
    self.init(
      key: object.key, uid: metadata.uid, generation: metadata.generation,
      seniority: Seniority(
        created: metadata.creationTimestamp, namespace: metadata.namespace, name: metadata.name))
  }
}
