import YAML

/// A port by number or by name.
public enum IntOrString: Hashable, Sendable {
  case int(Int)
  case string(String)
}

/// core/v1 Service.
public struct Service: Hashable, Sendable {
  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var spec: ServiceSpec

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    spec = reader.requiredObject("spec") { ServiceSpec(&$0) }
    reader.allow("status")
  }
}

public struct ServiceSpec: Hashable, Sendable {
  public enum Kind: String, CaseIterable, Sendable {
    case clusterIP = "ClusterIP"
    case nodePort = "NodePort"
    case loadBalancer = "LoadBalancer"
    case externalName = "ExternalName"
  }

  public enum Affinity: String, CaseIterable, Sendable {
    case none = "None"
    case clientIP = "ClientIP"
  }

  public enum TrafficPolicy: String, CaseIterable, Sendable {
    case cluster = "Cluster"
    case local = "Local"
  }

  public var type: Kind
  public var ports: [ServicePort]
  public var selector: [String: String]
  public var clusterIP: String?
  public var clusterIPs: [String]
  /// A DNS name or an address; only with the type ExternalName.
  public var externalName: String?
  public var externalIPs: [String]
  public var sessionAffinity: Affinity
  /// In seconds.
  public var sessionAffinityTimeout: Int?
  public var publishNotReadyAddresses: Bool
  public var internalTrafficPolicy: TrafficPolicy?
  public var externalTrafficPolicy: TrafficPolicy?
  public var trafficDistribution: String?
  public var ipFamilies: [String]
  public var ipFamilyPolicy: String?
  public var loadBalancerIP: String?
  public var loadBalancerClass: String?
  public var loadBalancerSourceRanges: [String]
  public var allocateLoadBalancerNodePorts: Bool?
  public var healthCheckNodePort: Int?

  /// A Service without a virtual address: its name stands for its endpoints.
  public var isHeadless: Bool { clusterIP == "None" }

  init(_ spec: inout ObjectReader) {
    type = spec.choice("type") ?? .clusterIP
    ports = spec.list("ports") { ServicePort(&$0) } ?? []
    selector = spec.stringMap("selector") ?? [:]
    clusterIP = spec.string("clusterIP")
    clusterIPs = spec.strings("clusterIPs") ?? []
    externalName = spec.string("externalName", .istioDestinationHost)
    externalIPs = spec.strings("externalIPs") ?? []
    sessionAffinity = spec.choice("sessionAffinity") ?? .none
    sessionAffinityTimeout = spec.object("sessionAffinityConfig") { config in
      config.object("clientIP") { $0.int("timeoutSeconds", in: 1...86400) }.flatMap { $0 }
    }.flatMap { $0 }
    publishNotReadyAddresses = spec.bool("publishNotReadyAddresses") ?? false
    internalTrafficPolicy = spec.choice("internalTrafficPolicy")
    externalTrafficPolicy = spec.choice("externalTrafficPolicy")
    trafficDistribution = spec.string("trafficDistribution")
    ipFamilies = spec.strings("ipFamilies") ?? []
    ipFamilyPolicy = spec.string("ipFamilyPolicy")
    loadBalancerIP = spec.string("loadBalancerIP")
    loadBalancerClass = spec.string("loadBalancerClass")
    loadBalancerSourceRanges = spec.strings("loadBalancerSourceRanges") ?? []
    allocateLoadBalancerNodePorts = spec.bool("allocateLoadBalancerNodePorts")
    healthCheckNodePort = spec.int("healthCheckNodePort", in: 0...65535)
    check(spec)
  }

  private func check(_ reader: ObjectReader) {
    if type == .externalName {
      if externalName == nil { reader.error(at: "externalName", "is required with the type ExternalName") }
    } else if ports.isEmpty, !isHeadless {
      reader.error(at: "ports", "needs at least one port")
    }
    for (index, port) in ports.enumerated() {
      let others = ports[..<index]
      if ports.count > 1, port.name == nil {
        reader.error(at: "ports", index: index, "needs a name, because there are several ports")
      }
      if let name = port.name, others.contains(where: { $0.name == name }) {
        reader.error(at: "ports", index: index, "name", "\"\(name)\" is the name of an earlier port")
      }
      if others.contains(where: { $0.port == port.port && $0.protocol == port.protocol }) {
        reader.error(
          at: "ports", index: index, "port", "\(port.port)/\(port.protocol.rawValue) stands here twice")
      }
    }
  }
}

public enum TransportProtocol: String, CaseIterable, Sendable {
  case tcp = "TCP"
  case udp = "UDP"
  case sctp = "SCTP"
}

public struct ServicePort: Hashable, Sendable {
  public var name: String?
  public var port: Int
  /// nil: the same as `port`.
  public var targetPort: IntOrString?
  public var `protocol`: TransportProtocol
  /// As `kubernetes.io/h2c`, `kubernetes.io/ws`, `grpc`, `http`.
  public var appProtocol: String?
  public var nodePort: Int?

  init(_ reader: inout ObjectReader) {
    name = reader.string("name").flatMap { $0.isEmpty ? nil : $0 }
    port = reader.requiredInt("port", in: 1...65535)
    `protocol` = reader.choice("protocol") ?? .tcp
    appProtocol = reader.string("appProtocol")
    nodePort = reader.int("nodePort", in: 0...65535)
    switch reader.value("targetPort")?.value {
    case nil: targetPort = nil
    case .int(let number):
      targetPort = .int(Int(number))
      if !(1...65535).contains(number) {
        reader.error(at: "targetPort", "is \(number); it must be between 1 and 65535")
      }
    case .string(let name): targetPort = .string(name)
    default:
      targetPort = nil
      reader.error(at: "targetPort", "must be a port number or the name of a port")
    }
  }
}
