@testable import RoutingTable

/// Random tables and requests from small alphabets, so that prefixes, hosts and values often nearly meet.
struct RandomTables {
  var random: SeededGenerator
  private let segments = ["a", "b", "ab", "foo", "foobar", "Foo", "v1", "%2F", "a.b", "f"]
  private let labels = ["a", "b", "www", "api", "x-1"]
  private let names = ["x-a", "X-B", "x_c", "host", "X-a", ":authority"]
  private let values = ["", "1", "2", "A", "a", "1,2", "abc", "a b"]
  private let parameters = ["q", "Q", "a b", "p", "q=1"]
  private let methods = ["GET", "POST", "get", "PURGE", "DELETE"]
  private let pathRegexes = [
    "/a.*", "/(a|b)/.*", ".*", "/foo/[0-9]+", "/foo(/.*)?", "^/a$", "/a|/b", ".*b", "(?i)/FOO.*",
    "/v[0-9]/.*", "/ab?/.*", "/foo.*r",
  ]
  private let valueRegexes = ["", ".*", ".+", "[0-9]+", "a|A", "1,.*", "[a-c]*"]

  init(seed: UInt64) { random = SeededGenerator(seed) }

  // MARK: tables

  mutating func table(entries: Int) -> TableSource {
    let rules = (0..<8).map { rule($0) }
    let backends = (0..<3).map { number in
      BackendSource(
        id: "test/backend:\(number)",
        endpoints: [EndpointSource(address: number == 0 ? "::1" : "10.0.0.\(number)", port: 80)],
        tls: number == 1
          ? BackendTLSSource(
            serverName: "b.test", subjectAltNames: [SubjectAltName(.uri, "spiffe://A/b")], trustBundle: 0,
            certificate: 0)
          : nil, proxyProtocol: number == 2 ? .v2 : .none)
    }
    var sockets: [SocketSource] = []
    for index in 0..<(1 + random.below(2)) {
      var socket = SocketSource(port: UInt16(80 + index), kind: index == 0 ? .http : .https)
      for host in distinct(1 + random.below(4)) {
        socket.listeners.append(
          ListenerSource(
            name: "test/\(host.text)", hostname: host.text, wildcardIsOneLabel: host.oneLabel,
            virtualHosts: virtualHosts(entries: entries)))
      }
      if index > 0 {
        let validation = ClientValidationSource(mode: .required, trustBundle: 0)
        socket.tls = [TLSBinding(names: ["*", "*.Example.com"], certificate: 0, clientValidation: validation)]
        socket.listeners[0].clientValidation = validation
        socket.listeners[0].options = ListenerOptions(escapedSlashes: .decode, translatesGRPCWeb: true)
        socket.proxyProtocol = [NetworkSource("10.0.0.0/8"), NetworkSource("fd00::/8")]
      }
      sockets.append(socket)
    }
    return TableSource(
      revision: random.next(), sockets: sockets, backends: backends, rules: rules,
      certificates: [CertificateSource(name: "c", chainPEM: [1, 2], keyPEM: [3], ocspStaple: [4])],
      trustBundles: [TrustBundleSource(name: "t", pem: [5])])
  }

  private mutating func rule(_ number: Int) -> RuleSource {
    let operations = [
      HeaderOperation(.set, "X-Set", "v\(number)"), HeaderOperation(.add, "x-add", ""),
      HeaderOperation(.remove, "x-remove"),
    ]
    let rewrites: [PathRewrite] = [
      .replaceFull("/full?x=1"), .replaceSegmentPrefix("/new/"), .replaceStringPrefix("/p"),
    ]
    switch number % 3 {
    case 0:
      let redirect = RedirectSource(
        scheme: random.once(in: 2) ? "https" : nil, host: random.once(in: 2) ? "other.test" : nil,
        port: random.pick([.automatic, .number(8443), .fromRequest, .schemeDefault]),
        path: random.once(in: 2) ? random.pick(rewrites) : nil, status: 301)
      return RuleSource(provenance: "redirect \(number)", action: .redirect(redirect))
    case 1:
      return RuleSource(
        provenance: "answer \(number)", action: .respond(status: 503, reason: "no backend"),
        responseHeaders: operations)
    default:
      let backends = (0..<random.below(4)).map { index in
        WeightedBackend(
          backend: index == 2 ? nil : index, weight: UInt32(random.below(3)), requestHeaders: operations)
      }
      return RuleSource(
        provenance: "forward \(number)", action: .forward(backends), requestHeaders: operations,
        rewrite: RewriteSource(host: "inner.test", path: random.pick(rewrites)), requestTimeout: 1000)
    }
  }

