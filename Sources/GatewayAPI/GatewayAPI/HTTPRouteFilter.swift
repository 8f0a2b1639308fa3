import YAML

/// One step that a request or response goes through. HTTPRoute has all of them, GRPCRoute the first four.
public enum HTTPRouteFilter: Hashable, Sendable {
  case requestHeaderModifier(HeaderModifier)
  case responseHeaderModifier(HeaderModifier)
  case requestMirror(RequestMirror)
  case extensionRef(LocalObjectReference)
  case requestRedirect(RequestRedirect)
  case urlRewrite(URLRewrite)
  case cors(CORSFilter)
  case externalAuth(ExternalAuth)

  public enum Kind: String, CaseIterable, Sendable {
    case requestHeaderModifier = "RequestHeaderModifier"
    case responseHeaderModifier = "ResponseHeaderModifier"
    case requestMirror = "RequestMirror"
    case extensionRef = "ExtensionRef"
    case requestRedirect = "RequestRedirect"
    case urlRewrite = "URLRewrite"
    case cors = "CORS"
    case externalAuth = "ExternalAuth"

    /// The field that holds the filter's own settings.
    var field: String {
      switch self {
      case .requestHeaderModifier: "requestHeaderModifier"
      case .responseHeaderModifier: "responseHeaderModifier"
      case .requestMirror: "requestMirror"
      case .extensionRef: "extensionRef"
      case .requestRedirect: "requestRedirect"
      case .urlRewrite: "urlRewrite"
      case .cors: "cors"
      case .externalAuth: "externalAuth"
      }
    }

    static let ofGRPC: [Kind] = [
      .requestHeaderModifier, .responseHeaderModifier, .requestMirror, .extensionRef,
    ]
  }

  public var kind: Kind {
    switch self {
    case .requestHeaderModifier: .requestHeaderModifier
    case .responseHeaderModifier: .responseHeaderModifier
    case .requestMirror: .requestMirror
    case .extensionRef: .extensionRef
    case .requestRedirect: .requestRedirect
    case .urlRewrite: .urlRewrite
    case .cors: .cors
    case .externalAuth: .externalAuth
    }
  }
}

/// Sets, adds and removes header fields, in this order.
public struct HeaderModifier: Hashable, Sendable {
  public struct Field: Hashable, Sendable {
    public var name: String
    public var value: String
  }

  public var set: [Field]
  public var add: [Field]
  public var remove: [String]

  init(_ reader: inout ObjectReader) {
    set = reader.list("set", count: 0...16) { Field(&$0) } ?? []
    add = reader.list("add", count: 0...16) { Field(&$0) } ?? []
    remove = reader.strings("remove", count: 0...16, .headerName) ?? []
    check(reader)
  }
}

extension HeaderModifier.Field {
  init(_ reader: inout ObjectReader) {
    name = reader.requiredString("name", .headerName)
    value = reader.requiredString("value", .headerValue)
  }
}

public struct RequestMirror: Hashable, Sendable {
  public struct Fraction: Hashable, Sendable {
    public var numerator: Int
    public var denominator: Int
  }

  public var backend: BackendObjectReference
  public var percent: Int?
  public var fraction: Fraction?

  init(_ reader: inout ObjectReader) {
    backend = reader.requiredObject("backendRef") { BackendObjectReference(&$0) }
    percent = reader.int("percent", in: 0...100)
    fraction = reader.object("fraction") { fraction in
      let value = Fraction(
        numerator: fraction.requiredInt("numerator", in: 0...Int(Int32.max)),
        denominator: fraction.int("denominator", in: 1...Int(Int32.max)) ?? 100)
      if value.numerator > value.denominator {
        fraction.error(at: "numerator", "must not be greater than the denominator \(value.denominator)")
      }
      return value
    }
    if percent != nil, fraction != nil { reader.error(at: "fraction", "must not stand beside percent") }
  }
}

/// How a path is replaced.
public enum HTTPPathModifier: Hashable, Sendable {
  case replaceFullPath(String)
  case replacePrefixMatch(String)

