public import HTTPSemantics

extension RoutingImage {
  /// Explains what `lookup` answers on this socket (its index). Where TLS does not end in HTTP, or nothing does, it is
  /// the connection that is explained.
  public func explain(socket index: Int, _ request: ExplainRequest) -> Explanation {
    if let connection = connection(of: request, socket: index) { return explain(socket: index, connection) }
    let lines = request.headers
    // Names, values and the rest of the request side by side, so that views of one array make the head.
    var text: [UInt8] = []
    func add(_ string: String) -> Range<Int> {
      let start = text.count
      text += Array(string.utf8)
      return start..<text.count
    }
    let method = add(request.method)
    let authority = add(request.authority)
    let target = add(request.target)
    let fields = lines.map { (name: add($0.name), value: add($0.value)) }
    text.append(0)
    return unsafe text.withUnsafeBufferPointer { buffer in
      unsafe withUnsafeTemporaryAllocation(of: HeaderField.self, capacity: lines.count + 1) { room in
        // SAFETY: the views and the table live as long as the two closures; ranges are of this array.
        guard let start = buffer.baseAddress, let base = room.baseAddress else {
          return begin(.badAuthority, socket: index)
        }
        func view(_ range: Range<Int>) -> Bytes {
          unsafe Bytes(start: start + range.lowerBound, count: range.count)
        }
        var table = unsafe HeaderTable(base: base, capacity: lines.count)
        for field in fields {
          let name = view(field.name)
          _ = table.append(
            HeaderField(
              name: name, value: view(field.value),
              known: unsafe KnownHeader.classify(name.start, name.count)))
        }
        var head = RequestHead(fields: table)
        head.methodBytes = view(method)
        head.method = Method(classifying: head.methodBytes)
        head.scheme = request.scheme == "https" ? .https : .http
        head.setTarget(view(target))
        if !request.authority.isEmpty, !head.setAuthority(view(authority)) {
          return begin(.badAuthority, socket: index)
        }
        return unsafe explain(socket: index, head: &head)
      }
    }
  }

  /// Explains what `lookup` answers for this head.
  public func explain(socket index: Int, head: UnsafePointer<RequestHead>) -> Explanation {
    let answer = unsafe lookup(socket: index, head: head)
    var result = begin(.noListener, socket: index)
    guard answer.listener >= 0 else {
      result.knownHosts = hosts(socket(index).listeners) { self.listener($0).hostname }
      return result
    }
    let listener = self.listener(Int(answer.listener))
    result.outcome = .noHost
    result.listener = String(decoding: listener.name)
    result.listenerHostname = String(decoding: listener.hostname)
    guard answer.virtualHost >= 0 else {
      result.knownHosts = hosts(listener.virtualHosts) { self.virtualHost($0).pattern }
      return result
    }
    let record = record(.virtualHosts, Int(answer.virtualHost), as: VirtualHostRecord.self)
    result.outcome = .noRoute
    result.virtualHost = String(decoding: bytes(record.pattern))
    let path = unsafe head.pointee.path
    result.pathNode = nodeText(root: Int(record.tree.nodes.first), path: path)
    let list = candidates(root: Int(record.tree.nodes.first), path: path)
    var listed: Set<Int> = []
    for place in 0..<Int(list.count) {
      let number = candidate(list, place)
      listed.insert(number)
      if number == Int(answer.entry) { break }
      result.passedOver.append(unsafe describe(number, of: record, head))
    }
    guard answer.entry >= 0 else {
      for number in Int(record.entries.first)..<Int(record.entries.first) + Int(record.entries.count)
      where !listed.contains(number) && result.otherPaths.count < 20 {
        result.otherPaths.append(unsafe describe(number, of: record, head))
      }
      return result
    }
    result.outcome = .matched
    result.match = unsafe match(answer, of: record, head)
    return result
  }

  func begin(_ outcome: Explanation.Outcome, socket index: Int) -> Explanation {
    let socket = socket(index)
    let address = String(decoding: socket.address)
    var result = Explanation(
      outcome, socket: "\(address.isEmpty ? "*" : address):\(socket.port)", socket.kind)
    result.expectsProxyProtocol = socket.expectsProxyProtocol
    return result
  }

  private func hosts(_ range: Range<Int>, _ host: (Int) -> Bytes) -> [String] {
    range.prefix(20).map { String(decoding: host($0)) }
  }

  /// The way of `candidates`, written down.
  private func nodeText(root: Int, path: Bytes) -> String {
    var node = record(.nodes, root, as: NodeRecord.self)
    var position = 0
    while position < path.count {
      var next: NodeRecord?
      for index in 0..<Int(node.childCount) {
        let child = record(.nodes, Int(node.firstChild) + index, as: NodeRecord.self)
        let rest = path.slice(position, path.count)
        if rest.hasPrefix(bytes(child.label)) { next = child }
      }
      guard let next else { break }
      position += Int(next.labelLength)
      node = next
    }
    return String(decoding: path.slice(0, position))
  }

  // MARK: entries

  private func describe(
    _ number: Int, of host: VirtualHostRecord, _ head: UnsafePointer<RequestHead>
  ) -> Explanation.Candidate {
    let entry = record(.entries, number, as: EntryRecord.self)
    let rule = record(.rules, Int(entry.rule), as: RuleRecord.self)
    return unsafe Explanation.Candidate(
      position: number - Int(host.entries.first), matcher: matcherText(number),
      rule: String(decoding: bytes(rule.provenance)), failures: failures(of: number, head))
  }

