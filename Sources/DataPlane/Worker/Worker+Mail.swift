import Glibc
import HTTP2
import HTTPSemantics
import RoutingTable
import SystemIO
import TLS
import Telemetry
import Upstream

/// What the control thread says: configurations, descriptors handed over, drain, stop.
extension Worker where Engine: ~Copyable {
  mutating func readMail() {
    for command in mailbox.take() {
      switch command {
      case .adopt(let configuration, let added, let removed):
        adopt(configuration, added: added, removed: removed)
      case .handOver(let descriptor, let socketSlot):
        counters.add(.downstreamConnectionsHandedOver)
        _ = openDownstreamConnection(descriptor: descriptor, peer: SocketAddress(), socketSlot: socketSlot)
      case .drain(let deadline):
        beginDrain(deadline: deadline)
      case .stop:
        isStopped = true
      }
    }
  }

  /// One swap: requests that begin from now on read the new configuration, those under way keep theirs.
  private mutating func adopt(
    _ configuration: LoadedConfiguration, added: [ListenerSocket], removed: [Int16]
  ) {
    let index = takeCell()
    let previous = currentCell
    pools.reserve(
      endpoints: Int(configuration.view.endpointSlotCount), backends: Int(configuration.view.backendSlotCount))
    sessions.reserve(endpoints: Int(configuration.view.endpointSlotCount))
    unsafe cells[index][] = Cell(
      view: configuration.view, users: 1, owner: Unmanaged.passRetained(configuration))
    currentCell = index
    for listener in added { listen(listener) }
    for slot in removed { stopListening(slot: slot) }
    if previous >= 0 {
      retireEndpoints()
      forgetSessions(of: cells[previous][].view)
    }
    if previous >= 0 { releaseCell(previous) }
    counters.add(.configurationsAdopted)
    mailbox.adopted(configuration.view.sequence)
  }

  /// A stream holds its cell only until its response begins, so that few are in use at any time.
  private mutating func takeCell() -> Int32 {
    var index: Int32 = 0
    while cells[index][].users != 0 { index += 1 }
    return index
  }

  @inline(__always)
  func retainCell(_ index: Int32) { cells[index][].users += 1 }

  @inline(__always)
  mutating func releaseCell(_ index: Int32) {
    cells[index][].users -= 1
    if cells[index][].users == 0 { freeCell(index) }
  }

  @inline(never)
  private mutating func freeCell(_ index: Int32) {
    // SAFETY: balances `passRetained` in `adopt`; nobody reads the cell any more.
    let configuration = unsafe cells[index][].owner.takeRetainedValue()
    mailbox.retire(configuration)
  }

  /// Connections to endpoints that the new configuration does not name: idle ones are closed, busy ones finish
  /// and are not used again. Their endpoint's number may be given to another endpoint afterwards.
  private mutating func retireEndpoints() {
    let view = cells[currentCell][].view
    var index: Int32 = 0
    while index <= highestDescriptor {
      let connection = connections[index]
      let endpoint = connection[].endpoint
      if connection[].role == .upstream, endpoint >= 0, !view.isCurrent(endpoint: endpoint) {
        pools.remove(index)
        connection[].endpoint = -1
        if connection[].flags.contains(.idle) {
          closeIdle(index)
        } else if connection[].flags.contains(.speaksHTTP2) && connection[].firstStream < 0 {
          closeLater(index)
        } else {
          connection[].flags.insert(.draining)
        }
      } else if connection[].role == .datagramSession, !view.isCurrent(endpoint: endpoint) {
        closeSession(index)
      }
      index += 1
    }
  }

  // MARK: Drain

  private mutating func beginDrain(deadline: UInt64) {
    isDraining = true
    drainDeadline = deadline
    var index: Int32 = 0
    while index <= highestDescriptor {
      let connection = connections[index]
      switch connection[].role {
      case .listener:
        engine.stopListening(connection[].handle)
        connection[].role = .free
      case .downstream:
        drainConnection(index)
      case .datagramSession:
        drainSession(index)
      case .free, .upstream, .datagramListener:
        break
      }
      index += 1
    }
  }

  /// HTTP/2: GOAWAY; HTTP/1: the next response says `Connection: close`. An idle connection is closed a moment
  /// later, so that a request that is on its way is still answered.
  mutating func drainConnection(_ index: Int32) {
    let connection = connections[index]
    guard !connection[].flags.contains(.draining) else { return }
    connection[].flags.insert(.draining)
    if connection[].phase == .http2, let session = connection[].session {
      session.goAway(graceful: true)
      markDirty(index)
      // Also when the client never answers the PING that comes with it.
      if connection[].firstStream < 0 { arm(index, at: min(drainDeadline, nowMilliseconds + 1000)) }
    } else if connection[].stream < 0, connection[].phase != .tunnel {
      arm(index, at: min(drainDeadline, nowMilliseconds + 1000))
    }
  }
}
