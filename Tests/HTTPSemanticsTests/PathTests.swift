import HTTPSemantics
import Testing

private enum Outcome: Equatable {
  case unchanged
  case rewritten(String)
  case invalid(PathError)
  case noRoom
}

private func normalize(_ path: [UInt8], capacity: Int? = nil, policy: PathPolicy = PathPolicy()) -> Outcome {
  with(path) { bytes in
    let room = capacity ?? bytes.count
    let output = UnsafeMutablePointer<UInt8>.allocate(capacity: room + 1)
    defer { unsafe output.deallocate() }
    unsafe output.initialize(repeating: 0xee, count: room + 1)
    let result = unsafe normalizePath(bytes, output, capacity: room, policy: policy)
    #expect(unsafe output[room] == 0xee)
    switch result {
    case .unchanged: return .unchanged
    case .rewritten(let count):
      return unsafe .rewritten(
        String(decoding: UnsafeBufferPointer(start: output, count: count), as: UTF8.self))
    case .invalid(let error): return .invalid(error)
    case .noRoom: return .noRoom
    }
  }
}

@Suite struct PathTests {
  @Test(arguments: [
    "/", "//", "/a", "/a/", "/a//b", "/a.b/c..d", "/...", "/a/...", "/.a", "/..a", "/a;b=c", "/a%2Fb", "/%5c",
    "/%2f",
    "/a%20b", "/%C3%A4", "/a:b@c!$&'()*+,=", "/{x}|y^z\"<>`[]", "*", "/%3F", "/a;..", "/a;.%2fb", "/%25",
    "/%252e%252e/a", "/a%2f.b",
    "/%E0%A0%80", "/%F0%90%80%80", "/%C0", "/%c0%c0", "/%C0%20", "/%e0a%80", "/%ff%80", "/%C2%80",
  ])
  func unchanged(_ path: String) {
    #expect(normalize(Array(path.utf8)) == .unchanged)
  }

  /// RFC 3986 sections 5.2.4 and 6.2.2.
  @Test(arguments: [
    ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/a/b/../../c", "/c"), ("/.", "/"), ("/./", "/"), ("/a/.", "/a/"),
    ("/a/..", "/"), ("/a/b/..", "/a/"), ("/a/b/../", "/a/"), ("/a/./", "/a/"), ("/a//../b", "/a/b"),
    ("/%61dmin", "/admin"), ("/%41%7e%2D%5f%30", "/A~-_0"), ("/a/%2e%2E/b", "/b"), ("/a/%2e/b", "/a/b"),
    ("/a/.%2e/b", "/b"), ("/%2E", "/"), ("/%2ea", "/.a"), ("/a/%2e%2e", "/"), ("/a%2fb/../c", "/c"),
    ("/mid/content=5/../6", "/mid/6"), ("//..", "/"), ("/a/..//b", "//b"), ("/x/%2E%2E/%61", "/a"),
  ])
  func rewritten(_ path: String, _ expected: String) {
    #expect(normalize(Array(path.utf8)) == .rewritten(expected))
    #expect(with(path) { pathNeedsNormalizing($0) })
  }

  @Test(arguments: [
    ("", PathError.notAbsolute), ("a", .notAbsolute), ("a/b", .notAbsolute), ("**", .notAbsolute),
    ("/%", .percentEncoding), ("/%4", .percentEncoding), ("/%4/", .percentEncoding),
    ("/%zz", .percentEncoding),
    ("/a%2", .percentEncoding), ("/%%41", .percentEncoding), ("/%u0041", .percentEncoding), ("/%00", .nul),
    ("/a%00.html", .nul), ("/a\u{0}", .nul), ("/a b", .character), ("/a\tb", .character),
    ("/a\u{7f}", .character),
    ("/a?b", .character), ("/a#b", .character), ("/a\\b", .character), ("/ä", .character),
    ("/..", .aboveRoot),
    ("/../a", .aboveRoot), ("/a/../../b", .aboveRoot), ("/%2e%2e/a", .aboveRoot), ("/./..", .aboveRoot),
    ("/a/..%2fb", .hiddenDotSegment), ("/a/..%5Cb", .hiddenDotSegment), ("/a/b%2F..", .hiddenDotSegment),
    ("/a%2f..%2fb", .hiddenDotSegment), ("/a/%2e%2e%2fb", .hiddenDotSegment), ("/a/..;/b", .hiddenDotSegment),
    ("/a/..;x=y/b", .hiddenDotSegment), ("/a/.;/b", .hiddenDotSegment),
    ("/a%5c%2E%2e%5Cb", .hiddenDotSegment),
    ("/a%2f.%2fb", .hiddenDotSegment),
    ("/%c0%ae%C0%AE/", .overlong), ("/%c1%9c", .overlong), ("/%E0%80%af", .overlong), ("/%e0%9f%bf", .overlong),
    ("/%f0%80%80%af", .overlong), ("/%f0%8f%bf%bf", .overlong), ("/x%c0%80", .overlong),
  ])
  func refused(_ path: String, _ error: PathError) {
    #expect(normalize(Array(path.utf8)) == .invalid(error))
    #expect(!"\(error.reason)".isEmpty)
  }