  private enum Kind: String, CaseIterable {
    case replaceFullPath = "ReplaceFullPath"
    case replacePrefixMatch = "ReplacePrefixMatch"

    var field: String { self == .replaceFullPath ? "replaceFullPath" : "replacePrefixMatch" }
  }

  init?(_ reader: inout ObjectReader) {
    let type = reader.requiredChoice("type", Kind.self)
    let full = reader.string("replaceFullPath", .text(0...1024))
    let prefix = reader.string("replacePrefixMatch", .text(0...1024))
    guard let type else { return nil }
    for kind in Kind.allCases where kind != type && reader.has(kind.field) {
      reader.error(at: kind.field, "must not be set when type is \(type.rawValue)")
    }
    guard reader.has(type.field) else {
      reader.error(at: type.field, "is required when type is \(type.rawValue)")
      return nil
    }
    switch type {
    case .replaceFullPath: self = .replaceFullPath(full ?? "")
    case .replacePrefixMatch: self = .replacePrefixMatch(prefix ?? "")
    }
  }
}

public struct RequestRedirect: Hashable, Sendable {
  public enum Scheme: String, CaseIterable, Sendable {
    case http
    case https
  }

  public var scheme: Scheme?
  public var hostname: String?
  public var path: HTTPPathModifier?
  public var port: Int?
  /// 301, 302, 303, 307 or 308.
  public var statusCode: Int

  init(_ reader: inout ObjectReader) {
    scheme = reader.choice("scheme")
    hostname = reader.string("hostname", .preciseHostname)
    path = reader.object("path") { HTTPPathModifier(&$0) }.flatMap { $0 }
    port = reader.int("port", in: 1...65535)
    statusCode = reader.int("statusCode") ?? 302
    if ![301, 302, 303, 307, 308].contains(statusCode) {
      reader.error(at: "statusCode", "is \(statusCode); it must be 301, 302, 303, 307 or 308")
    }
  }
}

public struct URLRewrite: Hashable, Sendable {
  public var hostname: String?
  public var path: HTTPPathModifier?

  init(_ reader: inout ObjectReader) {
    hostname = reader.string("hostname", .preciseHostname)
    path = reader.object("path") { HTTPPathModifier(&$0) }.flatMap { $0 }
  }
}

public struct CORSFilter: Hashable, Sendable {
  public var allowOrigins: [String]
  public var allowCredentials: Bool
  public var allowMethods: [String]
  public var allowHeaders: [String]
  public var exposeHeaders: [String]
  /// In seconds.
  public var maxAge: Int

  init(_ reader: inout ObjectReader) {
    allowOrigins = reader.strings("allowOrigins", count: 0...64, .corsOrigin) ?? []
    allowCredentials = reader.bool("allowCredentials") ?? false
    allowMethods = reader.strings("allowMethods", count: 0...9, .corsMethod) ?? []
    allowHeaders = reader.strings("allowHeaders", count: 0...64, .headerName) ?? []
    exposeHeaders = reader.strings("exposeHeaders", count: 0...64, .headerName) ?? []
    maxAge = reader.int("maxAge", in: 1...Int(Int32.max)) ?? 5
    for (field, values) in [
      ("allowOrigins", allowOrigins), ("allowMethods", allowMethods), ("allowHeaders", allowHeaders),
    ] where values.count > 1 && values.contains("*") {
      reader.error(at: field, "must not hold other values beside \"*\"")
    }
  }
}

public struct ExternalAuth: Hashable, Sendable {
  public enum `Protocol`: String, CaseIterable, Sendable {
    case http = "HTTP"
    case grpc = "GRPC"
  }

  public struct HTTP: Hashable, Sendable {
    public var path: String?
    public var allowedHeaders: [String]
    public var allowedResponseHeaders: [String]
  }

  public var `protocol`: `Protocol`
  public var backend: BackendObjectReference
  public var grpcAllowedHeaders: [String]?
  public var http: HTTP?
  /// In bytes; nil: the body is not forwarded.
  public var forwardBodyMaxSize: Int?

