@testable import RoutingTable

/// The contract of `TableSource`, line by line and without any cleverness: the oracle of the image.
final class NaiveMatcher {
  struct Answer: Equatable {
    var outcome: RouteAnswer.Outcome
    /// Indexes within the parent; -1 from the first step on that failed.
    var listener = -1
    var virtualHost = -1
    var entry = -1
    var rule = -1
    var matchedPrefixLength = 0
  }

  private let table: TableSource
  private var regexes: [String: Box] = [:]

  private final class Box {
    let regex: Regex
    init(_ regex: consuming Regex) { self.regex = regex }
  }

  init(_ table: TableSource) { self.table = table }

  func answer(_ request: TestRequest, socket: Int) -> Answer {
    let host = Self.host(of: request.authority)
    let listeners = table.sockets[socket].listeners
    guard let listener = best(listeners.map { ($0.hostname, $0.wildcardIsOneLabel) }, host) else {
      return Answer(outcome: .noListener)
    }
    let hosts = listeners[listener].virtualHosts
    guard let virtualHost = best(hosts.map { ($0.pattern, $0.wildcardIsOneLabel) }, host) else {
      return Answer(outcome: .noHost, listener: listener)
    }
    for (index, entry) in hosts[virtualHost].entries.enumerated() {
      guard let length = matchedLength(entry, Array(request.path.utf8)) else { continue }
      if let method = entry.method, method != request.method { continue }
      if !entry.headers.allSatisfy({ holds($0, headerValue($0.name, request)) }) { continue }
      if !entry.queryParameters.allSatisfy({ holds($0, queryValue($0.name, request)) }) { continue }
      if let authority = entry.authority {
        if !holds(authority, request.authority.isEmpty ? nil : request.authority) { continue }
      }
      return Answer(
        outcome: .matched, listener: listener, virtualHost: virtualHost, entry: index,
        rule: entry.rule, matchedPrefixLength: length)
    }
    return Answer(outcome: .noRoute, listener: listener, virtualHost: virtualHost)
  }

  // MARK: hosts

  static func host(of authority: String) -> String {
    var host = authority.lowercased()
    if let colon = host.lastIndex(of: ":") { host = String(host[..<colon]) }
    if host.hasSuffix(".") { host.removeLast() }
    return host
  }

  private func best(_ patterns: [(text: String, oneLabel: Bool)], _ host: String) -> Int? {
    var found: (rank: Int, index: Int)?
    for (index, pattern) in patterns.enumerated() {
      guard let rank = rank(pattern.text, pattern.oneLabel, host) else { continue }
      if found.map({ rank > $0.rank }) ?? true { found = (rank, index) }
    }
    return found?.index
  }

  /// nil: no match; otherwise higher is more specific.
  private func rank(_ pattern: String, _ oneLabel: Bool, _ host: String) -> Int? {
    var pattern = pattern.lowercased()
    if pattern.hasSuffix(".") { pattern.removeLast() }
    if pattern.isEmpty || pattern == "*" { return 0 }
    if !pattern.hasPrefix("*.") { return pattern == host ? 1_000_000 : nil }
    let suffix = String(pattern.dropFirst())
    guard host.hasSuffix(suffix), host.count > suffix.count else { return nil }
    let labels = host.dropLast(suffix.count)
    if oneLabel, labels.contains(".") { return nil }
    return suffix.count * 2 + (oneLabel ? 1 : 0)
  }

  // MARK: paths

  private func matchedLength(_ entry: EntrySource, _ path: [UInt8]) -> Int? {
    func folded(_ bytes: [UInt8]) -> [UInt8] {
      entry.pathIgnoresCase ? Array(String(decoding: bytes, as: UTF8.self).lowercased().utf8) : bytes
    }
    let asked = folded(path)
    switch entry.path {
    case .any: return 0
    case .exact(let text): return asked == folded(Array(text.utf8)) ? path.count : nil
    case .stringPrefix(let text): return asked.starts(with: folded(Array(text.utf8))) ? text.utf8.count : nil
    case .segmentPrefix(let text):
      var prefix = folded(Array(text.utf8))
      while prefix.last == UInt8(ascii: "/") { prefix.removeLast() }
      if prefix.isEmpty { return 0 }
      let holds = asked == prefix || asked.starts(with: prefix + [UInt8(ascii: "/")])
      return holds ? prefix.count : nil
    case .regex(let pattern):
      return matches(pattern, entry.pathIgnoresCase, path) ? path.count : nil
    }
  }

  private func matches(_ pattern: String, _ ignoreCase: Bool, _ text: [UInt8]) -> Bool {
    let key = (ignoreCase ? "i" : "c") + pattern
    if regexes[key] == nil {
      guard let regex = try? Regex(pattern, ignoreCase: ignoreCase, at: "") else { return false }
      regexes[key] = Box(regex)
    }
    return regexes[key]?.regex.matches(text) ?? false
  }

  // MARK: values

  private func headerValue(_ name: String, _ request: TestRequest) -> String? {
    let name = name.lowercased()
    if name == "host" || name == ":authority" {
      return request.authority.isEmpty ? nil : request.authority
    }
    let values = request.headers.filter { $0.name.lowercased() == name }.map(\.value)
    return values.isEmpty ? nil : values.joined(separator: ",")
  }

  private func queryValue(_ name: String, _ request: TestRequest) -> String? {
    guard let mark = request.target.firstIndex(of: "?") else { return nil }
    let query = request.target[request.target.index(after: mark)...]
    for part in query.split(separator: "&") {
      let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if decoded(String(sides[0])) == name { return sides.count > 1 ? decoded(String(sides[1])) : "" }
    }
    return nil
  }

  private func decoded(_ text: String) -> String {
    let bytes = Array(text.utf8)
    var result: [UInt8] = []
    var index = 0
    while index < bytes.count {
      if bytes[index] == UInt8(ascii: "%"), index + 2 < bytes.count,
        let value = UInt8(String(decoding: bytes[(index + 1)...(index + 2)], as: UTF8.self), radix: 16),
        bytes[index + 1] != UInt8(ascii: "+")
      {
        result.append(value)
        index += 3
        continue
      }
      result.append(bytes[index] == UInt8(ascii: "+") ? 32 : bytes[index])
      index += 1
    }
    return String(decoding: result, as: UTF8.self)
  }

  private func holds(_ match: ValueMatch, _ value: String?) -> Bool {
    test(match, value) != match.invert
  }

  private func test(_ match: ValueMatch, _ value: String?) -> Bool {
    if match.test == .present { return value != nil }
    if match.test == .absent { return value == nil }
    guard let value = value ?? (match.missingIsEmpty ? "" : nil) else { return false }
    func folded(_ text: String) -> String { match.ignoreCase ? text.lowercased() : text }
    switch match.test {
    case .exact(let wanted): return folded(value) == folded(wanted)
    case .prefix(let wanted): return folded(value).utf8.starts(with: folded(wanted).utf8)
    case .regex(let pattern): return matches(pattern, match.ignoreCase, Array(value.utf8))
    case .present, .absent: return false
    }
  }
}
