/// A host pattern: any host, one name, or `*.suffix` (one or more labels in front). Lower case, no
/// trailing dot, no port. Gateway API hostnames and Istio hosts have this form in common.
struct Hostname: Hashable, Sendable, CustomStringConvertible {
  /// Empty for any host; otherwise as written in lower case, `*.` included.
  let text: String

  static let any = Hostname("")

  init(_ text: String) {
    var text = text.lowercased()
    if text.hasSuffix(".") { text.removeLast() }
    self.text = text == "*" ? "" : text
  }

  /// The one host that requests of such patterns are for; nil: there may be several.
  static func only(of patterns: [String]) -> String? {
    let hosts = Set(patterns.map(Hostname.init))
    guard hosts.count == 1, let host = hosts.first, !host.isAny, !host.isWildcard else { return nil }
    return host.text
  }

  var isAny: Bool { text.isEmpty }
  var isWildcard: Bool { text.hasPrefix("*.") }
  var description: String { isAny ? "*" : text }

  /// `.example.com` of `*.example.com`.
  private var suffix: Substring { text.dropFirst() }

  /// Every host of `other` is one of mine.
  func covers(_ other: Hostname) -> Bool {
    if isAny { return true }
    if other.isAny { return false }
    if !isWildcard { return self == other }
    if other.isWildcard { return other.suffix.hasSuffix(suffix) }
    return other.text.hasSuffix(suffix) && other.text.utf8.count > suffix.utf8.count
  }

  /// Every pattern that covers this one, itself first, then from the most to the least specific.
  var coveringPatterns: [Hostname] {
    var patterns = [self]
    var rest = isWildcard ? text.dropFirst(2) : text[...]
    while let dot = rest.firstIndex(of: ".") {
      rest = rest[rest.index(after: dot)...]
      if !rest.isEmpty { patterns.append(Hostname("*." + rest)) }
    }
    if !isAny { patterns.append(.any) }
    return patterns
  }

  /// The hosts that belong to both: always one of the two patterns, or nothing.
  func intersection(_ other: Hostname) -> Hostname? {
    if covers(other) { return other }
    if other.covers(self) { return self }
    return nil
  }

  /// Order of precedence: one name before a wildcard, a longer pattern before a shorter one, any host last.
  func isMoreSpecific(than other: Hostname) -> Bool {
    let mine = rank
    let theirs = other.rank
    return mine.form != theirs.form ? mine.form < theirs.form : mine.length > theirs.length
  }

  private var rank: (form: Int, length: Int) {
    (isAny ? 2 : isWildcard ? 1 : 0, text.utf8.count)
  }

  /// A total order that starts with the most specific, for output that does not depend on hashing.
  static func inOrder(_ left: Hostname, _ right: Hostname) -> Bool {
    if left.isMoreSpecific(than: right) { return true }
    if right.isMoreSpecific(than: left) { return false }
    return left.text < right.text
  }
}
