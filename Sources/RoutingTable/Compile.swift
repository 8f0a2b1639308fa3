/// The routing image of a table. Deterministic: equal sources give equal bytes.
///
/// Throws what is wrong with the source and where; `RuleSource.problem`, `EntrySource.problem` and
/// `BackendSource.problem` tell the same of one piece beforehand.
public func compile(_ source: TableSource) throws(TableError) -> [UInt8] {
  var compiler = Compiler(source: source)
  try compiler.run()
  return try compiler.image.finish(revision: source.revision)
}

struct Compiler {
  let source: TableSource
  var image = ImageBuilder()
  /// Trees by their entries: virtual hosts with equal entries share one.
  var trees: [[EntrySource]: (entries: Run, tree: TreeRecord)] = [:]

  init(source: TableSource) {
    self.source = source
  }

  mutating func run() throws(TableError) {
    for (index, backend) in source.backends.enumerated() { try add(backend, at: "backends[\(index)]") }
    for certificate in source.certificates {
      image.certificates.append(
        CertificateRecord(
          name: image.intern(certificate.name), chainPEM: image.intern(certificate.chainPEM),
          keyPEM: image.intern(certificate.keyPEM), ocspStaple: image.intern(certificate.ocspStaple)))
    }
    for bundle in source.trustBundles {
      image.trustBundles.append(
        TrustBundleRecord(name: image.intern(bundle.name), pem: image.intern(bundle.pem)))
    }
    for (index, rule) in source.rules.enumerated() { try add(rule, at: "rules[\(index)]") }
    try checkSockets()
    // Listeners of a socket, and virtual hosts of a listener, lie side by side.
    var firstListener = 0
    for socket in source.sockets {
      try add(socket, listenersAt: firstListener)
      firstListener += socket.listeners.count
    }
    for (index, socket) in source.sockets.enumerated() {
      for (number, listener) in socket.listeners.enumerated() {
        try add(listener, socket: index, at: "sockets[\(index)].listeners[\(number)]")
      }
    }
  }

  // MARK: backends and rules

  private mutating func add(_ backend: BackendSource, at location: String) throws(TableError) {
    if let problem = backend.problem { throw problem.within(location) }
    let first = image.endpoints.count
    for endpoint in backend.endpoints {
      let flags =
        (endpoint.isReady ? EndpointFlag.ready : 0)
        | (endpoint.isTerminating ? EndpointFlag.terminating : 0)
      image.endpoints.append(
        EndpointRecord(
          address: image.intern(endpoint.address), port: endpoint.port, weight: endpoint.weight,
          flags: flags))
    }
    var record = BackendRecord()
    record.id = image.intern(backend.id)
    record.proto = backend.proto.rawValue
    record.proxyProtocol = backend.proxyProtocol.rawValue
    record.endpoints = image.run(first, backend.endpoints.count)
    if let tls = backend.tls { record.tls = try add(tls, at: "\(location).tls") }
    image.backends.append(record)
  }

  private mutating func add(_ rule: RuleSource, at location: String) throws(TableError) {
    if let problem = rule.problem { throw problem.within(location) }
    var record = RuleRecord()
    record.provenance = image.intern(rule.provenance)
    record.isGRPC = rule.isGRPC ? 1 : 0
    record.requestTimeout = rule.requestTimeout
    record.backendTimeout = rule.backendTimeout
    record.requestHeaders = image.intern(rule.requestHeaders)
    record.responseHeaders = image.intern(rule.responseHeaders)
    record.rewriteHost = image.intern(rule.rewrite?.host ?? "")
    (record.rewritePathKind, record.rewritePath) = add(rule.rewrite?.path)
    switch rule.action {
    case .forward(let backends):
      record.action = ActionCode.forward
      try add(backends, to: &record, at: location)
    case .redirect(let redirect):
      record.action = ActionCode.redirect
      add(redirect, to: &record)
    case .respond(let status, let reason):
      record.action = ActionCode.respond
      record.status = status
      record.reason = image.intern(reason)
    }
    image.rules.append(record)
  }

