import HTTPSemantics
import RoutingTable

/// How the connections of a socket begin.
struct SocketTraits {
  enum Opening: UInt8 {
    /// HTTP/1.1, or HTTP/2 with prior knowledge.
    case http
    /// Our side of TLS.
    case tls
    /// A ClientHello whose server name says whether TLS ends here.
    case clientHello
    /// Bytes that nobody looks at.
    case tcp
  }

  var opening = Opening.http
  /// A PROXY protocol header comes before all of this.
  var expectsProxyHeader = false
  /// There is a listener that serves bytes out of TLS that ends here.
  var servesDecryptedBytes = false
  /// Not every listener behind TLS serves requests.
  var isMixed: Bool { opening == .clientHello || servesDecryptedBytes }
}

extension SocketTraits {
  init(_ table: RoutingImage, _ socket: SocketView) {
    let listeners = socket.listeners.map { table.listener($0).proto }
    expectsProxyHeader = socket.expectsProxyProtocol
    switch socket.kind {
    case .http: opening = .http
    case .https:
      opening = listeners.contains(.tlsPassthrough) ? .clientHello : .tls
      servesDecryptedBytes = listeners.contains(.tcp)
    case .tcp, .udp: opening = .tcp
    }
  }
}

/// What becomes of a connection by its server name.
enum NameRoute {
  case unknown
  case terminate
  /// TLS goes on to a backend of this rule.
  case passThrough(rule: Int32)
}

extension RoutingImage {
  func nameRoute(socket: Int32, serverName: Bytes) -> NameRoute {
    let answer = lookup(socket: Int(socket), serverName: serverName)
    guard answer.listener >= 0 else { return .unknown }
    guard listener(Int(answer.listener)).proto == .tlsPassthrough else { return .terminate }
    return answer.outcome == .matched ? .passThrough(rule: answer.rule) : .unknown
  }

  /// Whether requests are served under this name; bytes otherwise.
  func servesHTTP(socket: Int, serverName: Bytes) -> Bool {
    let found = listener(socket: socket, host: serverName)
    return found < 0 || listener(Int(found)).proto == .http
  }

  /// The rule for bytes, -1 when there is none; nil when another protocol is served under this name.
  func bytesRule(socket: Int32, serverName: Bytes) -> Int32? {
    let answer = lookup(socket: Int(socket), serverName: serverName)
    guard answer.listener >= 0, listener(Int(answer.listener)).proto == .tcp else { return nil }
    return answer.outcome == .matched ? answer.rule : -1
  }
}
