// The proofs of the single sections. Each loop runs over its section once.

extension ImageVerifier {
  mutating func run() throws(ImageError) {
    try checkEntries()
    try checkAnchorTexts()
    try checkVirtualHosts()
    try checkSockets()
    try checkListeners()
    try checkPredicates()
    try checkRules()
    try checkBackends()
    try checkHeaderOperations()
    try checkCertificates()
    try checkTrust()
    for index in 0..<count(of: .regexes) {
      let record = record(.regexes, index, as: RegexRecord.self)
      try check(text: record.pattern, place(.regexes, index, "pattern"))
    }
  }

  private mutating func checkSockets() throws(ImageError) {
    for index in 0..<count(of: .sockets) {
      let record = record(.sockets, index, as: SocketRecord.self)
      try check(text: record.address, .visible, place(.sockets, index, "address"))
      try require(
        record.kind <= SocketKind.udp.rawValue && record.expectsProxyProtocol <= 1, .badValue,
        place(.sockets, index, "kind"))
      try check(record.networks, in: .networks, place(.sockets, index, "networks"))
      try check(record.listeners, in: .listeners, place(.sockets, index, "listeners"))
      try check(record.tls, in: .tlsBindings, place(.sockets, index, "tls"))
      try check(
        record.hosts, leadsTo: .listeners, record.listeners, place(.sockets, index, "hosts"))
      for number in 0..<Int(record.listeners.count) {
        let listener = self.record(
          .listeners, Int(record.listeners.first) + number, as: ListenerRecord.self)
        try require(
          Int(listener.socket) == index, .badReference, place(.sockets, index, "listeners"))
      }
    }
  }

  private mutating func checkListeners() throws(ImageError) {
    for index in 0..<count(of: .listeners) {
      let record = record(.listeners, index, as: ListenerRecord.self)
      try check(text: record.name, place(.listeners, index, "name"))
      try check(text: record.hostname, .visible, place(.listeners, index, "hostname"))
      try check(index: record.socket, in: .sockets, place(.listeners, index, "socket"))
      try require(
        record.proto <= ListenerProtocol.udp.rawValue && record.escapedSlashes <= EscapedSlashes.decode.rawValue
          && record.flags <= ListenerFlag.mergesSlashes | ListenerFlag.translatesGRPCWeb, .badValue,
        place(.listeners, index, "proto"))
      try check(
        index: record.clientValidation, in: .clientValidations, orNone: true,
        place(.listeners, index, "clientValidation"))
      try check(record.virtualHosts, in: .virtualHosts, place(.listeners, index, "virtualHosts"))
      try check(
        record.hosts, leadsTo: .virtualHosts, record.virtualHosts, place(.listeners, index, "hosts"))
    }
  }

  private mutating func checkVirtualHosts() throws(ImageError) {
    // Trees are shared by equal virtual hosts; each is proved once.
    var trees: Set<TreeKey> = []
    var provedNodes = 0
    let descents = descentsOfCandidates()
    for index in 0..<count(of: .virtualHosts) {
      let record = record(.virtualHosts, index, as: VirtualHostRecord.self)
      try check(text: record.pattern, .visible, place(.virtualHosts, index, "pattern"))
      try check(index: record.listener, in: .listeners, place(.virtualHosts, index, "listener"))
      try check(record.entries, in: .entries, place(.virtualHosts, index, "entries"))
      let tree = record.tree
      try check(tree.nodes, in: .nodes, place(.virtualHosts, index, "nodes"))
      try require(tree.nodes.count > 0, .badValue, place(.virtualHosts, index, "nodes"))
      try check(tree.anchors, in: .anchors, place(.virtualHosts, index, "anchors"))
      try require(tree.isWholeSegments <= 1, .badValue, place(.virtualHosts, index, "isWholeSegments"))
      if !trees.insert(TreeKey(entries: record.entries, tree: tree)).inserted { continue }
      provedNodes += Int(tree.nodes.count)
      try require(
        provedNodes <= count(of: .nodes), .badReference,
        "\(place(.virtualHosts, index, "nodes")): trees overlap")
      for node in 0..<Int(tree.nodes.count) {
        try checkNode(Int(tree.nodes.first) + node, of: record, descents: descents)
      }
      try checkAnchors(of: record, place(.virtualHosts, index, "anchors"))
    }
  }

