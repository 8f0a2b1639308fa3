import CYAML

/// How much a text may ask of the reader.
public struct ParseLimits: Sendable {
  /// Bytes of the whole text.
  public var bytes = 32 << 20
  /// Levels of nesting.
  public var depth = 100
  /// Nodes that aliases may add over all documents of the text: the bound against a short text that expands
  /// to a huge one.
  public var aliasedNodes = 100_000

  public init() {}
}

/// The documents of a text, and what is wrong with it. After an error in one document the documents before
/// it are kept; those behind it cannot be read.
public struct ParseResult: Sendable {
  public var documents: [Node]
  public var diagnostics: [Diagnostic]

  public var hasErrors: Bool { diagnostics.contains { $0.isError } }
}

/// Reads a text of one or many YAML documents, or one JSON document. A document without content is left
/// out.
/// - Parameter file: names the text in diagnostics.
public func parse(_ bytes: [UInt8], file: String? = nil, limits: ParseLimits = ParseLimits()) -> ParseResult {
  if bytes.count > limits.bytes {
    let message = "is \(bytes.count) bytes long; at most \(limits.bytes) are read"
    return ParseResult(documents: [], diagnostics: [Diagnostic(.error, file: file, message: message)])
  }
  let first = bytes.first { $0 != 0x20 && $0 != 0x09 && $0 != 0x0A && $0 != 0x0D }
  if first == UInt8(ascii: "{") || first == UInt8(ascii: "[") {
    // What is JSON is read as such (tabs, surrogate pairs, speed); a flow mapping of YAML is left to the
    // other.
    if case .success(let node) = JSON.parse(bytes, limits: limits) {
      return ParseResult(documents: [node], diagnostics: [])
    }
  }
  var builder = DocumentBuilder(file: file, limits: limits)
  return builder.run(bytes)
}

/// Reads a text of one or many YAML documents, or one JSON document.
public func parse(_ text: String, file: String? = nil, limits: ParseLimits = ParseLimits()) -> ParseResult {
  parse(Array(text.utf8), file: file, limits: limits)
}

/// Why a document cannot be read.
private struct Failure: Error {
  var position: SourcePosition
  var message: String
}

/// One event of libyaml in Swift's words.
private struct Event {
  enum Kind {
    case streamEnd
    case documentStart
    case documentEnd
    case scalar(text: String, isPlain: Bool)
    case alias(String)
    case sequenceStart
    case sequenceEnd
    case mappingStart
    case mappingEnd
    case other
  }

  var kind: Kind
  var anchor: String?
  var tag: String?
  var position: SourcePosition
}

/// Builds nodes from libyaml's events.
private struct DocumentBuilder {
  let file: String?
  let limits: ParseLimits
  var anchors: [String: (node: Node, count: Int)] = [:]
  var openAnchors: Set<String> = []
  var aliasedNodes = 0
  var nodeCount = 0

  init(file: String?, limits: ParseLimits) {
    self.file = file
    self.limits = limits
  }

  mutating func run(_ bytes: [UInt8]) -> ParseResult {
    var documents: [Node] = []
    do throws(Failure) {
      var source = try EventSource(bytes)
      reading: while true {
        let event = try source.next()
        switch event.kind {
        case .streamEnd: break reading
        case .documentStart:
          anchors = [:]
          let node = try node(from: try source.next(), &source, depth: 0)
          if !node.isNull { documents.append(node) }
        default: continue
        }
      }
    } catch {
      let diagnostic = Diagnostic(.error, file: file, position: error.position, message: error.message)
      return ParseResult(documents: documents, diagnostics: [diagnostic])
    }
    return ParseResult(documents: documents, diagnostics: [])
  }

  mutating func node(from event: Event, _ source: inout EventSource, depth: Int) throws(Failure) -> Node {
    if depth > limits.depth {
      throw Failure(position: event.position, message: "is nested more than \(limits.depth) levels deep")
    }
    if case .alias(let name) = event.kind { return try aliased(name, event.position) }
    let countBefore = nodeCount
    nodeCount += 1
    if let anchor = event.anchor { openAnchors.insert(anchor) }
    var node: Node
    switch event.kind {
    case .scalar(let text, let isPlain):
      node = Node(try scalar(text, isPlain, event), position: event.position)
    case .sequenceStart: node = try sequence(event, &source, depth)
    case .mappingStart: node = try mapping(event, &source, depth)
    default: throw Failure(position: event.position, message: "is not a value")
    }
    if let anchor = event.anchor {
      openAnchors.remove(anchor)
      anchors[anchor] = (node, nodeCount - countBefore)
    }
    return node
  }

