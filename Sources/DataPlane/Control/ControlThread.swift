import CLinux
import ControlProtocol
import Telemetry

/// The main thread of the data plane: brings what the controller wants to the workers, answers the admin
/// socket, acts on signals. Nothing here is on the way of a request.
struct ControlThread<Fleet: FleetControl>: ~Copyable {
  private static var saveEndpointsMilliseconds: UInt64 { 1000 }
  private static var healthMilliseconds: UInt64 { 10_000 }
  private static var bindRetryMilliseconds: UInt64 { 5000 }

  let options: ControlOptions
  let fleet: Fleet
  private let log: LineLogger
  private let file: SnapshotFile?
  /// What no worker counts. Lives as long as the process.
  private let counters = CounterBlock.allocate()
  private let startMilliseconds: UInt64
  private let signals: OwnedDescriptor?
  private var subscriber: Subscriber?
  private var admin: AdminServer
  /// What was published last and on its way to the workers.
  private var state = ServedState()
  private var pending: [PendingAck] = []
  private var savedChecksum: UInt64 = 0
  private var saveEndpointsAt = UInt64.max
  private var nextHealth: UInt64 = 0
  private var nextBindRetry = UInt64.max
  private var drainDeadline: UInt64?
  private(set) var exitCode: Int32?

  private struct PendingAck {
    let fleetSequence: UInt64
    let revision: UInt64
    let sequence: UInt64
    let sockets: [SocketStatus]
  }

  /// Opens what was asked for and publishes what is on disk.
  init(options: ControlOptions, fleet: Fleet) throws(AdminError) {
    self.options = options
    self.fleet = fleet
    log = options.log
    startMilliseconds = Self.now()
    signals = options.handlesSignals ? OwnedDescriptor(clinux_signal_descriptor()) : nil
    file = Self.openFile(options)
    subscriber = options.controlPath.map {
      Subscriber(path: $0, instance: options.instance, log: options.log)
    }
    admin = AdminServer(limits: options.limits, counters: counters, log: options.log)
    if let path = options.adminPath { try admin.listen(path: path) }
    if let place = options.adminPort {
      state.adminPort = try admin.listen(address: place.address, port: place.port)
      log.info("admin port \(state.adminPort)")
    }
    loadFromDisk()
  }

  private static func now() -> UInt64 { clinux_monotonic_nanoseconds() / 1_000_000 }

  /// A state directory that cannot be used is an error in the log, not the end: traffic matters more.
  private static func openFile(_ options: ControlOptions) -> SnapshotFile? {
    guard let directory = options.stateDirectory else { return nil }
    do throws(SnapshotFileError) {
      return try SnapshotFile(directory: directory)
    } catch {
      options.log.error("no snapshot is kept on disk: \(error)")
      return nil
    }
  }

  private mutating func loadFromDisk() {
    guard let loaded = file?.load() else { return }
    for problem in loaded.problems { log.error("snapshot on disk: \(problem)") }
    guard let image = loaded.image else { return }
    let wanted = WantedConfiguration(
      image: image, revision: image.revision, sequence: loaded.update?.sequence ?? 0,
      changes: loaded.update?.backends ?? [])
    savedChecksum = image.checksum
    if let reason = publish(wanted, Self.now()) {
      log.error("snapshot on disk, revision \(image.revision): \(reason)")
      savedChecksum = 0
    } else {
      log.info("started with snapshot \(image.revision), endpoints \(wanted.sequence), from disk")
      state.isFromDisk = true
    }
  }

  // MARK: The loop

  /// As bound; 0: none.
  var adminPort: UInt16 { state.adminPort }

  /// Until the process is to end; returns its exit code.
  mutating func run() -> Int32 {
    while exitCode == nil { turn(mostMilliseconds: 1000) }
    // Changes of the last moments are still waiting to be written together.
    if saveEndpointsAt != .max { saveEndpoints() }
    admin.close()
    return exitCode ?? 0
  }

  /// Waits at most so long, does what there is to do.
  mutating func turn(mostMilliseconds: UInt64) {
    var now = Self.now()
    subscriber?.connectIfDue(now: now, current: state.image)
    subscriber?.flush(now)
    var questions = [
      pollfd(fd: signals?.number ?? -1, events: Int16(POLLIN), revents: 0),
      pollfd(fd: fleet.adoptionEventDescriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: subscriber?.descriptor ?? -1, events: Int16(POLLIN), revents: 0),
    ]
    if subscriber?.wantsWrite == true { questions[2].events |= Int16(POLLOUT) }
    admin.appendQuestions(&questions)
    let timeout = waitMilliseconds(now, most: mostMilliseconds)
    let ready = unsafe poll(&questions, UInt(questions.count), Int32(timeout))
    now = Self.now()
    if ready > 0 {
      if questions[0].revents != 0 { readSignals(now) }
      if questions[1].revents != 0 { readAdoption() }
      if questions[2].revents != 0 { readController(now) }
    }
    serveAdmin(ready > 0 ? questions[3...] : quiet(questions[3...]), now)
    acknowledge(now)
    housekeeping(now)
  }

