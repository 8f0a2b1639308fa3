import Testing

@testable import Controller

@Suite struct HostnameTests {
  @Test(
    arguments: [
      ("", "", ""), ("", "a.example.org", "a.example.org"), ("*", "*.example.org", "*.example.org"),
      ("a.example.org", "a.example.org", "a.example.org"),
      ("A.Example.ORG.", "a.example.org", "a.example.org"),
      ("*.example.org", "a.example.org", "a.example.org"),
      ("*.example.org", "a.b.example.org", "a.b.example.org"),
      ("*.example.org", "*.b.example.org", "*.b.example.org"),
      ("*.example.org", "*.example.org", "*.example.org"),
      ("*.example.org", "example.org", nil), ("*.example.org", "*.example.net", nil),
      ("*.example.org", "badexample.org", nil), ("a.example.org", "b.example.org", nil),
      ("*.a.example.org", "*.b.example.org", nil),
    ] as [(String, String, String?)])
  func intersection(left: String, right: String, wanted: String?) {
    let expected = wanted.map { Hostname($0) }
    #expect(Hostname(left).intersection(Hostname(right)) == expected)
    #expect(Hostname(right).intersection(Hostname(left)) == expected)
  }

  @Test func specificity() {
    let inOrder = ["long.name.example.org", "a.example.org", "*.b.example.org", "*.example.org", "*.org", ""]
      .map { Hostname($0) }
    #expect(inOrder.shuffled().sorted(by: Hostname.inOrder) == inOrder)
    #expect(
      Hostname("a.b.example.org").coveringPatterns.map(\.description)
        == ["a.b.example.org", "*.b.example.org", "*.example.org", "*.org", "*"])
    #expect(Hostname("*.example.org").coveringPatterns.map(\.description) == ["*.example.org", "*.org", "*"])
    #expect(Hostname("").coveringPatterns == [.any])
  }

  /// What covers a pattern is exactly what `coveringPatterns` lists.
  @Test func coveringAgreesWithCovers() {
    let all = [
      "", "org", "*.org", "example.org", "*.example.org", "a.example.org", "*.a.example.org",
      "b.a.example.org",
    ]
    .map { Hostname($0) }
    for pattern in all {
      let listed = Set(pattern.coveringPatterns).intersection(all)
      #expect(listed == Set(all.filter { $0.covers(pattern) }), "\(pattern)")
    }
  }
}
