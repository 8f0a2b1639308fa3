/// One value of a YAML or JSON document, with the place where it stands.
///
/// Two nodes are equal when their values are: places, and the order of a mapping's entries, do not count.
public struct Node: Sendable, Equatable {
  public struct Entry: Sendable {
    public var key: String
    public var keyPosition: SourcePosition
    public var value: Node

    public init(_ key: String, _ value: Node, keyPosition: SourcePosition = .unknown) {
      self.key = key
      self.keyPosition = keyPosition
      self.value = value
    }
  }

  public enum Content: Sendable {
    case null
    case bool(Bool)
    case int(Int64)
    case float(Double)
    case string(String)
    case sequence([Node])
    case mapping([Entry])
  }

  public var value: Content
  public var position: SourcePosition

  public init(_ value: Content, position: SourcePosition = .unknown) {
    self.value = value
    self.position = position
  }

  public static let null = Node(.null)
  public static func bool(_ value: Bool) -> Node { Node(.bool(value)) }
  public static func int(_ value: some BinaryInteger) -> Node { Node(.int(Int64(value))) }
  public static func float(_ value: Double) -> Node { Node(.float(value)) }
  public static func string(_ value: String) -> Node { Node(.string(value)) }
  public static func sequence(_ values: [Node]) -> Node { Node(.sequence(values)) }
  public static func mapping(_ entries: [(String, Node)]) -> Node {
    Node(.mapping(entries.map { Entry($0.0, $0.1) }))
  }

  public var isNull: Bool { if case .null = value { true } else { false } }
  public var bool: Bool? { if case .bool(let value) = value { value } else { nil } }
  public var int: Int64? { if case .int(let value) = value { value } else { nil } }
  /// The number, also of an integer.
  public var double: Double? {
    switch value {
    case .int(let value): Double(value)
    case .float(let value): value
    default: nil
    }
  }
  public var string: String? { if case .string(let value) = value { value } else { nil } }
  public var sequence: [Node]? { if case .sequence(let value) = value { value } else { nil } }
  public var entries: [Entry]? { if case .mapping(let value) = value { value } else { nil } }

  /// What the value is, for messages: "a string", "the number 8".
  public var kindDescription: String {
    switch value {
    case .null: "null"
    case .bool(let value): "the boolean \(value)"
    case .int(let value): "the number \(value)"
    case .float(let value): "the number \(value)"
    case .string: "a string"
    case .sequence: "a list"
    case .mapping: "an object"
    }
  }

  /// The value of a mapping's entry. Setting keeps the entry's place; setting nil removes it; setting an
  /// entry of a null node makes it a mapping.
  public subscript(_ key: String) -> Node? {
    get {
      guard case .mapping(let entries) = value else { return nil }
      return entries.first { $0.key == key }?.value
    }
    set {
      var entries: [Entry] = []
      switch value {
      case .mapping(let present): entries = present
      case .null: break
      default: return
      }
      let index = entries.firstIndex { $0.key == key }
      switch (index, newValue) {
      case (let index?, let new?): entries[index].value = new
      case (let index?, nil): entries.remove(at: index)
      case (nil, let new?): entries.append(Entry(key, new))
      case (nil, nil): return
      }
      value = .mapping(entries)
    }
  }

  /// The element of a sequence, nil beyond its ends.
  public subscript(_ index: Int) -> Node? {
    guard case .sequence(let nodes) = value, nodes.indices.contains(index) else { return nil }
    return nodes[index]
  }

  /// The node that a path leads to.
  public func node(at path: FieldPath) -> Node? {
    switch path {
    case .root: self
    case .field(let parent, let name): node(at: parent)?[name]
    case .index(let parent, let index): node(at: parent)?[index]
    }
  }

  /// Where the field stands that a path names, or else its nearest ancestor that is there.
  public func position(at path: FieldPath) -> SourcePosition {
    if let found = node(at: path) { return found.position }
    switch path {
    case .root: return position
    case .field(let parent, _), .index(let parent, _): return position(at: parent)
    }
  }

  public static func == (left: Node, right: Node) -> Bool {
    switch (left.value, right.value) {
    case (.null, .null): return true
    case (.bool(let a), .bool(let b)): return a == b
    case (.int(let a), .int(let b)): return a == b
    case (.float(let a), .float(let b)): return a == b
    case (.string(let a), .string(let b)): return a == b
    case (.sequence(let a), .sequence(let b)): return a == b
    case (.mapping(let a), .mapping(let b)):
      guard a.count == b.count else { return false }
      return zip(a, b).allSatisfy { one, other in
        // The same order is the usual case; only otherwise is the key searched.
        one.key == other.key ? one.value == other.value : right[one.key] == one.value
      }
    default: return false
    }
  }
}

extension Node: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByFloatLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  public init(stringLiteral value: String) { self.init(.string(value)) }
  public init(integerLiteral value: Int64) { self.init(.int(value)) }
  public init(booleanLiteral value: Bool) { self.init(.bool(value)) }
  public init(floatLiteral value: Double) { self.init(.float(value)) }
  public init(arrayLiteral elements: Node...) { self.init(.sequence(elements)) }
  public init(dictionaryLiteral elements: (String, Node)...) { self = .mapping(elements) }
}
