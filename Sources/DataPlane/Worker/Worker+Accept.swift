import Glibc
import HTTP2
import HTTPSemantics
import SystemIO
import Telemetry
import TLS
import Upstream

/// Listeners, and the first and the last moment of a connection.
extension Worker where Engine: ~Copyable {
  mutating func listen(_ listener: ListenerSocket) {
    if listener.isDatagram {
      listenDatagrams(listener)
      return
    }
    let handle = engine.listen(on: listener.descriptor)
    var connection = Connection()
    connection.role = .listener
    connection.handle = handle
    connection.socketSlot = listener.slot
    place(connection)
  }

  /// Puts a new connection into its slot.
  mutating func place(_ connection: Connection) {
    let index = connection.handle.index
    connections[index][] = connection
    highestDescriptor = max(highestDescriptor, index)
  }

  /// Takes nothing new on this socket and lets its connections finish.
  mutating func stopListening(slot: Int16) {
    var index: Int32 = 0
    while index <= highestDescriptor {
      let connection = connections[index]
      if connection[].socketSlot == slot {
        if connection[].role == .listener {
          engine.stopListening(connection[].handle)
          connection[].role = .free
          connection[].socketSlot = -1
        } else if connection[].role == .downstream {
          drainConnection(index)
        } else if connection[].role == .datagramSession {
          closeSession(index)
        } else if connection[].role == .datagramListener {
          closeDatagramListener(index)
        }
      }
      index += 1
    }
  }

  mutating func accepted(listener: Int32, descriptor: Int32, peer: SocketAddress) {
    let slot = connections[listener][].socketSlot
    _ = openDownstreamConnection(descriptor: descriptor, peer: peer, socketSlot: slot)
  }

  /// - Returns: false when a limit refused it; the descriptor is closed then.
  mutating func openDownstreamConnection(descriptor: Int32, peer: SocketAddress, socketSlot: Int16) -> Bool {
    let peer = peer.unmapped
    guard admits(peer) else {
      engine.refuse(descriptor)
      return false
    }
    guard let handle = engine.adopt(descriptor) else {
      hit(.maxConnections, peer: peer)
      engine.refuse(descriptor)
      return false
    }
    var connection = Connection()
    connection.role = .downstream
    connection.handle = handle
    connection.socketSlot = socketSlot
    connection.peer = peer
    connection.flags = [.keepAlive]
    let index = handle.index
    place(connection)
    openDownstream += 1
    budget.connectionOpened()
    counters.add(.downstreamConnections)
    counters.add(.downstreamConnectionsActive)
    guard beginConnection(index) else {
      closeConnection(index)
      return false
    }
    guard isAlive(index, handle) else { return false }
    if isDraining { connections[index][].flags.insert(.draining) }
    if !connections[index][].flags.contains(.readingPaused) { engine.startReceiving(handle) }
    return true
  }

  /// What comes first on the wire, before the protocol.
  private mutating func beginConnection(_ index: Int32) -> Bool {
    guard let socket = currentSocket(slot: connections[index][].socketSlot) else { return false }
    let traits = cells[currentCell][].view.traits(socket: socket)
    // Behind a header the client is known only when it has come.
    if traits.expectsProxyHeader { return beginProxyHeader(index, socket) }
    return joinClient(index) && beginProtocol(index)
  }

  /// TLS where the socket asks for it, otherwise the first bytes decide.
  mutating func beginProtocol(_ index: Int32) -> Bool {
    let connection = connections[index]
    guard let socket = currentSocket(slot: connection[].socketSlot) else { return false }
    switch cells[currentCell][].view.traits(socket: socket).opening {
    case .http:
      connection[].phase = .detecting
      arm(index, at: nowMilliseconds + UInt64(limits.requestHeadTimeout))
    case .tls:
      arm(index, at: nowMilliseconds + UInt64(limits.tlsHandshakeTimeout))
      return beginTLS(index, socket)
    case .clientHello:
      connection[].phase = .clientHello
      joinHandshakes(index)
      arm(index, at: nowMilliseconds + UInt64(limits.tlsHandshakeTimeout))
    case .tcp:
      let rule = cells[currentCell][].view.image.bytesRule(socket: socket, serverName: .empty) ?? -1
      beginTCP(index, rule: rule, isPassthrough: false, serverName: .empty, early: .empty)
    }
    return true
  }

  /// Our side of the handshake.
  mutating func beginTLS(_ index: Int32, _ socket: Int32) -> Bool {
    guard let server = cells[currentCell][].view.tls(socket: socket).server,
      let session = TLSConnection.accept(server)
    else {
      // No certificate could be used: the listener's condition says so; nothing can be said on the wire.
      counters.add(.tlsHandshakeFailures)
      return false
    }
    let connection = connections[index]
    connection[].tls = session
    connection[].phase = .handshaking
    connection[].scheme = Scheme.https.rawValue
    if !connection[].flags.contains(.inHandshakes) { joinHandshakes(index) }
    return true
  }

  /// Index of the configured socket in the current image, nil when it is gone.
  @inline(__always)
  func currentSocket(slot: Int16) -> Int32? {
    guard currentCell >= 0 else { return nil }
    return cells[currentCell][].view.socket(slot: slot)
  }

  /// Ends a connection at once, with everything that hangs on it.
  mutating func closeConnection(_ index: Int32) {
    let connection = connections[index]
    guard connection[].role == .downstream || connection[].role == .upstream else { return }
    forgetConnection(index)
    engine.close(connection[].handle)
  }

  /// Ends a connection so that the peer takes it for broken off: with a reset, and without close_notify.
  mutating func resetConnection(_ index: Int32) {
    let connection = connections[index]
    guard connection[].role == .downstream || connection[].role == .upstream else { return }
    engine.resetOnClose(connection[].handle)
    closeConnection(index)
  }

  /// Ends a connection when what was sent is out. `isWhole`: it is the end that was meant, and TLS says so.
  mutating func closeWhenDrained(_ index: Int32, isWhole: Bool = true) {
    let connection = connections[index]
    guard connection[].role == .downstream || connection[].role == .upstream else { return }
    if isWhole, let tls = connection[].tls {
      tls.shutdown()
      sendCiphertext(index)
    }
    let handle = connection[].handle
    forgetConnection(index)
    engine.closeWhenDrained(handle)
  }

  /// Frees what a connection owns; its streams must have been told before.
  private mutating func forgetConnection(_ index: Int32) {
    let connection = connections[index]
    connectionTimers.cancel(index)
    connection[].stash.release()
    if let session = connection[].session { session.destroy() }
    if let tls = connection[].tls { tls.destroy() }
    connection[].proxiedDestination.release()
    if connection[].role == .downstream {
      leaveHandshakes(index)
      leaveClient(index)
      openDownstream -= 1
      budget.connectionClosed()
      counters.subtract(.downstreamConnectionsActive)
      // A session that goes reports no more ends.
      counters.subtract(.http2StreamsActive, Int(connection[].openStreams))
    } else {
      if connection[].endpoint >= 0 { pools.remove(index) }
      counters.subtract(.upstreamConnectionsActive)
    }
    let handle = connection[].handle
    connection[] = Connection()
    connection[].handle = handle
  }
}
