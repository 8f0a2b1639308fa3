public import YAML

/// gateway.networking.k8s.io Gateway.
public struct Gateway: Hashable, Sendable {
  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var spec: GatewaySpec
  public var status: GatewayStatus

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    spec = reader.requiredObject("spec") { GatewaySpec(&$0) }
    status = readStatus(&reader) { GatewayStatus(&$0) } ?? GatewayStatus()
  }
}

public struct GatewaySpec: Hashable, Sendable {
  public enum DefaultScope: String, CaseIterable, Sendable {
    case all = "All"
    case none = "None"
  }

  public var gatewayClassName: String
  public var listeners: [GatewayListener]
  public var addresses: [GatewayAddress]
  public var infrastructure: GatewayInfrastructure?
  public var allowedListeners: AllowedListeners?
  public var tls: GatewayTLS?
  public var defaultScope: DefaultScope?

  init(_ reader: inout ObjectReader) {
    gatewayClassName = reader.requiredString("gatewayClassName", .referenceName)
    listeners = reader.requiredList("listeners", count: 1...64) { GatewayListener(&$0) }
    addresses = reader.list("addresses", count: 0...16) { GatewayAddress(&$0) } ?? []
    infrastructure = reader.object("infrastructure") { GatewayInfrastructure(&$0) }
    allowedListeners = reader.object("allowedListeners") { AllowedListeners(&$0) }
    tls = reader.object("tls") { GatewayTLS(&$0) }
    defaultScope = reader.choice("defaultScope")
    checkListeners(reader)
    checkAddresses(reader)
  }
}

/// A port with a protocol, a host name and a rule for who may attach.
public struct GatewayListener: Hashable, Sendable {
  public var name: String
  /// nil or a name, also with a leading `*.`.
  public var hostname: String?
  public var port: Int
  /// HTTP, HTTPS, TLS, TCP, UDP, or a domain-prefixed name of an implementation's own.
  public var `protocol`: String
  public var tls: ListenerTLS?
  public var allowedRoutes: AllowedRoutes
  public var position: SourcePosition

  init(_ reader: inout ObjectReader) {
    position = reader.position
    name = reader.requiredString("name", .objectName)
    hostname = reader.string("hostname", .hostname)
    port = reader.requiredInt("port", in: 1...65535)
    `protocol` = reader.requiredString("protocol", .protocolName)
    tls = reader.object("tls") { ListenerTLS(&$0) }
    allowedRoutes = reader.object("allowedRoutes") { AllowedRoutes(&$0) } ?? AllowedRoutes()
    check(reader)
  }
}

public struct ListenerTLS: Hashable, Sendable {
  public enum Mode: String, CaseIterable, Sendable {
    case terminate = "Terminate"
    case passthrough = "Passthrough"
  }

  public var mode: Mode
  /// Whether the mode was written down or is the default.
  public var isModeGiven: Bool
  public var certificateRefs: [SecretObjectReference]
  public var options: [String: String]

  init(_ reader: inout ObjectReader) {
    isModeGiven = reader.has("mode")
    mode = reader.choice("mode") ?? .terminate
    certificateRefs = reader.list("certificateRefs", count: 0...64) { SecretObjectReference(&$0) } ?? []
    options = reader.stringMap("options", maxCount: 16, keys: .qualifiedName, values: .text(0...4096)) ?? [:]
    if mode == .terminate, certificateRefs.isEmpty, options.isEmpty {
      reader.error(
        at: "certificateRefs", "needs at least one certificate (or options) when mode is Terminate")
    }
  }
}

public struct AllowedRoutes: Hashable, Sendable {
  public struct RouteGroupKind: Hashable, Sendable {
    public var group: String
    public var kind: String

    public init(group: String = "gateway.networking.k8s.io", kind: String) {
      self.group = group
      self.kind = kind
    }

    public func node() -> Node { ["group": .string(group), "kind": .string(kind)] }
  }

  public struct Namespaces: Hashable, Sendable {
    public enum From: String, CaseIterable, Sendable {
      case all = "All"
      case selector = "Selector"
      case same = "Same"
      /// Only in `allowedListeners`.
      case none = "None"
    }

    public var from: From
    public var selector: LabelSelector?
  }

  public var namespaces: Namespaces
  /// Empty: the kinds that fit the listener's protocol.
  public var kinds: [RouteGroupKind]

  init() {
    namespaces = Namespaces(from: .same, selector: nil)
    kinds = []
  }

