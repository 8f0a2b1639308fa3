import Testing
import Upstream

/// A pick over an ordinary array.
private func pick(
  _ table: inout PoolTable, _ choices: [EndpointChoice], backend: Int32 = 0, avoiding: Int32 = -1
) -> Int32 {
  unsafe choices.withUnsafeBufferPointer { unsafe table.pick($0, backendSlot: backend, avoiding: avoiding) }
}

@Suite struct PickTests {
  @Test(
    arguments: [
      [1, 1, 1], [5], [3, 1], [1, 2, 3, 4], [100, 1], [0, 2, 0, 1], [65_535, 65_535],
    ] as [[UInt16]])
  func givesExactlyTheWeights(weights: [UInt16]) {
    var table = PoolTable(maxConnections: 1)
    let choices = weights.enumerated().map { EndpointChoice(slot: Int32($0), weight: $1) }
    let cycle = weights.reduce(0) { $0 + Int($1) }
    var counts = [Int](repeating: 0, count: weights.count)
    for _ in 0..<cycle { counts[Int(pick(&table, choices))] += 1 }
    #expect(counts == weights.map { Int($0) })
  }

  @Test func spreadsAHeavyShare() {
    var table = PoolTable(maxConnections: 1)
    let choices = [EndpointChoice(slot: 0, weight: 3), EndpointChoice(slot: 1, weight: 2)]
    #expect((0..<10).map { _ in pick(&table, choices) } == [0, 1, 0, 1, 0, 0, 1, 0, 1, 0])
  }

  @Test func passesOverWhatIsNotReady() {
    var table = PoolTable(maxConnections: 1)
    let terminating = EndpointChoice.ready | EndpointChoice.terminating
    let choices = [
      EndpointChoice(slot: 0, weight: 9, flags: 0), EndpointChoice(slot: 1),
      EndpointChoice(slot: 2, flags: terminating), EndpointChoice(slot: 3),
    ]
    #expect((0..<4).map { _ in pick(&table, choices) } == [1, 3, 1, 3])
    #expect(pick(&table, Array(choices[0...0])) == -1)
    #expect(pick(&table, []) == -1)
  }

  @Test func avoidsWhereARetryComesFrom() {
    var table = PoolTable(maxConnections: 1)
    let choices = [
      EndpointChoice(slot: 7, weight: 50), EndpointChoice(slot: 8), EndpointChoice(slot: 9, flags: 0),
    ]
    for _ in 0..<200 { #expect(pick(&table, choices, avoiding: 7) == 1) }
    // Better the same than none.
    #expect(pick(&table, [choices[0], choices[2]], avoiding: 7) == 0)
  }

  @Test func keepsItsPlaceWhenCandidatesChange() {
    var table = PoolTable(maxConnections: 1)
    let many = (0..<100).map { EndpointChoice(slot: $0, weight: 7) }
    for _ in 0..<399 { _ = pick(&table, many) }
    // Deep in a round that the new candidates never reach.
    let few = [EndpointChoice(slot: 0), EndpointChoice(slot: 1)]
    #expect(Set((0..<2).map { _ in pick(&table, few) }) == [0, 1])
  }

  @Test func beginsWhereTheSeedSays() {
    let choices = (0..<64).map { EndpointChoice(slot: $0) }
    let starts = (1...16).map { seed in
      var table = PoolTable(maxConnections: 1, seed: UInt64(seed))
      return pick(&table, choices)
    }
    #expect(Set(starts).count > 8)
  }
}

@Suite struct PoolTableTests {
  @Test func leasesTheLastReleased() {
    var table = PoolTable(maxConnections: 16)
    table.reserve(endpoints: 2, backends: 1)
    for connection: Int32 in [3, 4, 5] { table.addLeased(connection, endpoint: 1) }
    #expect(table.counts(endpoint: 1) == EndpointCounts(active: 3, idle: 0, connections: 3))
    for connection: Int32 in [4, 3] {
      #expect(table.release(connection, endpoint: 1, nowMilliseconds: 10) == .keep)
    }
    #expect(table.counts(endpoint: 1) == EndpointCounts(active: 1, idle: 2, connections: 3))
    #expect(table.leaseIdle(endpoint: 0) == -1)
    #expect(table.leaseIdle(endpoint: 1) == 3)
    #expect(table.leaseIdle(endpoint: 1) == 4)
    #expect(table.leaseIdle(endpoint: 1) == -1)
    table.remove(3)
    table.remove(3)
    #expect(table.counts(endpoint: 1) == EndpointCounts(active: 2, idle: 0, connections: 2))
    #expect(table.endpoint(of: 3) == -1 && table.endpoint(of: 4) == 1)
    #expect(table.checkInvariants() == nil)
  }

