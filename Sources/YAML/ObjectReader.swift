/// Gathers the findings of one document while it is decoded.
public final class DiagnosticCollector {
  public let file: String?
  public private(set) var diagnostics: [Diagnostic] = []
  private let isSilent: Bool

  public init(file: String?) {
    self.file = file
    isSilent = false
  }

  fileprivate init(silent: Bool) {
    file = nil
    isSilent = silent
  }

  /// Drops what it is given: for parts that are read as far as they can be (a status that others wrote).
  public static func silent() -> DiagnosticCollector { DiagnosticCollector(silent: true) }

  public var hasErrors: Bool { diagnostics.contains { $0.isError } }

  public func add(
    _ severity: Diagnostic.Severity, _ position: SourcePosition, _ path: FieldPath, _ message: String
  ) {
    guard !isSilent else { return }
    diagnostics.append(
      Diagnostic(severity, file: file, position: position, path: path.description, message: message))
  }
}

/// What a string has to be like: its length and its form, with the words that say so.
public struct TextRule: Sendable {
  public let minLength: Int
  /// In characters.
  public let maxLength: Int
  /// What the form is, to follow "must be ".
  public let form: String
  public let matches: @Sendable (String) -> Bool

  public init(
    _ form: String, minLength: Int = 0, maxLength: Int = .max,
    matches: @escaping @Sendable (String) -> Bool = { _ in true }
  ) {
    self.form = form
    self.minLength = minLength
    self.maxLength = maxLength
    self.matches = matches
  }

  public static let any = TextRule("any text")

  /// Why a text breaks the rule; nil when it does not.
  public func complaint(about text: String) -> String? {
    if text.isEmpty, minLength > 0 { return "must not be empty; it must be \(form)" }
    let count = text.utf8.count <= maxLength ? 0 : text.unicodeScalars.count
    if count > maxLength { return "is \(count) characters long; at most \(maxLength) are allowed" }
    if !matches(text) { return "\"\(text)\" must be \(form)" }
    return nil
  }
}

/// Reads one mapping field by field and reports what does not fit: wrong types and missing fields are
/// errors, fields that nobody asked for are warnings. It goes on after an error, so that one pass finds
/// them all.
public struct ObjectReader {
  public let node: Node
  public let path: FieldPath
  public let collector: DiagnosticCollector
  private let entries: [Node.Entry]
  private var known: [String] = []

  /// - Parameter node: a mapping; anything else is an error, and reads as an empty mapping.
  public init(_ node: Node, path: FieldPath, collector: DiagnosticCollector) {
    self.node = node
    self.path = path
    self.collector = collector
    if let entries = node.entries {
      self.entries = entries
    } else {
      entries = []
      if !node.isNull {
        collector.add(.error, node.position, path, "must be an object, not \(node.kindDescription)")
      }
    }
  }

  public var position: SourcePosition { node.position }

  // MARK: Findings

  public func error(at field: String? = nil, _ message: String) { add(.error, field, message) }

  public func warning(at field: String? = nil, _ message: String) { add(.warning, field, message) }

  /// A finding about an element of a list of this object.
  public func error(at field: String, index: Int, _ message: String) {
    error(at: field, index: index, nil, message)
  }

  /// A finding about a field of an element of a list of this object.
  public func error(at field: String, index: Int, _ subfield: String?, _ message: String) {
    var place = FieldPath.root.appending(field).appending(index)
    var full = path.appending(field).appending(index)
    if let subfield {
      place = place.appending(subfield)
      full = full.appending(subfield)
    }
    collector.add(.error, node.position(at: place), full, message)
  }

  private func add(_ severity: Diagnostic.Severity, _ field: String?, _ message: String) {
    guard let field else { return collector.add(severity, node.position, path, message) }
    let position = node[field]?.position ?? node.position
    collector.add(severity, position, path.appending(field), message)
  }

  private func missing(_ field: String) {
    collector.add(.error, node.position, path.appending(field), "is required")
  }

  private func wrongType(_ field: String, _ expected: String, _ found: Node) {
    var message = "must be \(expected), not \(found.kindDescription)"
    switch found.value {
    case .bool, .int, .float:
      if expected == "a string" { message += "; put it in quotes" }
    case .string(let text):
      switch resolvePlainScalar(text) {
      case .bool, .int, .float: message += "; write \(text) without quotes"
      default: break
      }
    default: break
    }
    collector.add(.error, found.position, path.appending(field), message)
  }

  // MARK: Fields

  /// The field's value; null counts as absent. The name counts as known from here on.
  public mutating func value(_ field: String) -> Node? {
    known.append(field)
    guard let entry = entries.first(where: { $0.key == field }), !entry.value.isNull else { return nil }
    return entry.value
  }

  /// Whether the field is there and not null.
  public func has(_ field: String) -> Bool {
    entries.contains { $0.key == field && !$0.value.isNull }
  }

  /// Names of fields that are allowed and not read.
  public mutating func allow(_ fields: String...) { known += fields }

