import HTTPSemantics
import Testing

@testable import RoutingTable

struct HostTests {
  private func listeners(_ patterns: [(String, Bool)]) -> TableSource {
    TableSource(sockets: [
      SocketSource(
        port: 80,
        listeners: patterns.map { pattern, oneLabel in
          ListenerSource(name: pattern, hostname: pattern, wildcardIsOneLabel: oneLabel)
        })
    ])
  }

  @Test(arguments: [
    ("a.example.com", "a.example.com"), ("A.EXAMPLE.com:8080", "a.example.com"),
    ("a.example.com.", "a.example.com"), ("b.example.com", "*.example.com"),
    ("x.a.example.com", "*.a.example.com"), ("y.x.a.example.com", "*.a.example.com"),
    ("x.y.example.com", "*.example.com"), ("example.com", "*"), ("badexample.com", "*"),
    ("one.label.test", "*.label.test"), ("two.one.label.test", "*"), ("[::1]:80", "*"),
    (String(repeating: "a.", count: 130) + "example.com", "*"),
  ]) func mostSpecificPatternWins(authority: String, pattern: String) throws {
    let loaded = try LoadedImage(
      listeners([
        ("*", false), ("*.example.com", false), ("*.a.example.com", false), ("a.example.com", false),
        ("*.label.test", true),
      ]))
    let answer = loaded.lookup(TestRequest(authority: authority))
    #expect(answer.outcome == .noHost)
    loaded.withImage { image in
      #expect(String(decoding: image.listener(Int(answer.listener)).hostname) == pattern)
    }
  }

  @Test func noFallBackToALessSpecificHost() throws {
    var source = listeners([("*", false), ("a.test", false)])
    source.rules = [RuleSource(provenance: "r", action: .forward([]))]
    source.sockets[0].listeners[0].virtualHosts = [
      VirtualHostSource(entries: [EntrySource(path: .any, rule: 0)])
    ]
    source.sockets[0].listeners[1].virtualHosts = [VirtualHostSource(pattern: "a.test")]
    let loaded = try LoadedImage(source)
    #expect(loaded.lookup(TestRequest(authority: "b.test")).outcome == .matched)
    #expect(loaded.lookup(TestRequest(authority: "a.test")).outcome == .noRoute)
  }

  @Test func manyHostsAreAllFound() throws {
    let names = (0..<3000).map { "host-\($0).example.com" }
    let source = listeners(names.map { ($0, false) })
    let loaded = try LoadedImage(source)
    for (index, name) in names.enumerated() {
      #expect(loaded.lookup(TestRequest(authority: name)).listener == Int32(index))
    }
    #expect(loaded.lookup(TestRequest(authority: "host-3000.example.com")).outcome == .noListener)
  }
}

struct PrecedenceTests {
  @Test func orderDecidesNotLength() throws {
    let loaded = try LoadedImage(
      table([
        EntrySource(path: .stringPrefix("/foo"), method: "POST", rule: 0),
        EntrySource(path: .regex("/foo/.*"), rule: 1), EntrySource(path: .exact("/foo/bar"), rule: 2),
        EntrySource(path: .segmentPrefix("/"), rule: 3),
      ]))
    #expect(loaded.lookup(TestRequest(method: "POST", target: "/foobar")).rule == 0)
    #expect(loaded.lookup(TestRequest(target: "/foo/bar")).rule == 1)
    #expect(loaded.lookup(TestRequest(target: "/foobar")).rule == 3)
    #expect(loaded.lookup(TestRequest(target: "/foo/bar")).matchedPrefixLength == 8)
    #expect(loaded.lookup(TestRequest(target: "/x")).matchedPrefixLength == 0)
  }

  @Test func segmentsEndAtSlashes() throws {
    let loaded = try LoadedImage(table([EntrySource(path: .segmentPrefix("/foo/"), rule: 0)]))
    for path in ["/foo", "/foo/", "/foo/bar", "/foo?x"] {
      #expect(loaded.lookup(TestRequest(target: path)).outcome == .matched, "\(path)")
    }
    for path in ["/foobar", "/fo", "/", "/Foo", "//foo"] {
      #expect(loaded.lookup(TestRequest(target: path)).outcome == .noRoute, "\(path)")
    }
  }

  @Test func weightsDivideTheRandomNumbers() throws {
    let backends = [3, 0, 1].map { WeightedBackend(backend: nil, weight: $0) }
    let rules = [
      RuleSource(provenance: "r", action: .forward(backends)),
      RuleSource(provenance: "none", action: .forward([WeightedBackend(backend: nil, weight: 0)])),
    ]
    let loaded = try LoadedImage(table([EntrySource(path: .any, rule: 0)], rules: rules))
    loaded.withImage { image in
      let rule = image.rule(0)
      let quarter = UInt32(1) << 30
      #expect(rule.pick(random: 0) == 0)
      #expect(rule.pick(random: 3 * quarter - 1) == 0)
      #expect(rule.pick(random: 3 * quarter) == 2)
      #expect(rule.pick(random: .max) == 2)
      #expect(image.rule(1).pick(random: 5) == -1)
    }
  }
}