  private mutating func virtualHosts(entries: Int) -> [VirtualHostSource] {
    var previous: [EntrySource] = []
    return distinct(1 + random.below(4)).map { host in
      // Now and then the entries of the one before: shared trees.
      if previous.isEmpty || !random.once(in: 4) {
        previous = (0..<random.below(entries + 1)).map { _ in entry() }
      }
      return VirtualHostSource(pattern: host.text, wildcardIsOneLabel: host.oneLabel, entries: previous)
    }
  }

  private mutating func distinct(_ count: Int) -> [(text: String, oneLabel: Bool)] {
    var seen: Set<String> = []
    var result: [(text: String, oneLabel: Bool)] = []
    for _ in 0..<count {
      let text = random.once(in: 3) ? random.pick(["", "*"]) : pattern()
      let oneLabel = random.once(in: 3)
      let isWildcard = text.hasPrefix("*.")
      let key = text == "" ? "*" : text.lowercased() + (isWildcard && oneLabel ? "1" : "")
      if seen.insert(key).inserted { result.append((text, oneLabel)) }
    }
    return result
  }

  private mutating func pattern() -> String {
    let name = host()
    return random.once(in: 2) ? "*." + name : name
  }

  private mutating func host() -> String {
    let inner = (0..<random.below(3)).map { _ in random.pick(labels) }
    let name = (inner + [random.pick(["example", "Example", "test"]), "com"]).joined(separator: ".")
    return name
  }

  mutating func path() -> String {
    let count = random.below(4)
    if count == 0 { return "/" }
    let text = (0..<count).map { _ in "/" + random.pick(segments) }.joined()
    return random.once(in: 4) ? text + "/" : text
  }

  mutating func entry() -> EntrySource {
    let path: PathMatcher
    switch random.below(12) {
    case 0: path = .any
    case 1...3: path = .exact(self.path())
    case 4...7: path = .segmentPrefix(self.path())
    case 8...9: path = .stringPrefix(self.path())
    default: path = .regex(random.pick(pathRegexes))
    }
    var entry = EntrySource(path: path, rule: random.below(8))
    entry.pathIgnoresCase = random.once(in: 8)
    if random.once(in: 4) { entry.method = random.pick(methods) }
    for _ in 0..<max(0, random.below(5) - 2) { entry.headers.append(match(random.pick(names))) }
    for _ in 0..<max(0, random.below(5) - 3) { entry.queryParameters.append(match(random.pick(parameters))) }
    if random.once(in: 12) { entry.authority = match("") }
    return entry
  }

  private mutating func match(_ name: String) -> ValueMatch {
    let test: ValueTest
    switch random.below(9) {
    case 0: test = .present
    case 1: test = .absent
    case 2...3: test = .prefix(random.pick(values))
    case 4...5: test = .regex(random.pick(valueRegexes))
    default: test = .exact(random.pick(values))
    }
    return ValueMatch(
      name: name, test: test, ignoreCase: random.once(in: 4), invert: random.once(in: 6),
      missingIsEmpty: random.once(in: 4))
  }

  // MARK: requests

