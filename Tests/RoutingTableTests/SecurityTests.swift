import HTTPSemantics
import Testing

@testable import RoutingTable

/// Who may come in, who backends are, and listeners below HTTP.
@Suite struct SecurityTests {
  @Test(arguments: [
    ("10.0.0.0/8", "10.1.2.3", true), ("10.0.0.0/8", "11.0.0.0", false), ("10.1.2.3", "10.1.2.3", true),
    ("10.1.2.3", "10.1.2.4", false), ("0.0.0.0/0", "255.255.255.255", true), ("0.0.0.0/0", "::1", false),
    ("::/0", "10.0.0.1", true), ("::/0", "ffff::1", true), ("fd00::/8", "fdff::1", true),
    ("fd00::/8", "fe00::1", false), ("2001:db8::1", "2001:db8::1", true), ("2001:db8::1", "2001:db8::2", false),
    ("2001:db8:0:1::/64", "2001:db8:0:1:ffff::9", true), ("2001:db8:0:1::/64", "2001:db8:0:2::9", false),
    ("2001:db8:0:1::/65", "2001:db8:0:1:8000::9", false), ("::ffff:10.0.0.0/104", "10.9.9.9", true),
    ("192.168.1.77/31", "192.168.1.76", true), ("192.168.1.77/31", "192.168.1.78", false), ("::1", "::1", true),
  ])
  func networksContain(_ network: String, _ address: String, _ expected: Bool) throws {
    let record = try #require(NetworkRecord(NetworkSource(network)))
    let host = try #require(NetworkRecord(NetworkSource(address)))
    #expect(record.contains(high: host.high, low: host.low) == expected)
  }

  @Test(arguments: [
    "", "/", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/a", "10.0.0.0/8/8", "::/129", ":::", "x",
  ])
  func networksAreRefused(_ text: String) {
    #expect(!NetworkSource(text).isValid)
  }

  @Test func imageCarriesWhatTheSourceSays() throws {
    var source = self.source(kind: .https, listeners: [listener("a.test", .http), listener("b.test", .tlsPassthrough)])
    source.sockets[0].proxyProtocol = [NetworkSource("10.0.0.0/8")]
    source.sockets[0].listeners[0].options = ListenerOptions(
      escapedSlashes: .reject, mergesSlashes: true, translatesGRPCWeb: true)
    source.sockets[0].listeners[0].clientValidation = ClientValidationSource(mode: .optional, trustBundle: 0)
    source.sockets[0].tls = [
      TLSBinding(
        names: ["a.test"], certificate: 0, clientValidation: ClientValidationSource(mode: .optional, trustBundle: 0))
    ]
    source.backends[0].proxyProtocol = .v1
    source.backends[0].tls = BackendTLSSource(
      serverName: "Web.Test", subjectAltNames: [SubjectAltName(.dns, "x.test"), SubjectAltName(.uri, "spiffe://T/w")],
      trustBundle: 0, verifies: false, certificate: 0)
    try LoadedImage(source).withImage { image in
      let socket = image.socket(0)
      #expect(socket.kind == .https && socket.expectsProxyProtocol)
      #expect(socket.trusts(high: 0, low: 0xFFFF_0A01_0203) && !socket.trusts(high: 0, low: 0xFFFF_0B01_0203))
      let first = image.listener(0)
      #expect(first.proto == .http && first.escapedSlashes == .reject && first.mergesSlashes)
      #expect(first.translatesGRPCWeb && first.clientValidation?.mode == .optional)
      #expect(socket.tlsBinding(0).clientValidation == first.clientValidation)
      #expect(image.listener(1).proto == .tlsPassthrough && image.listener(1).clientValidation == nil)
      #expect(image.trustBundle(0).name.equals("ca") && image.trustBundle(0).pem.count == 2)
      #expect(image.certificate(0).ocspStaple.count == 3)
      let tls = try #require(image.backend(0).tls)
      #expect(image.backend(0).proxyProtocol == .v1 && tls.serverName.equals("web.test") && !tls.verifies)
      #expect(tls.trustBundle == 0 && tls.certificate == 0 && tls.subjectAltNameCount == 2)
      #expect(tls.subjectAltName(1).kind == .uri && tls.subjectAltName(1).value.equals("spiffe://T/w"))
    }
  }

