import HTTPSemantics
import TLS
import Testing

/// Connections to backends: whom they take for the right one, and what they say when it is not.
struct BackendTests {
  private static let names: [(certificate: [String], wanted: [TLSPeerName], isGood: Bool)] = [
    (["DNS:a.test"], [.dns("a.test")], true),
    (["DNS:a.test"], [.dns("A.TEST")], true),
    (["DNS:*.test.example"], [.dns("a.test.example")], true),
    (["DNS:*.test.example"], [.dns("a.b.test.example")], false),
    (["DNS:*.test.example"], [.dns("test.example")], false),
    (["DNS:w*.test.example"], [.dns("www.test.example")], false),
    (["DNS:b.test"], [.dns("a.test"), .dns("b.test")], true),
    (["URI:spiffe://a/b"], [.uri("spiffe://a/b")], true),
    (["URI:spiffe://a/b"], [.uri("spiffe://a/bc")], false),
    (["URI:spiffe://a/bc"], [.uri("spiffe://a/b")], false),
    (["URI:spiffe://a/b"], [.uri("SPIFFE://a/b")], false),
    (["URI:spiffe://a/b", "DNS:c.test"], [.uri("spiffe://x/y"), .dns("c.test")], true),
    (["DNS:spiffe.test"], [.uri("spiffe.test")], false),
    // The common name counts for nothing.
    ([], [.dns("leaf")], false),
  ]

  @Test(arguments: names.indices)
  func oneOfTheNamesMustBeThere(index: Int) throws {
    let test = Self.names[index]
    let root = try TestCertificate("root", names: [], isAuthority: true)
    let leaf = try TestCertificate("leaf", names: test.certificate, issuer: root)
    defer { for one in [root, leaf] { one.destroy() } }
    let store = try TrustStore(name: "root", pem: root.certificate.chainPEM)
    let client = try TLSClient(verification: .trust(store), peerNames: test.wanted)
    // What is asked for is another name, which does not count then.
    let (left, right) = try ends(client, leaf, name: "asked.test")
    #expect(left.connection.isHandshakeDone == test.isGood)
    #expect(String(decoding: right.connection.serverName) == "asked.test")
    if !test.isGood { #expect(left.failure?.cause == .wrongName) }
  }

  private func ends(
    _ client: TLSClient, _ leaf: TestCertificate, name: String, clients: TLSClientValidation? = nil
  ) throws -> (End, End) {
    let server = try TLSServer(
      bindings: [TLSBinding(names: ["*"], certificate: leaf.certificate, clients: clients)])
    let left = try End(connect: client, name: name)
    let right = try End(accept: server)
    pump(left, right)
    return (left, right)
  }

  @Test func theCauseIsTold() throws {
    let root = try TestCertificate("root", names: [], isAuthority: true)
    let other = try TestCertificate("other", names: [], isAuthority: true)
    let good = try TestCertificate("good", names: ["DNS:a"], issuer: root)
    let early = try TestCertificate("early", names: ["DNS:a"], issuer: root, from: 3600)
    let revoked = try TestCertificate("revoked", names: ["DNS:a"], issuer: root)
    defer { for one in [root, other, good, early, revoked] { one.destroy() } }
    let store = try TrustStore(name: "root", pem: root.certificate.chainPEM)
    let listed = try TrustStore(
      name: "root", pem: root.certificate.chainPEM + root.revocations(of: [revoked]))
    let foreign = try TrustStore(name: "other", pem: other.certificate.chainPEM)
    for (trust, leaf, name, cause) in [
      (store, good, "b", TLSFailure.Cause.wrongName), (foreign, good, "a", .unknownAuthority),
      (store, early, "a", .notYetValid), (listed, revoked, "a", .revoked), (listed, good, "a", nil),
    ] {
      let (left, _) = try ends(TLSClient(verification: .trust(trust)), leaf, name: name)
      #expect(left.failure?.cause == cause)
    }
    let client = try End(connect: TLSClient(verification: .off), name: "a")
    client.feed(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8))
    #expect(client.failure?.cause == .notTLS)
  }

