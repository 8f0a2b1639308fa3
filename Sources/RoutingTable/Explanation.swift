/// A request in ordinary values, for `RoutingImage.explain`.
public struct ExplainRequest: Hashable, Sendable {
  public var method: String
  public var scheme: String
  /// Host and, when it names one, port.
  public var authority: String
  /// Path and query.
  public var target: String
  public var headers: [(name: String, value: String)] {
    get { zip(headerNames, headerValues).map { (name: $0, value: $1) } }
    set {
      headerNames = newValue.map(\.name)
      headerValues = newValue.map(\.value)
    }
  }
  private var headerNames: [String] = []
  private var headerValues: [String] = []

  public init(
    method: String = "GET", scheme: String = "http", authority: String, target: String,
    headers: [(name: String, value: String)] = []
  ) {
    self.method = method
    self.scheme = scheme
    self.authority = authority
    self.target = target
    self.headers = headers
  }
}

/// Why a request goes where it goes, step by step, from the same image that the workers read.
public struct Explanation: Hashable, Sendable {
  public enum Outcome: String, Hashable, Sendable {
    case matched
    /// No listener of the socket has a hostname that matches.
    case noListener
    /// The listener has no virtual host for the host.
    case noHost
    /// The virtual host has no entry whose predicates all hold.
    case noRoute
    /// The authority is none (RFC 9110 section 7.2); nothing was looked up.
    case badAuthority
    /// TLS ends at a listener of HTTP: it is the requests in it that are routed.
    case requests
    /// The socket's peers begin otherwise (`kind`); nothing was looked up.
    case otherProtocol
  }

  /// A predicate that did not hold.
  public struct Failure: Hashable, Sendable {
    /// `path`, `method`, `header x-user`, `query parameter q`, `authority`; below HTTP `server name`, `precedence`.
    public var predicate: String
    public var wanted: String
    public var got: String

    public init(predicate: String, wanted: String, got: String) {
      self.predicate = predicate
      self.wanted = wanted
      self.got = got
    }
  }

  /// An entry that was asked before the winner, or that the path ruled out.
  public struct Candidate: Hashable, Sendable {
    /// Index of the entry in its virtual host: its precedence.
    public var position: Int
    /// `prefix /api, method GET, header x-user`; `server name *.example.com`.
    public var matcher: String
    /// Where its rule comes from.
    public var rule: String
    /// Every predicate that failed.
    public var failures: [Failure]

    public init(position: Int, matcher: String, rule: String, failures: [Failure]) {
      self.position = position
      self.matcher = matcher
      self.rule = rule
      self.failures = failures
    }
  }

  public struct Endpoint: Hashable, Sendable {
    public var address: String
    public var port: UInt16
    public var weight: UInt16
    public var isReady: Bool
    public var isTerminating: Bool

    public init(address: String, port: UInt16, weight: UInt16, isReady: Bool, isTerminating: Bool) {
      self.address = address
      self.port = port
      self.weight = weight
      self.isReady = isReady
      self.isTerminating = isTerminating
    }
  }

  public struct Backend: Hashable, Sendable {
    /// nil: this share of requests is answered with 500.
    public var id: String?
    public var weight: UInt32
    /// Sum of the weights beside it.
    public var totalWeight: UInt32
    public var proto: BackendProtocol?
    public var endpoints: [Endpoint]
  }

  public enum Action: Hashable, Sendable {
    /// No backend with a weight: 500.
    case forward([Backend])
    case redirect(status: UInt16, location: String)
    case respond(status: UInt16, reason: String)
  }

  public struct Match: Hashable, Sendable {
    public var position: Int
    public var matcher: String
    /// Where the rule comes from.
    public var rule: String
    public var isGRPC: Bool
    public var action: Action
    /// Target of the request to the backend when a rewrite changes it.
    public var rewrittenTarget: String?
    /// Authority of the request to the backend when a rewrite changes it.
    public var rewrittenHost: String?
    /// Milliseconds; 0: none.
    public var requestTimeout: UInt32
    public var backendTimeout: UInt32
    /// `set x-a: b`, `remove x-c`.
    public var requestHeaders: [String]
    public var responseHeaders: [String]
  }

  public var outcome: Outcome
  /// `0.0.0.0:80` in the numbers of the API objects.
  public var socket: String
  /// What the socket's peers begin with.
  public var kind: SocketKind
  public var listener: String?
  /// The hostname of the listener.
  public var listenerHostname: String?
  /// What the listener serves.
  public var serves = ListenerProtocol.http
  /// A PROXY protocol header comes first.
  public var expectsProxyProtocol = false
  /// The pattern of the virtual host.
  public var virtualHost: String?
  /// The bytes of the path down to the last node that it reached.
  public var pathNode: String?
  public var match: Match?
  /// In order of precedence: those that share the node and failed before the winner. Below HTTP the other patterns of
  /// the listener, then the socket's other listeners (the first twenty of each).
  public var passedOver: [Candidate]
  /// When nothing matched: entries of the virtual host that the path ruled out (the first twenty).
  public var otherPaths: [Candidate]
  /// When nothing matched: the hosts that would have (the first twenty).
  public var knownHosts: [String]

  init(_ outcome: Outcome, socket: String, _ kind: SocketKind) {
    self.outcome = outcome
    self.socket = socket
    self.kind = kind
    passedOver = []
    otherPaths = []
    knownHosts = []
  }
}