struct CompileTests {
  @Test func equalSourcesGiveEqualBytes() throws {
    for seed in 30..<36 as Range<UInt64> {
      var one = RandomTables(seed: seed)
      var other = RandomTables(seed: seed)
      let source = one.table(entries: 20)
      let image = try compile(source)
      #expect(try compile(other.table(entries: 20)) == image)
      var changed = source
      changed.revision &+= 1
      #expect(try compile(changed) != image)
    }
  }

  @Test func recordsHaveNoPadding() {
    #expect(MemoryLayout<SocketRecord>.size == 56 && MemoryLayout<SocketRecord>.stride == 56)
    #expect(MemoryLayout<ListenerRecord>.size == 52 && MemoryLayout<ListenerRecord>.stride == 52)
    #expect(MemoryLayout<VirtualHostRecord>.size == 48 && MemoryLayout<VirtualHostRecord>.stride == 48)
    #expect(MemoryLayout<HashSlot>.size == 8 && MemoryLayout<HashSlot>.stride == 8)
    #expect(MemoryLayout<HostRecord>.size == 64 && MemoryLayout<HostRecord>.stride == 64)
    #expect(MemoryLayout<HostRecord>.offset(of: \.tags) == HostRecord.tagsOffset)
    #expect(MemoryLayout<HostRecord>.offset(of: \.key) == HostRecord.keyOffset)
    #expect(HostRecord.keyOffset + HostRecord.keyRoom == MemoryLayout<HostRecord>.size)
    #expect(MemoryLayout<AnchorRecord>.size == 48 && MemoryLayout<AnchorRecord>.stride == 48)
    #expect(MemoryLayout<AnchorRecord>.offset(of: \.text) == AnchorRecord.textOffset)
    #expect(AnchorRecord.textOffset + AnchorRecord.textRoom == MemoryLayout<AnchorRecord>.size - 2)
    #expect(MemoryLayout<AnchorDetail>.size == 12)
    #expect(MemoryLayout<NodeRecord>.size == 32 && MemoryLayout<NodeRecord>.stride == 32)
    #expect(MemoryLayout<EntryRecord>.size == 16 && MemoryLayout<EntryDetail>.size == 20)
    #expect(MemoryLayout<PredicateRecord>.size == 24 && MemoryLayout<PredicateRecord>.stride == 24)
    #expect(MemoryLayout<RuleRecord>.size == 104 && MemoryLayout<RuleRecord>.stride == 104)
    #expect(MemoryLayout<WeightedRecord>.size == 28 && MemoryLayout<WeightedRecord>.stride == 28)
    #expect(MemoryLayout<HeaderOperationRecord>.size == 20)
    #expect(MemoryLayout<BackendRecord>.size == 24 && MemoryLayout<BackendRecord>.stride == 24)
    #expect(MemoryLayout<EndpointRecord>.size == 16 && MemoryLayout<EndpointRecord>.stride == 16)
    #expect(MemoryLayout<CertificateRecord>.size == 32 && MemoryLayout<TLSBindingRecord>.size == 16)
    #expect(MemoryLayout<TrustBundleRecord>.size == 16 && MemoryLayout<ClientValidationRecord>.size == 8)
    #expect(MemoryLayout<BackendTLSRecord>.size == 28 && MemoryLayout<BackendTLSRecord>.stride == 28)
    #expect(MemoryLayout<SubjectAltNameRecord>.size == 12 && MemoryLayout<NetworkRecord>.size == 24)
    #expect(MemoryLayout<StringRef>.size == 8 && MemoryLayout<RegexRecord>.size == 12)
  }

  /// A change of these numbers is a change of the format: raise its version.
  @Test func goldenSizes() throws {
    #expect(ImageFormat.headerLength == 264 && ImageFormat.version == 3)
    #expect(try compile(TableSource()).count == 320)
    let small = try compile(
      table([EntrySource(path: .exact("/a"), rule: 0), EntrySource(path: .segmentPrefix("/"), rule: 0)]))
    #expect(small.count == 1152)
  }

  /// Linear in the number of routes, whatever the shape of their paths.
  @Test func sizeGrowsWithTheRoutes() throws {
    func size(_ count: Int, _ path: (Int) -> String) throws -> Int {
      let entries = (0..<count).map { EntrySource(path: .segmentPrefix(path($0)), rule: 0) }
      return try compile(table(entries + [EntrySource(path: .any, rule: 0)])).count
    }
    for path in [{ "/api/v1/\($0)" }, { "/\($0)/x" }, { "/\(String($0, radix: 2))" }] as [(Int) -> String] {
      let small = try size(200, path)
      let large = try size(2000, path)
      #expect(large < small * 14)
      #expect(large < 2000 * 240)
    }
  }

