import HTTPSemantics
import Testing

@testable import RoutingTable

/// Anchors: the same answers as the tree's, found by hash.
@Suite struct AnchorTests {
  private func tree(_ loaded: LoadedImage) -> TreeRecord {
    loaded.withImage { $0.virtualHost(0).record.tree }
  }

  private func entries(_ paths: [PathMatcher]) -> [EntrySource] {
    paths.enumerated().map { EntrySource(path: $1, rule: $0) }
  }

  private func rule(_ loaded: LoadedImage, _ path: String) -> Int32 {
    loaded.lookup(TestRequest(target: path)).rule
  }

  @Test func whatMakesATreeOfWholeSegments() throws {
    let long = "/" + String(repeating: "x", count: 63)
    let deep = String(repeating: "/x", count: 16)
    let cases: [(paths: [PathMatcher], anchors: UInt32, whole: Bool)] = [
      ([.any], 0, true), ([.segmentPrefix("/")], 0, true),
      ([.exact("/a"), .segmentPrefix("/a/b"), .any], 2, true),
      // One node, two routes.
      ([.exact("/a"), .segmentPrefix("/a")], 1, true),
      ([.stringPrefix("/a")], 1, false), ([.stringPrefix("/a"), .segmentPrefix("/b")], 2, false),
      ([.regex("/a/[0-9]+"), .exact("/b")], 2, false), ([.regex(".*"), .exact("/b")], 1, true),
      ([.exact(long)], 0, false), ([.exact(String(long.dropLast()))], 1, true),
      ([.exact(deep)], 0, false), ([.exact(String(deep.dropLast(2)))], 1, true),
      ([.exact("*")], 0, false), ([.exact("")], 0, true),
    ]
    for (paths, anchors, whole) in cases {
      let tree = try tree(LoadedImage(table(entries(paths))))
      #expect(tree.anchors.count == anchors && (tree.isWholeSegments == 1) == whole, "\(paths)")
    }
  }

  /// One more than the tags tell apart, one less, and many.
  @Test(arguments: [1, 15, 16, 17, 18, 3000]) func everyAnchorIsFound(count: Int) throws {
    // Half of them in texts that do not fit the record.
    func path(_ number: Int) -> String {
      "/api/\(number)" + (number % 2 == 0 ? "" : "/" + String(repeating: "x", count: 40))
    }
    let matchers = (0..<count).map { number -> PathMatcher in
      number % 3 == 0 ? .exact(path(number)) : .segmentPrefix(path(number))
    }
    let loaded = try LoadedImage(table(entries(matchers)))
    #expect(tree(loaded).anchors.count == UInt32(count))
    for number in 0..<count {
      let isExact = number % 3 == 0
      #expect(rule(loaded, path(number)) == Int32(number))
      #expect(rule(loaded, path(number) + "/y/z?q") == (isExact ? -1 : Int32(number)))
      #expect(rule(loaded, path(number) + "y") == -1)
    }
  }

  @Test func theDeepestAnchorOnThePathAnswers() throws {
    let loaded = try LoadedImage(
      table(
        entries([
          .exact("/a/b/c"), .exact("/a/b/"), .segmentPrefix("/a/b"), .segmentPrefix("/a"), .any,
        ])))
    for (path, wanted) in [
      ("/a/b/c", 0), ("/a/b/c/", 2), ("/a/b/c/d", 2), ("/a/b/", 1), ("/a/b//", 2), ("/a/b", 2), ("/a/bc", 3),
      ("/a/", 3), ("/a", 3), ("/ab", 4), ("//a", 4), ("/", 4), ("*", 4),
    ] {
      #expect(rule(loaded, path) == Int32(wanted), "\(path)")
    }
  }

  /// Routes that no anchor leads to come before one that an anchor has.
  @Test func anAnchorHidesNothingBelowIt() throws {
    let loaded = try LoadedImage(
      table(entries([.stringPrefix("/a/b"), .stringPrefix("/c/"), .segmentPrefix("/a"), .segmentPrefix("/c")])))
    for (path, wanted) in [
      ("/a/bc", 0), ("/a/bc/d", 0), ("/a/c", 2), ("/a", 2), ("/c", 3), ("/c/", 1), ("/c/x", 1), ("/c/x/y", 1),
    ] {
      #expect(rule(loaded, path) == Int32(wanted), "\(path)")
    }
  }

  /// A winner that matched less than the anchor's text: what a shorter route, or none, took.
  @Test func matchedLengthIsThatOfTheWinner() throws {
    let loaded = try LoadedImage(
      table(entries([.exact("/a/b"), .segmentPrefix("/a"), .any])))
    for (path, length) in [("/a/b", 4), ("/a/b/c", 2), ("/a", 2), ("/a/x", 2), ("/b", 0)] {
      #expect(loaded.lookup(TestRequest(target: path)).matchedPrefixLength == Int32(length), "\(path)")
    }
  }

