import GatewayAPI

/// `labelSelector` and `fieldSelector` of a list or watch: which objects are meant.
struct Selection: Equatable {
  enum Requirement: Equatable {
    case isIn(key: String, values: [String])
    case notIn(key: String, values: [String])
    case exists(key: String)
    case absent(key: String)

    func holds(_ labels: [String: String]) -> Bool {
      switch self {
      case .isIn(let key, let values): labels[key].map(values.contains) ?? false
      case .notIn(let key, let values): !(labels[key].map(values.contains) ?? false)
      case .exists(let key): labels[key] != nil
      case .absent(let key): labels[key] == nil
      }
    }
  }

  var labels: [Requirement] = []
  /// `metadata.name` or `metadata.namespace`, the value, and whether it shall be equal.
  private var fields: [Field] = []

  private struct Field: Equatable {
    var isName: Bool
    var value: String
    var isEqual: Bool
  }

  init(labelSelector: String?, fieldSelector: String?) throws(APIError) {
    for term in Self.terms(labelSelector ?? "") { labels.append(try Self.requirement(term)) }
    for term in Self.terms(fieldSelector ?? "") { fields.append(try Self.field(term)) }
  }

  var isEverything: Bool { labels.isEmpty && fields.isEmpty }

  func matches(_ object: StoredObject) -> Bool {
    for field in fields {
      let value = field.isName ? object.key.name : object.key.namespace
      guard (value == field.value) == field.isEqual else { return false }
    }
    if labels.isEmpty { return true }
    let present = object.resource.metadata.labels
    return labels.allSatisfy { $0.holds(present) }
  }

  /// Cuts at the commas outside of parentheses.
  private static func terms(_ text: String) -> [String] {
    var terms: [String] = []
    var term = ""
    var depth = 0
    for character in text {
      if character == "(" { depth += 1 }
      if character == ")" { depth -= 1 }
      if character == "," && depth == 0 {
        terms.append(term)
        term = ""
      } else {
        term.append(character)
      }
    }
    terms.append(term)
    return terms.map(trimmed).filter { !$0.isEmpty }
  }

  private static func requirement(_ term: String) throws(APIError) -> Requirement {
    if let parts = split(term, "!=") { return .notIn(key: parts.0, values: [parts.1]) }
    if let parts = split(term, "==") ?? split(term, "=") { return .isIn(key: parts.0, values: [parts.1]) }
    if term.hasPrefix("!") { return .absent(key: trimmed(String(term.dropFirst()))) }
    let words = term.split(separator: " ", maxSplits: 2).map(String.init)
    if words.count == 1, !term.contains("(") { return .exists(key: term) }
    guard let open = term.firstIndex(of: "("), term.hasSuffix(")"), words.count >= 2 else {
      throw .badRequest("unable to parse the label selector term \"\(term)\"")
    }
    let values = term[term.index(after: open)...].dropLast().split(separator: ",").map { trimmed(String($0)) }
    let verb = trimmed(String(term[..<open].dropFirst(words[0].count)))
    switch verb {
    case "in": return .isIn(key: words[0], values: values)
    case "notin": return .notIn(key: words[0], values: values)
    default: throw .badRequest("unable to parse the label selector term \"\(term)\"")
    }
  }

  private static func field(_ term: String) throws(APIError) -> Field {
    let isEqual = !term.contains("!=")
    guard let parts = split(term, "!=") ?? split(term, "==") ?? split(term, "=") else {
      throw .badRequest("unable to parse the field selector term \"\(term)\"")
    }
    switch parts.0 {
    case "metadata.name": return Field(isName: true, value: parts.1, isEqual: isEqual)
    case "metadata.namespace": return Field(isName: false, value: parts.1, isEqual: isEqual)
    default:
      throw .badRequest(
        "field label not supported: \(parts.0) (supported are metadata.name and metadata.namespace)")
    }
  }

  private static func split(_ term: String, _ separator: String) -> (String, String)? {
    guard let range = term.firstRange(of: separator) else { return nil }
    return (trimmed(String(term[..<range.lowerBound])), trimmed(String(term[range.upperBound...])))
  }

  private static func trimmed(_ text: String) -> String {
    var rest = text[...]
    while rest.first == " " { rest.removeFirst() }
    while rest.last == " " { rest.removeLast() }
    return String(rest)
  }
}
