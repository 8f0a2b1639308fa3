import Foundation

/// One file of the repository, cut into lines.
struct SourceFile: Sendable, CustomStringConvertible {
  /// Relative to the top of the repository.
  let path: String
  let lines: [String]

  var description: String { path }
  /// `Sources/HTTP1/Chunked.swift` belongs to `HTTP1`.
  var target: String { String(path.split(separator: "/")[1]) }
}

/// What the tests of this target read.
enum SourceTree {
  static let top = URL(filePath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  static func read(_ path: String) throws -> String {
    try String(contentsOf: top.appending(path: path), encoding: .utf8)
  }

  static func exists(_ path: String) -> Bool {
    FileManager.default.fileExists(atPath: top.appending(path: path).path)
  }

  /// All files below a folder whose names end so, ordered by path; no hidden ones.
  static func files(below folder: String, endings: [String] = [".swift"]) throws -> [SourceFile] {
    let paths = FileManager.default.enumerator(atPath: top.appending(path: folder).path)
    var found: [SourceFile] = []
    while let path = paths?.nextObject() as? String {
      guard endings.contains(where: path.hasSuffix), !path.split(separator: "/").contains(where: { $0.hasPrefix(".") })
      else { continue }
      let whole = "\(folder)/\(path)"
      let lines = try read(whole).split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
      found.append(SourceFile(path: whole, lines: lines.last == "" ? lines.dropLast() : lines))
    }
    return found.sorted { $0.path < $1.path }
  }

  static func folders(in folder: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: top.appending(path: folder).path)
      .filter { !$0.hasPrefix(".") }.sorted()
  }
}
