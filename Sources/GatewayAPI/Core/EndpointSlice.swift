import YAML

/// discovery.k8s.io EndpointSlice: some of the endpoints of the Service that its label
/// `kubernetes.io/service-name` names.
public struct EndpointSlice: Hashable, Sendable {
  public enum AddressType: String, CaseIterable, Sendable {
    case ipv4 = "IPv4"
    case ipv6 = "IPv6"
    case fqdn = "FQDN"
  }

  public static let serviceNameLabel = "kubernetes.io/service-name"

  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var addressType: AddressType
  public var endpoints: [Endpoint]
  public var ports: [Port]

  /// nil when the label is not there.
  public var serviceName: String? { metadata.labels[Self.serviceNameLabel] }

  public struct Port: Hashable, Sendable {
    /// Empty for a Service with one port without a name.
    public var name: String
    /// nil: every port.
    public var port: Int?
    public var `protocol`: TransportProtocol
    public var appProtocol: String?
  }

  public struct Endpoint: Hashable, Sendable {
    public var addresses: [String]
    /// Conditions that are not written count as ready, serving and not terminating.
    public var ready: Bool
    public var serving: Bool
    public var terminating: Bool
    public var hostname: String?
    public var nodeName: String?
    public var zone: String?
    public var hintZones: [String]
    public var hintNodes: [String]
  }

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    let type = reader.requiredChoice("addressType", AddressType.self) ?? .ipv4
    addressType = type
    endpoints = reader.list("endpoints", count: 0...1000) { Endpoint(&$0, type) } ?? []
    ports =
      reader.list("ports", count: 0...20000) { port in
        Port(
          name: port.string("name") ?? "", port: port.int("port", in: 1...65535),
          protocol: port.choice("protocol") ?? .tcp, appProtocol: port.string("appProtocol"))
      } ?? []
    if serviceName == nil {
      reader.warning(
        "has no label \(Self.serviceNameLabel); its endpoints belong to no Service")
    }
  }
}

extension EndpointSlice.Endpoint {
  init(_ reader: inout ObjectReader, _ type: EndpointSlice.AddressType) {
    let addresses = reader.requiredStrings("addresses", count: 1...100)
    self.addresses = addresses
    let conditions = reader.object("conditions") { conditions in
      (conditions.bool("ready"), conditions.bool("serving"), conditions.bool("terminating"))
    }
    ready = conditions?.0 ?? true
    serving = conditions?.1 ?? ready
    terminating = conditions?.2 ?? false
    hostname = reader.string("hostname")
    nodeName = reader.string("nodeName")
    zone = reader.string("zone")
    let hints = reader.object("hints") { hints in
      (
        hints.list("forZones") { $0.string("name") } ?? [],
        hints.list("forNodes") { $0.string("name") } ?? []
      )
    }
    (hintZones, hintNodes) = hints ?? ([], [])
    reader.allow("targetRef", "deprecatedTopology", "topology")
    for (index, address) in addresses.enumerated() {
      let fits =
        switch type {
        case .ipv4: isIPAddress(address) && !address.contains(":")
        case .ipv6: isIPAddress(address) && address.contains(":")
        case .fqdn: isSubdomain(address.lowercased())
        }
      if !fits {
        reader.error(at: "addresses", index: index, "\"\(address)\" is not of the type \(type.rawValue)")
      }
    }
  }
}