  @Test func aCertificateIsShownWhereOneIsAskedFor() throws {
    let root = try TestCertificate("root", names: [], isAuthority: true)
    let leaf = try TestCertificate("leaf", names: ["DNS:a"], issuer: root)
    let mine = try TestCertificate("mine", names: ["DNS:me"], issuer: root)
    defer { for one in [root, leaf, mine] { one.destroy() } }
    let clients = TLSClientValidation(mode: .required, name: "root", authoritiesPEM: root.certificate.chainPEM)
    let shows = try TLSClient(verification: .off, certificate: mine.certificate)
    let (left, right) = try ends(shows, leaf, name: "a", clients: clients)
    #expect(right.connection.isHandshakeDone && right.failure == nil && left.failure == nil)
    let (silent, _) = try ends(TLSClient(verification: .off), leaf, name: "a", clients: clients)
    #expect(silent.failure?.cause == .refusedOurs)
  }

  @Test(arguments: [ALPN.http1, .h2])
  func theConnectionSaysWhatItSpeaks(alpn: ALPN) throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    let server = try TLSServer(bindings: [TLSBinding(names: ["*"], certificate: leaf.certificate)])
    let client = try TLSClient(verification: .off, alpn: [.h2, .http1])
    let left = try #require(withBytes("a") { TLSConnection.connect(client.handle, serverName: $0, alpn: alpn) })
    let ends = (End(left), try End(accept: server))
    pump(ends.0, ends.1)
    #expect(left.negotiated == alpn)
  }

  @Test func aBundleMustHoldCertificates() throws {
    for (pem, reason) in [
      ("", TLSError.Reason.noCertificate), ("no PEM", .noCertificate),
      ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", .unreadable),
    ] {
      #expect { try TrustStore(name: "ca", pem: Array(pem.utf8)) } throws: { ($0 as? TLSError)?.reason == reason }
    }
    _ = try TrustStore()
  }

  // MARK: Sessions

  private func session() throws -> TLSSession {
    let (left, right) = try connected(.tls12)
    right.write([1])
    pump(left, right)
    return try #require(left.connection.takeSession())
  }

  @Test func aFewSessionsAreKeptOfEachEndpoint() throws {
    var store = SessionStore(perEndpoint: 2)
    store.reserve(endpoints: 3)
    #expect(take(&store, 0) == 0 && take(&store, 9) == 0 && take(&store, -1) == 0)
    for _ in 0..<3 { store.put(try session(), endpoint: 1) }
    store.put(try session(), endpoint: 2)
    var counts = (store.count(endpoint: 1), store.count)
    #expect(counts == (2, 3))
    store.reserve(endpoints: 100)
    #expect(take(&store, 1) == 2)
    counts = (store.count(endpoint: 1), store.count)
    #expect(counts == (0, 1))
    store.removeAll(endpoint: 2)
    // What is beyond its range or not wanted is destroyed, what is left goes with the store.
    store.put(try session(), endpoint: 1000)
    store.put(try session(), endpoint: 99)
    let left = store.count
    #expect(left == 1)
    var none = SessionStore(perEndpoint: 0)
    none.reserve(endpoints: 1)
    none.put(try session(), endpoint: 0)
    let kept = none.count
    #expect(kept == 0)
  }

  /// How many sessions there were of the endpoint; none is left.
  private func take(_ store: inout SessionStore, _ endpoint: Int32) -> Int {
    var count = 0
    while let session = store.take(endpoint: endpoint) {
      session.destroy()
      count += 1
    }
    return count
  }

  @Test func digestsTellListsApart() {
    #expect(digest(of: [[1], [2]]) != digest(of: [[1, 2]]))
    #expect(digest(of: [[1], []]) != digest(of: [[1]]))
    #expect(digest(of: [[1]]).count == 64)
  }
}
