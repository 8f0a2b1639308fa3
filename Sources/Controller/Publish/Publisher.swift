import CLinux
import ControlProtocol
import Synchronization

import class Foundation.Thread

/// Why the control socket could not be opened.
public struct PublisherError: Error, CustomStringConvertible, Equatable {
  public let path: String
  public let reason: String
  public var description: String { "control socket \(path): \(reason)" }
}

/// How the publisher tells what it does; whoever wires it puts a logger behind.
public enum PublisherLogLevel: Sendable { case debug, info, error }
public typealias PublisherLog = @Sendable (PublisherLogLevel, String) -> Void

/// The controller's end of the control socket: keeps the current snapshot as a sealed memfd and brings every
/// data plane that connects, now or later, to it and to its newest endpoints.
///
/// A thread of its own does the I/O. Each connection holds at most one message that is not sent: what is
/// published meanwhile replaces what has not been sent yet, so a slow data plane costs no memory.
public final class Publisher: SnapshotPublishing, Sendable {
  public let events: AsyncStream<PublisherEvent>
  public let path: String
  private let shared: PublisherShared
  private let log: PublisherLog

  /// Binds `path` (mode 0600; a socket that a dead process left is removed) and starts the thread. Only
  /// processes of the same user, or of root, are let in. A data plane that says nothing for `silenceMilliseconds`
  /// is taken for gone; it is asked every five seconds.
  public init(
    path: String, silenceMilliseconds: UInt64 = 30_000, log: @escaping PublisherLog = { _, _ in }
  ) throws(PublisherError) {
    let listener = try PublisherSocket.listen(path: path)
    let wake = eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC))
    guard wake >= 0 else {
      throw PublisherError(path: path, reason: "eventfd: \(PublisherSocket.text(clinux_errno()))")
    }
    let (stream, continuation) = AsyncStream.makeStream(of: PublisherEvent.self)
    let shared = PublisherShared(wake: OwnedDescriptor(wake))
    self.path = path
    self.log = log
    self.shared = shared
    events = stream
    let thread = Thread {
      var loop = PublisherLoop(
        listener: listener, shared: shared, silenceMilliseconds: silenceMilliseconds,
        continuation: continuation, log: log)
      loop.run()
      // Removed before the stream ends: who waits for the end may bind the path again.
      unsafe unlink(path)
      continuation.finish()
    }
    thread.name = "publisher"
    thread.start()
  }

  public func publish(revision: UInt64, image: [UInt8]) async {
    let checksum = unsafe image.withUnsafeBytes { unsafe imageChecksum($0) }
    guard let memory = PublisherSocket.sealedMemory(image) else {
      log(.error, "snapshot \(revision): memfd: \(PublisherSocket.text(clinux_errno()))")
      return
    }
    let notice = SnapshotNotice(
      revision: revision, byteCount: UInt64(image.count), checksum: checksum, endpointSequence: 0)
    shared.change {
      $0.generation += 1
      $0.snapshot = notice
      $0.memory = memory
      $0.update = nil
    }
  }

  public func publishEndpoints(_ change: EndpointChange) async {
    let update = EndpointUpdate(change)
    guard ControlMessage.endpointUpdate(update).frame() != nil else {
      log(.error, "endpoint change \(change.sequence) of snapshot \(change.revision) does not fit a frame")
      return
    }
    let isCurrent = shared.change { state in
      guard state.snapshot?.revision == change.revision else { return false }
      state.update = update
      return true
    }
    if !isCurrent {
      log(.error, "endpoint change for snapshot \(change.revision), which is not the current one")
    }
  }

  /// Closes everything; `events` ends.
  public func stop() { shared.change { $0.isStopping = true } }
}

extension EndpointUpdate {
  init(_ change: EndpointChange) {
    self.init(
      revision: change.revision, sequence: change.sequence,
      backends: change.backends.map { backend in
        Backend(
          id: backend.id,
          endpoints: backend.endpoints.map {
            Endpoint(
              address: $0.address, port: $0.port, weight: $0.weight, isReady: $0.isReady,
              isTerminating: $0.isTerminating)
          })
      })
  }
}

/// What is to be published, shared by the controller and the publisher's thread.
final class PublisherShared: Sendable {
  struct State: Sendable {
    /// Rises with each `publish`, also when a revision is published again.
    var generation: UInt64 = 0
    var snapshot: SnapshotNotice?
    var memory: OwnedDescriptor?
    var update: EndpointUpdate?
    var isStopping = false
  }

  private let state = Mutex(State())
  let wake: OwnedDescriptor

  init(wake: OwnedDescriptor) { self.wake = wake }

  func change<Result: Sendable>(_ body: (inout State) -> Result) -> Result {
    let result = state.withLock { body(&$0) }
    var one: UInt64 = 1
    // Fails only when the counter is full, and then the thread is awake.
    _ = unsafe write(wake.number, &one, 8)
    return result
  }

  var current: State { state.withLock { $0 } }
}
