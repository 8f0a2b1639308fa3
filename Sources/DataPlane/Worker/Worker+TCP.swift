import HTTPSemantics
import RoutingTable
import SystemIO
import Telemetry

/// Connections that are carried as bytes: TCP listeners, and TLS that passes through. One connection to a backend
/// stands for each, for as long as both sides have something to say: see `Worker+Tunnel`.
extension Worker where Engine: ~Copyable {
  /// Gives a client's connection to a backend of the rule.
  ///
  /// - Parameters:
  ///   - rule: index in the current image; negative: nothing is to be done with the connection.
  ///   - serverName: that the client asked for by TLS; empty without one.
  ///   - early: what the client has said already and the backend is to hear first.
  mutating func beginTCP(_ index: Int32, rule: Int32, isPassthrough: Bool, serverName: Bytes, early: Bytes) {
    let connection = connections[index]
    guard let stream = newStream(downstream: index) else {
      closeConnection(index)
      return
    }
    let s = streams[stream]
    s[].startedNanoseconds = nowNanoseconds
    s[].flags = isPassthrough ? [.layer4, .passthrough] : [.layer4]
    if isPassthrough || connection[].tls != nil { s[].flags.insert(.secure) }
    connection[].stream = stream
    connection[].phase = .tunnel
    connection[].deadline = 0
    leaveHandshakes(index)
    // The backend's pace counts from the first byte on.
    pauseReading(index)
    counters.add(.tcpConnections)
    counters.add(.tcpConnectionsActive)
    s[].cell = currentCell
    retainCell(currentCell)
    if accessLog >= 0 {
      keepText(stream, .empty)
      keepText(stream, serverName)
      keepText(stream, .empty)
      keepText(stream, .empty)
    }
    s[].bytesReceived = UInt64(early.count)
    _ = s[].pendingBody.append(early, limit: .max)
    forwardTCP(stream, rule: rule)
  }

  private mutating func forwardTCP(_ stream: Int32, rule index: Int32) {
    guard index >= 0 else {
      counters.add(.noRoute)
      giveUpTCP(stream, .noRoute)
      return
    }
    guard pickBackend(stream, rule: index) else {
      giveUpTCP(stream, .noBackend)
      return
    }
    openFirstUpstream(stream)
  }

  /// Below HTTP: picks one of the rule's backends by weight. The stream gets both, and what the access log says of
  /// them.
  /// - Returns: false when there is none; it is counted.
  mutating func pickBackend(_ stream: Int32, rule index: Int32) -> Bool {
    let s = streams[stream]
    let image = cells[s[].cell][].view.image
    let rule = image.rule(index)
    s[].rule = index
    if accessLog >= 0 { keepText(stream, rule.provenance) }
    let number = rule.action == .forward ? rule.pick(random: UInt32(truncatingIfNeeded: random.next())) : -1
    guard number >= 0, rule.weightedBackend(Int(number)).backend >= 0 else {
      counters.add(.noBackend)
      return false
    }
    s[].backend = rule.weightedBackend(Int(number)).backend
    if accessLog >= 0 { keepText(stream, image.backend(Int(s[].backend)).id) }
    return true
  }

  /// The connection to the backend stands: what has waited for it goes out, and both sides may speak.
  mutating func tcpConnected(_ index: Int32, _ stream: Int32) {
    let s = streams[stream]
    let downstream = s[].downstream
    connections[index][].phase = .tunnel
    releaseStreamCell(stream)
    var pending = s[].pendingBody.take()
    write(index, pending.bytes)
    pending.release()
    s[].flags.insert(.tunnelled)
    arm(downstream, at: nowMilliseconds + UInt64(limits.tcpIdleTimeout))
    if connections[downstream][].flags.contains(.peerClosed) { tunnelEnded(downstream) }
    if !isFull(index) { resumeReading(downstream) }
  }

  /// No backend will take the connection. The client is told in the only way there is: by its end, without one
  /// that TLS would take for a proper one.
  mutating func giveUpTCP(_ stream: Int32, _ flags: ResponseFlags) {
    let s = streams[stream]
    s[].responseFlags |= flags.rawValue
    let downstream = s[].downstream
    cancelUpstream(stream)
    connections[downstream][].stream = -1
    endTunnel(stream)
    closeConnection(downstream)
  }
}
