public import YAML

/// gateway.networking.k8s.io HTTPRoute.
public struct HTTPRoute: Hashable, Sendable {
  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var common: CommonRouteFields
  public var rules: [HTTPRouteRule]
  public var status: RouteStatus

  public var parentRefs: [ParentReference] { common.parentRefs }
  public var hostnames: [String] { common.hostnames }

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    (common, rules) = reader.requiredObject("spec") { spec in
      let common = CommonRouteFields(&spec)
      let rules = spec.list("rules", count: 1...16) { HTTPRouteRule(&$0) }
      HTTPRouteRule.checkAll(rules ?? [], spec)
      return (common, rules ?? [HTTPRouteRule(position: spec.position)])
    }
    status = readStatus(&reader) { RouteStatus(&$0) } ?? RouteStatus()
  }
}

public struct HTTPRouteRule: Hashable, Sendable {
  public var name: String?
  /// Never empty: without matches a rule has the one match of every path.
  public var matches: [HTTPRouteMatch]
  public var filters: [HTTPRouteFilter]
  public var backendRefs: [HTTPBackendRef]
  public var timeouts: HTTPRouteTimeouts?
  public var retry: HTTPRouteRetry?
  public var sessionPersistence: SessionPersistence?
  public var position: SourcePosition

  /// The rule of a route that has none.
  init(position: SourcePosition) {
    self.position = position
    name = nil
    matches = [HTTPRouteMatch(position: position)]
    filters = []
    backendRefs = []
  }

  init(_ reader: inout ObjectReader) {
    position = reader.position
    name = reader.string("name", .objectName)
    let given = reader.list("matches", count: 0...64) { HTTPRouteMatch(&$0) } ?? []
    matches = given.isEmpty ? [HTTPRouteMatch(position: reader.position)] : given
    filters = readFilters(&reader)
    backendRefs = reader.list("backendRefs", count: 0...16) { HTTPBackendRef(&$0) } ?? []
    timeouts = reader.object("timeouts") { HTTPRouteTimeouts(&$0) }
    retry = reader.object("retry") { HTTPRouteRetry(&$0) }
    sessionPersistence = reader.object("sessionPersistence") { SessionPersistence(&$0) }
    check(reader)
  }
}

/// All of its parts must hold.
public struct HTTPRouteMatch: Hashable, Sendable {
  public enum Method: String, CaseIterable, Sendable {
    case get = "GET"
    case head = "HEAD"
    case post = "POST"
    case put = "PUT"
    case delete = "DELETE"
    case connect = "CONNECT"
    case options = "OPTIONS"
    case trace = "TRACE"
    case patch = "PATCH"
  }

  public var path: HTTPPathMatch
  /// Names are compared without case; of several with one name only the first counts.
  public var headers: [HTTPValueMatch]
  public var queryParams: [HTTPValueMatch]
  public var method: Method?
  public var position: SourcePosition

  init(position: SourcePosition) {
    self.position = position
    path = HTTPPathMatch(type: .pathPrefix, value: "/")
    headers = []
    queryParams = []
  }

  init(_ reader: inout ObjectReader) {
    position = reader.position
    path = reader.object("path") { HTTPPathMatch(&$0) } ?? HTTPPathMatch(type: .pathPrefix, value: "/")
    headers = reader.list("headers", count: 0...16) { HTTPValueMatch(header: &$0) } ?? []
    queryParams = reader.list("queryParams", count: 0...16) { HTTPValueMatch(query: &$0) } ?? []
    method = reader.choice("method")
    warnAboutRepeats(headers, "headers", ignoringCase: true, reader)
    warnAboutRepeats(queryParams, "queryParams", ignoringCase: false, reader)
  }
}

public struct HTTPPathMatch: Hashable, Sendable {
  public enum Kind: String, CaseIterable, Sendable {
    case exact = "Exact"
    /// By whole segments: `/foo` holds for `/foo/bar` and not for `/foobar`.
    case pathPrefix = "PathPrefix"
    /// RE2 over the whole path.
    case regularExpression = "RegularExpression"
  }

