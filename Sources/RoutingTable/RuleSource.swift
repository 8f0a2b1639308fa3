/// What happens to a request whose entry won.
public struct RuleSource: Hashable, Sendable {
  /// Where the rule comes from, for people: `HTTPRoute default/web rule 0 match 1 (web.yaml:12)`.
  public var provenance: String
  public var action: ActionSource
  /// The rule is a gRPC rule: its backends are spoken to in HTTP/2 and errors are gRPC errors.
  public var isGRPC: Bool
  /// Applied in the order of the array.
  public var requestHeaders: [HeaderOperation]
  public var responseHeaders: [HeaderOperation]
  public var rewrite: RewriteSource?
  /// Whole request, in milliseconds; 0: none.
  public var requestTimeout: UInt32
  /// One attempt at a backend, in milliseconds; 0: none.
  public var backendTimeout: UInt32

  public init(
    provenance: String, action: ActionSource, isGRPC: Bool = false,
    requestHeaders: [HeaderOperation] = [], responseHeaders: [HeaderOperation] = [],
    rewrite: RewriteSource? = nil, requestTimeout: UInt32 = 0, backendTimeout: UInt32 = 0
  ) {
    self.provenance = provenance
    self.action = action
    self.isGRPC = isGRPC
    self.requestHeaders = requestHeaders
    self.responseHeaders = responseHeaders
    self.rewrite = rewrite
    self.requestTimeout = requestTimeout
    self.backendTimeout = backendTimeout
  }
}

public enum ActionSource: Hashable, Sendable {
  /// No backend, or no weight above zero: the request is answered with 500.
  case forward([WeightedBackend])
  case redirect(RedirectSource)
  case respond(status: UInt16, reason: String)
}

public struct WeightedBackend: Hashable, Sendable {
  /// Index into `TableSource.backends`; nil: its share of requests is answered with 500.
  public var backend: Int?
  public var weight: UInt32
  public var requestHeaders: [HeaderOperation]
  public var responseHeaders: [HeaderOperation]

  public init(
    backend: Int?, weight: UInt32 = 1, requestHeaders: [HeaderOperation] = [],
    responseHeaders: [HeaderOperation] = []
  ) {
    self.backend = backend
    self.weight = weight
    self.requestHeaders = requestHeaders
    self.responseHeaders = responseHeaders
  }
}

public enum HeaderOperationKind: UInt8, Hashable, Sendable {
  case set = 0
  case add = 1
  case remove = 2
}

public struct HeaderOperation: Hashable, Sendable {
  public var kind: HeaderOperationKind
  /// A token; stored in lower case.
  public var name: String
  /// Without CR, LF and NUL; empty for `.remove`.
  public var value: String

  public init(_ kind: HeaderOperationKind, _ name: String, _ value: String = "") {
    self.kind = kind
    self.name = name
    self.value = value
  }
}

/// How a path changes. The query stays, unless the new path brings one of its own.
public enum PathRewrite: Hashable, Sendable {
  case replaceFull(String)
  /// Gateway API `ReplacePrefixMatch`: the matched segments are replaced and exactly one slash stands
  /// between the replacement and the rest.
  case replaceSegmentPrefix(String)
  /// Istio `rewrite.uri`: the matched bytes are replaced as they are; the whole path under an exact or
  /// regex match.
  case replaceStringPrefix(String)
}

public struct RewriteSource: Hashable, Sendable {
  /// New authority of the request to the backend.
  public var host: String?
  public var path: PathRewrite?

  public init(host: String? = nil, path: PathRewrite? = nil) {
    self.host = host
    self.path = path
  }
}

/// Port of a redirect's `Location`. A well-known port of the scheme is never printed.
public enum RedirectPort: Hashable, Sendable {
  /// Gateway API: the well-known port of `scheme` when the redirect names one, else the socket's port.
  case automatic
  case number(UInt16)
  /// The port of the request's authority, when it names one.
  case fromRequest
  /// The well-known port of the resulting scheme.
  case schemeDefault
}

public struct RedirectSource: Hashable, Sendable {
  /// nil: the request's scheme.
  public var scheme: String?
  /// Host without a port; nil: the request's host.
  public var host: String?
  public var port: RedirectPort
  /// nil: the request's path.
  public var path: PathRewrite?
  /// 301, 302, 303, 307 or 308.
  public var status: UInt16