  public mutating func string(_ field: String, _ rule: TextRule = .any) -> String? {
    guard let found = value(field) else { return nil }
    guard let text = found.string else {
      wrongType(field, "a string", found)
      return nil
    }
    if let complaint = rule.complaint(about: text) { error(at: field, complaint) }
    return text
  }

  public mutating func requiredString(_ field: String, _ rule: TextRule = .any) -> String {
    if !has(field) { missing(field) }
    return string(field, rule) ?? ""
  }

  public mutating func int(_ field: String, in range: ClosedRange<Int> = Int.min...Int.max) -> Int? {
    guard let found = value(field) else { return nil }
    guard let number = integer(found) else {
      wrongType(field, "a whole number", found)
      return nil
    }
    if !range.contains(number) {
      error(at: field, "is \(number); it must be \(rangeText(range))")
    }
    return number
  }

  public mutating func requiredInt(_ field: String, in range: ClosedRange<Int> = Int.min...Int.max) -> Int {
    if !has(field) { missing(field) }
    return int(field, in: range) ?? max(range.lowerBound, 0)
  }

  private func integer(_ node: Node) -> Int? {
    switch node.value {
    case .int(let value): return Int(value)
    case .float(let value): return Int(exactly: value)
    default: return nil
    }
  }

  private func rangeText(_ range: ClosedRange<Int>) -> String {
    if range.upperBound == .max { return "at least \(range.lowerBound)" }
    return "between \(range.lowerBound) and \(range.upperBound)"
  }

  public mutating func double(_ field: String) -> Double? {
    guard let found = value(field) else { return nil }
    guard let number = found.double else {
      wrongType(field, "a number", found)
      return nil
    }
    return number
  }

  public mutating func bool(_ field: String) -> Bool? {
    guard let found = value(field) else { return nil }
    guard let value = found.bool else {
      wrongType(field, "true or false", found)
      return nil
    }
    return value
  }

  /// One of an enumeration's values.
  public mutating func choice<Choice>(_ field: String, _ type: Choice.Type = Choice.self) -> Choice?
  where Choice: RawRepresentable<String> & CaseIterable {
    guard let text = string(field) else { return nil }
    if let choice = Choice(rawValue: text) { return choice }
    let names = Choice.allCases.map(\.rawValue)
    var message = "\"\(text)\" is not one of \(names.joined(separator: ", "))"
    if let near = nearest(to: text, in: names) { message += "; did you mean \(near)?" }
    error(at: field, message)
    return nil
  }

  public mutating func requiredChoice<Choice>(_ field: String, _ type: Choice.Type = Choice.self) -> Choice?
  where Choice: RawRepresentable<String> & CaseIterable {
    if !has(field) { missing(field) }
    return choice(field, type)
  }

  public mutating func object<Value>(_ field: String, _ make: (inout ObjectReader) -> Value) -> Value? {
    guard let found = value(field) else { return nil }
    return read(found, path.appending(field), make)
  }

  /// Missing is an error, and the value then is what an empty object gives.
  public mutating func requiredObject<Value>(_ field: String, _ make: (inout ObjectReader) -> Value) -> Value {
    if let value = object(field, make) { return value }
    missing(field)
    var empty = ObjectReader(Node(.mapping([])), path: path.appending(field), collector: .silent())
    return make(&empty)
  }

  /// A list of objects, nil when absent. Elements for which `make` returns nil are left out.
  public mutating func list<Value>(
    _ field: String, count: ClosedRange<Int> = 0...Int.max, _ make: (inout ObjectReader) -> Value?
  ) -> [Value]? {
    guard let elements = elements(field, count) else { return nil }
    let place = path.appending(field)
    return elements.enumerated().compactMap { index, element in
      if element.isNull {
        collector.add(.error, element.position, place.appending(index), "must be an object, not null")
        return nil
      }
      return read(element, place.appending(index), make)
    }
  }

  public mutating func requiredList<Value>(
    _ field: String, count: ClosedRange<Int> = 0...Int.max, _ make: (inout ObjectReader) -> Value?
  ) -> [Value] {
    if !has(field) { missing(field) }
    return list(field, count: count, make) ?? []
  }

  public mutating func strings(
    _ field: String, count: ClosedRange<Int> = 0...Int.max, _ rule: TextRule = .any
  ) -> [String]? {
    guard let elements = elements(field, count) else { return nil }
    let place = path.appending(field)
    return elements.enumerated().compactMap { index, element in
      guard let text = element.string else {
        var message = "must be a string, not \(element.kindDescription)"
        if element.entries == nil, element.sequence == nil, !element.isNull {
          message += "; put it in quotes"
        }
        collector.add(.error, element.position, place.appending(index), message)
        return nil
      }
      if let complaint = rule.complaint(about: text) {
        collector.add(.error, element.position, place.appending(index), complaint)
      }
      return text
    }
  }

  public mutating func requiredStrings(
    _ field: String, count: ClosedRange<Int> = 0...Int.max, _ rule: TextRule = .any
  ) -> [String] {
    if !has(field) { missing(field) }
    return strings(field, count: count, rule) ?? []
  }

