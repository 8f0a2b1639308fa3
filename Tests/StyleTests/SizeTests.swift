import Testing

/// Nothing grows beyond what one reads at a sitting. What is longer today stands in the tables below with its
/// size: it may shrink, and leaves the table when it fits; it may not grow, and nothing new may enter.
@Suite("sizes") struct SizeTests {
  static let longestFile = 800
  static let longestLine = 120
  static let longestFunction = 70

  /// Path and name → lines.
  static let longFunctions: [String: Int] = [:]

  static func files() throws -> [SourceFile] {
    try SourceTree.files(below: "Sources", endings: [".swift", ".c", ".h", ".cpp"]) + SourceTree.files(below: "Tests")
  }

  @Test func filesAreShort() throws {
    for file in try Self.files() {
      let count = file.lines.count
      #expect(count <= Self.longestFile, "\(file) has \(count) lines; give a part a file of its own")
    }
  }

  @Test func linesAreShort() throws {
    for file in try Self.files() {
      for (number, line) in file.lines.enumerated() where line.count > Self.longestLine {
        Issue.record("\(file):\(number + 1) has \(line.count) characters, at most \(Self.longestLine)")
      }
    }
  }

  @Test func functionsAreShort() throws {
    var met: Set<String> = []
    var seen = 0
    for file in try Self.files() where file.path.hasSuffix(".swift") {
      let functions = FunctionScanner.functions(in: file.lines)
      seen += functions.count
      for function in functions where function.length > Self.longestFunction {
        let key = "\(file.path) \(function.name)"
        met.insert(key)
        let limit = Self.longFunctions[key] ?? Self.longestFunction
        #expect(
          function.length <= limit,
          "\(file):\(function.line): \(function.name) has \(function.length) lines, at most \(limit)")
        #expect(
          function.length == limit || Self.longFunctions[key] == nil,
          "\(key) shrank to \(function.length) lines: write that into the table")
      }
    }
    let gone = Set(Self.longFunctions.keys).subtracting(met)
    #expect(seen > 1000, "the scanner found \(seen) functions; it no longer understands the format")
    #expect(gone.isEmpty, "these fit now, take them out of the table: \(gone.sorted())")
  }
}

/// Finds functions by the indentation of formatted code.
enum FunctionScanner {
  struct Function: Equatable {
    var name: String
    /// From 1.
    var line: Int
    /// From the declaration to the closing brace.
    var length: Int
  }

  static func functions(in lines: [String]) -> [Function] {
    lines.indices.compactMap { index in
      guard let name = declaredName(lines[index]), let end = end(ofDeclarationAt: index, in: lines) else { return nil }
      return Function(name: name, line: index + 1, length: end - index + 1)
    }
  }

  private static func declaredName(_ line: String) -> String? {
    let text = line.drop { $0 == " " }
    if text.hasPrefix("//") { return nil }
    var words = text.split(separator: " ")
    let modifiers: Set<Substring> = [
      "public", "package", "internal", "fileprivate", "private", "static", "final", "mutating", "nonmutating",
      "consuming", "borrowing", "override", "required", "convenience", "nonisolated", "@inlinable", "@inline(__always)",
      "@inline(never)", "@discardableResult", "@Test", "@Sendable", "@usableFromInline", "@_transparent", "@safe",
      "@unsafe", "class", "isolated",
    ]
    while let first = words.first, modifiers.contains(first) { words.removeFirst() }
    guard let first = words.first else { return nil }
    if first == "func", words.count > 1 { return String(words[1].prefix { $0 != "(" && $0 != "<" }) }
    if first.hasPrefix("init(") || first.hasPrefix("init?(") || first.hasPrefix("init<") { return "init" }
    if first == "deinit" { return "deinit" }
    return nil
  }

  /// The line with the closing brace; nil for one without a body and for one on a single line.
  private static func end(ofDeclarationAt start: Int, in lines: [String]) -> Int? {
    let indentation = indentation(of: lines[start])
    var hasBody = lines[start].hasSuffix("{")
    for index in lines.index(after: start)..<lines.endIndex where !lines[index].isEmpty {
      let own = self.indentation(of: lines[index])
      if hasBody {
        if own == indentation, lines[index].drop(while: { $0 == " " }).hasPrefix("}") { return index }
      } else {
        if own < indentation { return nil }
        let text = lines[index].drop { $0 == " " }
        if own == indentation, !text.hasPrefix(")"), !text.hasPrefix("where"), !text.hasPrefix("{") { return nil }
        hasBody = own == indentation && text.hasSuffix("{")
      }
    }
    return nil
  }

  private static func indentation(of line: String) -> Int {
    line.prefix { $0 == " " }.count
  }
}

@Suite("function scanner") struct FunctionScannerTests {
  @Test func findsBodiesByIndentation() {
    let text = """
      struct A {
        func first() {
          if true {
            second()
          }
        }
        func second() { }
        public static func third(
          a: Int
        ) -> Int {
          1
        }
        init(a: Int) {
          b()
        }
      }
      protocol P {
        func fourth()
        func fifth(
          a: Int
        )
      }
      """
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let found = FunctionScanner.functions(in: lines)
    #expect(
      found == [
        .init(name: "first", line: 2, length: 5), .init(name: "third", line: 8, length: 5),
        .init(name: "init", line: 13, length: 3),
      ])
  }
}
