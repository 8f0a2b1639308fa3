import YAML

// The rules of the HTTPRoute definition that look at more than one field.

extension TextRule {
  static let path = TextRule(
    "an absolute path of URL characters, others as %41", minLength: 1, maxLength: 1024, matches: isPath)

  static let corsOrigin = TextRule(
    "\"*\" or an origin as https://example.com or https://*.example.com:8443", minLength: 1, maxLength: 253,
    matches: isOrigin)

  static let corsMethod = TextRule(
    "\"*\" or one of GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH",
    matches: { $0 == "*" || HTTPRouteMatch.Method(rawValue: $0) != nil })
}

private func isOrigin(_ text: String) -> Bool {
  if text == "*" { return true }
  guard let scheme = ["http://", "https://"].first(where: text.hasPrefix) else { return false }
  let rest = text.dropFirst(scheme.count)
  let parts = rest.split(separator: ":", omittingEmptySubsequences: false)
  guard parts.count <= 2, var host = parts.first.map(String.init), !host.isEmpty else { return false }
  if parts.count == 2 {
    guard parts[1].utf8.count >= 1, parts[1].utf8.count <= 5, Int(parts[1]) != nil else { return false }
  }
  if host == "*" { return true }
  if host.hasPrefix("*.") { host.removeFirst(2) }
  return isSubdomain(host.lowercased())
}

extension HTTPPathMatch {
  func check(_ reader: ObjectReader) {
    guard type != .regularExpression else { return }
    let complain: (String) -> Void = {
      reader.error(at: "value", "\"\(value)\" \($0) with type \(type.rawValue)")
    }
    guard value.hasPrefix("/") else { return complain("must start with '/'") }
    for part in ["//", "/./", "/../", "%2f", "%2F", "#"] where value.contains(part) {
      return complain("must not contain '\(part)'")
    }
    for end in ["/..", "/."] where value.hasSuffix(end) { return complain("must not end with '\(end)'") }
    if !isPath(value) { complain("must hold only URL characters, others as %41,") }
  }
}

extension HTTPRouteRule {
  /// Whether a path of a filter that replaces the matched prefix has exactly one prefix to replace.
  private var hasOnePrefix: Bool { matches.count == 1 && matches[0].path.type == .pathPrefix }

  func check(_ reader: ObjectReader) {
    if !backendRefs.isEmpty, let index = filters.firstIndex(where: { $0.kind == .requestRedirect }) {
      reader.error(at: "filters", index: index, "RequestRedirect must not stand beside backendRefs")
    }
    guard !hasOnePrefix else { return }
    for (index, filter) in filters.enumerated() where filter.replacesPrefix {
      reader.error(
        at: "filters", index: index,
        "\(filter.kind.rawValue) with replacePrefixMatch needs exactly one match, of type PathPrefix")
    }
    for (index, backend) in backendRefs.enumerated() {
      for filter in backend.filters where filter.replacesPrefix {
        reader.error(
          at: "backendRefs", index: index, "filters",
          "\(filter.kind.rawValue) with replacePrefixMatch needs exactly one match, of type PathPrefix")
      }
    }
  }

  static func checkAll(_ rules: [HTTPRouteRule], _ reader: ObjectReader) {
    let matches = rules.reduce(0) { $0 + $1.matches.count }
    if matches > 128 {
      reader.error(at: "rules", "hold \(matches) matches together; at most 128 are allowed in one route")
    }
    checkRuleNames(rules.map(\.name), reader)
  }
}

func checkRuleNames(_ names: [String?], _ reader: ObjectReader) {
  for (index, name) in names.enumerated() {
    guard let name, names[..<index].contains(name) else { continue }
    reader.error(at: "rules", index: index, "name", "\"\(name)\" is the name of an earlier rule")
  }
}

extension HTTPRouteFilter {
  fileprivate var replacesPrefix: Bool {
    switch self {
    case .requestRedirect(let redirect): redirect.path.isPrefix
    case .urlRewrite(let rewrite): rewrite.path.isPrefix
    default: false
    }
  }
}

extension HTTPPathModifier? {
  fileprivate var isPrefix: Bool { if case .replacePrefixMatch = self { true } else { false } }
}

extension HeaderModifier {
  /// The definition makes each list a map keyed by name. Names that differ only in case are legal, and
  /// hardly meant: only the first counts.
  func check(_ reader: ObjectReader) {
    for (field, names) in [("set", set.map(\.name)), ("add", add.map(\.name)), ("remove", remove)] {
      let lower = names.map { $0.lowercased() }
      for (index, name) in names.enumerated() {
        if names[..<index].contains(name) {
          reader.error(at: field, index: index, "names the header \(name) a second time")
        } else if lower[..<index].contains(lower[index]) {
          reader.warning(at: field, "names the header \(name) a second time; only the first counts")
        }
      }
    }
  }
}

/// Of several matches with one name only the first counts: legal, and hardly meant.
func warnAboutRepeats(
  _ matches: [HTTPValueMatch], _ field: String, ignoringCase: Bool, _ reader: ObjectReader
) {
  let names = matches.map { ignoringCase ? $0.name.lowercased() : $0.name }
  for (index, name) in names.enumerated() where names[..<index].contains(name) {
    if matches[..<index].contains(where: { $0.name == matches[index].name }) {
      reader.error(at: field, index: index, "names \(matches[index].name) a second time")
    } else {
      reader.warning(at: field, "\(matches[index].name) stands here a second time; only the first counts")
    }
  }
}

extension SessionPersistence {
  func check(_ reader: ObjectReader) {
    if cookie?.lifetimeType == .permanent, absoluteTimeout == nil {
      reader.error(at: "absoluteTimeout", "is required when cookie.lifetimeType is Permanent")
    }
    if cookie != nil, type != .cookie {
      reader.error(at: "cookie", "must not be set when type is \(type.rawValue)")
    }
    if headerName != nil, type != .header {
      reader.error(at: "header", "must not be set when type is \(type.rawValue)")
    }
    if type == .header, headerName == nil { reader.error(at: "header", "is required when type is Header") }
  }
}
