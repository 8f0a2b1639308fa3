import HTTPSemantics
import Testing

@testable import RoutingTable

@Suite struct OracleTests {
  /// Fixed seeds, and one that is new in every run; a failure prints the seed, and the seed alone brings
  /// the failure back.
  static let seeds: [UInt64] = [1, 2, 3, 4, 5, 6, 7, UInt64.random(in: 0...UInt64.max)]

  @Test(arguments: seeds) func imageAnswersLikeTheNaiveMatcher(seed: UInt64) throws {
    var tables = RandomTables(seed: seed)
    var pairs = 0
    var hits = 0
    for round in 0..<40 {
      let source = tables.table(entries: round % 4 == 0 ? 60 : 12)
      let loaded = try LoadedImage(source)
      let naive = NaiveMatcher(source)
      for _ in 0..<50 {
        let socket = tables.random.below(source.sockets.count)
        let request = tables.request(for: source, socket: socket)
        let wanted = naive.answer(request, socket: socket)
        let got = answer(loaded, source, request, socket)
        pairs += 1
        if wanted.outcome == .matched { hits += 1 }
        guard got == wanted else {
          Issue.record("seed \(seed), table \(round): \(request): got \(got), wanted \(wanted)")
          return
        }
        try #require(explains(loaded, request, socket, wanted), "seed \(seed), table \(round): \(request)")
      }
    }
    #expect(pairs == 2000)
    #expect(hits > 500 && hits < 1800, "seed \(seed): \(hits) hits say little")
  }

  /// The image's answer with indexes within their parents.
  private func answer(
    _ loaded: LoadedImage, _ source: TableSource, _ request: TestRequest, _ socket: Int
  ) -> NaiveMatcher.Answer {
    let answer = loaded.lookup(request, socket: socket)
    var result = NaiveMatcher.Answer(outcome: answer.outcome)
    loaded.withImage { image in
      if answer.listener >= 0 {
        result.listener = Int(answer.listener) - image.socket(socket).listeners.lowerBound
      }
      if answer.virtualHost >= 0 {
        let hosts = image.listener(Int(answer.listener)).virtualHosts
        result.virtualHost = Int(answer.virtualHost) - hosts.lowerBound
      }
      if answer.entry >= 0 {
        let host = image.virtualHost(Int(answer.virtualHost))
        result.entry = Int(answer.entry) - Int(host.record.entries.first)
      }
    }
    result.rule = Int(answer.rule)
    result.matchedPrefixLength = Int(answer.matchedPrefixLength)
    return result
  }

  /// The explanation names the same winner, and a reason for every candidate passed over.
  private func explains(
    _ loaded: LoadedImage, _ request: TestRequest, _ socket: Int, _ wanted: NaiveMatcher.Answer
  ) -> Bool {
    let explanation = loaded.withImage { image in
      unsafe request.withHead { head in unsafe image.explain(socket: socket, head: head) }
    }
    guard explanation.outcome.rawValue == "\(wanted.outcome)" else { return false }
    guard explanation.match?.position ?? -1 == wanted.entry else { return false }
    return (explanation.passedOver + explanation.otherPaths).allSatisfy { !$0.failures.isEmpty }
  }
}
