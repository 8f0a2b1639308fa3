/// What the compiler of the controller hands over: everything that one data plane serves, as ordinary
/// values. Indexes (`rule`, `backend`, `certificate`) point into the arrays of this value.
public struct TableSource: Hashable, Sendable {
  /// Grows with every published table.
  public var revision: UInt64
  public var sockets: [SocketSource]
  public var backends: [BackendSource]
  public var rules: [RuleSource]
  public var certificates: [CertificateSource]
  public var trustBundles: [TrustBundleSource]

  public init(
    revision: UInt64 = 0, sockets: [SocketSource] = [], backends: [BackendSource] = [],
    rules: [RuleSource] = [], certificates: [CertificateSource] = [], trustBundles: [TrustBundleSource] = []
  ) {
    self.revision = revision
    self.sockets = sockets
    self.backends = backends
    self.rules = rules
    self.certificates = certificates
    self.trustBundles = trustBundles
  }
}

/// What a socket's peers begin with.
public enum SocketKind: UInt8, Hashable, Sendable {
  case http = 0
  /// TLS; what is in it, the listener says that the server name leads to.
  case https = 1
  /// Bytes that nobody looks at.
  case tcp = 2
  case udp = 3
}

/// One address and port that the data plane listens on.
public struct SocketSource: Hashable, Sendable {
  /// IP literal; empty: every address.
  public var address: String
  /// The port that the API object names: redirects, port-forward and status speak of it.
  public var port: UInt16
  /// The port that is bound (a port map may move it).
  public var bindPort: UInt16
  public var kind: SocketKind
  /// Hostnames of the listeners of one socket are distinct.
  public var listeners: [ListenerSource]
  /// Certificates by server name; only for `.https`.
  public var tls: [TLSBinding]
  /// Connections begin with a PROXY protocol header (version 1 or 2), which is taken from these networks only:
  /// connections from elsewhere are refused. Nil: none is expected. Not for `.udp`.
  public var proxyProtocol: [NetworkSource]?

  public init(
    address: String = "", port: UInt16, bindPort: UInt16? = nil, kind: SocketKind = .http,
    listeners: [ListenerSource] = [], tls: [TLSBinding] = [], proxyProtocol: [NetworkSource]? = nil
  ) {
    self.proxyProtocol = proxyProtocol
    self.address = address
    self.port = port
    self.bindPort = bindPort ?? port
    self.kind = kind
    self.listeners = listeners
    self.tls = tls
  }
}

/// Server names that one certificate answers for.
public struct TLSBinding: Hashable, Sendable {
  /// `www.example.com`, `*.example.com`, or `*` for the default certificate.
  public var names: [String]
  public var certificate: Int
  public var clientValidation: ClientValidationSource?

  public init(names: [String], certificate: Int, clientValidation: ClientValidationSource? = nil) {
    self.names = names
    self.certificate = certificate
    self.clientValidation = clientValidation
  }
}

/// What a client must show of itself in the handshake.
public struct ClientValidationSource: Hashable, Sendable {
  public enum Mode: UInt8, Hashable, Sendable {
    /// A certificate is asked for, and one that is sent must be valid.
    case optional = 0
    /// No handshake without a valid one.
    case required = 1
    /// A certificate is asked for; whether there is one, and whether it is valid, the backend is told and decides
    /// (Gateway API `AllowInsecureFallback`).
    case unchecked = 2
  }

  public var mode: Mode
  /// Index into `TableSource.trustBundles`.
  public var trustBundle: Int

  public init(mode: Mode, trustBundle: Int) {
    self.mode = mode
    self.trustBundle = trustBundle
  }
}

/// A range of addresses.
public struct NetworkSource: Hashable, Sendable {
  /// `10.0.0.0/8`, `2001:db8::/32`, or one address. Bits behind the prefix do not count.
  public var text: String

  public init(_ text: String) { self.text = text }
}

/// One listener. A request belongs to the listener with the most specific hostname on its socket, and
/// then to the most specific virtual host in it; it does not fall back to a less specific one.
///
/// Host patterns, here and in `VirtualHostSource`: empty or `*` is any host; `*.example.com` is every
/// name with one or more labels in front of `.example.com` (exactly one with `wildcardIsOneLabel`);
/// anything else is one name. Case, the port and one trailing dot make no difference. Exact beats
/// wildcard, a longer wildcard beats a shorter one, one-label beats many labels of the same suffix.
public struct ListenerSource: Hashable, Sendable {
  /// Stable identity, `default/hoopgateway/http`.
  public var name: String
  public var hostname: String
  public var wildcardIsOneLabel: Bool
  /// Patterns of the virtual hosts of one listener are distinct.
  public var virtualHosts: [VirtualHostSource]
  /// What is served. All but `.http` have at most one entry a virtual host, which asks nothing, and a virtual host's
  /// pattern is held against the TLS server name.
  public var proto: ListenerProtocol
  public var options: ListenerOptions
  /// As in the bindings of its names: requests for it that came in on a connection without are misdirected.
  public var clientValidation: ClientValidationSource?