  init(_ reader: inout ObjectReader) {
    `protocol` = reader.requiredChoice("protocol") ?? .http
    backend = reader.requiredObject("backendRef") { BackendObjectReference(&$0) }
    grpcAllowedHeaders = reader.object("grpc") { $0.strings("allowedHeaders", count: 0...64) ?? [] }
    http = reader.object("http") { http in
      HTTP(
        path: http.string("path", .path), allowedHeaders: http.strings("allowedHeaders", count: 0...64) ?? [],
        allowedResponseHeaders: http.strings("allowedResponseHeaders", count: 0...64) ?? [])
    }
    forwardBodyMaxSize = reader.object("forwardBody") { $0.int("maxSize", in: 0...Int(Int32.max)) ?? 0 }
    for (kind, field) in [(`Protocol`.grpc, "grpc"), (.http, "http")] {
      if `protocol` == kind, !reader.has(field), reader.has("protocol") {
        reader.error(at: field, "is required when protocol is \(kind.rawValue)")
      } else if `protocol` != kind, reader.has(field) {
        reader.error(at: field, "must not be set when protocol is \(`protocol`.rawValue)")
      }
    }
  }
}

/// The filters of a rule or a backend reference, each checked by itself and against the others.
func readFilters(
  _ reader: inout ObjectReader, allowed: [HTTPRouteFilter.Kind] = HTTPRouteFilter.Kind.allCases
)
  -> [HTTPRouteFilter]
{
  let filters = reader.list("filters", count: 0...16) { readFilter(&$0, allowed) } ?? []
  for kind: HTTPRouteFilter.Kind in [
    .requestHeaderModifier, .responseHeaderModifier, .requestRedirect, .urlRewrite, .cors,
  ] where filters.count(where: { $0.kind == kind }) > 1 {
    reader.error(at: "filters", "\(kind.rawValue) must not stand here more than once")
  }
  if filters.contains(where: { $0.kind == .requestRedirect }),
    filters.contains(where: { $0.kind == .urlRewrite })
  {
    reader.error(at: "filters", "must not hold both RequestRedirect and URLRewrite")
  }
  return filters
}

private func readFilter(_ reader: inout ObjectReader, _ allowed: [HTTPRouteFilter.Kind]) -> HTTPRouteFilter? {
  let type = reader.requiredChoice("type", HTTPRouteFilter.Kind.self)
  if let type, !allowed.contains(type) {
    let names = allowed.map(\.rawValue).joined(separator: ", ")
    reader.error(at: "type", "\"\(type.rawValue)\" is not one of \(names)")
  }
  var filter: HTTPRouteFilter?
  for kind in allowed {
    guard let value = readFilterValue(&reader, kind) else {
      if kind == type { reader.error(at: kind.field, "is required when type is \(kind.rawValue)") }
      continue
    }
    if kind == type {
      filter = value
    } else if let type {
      reader.error(at: kind.field, "must not be set when type is \(type.rawValue)")
    }
  }
  return filter
}

private func readFilterValue(_ reader: inout ObjectReader, _ kind: HTTPRouteFilter.Kind) -> HTTPRouteFilter? {
  switch kind {
  case .requestHeaderModifier: reader.object(kind.field) { .requestHeaderModifier(HeaderModifier(&$0)) }
  case .responseHeaderModifier: reader.object(kind.field) { .responseHeaderModifier(HeaderModifier(&$0)) }
  case .requestMirror: reader.object(kind.field) { .requestMirror(RequestMirror(&$0)) }
  case .extensionRef: reader.object(kind.field) { .extensionRef(LocalObjectReference(&$0)) }
  case .requestRedirect: reader.object(kind.field) { .requestRedirect(RequestRedirect(&$0)) }
  case .urlRewrite: reader.object(kind.field) { .urlRewrite(URLRewrite(&$0)) }
  case .cors: reader.object(kind.field) { .cors(CORSFilter(&$0)) }
  case .externalAuth: reader.object(kind.field) { .externalAuth(ExternalAuth(&$0)) }
  }
}
