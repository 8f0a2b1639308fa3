import GatewayAPI
import RoutingTable

/// The objects, resolved to each other. Every stage is a function from values to values; what is wrong stands
/// as a verdict on the object concerned, and no object spoils another's.
public struct Graph: Sendable {
  var classes: [GatewayClassNode] = []
  var gateways: [GatewayNode] = []
  var routes: [RouteNode] = []
  var istioGateways: [IstioGatewayNode] = []
  var virtualServices: [VirtualServiceNode] = []
  var backendTLSPolicies: [BackendTLSPolicyNode] = []
  var destinationRules: [DestinationRuleNode] = []
  /// What is to be served.
  public internal(set) var model = RoutingModel()

  /// Builds the graph of a store. `memory` only saves work: the same input gives the same graph without it.
  static func build(_ store: ResourceStore, _ options: ControllerOptions, memory: inout BuildMemory) -> Graph {
    var builder = ModelBuilder()
    var references = References(store: store, options: options)
    var backendTLS = BackendTLSTable()
    var policies = BackendTLSPolicyStage(references: references).resolve(&backendTLS, &builder)
    let rules = DestinationRuleStage(references: references).resolve(&backendTLS, &memory, &builder)
    references.backendTLS = backendTLS
    let classes = GatewayClassStage(store: store, options: options)
    var gateways = GatewayStage(references: references, classes: classes)
      .gateways(memory: &memory, builder: &builder)
    var istioGateways = IstioGatewayStage(references: references)
      .gateways(memory: &memory, builder: &builder)
    let claims = settle(&gateways, &istioGateways, options)
    var attachment = RouteAttachment(references: references, gateways: gateways)
    attachment.attachAll(memory: &memory, builder: &builder)
    var virtual = VirtualServiceStage(references: references, gateways: istioGateways)
    virtual.attachAll(memory: &memory, builder: &builder)
    for index in policies.indices { policies[index].findAncestors(attachment.nodes, in: store) }
    memory.forget(notIn: store)
    return Graph(
      classes: classes.nodes, gateways: attachment.gateways, routes: attachment.nodes,
      istioGateways: virtual.gateways, virtualServices: virtual.nodes,
      backendTLSPolicies: policies, destinationRules: rules,
      model: builder.model(services(attachment.gateways, virtual.gateways, claims)))
  }

  /// Decides who serves what, and writes the outcome onto the listeners. The claims come back, oldest first.
  private static func settle(
    _ gateways: inout [GatewayNode], _ istioGateways: inout [IstioGatewayNode], _ options: ControllerOptions
  ) -> [ListenerClaim] {
    var claims: [ListenerClaim] = []
    for gateway in gateways where gateway.accepted.holds {
      for (index, listener) in gateway.listeners.enumerated() {
        claims += listener.claims(of: gateway.object, section: index)
      }
    }
    for gateway in istioGateways {
      for (index, server) in gateway.servers.enumerated() {
        claims += server.claims(of: gateway.object, section: index)
      }
    }
    claims.sort { $0.seniority < $1.seniority }
    let outcomes = ClaimCourt(portMap: options.portMap).settle(claims)
    for position in gateways.indices {
      let object = gateways[position].object
      for index in gateways[position].listeners.indices {
        gateways[position].listeners[index].settle(outcomes, of: object, section: index)
      }
      gateways[position].judgeListeners()
    }
    for position in istioGateways.indices {
      let object = istioGateways[position].object
      for index in istioGateways[position].servers.indices {
        istioGateways[position].servers[index].settle(outcomes, of: object, section: index)
      }
      istioGateways[position].judgeServers()
    }
    return claims
  }

  /// The slots that can be served, each with the name of its oldest claim.
  private static func services(
    _ gateways: [GatewayNode], _ istioGateways: [IstioGatewayNode], _ claims: [ListenerClaim]
  ) -> [ListenerSlot: SlotService] {
    var listeners: [ResourceKey: [ListenerNode]] = [:]
    for gateway in gateways { listeners[gateway.object.key] = gateway.listeners }
    for gateway in istioGateways { listeners[gateway.object.key] = gateway.servers }
    var services: [ListenerSlot: SlotService] = [:]
    for claim in claims {
      guard let listener = listeners[claim.id.owner]?[claim.id.section], listener.canServe else { continue }
      let slot = ListenerSlot(port: claim.port, kind: claim.kind, hostname: claim.hostname)
      guard listener.slots.contains(slot), services[slot] == nil else { continue }
      services[slot] = SlotService(
        name: claim.name, proto: listener.proto, options: listener.options.http,
        proxyProtocol: listener.options.proxyProtocol, certificates: listener.certificates,
        clientValidation: listener.clientValidation)
    }
    return services
  }

  /// The versions of the objects that the model was built from and whose status tells whether it is in use.
  var versions: Set<ObjectVersion> {
    Set(
      gateways.map(\.object.version) + istioGateways.map(\.object.version)
        + virtualServices.map(\.object.version))
  }
}

extension ListenerNode {
  fileprivate mutating func settle(
    _ outcomes: [ListenerClaim.ID: ClaimOutcome], of object: ObjectIdentity, section: Int
  ) {
    settle(
      hosts.indices.compactMap {
        outcomes[ListenerClaim.ID(owner: object.key, section: section, host: $0)]
      })
  }
}