  @Test(arguments: [
    ("/a%2Fb", "/a/b"), ("/a%5cb", "/a/b"), ("/a%2f", "/a/"), ("/a%2f%2Fb", "/a//b"), ("/a/..%2fb", "/b"),
    ("/a%2f..", "/"), ("/a%2f.%5cb", "/a/b"), ("/%2fa", "//a"), ("/a%252fb", "/a%252fb"), ("/a%20%2fb", "/a%20/b"),
  ])
  func slashesDecoded(_ path: String, _ expected: String) {
    var policy = PathPolicy()
    policy.decodesEscapedSlashes = true
    let outcome = normalize(Array(path.utf8), policy: policy)
    #expect(outcome == (path == expected ? .unchanged : .rewritten(expected)))
    #expect(normalize(Array("/..%2fa".utf8), policy: policy) == .invalid(.aboveRoot))
    #expect(normalize(Array("/a%2f..;%2f".utf8), policy: policy) == .invalid(.hiddenDotSegment))
  }

  @Test(arguments: ["/a%2Fb", "/a%5cb", "/%2f", "/a/%5C", "/%2e%2e%2f"])
  func slashesRejected(_ path: String) {
    var policy = PathPolicy()
    policy.rejectsEscapedSlashes = true
    let outcome = normalize(Array(path.utf8), policy: policy)
    #expect(outcome == .invalid(.escapedSlash))
    #expect(normalize(Array("/a%252fb".utf8), policy: policy) == .unchanged)
  }

  @Test(arguments: [
    ("//", "/"), ("/a//b", "/a/b"), ("/a///", "/a/"), ("///a", "/a"), ("/a//../b", "/b"), ("/a//.//b", "/a/b"),
    ("/a/", "/a/"), ("/a%2f/b", "/a%2f/b"), ("//%2e//..", "!"), ("/a//%61", "/a/a"), ("/a/..//b", "/b"),
  ])
  func slashesMerged(_ path: String, _ expected: String) {
    var policy = PathPolicy()
    policy.mergesSlashes = true
    let outcome = normalize(Array(path.utf8), policy: policy)
    let wanted = path == expected ? Outcome.unchanged : .rewritten(expected)
    #expect(outcome == (expected == "!" ? .invalid(.aboveRoot) : wanted))
    if path.contains("//") { #expect(with(path) { pathNeedsNormalizing($0) }) }
  }

  @Test func slashesDecodedAndMerged() {
    var policy = PathPolicy()
    policy.decodesEscapedSlashes = true
    policy.mergesSlashes = true
    for path in ["/a%2f/b", "/a/%2Fb", "/a%5c%5cb", "/a%2f%2f%2fb", "/x/..%2f%2fa%2f/b"] {
      #expect(normalize(Array(path.utf8), policy: policy) == .rewritten("/a/b"))
    }
  }

  @Test func room() {
    #expect(normalize(Array("/a/./b".utf8), capacity: 5) == .noRoom)
    #expect(normalize(Array("/a/./b".utf8), capacity: 6) == .rewritten("/a/b"))
  }

  @Test func ordinaryPathsNeedNothing() {
    for path in ["/", "/a", "/a/b.html", "/a..b", "/x.y/z", "*", "/a;b"] {
      #expect(!with(path) { pathNeedsNormalizing($0) }, "\(path)")
    }
  }

  /// The rules as RFC 3986 puts them, with strings and arrays: decode unreserved bytes, then remove dot
  /// segments.
  private func oracle(_ path: String) -> String? {
    var decoded = ""
    var rest = Substring(path)
    while let first = rest.first {
      rest.removeFirst()
      guard first == "%" else {
        decoded.append(first)
        continue
      }
      guard rest.count >= 2, let byte = UInt8(rest.prefix(2), radix: 16), !rest.prefix(2).contains("+") else {
        return nil
      }
      let character = Character(UnicodeScalar(byte))
      if byte == 0 { return nil }
      if "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~".contains(character) {
        decoded.append(character)
      } else {
        decoded += "%" + rest.prefix(2)
      }
      rest.removeFirst(2)
    }
    var output: [Substring] = []
    let segments = decoded.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
    for (index, segment) in segments.enumerated() {
      let isLast = index == segments.count - 1
      switch segment {
      case ".": if isLast { output.append("") }
      case "..":
        if output.isEmpty { return nil }
        output.removeLast()
        if isLast { output.append("") }
      default:
        let parts = segment.replacing("%2f", with: "/").replacing("%2F", with: "/").replacing(
          "%5c", with: "/"
        )
        .replacing("%5C", with: "/").split(separator: "/").map { part in part.prefix { $0 != ";" } }
        if parts.contains(where: { $0 == "." || $0 == ".." }) { return nil }
        output.append(segment)
      }
    }
    return "/" + output.joined(separator: "/")
  }

  /// The normal form is that of the oracle, normalizing it again changes nothing, and a path that does not
  /// seem to need it is its own normal form.
  @Test(arguments: 1...8)
  func agreesWithOracle(_ seed: Int) {
    var generator = SeededGenerator(state: UInt64(seed))
    let pieces = [
      "/", "/", "/", ".", "..", "a", "b", "%2e", "%2E", "%2f", "%5C", "%61", "%20", ";", "%", "%0", "%00",
    ]
    for _ in 0..<4000 {
      let count = Int.random(in: 0..<10, using: &generator)
      let path = "/" + (0..<count).map { _ in pieces.randomElement(using: &generator)! }.joined()
      let expected = oracle(path)
      switch normalize(Array(path.utf8)) {
      case .unchanged: #expect(expected == path, "\(path)")
      case .rewritten(let result):
        #expect(expected == result, "\(path)")
        #expect(normalize(Array(result.utf8)) == .unchanged, "\(path)")
        #expect(with(path) { pathNeedsNormalizing($0) }, "\(path)")
      case .invalid:
        #expect(expected == nil, "\(path)")
        #expect(with(path) { pathNeedsNormalizing($0) }, "\(path)")
      case .noRoom: Issue.record("no room for \(path)")
      }
    }
  }
}