  private func quiet(_ questions: ArraySlice<pollfd>) -> ArraySlice<pollfd> {
    var questions = questions
    for index in questions.indices { questions[index].revents = 0 }
    return questions
  }

  private func waitMilliseconds(_ now: UInt64, most: UInt64) -> UInt64 {
    var deadline = min(now + most, admin.deadline, saveEndpointsAt, nextBindRetry)
    if let subscriber { deadline = min(deadline, subscriber.deadline) }
    // A drain ends without an event: look at it often.
    if drainDeadline != nil { deadline = min(deadline, now + 20) }
    return deadline > now ? deadline - now + 1 : 0
  }

  private func readAdoption() {
    var count: UInt64 = 0
    // SAFETY: reads the eight bytes of an eventfd into a local.
    _ = unsafe read(fleet.adoptionEventDescriptor, &count, 8)
    fleet.collectRetired()
  }

  // MARK: Configurations

  private mutating func readController(_ now: UInt64) {
    let wanted = subscriber?.receive(now: now, current: state.image) ?? []
    for configuration in wanted {
      if let reason = publish(configuration, now) {
        subscriber?.refuse(
          revision: configuration.revision, sequence: configuration.sequence, reason)
      } else {
        state.isFromDisk = false
      }
    }
    subscriber?.flush(now)
  }

  /// Nil: on its way to the workers. Otherwise why not; everything is as it was.
  private mutating func publish(_ wanted: WantedConfiguration, _ now: UInt64) -> String? {
    guard let image = wanted.image ?? state.image else { return "there is no snapshot yet" }
    // Its snapshot came with the same read and was refused.
    guard image.revision == wanted.revision else { return "its snapshot is not the one in use" }
    if state.serves(image, wanted) {
      // After a reconnect the same comes again: nothing to swap, but the controller waits for its ack.
      pending.append(
        PendingAck(
          fleetSequence: state.fleetSequence, revision: wanted.revision, sequence: wanted.sequence,
          sockets: state.sockets))
      state.sequence = wanted.sequence
      return nil
    }
    let publication: Publication
    do throws(LoadError) {
      publication = try fleet.publish(image, changes: wanted.changes)
    } catch {
      return error.reason
    }
    for socket in publication.sockets where socket.code != 0 && !state.sockets.contains(socket) {
      log.error(
        "listener \(socket.address.isEmpty ? "*" : socket.address):\(socket.port) on port"
          + " \(socket.bindPort): \(socket.reason)")
    }
    state.image = image
    state.sequence = wanted.sequence
    state.changes = wanted.changes
    state.sockets = publication.sockets
    state.fleetSequence = publication.sequence
    pending.append(
      PendingAck(
        fleetSequence: publication.sequence, revision: wanted.revision, sequence: wanted.sequence,
        sockets: publication.sockets))
    scheduleBindRetry(now)
    return nil
  }

  /// What another process holds may become free; a missing right does not come back.
  private mutating func scheduleBindRetry(_ now: UInt64) {
    let isWorthIt = state.sockets.contains { $0.code == EADDRINUSE || $0.code == EADDRNOTAVAIL }
    nextBindRetry = isWorthIt ? now + Self.bindRetryMilliseconds : .max
  }

  /// Tells the controller what every worker serves by now.
  private mutating func acknowledge(_ now: UInt64) {
    let adopted = fleet.adoptedSequence
    while let ack = pending.first, ack.fleetSequence <= adopted {
      pending.removeFirst()
      if !state.isAdopted {
        log.info("ready: every worker serves snapshot \(ack.revision)")
        state.isAdopted = true
      }
      subscriber?.send(
        .ack(Ack(revision: ack.revision, sequence: ack.sequence, sockets: ack.sockets)))
      log.debug("every worker serves snapshot \(ack.revision), endpoints \(ack.sequence)")
      saveEndpointsAt = min(saveEndpointsAt, now + Self.saveEndpointsMilliseconds)
    }
    if pending.isEmpty { saveImage() }
    subscriber?.flush(now)
  }

  private mutating func saveImage() {
    guard let file, let image = state.image, state.isAdopted, image.checksum != savedChecksum else { return }
    savedChecksum = image.checksum
    do throws(SnapshotFileError) {
      try file.save(image)
    } catch { log.error("snapshot \(image.revision) is not kept on disk: \(error)") }
  }

