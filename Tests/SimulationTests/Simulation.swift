import ControlProtocol
import HTTP2
import RoutingTable
import SystemIO
import TLS
import Telemetry

@testable import DataPlane

/// One worker in a world of its own: clock, network, clients and backends, all of it decided by one number.
final class Simulation {
  let seed: UInt64
  let plan: SimulationPlan
  let network: SimulatedNetwork
  /// Of the clients and backends.
  let inbox: HTTP2Inbox
  let counters = CounterBlock.allocate()
  let mailbox = Mailbox(controlDescriptor: -1)
  var worker: Worker<SimulatedEngine>
  private(set) var exchanges: [Exchange] = []
  private var unresolved = 0
  var liveClients = 0
  /// What must not happen and did; the first is the one to look at.
  private(set) var failures: [String] = []
  private(set) var steps = 0
  private(set) var isTracing = false

  private var table = SimulatedTable()
  private var interner = EndpointInterner()
  private let ticketKeys = TLSTicketKeys(intervalMilliseconds: 3_600_000)
  private var sequence: UInt64 = 0
  /// Slots of the listening sockets by port.
  private var listeners: [(port: UInt16, slot: Int, socketSlot: Int16)] = []
  private var isDraining = false

  init(seed: UInt64, isTracing: Bool = false) throws {
    self.seed = seed
    var random = SimulatedRandom(seed: seed)
    plan = SimulationPlan(seed: seed, random: &random)
    guard let inbox = HTTP2Inbox.make(server: plan.peerLimits, client: plan.peerLimits) else {
      throw SystemError(errno: 12, operation: "memory for HTTP/2")
    }
    self.inbox = inbox
    var options = DataPlaneOptions(workers: 1)
    options.limits = plan.limits
    options.log = LineLogger(level: .error)
    worker = try Worker(
      mailbox: mailbox, options: options, counters: counters, budget: ProcessBudget(maxMemory: 0), seed: seed, slots: 80
    )
    // The clock stands still in a turn: it is long from its beginning, or never.
    worker.slice = [8, 1, 20, 8][Int(seed / 3 % 4)]
    if worker.slice != 8 { worker.turnNanoseconds = 0 }
    network = worker.engine.network
    network.random = random
    network.conditions = plan.conditions
    network.answer = { [unowned self] address, link in connected(to: address, link) }
    self.isTracing = isTracing
    if isTracing {
      network.trace = { [unowned network] text in print("\(Double(network.now / 1000) / 1000) ms: \(text())") }
    }
    // The clock of the simulation began before its conditions were known.
    worker.updateClock()
  }

  deinit {
    network.tearDown()
    worker.inbox.destroy()
    inbox.destroy()
    counters.deallocate()
  }

  // MARK: The run

  /// Lets everything happen that the seed stands for. The result is in `failures`.
  func run() throws {
    try publish()
    prepareClients()
    for _ in 0..<plan.swaps {
      network.after(network.random.within(0...2_000_000)) { [self] in swap() }
    }
    if let after = plan.drainAfter {
      network.after(after) { [self] in drain(milliseconds: network.random.pick([0, 300, 20_000])) }
    }
    watch()
    var event = IOEvent()
    while failures.isEmpty, worker.beginTurn() {
      check()
      while failures.isEmpty, worker.engine.next(&event) {
        network.note("event \(event.kind) of \(event.socket.index)\(event.count > 0 ? ", \(event.count) bytes" : "")")
        worker.dispatch(event)
        check()
      }
      collectRetired()
      if network.isDead { fail("nothing will ever happen any more, and the worker does not stop") }
    }
    guard failures.isEmpty else { return network.note(worker.description) }
    worker.flushTurn()
    check()
    checkEnd()
  }

  /// Nanoseconds for which a world where nothing goes wrong never stands still with requests under way: backends think
  /// for at most 100 ms, readers pause for 200 ms, segments are under way for 30 ms.
  private static let quiet: UInt64 = 5_000_000_000

  /// Ends the simulation when all is over: first a drain, as at the end of every worker.
  private func watch() {
    network.after(50_000) { [self] in
      if unresolved == 0, liveClients == 0 || network.now > 500_000_000_000 {
        if liveClients > 0 { return fail("\(liveClients) connections of clients whose requests are over stay open") }
        drain(milliseconds: 30_000)
      } else if plan.isCalm, network.now - network.movedAt > Self.quiet {
        fail("\(unresolved) requests have no outcome, and nothing moves any more")
      } else if network.now > 7_000_000_000_000 {
        fail("\(unresolved) requests have no outcome after two hours")
      } else {
        watch()
      }
    }
  }

