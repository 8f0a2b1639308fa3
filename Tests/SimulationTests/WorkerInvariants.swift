import HTTP2
import SystemIO
import Telemetry
import Upstream

@testable import DataPlane

/// What must hold between any two steps of a worker.
extension Worker where Engine == SimulatedEngine {
  /// Nil when all is well, else what is not.
  func findFault(_ plan: SimulationPlan) -> String? {
    var gauges = Gauges()
    if let fault = checkStreams(&gauges) ?? checkConnections(plan, &gauges) ?? checkSlots() { return fault }
    // It walks over all connections for every endpoint.
    if counters.value(.loopTurns) % 4 == 0, let fault = pools.checkInvariants() { return "pool: \(fault)" }
    if pools.connectionCount != gauges.pooled {
      return "the pool knows \(pools.connectionCount) connections, there are \(gauges.pooled)"
    }
    for (cell, users) in cellUsers() {
      let readers = gauges.readers[cell, default: 0] + (cell == currentCell ? 1 : 0)
      if users != readers { return "configuration \(cell) has \(users) users, \(readers) read it" }
    }
    return checkGauges(gauges)
  }

  /// What the tables hold, counted.
  struct Gauges {
    var streams = 0
    var withUpstream = 0
    var tunnels = 0
    var downstream = 0
    var upstream = 0
    var clientStreams = 0
    var pooled = 0
    var readers: [Int32: Int32] = [:]
  }

  func cellUsers() -> [(cell: Int32, users: Int32)] {
    (0..<Int32(16)).map { ($0, cells[$0][].users) }
  }

  private func checkGauges(_ gauges: Gauges) -> String? {
    if openDownstream != gauges.downstream { return "openDownstream \(openDownstream), not \(gauges.downstream)" }
    let pairs: [(Counter, Int)] = [
      (.requestsActive, gauges.streams), (.upstreamRequestsActive, gauges.withUpstream),
      (.upgradesActive, gauges.tunnels), (.downstreamConnectionsActive, gauges.downstream),
      (.upstreamConnectionsActive, gauges.upstream), (.http2StreamsActive, gauges.clientStreams),
    ]
    for (counter, real) in pairs where counters.value(counter) != UInt64(real) {
      return "\(counter) is \(Int64(bitPattern: counters.value(counter))), there are \(real)"
    }
    return nil
  }

  /// What is under way, for the trace.
  var description: String {
    var lines: [String] = []
    for index in 0..<usedStreams where streams[index][].downstream >= 0 {
      let s = streams[index][]
      let client = connections[s.downstream][]
      var line = "stream \(index): flags \(s.flags.rawValue), client \(s.downstream) reads \(client.incoming)"
      line += " flags \(client.flags.rawValue), unsent \(engine.unsentBytes(client.handle)), owes \(s.downstreamDebt)"
      if s.downstreamID != 0 { line += ", queued \(client.session?.queuedBytes(s.downstreamID) ?? 0)" }
      if s.upstream >= 0 {
        let backend = connections[s.upstream][]
        line += "; backend \(s.upstream) \(backend.phase) flags \(backend.flags.rawValue), owes \(s.upstreamDebt)"
        line += ", unsent \(engine.unsentBytes(backend.handle))"
        if s.upstreamID != 0 { line += ", queued \(backend.session?.queuedBytes(s.upstreamID) ?? 0)" }
      }
      lines.append(line)
    }
    return lines.joined(separator: "\n")
  }

  // MARK: Streams

  private func checkStreams(_ gauges: inout Gauges) -> String? {
    var free = 0
    var at = firstFreeStream
    while at >= 0 {
      free += 1
      if free > usedStreams { return "the list of free streams runs in a circle" }
      if streams[at][].downstream >= 0 { return "stream \(at) is free and in use" }
      at = streams[at][].next
    }
    for index in 0..<usedStreams where streams[index][].downstream >= 0 {
      gauges.streams += 1
      if let fault = checkStream(index, &gauges) { return "stream \(index): \(fault)" }
    }
    if free + gauges.streams != Int(usedStreams) {
      return "\(free) streams are free and \(gauges.streams) in use, of \(usedStreams)"
    }
    return nil
  }

  private func checkStream(_ index: Int32, _ gauges: inout Gauges) -> String? {
    let s = streams[index][]
    let client = connections[s.downstream][]
    if client.role != .downstream { return "its client connection \(s.downstream) is \(client.role)" }
    if s.flags.contains(.downstreamHTTP2) {
      if client.phase != .http2 { return "its client connection is no session" }
    } else if client.stream != index {
      return "its client connection carries \(client.stream)"
    }
    if s.cell >= 0 { gauges.readers[s.cell, default: 0] += 1 }
    if s.flags.contains(.tunnelled) { gauges.tunnels += 1 }
    let hasDeadline = s.requestDeadline != 0 || s.backendDeadline != 0
    if hasDeadline, !s.flags.contains(.timerArmed) { return "it has a deadline and no timer" }
    if s.flags.contains(.timerArmed) != streamTimers.isScheduled(index) { return "its timer is not what it says" }
    if s.pendingBody.count > 600_000 { return "\(s.pendingBody.count) bytes of its body wait" }
    guard s.upstream >= 0 else { return nil }
    gauges.withUpstream += 1
    let backend = connections[s.upstream][]
    if backend.role != .upstream { return "its backend connection \(s.upstream) is \(backend.role)" }
    if s.flags.contains(.http2Upstream) != backend.flags.contains(.speaksHTTP2) { return "its backend's protocol" }
    if !s.flags.contains(.http2Upstream), backend.stream != index {
      return "its backend connection carries \(backend.stream)"
    }
    return nil
  }

  // MARK: Connections