  /// A list of whole numbers.
  public mutating func ints(_ field: String, in range: ClosedRange<Int>) -> [Int]? {
    guard let elements = elements(field, 0...Int.max) else { return nil }
    let place = path.appending(field)
    return elements.enumerated().compactMap { index, element in
      guard let number = integer(element), range.contains(number) else {
        collector.add(
          .error, element.position, place.appending(index), "must be a whole number \(rangeText(range))")
        return nil
      }
      return number
    }
  }

  /// A mapping from strings to strings, in the order of the document.
  public mutating func stringEntries(
    _ field: String, maxCount: Int = .max, keys: TextRule = .any, values: TextRule = .any
  ) -> [(key: String, value: String)]? {
    entries(field, maxCount: maxCount, keys: keys) { found, place, collector in
      guard let text = found.string else {
        var message = "must be a string, not \(found.kindDescription)"
        if found.entries == nil, found.sequence == nil { message += "; put it in quotes" }
        collector.add(.error, found.position, place, message)
        return nil
      }
      if let complaint = values.complaint(about: text) {
        collector.add(.error, found.position, place, complaint)
      }
      return text
    }
  }

  public mutating func stringMap(
    _ field: String, maxCount: Int = .max, keys: TextRule = .any, values: TextRule = .any
  ) -> [String: String]? {
    stringEntries(field, maxCount: maxCount, keys: keys, values: values).map { entries in
      Dictionary(entries.map { ($0.key, $0.value) }, uniquingKeysWith: { _, last in last })
    }
  }

  /// A mapping from strings to objects, in the order of the document.
  public mutating func objectEntries<Value>(
    _ field: String, _ make: (inout ObjectReader) -> Value
  ) -> [(key: String, value: Value)]? {
    entries(field, maxCount: .max, keys: .any) { found, place, collector in
      var reader = ObjectReader(found, path: place, collector: collector)
      let value = make(&reader)
      reader.finish()
      return value
    }
  }

  // MARK: Parts

  private mutating func elements(_ field: String, _ count: ClosedRange<Int>) -> [Node]? {
    guard let found = value(field) else { return nil }
    guard let elements = found.sequence else {
      wrongType(field, "a list", found)
      return nil
    }
    if elements.count < count.lowerBound {
      error(at: field, "must have at least \(count.lowerBound) element\(count.lowerBound == 1 ? "" : "s")")
    } else if elements.count > count.upperBound {
      error(at: field, "has \(elements.count) elements; at most \(count.upperBound) are allowed")
    }
    return elements
  }

  private mutating func entries<Value>(
    _ field: String, maxCount: Int, keys: TextRule,
    _ make: (Node, FieldPath, DiagnosticCollector) -> Value?
  ) -> [(key: String, value: Value)]? {
    guard let found = value(field) else { return nil }
    guard let entries = found.entries else {
      wrongType(field, "an object", found)
      return nil
    }
    if entries.count > maxCount {
      error(at: field, "has \(entries.count) entries; at most \(maxCount) are allowed")
    }
    let place = path.appending(field)
    return entries.compactMap { entry in
      let here = place.appending(entry.key)
      if let complaint = keys.complaint(about: entry.key) {
        collector.add(.error, entry.keyPosition, here, "the key " + complaint)
      }
      return make(entry.value, here, collector).map { (entry.key, $0) }
    }
  }

  private func read<Value>(
    _ node: Node, _ path: FieldPath, _ make: (inout ObjectReader) -> Value
  ) -> Value {
    var reader = ObjectReader(node, path: path, collector: collector)
    let value = make(&reader)
    reader.finish()
    return value
  }

  /// Warns of every field that nobody asked for. The readers of this type call it for their children; the
  /// caller who made a reader calls it once at the end.
  public func finish() {
    for entry in entries where !known.contains(entry.key) {
      var message = "unknown field; it is ignored"
      if let near = nearest(to: entry.key, in: known) { message += ". Did you mean \(near)?" }
      collector.add(.warning, entry.keyPosition, path.appending(entry.key), message)
    }
  }
}

/// The name that is most likely meant, case not counting: at most two edits away (one for short names), or
/// else the only one that the given text is a part of.
func nearest(to text: String, in names: [String]) -> String? {
  let lower = text.lowercased()
  let given = Array(lower.utf8)
  guard given.count < 64 else { return nil }
  var best: (name: String, distance: Int)?
  for name in names {
    let distance = editDistance(given, Array(name.lowercased().utf8))
    let allowed = min(given.count, name.utf8.count) <= 4 ? 1 : 2
    if distance <= allowed, distance < best?.distance ?? .max { best = (name, distance) }
  }
  if let best { return best.name }
  let around = names.filter { given.count >= 4 && $0.lowercased().contains(lower) }
  return around.count == 1 ? around[0] : nil
}

private func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
  if abs(a.count - b.count) > 2 { return .max }
  var row = Array(0...b.count)
  for (i, left) in a.enumerated() {
    var diagonal = row[0]
    row[0] = i + 1
    for (j, right) in b.enumerated() {
      let above = row[j + 1]
      row[j + 1] = min(above + 1, row[j] + 1, diagonal + (left == right ? 0 : 1))
      diagonal = above
    }
  }
  return row[b.count]
}