  private mutating func add(
    _ backends: [WeightedBackend], to record: inout RuleRecord, at location: String
  ) throws(TableError) {
    var sum: UInt32 = 0
    record.backends = image.run(image.weightedBackends.count, backends.count)
    for (index, backend) in backends.enumerated() {
      if let target = backend.backend, !source.backends.indices.contains(target) {
        throw TableError(
          "\(location).backends[\(index)]",
          "backend \(target) is not among the \(source.backends.count) of the table")
      }
      sum += backend.weight
      image.weightedBackends.append(
        WeightedRecord(
          backend: backend.backend.map { UInt32(clamping: $0) } ?? ImageFormat.none,
          weight: backend.weight, cumulative: sum,
          requestHeaders: image.intern(backend.requestHeaders),
          responseHeaders: image.intern(backend.responseHeaders)))
    }
    record.totalWeight = sum
  }

  private mutating func add(_ redirect: RedirectSource, to record: inout RuleRecord) {
    record.status = redirect.status
    record.redirectScheme = image.intern(asciiLowercased(redirect.scheme ?? ""))
    record.redirectHost = image.intern(redirect.host ?? "")
    (record.redirectPathKind, record.redirectPath) = add(redirect.path)
    switch redirect.port {
    case .automatic: record.redirectPortKind = RedirectPortCode.automatic
    case .fromRequest: record.redirectPortKind = RedirectPortCode.fromRequest
    case .schemeDefault: record.redirectPortKind = RedirectPortCode.schemeDefault
    case .number(let port):
      record.redirectPortKind = RedirectPortCode.number
      record.redirectPort = port
    }
  }

  private mutating func add(_ path: PathRewrite?) -> (UInt8, StringRef) {
    switch path {
    case nil: (PathRewriteCode.none, StringRef())
    case .replaceFull(let text): (PathRewriteCode.full, image.intern(text))
    case .replaceSegmentPrefix(let text): (PathRewriteCode.segmentPrefix, image.intern(text))
    case .replaceStringPrefix(let text): (PathRewriteCode.stringPrefix, image.intern(text))
    }
  }

  // MARK: sockets, listeners, virtual hosts

  private func checkSockets() throws(TableError) {
    var taken: [String: Int] = [:]
    for (index, socket) in source.sockets.enumerated() where socket.bindPort != 0 {
      let key = "\(socket.address):\(socket.bindPort)\(socket.kind == .udp ? "/udp" : "")"
      if let other = taken.updateValue(index, forKey: key) {
        throw TableError("sockets[\(index)]", "\(key) is already bound by sockets[\(other)]")
      }
    }
  }

  private mutating func add(_ socket: SocketSource, listenersAt first: Int) throws(TableError) {
    let location = "sockets[\(image.sockets.count)]"
    var record = SocketRecord()
    record.address = image.intern(socket.address)
    record.port = socket.port
    record.bindPort = socket.bindPort
    record.kind = socket.kind.rawValue
    record.listeners = image.run(first, socket.listeners.count)
    var patterns: [(pattern: HostPattern, target: Int, tree: TreeRecord?)] = []
    for (index, listener) in socket.listeners.enumerated() {
      let pattern = try HostPattern(
        listener.hostname, oneLabel: listener.wildcardIsOneLabel,
        at: "\(location).listeners[\(index)].hostname")
      patterns.append((pattern, first + index, nil))
    }
    try checkDistinct(patterns.map(\.pattern), at: "\(location).listeners")
    record.hosts = image.addHostTable(patterns)
    if let networks = socket.proxyProtocol {
      guard socket.kind != .udp else {
        throw TableError("\(location).proxyProtocol", "datagrams carry no PROXY protocol header")
      }
      record.expectsProxyProtocol = 1
      record.networks = try add(networks, at: "\(location).proxyProtocol")
    }
    record.tls = image.run(image.tlsBindings.count, socket.tls.count)
    for (index, binding) in socket.tls.enumerated() {
      try add(binding, kind: socket.kind, at: "\(location).tls[\(index)]")
    }
    image.sockets.append(record)
  }

  private mutating func add(
    _ binding: TLSBinding, kind: SocketKind, at location: String
  ) throws(TableError) {
    guard kind == .https else {
      throw TableError(location, "the socket is no https socket and takes no certificate")
    }
    guard source.certificates.indices.contains(binding.certificate) else {
      throw TableError(
        location,
        "certificate \(binding.certificate) is not among the \(source.certificates.count) of the table")
    }
    let names = try binding.names.map { (name) throws(TableError) in
      try HostPattern(name, oneLabel: true, at: location).text
    }
    let first = image.names.count
    for name in names { image.names.append(image.intern(name)) }
    image.tlsBindings.append(
      TLSBindingRecord(
        names: image.run(first, names.count), certificate: UInt32(clamping: binding.certificate),
        clientValidation: try add(binding.clientValidation, at: location)))
  }

