public import YAML

/// networking.istio.io Gateway.
public struct IstioGateway: Hashable, Sendable {
  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var servers: [IstioServer]
  /// Labels of the workload that serves; empty: every one.
  public var selector: [String: String]
  public var status: IstioStatus

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    (servers, selector) = reader.requiredObject("spec") { spec in
      let servers = spec.list("servers") { IstioServer(&$0) } ?? []
      let selector = spec.stringMap("selector") ?? [:]
      IstioServer.checkAll(servers, spec)
      return (servers, selector)
    }
    status = readStatus(&reader) { IstioStatus(&$0) } ?? IstioStatus()
  }
}

public struct IstioServer: Hashable, Sendable {
  public struct Port: Hashable, Sendable {
    public var number: Int
    /// HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP or TLS, as written.
    public var `protocol`: String
    public var name: String
    public var targetPort: Int?
  }

  public var port: Port
  /// An IP address or `unix://` path; nil: every address.
  public var bind: String?
  /// `host`, `namespace/host`, `*/host` or `./host`.
  public var hosts: [String]
  public var tls: IstioServerTLS?
  public var defaultEndpoint: String?
  public var name: String?
  public var position: SourcePosition

  init(_ reader: inout ObjectReader) {
    position = reader.position
    port = reader.requiredObject("port") { Port(&$0) }
    bind = reader.string("bind")
    hosts = reader.requiredStrings("hosts", count: 1...Int.max, .istioServerHost)
    tls = reader.object("tls") { IstioServerTLS(&$0) }
    defaultEndpoint = reader.string("defaultEndpoint")
    name = reader.string("name")
    check(reader)
  }
}

extension IstioServer.Port {
  init(_ reader: inout ObjectReader) {
    number = reader.requiredInt("number", in: 1...65535)
    `protocol` = reader.requiredString("protocol", .text(1...255))
    name = reader.requiredString("name", .text(1...255))
    targetPort = reader.int("targetPort", in: 0...65535)
  }
}

public struct IstioServerTLS: Hashable, Sendable {
  public enum Mode: String, CaseIterable, Sendable {
    case passthrough = "PASSTHROUGH"
    case simple = "SIMPLE"
    case mutual = "MUTUAL"
    case autoPassthrough = "AUTO_PASSTHROUGH"
    case istioMutual = "ISTIO_MUTUAL"
    case optionalMutual = "OPTIONAL_MUTUAL"
  }

  public enum Version: String, CaseIterable, Sendable {
    case auto = "TLS_AUTO"
    case tls10 = "TLSV1_0"
    case tls11 = "TLSV1_1"
    case tls12 = "TLSV1_2"
    case tls13 = "TLSV1_3"
  }

  public struct Certificate: Hashable, Sendable {
    public var serverCertificate: String?
    public var privateKey: String?
    public var caCertificates: String?
  }

  /// The first value of the definition's enumeration, PASSTHROUGH, is the default.
  public var mode: Mode
  /// Whether the mode was written down or is the default.
  public var isModeGiven: Bool
  public var httpsRedirect: Bool
  public var credentialName: String?
  public var credentialNames: [String]
  public var caCertCredentialName: String?
  public var serverCertificate: String?
  public var privateKey: String?
  public var caCertificates: String?
  public var caCrl: String?
  public var tlsCertificates: [Certificate]
  public var subjectAltNames: [String]
  public var verifyCertificateSpki: [String]
  public var verifyCertificateHash: [String]
  public var minProtocolVersion: Version
  public var maxProtocolVersion: Version
  public var cipherSuites: [String]
  public var insecureSkipVerify: Bool

  init(_ reader: inout ObjectReader) {
    isModeGiven = reader.has("mode")
    mode = reader.choice("mode") ?? .passthrough
    httpsRedirect = reader.bool("httpsRedirect") ?? false
    credentialName = reader.string("credentialName")
    credentialNames = reader.strings("credentialNames", count: 1...2) ?? []
    caCertCredentialName = reader.string("caCertCredentialName")
    serverCertificate = reader.string("serverCertificate")
    privateKey = reader.string("privateKey")
    caCertificates = reader.string("caCertificates")
    caCrl = reader.string("caCrl")
    tlsCertificates = reader.list("tlsCertificates", count: 1...2) { Certificate(&$0) } ?? []
    subjectAltNames = reader.strings("subjectAltNames") ?? []
    verifyCertificateSpki = reader.strings("verifyCertificateSpki") ?? []
    verifyCertificateHash = reader.strings("verifyCertificateHash") ?? []
    minProtocolVersion = reader.choice("minProtocolVersion") ?? .auto
    maxProtocolVersion = reader.choice("maxProtocolVersion") ?? .auto
    cipherSuites = reader.strings("cipherSuites") ?? []
    insecureSkipVerify = reader.bool("insecureSkipVerify") ?? false
    check(reader)
  }
}

extension IstioServerTLS.Certificate {
  init(_ reader: inout ObjectReader) {
    serverCertificate = reader.string("serverCertificate")
    privateKey = reader.string("privateKey")
    caCertificates = reader.string("caCertificates")
  }
}

/// meta.v1alpha1 IstioStatus: conditions only, which is what we write.
public struct IstioStatus: Hashable, Sendable {
  public var conditions: [Condition]
  public var observedGeneration: Int64

  public init(conditions: [Condition] = [], observedGeneration: Int64 = 0) {
    self.conditions = conditions
    self.observedGeneration = observedGeneration
  }

  init(_ reader: inout ObjectReader) {
    conditions = readConditions(&reader)
    let generation = reader.value("observedGeneration")
    observedGeneration = generation?.int ?? generation?.string.flatMap { Int64($0) } ?? 0
  }

  public func node() -> Node {
    var node: Node = ["conditions": .sequence(conditions.map { $0.node() })]
    if observedGeneration > 0 { node["observedGeneration"] = .int(observedGeneration) }
    return node
  }
}
