import CLinux
import ControlProtocol
import Glibc
import RoutingTable
import Sandbox
import Synchronization
import SystemIO
import TLS
import Telemetry

/// The worker threads as the control thread sees them: it publishes configurations to them, opens their listening
/// sockets, hands descriptors over and drains them. Called on one thread only.
final class Fleet: FleetControl {
  private let options: DataPlaneOptions
  private let mailboxes: [Mailbox]
  private let ready = Atomic<Int>(0)
  private let finished = Atomic<Int>(0)
  let counters: [CounterBlock]
  let adoptionEventDescriptor: Int32
  private var interner = EndpointInterner()
  private var sequence: UInt64 = 0
  private var current: LoadedConfiguration?
  /// Configurations that workers may still read, with how many have let go of each.
  private var retiring: [UInt64: Int] = [:]
  private var listening: [Int16: Listening] = [:]
  private var nextWorker = 0
  private let ticketKeys: TLSTicketKeys
  private let budget: ProcessBudget

  /// A socket that is bound; its descriptors belong to the workers' engines.
  private struct Listening {
    var status: SocketStatus
    var isOpen: Bool
  }

  init(options: DataPlaneOptions) throws(SystemError) {
    self.options = options
    ticketKeys = TLSTicketKeys(intervalMilliseconds: options.limits.tlsTicketKeyInterval)
    budget = ProcessBudget(maxMemory: ProcessBudget.effectiveMaxMemory(options.limits.maxMemory))
    let descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
    guard descriptor >= 0 else { throw SystemError(errno: clinux_errno(), operation: "eventfd") }
    adoptionEventDescriptor = descriptor
    mailboxes = (0..<options.workers).map { _ in Mailbox(controlDescriptor: descriptor) }
    counters = (0..<options.workers).map { _ in CounterBlock.allocate() }
  }

  /// Starts the threads. Throws when a worker's engine cannot be made; none runs then.
  func start() throws(SystemError) {
    for index in 0..<options.workers {
      try startWorker(mailboxes[index], counters[index], seed: UInt64(index))
    }
  }

  /// Returns when every worker has its engine; false: some have ended for want of one.
  func awaitWorkers() -> Bool {
    while ready.load(ordering: .acquiring) + finished.load(ordering: .acquiring) < options.workers { usleep(500) }
    return ready.load(ordering: .acquiring) == options.workers
  }

  private func startWorker(_ mailbox: Mailbox, _ block: CounterBlock, seed: UInt64) throws(SystemError) {
    let options = options
    let mixed = (seed &+ 1) &* 0x9e37_79b9_7f4a_7c15 ^ monotonicNanoseconds()
    let thread = WorkerThread { [self] in
      do throws(SystemError) {
        switch options.engine {
        case .uring:
          do throws(SystemError) {
            try run(UringEngine.self, mailbox, block, seed: mixed)
          } catch {
            guard options.fallsBackToEpoll else { throw error }
            options.log.warning("a worker uses epoll (\(error))")
            try run(EpollEngine.self, mailbox, block, seed: mixed)
          }
        case .epoll: try run(EpollEngine.self, mailbox, block, seed: mixed)
        }
      } catch {
        options.log.error("worker: \(error)")
      }
      finished.add(1, ordering: .acquiringAndReleasing)
      mailbox.signal(adoptionEventDescriptor)
    }
    let code = thread.start()
    guard code == 0 else { throw SystemError(errno: code, operation: "pthread_create") }
  }

  /// The whole life of a worker. Throws when its engine cannot be made.
  private func run<Engine: IOEngine & ~Copyable>(
    _ engine: Engine.Type, _ mailbox: Mailbox, _ block: CounterBlock, seed: UInt64
  ) throws(SystemError) {
    var worker = try Worker<Engine>(mailbox: mailbox, options: options, counters: block, budget: budget, seed: seed)
    do throws(SandboxError) { try Sandbox.endLocking() } catch { options.log.warning("worker: \(error)") }
    ready.add(1, ordering: .acquiringAndReleasing)
    worker.run()
  }

  // MARK: Configurations

