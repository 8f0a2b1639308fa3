import CLinux
import Glibc
@testable import SystemIO
import Testing

extension EngineSuite where Engine: ~Copyable {
  /// Those that need neither arguments nor a process of their own.
  private static var checks: KeyValuePairs<String, (EngineSuite) throws -> Void> {
    [
      "acceptsReceivesAndSends": { try $0.acceptsReceivesAndSends() },
      "keepsWhatTheKernelDoesNotTake": { try $0.keepsWhatTheKernelDoesNotTake() },
      "appendsBehindKeptBytes": { try $0.appendsBehindKeptBytes() },
      "leavesBytesInTheKernelWhileStopped": { try $0.leavesBytesInTheKernelWhileStopped() },
      "peerHalfClosesFirst": { try $0.peerHalfClosesFirst() },
      "halfClosesFirstAfterUnsentBytes": { try $0.halfClosesFirstAfterUnsentBytes() },
      "deliversBytesBeforeAReset": { try $0.deliversBytesBeforeAReset() },
      "deliversBytesBeforeAFailedSend": { try $0.deliversBytesBeforeAFailedSend() },
      "saysThatSendingIsDeadWhileStopped": { try $0.saysThatSendingIsDeadWhileStopped() },
      "failsWhenAUnixPeerGoes": { try $0.failsWhenAUnixPeerGoes() },
      "givesNothingStaleToANewOwner": { try $0.givesNothingStaleToANewOwner() },
      "connects": { try $0.connects() },
      "reportsRefusedConnections": { try $0.reportsRefusedConnections() },
      "wakesFromAnotherThread": { try $0.wakesFromAnotherThread() },
      "waitsUntilTheDeadline": { try $0.waitsUntilTheDeadline() },
      "sharesATurnFairly": { try $0.sharesATurnFairly() },
      "readsMuchForALittleTime": { try $0.readsMuchForALittleTime() },
      "closesWhenDrained": { try $0.closesWhenDrained() },
      "goesOnClosingWhileThePeerReads": { try $0.goesOnClosingWhileThePeerReads() },
      "boundsTheTimeOfClosing": { try $0.boundsTheTimeOfClosing() },
      "closesFewInATurn": { try $0.closesFewInATurn() },
      "closesMoreWhereManyWait": { try $0.closesMoreWhereManyWait() },
      "endsFewTimesInATurn": { try $0.endsFewTimesInATurn() },
      "watchesDatagrams": { try $0.watchesDatagrams() },
    ]
  }

  static func check(_ name: String) throws {
    let check = try #require(checks.first { $0.key == name })
    try check.value(EngineSuite())
  }

  static func adoptsNothingAboveTheSlotLimit() throws {
    let (descriptor, peer) = Sockets.pair()
    var options = EngineOptions()
    options.slotLimit = Int(descriptor)
    // Whether the engine's own descriptors fit is up to what else is open just now.
    guard let d = try? Driver<Engine>(options) else {
      _ = close(descriptor)
      return
    }
    #expect(d.engine.adopt(descriptor) == nil)
    // It is still ours.
    #expect(peer.write("x") == 1)
    #expect(close(descriptor) == 0)
  }

  static var names: [String] { checks.map(\.key) }
}

/// Every check on every engine. Those that change what the whole process may open run in one of their own.
@Suite struct EngineTests {
  @Suite struct Epoll {
    @Test(arguments: EngineSuite<EpollEngine>.names)
    func keepsThePort(name: String) throws { try EngineSuite<EpollEngine>.check(name) }

    @Test func closesWhatIsListed() throws {
      try EngineSuite<EpollEngine>().closesWhatIsListed { engine, socket in
        unsafe engine.discards.append(socket.index, engine.slots)
      }
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func carriesEverythingUnderRandomUse(seed: UInt64) throws {
      try EngineSuite<EpollEngine>().carriesEverythingUnderRandomUse(seed: seed)
    }

    @Test func adoptsNothingAboveTheSlotLimit() throws {
      try EngineSuite<EpollEngine>.adoptsNothingAboveTheSlotLimit()
    }

    @Test func survivesRunningOutOfDescriptors() async {
      await #expect(processExitsWith: .success) { try Exhaustion<EpollEngine>.runOut() }
    }

    @Test func restsWithoutAReserve() async {
      await #expect(processExitsWith: .success) { try Exhaustion<EpollEngine>.rest() }
    }

    @Test func carriesThousandsOfSockets() async {
      await #expect(processExitsWith: .success) { try Exhaustion<EpollEngine>.thousands() }
    }
  }

  @Suite(.enabled(if: Uring.isAvailable, "the system refuses io_uring")) struct IOUring {
    @Test(arguments: EngineSuite<UringEngine>.names)
    func keepsThePort(name: String) throws { try EngineSuite<UringEngine>.check(name) }

    @Test func closesWhatIsListed() throws {
      try EngineSuite<UringEngine>().closesWhatIsListed { engine, socket in
        unsafe engine.discards.append(socket.index, engine.slots)
      }
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func carriesEverythingUnderRandomUse(seed: UInt64) throws {
      try EngineSuite<UringEngine>().carriesEverythingUnderRandomUse(seed: seed)
    }

    @Test func adoptsNothingAboveTheSlotLimit() throws {
      try EngineSuite<UringEngine>.adoptsNothingAboveTheSlotLimit()
    }

    @Test func survivesRunningOutOfDescriptors() async {
      await #expect(processExitsWith: .success) { try Exhaustion<UringEngine>.runOut() }
    }

    @Test func restsWithoutAReserve() async {
      await #expect(processExitsWith: .success) { try Exhaustion<UringEngine>.rest() }
    }

    @Test func carriesThousandsOfSockets() async {
      await #expect(processExitsWith: .success) { try Exhaustion<UringEngine>.thousands() }
    }

    /// Submissions and completions that find no room all the time.
    static var tinyRing: EngineOptions {
      var options = EngineOptions()
      options.ringEntries = 2
      options.ringCompletions = 4
      return options
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func carriesEverythingThroughATinyRing(seed: UInt64) throws {
      try EngineSuite<UringEngine>().carriesEverythingUnderRandomUse(seed: seed, options: Self.tinyRing)
    }

    @Test func carriesThousandsOfSocketsThroughATinyRing() async {
      await #expect(processExitsWith: .success) {
        try Exhaustion<UringEngine>.thousands(options: EngineTests.IOUring.tinyRing)
      }
    }
  }
}

/// The layouts that io_uring's header has and ours must.
@Suite struct RingLayoutTests {
  @Test func entryIsTheKernels() {
    #expect(MemoryLayout<RingEntry>.size == MemoryLayout<io_uring_sqe>.size)
    #expect(MemoryLayout<RingEntry>.offset(of: \.descriptor) == 4)
    #expect(MemoryLayout<RingEntry>.offset(of: \.offset) == 8)
    #expect(MemoryLayout<RingEntry>.offset(of: \.address) == 16)
    #expect(MemoryLayout<RingEntry>.offset(of: \.length) == 24)
    #expect(MemoryLayout<RingEntry>.offset(of: \.operationFlags) == 28)
    #expect(MemoryLayout<RingEntry>.offset(of: \.tag) == 32)
    #expect(MemoryLayout<RingEntry>.offset(of: \.bufferGroup) == 40)
    #expect(MemoryLayout<UringSlot>.stride == 64 && MemoryLayout<EpollSlot>.stride == 32)
  }
}

enum Uring {
  static let isAvailable = (try? UringEngine.probe()) != nil
}
