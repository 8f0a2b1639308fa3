public import YAML

/// networking.istio.io VirtualService.
public struct VirtualService: Hashable, Sendable {
  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var hosts: [String]
  /// `name`, `namespace/name` or `mesh`. Empty means the mesh only, which an ingress does not serve.
  public var gateways: [String]
  public var http: [IstioHTTPRoute]
  /// Connections over TLS that the backends terminate.
  public var tls: [IstioLayer4Route]
  /// Connections whose bytes nobody looks at.
  public var tcp: [IstioLayer4Route]
  public var exportTo: [String]
  public var status: IstioStatus

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    (hosts, gateways, exportTo, http, tls, tcp) = reader.requiredObject("spec") { spec in
      let value = (
        spec.strings("hosts", .istioHost) ?? [],
        spec.strings("gateways", .istioGatewayName) ?? [],
        spec.strings("exportTo") ?? [],
        spec.list("http") { IstioHTTPRoute(&$0) } ?? [],
        spec.list("tls") { IstioLayer4Route(&$0, isTLS: true) } ?? [],
        spec.list("tcp") { IstioLayer4Route(&$0, isTLS: false) } ?? []
      )
      VirtualService.check(hosts: value.0, http: value.3, spec)
      VirtualService.check(hosts: value.0, tls: value.4, tcp: value.5, spec)
      return value
    }
    status = readStatus(&reader) { IstioStatus(&$0) } ?? IstioStatus()
  }
}

/// How a text is compared (istio StringMatch). Without any of its fields it asks only for presence.
public enum IstioStringMatch: Hashable, Sendable {
  case exact(String)
  case prefix(String)
  /// RE2 over the whole text.
  case regex(String)
  case present

  init(_ reader: inout ObjectReader) {
    let exact = reader.string("exact")
    let prefix = reader.string("prefix")
    let regex = reader.string("regex")
    if [exact, prefix, regex].count(where: { $0 != nil }) > 1 {
      reader.error("must have only one of exact, prefix and regex")
    }
    if let exact {
      self = .exact(exact)
    } else if let prefix {
      self = .prefix(prefix)
    } else {
      self = regex.map { .regex($0) } ?? .present
    }
  }
}

/// A header's or query parameter's name with what its value must be.
public struct IstioNamedMatch: Hashable, Sendable {
  public var name: String
  public var match: IstioStringMatch

  public init(_ name: String, _ match: IstioStringMatch) {
    self.name = name
    self.match = match
  }
}

/// One entry of `http`: what it matches (one of `match`, or everything), and what is done.
public struct IstioHTTPRoute: Hashable, Sendable {
  public var name: String?
  public var match: [IstioHTTPMatch]
  public var route: [IstioRouteDestination]
  public var redirect: IstioRedirect?
  public var directResponse: IstioDirectResponse?
  public var delegate: IstioDelegate?
  public var rewrite: IstioRewrite?
  /// nil: none. Zero says the same.
  public var timeout: Duration?
  public var retries: IstioRetry?
  public var fault: IstioFault?
  public var mirror: IstioDestination?
  /// 0 to 100, from `mirrorPercentage`, or the older `mirrorPercent` and `mirror_percent`.
  public var mirrorPercentage: Double?
  public var mirrors: [IstioMirror]
  public var corsPolicy: IstioCORSPolicy?
  public var headers: IstioHeaders
  public var position: SourcePosition