  @Test func closesTheOldestBeyondTheLimit() {
    var table = PoolTable(maxConnections: 16, maxIdlePerEndpoint: 2)
    var actions: [ReleaseAction] = []
    for connection in 0..<4 as Range<Int32> {
      actions.append(table.release(connection, endpoint: 0, nowMilliseconds: UInt64(connection)))
    }
    #expect(actions == [.keep, .keep, .close(0), .close(1)])
    #expect(table.checkInvariants() == nil)
  }

  @Test func expiresWhatRestedTooLong() {
    var table = PoolTable(maxConnections: 16)
    table.reserve(endpoints: 2, backends: 1)
    _ = table.release(1, endpoint: 0, nowMilliseconds: 100)
    _ = table.release(2, endpoint: 1, nowMilliseconds: 200)
    table.addShared(3, endpoint: 1, limit: 10, nowMilliseconds: 300)
    table.addShared(4, endpoint: 1, limit: 10, nowMilliseconds: 300)
    table.streamOpened(4)
    #expect(table.oldestIdleSince == 100)
    #expect(table.expireIdle(olderThanMilliseconds: 100) == -1)
    #expect(table.expireIdle(olderThanMilliseconds: 201) == 1)
    #expect(table.expireIdle(olderThanMilliseconds: 201) == 2)
    #expect(table.expireIdle(olderThanMilliseconds: 201) == -1)
    #expect(table.expireIdle(olderThanMilliseconds: 1_000) == 3)
    #expect(table.expireIdle(olderThanMilliseconds: 1_000) == -1)
    #expect(table.streamClosed(4, nowMilliseconds: 900) == .keep)
    #expect(table.expireIdle(olderThanMilliseconds: 1_000) == 4)
    #expect(table.oldestIdleSince == .max && table.connectionCount == 0)
  }

  @Test func sharesUpToTheLimit() {
    var table = PoolTable(maxConnections: 16)
    table.addShared(1, endpoint: 0, limit: 2)
    table.addShared(2, endpoint: 0, limit: 1)
    var taken: [Int32] = []
    while case let connection = table.shared(endpoint: 0), connection >= 0 {
      table.streamOpened(connection)
      taken.append(connection)
    }
    #expect(taken == [1, 1, 2])
    #expect(table.streamClosed(2) == .keep)
    #expect(table.shared(endpoint: 0) == 2)
    table.setLimit(1, 5)
    table.setDraining(2)
    #expect(table.shared(endpoint: 0) == 1)
    table.setDraining(1)
    #expect(table.shared(endpoint: 0) == -1)
    #expect(table.streamClosed(1) == .keep)
    #expect(table.streamClosed(1) == .close(1))
    #expect(table.counts(endpoint: 0) == EndpointCounts(active: 0, idle: 0, connections: 1))
    #expect(table.checkInvariants() == nil)
  }

  @Test func retiredEndpointsLetGo() {
    var table = PoolTable(maxConnections: 16)
    table.addLeased(1, endpoint: 0)
    _ = table.release(2, endpoint: 0, nowMilliseconds: 0)
    table.addShared(3, endpoint: 0, limit: 5)
    table.addShared(4, endpoint: 0, limit: 5)
    table.streamOpened(4)
    #expect(table.nextRetired(endpoint: 0) == -1)
    table.retire(endpoint: 0)
    var closed: Set<Int32> = []
    while case let connection = table.nextRetired(endpoint: 0), connection >= 0 { closed.insert(connection) }
    #expect(closed == [2, 3])
    #expect(table.shared(endpoint: 0) == -1 && table.leaseIdle(endpoint: 0) == -1)
    #expect(table.release(1, endpoint: 0, nowMilliseconds: 0) == .close(1))
    #expect(table.streamClosed(4) == .close(4))
    #expect(table.connectionCount == 0)
    table.restore(endpoint: 0)
    #expect(table.release(5, endpoint: 0, nowMilliseconds: 0) == .keep)
    #expect(table.checkInvariants() == nil)
  }

  /// Random use against what a caller would know; the table's own invariants after each step.
  @Test(arguments: 1...30 as ClosedRange<UInt64>)
  func staysSoundUnderRandomUse(seed: UInt64) {
    var simulation = Simulation(seed: seed)
    for step in 0..<1_500 {
      let fault = simulation.step() ?? simulation.table.checkInvariants()
      if let fault {
        Issue.record("seed \(seed) step \(step): \(fault)")
        return
      }
    }
  }
}
