import Testing

/// Words that do not belong into the product's sources, and what to write in their place.
@Suite("words") struct WordTests {
  static let banned: [(word: String, instead: String)] = [
    ("fatalError(", "a typed error for what comes from outside, precondition for our own bug"),
    ("try!", "do/catch, or a throwing function"),
    ("TODO", "what is not built is absent and says so to the user; what is to be done is an issue"),
    ("FIXME", "the repair, or an issue"),
    ("@unchecked Sendable", "a value type, an actor or a lock; an exception needs its row in `exceptions`"),
    ("nonisolated(unsafe)", "a value type, an actor or a lock; an exception needs its row in `exceptions`"),
  ]

  /// Where a word has to stand, each with its reason beside it in the file.
  static let exceptions: Set<String> = [
    "Sources/Controller/API/PortForwardEndpoint.swift @unchecked Sendable",
    "Sources/DataPlane/Configuration/LoadedConfiguration.swift @unchecked Sendable",
    "Sources/DataPlane/Control/MappedImage.swift @unchecked Sendable",
    "Sources/RoutingTable/LoadedImage.swift nonisolated(unsafe)",
    "Sources/TLS/ConnectionState.swift nonisolated(unsafe)",
    "Sources/TLS/TLSClient.swift @unchecked Sendable",
    "Sources/TLS/TLSMemory.swift nonisolated(unsafe)",
    "Sources/TLS/TLSServer.swift @unchecked Sendable",
    "Sources/TLS/TrustStore.swift @unchecked Sendable",
    "Sources/Telemetry/CounterBlock.swift @unchecked Sendable",
  ]

  @Test func noBannedWordStandsInTheSources() throws {
    var met: Set<String> = []
    for file in try SourceTree.files(below: "Sources", endings: [".swift", ".c", ".h", ".cpp"]) {
      for (number, line) in file.lines.enumerated() {
        for (word, instead) in Self.banned where line.contains(word) {
          met.insert("\(file.path) \(word)")
          #expect(
            Self.exceptions.contains("\(file.path) \(word)"), "\(file):\(number + 1): no \(word); instead: \(instead)")
        }
      }
    }
    #expect(Self.exceptions.isSubset(of: met), "no longer needed: \(Self.exceptions.subtracting(met).sorted())")
  }
}