  private mutating func aliased(_ name: String, _ position: SourcePosition) throws(Failure) -> Node {
    if openAnchors.contains(name) {
      throw Failure(position: position, message: "the alias *\(name)* stands inside of its own anchor")
    }
    guard let anchor = anchors[name] else {
      throw Failure(position: position, message: "the alias *\(name) has no anchor &\(name) before it")
    }
    aliasedNodes += anchor.count
    nodeCount += anchor.count
    if aliasedNodes > limits.aliasedNodes {
      throw Failure(
        position: position, message: "aliases expand to more than \(limits.aliasedNodes) values")
    }
    return anchor.node
  }

  private mutating func sequence(
    _ start: Event, _ source: inout EventSource, _ depth: Int
  ) throws(Failure) -> Node {
    try checkTag(start, "tag:yaml.org,2002:seq")
    var nodes: [Node] = []
    while true {
      let event = try source.next()
      if case .sequenceEnd = event.kind { break }
      nodes.append(try node(from: event, &source, depth: depth + 1))
    }
    return Node(.sequence(nodes), position: start.position)
  }

  private mutating func mapping(
    _ start: Event, _ source: inout EventSource, _ depth: Int
  ) throws(Failure) -> Node {
    try checkTag(start, "tag:yaml.org,2002:map")
    var entries: [Node.Entry] = []
    var merged: [Node.Entry] = []
    var places: [String: SourcePosition] = [:]
    while true {
      let event = try source.next()
      if case .mappingEnd = event.kind { break }
      if case .scalar("<<", true) = event.kind, event.tag == nil {
        let value = try node(from: try source.next(), &source, depth: depth + 1)
        merged += try mergeEntries(value, event.position)
        continue
      }
      let key = try keyText(try node(from: event, &source, depth: depth + 1), event.position)
      if let before = places.updateValue(event.position, forKey: key) {
        throw Failure(
          position: event.position,
          message: "the key \"\(key)\" stands here a second time (first at \(before))")
      }
      let value = try node(from: try source.next(), &source, depth: depth + 1)
      entries.append(Node.Entry(key, value, keyPosition: event.position))
    }
    for entry in merged where places[entry.key] == nil {
      places[entry.key] = entry.keyPosition
      entries.append(entry)
    }
    return Node(.mapping(entries), position: start.position)
  }

  /// What `<<: *other` brings in: the entries of one mapping or of a list of mappings.
  private func mergeEntries(_ value: Node, _ position: SourcePosition) throws(Failure) -> [Node.Entry] {
    if let entries = value.entries { return entries }
    if let nodes = value.sequence {
      var all: [Node.Entry] = []
      for node in nodes {
        guard let entries = node.entries else {
          throw Failure(position: position, message: "<< takes a mapping or a list of mappings")
        }
        all += entries
      }
      return all
    }
    throw Failure(position: position, message: "<< takes a mapping or a list of mappings")
  }

  /// JSON knows only strings as keys; Kubernetes prints other scalars as JSON would.
  private func keyText(_ node: Node, _ position: SourcePosition) throws(Failure) -> String {
    switch node.value {
    case .string(let text): return text
    case .bool(let value): return value ? "true" : "false"
    case .int(let value): return String(value)
    case .float(let value): return numberText(value)
    case .null: return "null"
    case .sequence, .mapping:
      throw Failure(position: position, message: "a key must be a string, not \(node.kindDescription)")
    }
  }

  private func checkTag(_ event: Event, _ allowed: String) throws(Failure) {
    if let tag = event.tag, tag != allowed, tag != "!" { throw unknownTag(event, tag) }
  }

  private func unknownTag(_ event: Event, _ tag: String) -> Failure {
    Failure(position: event.position, message: "the tag \(tag) does not fit this value or is not known")
  }

  private func scalar(_ text: String, _ isPlain: Bool, _ event: Event) throws(Failure) -> Node.Content {
    guard let tag = event.tag else {
      guard isPlain else { return .string(text) }
      switch text {
      case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN",
        ".NAN":
        throw Failure(position: event.position, message: "\(text) cannot be said in JSON; put it in quotes")
      default: return resolvePlainScalar(text)
      }
    }
    let resolved = resolvePlainScalar(text)
    switch (tag, resolved) {
    case ("tag:yaml.org,2002:str", _), ("!", _): return .string(text)
    case ("tag:yaml.org,2002:int", .int), ("tag:yaml.org,2002:float", .float),
      ("tag:yaml.org,2002:bool", .bool), ("tag:yaml.org,2002:null", .null):
      return resolved
    case ("tag:yaml.org,2002:float", .int(let value)): return .float(Double(value))
    default: throw unknownTag(event, tag)
    }
  }
}