  private func failures(
    of number: Int, _ head: UnsafePointer<RequestHead>
  ) -> [Explanation.Failure] {
    let entry = record(.entries, number, as: EntryRecord.self)
    let detail = record(.entryDetails, number, as: EntryDetail.self)
    var failures: [Explanation.Failure] = []
    let path = unsafe head.pointee.path
    if !wholePathHolds(entry, detail, path) {
      failures.append(
        Explanation.Failure(
          predicate: "path", wanted: pathText(entry, detail), got: String(decoding: path)))
    }
    if !(unsafe methodHolds(entry, detail, head)) {
      failures.append(
        Explanation.Failure(
          predicate: "method", wanted: String(decoding: bytes(detail.methodToken)),
          got: String(decoding: unsafe head.pointee.methodBytes)))
    }
    for index in 0..<Int(entry.predicateCount) {
      let place = Int(entry.firstPredicate) + index
      let predicate = record(.predicates, place, as: PredicateRecord.self)
      if unsafe holds(predicate, head) { continue }
      failures.append(
        Explanation.Failure(
          predicate: subjectText(predicate), wanted: testText(predicate),
          got: unsafe gotText(predicate, head)))
    }
    return failures
  }

  /// The whole question about the path, for entries that the tree did not lead to.
  private func wholePathHolds(
    _ entry: EntryRecord, _ detail: EntryDetail, _ path: Bytes
  ) -> Bool {
    if entry.pathKind == PathKind.regex || entry.flags & EntryFlag.comparePath != 0 {
      return pathHolds(entry, detail, path)
    }
    let wanted = bytes(detail.path)
    switch entry.pathKind {
    case PathKind.exact: return path.equals(wanted)
    case PathKind.stringPrefix: return path.hasPrefix(wanted)
    case PathKind.segmentPrefix:
      if wanted.isEmpty || path.equals(wanted) { return true }
      return path.hasPrefix(wanted) && path[wanted.count] == UInt8(ascii: "/")
    default: return true
    }
  }

  func matcherText(_ number: Int) -> String {
    let entry = record(.entries, number, as: EntryRecord.self)
    let detail = record(.entryDetails, number, as: EntryDetail.self)
    var parts = [pathText(entry, detail)]
    if entry.flags & EntryFlag.hasMethod != 0 {
      parts.append("method " + String(decoding: bytes(detail.methodToken)))
    }
    for index in 0..<Int(entry.predicateCount) {
      let place = Int(entry.firstPredicate) + index
      let predicate = record(.predicates, place, as: PredicateRecord.self)
      parts.append("\(subjectText(predicate)) \(testText(predicate))")
    }
    return parts.joined(separator: ", ")
  }

  private func pathText(_ entry: EntryRecord, _ detail: EntryDetail) -> String {
    let text = String(decoding: bytes(detail.path))
    let suffix = entry.flags & EntryFlag.comparePath != 0 ? " (any case)" : ""
    switch entry.pathKind {
    case PathKind.exact: return "exact \(text)\(suffix)"
    case PathKind.segmentPrefix: return "prefix \(text.isEmpty ? "/" : text)\(suffix)"
    case PathKind.stringPrefix: return "string prefix \(text)\(suffix)"
    case PathKind.regex: return "regex \(text)"
    default: return "any path"
    }
  }

  private func subjectText(_ predicate: PredicateRecord) -> String {
    switch predicate.subject {
    case PredicateSubject.header: "header " + String(decoding: bytes(predicate.name))
    case PredicateSubject.queryParameter: "query parameter " + String(decoding: bytes(predicate.name))
    default: "authority"
    }
  }

  private func testText(_ predicate: PredicateRecord) -> String {
    let value = String(decoding: bytes(predicate.value))
    let not = predicate.flags & PredicateFlag.invert != 0 ? "not " : ""
    let anyCase = predicate.flags & PredicateFlag.ignoreCase != 0 ? " (any case)" : ""
    switch predicate.test {
    case PredicateTest.exact: return "\(not)\"\(value)\"\(anyCase)"
    case PredicateTest.prefix: return "\(not)prefix \"\(value)\"\(anyCase)"
    case PredicateTest.regex: return "\(not)regex \(value)\(anyCase)"
    case PredicateTest.present: return "\(not)present"
    default: return "\(not)absent"
    }
  }

  private func gotText(_ predicate: PredicateRecord, _ head: UnsafePointer<RequestHead>) -> String {
    let name = bytes(predicate.name)
    switch predicate.subject {
    case PredicateSubject.header:
      var values: [String] = []
      let fields = unsafe head.pointee.fields
      for index in 0..<fields.count where fields[index].nameBytes.equalsIgnoringCase(name) {
        values.append(String(decoding: fields[index].valueBytes))
      }
      return values.isEmpty ? "missing" : "\"\(values.joined(separator: ","))\""
    case PredicateSubject.queryParameter:
      var parameters = unsafe QueryParameters(head.pointee.query)
      while parameters.next() {
        if decodedEquals(parameters.name, name) { return "\"\(decodedText(parameters.value))\"" }
      }
      return "missing"
    default:
      let authority = unsafe head.pointee.authority
      return authority.isEmpty ? "missing" : "\"\(String(decoding: authority))\""
    }
  }

  private func decodedText(_ raw: Bytes) -> String {
    unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: raw.count + 1) { room in
      guard let start = room.baseAddress else { return "" }
      let count = unsafe decode(raw, into: start)
      return unsafe String(decoding: Bytes(start: start, count: count))
    }
  }
}
