public import YAML

/// gateway.networking.k8s.io TLSRoute: connections by the server name that they ask for.
public struct TLSRoute: Hashable, Sendable {
  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var common: CommonRouteFields
  /// One.
  public var rules: [Layer4RouteRule]
  public var status: RouteStatus

  public var parentRefs: [ParentReference] { common.parentRefs }
  public var hostnames: [String] { common.hostnames }

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    (common, rules) = reader.requiredObject("spec") { spec in
      let common = CommonRouteFields(&spec, hostnames: 1...1024)
      for (index, hostname) in common.hostnames.enumerated() where isIPAddress(hostname) {
        spec.error(at: "hostnames", index: index, "is an IP address, which no server name is")
      }
      return (common, spec.requiredList("rules", count: 1...1) { Layer4RouteRule(&$0) })
    }
    status = readStatus(&reader) { RouteStatus(&$0) } ?? RouteStatus()
  }
}

/// gateway.networking.k8s.io TCPRoute: every connection of its listeners.
public struct TCPRoute: Hashable, Sendable {
  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var common: CommonRouteFields
  /// One.
  public var rules: [Layer4RouteRule]
  public var status: RouteStatus

  public var parentRefs: [ParentReference] { common.parentRefs }

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    (common, rules) = readSpecWithoutHostnames(&reader)
    status = readStatus(&reader) { RouteStatus(&$0) } ?? RouteStatus()
  }
}

/// gateway.networking.k8s.io UDPRoute: every session of its listeners.
public struct UDPRoute: Hashable, Sendable {
  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var common: CommonRouteFields
  /// One.
  public var rules: [Layer4RouteRule]
  public var status: RouteStatus

  public var parentRefs: [ParentReference] { common.parentRefs }

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    (common, rules) = readSpecWithoutHostnames(&reader)
    status = readStatus(&reader) { RouteStatus(&$0) } ?? RouteStatus()
  }
}

private func readSpecWithoutHostnames(_ reader: inout ObjectReader) -> (CommonRouteFields, [Layer4RouteRule]) {
  reader.requiredObject("spec") { spec in
    (CommonRouteFields(&spec, hostnames: nil), spec.requiredList("rules", count: 1...1) { Layer4RouteRule(&$0) })
  }
}

/// Backends that connections are dealt out to by weight.
public struct Layer4RouteRule: Hashable, Sendable {
  public struct BackendRef: Hashable, Sendable {
    public var backend: BackendObjectReference
    public var weight: Int
    public var position: SourcePosition

    init(_ reader: inout ObjectReader) {
      position = reader.position
      backend = BackendObjectReference(&reader)
      weight = reader.int("weight", in: 0...1_000_000) ?? 1
    }
  }

  public var name: String?
  public var backendRefs: [BackendRef]
  public var position: SourcePosition

  init(_ reader: inout ObjectReader) {
    position = reader.position
    name = reader.string("name", .objectName)
    backendRefs = reader.requiredList("backendRefs", count: 1...16) { BackendRef(&$0) }
  }
}