/// Owns libyaml's parser and turns its events into `Event`s.
@safe private struct EventSource: ~Copyable {
  // INVARIANT: both point to memory allocated in `init` and freed in `deinit`; the parser reads `input`
  // only.
  private let parser: UnsafeMutablePointer<yaml_parser_t>
  private let input: UnsafeMutableBufferPointer<UInt8>

  init(_ bytes: [UInt8]) throws(Failure) {
    unsafe parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
    unsafe input = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(bytes.count, 1))
    _ = unsafe input.update(fromContentsOf: bytes)
    guard unsafe yaml_parser_initialize(parser) == 1 else {
      throw Failure(position: .unknown, message: "the YAML reader could not start: no memory")
    }
    unsafe yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
    unsafe yaml_parser_set_input_string(parser, input.baseAddress, bytes.count)
  }

  deinit {
    unsafe yaml_parser_delete(parser)
    unsafe parser.deallocate()
    unsafe input.deallocate()
  }

  mutating func next() throws(Failure) -> Event {
    var event = unsafe yaml_event_t()
    guard unsafe yaml_parser_parse(parser, &event) == 1 else { throw failure() }
    // SAFETY: the event's strings live until it is deleted, and are copied before that.
    defer { unsafe yaml_event_delete(&event) }
    let mark = unsafe event.start_mark
    let position = SourcePosition(line: mark.line + 1, column: mark.column + 1)
    var result = Event(kind: .other, position: position)
    switch unsafe event.type {
    case YAML_STREAM_END_EVENT: result.kind = .streamEnd
    case YAML_DOCUMENT_START_EVENT: result.kind = .documentStart
    case YAML_DOCUMENT_END_EVENT: result.kind = .documentEnd
    case YAML_ALIAS_EVENT: result.kind = .alias(unsafe text(event.data.alias.anchor) ?? "")
    case YAML_SCALAR_EVENT:
      let scalar = unsafe event.data.scalar
      let bytes = unsafe UnsafeBufferPointer(start: scalar.value, count: scalar.length)
      let isPlain = unsafe scalar.style == YAML_PLAIN_SCALAR_STYLE
      result.kind = .scalar(text: unsafe String(decoding: bytes, as: UTF8.self), isPlain: isPlain)
      result.anchor = unsafe text(scalar.anchor)
      result.tag = unsafe text(scalar.tag)
    case YAML_SEQUENCE_START_EVENT:
      result.kind = .sequenceStart
      result.anchor = unsafe text(event.data.sequence_start.anchor)
      result.tag = unsafe text(event.data.sequence_start.tag)
    case YAML_SEQUENCE_END_EVENT: result.kind = .sequenceEnd
    case YAML_MAPPING_START_EVENT:
      result.kind = .mappingStart
      result.anchor = unsafe text(event.data.mapping_start.anchor)
      result.tag = unsafe text(event.data.mapping_start.tag)
    case YAML_MAPPING_END_EVENT: result.kind = .mappingEnd
    default: break
    }
    return result
  }

  private func text(_ pointer: UnsafeMutablePointer<yaml_char_t>?) -> String? {
    guard let pointer = unsafe pointer else { return nil }
    return unsafe String(cString: pointer)
  }

  private func failure() -> Failure {
    let mark = unsafe parser.pointee.problem_mark
    var message = "not valid YAML"
    if let problem = unsafe parser.pointee.problem { message = unsafe String(cString: problem) }
    if let about = unsafe parser.pointee.context { message += unsafe " (" + String(cString: about) + ")" }
    if message.contains("character that cannot start any token") {
      message += "; a tab cannot indent, and some characters need quotes"
    }
    // A fault of the byte stream carries an offset only, and no mark.
    let isPlaced = unsafe parser.pointee.error != YAML_READER_ERROR
    if !isPlaced { message += " at byte \(unsafe parser.pointee.problem_offset)" }
    let position = isPlaced ? SourcePosition(line: mark.line + 1, column: mark.column + 1) : .unknown
    return Failure(position: position, message: message)
  }
}
