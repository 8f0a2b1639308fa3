import COpenSSL
import HTTPSemantics
import TLS
import Testing

/// Certificates of clients: asked for, verified, and never passed by.
struct ClientCertificateTests {
  /// Two authorities with a client each, and others that nobody should trust.
  final class People {
    let root, good, other, stranger, expired, wrongUse, leaf: TestCertificate
    let otherRoot: TestCertificate

    init() throws {
      root = try TestCertificate("root", names: [], isAuthority: true)
      otherRoot = try TestCertificate("other root", names: [], isAuthority: true)
      good = try TestCertificate(
        "good", names: ["URI:spiffe://a/b", "DNS:client.test", "DNS:*.client.test", "URI:urn:x;y"], issuer: root)
      other = try TestCertificate("other", names: [], issuer: otherRoot)
      stranger = try TestCertificate("good", names: ["DNS:client.test"])
      expired = try TestCertificate("old", names: [], issuer: root, from: -7200, until: -3600)
      wrongUse = try TestCertificate("server", names: [], issuer: root, usage: "serverAuth")
      leaf = try TestCertificate("leaf", names: ["DNS:a", "DNS:b"])
    }

    deinit { for one in [root, otherRoot, good, other, stranger, expired, wrongUse, leaf] { one.destroy() } }

    func validation(_ mode: TLSClientValidation.Mode, _ roots: [TestCertificate]? = nil) -> TLSClientValidation {
      TLSClientValidation(
        mode: mode, name: "ns/ca", authoritiesPEM: (roots ?? [root]).flatMap(\.certificate.chainPEM))
    }

    func binding(_ names: [String], _ clients: TLSClientValidation?) -> TLSBinding {
      TLSBinding(names: names, certificate: leaf.certificate, clients: clients)
    }
  }

  /// A handshake and one byte each way, after which a client of TLS 1.3 knows whether it was let in.
  private func handshake(
    _ server: TLSServer, _ version: Int32, name: String = "a", as certificate: TestCertificate? = nil,
    session: RawSession? = nil
  ) throws -> (RawClient, End) {
    let client = try RawClient(name: name, maximum: version, session: session)
    if let certificate { client.use(certificate) }
    let right = try End(accept: server)
    pump(client, right)
    if right.connection.isHandshakeDone { right.write([1]) }
    pump(client, right)
    return (client, right)
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func modes(version: Int32) throws {
    let people = try People()
    typealias Row = (client: TestCertificate?, required: Bool, optional: Bool, isKnown: Bool)
    let rows: [Row] = [
      (nil, false, true, false), (people.good, true, true, true), (people.other, false, false, false),
      (people.stranger, false, false, false), (people.expired, false, false, false),
      (people.wrongUse, false, false, false),
    ]
    for (index, row) in rows.enumerated() {
      for mode in [TLSClientValidation.Mode.required, .optional, .insecureFallback] {
        let server = try TLSServer(bindings: [people.binding(["*"], people.validation(mode))])
        let (client, right) = try handshake(server, version, as: row.client)
        let isIn = mode == .required ? row.required : mode == .optional ? row.optional : true
        #expect(right.connection.isHandshakeDone == isIn, "\(index) \(mode)")
        #expect((client.plaintext == [1]) == isIn, "\(index) \(mode)")
        #expect(right.connection.clientIdentity.isEmpty == !(isIn && row.isKnown), "\(index) \(mode)")
        if isIn {
          #expect(right.connection.clientValidation == people.validation(mode).identity)
        } else {
          #expect(right.failure?.kind == .certificate, "\(index) \(mode)")
          #expect((right.failure?.verifyCode != 0) == (row.client != nil))
        }
      }
    }
  }

  @Test func nobodyIsAskedElsewhere() throws {
    let people = try People()
    let server = try TLSServer(
      bindings: [people.binding(["a"], nil), people.binding(["b"], people.validation(.required))])
    let (_, open) = try handshake(server, TLS1_3_VERSION, name: "a", as: people.good)
    #expect(open.connection.isHandshakeDone && open.connection.clientIdentity.isEmpty)
    #expect(open.connection.clientValidation == 0)
    let (_, closed) = try handshake(server, TLS1_3_VERSION, name: "b")
    #expect(closed.failure?.kind == .certificate)
  }

  @Test func identity() throws {
    let people = try People()
    let server = try TLSServer(bindings: [people.binding(["*"], people.validation(.required))])
    let (_, right) = try handshake(server, TLS1_3_VERSION, as: people.good)
    let text = String(decoding: right.connection.clientIdentity)
    let parts = text.split(separator: ";", maxSplits: 1)
    #expect(parts[0].count == 5 + 64 && parts[0].hasPrefix("Hash="))
    #expect(
      parts[1] == "Subject=\"CN=good\";URI=spiffe://a/b;URI=\"urn:x;y\";DNS=client.test;DNS=*.client.test")
  }