  private func checkConnections(_ plan: SimulationPlan, _ gauges: inout Gauges) -> String? {
    var listed = 0
    for index in 0...highestDescriptor {
      let connection = connections[index][]
      var fault: String?
      switch connection.role {
      case .free: continue
      case .listener: break
      case .downstream:
        gauges.downstream += 1
        gauges.clientStreams += Int(connection.openStreams)
        fault = checkClient(index, connection, &listed)
      case .upstream:
        gauges.upstream += 1
        fault = checkBackend(index, connection, &gauges, &listed)
      case .datagramListener, .datagramSession: fault = "there are no datagrams in this world"
      }
      fault = fault ?? checkAny(index, connection, plan)
      if let fault { return "\(connection.role) connection \(index): \(fault)" }
    }
    // Each stream of a session is in the list of its client's connection and of its backend's, so both were met.
    var expected = 0
    for index in 0..<usedStreams where streams[index][].downstream >= 0 {
      if streams[index][].flags.contains(.downstreamHTTP2) { expected += 1 }
      if streams[index][].flags.contains(.http2Upstream), streams[index][].upstream >= 0 { expected += 1 }
    }
    return listed == expected ? nil : "\(listed) streams are in the lists of sessions, \(expected) should be"
  }

  private func checkAny(_ index: Int32, _ connection: Connection, _ plan: SimulationPlan) -> String? {
    let slot = engine.network.slots[Int(index)]
    if slot.handle != connection.handle { return "its handle is stale" }
    if slot.kind != (connection.role == .listener ? .listener : .stream) { return "its descriptor is \(slot.kind)" }
    if connection.role == .listener { return nil }
    if connection.phase != .connecting, connection.flags.contains(.readingPaused) == slot.isReceiving {
      return "it is \(slot.isReceiving ? "" : "not ")read, and its flags say the contrary"
    }
    if connection.flags.contains(.waitsForTurn), !unread.contains(index) || !connection.flags.contains(.readingPaused) {
      return "it waits for a turn that does not come, or is read meanwhile"
    }
    if connection.deadline != 0 {
      if connection.timerAt == 0 { return "it has a deadline and no timer" }
      if connection.timerAt > connection.deadline { return "its timer fires after its deadline" }
    }
    if connection.timerAt != 0, connection.timerAt + 8 < timersMilliseconds { return "its timer has not fired" }
    if (connection.timerAt != 0) != connectionTimers.isScheduled(index) {
      return "its timer is \(connectionTimers.isScheduled(index) ? "" : "not ")armed, and it says \(connection.timerAt)"
    }
    let most = limits.maxHeadBytes + receiveBytes
    if connection.stash.count > most { return "\(connection.stash.count) bytes are stashed" }
    let bound = limits.bufferHighWater + receiveBytes + 200_000
    if slot.kept.count > bound { return "\(slot.kept.count) bytes wait to be sent" }
    return nil
  }

  private func checkClient(_ index: Int32, _ connection: Connection, _ listed: inout Int) -> String? {
    if connection.endpoint >= 0 || pools.endpoint(of: index) >= 0 { return "it has an endpoint" }
    guard connection.phase == .http2 else {
      if connection.firstStream >= 0 { return "it has a list of streams" }
      return connection.stream < 0 || streams[connection.stream][].downstream == index ? nil : "its stream"
    }
    var at = connection.firstStream
    var before: Int32 = -1
    while at >= 0 {
      let s = streams[at][]
      if s.downstream != index || s.previousSibling != before { return "its list of streams breaks at \(at)" }
      listed += 1
      (before, at) = (at, s.sibling)
      if listed > 2 * Int(usedStreams) { return "its list of streams runs in a circle" }
      let queued = s.downstreamID == 0 ? 0 : connection.session?.queuedBytes(s.downstreamID) ?? 0
      if queued > limits.bufferHighWater + receiveBytes + 200_000 { return "\(queued) bytes are queued for a stream" }
    }
    return nil
  }

  private func checkBackend(
    _ index: Int32, _ connection: Connection, _ gauges: inout Gauges, _ listed: inout Int
  ) -> String? {
    if connection.endpoint >= 0 { gauges.pooled += 1 }
    if pools.endpoint(of: index) != connection.endpoint {
      return "it is of endpoint \(connection.endpoint), the pool says \(pools.endpoint(of: index))"
    }
    guard connection.flags.contains(.speaksHTTP2) else {
      if connection.flags.contains(.idle) != (connection.stream < 0) {
        return connection.stream < 0 ? "it carries nothing and is not idle" : "it is idle with a stream"
      }
      return connection.stream < 0 || streams[connection.stream][].upstream == index ? nil : "its stream"
    }
    var at = connection.firstStream
    var before: Int32 = -1
    while at >= 0 {
      let s = streams[at][]
      if s.upstream != index || s.upstreamPrevious != before || !s.flags.contains(.http2Upstream) {
        return "its list of streams breaks at \(at)"
      }
      listed += 1
      (before, at) = (at, s.upstreamNext)
      if listed > 2 * Int(usedStreams) { return "its list of streams runs in a circle" }
    }
    return nil
  }

  /// Every descriptor has its connection.
  private func checkSlots() -> String? {
    for slot in engine.network.slots {
      switch slot.kind {
      case .free, .closing: continue
      // Only between two turns: the configuration that brings it is still in the mail.
      case .offered: if mailbox.hasMail { continue } else { return "descriptor \(slot.index) was left alone" }
      case .stream, .listener:
        let role = connections[Int32(slot.index)][].role
        let isKnown = slot.kind == .listener ? role == .listener : role == .downstream || role == .upstream
        if !isKnown { return "descriptor \(slot.index) is open and its connection is \(role)" }
      }
    }
    return nil
  }
}