  init(_ reader: inout ObjectReader) {
    namespaces =
      reader.object("namespaces") { Namespaces(&$0, default: .same) }
      ?? Namespaces(from: .same, selector: nil)
    kinds = reader.list("kinds", count: 0...8) { RouteGroupKind(&$0) } ?? []
    if namespaces.from == .none, let found = reader.node["namespaces"]?["from"] {
      reader.collector.add(
        .error, found.position, reader.path.appending("namespaces").appending("from"),
        "\"None\" is not one of All, Selector, Same")
    }
  }
}

extension AllowedRoutes.RouteGroupKind {
  init(_ reader: inout ObjectReader) {
    group = reader.string("group", .group) ?? gatewayGroup
    kind = reader.requiredString("kind", .kind)
  }
}

extension AllowedRoutes.Namespaces {
  init(_ reader: inout ObjectReader, default: From) {
    from = reader.choice("from") ?? `default`
    selector = reader.object("selector") { LabelSelector(&$0) }
  }
}

public struct AllowedListeners: Hashable, Sendable {
  public var namespaces: AllowedRoutes.Namespaces

  init(_ reader: inout ObjectReader) {
    namespaces =
      reader.object("namespaces") { AllowedRoutes.Namespaces(&$0, default: .none) }
      ?? AllowedRoutes.Namespaces(from: .none, selector: nil)
  }
}

public struct GatewayAddress: Hashable, Sendable {
  /// IPAddress, Hostname, NamedAddress, or a domain-prefixed type.
  public var type: String
  public var value: String?

  public init(type: String, value: String?) {
    self.type = type
    self.value = value
  }

  init(_ reader: inout ObjectReader) {
    type = reader.string("type", .text(1...253)) ?? "IPAddress"
    value = reader.string("value", .text(0...253))
    check(reader)
  }

  public func node() -> Node {
    var node: Node = ["type": .string(type)]
    node["value"] = value.map { .string($0) }
    return node
  }
}

public struct GatewayInfrastructure: Hashable, Sendable {
  public var labels: [String: String]
  public var annotations: [String: String]
  public var parametersRef: LocalObjectReference?

  init(_ reader: inout ObjectReader) {
    labels = reader.stringMap("labels", maxCount: 8, keys: .qualifiedName, values: .labelValue) ?? [:]
    annotations =
      reader.stringMap("annotations", maxCount: 16, keys: .qualifiedName, values: .text(0...4096)) ?? [:]
    parametersRef = reader.object("parametersRef") { LocalObjectReference(&$0) }
  }
}

/// `spec.tls`: client certificates towards backends, and validation of clients.
public struct GatewayTLS: Hashable, Sendable {
  public struct Validation: Hashable, Sendable {
    public enum Mode: String, CaseIterable, Sendable {
      case allowValidOnly = "AllowValidOnly"
      case allowInsecureFallback = "AllowInsecureFallback"
    }

    public var caCertificateRefs: [ObjectReference]
    public var mode: Mode
  }

  public struct PortValidation: Hashable, Sendable {
    public var port: Int
    public var validation: Validation?
  }

  public var clientCertificateRef: SecretObjectReference?
  public var defaultValidation: Validation?
  public var perPort: [PortValidation]

  init(_ reader: inout ObjectReader) {
    clientCertificateRef = reader.object("backend") { backend in
      backend.object("clientCertificateRef") { SecretObjectReference(&$0) }
    }.flatMap { $0 }
    let frontend = reader.object("frontend") { frontend in
      let standard = frontend.requiredObject("default") { Self.validation(&$0) }
      let ports = frontend.list("perPort", count: 0...64) { port in
        PortValidation(
          port: port.requiredInt("port", in: 1...65535),
          validation: port.requiredObject("tls") { Self.validation(&$0) })
      }
      for (index, entry) in (ports ?? []).enumerated()
      where ports?.prefix(index).contains(where: { $0.port == entry.port }) == true {
        frontend.error(at: "perPort", index: index, "port", "stands for port \(entry.port) a second time")
      }
      return (standard, ports ?? [])
    }
    (defaultValidation, perPort) = frontend ?? (nil, [])
  }

  private static func validation(_ reader: inout ObjectReader) -> Validation? {
    reader.object("validation") { validation in
      Validation(
        caCertificateRefs: validation.requiredList("caCertificateRefs", count: 1...16) {
          ObjectReference(&$0)
        },
        mode: validation.choice("mode") ?? .allowValidOnly)
    }
  }
}
