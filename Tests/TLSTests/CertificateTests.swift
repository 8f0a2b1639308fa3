import TLS
import Testing

struct CertificateTests {
  private func failure(_ certificate: TLSCertificate) -> TLSError? {
    do {
      _ = try TLSServer(bindings: [TLSBinding(names: ["*"], certificate: certificate)])
      return nil
    } catch {
      return error
    }
  }

  @Test func badCertificatesSayWhatIsWrong() throws {
    let good = try TestCertificate("good", names: ["DNS:a"])
    let other = try TestCertificate("other", names: ["DNS:a"])
    defer { for one in [good, other] { one.destroy() } }
    let chain = good.certificate.chainPEM
    let key = good.certificate.keyPEM
    var damaged = chain
    for index in 60..<90 { damaged[index] = UInt8(ascii: "A") }
    let text = Array("no pem".utf8)
    let cases: [(TLSCertificate, TLSError.Reason, String)] = [
      (
        TLSCertificate(name: "ns/x", chainPEM: [], keyPEM: key), .noCertificate,
        "tls.crt holds no PEM certificate"
      ),
      (TLSCertificate(name: "ns/x", chainPEM: text, keyPEM: key), .noCertificate, "tls.crt holds no PEM"),
      (TLSCertificate(name: "ns/x", chainPEM: chain, keyPEM: []), .noKey, "tls.key holds no PEM private key"),
      (TLSCertificate(name: "ns/x", chainPEM: chain, keyPEM: text), .noKey, "tls.key holds no PEM"),
      (
        TLSCertificate(name: "ns/x", chainPEM: damaged, keyPEM: key), .unreadable,
        "certificate 1 cannot be read"
      ),
      (TLSCertificate(name: "ns/x", chainPEM: chain + damaged, keyPEM: key), .unreadable, "certificate 2"),
      (
        TLSCertificate(name: "ns/x", chainPEM: chain, keyPEM: other.certificate.keyPEM), .mismatch,
        "tls.key is not the private key"
      ),
    ]
    for (certificate, reason, message) in cases {
      let error = try #require(failure(certificate))
      #expect(error.reason == reason)
      #expect(error.description.hasPrefix("tls: certificate \"\(certificate.name)\": "))
      #expect(error.description.contains(message), "\(error)")
      #expect(throws: TLSError.self) { try certificate.check() }
    }
    #expect(failure(good.certificate) == nil)
    try good.certificate.check()
  }

  /// They are served, and people are told.
  @Test func certificatesOutOfTheirTimeAreNoticed() throws {
    let old = try TestCertificate("old", names: ["DNS:a"], from: -7200, until: -3600)
    let early = try TestCertificate("early", names: ["DNS:a"], from: 3600, until: 7200)
    let good = try TestCertificate("good", names: ["DNS:a"])
    defer { for one in [old, early, good] { one.destroy() } }
    for (made, notice) in [(old, "expired at "), (early, "not valid before "), (good, nil)] {
      let server = try TLSServer(bindings: [TLSBinding(names: ["*"], certificate: made.certificate)])
      #expect(server.notices.count == (notice == nil ? 0 : 1))
      if let notice { #expect(server.notices[0].contains(notice)) }
      let left = try End(connect: TLSClient(verification: .off), name: "a")
      let right = try End(accept: server)
      pump(left, right)
      #expect(right.connection.isHandshakeDone)
    }
  }

  @Test func badAuthoritiesSayWhatIsWrong() throws {
    for pem in [
      [], Array("x".utf8), Array("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".utf8),
    ] {
      let error = #expect(throws: TLSError.self) {
        try TLSClient(verification: .authorities(name: "ns/ca", pem: pem))
      }
      #expect(error?.description.hasPrefix("tls: certificate \"ns/ca\": ca.crt holds no readable") == true)
    }
  }
}
