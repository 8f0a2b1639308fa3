public import YAML

/// gateway.networking.k8s.io GRPCRoute.
public struct GRPCRoute: Hashable, Sendable {
  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var common: CommonRouteFields
  /// May be empty: then the route serves nothing.
  public var rules: [GRPCRouteRule]
  public var status: RouteStatus

  public var parentRefs: [ParentReference] { common.parentRefs }
  public var hostnames: [String] { common.hostnames }

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    (common, rules) = reader.requiredObject("spec") { spec in
      let common = CommonRouteFields(&spec)
      let rules = spec.list("rules", count: 0...16) { GRPCRouteRule(&$0) } ?? []
      let matches = rules.reduce(0) { $0 + $1.matches.count }
      if matches > 128 {
        spec.error(at: "rules", "hold \(matches) matches together; at most 128 are allowed in one route")
      }
      checkRuleNames(rules.map(\.name), spec)
      return (common, rules)
    }
    status = readStatus(&reader) { RouteStatus(&$0) } ?? RouteStatus()
  }
}

public struct GRPCRouteRule: Hashable, Sendable {
  public var name: String?
  /// Empty: every gRPC request.
  public var matches: [GRPCRouteMatch]
  /// Header modifiers, mirror and extension references only.
  public var filters: [HTTPRouteFilter]
  public var backendRefs: [GRPCBackendRef]
  public var sessionPersistence: SessionPersistence?
  public var position: SourcePosition

  init(_ reader: inout ObjectReader) {
    position = reader.position
    name = reader.string("name", .objectName)
    matches = reader.list("matches", count: 0...64) { GRPCRouteMatch(&$0) } ?? []
    filters = readFilters(&reader, allowed: HTTPRouteFilter.Kind.ofGRPC)
    backendRefs = reader.list("backendRefs", count: 0...16) { GRPCBackendRef(&$0) } ?? []
    sessionPersistence = reader.object("sessionPersistence") { SessionPersistence(&$0) }
  }
}

public struct GRPCRouteMatch: Hashable, Sendable {
  /// nil: every service and method.
  public var method: GRPCMethodMatch?
  public var headers: [HTTPValueMatch]
  public var position: SourcePosition

  init(_ reader: inout ObjectReader) {
    position = reader.position
    method = reader.object("method") { GRPCMethodMatch(&$0) }
    headers = reader.list("headers", count: 0...16) { HTTPValueMatch(metadata: &$0) } ?? []
    warnAboutRepeats(headers, "headers", ignoringCase: true, reader)
  }
}

/// At least one of service and method is there.
public struct GRPCMethodMatch: Hashable, Sendable {
  public var type: HTTPValueMatch.Kind
  /// The full name, as `protobuf.Transport`.
  public var service: String?
  public var method: String?

  init(_ reader: inout ObjectReader) {
    type = reader.choice("type") ?? .exact
    service = reader.string("service", .text(0...1024))
    method = reader.string("method", .text(0...1024))
    if service == nil, method == nil { reader.error("needs service, method or both") }
    guard type == .exact else { return }
    if let service, !Self.isServiceName(service) {
      reader.error(at: "service", "\"\(service)\" is not the name of a service, as package.Service")
    }
    if let method, !Self.isIdentifier(method[...]) {
      reader.error(at: "method", "\"\(method)\" is not the name of a method, as Connect")
    }
  }

  private static func isServiceName(_ text: String) -> Bool {
    let name = text.hasPrefix(".") ? text.dropFirst() : text[...]
    return name.split(separator: ".", omittingEmptySubsequences: false).allSatisfy(isIdentifier)
  }

  private static func isIdentifier(_ text: Substring) -> Bool {
    guard let first = text.utf8.first, !(first >= 0x30 && first <= 0x39) else { return false }
    return text.utf8.allSatisfy { byte in
      (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || (byte >= 0x30 && byte <= 0x39)
        || byte == UInt8(ascii: "_")
    }
  }
}

public struct GRPCBackendRef: Hashable, Sendable {
  public var backend: BackendObjectReference
  public var weight: Int
  public var filters: [HTTPRouteFilter]
  public var position: SourcePosition

  init(_ reader: inout ObjectReader) {
    position = reader.position
    backend = BackendObjectReference(&reader)
    weight = reader.int("weight", in: 0...1_000_000) ?? 1
    filters = readFilters(&reader, allowed: HTTPRouteFilter.Kind.ofGRPC)
  }
}