  private func checkNode(
    _ index: Int, of host: VirtualHostRecord, descents: [UInt32]
  ) throws(ImageError) {
    let node = record(.nodes, index, as: NodeRecord.self)
    try check(text: node.label, place(.nodes, index, "label"))
    try check(candidates: node.atEnd, of: host.entries, descents, place(.nodes, index, "atEnd"))
    try check(candidates: node.atSlash, of: host.entries, descents, place(.nodes, index, "atSlash"))
    try check(candidates: node.passing, of: host.entries, descents, place(.nodes, index, "passing"))
    let count = Int(node.childCount)
    if count == 0 { return }
    let limit = Int(host.tree.nodes.first) + Int(host.tree.nodes.count)
    try require(count <= 256, .badValue, place(.nodes, index, "childCount"))
    // Behind their parent: no cycle can be.
    try require(
      Int(node.firstChild) > index && count <= limit - min(limit, Int(node.firstChild)),
      .badReference, place(.nodes, index, "firstChild"))
    let first = StringRef(offset: node.childBytes, length: UInt32(count))
    try check(text: first, place(.nodes, index, "childBytes"))
    let bytes = unsafe text(first)
    for child in 0..<count {
      let label = record(.nodes, Int(node.firstChild) + child, as: NodeRecord.self).label
      try check(text: label, place(.nodes, Int(node.firstChild) + child, "label"))
      try require(
        label.length > 0 && (unsafe text(label)[0] == bytes[child]), .badOrder,
        place(.nodes, index, "childBytes"))
      try require(
        child == 0 || (unsafe bytes[child - 1] < bytes[child]), .badOrder,
        place(.nodes, index, "childBytes"))
    }
  }

  /// How often the candidates fell up to each place: a run rises throughout when both ends fell as often.
  private func descentsOfCandidates() -> [UInt32] {
    var descents: [UInt32] = []
    descents.reserveCapacity(count(of: .candidates))
    var last: UInt32 = 0
    var sum: UInt32 = 0
    for index in 0..<count(of: .candidates) {
      let candidate = record(.candidates, index, as: UInt32.self)
      if index > 0, candidate <= last { sum += 1 }
      descents.append(sum)
      last = candidate
    }
    return descents
  }

  private func check(
    candidates word: UInt32, of entries: Run, _ descents: [UInt32], _ at: @autoclosure () -> String
  ) throws(ImageError) {
    func isEntry(_ candidate: UInt32) -> Bool {
      candidate >= entries.first && candidate - entries.first < entries.count
    }
    if word == ImageFormat.none { return }
    if word & ImageFormat.onlyEntry != 0 {
      try require(isEntry(word & ~ImageFormat.onlyEntry), .badReference, at())
      return
    }
    try check(index: word, in: .candidates, at())
    let length = record(.candidates, Int(word), as: UInt32.self)
    try require(length >= 2, .badValue, at())
    try check(Run(first: word + 1, count: length), in: .candidates, at())
    let first = Int(word) + 1
    let last = Int(word) + Int(length)
    try require(descents[first] == descents[last], .badOrder, at())
    try require(
      isEntry(record(.candidates, first, as: UInt32.self))
        && isEntry(record(.candidates, last, as: UInt32.self)), .badReference, at())
  }

  private mutating func checkEntries() throws(ImageError) {
    try require(
      count(of: .entries) == count(of: .entryDetails), .badReference,
      "entries: \(count(of: .entries)), entryDetails: \(count(of: .entryDetails))")
    for index in 0..<count(of: .entries) {
      let record = record(.entries, index, as: EntryRecord.self)
      let detail = self.record(.entryDetails, index, as: EntryDetail.self)
      try require(record.pathKind <= PathKind.regex, .badValue, place(.entries, index, "pathKind"))
      try require(record.flags < 8, .badValue, place(.entries, index, "flags"))
      try require(
        record.matchedLength == ImageFormat.none
          || Int(record.matchedLength) <= ImageFormat.maximumLength, .badValue,
        place(.entries, index, "matchedLength"))
      try check(record.predicates, in: .predicates, place(.entries, index, "predicates"))
      try check(index: record.rule, in: .rules, place(.entries, index, "rule"))
      try check(text: detail.path, place(.entryDetails, index, "path"))
      try check(text: detail.methodToken, .token, place(.entryDetails, index, "methodToken"))
      try check(
        index: detail.pathRegex, in: .regexes, orNone: record.pathKind != PathKind.regex,
        place(.entryDetails, index, "pathRegex"))
    }
  }

  private mutating func checkPredicates() throws(ImageError) {
    for index in 0..<count(of: .predicates) {
      let record = record(.predicates, index, as: PredicateRecord.self)
      try require(
        record.subject <= PredicateSubject.authority && record.test <= PredicateTest.absent
          && record.flags < 8, .badValue, "predicates[\(index)]")
      if record.subject == PredicateSubject.header {
        try check(text: record.name, .lowercase, place(.predicates, index, "name"))
      } else {
        try check(text: record.name, place(.predicates, index, "name"))
      }
      try check(text: record.value, place(.predicates, index, "value"))
      try check(
        index: record.regex, in: .regexes, orNone: record.test != PredicateTest.regex,
        place(.predicates, index, "regex"))
    }
  }
}

private struct TreeKey: Hashable {
  var entries: Run
  var tree: TreeRecord
}
