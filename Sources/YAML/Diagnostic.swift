/// A place in a text: line and column, both counted from 1. Line 0 means that the place is not known.
public struct SourcePosition: Hashable, Sendable, Comparable, CustomStringConvertible {
  public var line: Int
  public var column: Int

  public init(line: Int, column: Int) {
    self.line = line
    self.column = column
  }

  public static let unknown = SourcePosition(line: 0, column: 0)

  public var isKnown: Bool { line > 0 }

  public static func < (left: SourcePosition, right: SourcePosition) -> Bool {
    (left.line, left.column) < (right.line, right.column)
  }

  /// `line:column`.
  public var description: String { "\(line):\(column)" }
}

/// The way from the root of an object to one of its fields, printed as `spec.rules[0].matches[1]`.
public indirect enum FieldPath: Hashable, Sendable, CustomStringConvertible {
  case root
  case field(FieldPath, String)
  case index(FieldPath, Int)

  public func appending(_ name: String) -> FieldPath { .field(self, name) }

  public func appending(_ index: Int) -> FieldPath { .index(self, index) }

  public var description: String {
    switch self {
    case .root: return ""
    case .index(let parent, let index): return "\(parent)[\(index)]"
    case .field(let parent, let name):
      // A name with dots (a label, an annotation) is quoted, so that the path stays readable.
      let shown = name.utf8.allSatisfy { $0 != 0x2E && $0 != 0x5B } ? name : "[\"\(name)\"]"
      if case .root = parent { return shown }
      return shown.hasPrefix("[") ? "\(parent)\(shown)" : "\(parent).\(shown)"
    }
  }
}

/// One finding about an input: what is wrong, how bad it is, and where it stands.
public struct Diagnostic: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Severity: String, Sendable {
    case error
    case warning
  }

  public var severity: Severity
  /// The name of the file; nil for input that came without one (the API, standard input).
  public var file: String?
  public var position: SourcePosition
  /// The field's path, as `spec.rules[0].matches[1].path.value`; empty for the whole document.
  public var path: String
  public var message: String

  public init(
    _ severity: Severity, file: String? = nil, position: SourcePosition = .unknown, path: String = "",
    message: String
  ) {
    self.severity = severity
    self.file = file
    self.position = position
    self.path = path
    self.message = message
  }

  public var isError: Bool { severity == .error }

  /// `file:line:column: error: path: message`, without the parts that are not known.
  public var description: String {
    var text = ""
    if let file { text += file + ":" }
    if position.isKnown { text += "\(position):" }
    if !text.isEmpty { text += " " }
    text += severity.rawValue + ": "
    if !path.isEmpty { text += path + ": " }
    return text + message
  }
}