  /// Slashes are counted in the first 64 bytes of a path only.
  @Test func pathsOfEveryLength() throws {
    for length in 2...140 {
      let text = "/" + String(repeating: "x", count: length - 1)
      let loaded = try LoadedImage(table(entries([.exact(text), .segmentPrefix(text + "/y"), .segmentPrefix(text)])))
      #expect(rule(loaded, text) == 0)
      #expect(rule(loaded, text + "/") == 2)
      #expect(rule(loaded, text + "/y") == 1)
      #expect(rule(loaded, text + "/y/z") == 1)
      #expect(rule(loaded, text + "/yz") == 2)
      #expect(rule(loaded, text + "x") == -1)
      #expect(rule(loaded, String(text.dropLast())) == -1)
    }
  }

  @Test func pathsOfEveryDepth() throws {
    for depth in 1...20 {
      let text = String(repeating: "/x", count: depth)
      let loaded = try LoadedImage(table(entries([.exact(text + "/y"), .segmentPrefix(text)])))
      #expect(rule(loaded, text + "/y") == 0)
      #expect(rule(loaded, text) == 1)
      #expect(rule(loaded, text + String(repeating: "/z", count: 20)) == 1)
      #expect(rule(loaded, String(text.dropLast(2))) == -1)
    }
  }

  /// Trees of many routes, whose hosts have slots instead of tags.
  @Test(arguments: [41, 42, UInt64.random(in: 0...UInt64.max)])
  func largeTreesAnswerLikeTheNaiveMatcher(seed: UInt64) throws {
    var tables = RandomTables(seed: seed)
    var hits = 0
    for _ in 0..<6 {
      var entries = (0..<120).map { _ in tables.entry() }
      if tables.random.once(in: 2) {
        entries.removeAll { entry in
          if case .stringPrefix = entry.path { return true }
          if case .regex = entry.path { return true }
          return entry.pathIgnoresCase
        }
      }
      let source = table(entries)
      let loaded = try LoadedImage(source)
      let naive = NaiveMatcher(source)
      for _ in 0..<200 {
        let request = tables.request(for: source, socket: 0)
        let wanted = naive.answer(request, socket: 0)
        let answer = loaded.lookup(request)
        if wanted.outcome == .matched { hits += 1 }
        #expect(
          Int(answer.entry) == wanted.entry && Int(answer.matchedPrefixLength) == wanted.matchedPrefixLength,
          "seed \(seed): \(request)")
      }
    }
    #expect(hits > 300, "seed \(seed)")
  }
}

@Suite struct TextWordTests {
  private func withBytes<Result>(_ text: [UInt8], _ body: (UnsafePointer<UInt8>) -> Result) -> Result {
    // Memory of its own, so that a sanitizer sees a read beyond the end.
    let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: max(text.count, 1))
    defer { unsafe copy.deallocate() }
    unsafe copy.initialize(from: text, count: text.count)
    return unsafe body(copy)
  }

  @Test func sameTextIsTheSameBytes() {
    var random = SeededGenerator(51)
    for length in 0...40 {
      let text = (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      let lower = text.map { lowercased($0) }
      unsafe withBytes(text) { start in
        #expect(unsafe textHash(start, length, ignoringCase: false) == textHash(text))
        #expect(unsafe textHash(start, length, ignoringCase: true) == textHash(lower))
        unsafe withBytes(lower) { #expect(unsafe sameText(start, $0, length, ignoringCase: true)) }
        var wrong = 0
        for place in 0..<length {
          for bit in 0..<8 as Range<UInt8> {
            var other = text
            other[place] ^= 1 << bit
            let isSame = lowercased(other[place]) == lower[place]
            unsafe withBytes(other) { changed in
              if unsafe sameText(start, changed, length, ignoringCase: false) { wrong += 1 }
              unsafe withBytes(lower) {
                if unsafe sameText(changed, $0, length, ignoringCase: true) != isSame { wrong += 1 }
              }
            }
          }
        }
        #expect(wrong == 0, "\(length) bytes")
      }
    }
  }

  @Test func hashesOfDifferentTextsDiffer() {
    var hashes: Set<UInt32> = []
    let texts = (0..<20_000).map { Array("/\($0)".utf8) } + (0..<20_000).map { Array("/api/v1/item-\($0)".utf8) }
    for text in texts { hashes.insert(textHash(text)) }
    // 40,000 random numbers of 32 bits have 0.2 pairs.
    #expect(hashes.count >= texts.count - 4)
  }

  @Test func slashesAreWhereTheyAre() {
    var random = SeededGenerator(52)
    for length in 0...70 {
      let text = (0..<length).map { _ in random.pick([0x2f, 0x2e, 0xaf, 0x00, 0x30, 0x2f] as [UInt8]) }
      var wanted: UInt64 = 0
      for (index, byte) in text.prefix(64).enumerated() where byte == 0x2f { wanted |= 1 << UInt64(index) }
      unsafe withBytes(text) { #expect(unsafe bits(of: 0x2f, $0, length) == wanted) }
    }
  }
}
