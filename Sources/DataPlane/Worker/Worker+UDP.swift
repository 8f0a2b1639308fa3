import Glibc
import HTTPSemantics
import RoutingTable
import SystemIO
import Telemetry
import Upstream

/// What a session needs besides its `Connection`, by the same index.
struct DatagramSession {
  /// The listener that its client speaks to, as the engine knows it.
  var listener = Socket.none
  var local = LocalAddress()
}

/// UDP: the datagrams of one client at one listener are a session, which has a backend and a socket of its own to it,
/// so that answers find their way back. It ends when nothing has passed for a while.
///
/// The socket to the backend stands in the connection table under the role `datagramSession`, with the client as its
/// peer; a `Stream` holds the rest until the access log's line.
extension Worker where Engine: ~Copyable {
  /// Most batches of one socket in a turn; what is left waits for the next.
  private static var batchesPerTurn: Int { 4 }

  mutating func listenDatagrams(_ listener: ListenerSocket) {
    guard let handle = engine.watch(listener.descriptor) else {
      close(listener.descriptor)
      return
    }
    var connection = Connection()
    connection.role = .datagramListener
    connection.handle = handle
    connection.socketSlot = listener.slot
    place(connection)
  }

  mutating func datagramsReadable(_ index: Int32) {
    switch connections[index][].role {
    case .datagramListener: readClients(index)
    case .datagramSession: readBackend(index)
    case .free, .listener, .downstream, .upstream: break
    }
  }

  // MARK: From clients

  private mutating func readClients(_ index: Int32) {
    let listener = connections[index][].handle
    var batch = 0
    while batch < Self.batchesPerTurn, datagrams.receive(listener) > 0 {
      var number = 0
      while number < datagrams.count {
        forwardDatagram(number, listener)
        number += 1
      }
      if datagrams.count < DatagramBatch.capacity { return }
      batch += 1
    }
  }

  private mutating func forwardDatagram(_ number: Int, _ listener: Socket) {
    let bytes = unsafe datagrams.bytes(number)
    counters.add(.udpDatagramsReceived)
    let key = DatagramKey(listener: listener.index, peer: datagrams.peer(number), local: datagrams.local(number))
    var session = datagramSessions.find(key)
    if session < 0 { session = openSession(key, listener) }
    guard session >= 0 else {
      counters.add(.udpDatagramsDropped)
      return
    }
    noteActivity(session)
    streams[connections[session][].stream][].bytesReceived += UInt64(bytes.count)
    if unsafe !connections[session][].handle.send(datagram: bytes) { counters.add(.udpDatagramsDropped) }
  }

  /// - Returns: the session's index, -1 when there can be none; the datagram is dropped then, as datagrams may be.
  private mutating func openSession(_ key: DatagramKey, _ listener: Socket) -> Int32 {
    guard !isDraining, datagramSessions.count < limits.maxUDPSessions else {
      if !isDraining { hit(.maxUDPSessions, peer: key.peer.unmapped) }
      return -1
    }
    guard let stream = newStream(downstream: listener.index) else { return -1 }
    let s = streams[stream]
    s[].startedNanoseconds = nowNanoseconds
    s[].flags = [.layer4, .datagrams]
    let index = connectSession(stream, listener)
    guard index >= 0 else {
      releaseStreamCell(stream)
      recycleStream(stream)
      return -1
    }
    s[].downstream = index
    let connection = connections[index]
    connection[].stream = stream
    connection[].peer = key.peer.unmapped
    releaseStreamCell(stream)
    sessionDetails[index][] = DatagramSession(listener: listener, local: key.local)
    datagramSessions.insert(key, index)
    // What waits for the drain's end.
    openDownstream += 1
    counters.add(.udpSessions)
    counters.add(.udpSessionsActive)
    arm(index, at: nowMilliseconds + UInt64(limits.udpSessionIdleTimeout))
    return index
  }