  /// Conditional entries that match everywhere are one shared list, not one for each node.
  @Test func equalListsAreStoredOnce() throws {
    let everywhere = (0..<100).map { number in
      EntrySource(path: .any, headers: [ValueMatch(name: "x-\(number)", test: .present)], rule: 0)
    }
    let paths = (0..<500).map { EntrySource(path: .exact("/path/\($0)"), rule: 0) }
    let first = try LoadedImage(table(paths + everywhere))
    first.withImage { image in #expect(image.count(of: .candidates) == 101) }
    // A regular expression is only where its literal prefix is.
    let regexes = (0..<100).map { EntrySource(path: .regex("/re\($0 + 100)/[a-z]+"), rule: 0) }
    let second = try LoadedImage(table(regexes + paths))
    second.withImage { image in #expect(image.count(of: .candidates) == 0) }
  }

  @Test(arguments: [
    (EntrySource(path: .regex("/(a"), rule: 0), "entries[0].path", "missing )"),
    (EntrySource(path: .any, method: "G T", rule: 0), "entries[0].method", "no method"),
    (EntrySource(path: .any, rule: 7), "entries[0]", "rule 7"),
    (
      EntrySource(path: .any, headers: [ValueMatch(name: "a b", test: .present)], rule: 0),
      "entries[0].headers[0].name", "no header name"
    ),
    (
      EntrySource(path: .any, queryParameters: [ValueMatch(name: "q", test: .regex("["))], rule: 0),
      "entries[0].queryParameters[0]", "regular expression"
    ),
  ]) func badEntriesAreNamed(entry: EntrySource, location: String, message: String) throws {
    let rules = [RuleSource(provenance: "r", action: .forward([]))]
    do {
      _ = try compile(table([entry], rules: rules))
      Issue.record("compiled")
    } catch {
      #expect(error.location == "sockets[0].listeners[0].virtualHosts[0].\(location)")
      #expect(error.message.contains(message))
    }
  }

  @Test(arguments: [
    (RuleSource(provenance: "r", action: .respond(status: 100, reason: "")), "status"),
    (RuleSource(provenance: "r", action: .respond(status: 503, reason: "a\r\nb")), "reason"),
    (RuleSource(provenance: "r", action: .redirect(RedirectSource(status: 200))), "redirect.status"),
    (RuleSource(provenance: "r", action: .redirect(RedirectSource(host: "a b"))), "redirect.host"),
    (
      RuleSource(
        provenance: "r", action: .forward([]), requestHeaders: [HeaderOperation(.set, "a", "\r\nb: c")]),
      "requestHeaders[0].value"
    ),
    (
      RuleSource(provenance: "r", action: .forward([]), responseHeaders: [HeaderOperation(.remove, "")]),
      "responseHeaders[0].name"
    ),
    (
      RuleSource(provenance: "r", action: .forward([]), rewrite: RewriteSource(path: .replaceFull("/a#b"))),
      "rewrite.path"
    ),
    (RuleSource(provenance: "r", action: .forward([WeightedBackend(backend: 3)])), "backends[0]"),
    (
      RuleSource(
        provenance: "r",
        action: .forward([
          WeightedBackend(backend: nil, weight: .max), WeightedBackend(backend: nil, weight: 1),
        ])), "backends"
    ),
  ]) func badRulesAreNamed(rule: RuleSource, location: String) throws {
    #expect(throws: TableError.self) { try compile(TableSource(rules: [rule])) }
    do { _ = try compile(TableSource(rules: [rule])) } catch {
      #expect(error.location == "rules[0].\(location)")
    }
  }

  @Test func badHostsAndSocketsAreNamed() throws {
    func location(_ sockets: [SocketSource]) -> String? {
      do {
        _ = try compile(TableSource(sockets: sockets))
        return nil
      } catch { return error.location }
    }
    func socket(_ hosts: String...) -> SocketSource {
      SocketSource(port: 80, listeners: hosts.map { ListenerSource(name: $0, hostname: $0) })
    }
    #expect(location([socket("a.test", "A.test.")]) == "sockets[0].listeners[1]")
    #expect(location([socket("", "*")]) == "sockets[0].listeners[1]")
    #expect(location([socket("a.*.test")]) == "sockets[0].listeners[0].hostname")
    #expect(location([socket("*.")]) == "sockets[0].listeners[0].hostname")
    #expect(location([socket("a"), socket("b")]) == "sockets[1]")
    #expect(location([socket("*.a.test", "a.test", "*")]) == nil)
    let backend = BackendSource(id: "b", endpoints: [EndpointSource(address: "localhost", port: 1)])
    #expect(backend.problem?.location == "endpoints[0].address")
  }
}