  init(_ reader: inout ObjectReader) {
    position = reader.position
    name = reader.string("name")
    match = reader.list("match") { IstioHTTPMatch(&$0) } ?? []
    route = reader.list("route") { IstioRouteDestination(&$0) } ?? []
    redirect = reader.object("redirect") { IstioRedirect(&$0) }
    directResponse = reader.object("directResponse") { IstioDirectResponse(&$0) }
    delegate = reader.object("delegate") { IstioDelegate(&$0) }
    rewrite = reader.object("rewrite") { IstioRewrite(&$0) }
    timeout = reader.string("timeout", .istioTimeout).flatMap(goDurationValue)
    retries = reader.object("retries") { IstioRetry(&$0) }
    fault = reader.object("fault") { IstioFault(&$0) }
    mirror = reader.object("mirror") { IstioDestination(&$0) }
    let percentage = reader.object("mirrorPercentage") { $0.double("value") ?? 0 }
    let percent = reader.int("mirrorPercent", in: 0...100)
    let oldPercent = reader.int("mirror_percent", in: 0...100)
    mirrorPercentage = percentage ?? (percent ?? oldPercent).map(Double.init)
    mirrors = reader.list("mirrors") { IstioMirror(&$0) } ?? []
    corsPolicy = reader.object("corsPolicy") { IstioCORSPolicy(&$0) }
    headers = reader.object("headers") { IstioHeaders(&$0) } ?? IstioHeaders()
    check(reader)
  }
}

/// All of its parts must hold.
public struct IstioHTTPMatch: Hashable, Sendable {
  public var name: String?
  public var uri: IstioStringMatch?
  public var ignoreUriCase: Bool
  public var scheme: IstioStringMatch?
  public var method: IstioStringMatch?
  public var authority: IstioStringMatch?
  /// In the order of the document; names in lower case.
  public var headers: [IstioNamedMatch]
  public var withoutHeaders: [IstioNamedMatch]
  public var queryParams: [IstioNamedMatch]
  public var port: Int?
  public var sourceLabels: [String: String]
  public var sourceNamespace: String?
  /// Empty: the gateways of the VirtualService.
  public var gateways: [String]
  public var statPrefix: String?
  public var position: SourcePosition

  init(_ reader: inout ObjectReader) {
    position = reader.position
    name = reader.string("name")
    uri = reader.object("uri") { IstioStringMatch(&$0) }
    ignoreUriCase = reader.bool("ignoreUriCase") ?? false
    scheme = reader.object("scheme") { IstioStringMatch(&$0) }
    method = reader.object("method") { IstioStringMatch(&$0) }
    authority = reader.object("authority") { IstioStringMatch(&$0) }
    headers = Self.named("headers", lowercased: true, &reader)
    withoutHeaders = Self.named("withoutHeaders", lowercased: true, &reader)
    queryParams = Self.named("queryParams", lowercased: false, &reader)
    port = reader.int("port", in: 0...65535).flatMap { $0 == 0 ? nil : $0 }
    sourceLabels = reader.stringMap("sourceLabels") ?? [:]
    sourceNamespace = reader.string("sourceNamespace")
    gateways = reader.strings("gateways", .istioGatewayName) ?? []
    statPrefix = reader.string("statPrefix")
    check(reader)
  }

  private static func named(
    _ field: String, lowercased: Bool, _ reader: inout ObjectReader
  ) -> [IstioNamedMatch] {
    (reader.objectEntries(field) { IstioStringMatch(&$0) } ?? []).map { entry in
      IstioNamedMatch(lowercased ? entry.key.lowercased() : entry.key, entry.value)
    }
  }
}

public struct IstioDestination: Hashable, Sendable {
  /// A Service: its short name, or name and namespace and domain; or a host of a ServiceEntry.
  public var host: String
  public var subset: String?
  /// nil: the Service's only port.
  public var port: Int?
  public var position: SourcePosition

  init(_ reader: inout ObjectReader) {
    position = reader.position
    host = reader.requiredString("host", .istioDestinationHost)
    subset = reader.string("subset")
    port = reader.object("port") { $0.requiredInt("number", in: 1...65535) }
  }
}

public struct IstioRouteDestination: Hashable, Sendable {
  public var destination: IstioDestination
  /// As written, zero when absent. A single destination takes everything, whatever its weight.
  public var weight: Int
  public var headers: IstioHeaders
  public var position: SourcePosition

  init(_ reader: inout ObjectReader) {
    position = reader.position
    destination = reader.requiredObject("destination") { IstioDestination(&$0) }
    weight = reader.int("weight", in: 0...Int(Int32.max)) ?? 0
    headers = reader.object("headers") { IstioHeaders(&$0) } ?? IstioHeaders()
  }
}

