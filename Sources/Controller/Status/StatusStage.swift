import GatewayAPI
import YAML

/// Graph and answers of the data planes → patches. Nothing is patched that already says the same.
struct StatusStage {
  var graph: Graph
  var store: ResourceStore
  var dataPlane: DataPlaneState
  /// Addresses of every Gateway.
  var addresses: [String]
  /// RFC 3339.
  var now: String

  func patches() -> [StatusPatch] {
    var patches: [StatusPatch] = []
    patches += graph.classes.compactMap { node in patch(node.object) { classStatus(node, $0) } }
    patches += graph.gateways.compactMap { node in patch(node.object) { gatewayStatus(node, $0) } }
    patches += graph.routes.compactMap { node in patch(node.object) { routeStatus(node, $0) } }
    patches += graph.istioGateways.compactMap { node in patch(node.object) { istioGatewayStatus(node, $0) } }
    patches += graph.virtualServices.compactMap { node in
      patch(node.object) { virtualServiceStatus(node, $0) }
    }
    patches += graph.backendTLSPolicies.compactMap { node in patch(node.object) { policyStatus(node, $0) } }
    patches += graph.destinationRules.compactMap { node in patch(node.object) { ruleStatus(node, $0) } }
    return patches
  }

  private func patch(_ object: ObjectIdentity, _ make: (Node) -> Node) -> StatusPatch? {
    let old = store[object.key]?.node["status"] ?? .null
    let new = make(old)
    if new == old || (old.isNull && new.entries?.isEmpty == true) { return nil }
    return StatusPatch(
      key: object.key, uid: object.uid, observedGeneration: object.generation, status: new)
  }

  private func classStatus(_ node: GatewayClassNode, _ old: Node) -> Node {
    var status = old
    let writer = ConditionWriter(generation: node.object.generation)
    status["conditions"] = mergedConditions(
      [writer.condition("Accepted", node.accepted)], old: old["conditions"], now: now)
    return status
  }

  private func gatewayStatus(_ node: GatewayNode, _ old: Node) -> Node {
    let writer = ConditionWriter(generation: node.object.generation)
    var conditions = [
      writer.condition("Accepted", node.accepted),
      writer.condition("Programmed", programmed(node.object, node.accepted, node.listeners)),
    ]
    if node.isInsecure {
      conditions.append(
        writer.problem(
          insecureValidation,
          Fault("ConfigurationChanged", "mode AllowInsecureFallback lets clients in without a valid certificate")))
    }
    if let fault = node.referenceFault {
      conditions.append(writer.condition("ResolvedRefs", .no(fault.reason, fault.message)))
    }
    conditions += node.notices.map(writer.notice)
    if let refusal = dataPlane.refusal { conditions.append(writer.refused(refusal)) }
    var status = old
    status["addresses"] = .sequence(
      addresses.map { .mapping([("type", "IPAddress"), ("value", .string($0))]) })
    status["conditions"] = mergedConditions(conditions, old: old["conditions"], now: now)
    status["listeners"] = .sequence(
      node.listeners.map { listener in
        let before = old["listeners"]?.sequence?.first { $0["name"]?.string == listener.name }
        return listenerStatus(listener, node.object, before)
      })
    return status
  }

  private func listenerStatus(_ listener: ListenerNode, _ object: ObjectIdentity, _ old: Node?) -> Node {
    .mapping([
      ("name", .string(listener.name)),
      ("attachedRoutes", .int(listener.attachedRoutes)),
      (
        "supportedKinds",
        .sequence(
          listener.supportedKinds.map {
            .mapping([("group", .string($0.group)), ("kind", .string($0.kind))])
          })
      ),
      (
        "conditions",
        mergedConditions(listenerConditions(listener, object), old: old?["conditions"], now: now)
      ),
    ])
  }

  private func listenerConditions(_ listener: ListenerNode, _ object: ObjectIdentity) -> [Condition] {
    let writer = ConditionWriter(generation: object.generation)
    let conflict =
      listener.conflict.map { writer.problem("Conflicted", $0) }
      ?? writer.condition("Conflicted", .no("NoConflicts", ""))
    var conditions = [
      writer.condition("Accepted", listener.accepted),
      writer.condition("Programmed", programmed(object, listener)),
      writer.condition("ResolvedRefs", listener.resolved),
      conflict,
    ]
    if let notice = Notice.shared(with: listener.sharedWith) { conditions.append(writer.notice(notice)) }
    conditions += listener.certificateNotices.map(writer.notice)
    return conditions
  }

  private func programmed(_ object: ObjectIdentity, _ listener: ListenerNode) -> Verdict {
    if !listener.accepted.holds { return .no("Invalid", listener.accepted.message) }
    if !listener.canServe { return .no("Invalid", listener.resolved.message) }
    return dataPlane.programmed(object.version, port: listener.port)
  }

  /// A Gateway is programmed when every listener that can serve does, and there is one.
  private func programmed(_ object: ObjectIdentity, _ accepted: Verdict, _ listeners: [ListenerNode])
    -> Verdict
  {
    if !accepted.holds { return .no("Invalid", accepted.message) }
    let able = listeners.filter { $0.accepted.holds && $0.canServe }
    if able.isEmpty { return .no("Invalid", "no listener can serve; see the conditions of each") }
    for listener in able {
      let verdict = programmed(object, listener)
      if !verdict.holds { return .no(verdict.reason, "\(listener.name): \(verdict.message)") }
    }
    let broken = listeners.filter { !$0.accepted.holds || !$0.canServe }.map(\.name)
    return .yes(
      "Programmed",
      broken.isEmpty ? "" : "all but \(broken.joined(separator: ", ")), see the conditions there")
  }

