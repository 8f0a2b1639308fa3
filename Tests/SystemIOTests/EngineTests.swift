import CLinux
import Glibc
@testable import SystemIO
import Testing

@Suite struct EpollEngineTests {
  private let suite = EngineSuite<EpollEngine>()

  @Test func acceptsReceivesAndSends() throws { try suite.acceptsReceivesAndSends() }
  @Test func keepsWhatTheKernelDoesNotTake() throws { try suite.keepsWhatTheKernelDoesNotTake() }
  @Test func appendsBehindKeptBytes() throws { try suite.appendsBehindKeptBytes() }
  @Test func leavesBytesInTheKernelWhileStopped() throws { try suite.leavesBytesInTheKernelWhileStopped() }
  @Test func peerHalfClosesFirst() throws { try suite.peerHalfClosesFirst() }
  @Test func halfClosesFirstAfterUnsentBytes() throws { try suite.halfClosesFirstAfterUnsentBytes() }
  @Test func deliversBytesBeforeAReset() throws { try suite.deliversBytesBeforeAReset() }
  @Test func deliversBytesBeforeAFailedSend() throws { try suite.deliversBytesBeforeAFailedSend() }
  @Test func saysThatSendingIsDeadWhileStopped() throws { try suite.saysThatSendingIsDeadWhileStopped() }
  @Test func failsWhenAUnixPeerGoes() throws { try suite.failsWhenAUnixPeerGoes() }
  @Test func givesNothingStaleToANewOwner() throws { try suite.givesNothingStaleToANewOwner() }
  @Test func connects() throws { try suite.connects() }
  @Test func reportsRefusedConnections() throws { try suite.reportsRefusedConnections() }
  @Test func wakesFromAnotherThread() throws { try suite.wakesFromAnotherThread() }
  @Test func waitsUntilTheDeadline() throws { try suite.waitsUntilTheDeadline() }
  @Test func sharesATurnFairly() throws { try suite.sharesATurnFairly() }
  @Test func closesWhenDrained() throws { try suite.closesWhenDrained() }
  @Test func boundsTheTimeOfClosing() throws { try suite.boundsTheTimeOfClosing() }

  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func carriesEverythingUnderRandomUse(seed: UInt64) throws {
    try suite.carriesEverythingUnderRandomUse(seed: seed)
  }

  // The three below change what the whole process may open, and so run in one of their own.

  @Test func survivesRunningOutOfDescriptors() async {
    await #expect(processExitsWith: .success) { try Exhaustion<EpollEngine>.runOut() }
  }

  @Test func restsWithoutAReserve() async {
    await #expect(processExitsWith: .success) { try Exhaustion<EpollEngine>.rest() }
  }

  @Test func carriesThousandsOfSockets() async {
    await #expect(processExitsWith: .success) { try Exhaustion<EpollEngine>.thousands() }
  }

  @Test func adoptsNothingAboveTheSlotLimit() throws {
    let (descriptor, peer) = Sockets.pair()
    var options = EngineOptions()
    options.slotLimit = Int(descriptor)
    // Whether the engine's own descriptors fit is up to what else is open just now.
    guard let d = try? Driver<EpollEngine>(options) else {
      _ = close(descriptor)
      return
    }
    #expect(d.engine.adopt(descriptor) == nil)
    // It is still ours.
    #expect(peer.write("x") == 1)
    #expect(close(descriptor) == 0)
  }
}

@Suite(.enabled(if: Uring.isAvailable, "the system refuses io_uring")) struct UringEngineTests {
  private let suite = EngineSuite<UringEngine>()

  @Test func acceptsReceivesAndSends() throws { try suite.acceptsReceivesAndSends() }
  @Test func keepsWhatTheKernelDoesNotTake() throws { try suite.keepsWhatTheKernelDoesNotTake() }
  @Test func appendsBehindKeptBytes() throws { try suite.appendsBehindKeptBytes() }
  @Test func leavesBytesInTheKernelWhileStopped() throws { try suite.leavesBytesInTheKernelWhileStopped() }
  @Test func peerHalfClosesFirst() throws { try suite.peerHalfClosesFirst() }
  @Test func halfClosesFirstAfterUnsentBytes() throws { try suite.halfClosesFirstAfterUnsentBytes() }
  @Test func deliversBytesBeforeAReset() throws { try suite.deliversBytesBeforeAReset() }
  @Test func deliversBytesBeforeAFailedSend() throws { try suite.deliversBytesBeforeAFailedSend() }
  @Test func saysThatSendingIsDeadWhileStopped() throws { try suite.saysThatSendingIsDeadWhileStopped() }
  @Test func failsWhenAUnixPeerGoes() throws { try suite.failsWhenAUnixPeerGoes() }
  @Test func givesNothingStaleToANewOwner() throws { try suite.givesNothingStaleToANewOwner() }
  @Test func connects() throws { try suite.connects() }
  @Test func reportsRefusedConnections() throws { try suite.reportsRefusedConnections() }
  @Test func wakesFromAnotherThread() throws { try suite.wakesFromAnotherThread() }
  @Test func waitsUntilTheDeadline() throws { try suite.waitsUntilTheDeadline() }
  @Test func sharesATurnFairly() throws { try suite.sharesATurnFairly() }
  @Test func closesWhenDrained() throws { try suite.closesWhenDrained() }
  @Test func boundsTheTimeOfClosing() throws { try suite.boundsTheTimeOfClosing() }

  @Test(arguments: 1...8 as ClosedRange<UInt64>)
  func carriesEverythingUnderRandomUse(seed: UInt64) throws {
    try suite.carriesEverythingUnderRandomUse(seed: seed)
  }

  // The three below change what the whole process may open, and so run in one of their own.

  @Test func survivesRunningOutOfDescriptors() async {
    await #expect(processExitsWith: .success) { try Exhaustion<UringEngine>.runOut() }
  }

  @Test func restsWithoutAReserve() async {
    await #expect(processExitsWith: .success) { try Exhaustion<UringEngine>.rest() }
  }

  @Test func carriesThousandsOfSockets() async {
    await #expect(processExitsWith: .success) { try Exhaustion<UringEngine>.thousands() }
  }

  @Test func adoptsNothingAboveTheSlotLimit() throws {
    let (descriptor, peer) = Sockets.pair()
    var options = EngineOptions()
    options.slotLimit = Int(descriptor)
    // Whether the engine's own descriptors fit is up to what else is open just now.
    guard let d = try? Driver<UringEngine>(options) else {
      _ = close(descriptor)
      return
    }
    #expect(d.engine.adopt(descriptor) == nil)
    // It is still ours.
    #expect(peer.write("x") == 1)
    #expect(close(descriptor) == 0)
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