  private mutating func add(
    _ listener: ListenerSource, socket: Int, at location: String
  ) throws(TableError) {
    let hostname = try HostPattern(
      listener.hostname, oneLabel: listener.wildcardIsOneLabel, at: "\(location).hostname")
    let first = image.virtualHosts.count
    var patterns: [(pattern: HostPattern, target: Int, tree: TreeRecord?)] = []
    for (index, virtualHost) in listener.virtualHosts.enumerated() {
      let place = "\(location).virtualHosts[\(index)]"
      let pattern = try HostPattern(
        virtualHost.pattern, oneLabel: virtualHost.wildcardIsOneLabel, at: "\(place).pattern")
      if listener.proto != .http { try checkPlain(virtualHost, at: place) }
      let (entries, tree) = try tree(of: virtualHost.entries, at: place)
      patterns.append((pattern, first + index, tree))
      image.virtualHosts.append(
        VirtualHostRecord(
          pattern: image.intern(pattern.text), listener: UInt32(clamping: image.listeners.count),
          entries: entries, tree: tree))
    }
    try checkDistinct(patterns.map(\.pattern), at: "\(location).virtualHosts")
    var record = ListenerRecord()
    record.name = image.intern(listener.name)
    record.hostname = image.intern(hostname.text)
    record.socket = UInt32(clamping: socket)
    record.virtualHosts = image.run(first, listener.virtualHosts.count)
    record.hosts = image.addHostTable(patterns)
    record.proto = listener.proto.rawValue
    guard isServable(listener.proto, on: source.sockets[socket].kind) else {
      throw TableError(
        "\(location).proto", "\(listener.proto) cannot be served on a socket of kind \(source.sockets[socket].kind)")
    }
    record.escapedSlashes = listener.options.escapedSlashes.rawValue
    record.flags =
      (listener.options.mergesSlashes ? ListenerFlag.mergesSlashes : 0)
      | (listener.options.translatesGRPCWeb ? ListenerFlag.translatesGRPCWeb : 0)
    record.clientValidation = try add(listener.clientValidation, at: location)
    image.listeners.append(record)
  }

  private func checkDistinct(_ patterns: [HostPattern], at location: String) throws(TableError) {
    var seen: [HostPattern: Int] = [:]
    for (index, pattern) in patterns.enumerated() {
      if let other = seen.updateValue(index, forKey: pattern) {
        throw TableError(
          "\(location)[\(index)]", "host \(pattern.text) is already that of \(location)[\(other)]")
      }
    }
  }

  // MARK: entries

  private mutating func tree(
    of entries: [EntrySource], at location: String
  ) throws(TableError) -> (entries: Run, tree: TreeRecord) {
    if let known = trees[entries] { return known }
    let first = image.entries.count
    var keys: [PathTreeBuilder.Key] = []
    for (index, entry) in entries.enumerated() {
      let place = "\(location).entries[\(index)]"
      if let problem = entry.problem { throw problem.within(place) }
      guard source.rules.indices.contains(entry.rule) else {
        throw TableError(place, "rule \(entry.rule) is not among the \(source.rules.count) of the table")
      }
      try add(entry, keys: &keys, at: place)
    }
    let flags = image.entries[first...].map(\.flags)
    var builder = PathTreeBuilder(keys: keys) { entry in
      flags[Int(entry) - first] & EntryFlag.unconditional != 0
    }
    let result = (entries: image.run(first, entries.count), tree: builder.build(into: &image))
    trees[entries] = result
    return result
  }