  public var type: Kind
  public var value: String

  init(type: Kind, value: String) {
    self.type = type
    self.value = value
  }

  init(_ reader: inout ObjectReader) {
    type = reader.choice("type") ?? .pathPrefix
    value = reader.string("value", .text(0...1024)) ?? "/"
    check(reader)
  }
}

/// A header's or query parameter's name with the value that it must have.
public struct HTTPValueMatch: Hashable, Sendable {
  public enum Kind: String, CaseIterable, Sendable {
    case exact = "Exact"
    case regularExpression = "RegularExpression"
  }

  public var type: Kind
  public var name: String
  public var value: String

  init(header reader: inout ObjectReader) {
    type = reader.choice("type") ?? .exact
    name = reader.requiredString("name", .headerName)
    value = reader.requiredString("value", .headerValue)
  }

  init(query reader: inout ObjectReader) {
    type = reader.choice("type") ?? .exact
    name = reader.requiredString("name", .headerName)
    value = reader.requiredString("value", .text(1...1024))
  }

  /// GRPCRoute asks less of a header's value.
  init(metadata reader: inout ObjectReader) {
    type = reader.choice("type") ?? .exact
    name = reader.requiredString("name", .headerName)
    value = reader.requiredString("value", .text(1...4096))
  }
}

/// A backend with its share of the requests.
public struct HTTPBackendRef: Hashable, Sendable {
  public var backend: BackendObjectReference
  /// 0 to 1,000,000; the share is the weight over the sum of the weights of the rule.
  public var weight: Int
  public var filters: [HTTPRouteFilter]
  public var position: SourcePosition

  init(_ reader: inout ObjectReader) {
    position = reader.position
    backend = BackendObjectReference(&reader)
    weight = reader.int("weight", in: 0...1_000_000) ?? 1
    filters = readFilters(&reader)
  }
}

public struct HTTPRouteTimeouts: Hashable, Sendable {
  /// nil: not set; zero: no limit.
  public var request: Duration?
  public var backendRequest: Duration?

  init(_ reader: inout ObjectReader) {
    request = reader.string("request", .duration).flatMap(gatewayDuration)
    backendRequest = reader.string("backendRequest", .duration).flatMap(gatewayDuration)
    if let request, let backendRequest, request != .zero, backendRequest > request {
      reader.error(at: "backendRequest", "must not be longer than request")
    }
  }
}

public struct HTTPRouteRetry: Hashable, Sendable {
  public var codes: [Int]
  public var attempts: Int?
  public var backoff: Duration?

  init(_ reader: inout ObjectReader) {
    codes = reader.ints("codes", in: 400...599) ?? []
    attempts = reader.int("attempts", in: 1...Int.max)
    backoff = reader.string("backoff", .duration).flatMap(gatewayDuration)
  }
}

public struct SessionPersistence: Hashable, Sendable {
  public enum Kind: String, CaseIterable, Sendable {
    case cookie = "Cookie"
    case header = "Header"
  }

  public enum Lifetime: String, CaseIterable, Sendable {
    case permanent = "Permanent"
    case session = "Session"
  }

  public struct Cookie: Hashable, Sendable {
    public var name: String?
    public var path: String
    public var lifetimeType: Lifetime
  }

  public var type: Kind
  public var cookie: Cookie?
  public var headerName: String?
  public var absoluteTimeout: Duration?

  init(_ reader: inout ObjectReader) {
    type = reader.choice("type") ?? .cookie
    absoluteTimeout = reader.string("absoluteTimeout", .duration).flatMap(gatewayDuration)
    cookie = reader.object("cookie") { cookie in
      Cookie(
        name: cookie.string("name", .headerName), path: cookie.string("path", .text(0...1024)) ?? "/",
        lifetimeType: cookie.choice("lifetimeType") ?? .session)
    }
    headerName = reader.object("header") { $0.requiredString("name", .headerName) }
    check(reader)
  }
}