  /// Names cannot end their value, begin another field or reach past the bounds.
  @Test func hostileNames() throws {
    let root = try TestCertificate("root", names: [], isAuthority: true)
    let many = (0..<400).map { "DNS:\($0).names.test" }
    let evil = try TestCertificate(
      "a\",b\\\r\nHost: x;\u{7f}\u{1F600}", names: ["URI:x\u{01}y", "DNS:fine"] + many, issuer: root)
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { for one in [root, evil, leaf] { one.destroy() } }
    let validation = TLSClientValidation(mode: .required, name: "ca", authoritiesPEM: root.certificate.chainPEM)
    let server = try TLSServer(
      bindings: [TLSBinding(names: ["*"], certificate: leaf.certificate, clients: validation)])
    let (_, right) = try handshake(server, TLS1_3_VERSION, as: evil)
    let text = String(decoding: right.connection.clientIdentity)
    #expect(right.connection.isHandshakeDone && text.utf8.count <= 2048 && text.utf8.count > 1900)
    #expect(text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f })
    #expect(text.contains(";Subject=\"CN=a\\\\\\\",b") && text.contains("\\0D\\0A") || text.contains("\\\\0D\\\\0A"))
    #expect(text.contains(";DNS=fine;DNS=0.names.test;") && !text.contains("URI"))
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func resumptionPassesNobody(version: Int32) throws {
    let people = try People()
    let keys = TLSTicketKeys(intervalMilliseconds: 3_600_000)
    func server(_ bindings: [TLSBinding]) throws -> TLSServer {
      try TLSServer(bindings: bindings, identity: "one", ticketKeys: keys)
    }
    let required = people.validation(.required)
    let open = try server([people.binding(["a"], nil), people.binding(["b"], required)])
    let closed = try server([people.binding(["a"], required)])
    let closedElsewhere = try server([people.binding(["a"], people.validation(.required, [people.otherRoot]))])
    let lenient = try server([people.binding(["a"], people.validation(.insecureFallback))])
    let optional = try server([people.binding(["a"], people.validation(.optional))])
    // Sessions without a certificate open nothing that wants one.
    for first in [open, lenient, optional] {
      let session = try handshake(first, version).0.session()
      defer { session.destroy() }
      for (target, name) in [(closed, "a"), (open, "b")] {
        let (client, right) = try handshake(target, version, name: name, session: session)
        #expect(right.failure?.kind == .certificate && !client.isResumed && !right.connection.isHandshakeDone)
      }
    }
    // One with a certificate is good for the same authorities only, and carries the identity with it.
    let (first, knows) = try handshake(closed, version, as: people.good)
    let session = try first.session()
    defer { session.destroy() }
    let (again, right) = try handshake(closed, version, session: session)
    #expect(again.isResumed && right.connection.isHandshakeDone)
    #expect(
      String(decoding: right.connection.clientIdentity) == String(decoding: knows.connection.clientIdentity)
        && !knows.connection.clientIdentity.isEmpty)
    let (elsewhere, refused) = try handshake(closedElsewhere, version, session: session)
    #expect(!elsewhere.isResumed && refused.failure?.kind == .certificate)
    let (weaker, unknown) = try handshake(lenient, version, session: session)
    #expect(!weaker.isResumed && unknown.connection.clientIdentity.isEmpty)
  }

  /// A ticket does not outlive the certificate that it stands for.
  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func ticketsEndWithTheCertificate(version: Int32) async throws {
    let people = try People()
    let brief = try TestCertificate("brief", names: [], issuer: people.root, until: 2)
    defer { brief.destroy() }
    let server = try TLSServer(bindings: [people.binding(["a"], people.validation(.required))])
    let (first, right) = try handshake(server, version, as: brief)
    try #require(right.connection.isHandshakeDone)
    let session = try first.session()
    defer { session.destroy() }
    try await Task.sleep(for: .milliseconds(3100))
    let (again, refused) = try handshake(server, version, session: session)
    #expect(!again.isResumed && refused.failure?.kind == .certificate)
  }

  @Test func revocationLists() throws {
    let people = try People()
    let revoked = try TestCertificate("revoked", names: [], issuer: people.root)
    defer { revoked.destroy() }
    let pem = people.root.certificate.chainPEM + people.root.revocations(of: [revoked])
    let validation = TLSClientValidation(mode: .required, name: "ca", authoritiesPEM: pem)
    let server = try TLSServer(bindings: [people.binding(["*"], validation)])
    #expect(try handshake(server, TLS1_3_VERSION, as: people.good).1.isHandshakeDone)
    let (_, refused) = try handshake(server, TLS1_3_VERSION, as: revoked)
    #expect(refused.failure?.kind == .certificate && refused.failure?.verifyCode == X509_V_ERR_CERT_REVOKED)
  }

  /// Each certificate of the bundle is an anchor, be it an intermediate one.
  @Test func intermediateAnchors() throws {
    let people = try People()
    let middle = try TestCertificate("middle", names: [], issuer: people.root, isAuthority: true)
    let end = try TestCertificate("end", names: [], issuer: middle)
    defer { for one in [middle, end] { one.destroy() } }
    let server = try TLSServer(
      bindings: [people.binding(["*"], people.validation(.required, [middle]))])
    #expect(try handshake(server, TLS1_3_VERSION, as: end).1.isHandshakeDone)
    #expect(try handshake(server, TLS1_3_VERSION, as: people.good).1.failure?.kind == .certificate)
  }

  @Test func badAuthorities() throws {
    let damaged = Array("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".utf8)
    for pem in [[], Array("x".utf8), damaged] {
      let validation = TLSClientValidation(mode: .optional, name: "ns/ca", authoritiesPEM: pem)
      let error = #expect(throws: TLSError.self) { try validation.check() }
      #expect(error?.description.hasPrefix("tls: certificate \"ns/ca\": ca.crt holds no readable PEM") == true)
    }
    let people = try People()
    try people.validation(.required).check()
    // A damaged one behind a good one is no good bundle either.
    let mixed = TLSClientValidation(
      mode: .required, name: "ns/ca", authoritiesPEM: people.root.certificate.chainPEM + damaged)
    #expect(throws: TLSError.self) { try mixed.check() }
  }
}