/// Changes to headers of requests and responses: set, then add, then remove.
public struct IstioHeaders: Hashable, Sendable {
  public struct Operations: Hashable, Sendable {
    public var set: [HeaderModifier.Field]
    public var add: [HeaderModifier.Field]
    public var remove: [String]

    init() { (set, add, remove) = ([], [], []) }

    init(_ reader: inout ObjectReader) {
      set = Self.fields("set", &reader)
      add = Self.fields("add", &reader)
      remove = reader.strings("remove", .istioHeaderName) ?? []
    }

    private static func fields(_ field: String, _ reader: inout ObjectReader) -> [HeaderModifier.Field] {
      (reader.stringEntries(field, keys: .istioHeaderName, values: .istioHeaderValue) ?? []).map {
        HeaderModifier.Field(name: $0.key, value: $0.value)
      }
    }

    public var isEmpty: Bool { self.set.isEmpty && add.isEmpty && remove.isEmpty }
  }

  public var request: Operations
  public var response: Operations

  init() { (request, response) = (Operations(), Operations()) }

  init(_ reader: inout ObjectReader) {
    request = reader.object("request") { Operations(&$0) } ?? Operations()
    response = reader.object("response") { Operations(&$0) } ?? Operations()
  }
}

public struct IstioRedirect: Hashable, Sendable {
  public enum DerivePort: String, CaseIterable, Sendable {
    case protocolDefault = "FROM_PROTOCOL_DEFAULT"
    case requestPort = "FROM_REQUEST_PORT"
  }

  /// Replaces the whole path.
  public var uri: String?
  /// Replaces the matched prefix.
  public var prefixRewrite: String?
  public var authority: String?
  public var port: Int?
  public var derivePort: DerivePort?
  public var scheme: String?
  /// 301, 302, 303, 307 or 308.
  public var redirectCode: Int

  init(_ reader: inout ObjectReader) {
    uri = reader.string("uri")
    prefixRewrite = reader.string("prefixRewrite")
    authority = reader.string("authority")
    port = reader.int("port", in: 1...65535)
    derivePort = reader.choice("derivePort")
    scheme = reader.string("scheme")
    let code = reader.int("redirectCode") ?? 0
    redirectCode = code == 0 ? 301 : code
    check(reader)
  }
}

public struct IstioRewrite: Hashable, Sendable {
  public struct RegexRewrite: Hashable, Sendable {
    public var match: String
    public var rewrite: String
  }

  /// Replaces the matched prefix, or the whole path under exact and regex matches.
  public var uri: String?
  public var authority: String?
  public var uriRegexRewrite: RegexRewrite?

  init(_ reader: inout ObjectReader) {
    uri = reader.string("uri")
    authority = reader.string("authority")
    uriRegexRewrite = reader.object("uriRegexRewrite") { regex in
      RegexRewrite(match: regex.requiredString("match"), rewrite: regex.requiredString("rewrite"))
    }
    check(reader)
  }
}

public struct IstioDirectResponse: Hashable, Sendable {
  public var status: Int
  public var body: [UInt8]

  init(_ reader: inout ObjectReader) {
    status = reader.requiredInt("status", in: 200...599)
    body =
      reader.object("body") { body in
        let text = body.string("string")
        let bytes = body.string("bytes")
        if text != nil, bytes != nil { body.error("must have only one of string and bytes") }
        if let text { return Array(text.utf8) }
        guard let bytes else { return [] }
        if let decoded = Base64.decode(bytes) { return decoded }
        body.error(at: "bytes", "is not base64")
        return []
      } ?? []
    if body.count > 1 << 20 { reader.error(at: "body", "is longer than 1 MiB") }
  }
}

public struct IstioDelegate: Hashable, Sendable {
  public var name: String
  public var namespace: String?

  init(_ reader: inout ObjectReader) {
    name = reader.requiredString("name", .referenceName)
    namespace = reader.string("namespace")
  }
}