  public init(
    name: String, hostname: String = "", wildcardIsOneLabel: Bool = false,
    virtualHosts: [VirtualHostSource] = [], proto: ListenerProtocol = .http,
    options: ListenerOptions = ListenerOptions(), clientValidation: ClientValidationSource? = nil
  ) {
    self.proto = proto
    self.options = options
    self.clientValidation = clientValidation
    self.name = name
    self.hostname = hostname
    self.wildcardIsOneLabel = wildcardIsOneLabel
    self.virtualHosts = virtualHosts
  }
}

/// What a listener serves behind what its socket begins with.
public enum ListenerProtocol: UInt8, Hashable, Sendable {
  case http = 0
  /// The bytes go to a backend as they are: of a `.tcp` socket, or out of TLS that was terminated.
  case tcp = 1
  /// TLS that the backend terminates; only on `.https` sockets.
  case tlsPassthrough = 2
  case udp = 3
}

/// `%2F` and `%5C` in a path, which peers and backends read differently.
public enum EscapedSlashes: UInt8, Hashable, Sendable {
  /// Bytes like others: matched and forwarded as they came.
  case keep = 0
  /// 400.
  case reject = 1
  /// Slashes, before the dot segments are resolved and routes are looked up.
  case decode = 2
}

/// How a listener takes HTTP requests.
public struct ListenerOptions: Hashable, Sendable {
  public var escapedSlashes: EscapedSlashes
  /// Several slashes in a row count as one, before routes are looked up.
  public var mergesSlashes: Bool
  /// gRPC-Web requests are translated to gRPC.
  public var translatesGRPCWeb: Bool

  public init(
    escapedSlashes: EscapedSlashes = .keep, mergesSlashes: Bool = false, translatesGRPCWeb: Bool = false
  ) {
    self.escapedSlashes = escapedSlashes
    self.mergesSlashes = mergesSlashes
    self.translatesGRPCWeb = translatesGRPCWeb
  }
}

public struct VirtualHostSource: Hashable, Sendable {
  public var pattern: String
  public var wildcardIsOneLabel: Bool
  /// In order of precedence: the first entry whose predicates all hold wins.
  public var entries: [EntrySource]

  public init(pattern: String = "*", wildcardIsOneLabel: Bool = false, entries: [EntrySource] = []) {
    self.pattern = pattern
    self.wildcardIsOneLabel = wildcardIsOneLabel
    self.entries = entries
  }
}

/// The question that an entry asks about the path (bytes as received, without the query).
public enum PathMatcher: Hashable, Sendable {
  case any
  case exact(String)
  /// `/foo` matches `/foo` and `/foo/bar`, not `/foobar`. A trailing slash of the prefix says nothing;
  /// `/` matches every path.
  case segmentPrefix(String)
  /// `/foo` matches `/foobar` too.
  case stringPrefix(String)
  /// RE2 over the whole path.
  case regex(String)
}

/// One way into a rule.
public struct EntrySource: Hashable, Sendable {
  public var path: PathMatcher
  /// ASCII case makes no difference to `.exact`, `.segmentPrefix` and `.stringPrefix`.
  public var pathIgnoresCase: Bool
  /// Method token, case-sensitive; nil: every method.
  public var method: String?
  public var headers: [ValueMatch]
  public var queryParameters: [ValueMatch]
  /// Tests the authority as received, with its port; `name` is not used.
  public var authority: ValueMatch?
  public var rule: Int

  public init(
    path: PathMatcher = .any, pathIgnoresCase: Bool = false, method: String? = nil,
    headers: [ValueMatch] = [], queryParameters: [ValueMatch] = [], authority: ValueMatch? = nil,
    rule: Int
  ) {
    self.path = path
    self.pathIgnoresCase = pathIgnoresCase
    self.method = method
    self.headers = headers
    self.queryParameters = queryParameters
    self.authority = authority
    self.rule = rule
  }
}

public enum ValueTest: Hashable, Sendable {
  case exact(String)
  case prefix(String)
  /// RE2 over the whole value.
  case regex(String)
  case present
  case absent
}

/// A predicate over one named value.
///
/// A header's name is compared without case; the values of several lines of one name count as one value
/// joined by `,`. A name `host` or `:authority` means the authority, in every protocol version. A query
/// parameter's name is compared with case; the first occurrence counts, name and value after `%XX` and
/// `+` were decoded (a broken `%` stands for itself); a parameter without `=` has the empty value.
///
/// A value test of a value that is not there is false (before `invert`), unless `missingIsEmpty`.
public struct ValueMatch: Hashable, Sendable {
  public var name: String
  public var test: ValueTest
  /// ASCII case of the value makes no difference.
  public var ignoreCase: Bool
  /// The predicate holds when the test does not.
  public var invert: Bool
  /// A missing value is tested as the empty one. `.present` and `.absent` are not concerned.
  public var missingIsEmpty: Bool

  public init(
    name: String = "", test: ValueTest, ignoreCase: Bool = false, invert: Bool = false,
    missingIsEmpty: Bool = false
  ) {
    self.name = name
    self.test = test
    self.ignoreCase = ignoreCase
    self.invert = invert
    self.missingIsEmpty = missingIsEmpty
  }
}
