import YAML

/// networking.istio.io DestinationRule: how connections to a Service are made. What it says of TLS is acted on.
public struct DestinationRule: Hashable, Sendable {
  public struct PortPolicy: Hashable, Sendable {
    public var port: Int
    /// Nil: in the clear. Settings of a port replace those of the whole, they do not add to them.
    public var tls: IstioClientTLS?
  }

  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  /// A Service as `name` or `name.namespace.svc.cluster.local`, or a pattern of such names as `*.local`.
  public var host: String
  public var tls: IstioClientTLS?
  public var ports: [PortPolicy]
  /// Labels of the workloads whose connections it is about; empty: all.
  public var workloadSelector: [String: String]
  public var status: IstioStatus

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    (host, tls, ports, workloadSelector) = reader.requiredObject("spec") { spec in
      spec.allow("exportTo", "subsets")
      let policy = spec.object("trafficPolicy") { TrafficPolicy(&$0) }
      return (
        spec.requiredString("host", .istioRuleHost), policy?.tls, policy?.ports ?? [],
        spec.object("workloadSelector") { $0.stringMap("matchLabels") ?? [:] } ?? [:]
      )
    }
    status = readStatus(&reader) { IstioStatus(&$0) } ?? IstioStatus()
  }
}

/// istio ClientTLSSettings: what is asked of a backend's certificate, and what it is shown.
public struct IstioClientTLS: Hashable, Sendable {
  public enum Mode: String, CaseIterable, Sendable {
    case disable = "DISABLE"
    case simple = "SIMPLE"
    case mutual = "MUTUAL"
    case istioMutual = "ISTIO_MUTUAL"
  }

  public var mode: Mode
  /// A Secret with `ca.crt` and, in mode MUTUAL, `tls.crt` and `tls.key`.
  public var credentialName: String?
  /// Server name of the handshake; nil: the host of the request.
  public var sni: String?
  /// DNS names, or URIs.
  public var subjectAltNames: [String]
  public var insecureSkipVerify: Bool
  /// Fields that name files beside a sidecar, as they are spelled.
  public var files: [String]

  init(_ reader: inout ObjectReader) {
    // The first value of the definition's enumeration.
    mode = reader.choice("mode") ?? .disable
    credentialName = reader.string("credentialName", .text(1...253))
    sni = reader.string("sni", .preciseHostname)
    subjectAltNames = reader.strings("subjectAltNames", count: 0...Int.max, .text(1...253)) ?? []
    insecureSkipVerify = reader.bool("insecureSkipVerify") ?? false
    var files: [String] = []
    for field in ["clientCertificate", "privateKey", "caCertificates", "caCrl"]
    where reader.string(field)?.isEmpty == false {
      files.append(field)
    }
    self.files = files
    if credentialName != nil, let file = files.first {
      reader.error(at: file, "must not stand beside credentialName")
    }
    if mode == .mutual, credentialName == nil, !files.contains("clientCertificate") {
      reader.error("needs credentialName (or clientCertificate and privateKey) with mode MUTUAL")
    }
  }
}

private struct TrafficPolicy {
  var tls: IstioClientTLS?
  var ports: [DestinationRule.PortPolicy]

  init(_ reader: inout ObjectReader) {
    reader.allow("connectionPool", "loadBalancer", "outlierDetection", "proxyProtocol", "retryBudget", "tunnel")
    tls = reader.object("tls") { IstioClientTLS(&$0) }
    ports = reader.list("portLevelSettings") { DestinationRule.PortPolicy(&$0) } ?? []
    for (index, one) in ports.enumerated() where ports[..<index].contains(where: { $0.port == one.port }) {
      reader.error(at: "portLevelSettings", index: index, "is about port \(one.port) once more")
    }
  }
}

extension DestinationRule.PortPolicy {
  init(_ reader: inout ObjectReader) {
    reader.allow("connectionPool", "loadBalancer", "outlierDetection")
    port = reader.requiredObject("port") { $0.requiredInt("number", in: 1...65535) }
    tls = reader.object("tls") { IstioClientTLS(&$0) }
  }
}

extension TextRule {
  fileprivate static let istioRuleHost = TextRule(
    "a Service as name or name.namespace.svc.cluster.local, or a pattern as *.local", minLength: 1, maxLength: 253,
    matches: { $0 == "*" || isSubdomain(($0.hasPrefix("*.") ? String($0.dropFirst(2)) : $0).lowercased()) })
}
