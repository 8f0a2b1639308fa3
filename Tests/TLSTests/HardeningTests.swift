import COpenSSL
import HTTPSemantics
import TLS
import Testing

/// What a server refuses, and what it gives nobody else.
struct HardeningTests {
  private func server(
    _ certificate: TestCertificate, names: [String] = ["*"], keys: TLSTicketKeys? = nil, maxKeyUpdates: Int = 100
  ) throws -> TLSServer {
    try TLSServer(
      bindings: [TLSBinding(names: names, certificate: certificate.certificate)], ticketKeys: keys,
      maxKeyUpdates: maxKeyUpdates)
  }

  @Test func renegotiationEndsTheConnection() throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    let client = try RawClient(name: "a", maximum: TLS1_2_VERSION)
    let right = try End(accept: server(leaf))
    pump(client, right)
    try #require(client.isDone && right.connection.isHandshakeDone)
    client.write([1])
    pump(client, right)
    #expect(right.plaintext == [1] && right.failure == nil)
    #expect(client.renegotiate())
    let problem = pump(client, right)
    #expect(right.failure?.kind == .renegotiation)
    #expect(problem == "no renegotiation")
    #expect(!right.write([2]))
  }

  @Test func keyUpdatesAreCounted() throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    let client = try RawClient(name: "a")
    let right = try End(accept: server(leaf, maxKeyUpdates: 5))
    pump(client, right)
    for round in 1...6 {
      #expect(client.updateKeys())
      client.write([UInt8(round)])
      pump(client, right)
      #expect((right.failure?.kind == .keyUpdates) == (round == 6), "\(round)")
    }
    #expect(right.plaintext == [1, 2, 3, 4, 5])
  }

  static let refusedCiphers = [
    "AES128-SHA", "AES256-GCM-SHA384", "DHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384",
    "ECDHE-ECDSA-AES128-CCM", "AECDH-AES128-SHA", "PSK-AES128-GCM-SHA256", "NULL-SHA256",
  ]

  @Test(arguments: refusedCiphers, [false, true])
  func onlyForwardSecretSuites(cipher: String, isRSA: Bool) throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"], isRSA: isRSA)
    defer { leaf.destroy() }
    let client = try RawClient(name: "a", maximum: TLS1_2_VERSION, ciphers: cipher + ":@SECLEVEL=0")
    let right = try End(accept: server(leaf))
    pump(client, right)
    #expect(!client.isDone && right.failure?.kind == .handshake)
  }

  /// Our order counts, whatever the client prefers; both kinds of certificates.
  @Test(arguments: [false, true])
  func ownOrder(isRSA: Bool) throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"], isRSA: isRSA)
    defer { leaf.destroy() }
    let kind = isRSA ? "RSA" : "ECDSA"
    let client = try RawClient(
      name: "a", maximum: TLS1_2_VERSION,
      ciphers: "ECDHE-\(kind)-AES256-GCM-SHA384:ECDHE-\(kind)-CHACHA20-POLY1305:ECDHE-\(kind)-AES128-GCM-SHA256")
    pump(client, try End(accept: server(leaf)))
    #expect(client.isDone && client.cipher == "ECDHE-\(kind)-AES128-GCM-SHA256")
  }

  @Test func noEarlyDataAndNoCompression() throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    let made = try server(leaf)
    let client = try RawClient(name: "a")
    let right = try End(accept: made)
    pump(client, right)
    right.write([1])
    pump(client, right)
    let session = try client.session()
    defer { session.destroy() }
    #expect(session.earlyDataBytes == 0)
    #expect(!client.isCompressing)
  }

  // MARK: Tickets

  /// One session per server name, though both names are of one binding.
  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func ticketsStayWithTheirName(version: Int32) throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:*.test"])
    defer { leaf.destroy() }
    let made = try TLSServer(
      bindings: [
        TLSBinding(names: ["*.test"], certificate: leaf.certificate),
        TLSBinding(names: ["own.test"], certificate: leaf.certificate),
        TLSBinding(names: ["*"], certificate: leaf.certificate),
      ])
    let first = try RawClient(name: "a.test", maximum: version)
    let right = try End(accept: made)
    pump(first, right)
    right.write([1])
    pump(first, right)
    let session = try first.session()
    defer { session.destroy() }
    for (name, resumes) in [
      ("a.test", true), ("A.TEST", true), ("b.test", false), ("own.test", false), ("other", false), (nil, false),
    ] {
      let again = try RawClient(name: name, maximum: version, session: session)
      let other = try End(accept: made)
      pump(again, other)
      #expect(again.isDone && other.connection.isHandshakeDone)
      #expect(again.isResumed == resumes && other.connection.isResumed == resumes, Comment(rawValue: name ?? "none"))
      #expect(String(decoding: other.connection.serverName).lowercased() == (name ?? "").lowercased())
    }
  }

  /// Times in seconds, of a clock that the test sets; an interval of 1000.
  @Test func keysRotate() throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    let clock = Clock()
    let keys = TLSTicketKeys(intervalMilliseconds: 1_000_000) { clock.now * 1000 }
    // Two workers' servers of one process, or two configurations.
    let one = try server(leaf, keys: keys)
    let two = try server(leaf, keys: keys)
    func handshake(_ session: RawSession?, _ server: TLSServer) throws -> (isResumed: Bool, session: RawSession) {
      let client = try RawClient(name: "a", maximum: TLS1_2_VERSION, session: session)
      let right = try End(accept: server)
      pump(client, right)
      #expect(client.isDone)
      #expect(right.connection.hasForeignTicket == (session != nil && !client.isResumed))
      return (client.isResumed, try client.session())
    }
    clock.now = 5999
    let start = try handshake(nil, one).session
    defer { start.destroy() }
    // The first interval began at 5999, when the keys were asked for the first time after a pause.
    for (time, resumes) in [(6000, true), (6998, true), (6999, true), (7998, true), (7999, false), (8000, false)] {
      clock.now = UInt64(time)
      let seen = try handshake(start, time.isMultiple(of: 2) ? one : two)
      seen.session.destroy()
      #expect(seen.isResumed == resumes, "at \(time)")
    }
    // An old ticket is answered with a new one, which lives on.
    clock.now = 9000
    let old = try handshake(nil, one).session
    clock.now = 9999
    let renewed = try handshake(old, one)
    clock.now = 10_999
    let last = try handshake(renewed.session, two)
    #expect(renewed.isResumed && last.isResumed)
    for session in [old, renewed.session, last.session] { session.destroy() }
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func noTicketsWithoutAnInterval(version: Int32) throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    let made = try server(leaf, keys: TLSTicketKeys(intervalMilliseconds: 0))
    let first = try RawClient(name: "a", maximum: version)
    let right = try End(accept: made)
    pump(first, right)
    right.write([1])
    pump(first, right)
    let session = try first.session()
    defer { session.destroy() }
    #expect(!session.hasTicket)
    let again = try RawClient(name: "a", maximum: version, session: session)
    pump(again, try End(accept: made))
    #expect(again.isDone && !again.isResumed)
  }

  /// The second ClientHello of a HelloRetryRequest is judged like the first.
  @Test func namesAfterARetry() throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    let made = try server(leaf, names: ["a"])
    for (name, isFine) in [("a", true), ("b", false)] {
      let client = try RawClient(name: name, minimum: TLS1_3_VERSION, groups: "P-521:P-256")
      let right = try End(accept: made)
      let problem = pump(client, right)
      #expect(client.isDone == isFine && right.connection.isHandshakeDone == isFine)
      if !isFine { #expect(problem?.contains("unrecognized name") == true) }
    }
  }

  // MARK: OCSP

  @Test func goodStaplesAreSent() throws {
    let root = try TestCertificate("root", names: [], isAuthority: true)
    let leaf = try TestCertificate("leaf", names: ["DNS:a"], issuer: root)
    let other = try TestCertificate("other", names: ["DNS:a"], issuer: root)
    let stranger = try TestCertificate("root", names: [], isAuthority: true)
    defer { for one in [root, leaf, other, stranger] { one.destroy() } }
    let cases: [(staple: [UInt8], notice: String?)] = [
      (leaf.staple(signedBy: root), nil), (leaf.staple(signedBy: root, until: nil), nil),
      (leaf.staple(signedBy: root, from: -7200, until: -3600), "out of its time"),
      (leaf.staple(signedBy: root, from: 7200), "out of its time"),
      (other.staple(signedBy: root), "another certificate"), (leaf.staple(signedBy: stranger), "another certificate"),
      (leaf.staple(signedBy: root, status: V_OCSP_CERTSTATUS_REVOKED), "revoked"),
      (leaf.staple(signedBy: root, status: V_OCSP_CERTSTATUS_UNKNOWN), "knows nothing"),
      (Array("no DER".utf8), "no OCSP response"), (Array(leaf.staple(signedBy: root).dropLast(9)), "no OCSP response"),
      ([], nil),
    ]
    for (index, (staple, notice)) in cases.enumerated() {
      var certificate = leaf.certificate
      certificate.chainPEM += root.certificate.chainPEM
      certificate.ocspStaple = staple
      let made = try TLSServer(bindings: [TLSBinding(names: ["*"], certificate: certificate)])
      #expect(made.notices.count == (notice == nil ? 0 : 1), "\(index) \(made.notices)")
      if let notice { #expect(made.notices[0].contains(notice), "\(index) \(made.notices)") }
      for isAsking in [true, false] {
        let client = try RawClient(name: "a")
        if isAsking { client.askForStaple() }
        pump(client, try End(accept: made))
        #expect(client.isDone)
        #expect(client.staple == (isAsking && notice == nil ? staple : []), "\(index)")
      }
    }
  }

  /// Without the issuer in the chain the serial number tells.
  @Test func staplesOfALoneLeaf() throws {
    let root = try TestCertificate("root", names: [], isAuthority: true)
    let leaf = try TestCertificate("leaf", names: ["DNS:a"], issuer: root)
    let other = try TestCertificate("other", names: ["DNS:a"], issuer: root)
    defer { for one in [root, leaf, other] { one.destroy() } }
    for (of, count) in [(leaf, 0), (other, 1)] {
      var certificate = leaf.certificate
      certificate.ocspStaple = of.staple(signedBy: root)
      #expect(try TLSServer(bindings: [TLSBinding(names: ["*"], certificate: certificate)]).notices.count == count)
    }
  }
}

/// A clock that a test sets; used on one thread.
private final class Clock: @unchecked Sendable {
  var now: UInt64 = 0
}
