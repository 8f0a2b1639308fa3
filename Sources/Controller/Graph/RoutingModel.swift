public import RoutingTable

/// What every API's ingest produces and the only thing that Compile reads: no API object is in it.
/// Rules carry their provenance; entries are already in the order of their API's law.
public struct RoutingModel: Sendable, Equatable {
  /// In order of port.
  public var sockets: [ModelSocket] = []
  public var rules: [RuleSource] = []
  public var backends: [ModelBackend] = []
  public var certificates: [CertificateSource] = []
  public var trustBundles: [TrustBundleSource] = []
}

public struct ModelSocket: Sendable, Equatable {
  public var port: UInt16
  public var kind: SocketKind
  /// Connections begin with a PROXY protocol header, which is taken from these networks only; nil: none is expected.
  var proxyProtocol: [NetworkSource]?
  /// Distinct hostnames, the most specific first.
  public var listeners: [ModelListener]
}

/// All that is served under one hostname of a socket. Gateways that ask for the same one share it.
public struct ModelListener: Sendable, Equatable {
  /// `default/hoopgateway/http`: the oldest object that asked for it, and its listener.
  public var name: String
  var hostname: Hostname
  var proto = ListenerProtocol.http
  var options = ListenerOptions()
  /// Server names → index into the model's certificates.
  var tls: [TLSBinding] = []
  var clientValidation: ClientValidationSource?
  /// One an API, the oldest first.
  var blocks: [RouteBlock] = []
}

/// The entries of one API in one listener, by host pattern, each list in order of precedence.
struct RouteBlock: Sendable, Equatable {
  var law: HostLaw
  var hosts: [Hostname: [EntrySource]]
}

/// What happens when no entry of the most specific host pattern matches.
enum HostLaw: Sendable, Equatable {
  /// Gateway API: the rules of the next less specific pattern are tried, and so on.
  case fallsThrough
  /// Istio: the most specific pattern decides alone.
  case mostSpecificOnly
}

/// A named group of endpoints; its identity outlives every change of rules.
public struct ModelBackend: Sendable, Equatable {
  /// `default/hoopgateway:8009`.
  public var id: String
  public var proto: BackendProtocol
  var origin: EndpointOrigin
  /// Nil: in the clear.
  var tls: BackendTLSSource?
  var proxyProtocol = ProxyProtocolVersion.none
}

/// Where the endpoints of a backend come from. Resolved apart from the routes, so that a change of
/// endpoints rebuilds none of them.
enum EndpointOrigin: Sendable, Hashable {
  /// An address or host name that takes the port as it is.
  case host(String, port: UInt16)
  /// The EndpointSlices of a Service; the slices' port is the one named like the Service's.
  case slices(service: ServiceName, portName: String, port: UInt16)
}

struct ServiceName: Sendable, Hashable, CustomStringConvertible {
  var namespace: String
  var name: String
  var description: String { "\(namespace)/\(name)" }
}
