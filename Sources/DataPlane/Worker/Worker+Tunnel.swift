import HTTP1
import HTTPSemantics
import SystemIO
import Telemetry
import TLS

/// After `101 Switching Protocols` (RFC 9110 section 15.2.2), and on connections below HTTP (`Worker+TCP`): bytes
/// pass both ways until both sides have ended.
extension Worker where Engine: ~Copyable {
  /// - Returns: always -1: the upstream connection reads no more messages.
  mutating func beginTunnel(_ index: Int32, _ stream: Int32, _ head: inout ResponseHead, _ early: Bytes) -> Int {
    let s = streams[stream]
    guard s[].flags.contains(.wantsUpgrade), head.upgrade == .webSocket, !s[].flags.contains(.downstreamHTTP2) else {
      counters.add(.malformedResponses)
      cancelUpstream(stream)
      reply(
        stream, status: 502, reason: "the backend switched to a protocol that was not asked for",
        flags: .upstreamMalformed)
      return -1
    }
    let downstream = s[].downstream
    guard writeSwitch(stream, head) else { return -1 }
    counters.add(.upgrades)
    counters.add(.upgradesActive)
    s[].flags.insert(.tunnelled)
    s[].requestDeadline = 0
    s[].backendDeadline = 0
    releaseStreamCell(stream)
    connections[downstream][].phase = .tunnel
    connections[index][].phase = .tunnel
    connections[downstream][].deadline = 0
    if !early.isEmpty { write(downstream, early) }
    var waiting = connections[downstream][].stash.take()
    if !waiting.isEmpty { write(index, waiting.bytes) }
    waiting.release()
    resumeReading(downstream)
    if connections[downstream][].flags.contains(.peerClosed) { tunnelEnded(downstream) }
    return -1
  }

  /// Tells an HTTP/1.1 client that the next bytes are its WebSocket.
  /// - Returns: false when the head has no form in HTTP/1.1: the client was answered.
  mutating func writeSwitch(_ stream: Int32, _ head: borrowing ResponseHead) -> Bool {
    let s = streams[stream]
    let room = 128 * 1024
    let place = unsafe beginWrite(s[].downstream, room)
    var writer = unsafe HeadWriter(place, capacity: room)
    writer.statusLine(101, reason: head.reason)
    writer.fields(head.fields)
    writer.connectionUpgrade(Bytes("websocket"))
    writer.end()
    guard writer.isSound else {
      counters.add(.malformedResponses)
      cancelUpstream(stream)
      reply(stream, status: 502, reason: "the backend's response cannot be passed on", flags: .upstreamMalformed)
      return false
    }
    endWrite(s[].downstream, writer.count)
    counters.addResponse(status: 101)
    s[].status = 101
    s[].flags.insert(.responseStarted)
    return true
  }

  /// The other end of the tunnel that this connection is one end of; -1 when it is gone.
  private func otherEnd(_ index: Int32) -> Int32 {
    let connection = connections[index]
    guard connection[].stream >= 0 else { return -1 }
    let s = streams[connection[].stream]
    return connection[].role == .downstream ? s[].upstream : s[].downstream
  }

  mutating func tunnelBytes(_ index: Int32, _ bytes: Bytes) {
    let other = otherEnd(index)
    guard other >= 0 else { return }
    let s = streams[connections[index][].stream]
    let downstream = connections[s[].downstream]
    if downstream[].deadline != 0 { downstream[].deadline = nowMilliseconds + UInt64(limits.tcpIdleTimeout) }
    if connections[index][].role == .downstream {
      s[].bytesReceived += UInt64(bytes.count)
      if connections[other][].phase != .tunnel {
        // Decrypted from what had come before reading was paused.
        _ = s[].pendingBody.append(bytes, limit: .max)
        return
      }
    } else {
      s[].bytesSent += UInt64(bytes.count)
    }
    write(other, bytes)
    if isFull(other) { pauseReading(index) }
  }

  mutating func tunnelDrained(_ index: Int32) {
    let other = otherEnd(index)
    if other >= 0 { resumeReading(other) }
  }

  /// One side will send no more; the other is told, and may still send.
  mutating func tunnelEnded(_ index: Int32) {
    let other = otherEnd(index)
    // What the client has said waits for the backend: see `tcpConnected`.
    guard other >= 0, connections[other][].phase == .tunnel else { return }
    if connections[other][].flags.contains(.peerClosed) {
      closeTunnel(index)
    } else {
      endSending(other)
    }
  }

  /// Half-closes the connection behind what was sent.
  mutating func endSending(_ index: Int32) {
    connections[index][].tls?.shutdown()
    sendCiphertext(index)
    engine.shutdownWrite(connections[index][].handle)
  }

  /// The other side must not take what has come so far for all that there was.
  mutating func tunnelFailed(_ index: Int32) {
    let stream = connections[index][].stream
    if stream >= 0 {
      let flag: ResponseFlags = connections[index][].role == .downstream ? .downstreamClosed : .upstreamReset
      streams[stream][].responseFlags |= flag.rawValue
    }
    closeTunnel(index, isWhole: false)
  }

  /// Nothing has passed for too long.
  mutating func tunnelIdled(_ index: Int32) {
    let stream = connections[index][].stream
    if stream >= 0 { streams[stream][].responseFlags |= ResponseFlags.idleTimeout.rawValue }
    closeTunnel(index, isWhole: false)
  }

  private mutating func closeTunnel(_ index: Int32, isWhole: Bool = true) {
    let stream = connections[index][].stream
    guard stream >= 0 else {
      closeConnection(index)
      return
    }
    let s = streams[stream]
    let downstream = s[].downstream
    let upstream = s[].upstream
    s[].flags.insert([.requestEnded, .responseEnded])
    connections[downstream][].stream = -1
    if upstream >= 0 {
      connections[upstream][].stream = -1
      counters.subtract(.upstreamRequestsActive)
    }
    endTunnel(stream)
    if upstream >= 0 {
      if connections[upstream][].phase == .tunnel {
        closeWhenDrained(upstream, isWhole: isWhole)
      } else {
        closeConnection(upstream)
      }
    }
    closeWhenDrained(downstream, isWhole: isWhole)
  }
}