  private func drain(milliseconds: Int) {
    if isDraining { return }
    isDraining = true
    network.note("drain, \(milliseconds) ms")
    listeners = []
    mailbox.post(.drain(deadlineMilliseconds: network.now / 1_000_000 + UInt64(milliseconds)))
    network.wake()
  }

  func fail(_ reason: String) {
    network.note("FAULT: \(reason)")
    failures.append("seed \(seed), step \(steps), \(network.now / 1_000_000) ms: \(reason)")
  }

  private func check() {
    steps += 1
    for fault in network.faults { fail(fault) }
    network.faults = []
    if let fault = worker.findFault(plan) { fail(fault) }
  }

  /// Everything that the worker had is free again.
  private func checkEnd() {
    let isCut = worker.nowMilliseconds >= worker.drainDeadline
    if !isCut, plan.drainAfter == nil, unresolved > 0 {
      fail("\(unresolved) requests have no outcome, and the worker has stopped")
    }
    if isCut { return }
    for slot in network.slots where slot.kind != .free && slot.link?.peerIsBackend != true {
      fail("descriptor \(slot.index) is \(slot.kind) after the end")
    }
    if worker.openDownstream != 0 { fail("\(worker.openDownstream) connections of clients after the end") }
    for stream in 0..<worker.usedStreams where worker.streams[stream][].downstream >= 0 {
      fail("stream \(stream) is in use after the end")
    }
    for (cell, users) in worker.cellUsers() where users != (cell == worker.currentCell ? 1 : 0) {
      fail("configuration \(cell) has \(users) users after the end")
    }
  }

  // MARK: Clients and requests

  private func prepareClients() {
    for _ in 0..<plan.clients {
      let isHTTP2 = network.random.chance(plan.http2Percent)
      var list: [Exchange] = []
      for _ in 0..<(isHTTP2 ? plan.requestsEach * 3 : plan.requestsEach) {
        list.append(plan.exchange(exchanges.count + 1, isHTTP2: isHTTP2, &network.random))
        exchanges.append(list[list.count - 1])
      }
      unresolved += list.count
      let depth = network.random.pick([1, 2, 5, 20])
      let port = network.random.chance(70) ? 80 : 81
      network.after(network.random.within(0...1_500_000)) { [self] in
        if isHTTP2 {
          _ = HTTP2Client(self, list, width: depth, port: port)
        } else {
          _ = HTTP1Client(self, list, depth: depth, port: port)
        }
      }
    }
  }

  func listener(_ port: Int) -> Int? { listeners.first { $0.port == UInt16(port) }?.slot }

  func exchange(ofPath path: some StringProtocol) -> Exchange? {
    guard let id = Exchange.id(ofPath: path), exchanges.indices.contains(id - 1) else { return nil }
    let exchange = exchanges[id - 1]
    return exchange.path == path ? exchange : nil
  }

  func resolve(_ exchange: Exchange, _ outcome: Exchange.Outcome) {
    network.note("\(exchange.id): \(outcome)")
    unresolved -= 1
    if !exchange.resolve(outcome) { fail("\(exchange.id) was answered twice") }
    guard plan.isCalm, outcome != .answered else { return }
    let expected: Exchange.Outcome? =
      switch exchange.route {
      case .redirect: .local(302)
      case .fixed: .local(403)
      case .nowhere: .local(404)
      default: nil
      }
    if outcome == expected || outcome == .aborted("behind a close") { return }
    // Timeouts act before an answer or in it.
    if exchange.isTimed {
      switch outcome {
      case .local(504), .aborted: return
      default: break
      }
    }
    fail("\(exchange.id) (\(exchange.method) \(exchange.path)) came to \(outcome), and nothing had gone wrong")
  }

  /// A backend has read the head of a request and acts on it.
  func arrived(_ exchange: Exchange, at endpoint: String) {
    network.note("\(endpoint) got \(exchange.id)")
    exchange.acted += 1
    if !exchange.isIdempotent, exchange.acted > 1 { fail("\(exchange.id) (\(exchange.method)) was sent twice") }
    if exchange.acted > 4 { fail("\(exchange.id) was sent \(exchange.acted) times") }
    let isHTTP2 = exchange.route == .two || exchange.route == .twoTimed || exchange.route == .grpc
    if endpoint.hasPrefix("10.0.2") != isHTTP2 { fail("\(exchange.id) went to \(endpoint)") }
  }

