import HTTPSemantics
import TLS
import Testing

struct HandshakeTests {
  @Test(arguments: [TLSVersion.tls12, .tls13], [1, 100, Int.max])
  func bothVersionsVerified(version: TLSVersion, piece: Int) throws {
    let root = try TestCertificate("root", names: [], isAuthority: true)
    let leaf = try TestCertificate("leaf", names: ["DNS:www.example.com"], issuer: root)
    defer {
      root.destroy()
      leaf.destroy()
    }
    let server = try TLSServer(
      bindings: [TLSBinding(names: ["*"], certificate: leaf.certificate)], maximumVersion: version)
    let client = try TLSClient(
      verification: .authorities(name: "root", pem: root.certificate.chainPEM), alpn: [.http1, .h2],
      minimumVersion: version)
    let left = try End(connect: client, name: "www.example.com")
    let right = try End(accept: server)
    #expect(!right.write([1]))
    pump(left, right, piece: piece)
    try #require(left.connection.isHandshakeDone && right.connection.isHandshakeDone)
    let expected = version == .tls12 ? "TLSv1.2" : "TLSv1.3"
    #expect(String(decoding: left.connection.version) == expected)
    #expect(left.connection.negotiated == .h2 && right.connection.negotiated == .h2)
    #expect(String(decoding: right.connection.serverName) == "www.example.com")
    let cipher = String(decoding: right.connection.cipher)
    #expect(cipher.hasPrefix("TLS_") || cipher.hasPrefix("ECDHE-"))
    left.write(Array("question".utf8))
    pump(left, right, piece: piece)
    right.write(Array("answer".utf8))
    right.connection.shutdown()
    pump(left, right, piece: piece)
    #expect(right.plaintext == Array("question".utf8))
    #expect(left.plaintext == Array("answer".utf8))
    #expect(left.isClosed && !right.isClosed)
    left.connection.shutdown()
    pump(left, right, piece: piece)
    #expect(right.isClosed)
  }

  static let names: [(String, String?)] = [
    ("www.example.com", "exact"), ("WWW.Example.COM", "exact"), ("a.example.com", "wildcard"),
    ("a.b.example.com", "wildcard"), ("a.deep.example.com", "deeper"), ("deep.example.com", "wildcard"),
    ("example.com", "default"), ("other.test", "default"), ("", "default"),
  ]