  private func routeStatus(_ node: RouteNode, _ old: Node) -> Node {
    let before = old["parents"]?.sequence ?? []
    let ours = { (entry: Node) in entry["controllerName"]?.string == ControllerOptions.controllerName }
    let writer = ConditionWriter(generation: node.object.generation)
    let new: [Node] = node.parents.map { parent in
      let match = before.first { ours($0) && $0["parentRef"] == parent.reference.node() }
      var conditions = [
        writer.condition("Accepted", parent.accepted), writer.condition("ResolvedRefs", parent.resolved),
      ]
      if let fault = parent.partiallyInvalid { conditions.append(writer.problem("PartiallyInvalid", fault)) }
      conditions += parent.notices.map(writer.notice)
      return .mapping([
        ("parentRef", parent.reference.node()),
        ("controllerName", .string(ControllerOptions.controllerName)),
        ("conditions", mergedConditions(conditions, old: match?["conditions"], now: now)),
      ])
    }
    if new.isEmpty && !before.contains(where: ours) { return old }
    var status = old
    status["parents"] = .sequence(before.filter { !ours($0) } + new)
    return status
  }

  /// One entry for each Gateway that leads to what the policy targets.
  private func policyStatus(_ node: BackendTLSPolicyNode, _ old: Node) -> Node {
    let before = old["ancestors"]?.sequence ?? []
    let ours = { (entry: Node) in entry["controllerName"]?.string == ControllerOptions.controllerName }
    let writer = ConditionWriter(generation: node.object.generation)
    let new: [Node] = node.ancestors.map { gateway in
      let reference = ParentReference(namespace: gateway.namespace, name: gateway.name).node()
      let match = before.first { ours($0) && $0["ancestorRef"] == reference }
      let conditions = [writer.condition("Accepted", node.accepted), writer.condition("ResolvedRefs", node.resolved)]
      return .mapping([
        ("ancestorRef", reference),
        ("controllerName", .string(ControllerOptions.controllerName)),
        (
          "conditions",
          mergedConditions(conditions + node.notices.map(writer.notice), old: match?["conditions"], now: now)
        ),
      ])
    }
    if new.isEmpty && !before.contains(where: ours) { return old }
    var status = old
    status["ancestors"] = .sequence(before.filter { !ours($0) } + new)
    return status
  }

  private func ruleStatus(_ node: DestinationRuleNode, _ old: Node) -> Node {
    let writer = ConditionWriter(generation: node.object.generation)
    let conditions = [writer.condition("Accepted", node.accepted), writer.condition("ResolvedRefs", node.resolved)]
    var status = old
    status["observedGeneration"] = .int(node.object.generation)
    status["conditions"] = mergedConditions(
      conditions + node.notices.map(writer.notice), old: old["conditions"], now: now)
    return status
  }

  private func istioGatewayStatus(_ node: IstioGatewayNode, _ old: Node) -> Node {
    let writer = ConditionWriter(generation: node.object.generation)
    let faults = node.servers.filter { !$0.resolved.holds }
      .map { Fault($0.resolved.reason, "server \($0.name): \($0.resolved.message)") }
    var conditions = [
      writer.condition("Accepted", node.accepted),
      writer.condition("ResolvedRefs", Verdict.resolved.with(faults: faults)),
      writer.condition("Programmed", programmed(node.object, node.accepted, node.servers)),
    ]
    conditions += node.notices.map(writer.notice)
    if let refusal = dataPlane.refusal { conditions.append(writer.refused(refusal)) }
    var status = old
    status["observedGeneration"] = .int(node.object.generation)
    status["conditions"] = mergedConditions(conditions, old: old["conditions"], now: now)
    status["servers"] = .sequence(
      node.servers.map { server in
        let before = old["servers"]?.sequence?.first { $0["name"]?.string == server.name }
        return .mapping([
          ("name", .string(server.name)),
          ("port", .int(server.port)),
          ("attachedRoutes", .int(server.attachedRoutes)),
          (
            "conditions",
            mergedConditions(listenerConditions(server, node.object), old: before?["conditions"], now: now)
          ),
        ])
      })
    return status
  }

  private func virtualServiceStatus(_ node: VirtualServiceNode, _ old: Node) -> Node {
    let writer = ConditionWriter(generation: node.object.generation)
    var conditions = [
      writer.condition("Accepted", node.accepted), writer.condition("ResolvedRefs", node.resolved),
      writer.condition(
        "Programmed",
        node.accepted.holds
          ? dataPlane.programmed(node.object.version) : .no("Invalid", node.accepted.message)),
    ]
    if let fault = node.partiallyInvalid { conditions.append(writer.problem("PartiallyInvalid", fault)) }
    conditions += node.notices.map(writer.notice)
    var status = old
    status["observedGeneration"] = .int(node.object.generation)
    status["conditions"] = mergedConditions(conditions, old: old["conditions"], now: now)
    return status
  }
}