  public init(
    scheme: String? = nil, host: String? = nil, port: RedirectPort = .automatic,
    path: PathRewrite? = nil, status: UInt16 = 302
  ) {
    self.scheme = scheme
    self.host = host
    self.port = port
    self.path = path
    self.status = status
  }
}

public enum BackendProtocol: UInt8, Hashable, Sendable {
  case http1 = 0
  case h2c = 1
  /// HTTP/1.1, and h2c for gRPC rules and gRPC requests.
  case automatic = 2
}

public struct BackendSource: Hashable, Sendable {
  /// Stable identity over revisions, `default/hoopgateway:8009`.
  public var id: String
  public var proto: BackendProtocol
  public var endpoints: [EndpointSource]
  /// Nil: in the clear.
  public var tls: BackendTLSSource?
  /// Connections begin with a header that names the client.
  public var proxyProtocol: ProxyProtocolVersion

  public init(
    id: String, proto: BackendProtocol = .automatic, endpoints: [EndpointSource] = [],
    tls: BackendTLSSource? = nil, proxyProtocol: ProxyProtocolVersion = .none
  ) {
    self.id = id
    self.proto = proto
    self.endpoints = endpoints
    self.tls = tls
    self.proxyProtocol = proxyProtocol
  }
}

/// Of the header that is sent to a backend.
public enum ProxyProtocolVersion: UInt8, Hashable, Sendable {
  case none = 0
  case v1 = 1
  case v2 = 2
}

/// How a backend is spoken to over TLS (Gateway API BackendTLSPolicy, Istio ClientTLSSettings).
public struct BackendTLSSource: Hashable, Sendable {
  /// SNI, and what the certificate must be good for when `subjectAltNames` is empty. Empty: no SNI.
  public var serverName: String
  /// The certificate must carry one of these instead of `serverName`.
  public var subjectAltNames: [SubjectAltName]
  /// Index into `TableSource.trustBundles`; nil: the system's.
  public var trustBundle: Int?
  /// False: whatever certificate it has (Istio `insecureSkipVerify`).
  public var verifies: Bool
  /// What we show of ourselves: index into `TableSource.certificates`.
  public var certificate: Int?

  public init(
    serverName: String, subjectAltNames: [SubjectAltName] = [], trustBundle: Int? = nil, verifies: Bool = true,
    certificate: Int? = nil
  ) {
    self.serverName = serverName
    self.subjectAltNames = subjectAltNames
    self.trustBundle = trustBundle
    self.verifies = verifies
    self.certificate = certificate
  }
}

public struct SubjectAltName: Hashable, Sendable {
  public enum Kind: UInt8, Hashable, Sendable {
    case dns = 0
    /// As SPIFFE identities are.
    case uri = 1
  }

  public var kind: Kind
  public var value: String

  public init(_ kind: Kind, _ value: String) {
    self.kind = kind
    self.value = value
  }
}

public struct EndpointSource: Hashable, Sendable {
  /// IP literal.
  public var address: String
  public var port: UInt16
  public var weight: UInt16
  public var isReady: Bool
  public var isTerminating: Bool

  public init(
    address: String, port: UInt16, weight: UInt16 = 1, isReady: Bool = true, isTerminating: Bool = false
  ) {
    self.address = address
    self.port = port
    self.weight = weight
    self.isReady = isReady
    self.isTerminating = isTerminating
  }
}

public struct CertificateSource: Hashable, Sendable {
  public var name: String
  /// Leaf first, PEM.
  public var chainPEM: [UInt8]
  public var keyPEM: [UInt8]
  /// DER of an OCSP response (RFC 6960) to staple to handshakes; empty: none.
  public var ocspStaple: [UInt8]

  public init(name: String, chainPEM: [UInt8], keyPEM: [UInt8], ocspStaple: [UInt8] = []) {
    self.name = name
    self.chainPEM = chainPEM
    self.keyPEM = keyPEM
    self.ocspStaple = ocspStaple
  }
}

/// Certificates of authorities that peers are held against.
public struct TrustBundleSource: Hashable, Sendable {
  public var name: String
  public var pem: [UInt8]

  public init(name: String, pem: [UInt8]) {
    self.name = name
    self.pem = pem
  }
}

/// A table that cannot be compiled: where in the source, and what to do about it.
public struct TableError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Path into the source, `sockets[0].listeners[1].hostname`.
  public var location: String
  public var message: String

  public init(_ location: String, _ message: String) {
    self.location = location
    self.message = message
  }

  public var description: String { "\(location): \(message)" }
}