  private mutating func add(
    _ entry: EntrySource, keys: inout [PathTreeBuilder.Key], at location: String
  ) throws(TableError) {
    var record = EntryRecord()
    var detail = EntryDetail()
    let number = UInt32(clamping: image.entries.count)
    record.rule = UInt32(clamping: entry.rule)
    let key = try addPath(of: entry, to: &record, &detail, at: location)
    keys.append(PathTreeBuilder.Key(bytes: key.bytes, entry: number, reach: key.reach))
    if let method = entry.method {
      record.flags |= EntryFlag.hasMethod
      detail.methodToken = image.intern(method)
    }
    var predicates: [PredicateRecord] = []
    for match in entry.headers { predicates.append(predicate(match, of: PredicateSubject.header)) }
    for match in entry.queryParameters {
      predicates.append(predicate(match, of: PredicateSubject.queryParameter))
    }
    if let authority = entry.authority {
      predicates.append(predicate(authority, of: PredicateSubject.authority))
    }
    let run = image.intern(predicates)
    record.firstPredicate = run.first
    record.predicateCount = UInt16(clamping: run.count)
    if record.flags == 0, predicates.isEmpty, record.pathKind != PathKind.regex {
      record.flags = EntryFlag.unconditional
    }
    image.entries.append(record)
    image.entryDetails.append(detail)
  }

  /// Where in the tree the entry is to be found, and for whom.
  private mutating func addPath(
    of entry: EntrySource, to record: inout EntryRecord, _ detail: inout EntryDetail,
    at location: String
  ) throws(TableError) -> (bytes: [UInt8], reach: PathTreeBuilder.Reach) {
    var text: [UInt8]
    var reach = PathTreeBuilder.Reach.all
    switch entry.path {
    case .any:
      return ([], .all)
    case .regex(let pattern):
      record.pathKind = PathKind.regex
      record.matchedLength = ImageFormat.none
      detail.pathRegex = image.intern(regex: pattern, ignoreCase: entry.pathIgnoresCase)
      detail.path = image.intern(pattern)
      let regex = try Regex(pattern, ignoreCase: entry.pathIgnoresCase, at: location)
      return (regex.requiredPrefix, .all)
    case .exact(let path):
      text = Array(path.utf8)
      reach = .end
      record.pathKind = PathKind.exact
      record.matchedLength = ImageFormat.none
    case .stringPrefix(let path):
      text = Array(path.utf8)
      record.pathKind = PathKind.stringPrefix
      record.matchedLength = UInt32(clamping: text.count)
    case .segmentPrefix(let path):
      text = Array(path.utf8)
      while text.last == UInt8(ascii: "/") { text.removeLast() }
      if !text.isEmpty { reach = .segment }
      record.pathKind = PathKind.segmentPrefix
      record.matchedLength = UInt32(clamping: text.count)
    }
    detail.path = image.intern(text)
    if entry.pathIgnoresCase, let letter = text.firstIndex(where: { isLetter($0) }) {
      // The tree compares with case: the entry stands where its first letter would, and compares itself.
      record.flags |= EntryFlag.comparePath
      return (Array(text[..<letter]), .all)
    }
    return (text, reach)
  }

  private mutating func predicate(_ match: ValueMatch, of subject: UInt8) -> PredicateRecord {
    var record = PredicateRecord()
    record.subject = subject
    if subject == PredicateSubject.header {
      let name = asciiLowercased(match.name)
      if name == Array("host".utf8) || name == Array(":authority".utf8) {
        record.subject = PredicateSubject.authority
      } else {
        record.name = image.intern(name)
      }
    } else if subject == PredicateSubject.queryParameter {
      record.name = image.intern(match.name)
    }
    if match.ignoreCase { record.flags |= PredicateFlag.ignoreCase }
    if match.invert { record.flags |= PredicateFlag.invert }
    if match.missingIsEmpty { record.flags |= PredicateFlag.missingIsEmpty }
    switch match.test {
    case .exact(let value):
      record.test = PredicateTest.exact
      record.value = image.intern(value)
    case .prefix(let value):
      record.test = PredicateTest.prefix
      record.value = image.intern(value)
    case .regex(let pattern):
      record.test = PredicateTest.regex
      record.value = image.intern(pattern)
      record.regex = image.intern(regex: pattern, ignoreCase: match.ignoreCase)
    case .present: record.test = PredicateTest.present
    case .absent: record.test = PredicateTest.absent
    }
    return record
  }
}

private func isLetter(_ byte: UInt8) -> Bool {
  (byte | 0x20) &- UInt8(ascii: "a") < 26
}

extension TableError {
  /// The same error, seen from further out.
  fileprivate func within(_ outer: String) -> TableError {
    TableError("\(outer).\(location)", message)
  }
}