  /// A socket to an endpoint of the rule's backend.
  private mutating func connectSession(_ stream: Int32, _ listener: Socket) -> Int32 {
    let s = streams[stream]
    let slot = connections[listener.index][].socketSlot
    guard let socket = currentSocket(slot: slot) else { return -1 }
    s[].cell = currentCell
    retainCell(currentCell)
    let view = cells[currentCell][].view
    let answer = view.image.lookup(socket: Int(socket), serverName: .empty)
    guard answer.outcome == .matched else {
      counters.add(.noRoute)
      return -1
    }
    if accessLog >= 0 {
      for _ in 0..<4 { keepText(stream, .empty) }
    }
    guard pickBackend(stream, rule: answer.rule) else { return -1 }
    guard pickEndpoint(stream, avoiding: -1) else {
      counters.add(.noEndpoint)
      return -1
    }
    // SAFETY: `choice` came from this backend's list, which the stream's cell keeps.
    let address = unsafe view.backend(s[].backend).addresses[Int(s[].choice)]
    return openSessionSocket(stream, address, slot)
  }

  private mutating func openSessionSocket(_ stream: Int32, _ address: SocketAddress, _ slot: Int16) -> Int32 {
    let descriptor: Int32
    do throws(SystemError) {
      descriptor = try DatagramSocket.connected(to: address)
    } catch {
      counters.add(.upstreamConnectFailures)
      return -1
    }
    guard let handle = engine.watch(descriptor) else {
      close(descriptor)
      hit(.maxConnections, peer: address)
      return -1
    }
    var connection = Connection()
    connection.role = .datagramSession
    connection.phase = .tunnel
    connection.handle = handle
    connection.socketSlot = slot
    connection.endpoint = streams[stream][].endpoint
    place(connection)
    return handle.index
  }

  private mutating func noteActivity(_ index: Int32) {
    let connection = connections[index]
    if !connection[].flags.contains(.draining) {
      connection[].deadline = nowMilliseconds + UInt64(limits.udpSessionIdleTimeout)
    }
  }

  // MARK: From backends

  private mutating func readBackend(_ index: Int32) {
    let handle = connections[index][].handle
    let details = sessionDetails[index][]
    let peer = connections[index][].peer
    var batch = 0
    while batch < Self.batchesPerTurn {
      let count = datagrams.receive(handle)
      if count < 0 {
        // Nobody listens there (any more): the client's next datagram may find another endpoint.
        counters.add(.upstreamConnectFailures)
        streams[connections[index][].stream][].responseFlags |= ResponseFlags.upstreamConnectFailure.rawValue
        closeSession(index)
        return
      }
      if count > 0 { noteActivity(index) }
      var number = 0
      while number < count {
        let bytes = unsafe datagrams.bytes(number)
        counters.add(.udpDatagramsSent)
        streams[connections[index][].stream][].bytesSent += UInt64(bytes.count)
        let isSent = unsafe details.listener.send(datagram: bytes, to: mapped(peer, details), from: details.local)
        if !isSent { counters.add(.udpDatagramsDropped) }
        number += 1
      }
      if count < DatagramBatch.capacity { return }
      batch += 1
    }
  }

  /// The client's address in the family of the socket that it spoke to.
  private func mapped(_ peer: SocketAddress, _ details: DatagramSession) -> SocketAddress {
    details.local.isIPv6 ? peer.mapped : peer
  }

  // MARK: The end

  mutating func closeSession(_ index: Int32) {
    let connection = connections[index]
    let details = sessionDetails[index][]
    let peer = mapped(connection[].peer, details)
    datagramSessions.remove(DatagramKey(listener: details.listener.index, peer: peer, local: details.local))
    endTunnel(connection[].stream)
    connectionTimers.cancel(index)
    openDownstream -= 1
    counters.subtract(.udpSessionsActive)
    engine.closeWatched(connection[].handle)
    let handle = connection[].handle
    connection[] = Connection()
    connection[].handle = handle
  }

  mutating func closeDatagramListener(_ index: Int32) {
    let connection = connections[index]
    engine.closeWatched(connection[].handle)
    connection[].role = .free
    connection[].socketSlot = -1
  }

  /// Answers that are on their way may still come; nothing else is waited for.
  mutating func drainSession(_ index: Int32) {
    connections[index][].flags.insert(.draining)
    arm(index, at: min(drainDeadline, nowMilliseconds + 1000))
  }
}