  @Test(arguments: [
    ("b.test", 1, RouteAnswer.Outcome.matched), ("B.TEST.", 1, .matched), ("x.b.test", -1, .noListener),
    ("one.w.test", 2, .matched), ("a.test", 0, .noRoute), ("", -1, .noListener),
  ])
  func serverNamesLead(_ name: String, _ listener: Int32, _ outcome: RouteAnswer.Outcome) throws {
    let source = self.source(
      kind: .https,
      listeners: [
        self.listener("a.test", .http), self.listener("b.test", .tlsPassthrough), self.listener("*.w.test", .tcp),
      ])
    let answer = try LoadedImage(source).withImage { image in
      name.withLiteralBytes { image.lookup(socket: 0, serverName: $0) }
    }
    #expect(answer.outcome == outcome && answer.listener == listener)
    #expect((answer.rule >= 0) == (outcome == .matched))
  }

  @Test func plainSocketsLeadToTheirOnlyListener() throws {
    for (kind, proto) in [(SocketKind.tcp, ListenerProtocol.tcp), (.udp, .udp)] {
      let answer = try LoadedImage(source(kind: kind, listeners: [listener("", proto)])).withImage {
        $0.lookup(socket: 0, serverName: .empty)
      }
      #expect(answer.outcome == .matched && answer.rule == 0)
    }
  }

  @Test func whatCannotBeServedIsRefused() {
    for (kind, proto) in [
      (SocketKind.http, ListenerProtocol.tcp), (.http, .tlsPassthrough), (.tcp, .http), (.tcp, .tlsPassthrough),
      (.udp, .tcp), (.https, .udp), (.http, .udp),
    ] {
      #expect(throws: TableError.self) { try compile(source(kind: kind, listeners: [listener("", proto)])) }
    }
    var two = source(kind: .tcp, listeners: [listener("", .tcp)])
    two.sockets[0].listeners[0].virtualHosts[0].entries.append(EntrySource(rule: 0))
    #expect(throws: TableError.self) { try compile(two) }
    var asking = source(kind: .tcp, listeners: [listener("", .tcp)])
    asking.sockets[0].listeners[0].virtualHosts[0].entries[0].path = .exact("/a")
    #expect(throws: TableError.self) { try compile(asking) }
    var answering = source(kind: .tcp, listeners: [listener("", .tcp)])
    answering.rules[0].action = .respond(status: 404, reason: "")
    #expect(throws: TableError.self) { try compile(answering) }
    var datagrams = source(kind: .udp, listeners: [listener("", .udp)])
    datagrams.sockets[0].proxyProtocol = []
    #expect(throws: TableError.self) { try compile(datagrams) }
    var stranger = source(kind: .http, listeners: [listener("", .http)])
    stranger.backends[0].tls = BackendTLSSource(serverName: "a", trustBundle: 7)
    #expect(throws: TableError.self) { try compile(stranger) }
  }

  private func listener(_ hostname: String, _ proto: ListenerProtocol) -> ListenerSource {
    ListenerSource(
      name: "test/\(hostname)", hostname: hostname, virtualHosts: [VirtualHostSource(entries: [EntrySource(rule: 0)])],
      proto: proto)
  }

  private func source(kind: SocketKind, listeners: [ListenerSource]) -> TableSource {
    TableSource(
      sockets: [SocketSource(port: 443, kind: kind, listeners: listeners)],
      backends: [BackendSource(id: "b", endpoints: [EndpointSource(address: "10.0.0.1", port: 80)])],
      rules: [RuleSource(provenance: "rule", action: .forward([WeightedBackend(backend: 0)]))],
      certificates: [CertificateSource(name: "c", chainPEM: [1], keyPEM: [2], ocspStaple: [1, 2, 3])],
      trustBundles: [TrustBundleSource(name: "ca", pem: [1, 2])])
  }
}
