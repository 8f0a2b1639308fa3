import CLinux
import Glibc
import Synchronization

/// What the control thread tells one worker.
enum Command {
  case adopt(LoadedConfiguration, added: [ListenerSocket], removed: [Int16])
  case handOver(descriptor: Int32, socketSlot: Int16)
  /// Finish what is open, take nothing new; close everything at the deadline (worker clock, milliseconds).
  case drain(deadlineMilliseconds: UInt64)
  case stop

  /// Closes the descriptors that nobody will take.
  func discard() {
    switch self {
    case .adopt(_, let added, _): for listener in added { close(listener.descriptor) }
    case .handOver(let descriptor, _): close(descriptor)
    case .drain, .stop: break
    }
  }
}

/// A listening descriptor that a worker is to accept from.
struct ListenerSocket {
  var slot: Int16
  var descriptor: Int32
  var isDatagram = false
}

/// The only thing that the control thread and a worker share besides counters and configurations.
/// The worker looks at one word a turn; the lock is taken only when that word says that there is mail.
final class Mailbox: Sendable {
  private struct Box {
    var commands: [Command] = []
    var retired: [LoadedConfiguration] = []
    var isDetached = false
  }
  private let box = Mutex(Box())
  private let mail = Atomic<Int>(0)
  private let adoptedSequence = Atomic<UInt64>(0)
  private let openConnections = Atomic<Int>(0)
  /// The worker's eventfd, 0 until its engine exists.
  private let wakeDescriptor = Atomic<Int32>(-1)
  /// eventfd of the control thread, written when something here changed.
  private let controlDescriptor: Int32

  init(controlDescriptor: Int32) { self.controlDescriptor = controlDescriptor }

  // Control thread.

  func post(_ command: Command) {
    // Under the lock, so that no signal goes to a number that `detach` has given up.
    let isTaken = box.withLock { box in
      if box.isDetached { return false }
      box.commands.append(command)
      mail.store(1, ordering: .releasing)
      signal(wakeDescriptor.load(ordering: .acquiring))
      return true
    }
    if !isTaken { command.discard() }
  }

  var adopted: UInt64 { adoptedSequence.load(ordering: .acquiring) }
  var connections: Int { openConnections.load(ordering: .relaxed) }

  /// Configurations that the worker no longer reads; the caller lets go of them on its own thread, because
  /// freeing certificates and regular expressions may take longer than a request should wait.
  func takeRetired() -> [LoadedConfiguration] {
    box.withLock { box in
      defer { box.retired = [] }
      return box.retired
    }
  }

  // Worker.

  func attach(wakeDescriptor descriptor: Int32) {
    wakeDescriptor.store(descriptor, ordering: .releasing)
    if hasMail { signal(descriptor) }
  }

  /// The worker ends, and its eventfd with it: what was not read is let go of, and nothing more is taken.
  func detach() {
    wakeDescriptor.store(-1, ordering: .releasing)
    let left = box.withLock { box in
      box.isDetached = true
      defer { box.commands = [] }
      return box.commands
    }
    for command in left { command.discard() }
  }

  var hasMail: Bool { mail.load(ordering: .acquiring) != 0 }

  func take() -> [Command] {
    mail.store(0, ordering: .releasing)
    return box.withLock { box in
      defer { box.commands = [] }
      return box.commands
    }
  }

  func adopted(_ sequence: UInt64) {
    adoptedSequence.store(sequence, ordering: .releasing)
    signal(controlDescriptor)
  }

  func retire(_ configuration: LoadedConfiguration) {
    box.withLock { $0.retired.append(configuration) }
    signal(controlDescriptor)
  }

  func report(openConnections count: Int) { openConnections.store(count, ordering: .relaxed) }

  func signal(_ descriptor: Int32) {
    guard descriptor >= 0 else { return }
    var one: UInt64 = 1
    // SAFETY: writes the eight bytes of a local; a full eventfd (EAGAIN) is as good as a written one.
    _ = unsafe write(descriptor, &one, 8)
  }
}
