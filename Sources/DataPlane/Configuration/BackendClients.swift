import HTTPSemantics
import RoutingTable
import TLS

/// How a backend's connections begin. Trivial.
enum BackendSecurity {
  case clear
  /// The name lies in the image.
  case tls(TLSClientHandle, serverName: Bytes)
  /// TLS was asked for and cannot be had: nothing is sent, least of all in the clear.
  case unusable
}

/// The TLS clients of an image's backends. Equal settings share one, from one image to the next as well, so that a
/// change of something else reads no certificate again.
struct BackendClients {
  struct Entry {
    var security: BackendSecurity
    /// Of the settings and all they contain; empty: in the clear. Connections and sessions that were made under one
    /// are not used under another.
    var identity: String
  }

  /// By backend index.
  private(set) var entries: [Entry] = []
  /// One sentence for each backend that cannot be reached.
  private(set) var problems: [String] = []
  private var clients: [String: TLSClient] = [:]

  init(_ table: RoutingImage, reusing previous: BackendClients?) {
    var parts = ImageParts(table: table)
    for index in 0..<table.backendCount {
      let backend = table.backend(index)
      guard let tls = backend.tls else {
        entries.append(Entry(security: .clear, identity: ""))
        continue
      }
      let identity = parts.identity(of: tls)
      do throws(TLSError) {
        let client: TLSClient
        if let known = clients[identity] ?? previous?.clients[identity] {
          client = known
        } else {
          client = try parts.client(for: tls)
        }
        clients[identity] = client
        entries.append(
          Entry(security: .tls(client.handle, serverName: tls.serverName), identity: identity))
      } catch {
        problems.append("backend \(String(decoding: backend.id)): \(error)")
        entries.append(Entry(security: .unusable, identity: identity))
      }
    }
  }
}

/// Trust bundles and certificates of one image, each read and digested once.
private struct ImageParts {
  let table: RoutingImage
  private var stores: [Int: TrustStore] = [:]
  private var system: TrustStore?
  private var bundleDigests: [Int: String] = [:]
  private var certificateDigests: [Int: String] = [:]

  init(table: RoutingImage) { self.table = table }

  mutating func identity(of tls: BackendTLSView) -> String {
    var parts = [array(tls.serverName), [tls.verifies ? 1 : 0]]
    for index in 0..<tls.subjectAltNameCount {
      let name = tls.subjectAltName(index)
      parts += [[name.kind.rawValue], array(name.value)]
    }
    parts.append(Array((tls.trustBundle.map { bundleDigest($0) } ?? "system").utf8))
    parts.append(Array((tls.certificate.map { certificateDigest($0) } ?? "none").utf8))
    return digest(of: parts)
  }

  private mutating func bundleDigest(_ index: Int) -> String {
    if let known = bundleDigests[index] { return known }
    let made = digest(of: [array(table.trustBundle(index).pem)])
    bundleDigests[index] = made
    return made
  }

  private mutating func certificateDigest(_ index: Int) -> String {
    if let known = certificateDigests[index] { return known }
    let source = table.certificate(index)
    let made = digest(of: [array(source.chainPEM), array(source.keyPEM)])
    certificateDigests[index] = made
    return made
  }

  mutating func client(for tls: BackendTLSView) throws(TLSError) -> TLSClient {
    var names: [TLSPeerName] = []
    for index in 0..<tls.subjectAltNameCount {
      let name = tls.subjectAltName(index)
      let text = String(decoding: name.value)
      names.append(name.kind == .uri ? .uri(text) : .dns(text))
    }
    var certificate: TLSCertificate?
    if let index = tls.certificate {
      let source = table.certificate(index)
      certificate = TLSCertificate(
        name: String(decoding: source.name), chainPEM: array(source.chainPEM), keyPEM: array(source.keyPEM))
    }
    let verification: TLSVerification = tls.verifies ? .trust(try store(tls.trustBundle)) : .off
    return try TLSClient(verification: verification, peerNames: names, certificate: certificate)
  }

  private mutating func store(_ index: Int?) throws(TLSError) -> TrustStore {
    guard let index else {
      if let system { return system }
      let made = try TrustStore()
      system = made
      return made
    }
    if let known = stores[index] { return known }
    let source = table.trustBundle(index)
    let made = try TrustStore(name: String(decoding: source.name), pem: array(source.pem))
    stores[index] = made
    return made
  }

  private func array(_ bytes: Bytes) -> [UInt8] {
    unsafe Array(UnsafeBufferPointer(start: bytes.start, count: bytes.count))
  }
}