  /// Exact, then the longest wildcard, then the default; without a default unknown names are turned away.
  @Test(arguments: names, [true, false])
  func serverNameChoosesTheCertificate(test: (name: String, certificate: String?), hasDefault: Bool) throws {
    let roles = ["exact", "wildcard", "deeper", "default"]
    let made = try roles.map { try TestCertificate($0, names: ["DNS:\($0)"]) }
    defer { for one in made { one.destroy() } }
    var bindings = [
      TLSBinding(names: ["*.example.com"], certificate: made[1].certificate),
      TLSBinding(names: ["WWW.example.com", "more.example.com"], certificate: made[0].certificate),
      TLSBinding(names: ["*.deep.example.com", "www.example.com"], certificate: made[2].certificate),
    ]
    if hasDefault { bindings.append(TLSBinding(names: ["*"], certificate: made[3].certificate)) }
    let server = try TLSServer(bindings: bindings)
    let expected = test.certificate == "default" && !hasDefault ? nil : test.certificate
    for (index, role) in roles.enumerated() {
      // Trusting one certificate only tells which one was shown.
      let client = try TLSClient(
        verification: .authorities(name: role, pem: made[index].certificate.chainPEM))
      let right = try End(accept: server)
      let left = try End(connect: client, name: test.name)
      pump(left, right)
      if expected == nil {
        #expect(!left.connection.isHandshakeDone && right.failure?.kind == .handshake)
        #expect(left.failure?.description.contains("unrecognized name") == true)
      } else {
        // The names do not fit, on purpose: a chain that is trusted fails on the name, the others on the
        // chain.
        let isShown = test.name.isEmpty ? left.failure == nil : left.failure?.verifyCode == 62
        #expect(
          isShown == (role == expected), "\(test.name) \(role) \(left.failure?.description ?? "accepted")")
      }
    }
  }

  static let protocols: [([ALPN], [ALPN], ALPN?)] = [
    ([.h2, .http1], [.http1, .h2], .h2), ([.h2, .http1], [.http1], .http1), ([.h2, .http1], [], ALPN.none),
    ([.http1], [.h2, .http1], .http1), ([.http1], [.h2], nil), ([.h2], [.http1], nil), ([], [.h2], ALPN.none),
  ]

  @Test(arguments: protocols)
  func applicationProtocol(ours: [ALPN], offered: [ALPN], expected: ALPN?) throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    let server = try TLSServer(bindings: [TLSBinding(names: [""], certificate: leaf.certificate)], alpn: ours)
    let client = try TLSClient(verification: .off, alpn: offered)
    let left = try End(connect: client, name: "a")
    let right = try End(accept: server)
    pump(left, right)
    guard let expected else {
      #expect(right.failure?.kind == .handshake && !right.connection.isHandshakeDone)
      #expect(left.failure?.description.contains("no application protocol") == true)
      return
    }
    #expect(left.connection.negotiated == expected && right.connection.negotiated == expected)
  }

  @Test func versionsBelow12AreRefused() throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    let server = try TLSServer(
      bindings: [TLSBinding(names: ["*"], certificate: leaf.certificate)], minimumVersion: .tls13)
    let client = try TLSClient(verification: .off, maximumVersion: .tls12)
    let left = try End(connect: client, name: "a")
    let right = try End(accept: server)
    pump(left, right)
    #expect(right.failure?.kind == .handshake)
    #expect(left.failure?.description.contains("protocol version") == true)
  }

  // MARK: Tickets

  @Test(arguments: [TLSVersion.tls12, .tls13])
  func ticketsStayWithTheirListener(version: TLSVersion) throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    let keys = TLSTicketKeys(intervalMilliseconds: 3_600_000)
    let bindings = [TLSBinding(names: ["a"], certificate: leaf.certificate)]
    func makeServer(_ identity: String, _ keys: TLSTicketKeys?) throws -> TLSServer {
      try TLSServer(bindings: bindings, maximumVersion: version, identity: identity, ticketKeys: keys)
    }
    let first = try makeServer("one", keys)
    let client = try TLSClient(verification: .off, alpn: [.h2])
    let left = try End(connect: client, name: "a")
    let right = try End(accept: first)
    pump(left, right)
    right.write([1])
    pump(left, right)
    #expect(!left.connection.isResumed)
    let session = try #require(left.connection.takeSession())
    defer { session.destroy() }
    let next = try makeServer("one", keys)
    for (name, server, resumes) in [
      ("the same", first, true), ("same keys", next, true),
      ("other listener", try makeServer("two", keys), false),
      ("other keys", try makeServer("one", nil), false),
    ] {
      let again = try End(connect: client, name: "a", session: session)
      let other = try End(accept: server)
      pump(again, other)
      #expect(other.connection.isHandshakeDone && again.connection.isHandshakeDone)
      #expect(other.connection.isResumed == resumes && again.connection.isResumed == resumes, "\(name)")
      #expect(other.connection.negotiated == .h2)
    }
  }

  /// A server may go away while its connections are in a handshake (a change of configuration).
  @Test func connectionsOutliveTheirServer() throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    var server: TLSServer? = try TLSServer(bindings: [TLSBinding(names: ["a"], certificate: leaf.certificate)]
    )
    let client = try TLSClient(verification: .off, alpn: [.h2])
    let left = try End(connect: client, name: "a")
    let right = try End(accept: #require(server))
    server = nil
    pump(left, right)
    #expect(right.connection.isHandshakeDone && right.connection.negotiated == .h2)
    _ = server
  }

  // MARK: The peer's certificate

  @Test func backendsAreVerified() throws {
    let root = try TestCertificate("root", names: [], isAuthority: true)
    let good = try TestCertificate("good", names: ["DNS:good.test", "IP:127.0.0.1"], issuer: root)
    let other = try TestCertificate("other", names: ["DNS:good.test"])
    defer { for one in [root, good, other] { one.destroy() } }
    let trusting = try TLSClient(verification: .authorities(name: "root", pem: root.certificate.chainPEM))
    let blind = try TLSClient(verification: .off)
    for (certificate, client, name, isFine) in [
      (good, trusting, "good.test", true), (good, trusting, "bad.test", false),
      (good, trusting, "127.0.0.1", true),
      (good, trusting, "127.0.0.2", false), (other, trusting, "good.test", false),
      (other, blind, "bad.test", true),
    ] {
      let server = try TLSServer(bindings: [TLSBinding(names: ["*"], certificate: certificate.certificate)])
      let left = try End(connect: client, name: name)
      let right = try End(accept: server)
      pump(left, right)
      #expect(left.connection.isHandshakeDone == isFine, "\(name)")
      if isFine { continue }
      #expect(left.failure?.kind == .certificate && left.failure?.verifyCode != 0)
      #expect(right.failure != nil, "the alert has to arrive")
    }
  }
}
