import Foundation
import Testing

/// The documents speak of what is there.
@Suite("documents") struct DocumentTests {
  static let documents = [
    "README.md", "docs/ARCHITECTURE.md", "docs/LEXICON.md", "docs/GUIDE.md", "docs/limits.md",
    "docs/security.md",
  ]

  @Test(arguments: documents) func pathsInCodeSpansExist(document: String) throws {
    let roots = ["Sources/", "Tests/", "manifests/", "docs/", "demo/", "scripts/", "Benchmarks/"]
    for span in try Self.codeSpans(of: document) where roots.contains(where: span.hasPrefix) && !span.contains(" ") {
      #expect(SourceTree.exists(span), "\(document): there is no \(span)")
    }
  }

  @Test(arguments: documents) func relativeLinksLeadSomewhere(document: String) throws {
    let folder = document.split(separator: "/").dropLast().joined(separator: "/")
    for match in try SourceTree.read(document).matches(of: /\]\(([^)#\s]+)[^)]*\)/) {
      let link = String(match.1)
      guard !link.contains("://") else { continue }
      #expect(SourceTree.exists(folder.isEmpty ? link : "\(folder)/\(link)"), "\(document): there is no \(link)")
    }
  }

  @Test func typesNamedInTheArchitectureAreDeclared() throws {
    var declared = Set(try SourceTree.folders(in: "Sources"))
    let declaration = /\b(?:struct|enum|class|actor|protocol|typealias|case)\s+([A-Za-z_]\w*)/
    let keywords = ["struct ", "enum ", "class ", "actor ", "protocol ", "typealias ", "case "]
    for file in try SourceTree.files(below: "Sources") + SourceTree.files(below: "Tests/StyleTests") {
      for line in file.lines where keywords.contains(where: line.contains) {
        declared.formUnion(line.matches(of: declaration).map { String($0.1) })
      }
    }
    for span in try Self.codeSpans(of: "docs/ARCHITECTURE.md") where span.wholeMatch(of: /[A-Z][a-z]\w*/) != nil {
      #expect(declared.contains(span), "docs/ARCHITECTURE.md names \(span), which no source declares")
    }
  }

  @Test func theMakefileListsWhatTheReadmeUses() throws {
    let makefile = try SourceTree.read("Makefile")
    for match in try SourceTree.read("README.md").matches(of: /make ([a-z0-9]+)/) {
      #expect(makefile.contains("\n\(match.1):"), "README.md: there is no target \(match.1)")
    }
  }

  /// What stands between single backquotes, outside of fenced blocks.
  static func codeSpans(of document: String) throws -> [String] {
    let parts = try SourceTree.read(document).components(separatedBy: "```")
    let prose = parts.indices.filter { $0 % 2 == 0 }.map { parts[$0] }.joined(separator: "\n")
    return prose.matches(of: /`([^`\n]+)`/).map { String($0.1) }
  }
}
