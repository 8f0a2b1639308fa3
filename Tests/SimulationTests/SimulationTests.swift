import Glibc
import SystemIO
import Testing

@testable import DataPlane

/// Writes the line that repeats the seed, then lets the signal end the process.
private func saySeed(_ number: Int32) {
  // SAFETY: a thread's name has at most 16 bytes with its end; nothing here takes memory or a lock.
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16) { name in
    guard let start = name.baseAddress, unsafe pthread_getname_np(pthread_self(), start, 16) == 0 else { return }
    let prefix: StaticString = "trapped: SLUICE_SIMULATION_"
    unsafe _ = write(2, prefix.utf8Start, prefix.utf8CodeUnitCount)
    unsafe _ = write(2, start, strlen(start))
    unsafe _ = write(2, "\n", 1)
  }
  _ = signal(number, SIG_DFL)
}

/// Thousands of small worlds, each decided by its seed. `SLUICE_SIMULATION_SEEDS=first-last` chooses others than the
/// short run does, `SLUICE_SIMULATION_SEED=n` repeats one with a trace of all that happens.
struct SimulationTests {
  /// Seeds of the short run and how many tests share them.
  static let shortRun = 1...90
  static let parts = 8

  static func environment(_ name: String) -> String? { unsafe getenv(name).map { unsafe String(cString: $0) } }

  static var seeds: [UInt64] {
    let range = environment("SLUICE_SIMULATION_SEEDS") ?? "\(shortRun.lowerBound)-\(shortRun.upperBound)"
    let ends = range.split(separator: "-").compactMap { UInt64($0) }
    guard let first = ends.first, let last = ends.last, first <= last else { return [] }
    return Array(ends.count == 1 ? 1...last : first...last)
  }

  @Test(arguments: 0..<parts) func everySeedKeepsTheInvariants(part: Int) throws {
    if Self.environment("SLUICE_SIMULATION_SEED") != nil { return }
    let seeds = Self.seeds
    try #require(!seeds.isEmpty, "SLUICE_SIMULATION_SEEDS is a number or first-last")
    for seed in seeds where Int(seed % UInt64(Self.parts)) == part { try run(seed) }
  }

  @Test func firesFewTimersInATurn() throws {
    let simulation = try Simulation(seed: 1)
    let most = Worker<SimulatedEngine>.timersPerTurn
    let ids = Int32(0)..<Int32(most + 5)
    let soon = simulation.worker.nowMilliseconds + 1
    for id in ids {
      simulation.worker.connectionTimers.schedule(id, atMilliseconds: soon)
      simulation.worker.streamTimers.schedule(id, atMilliseconds: soon)
    }
    simulation.network.advance(to: simulation.network.now + 20_000_000)
    simulation.worker.updateClock()
    for left in [5, 0] {
      // Within the same millisecond.
      simulation.worker.fireTimers()
      #expect(simulation.worker.connectionTimers.count == left)
      #expect(simulation.worker.streamTimers.count == left)
    }
  }

  @Test func oneSeedWithItsTrace() throws {
    guard let text = Self.environment("SLUICE_SIMULATION_SEED") else { return }
    try run(#require(UInt64(text), "SLUICE_SIMULATION_SEED is a number"), isTracing: true)
  }

  /// A trap ends the process: the name of its thread is what is left to say which seed it was.
  private static func nameThread(_ seed: UInt64) {
    unsafe pthread_setname_np(pthread_self(), "SEED=\(seed)")
    for number in [SIGILL, SIGTRAP, SIGSEGV, SIGABRT] { _ = signal(number, saySeed) }
  }

  private func run(_ seed: UInt64, isTracing: Bool = false) throws {
    Self.nameThread(seed)
    let simulation = try Simulation(seed: seed, isTracing: isTracing)
    try simulation.run()
    guard let first = simulation.failures.first else { return }
    Issue.record("\(first)\nSLUICE_SIMULATION_SEED=\(seed) shows it with all that led to it")
  }
}
