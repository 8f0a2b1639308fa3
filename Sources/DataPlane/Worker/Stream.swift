import HTTP1
import RoutingTable

/// One request and its response, whatever the protocols on both sides; a trivial struct in the worker's slab.
///
/// Its life, by the functions that move it on:
///
///     newStream ─▶ beginRequest ─▶ forward ─▶ sendRequest ─┬─▶ lease, writeHead    (HTTP/1.1, a connection at hand)
///                       │                                  ├─▶ submit              (HTTP/2, the same)
///                       ├─▶ redirect                       └─▶ keepHead, openUpstream ─▶ upstreamConnected
///                       └─▶ reply (404, 503, …)
///     request:   forwardRequestBody … endRequest
///     response:  forwardInterim … forwardResponse, forwardResponseBody … endResponse ─▶ endExchange ─▶ freeStream
///     bytes only: beginTCP ─▶ openUpstream ─▶ tcpConnected ─▶ closeTunnel ─▶ endTunnel (or giveUpTCP)
///     otherwise: connectFailed, upstreamLost (another endpoint, or reply), timedOut, abortExchange, clientCancelled
struct Stream {
  struct Flags: OptionSet {
    let rawValue: UInt32
    static let requestEnded = Flags(rawValue: 1 << 0)
    static let responseStarted = Flags(rawValue: 1 << 1)
    static let responseEnded = Flags(rawValue: 1 << 2)
    static let headRequest = Flags(rawValue: 1 << 3)
    static let grpc = Flags(rawValue: 1 << 4)
    static let idempotent = Flags(rawValue: 1 << 5)
    static let wantsUpgrade = Flags(rawValue: 1 << 6)
    /// The request head is kept in `head`, so that another connection can be tried.
    static let headKept = Flags(rawValue: 1 << 7)
    static let headSent = Flags(rawValue: 1 << 8)
    static let bodySent = Flags(rawValue: 1 << 9)
    static let retried = Flags(rawValue: 1 << 10)
    /// Waits in the list of an upstream connection that is being opened.
    static let waiting = Flags(rawValue: 1 << 11)
    static let timerArmed = Flags(rawValue: 1 << 12)
    /// The upstream side must speak HTTP/2.
    static let http2Upstream = Flags(rawValue: 1 << 13)
    static let downstreamHTTP2 = Flags(rawValue: 1 << 14)
    /// The upstream is asked to wait: the downstream side is full.
    static let upstreamPaused = Flags(rawValue: 1 << 15)
    static let downstreamPaused = Flags(rawValue: 1 << 16)
    static let tunnelled = Flags(rawValue: 1 << 19)
    static let secure = Flags(rawValue: 1 << 20)
    /// Its client has proved who it is, to the authorities of the listener that the request is for.
    static let isIdentified = Flags(rawValue: 1 << 29)
    static let upstreamReused = Flags(rawValue: 1 << 21)
    /// The client named the request itself (x-request-id).
    static let hasRequestID = Flags(rawValue: 1 << 22)
    /// A gRPC-Web request that is translated: see `GRPCWebState`.
    static let grpcWeb = Flags(rawValue: 1 << 28)
    /// No request: a whole client connection that is carried as bytes.
    static let layer4 = Flags(rawValue: 1 << 23)
    /// The same, and the bytes are TLS between client and backend.
    static let passthrough = Flags(rawValue: 1 << 24)
    /// A UDP session.
    static let datagrams = Flags(rawValue: 1 << 31)
    /// A WebSocket over HTTP/2 (RFC 8441) on one side at least.
    static let extendedConnect = Flags(rawValue: 1 << 25)
  }

  /// How a body is delimited on the way out.
  enum Outgoing: UInt8 {
    case none
    case length
    case chunked
    case untilClose
    case http2
  }

  var generation: UInt32 = 0
  var flags: Flags = []
  /// Next in the free list, or in an upstream connection's list of waiters.
  var next: Int32 = -1
  /// Neighbours in the downstream HTTP/2 connection's list of streams.
  var sibling: Int32 = -1
  var previousSibling: Int32 = -1
  var downstream: Int32 = -1
  var downstreamID: Int32 = 0
  var upstream: Int32 = -1
  var upstreamID: Int32 = 0
  var cell: Int32 = -1
  var rule: Int32 = -1
  var weighted: Int32 = -1
  var backend: Int32 = -1
  var endpoint: Int32 = -1
  /// Index of the endpoint in its backend's list.
  var choice: Int32 = -1
  /// Neighbours in the upstream HTTP/2 connection's list of streams.
  var upstreamNext: Int32 = -1
  var upstreamPrevious: Int32 = -1
  /// Connections opened for this request.
  var attempts: UInt8 = 0
  /// 1xx responses that the backend has sent.
  var interims: UInt16 = 0
  var requestBody: Outgoing = .none
  var responseBody: Outgoing = .none
  var status: UInt16 = 0
  var responseFlags: UInt32 = 0
  /// Milliseconds on the worker's clock; 0 for none.
  var requestDeadline: UInt64 = 0
  var backendDeadline: UInt64 = 0
  var startedNanoseconds: UInt64 = 0
  var bytesReceived: UInt64 = 0
  var bytesSent: UInt64 = 0
  /// Bytes of the request body at the last sweep, and since when there were no more; worker's milliseconds.
  var bodySeen: UInt32 = 0
  var bodyIdleSince: UInt32 = 0
  /// HTTP/2 DATA taken from the downstream (upstream) peer whose window was not given back yet.
  var downstreamDebt: Int32 = 0
  var upstreamDebt: Int32 = 0
  /// That we sent for an extended CONNECT to an HTTP/1.1 backend, or that an HTTP/1.1 client sent whose backend speaks
  /// HTTP/2.
  var webSocketKey = WebSocketKey()
  /// The serialised HTTP/1.1 request head, kept while a connection is being opened or a retry is possible; towards an
  /// HTTP/2 backend with the body bytes that were sent, behind it.
  var head = ByteStore()
  /// Request body bytes that arrived before there was an upstream to take them.
  var pendingBody = ByteStore()
  /// The request's trailer section in HTTP/1.1 form, when that came so early too.
  var pendingTrailers = ByteStore()
  /// From the head or the trailers, for the access log; -1: none seen.
  var grpcStatus: Int16 = -1
  /// Method, authority, target, rule and backend for the access log; filled only while it is on.
  var label = ByteStore()
}