  private mutating func housekeeping(_ now: UInt64) {
    if now >= saveEndpointsAt {
      saveEndpointsAt = .max
      saveEndpoints()
    }
    if now >= nextBindRetry, let image = state.image, drainDeadline == nil {
      let before = state.sockets
      let again = WantedConfiguration(
        image: image, revision: image.revision, sequence: state.sequence, changes: state.changes)
      nextBindRetry = now + Self.bindRetryMilliseconds
      if let reason = publish(again, now) { log.error("another try to bind: \(reason)") }
      for socket in state.sockets where socket.code == 0 && !before.contains(socket) {
        log.info("listener \(socket.address):\(socket.port): port \(socket.bindPort) is bound now")
      }
    }
    if now >= nextHealth, subscriber?.isConnected == true {
      nextHealth = now + Self.healthMilliseconds
      let health = health(now)
      subscriber?.send(.health(health))
      subscriber?.flush(now)
    }
    if let deadline = drainDeadline, fleet.isDrained || now > deadline + 500 {
      if now >= deadline { counters.hit(.drainTimeout) }
      log.info(now < deadline ? "drained" : "drain deadline passed, what was open is closed")
      exitCode = 0
    }
  }

  private func saveEndpoints() {
    guard let file, let image = state.image else { return }
    let update = EndpointUpdate(
      revision: image.revision, sequence: state.sequence, backends: state.changes)
    do throws(SnapshotFileError) {
      try file.save(update, of: image)
    } catch { log.error("endpoints \(state.sequence) are not kept on disk: \(error)") }
  }

  private func health(_ now: UInt64) -> Health {
    let counters = fleet.counters
    let sum = { (counter: Counter) in counters.reduce(0 as UInt64) { $0 &+ $1.value(counter) } }
    return Health(
      uptimeMilliseconds: now - startMilliseconds, revision: state.image?.revision ?? 0,
      sequence: state.sequence, connections: sum(.downstreamConnectionsActive),
      requests: sum(.requestsHTTP1) &+ sum(.requestsHTTP2), isDraining: drainDeadline != nil)
  }

  // MARK: Signals

  private mutating func readSignals(_ now: UInt64) {
    while let number = signals.map({ clinux_next_signal($0.number) }), number != 0 {
      if number == SIGHUP { reopenLogs() } else { beginDrain(now) }
    }
  }

  private func reopenLogs() {
    guard let accessLog = options.accessLog else { return }
    do throws(AccessLogError) {
      try accessLog.reopen()
      log.info("access log \(accessLog.path) opened again")
    } catch { log.error("\(error); the old file stays in use") }
  }

  /// A second signal ends the process at once.
  mutating func beginDrain(_ now: UInt64) {
    if drainDeadline != nil {
      log.warning("second signal: ending at once")
      exitCode = 1
      return
    }
    let timeout = options.limits.drainTimeout
    log.info("draining, at most \(timeout) ms")
    drainDeadline = now + UInt64(timeout)
    nextBindRetry = .max
    subscriber?.disconnect(now, "this data plane drains")
    subscriber = nil
    fleet.beginDrain(milliseconds: timeout)
  }

  // MARK: Admin

  private mutating func serveAdmin(_ questions: ArraySlice<pollfd>, _ now: UInt64) {
    let view = AdminView(
      state: state, counters: fleet.counters, mainCounters: counters,
      uptimeMilliseconds: now - startMilliseconds,
      isDraining: drainDeadline != nil, isConnected: subscriber?.isConnected ?? false,
      controlPath: options.controlPath, refusals: subscriber?.refusals ?? 0, limits: options.limits)
    let fleet = fleet
    admin.serve(
      questions, now: now,
      answer: { request in view.answer(request, hasListener: { fleet.hasListener(port: $0) }) },
      handOver: { descriptor, port in fleet.handOver(descriptor, port: port) })
  }
}

/// What the workers were told last.
struct ServedState {
  var image: MappedImage?
  var sequence: UInt64 = 0
  var changes: [EndpointUpdate.Backend] = []
  var sockets: [SocketStatus] = []
  var fleetSequence: UInt64 = 0
  /// Every worker serves a configuration, at least the first.
  var isAdopted = false
  var isFromDisk = false
  var adminPort: UInt16 = 0

  /// The same image with the same endpoints is published, and no socket is left to be tried again.
  func serves(_ other: MappedImage, _ wanted: WantedConfiguration) -> Bool {
    guard let image, fleetSequence != 0 else { return false }
    return image.revision == other.revision && image.checksum == other.checksum
      && image.byteCount == other.byteCount && changes == wanted.changes
      && sockets.allSatisfy { $0.code == 0 }
  }
}