  /// Bytes that are not where they belong: whose they are, where they can be told.
  func failBytes(_ bytes: [UInt8], _ exchange: Exchange, isAnswer: Bool, at offset: Int, _ place: String) {
    let length = isAnswer ? exchange.answer.length : exchange.requestLength
    var text = "\(place): \(bytes.count) bytes at \(offset) of \(exchange.id) (\(length) bytes) are not its own"
    let some = bytes.prefix(16)
    if some.count >= 4 {
      let all = [exchange] + exchanges
      for other in all {
        for isOther in [true, false] {
          let length = isOther ? other.answer.length : other.requestLength
          guard let at = (0..<max(0, length)).first(where: { other.agrees(some, isAnswer: isOther, from: $0) }) else {
            continue
          }
          text += ", but those at \(at) of \(isOther ? "answer" : "request") \(other.id)"
          return fail(text)
        }
      }
      text += ": \(some)"
    }
    fail(text)
  }

  /// The head of an answer has come to the client that waits for it.
  func check(_ id: String?, _ status: Int, for exchange: Exchange) {
    if id == "0" {
      // It was sent before anything of the surplus had been read: nobody could tell. See `SimulatedLink.sendSurplus`.
      exchange.gotSurplus = true
      return
    }
    if let id {
      if id != "\(exchange.id)" { fail("\(exchange.id) got the answer of \(id)") }
      if status != exchange.answer.status { fail("\(exchange.id) got the status \(status)") }
      if exchange.acted == 0 { fail("\(exchange.id) was answered by nobody") }
      return
    }
    let known = [200, 302, 403, 404, 408, 413, 431, 500, 502, 503, 504]
    if !known.contains(status) || status == 200 && exchange.route != .grpc {
      fail("\(exchange.id) got \(status) from the proxy")
    }
  }

  // MARK: Backends

  private func connected(to address: SocketAddress, _ link: SimulatedLink) {
    link.peerIsBackend = true
    if network.random.chance(plan.silentConnectPercent) { return }
    let isRefused = network.random.chance(plan.refusedConnectPercent)
    let endpoint = "\(address)"
    network.afterDelay { [self] in
      if link.workerHasClosed { return }
      if isRefused { return link.finishConnecting(error: 111) }
      if endpoint.hasPrefix("10.0.2") {
        let backend = HTTP2Backend(self, link, endpoint: endpoint)
        link.setPeer(backend)
        link.finishConnecting(error: 0)
        backend.start()
      } else {
        link.setPeer(HTTP1Backend(self, link, endpoint: endpoint))
        link.finishConnecting(error: 0)
      }
    }
  }

  // MARK: Configurations

  private func swap() {
    if isDraining { return }
    table.revision += 1
    let least = plan.swapsAreHarsh ? 0 : 1
    table.one = choose(from: [1, 2, 3], atLeast: least)
    table.two = choose(from: [1, 2, 3], atLeast: least)
    if plan.swapsAreHarsh { table.ports = network.random.pick([[80], [80, 81], [80, 81]]) }
    do { try publish() } catch { fail("a table was refused: \(error)") }
  }

  private func choose(from list: [Int], atLeast least: Int) -> [Int] {
    let some = list.filter { _ in network.random.chance(60) }
    return some.count < least ? [network.random.pick(list)] : some
  }

  /// As `Fleet.publish` does.
  private func publish() throws {
    let bytes = try compile(table.source)
    let checksum = unsafe bytes.withUnsafeBytes { unsafe imageChecksum($0) }
    let notice = SnapshotNotice(
      revision: table.revision, byteCount: UInt64(bytes.count), checksum: checksum, endpointSequence: 0)
    let resources = try ImageResources(
      MappedImage(copying: bytes, notice: notice), ticketKeys: ticketKeys, limits: plan.limits, reusing: nil)
    sequence += 1
    let configuration = LoadedConfiguration(resources, changes: [], sequence: sequence, interner: &interner)
    var added: [ListenerSocket] = []
    for socket in configuration.sockets where !listeners.contains(where: { $0.port == socket.port }) {
      guard let slot = network.takeSlot(.offered, nil) else { continue }
      added.append(
        ListenerSocket(slot: socket.slot, descriptor: Int32(slot.index) + SimulatedEngine.firstDescriptor))
      listeners.append((socket.port, slot.index, socket.slot))
    }
    let removed = listeners.filter { listener in !configuration.sockets.contains { $0.port == listener.port } }
    listeners.removeAll { listener in removed.contains { $0.port == listener.port } }
    network.note("configuration \(sequence): one \(table.one), two \(table.two), ports \(table.ports)")
    mailbox.post(.adopt(configuration, added: added, removed: removed.map(\.socketSlot)))
    network.wake()
  }

  private func collectRetired() {
    for configuration in mailbox.takeRetired() { configuration.release(to: &interner) }
  }
}
