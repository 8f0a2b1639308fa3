/// What the controller is told once, at its start.
public struct ControllerOptions: Sendable {
  /// The controllerName of the GatewayClasses that are ours.
  public static let controllerName = "sluice.dev/gateway-controller"

  /// True without a Kubernetes cluster: a class name that no GatewayClass object names is then taken for
  /// ours.
  public var isStandalone: Bool
  /// The address that listening sockets are bound to, an IP literal; empty means every address.
  public var bindAddress: String
  /// Logical listener port → port that is bound instead. A port that is not named is bound as it is.
  public var portMap: [UInt16: UInt16]
  /// Where backends are that no Service object describes, or that shall not be where it says.
  public var backendOverrides: [BackendOverride]
  /// Namespaces searched for an Istio `credentialName` after the Gateway's own.
  public var credentialNamespaces: [String]
  /// How long events are gathered before a rebuild, in milliseconds.
  public var debounceMilliseconds: Int
  /// How long an answer of the resolver is used, in seconds.
  public var resolveIntervalSeconds: Int
  /// The addresses written into the status of Gateways; empty means the bind address.
  public var gatewayAddresses: [String]

  public init(
    isStandalone: Bool = true, bindAddress: String = "", portMap: [UInt16: UInt16] = [:],
    backendOverrides: [BackendOverride] = [],
    credentialNamespaces: [String] = ["istio-ingress", "istio-system"],
    debounceMilliseconds: Int = 5, resolveIntervalSeconds: Int = 30, gatewayAddresses: [String] = []
  ) {
    self.isStandalone = isStandalone
    self.bindAddress = bindAddress
    self.portMap = portMap
    self.backendOverrides = backendOverrides
    self.credentialNamespaces = credentialNamespaces
    self.debounceMilliseconds = debounceMilliseconds
    self.resolveIntervalSeconds = resolveIntervalSeconds
    self.gatewayAddresses = gatewayAddresses
  }
}

/// `--backend NAME[.NAMESPACE]=ADDRESS`: every port of that Service name is at this address.
public struct BackendOverride: Sendable, Hashable {
  public var name: String
  /// Nil: that name in every namespace.
  public var namespace: String?
  /// An IP literal or a host name.
  public var address: String

  public init(name: String, namespace: String?, address: String) {
    self.name = name
    self.namespace = namespace
    self.address = address
  }

  /// Reads the command line's form. Brackets around an IPv6 literal are taken off; a port is refused.
  public init(parsing text: String) throws(BackendOverrideError) {
    guard let equals = text.firstIndex(of: "=") else {
      throw BackendOverrideError(text: text, reason: "there is no '='")
    }
    let left = text[..<equals]
    var right = String(text[text.index(after: equals)...])
    if right.hasPrefix("["), right.hasSuffix("]") { right = String(right.dropFirst().dropLast()) }
    let colons = right.count { $0 == ":" }
    guard !right.isEmpty, colons != 1, !right.contains("/"), !right.contains(" ") else {
      throw BackendOverrideError(
        text: text, reason: "the right side must be an IP address or a host name without a port")
    }
    let parts = left.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    guard let name = parts.first, !name.isEmpty, parts.count == 1 || !parts[1].isEmpty else {
      throw BackendOverrideError(text: text, reason: "the left side must be NAME or NAME.NAMESPACE")
    }
    self.init(
      name: String(name), namespace: parts.count == 2 ? String(parts[1]) : nil, address: right)
  }
}

public struct BackendOverrideError: Error, CustomStringConvertible, Sendable, Equatable {
  public var text: String
  public var reason: String
  public var description: String {
    "--backend \(text): \(reason); write it like hoopgateway=127.0.0.1 or hoopgateway.default=10.0.0.7"
  }
}

/// Looks host names up; injected, so that tests decide the answer.
public protocol HostResolving: Sendable {
  /// IP literals of the host, in any order; empty when the name has none or the look-up failed.
  func addresses(of host: String) async -> [String]
}