  func publish(_ image: MappedImage, changes: [EndpointUpdate.Backend]) throws(LoadError) -> Publication {
    let resources: ImageResources
    if let current, current.resources.image === image {
      resources = current.resources
    } else {
      resources = try ImageResources(
        image, ticketKeys: ticketKeys, limits: options.limits, reusing: current?.resources)
      for notice in resources.notices { options.log.warning("tls: \(notice)") }
      for problem in resources.backendClients.problems { options.log.error("\(problem); it answers 503") }
    }
    let configuration = LoadedConfiguration(
      resources, changes: changes, sequence: sequence + 1, interner: &interner)
    sequence += 1
    var statuses: [SocketStatus] = []
    var added: [[ListenerSocket]] = Array(repeating: [], count: options.workers)
    var wanted: Set<Int16> = []
    for socket in configuration.sockets {
      wanted.insert(socket.slot)
      if listening[socket.slot]?.isOpen != true { open(socket, &added) }
      if var status = listening[socket.slot]?.status {
        if status.code == 0 && !socket.certificateProblem.isEmpty {
          status.code = EPROTO
          status.reason = socket.certificateProblem
        }
        statuses.append(status)
      }
    }
    let removed = listening.keys.filter { !wanted.contains($0) }
    for slot in removed { listening[slot] = nil }
    for (index, mailbox) in mailboxes.enumerated() {
      mailbox.post(.adopt(configuration, added: added[index], removed: removed))
    }
    current = configuration
    return Publication(sequence: sequence, sockets: statuses)
  }

  /// One descriptor a worker on the same port (SO_REUSEPORT), or none when the port cannot be had.
  private func open(_ socket: LoadedConfiguration.Socket, _ added: inout [[ListenerSocket]]) {
    var status = SocketStatus(address: socket.address, port: socket.port, bindPort: socket.bindPort)
    var descriptors: [Int32] = []
    do throws(SystemError) {
      for _ in 0..<options.workers {
        descriptors.append(
          socket.kind == .udp
            ? try DatagramSocket.open(address: socket.address, port: socket.bindPort)
            : try ListeningSocket.open(address: socket.address, port: socket.bindPort))
      }
    } catch {
      for descriptor in descriptors { close(descriptor) }
      descriptors = []
      status.code = error.errno
      status.reason = error.description
    }
    for (index, descriptor) in descriptors.enumerated() {
      added[index].append(ListenerSocket(slot: socket.slot, descriptor: descriptor, isDatagram: socket.kind == .udp))
    }
    listening[socket.slot] = Listening(status: status, isOpen: !descriptors.isEmpty)
  }

  var adoptedSequence: UInt64 { mailboxes.map(\.adopted).min() ?? 0 }

  func collectRetired() {
    for mailbox in mailboxes {
      for configuration in mailbox.takeRetired() {
        retiring[configuration.sequence, default: 0] += 1
        if retiring[configuration.sequence] == options.workers {
          retiring[configuration.sequence] = nil
          configuration.release(to: &interner)
        }
      }
    }
  }

  // MARK: Connections

  func hasListener(port: UInt16) -> Bool {
    current?.sockets.contains { $0.port == port && $0.kind != .udp } ?? false
  }

  func handOver(_ descriptor: Int32, port: UInt16) -> Bool {
    guard let socket = current?.sockets.first(where: { $0.port == port && $0.kind != .udp }) else { return false }
    let flags = fcntl(descriptor, F_GETFL)
    guard flags >= 0, fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0 else { return false }
    nextWorker = (nextWorker + 1) % options.workers
    mailboxes[nextWorker].post(.handOver(descriptor: descriptor, socketSlot: socket.slot))
    return true
  }

  func beginDrain(milliseconds: Int) {
    let deadline = monotonicNanoseconds() / 1_000_000 + UInt64(max(0, milliseconds))
    for mailbox in mailboxes { mailbox.post(.drain(deadlineMilliseconds: deadline)) }
  }

  var isDrained: Bool { finished.load(ordering: .acquiring) == options.workers }
}

/// A thread that runs one closure.
private final class WorkerThread {
  private let body: () -> Void

  init(_ body: @escaping () -> Void) { self.body = body }

  /// - Returns: 0, or why the thread could not be made.
  func start() -> Int32 {
    var thread = pthread_t()
    let retained = unsafe Unmanaged.passRetained(self).toOpaque()
    // SAFETY: the thread takes the reference that was just retained.
    return unsafe pthread_create(
      &thread, nil,
      { argument in
        guard let argument = unsafe argument else { return nil }
        unsafe Unmanaged<WorkerThread>.fromOpaque(argument).takeRetainedValue().body()
        return nil
      }, retained)
  }
}