  /// Aimed at one entry of the table and then often a little beside it.
  mutating func request(for table: TableSource, socket: Int) -> TestRequest {
    let listener = random.pick(table.sockets[socket].listeners)
    let virtualHost = random.pick(listener.virtualHosts)
    var request = TestRequest(method: random.once(in: 3) ? random.pick(methods) : "GET")
    let anyHost = virtualHost.pattern.isEmpty || virtualHost.pattern == "*"
    let pattern = anyHost || random.once(in: 6) ? listener.hostname : virtualHost.pattern
    request.authority = random.once(in: 25) ? "" : authority(pattern)
    request.target = path()
    if random.once(in: 20) || virtualHost.entries.isEmpty { return request }
    let entry = random.pick(virtualHost.entries)
    if let method = entry.method, !random.once(in: 6) { request.method = method }
    request.target = path(for: entry.path)
    for header in entry.headers where !random.once(in: 8) {
      if header.name.lowercased() == "host" || header.name.first == ":" { continue }
      let name = random.once(in: 2) ? header.name : header.name.uppercased()
      if random.once(in: 8) { request.headers.append((name, random.pick(values))) }
      request.headers.append((name, value(for: header)))
      if random.once(in: 8) { request.headers.append(("x-other", "1")) }
    }
    var query: [String] = []
    for parameter in entry.queryParameters where !random.once(in: 8) {
      if random.once(in: 8) { query.append("") }
      let value = value(for: parameter)
      let isBare = value.isEmpty && random.once(in: 2)
      query.append(encoded(parameter.name) + (isBare ? "" : "=" + encoded(value)))
    }
    if random.once(in: 6) { query.append(random.pick(["q", "q=", "=", "%", "q=%zz", "p=%4", "Q=1&Q=2"])) }
    if !query.isEmpty || random.once(in: 10) { request.target += "?" + query.joined(separator: "&") }
    return request
  }

  private mutating func authority(_ pattern: String) -> String {
    var host = pattern
    if host.isEmpty || host == "*" { host = self.host() }
    if host.hasPrefix("*") {
      let front = random.once(in: 4) ? "y.z" : random.pick(labels)
      host = random.once(in: 8) ? String(host.dropFirst(2)) : front + host.dropFirst()
    }
    if random.once(in: 6) { host = random.pick(labels) + "." + host }
    if random.once(in: 4) { host = host.uppercased() }
    if random.once(in: 8) { host += "." }
    if random.once(in: 4) { host += ":8080" }
    return host
  }

  private mutating func path(for matcher: PathMatcher) -> String {
    var text: String
    switch matcher {
    case .any: text = path()
    case .exact(let path), .segmentPrefix(let path), .stringPrefix(let path): text = path
    case .regex: text = random.pick(["/a", "/a/b", "/foo/12", "/foo", "/FOO", "/v1/x", "/ab/", path()])
    }
    switch random.below(10) {
    case 0: text += "/"
    case 1: text += random.pick(segments)
    case 2...3: text += "/" + random.pick(segments)
    case 4: text = text.count > 1 ? String(text.dropLast()) : text
    case 5: text = text.uppercased()
    default: break
    }
    return text
  }

  private mutating func value(for match: ValueMatch) -> String {
    if random.once(in: 8) { return random.pick(values) }
    switch match.test {
    case .exact(let value): return random.once(in: 6) ? value.uppercased() : value
    case .prefix(let value): return value + random.pick(["", "x", "1"])
    default: return random.pick(values)
    }
  }

  private mutating func encoded(_ text: String) -> String {
    var result = ""
    for byte in text.utf8 {
      let mustEncode = byte == 32 || byte == UInt8(ascii: "=") || byte == UInt8(ascii: "&")
      if byte == 32, random.once(in: 2) {
        result += "+"
      } else if mustEncode || random.once(in: 6) {
        let digits = String(byte, radix: 16, uppercase: random.once(in: 2))
        result += "%" + (digits.count == 1 ? "0" : "") + digits
      } else {
        result += String(decoding: [byte], as: UTF8.self)
      }
    }
    return result
  }
}
