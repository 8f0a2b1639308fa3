import HTTP1
import HTTP2
import HTTPSemantics
import SystemIO
import TLS
import Telemetry

/// Bytes on their way to a socket.
extension Worker where Engine: ~Copyable {
  /// Room to compose a message in; `endWrite` sends what was put there. Nothing else may be sent in between.
  @inline(__always)
  mutating func beginWrite(_ index: Int32, _ count: Int) -> UnsafeMutablePointer<UInt8> {
    precondition(count <= composed.capacity)
    if connections[index][].tls != nil { return unsafe composed.base }
    return unsafe engine.reserve(count)
  }

  @inline(__always)
  mutating func endWrite(_ index: Int32, _ count: Int) {
    let connection = connections[index]
    if let tls = connection[].tls {
      encrypt(index, tls, unsafe Bytes(start: composed.base, count: count))
      return
    }
    countSent(index, count)
    engine.send(connection[].handle, reserved: count)
  }

  @inline(__always)
  mutating func write(_ index: Int32, _ bytes: Bytes) {
    guard !bytes.isEmpty else { return }
    let connection = connections[index]
    if let tls = connection[].tls {
      encrypt(index, tls, bytes)
      return
    }
    countSent(index, bytes.count)
    unsafe engine.send(connection[].handle, copying: bytes.start, count: bytes.count)
  }

  @inline(__always)
  private func countSent(_ index: Int32, _ count: Int) {
    counters.add(connections[index][].role == .downstream ? .downstreamBytesSent : .upstreamBytesSent, count)
  }

  /// Encrypts straight into the memory that is sent from, at most half of the engine's room at a time.
  private mutating func encrypt(_ index: Int32, _ tls: TLSConnection, _ bytes: Bytes) {
    var rest = bytes
    while !rest.isEmpty {
      let piece = rest.slice(0, min(rest.count, 96 * 1024))
      rest = rest.slice(piece.count, rest.count)
      let room = 128 * 1024
      let place = unsafe engine.reserve(room)
      let count = unsafe tls.write(piece.start, piece.count, into: place, capacity: room)
      countSent(index, count)
      engine.send(connections[index][].handle, reserved: count)
    }
    if tls.pendingOutput > 0 { sendCiphertext(index) }
  }

  /// What the TLS library has to say by itself: handshake, alerts, close_notify.
  mutating func sendCiphertext(_ index: Int32) {
    let connection = connections[index]
    guard let tls = connection[].tls else { return }
    var pending = tls.pendingOutput
    while pending > 0 {
      let room = min(pending, 128 * 1024)
      let place = unsafe engine.reserve(room)
      let count = unsafe tls.takeOutput(into: place, capacity: room)
      countSent(index, count)
      engine.send(connection[].handle, reserved: count)
      pending = tls.pendingOutput
    }
  }

  /// Whether the peer reads so slowly that its side should send us nothing more for it.
  @inline(__always)
  func isFull(_ index: Int32) -> Bool {
    engine.unsentBytes(connections[index][].handle) > limits.bufferHighWater
  }

  /// A piece of an HTTP/1 body under the given framing; one send.
  mutating func writeBody(_ index: Int32, _ framing: Stream.Outgoing, _ bytes: Bytes) {
    guard !bytes.isEmpty else { return }
    guard framing == .chunked else {
      write(index, bytes)
      return
    }
    var rest = bytes
    while !rest.isEmpty {
      let piece = rest.slice(0, min(rest.count, 128 * 1024))
      rest = rest.slice(piece.count, rest.count)
      let place = unsafe beginWrite(index, piece.count + 32)
      // SAFETY: room for the piece, at most 18 bytes of chunk header and 2 of line end.
      var count = unsafe writeChunkHeader(piece.count, to: place)
      unsafe (place + count).update(from: piece.start, count: piece.count)
      count += piece.count
      unsafe place[count] = 13
      unsafe place[count + 1] = 10
      endWrite(index, count + 2)
    }
  }

  /// The end of a chunked body.
  mutating func writeBodyEnd(_ index: Int32, _ trailers: HeaderTable) {
    let room = 64 * 1024
    let place = unsafe beginWrite(index, room)
    var writer = unsafe HeadWriter(place, capacity: room)
    writer.lastChunk()
    writer.fields(trailers)
    writer.end()
    if !writer.isSound {
      // Trailers that HTTP/1.1 has no form for may be left out (RFC 9110 section 6.5.1); the end may not.
      unsafe writer = HeadWriter(place, capacity: room)
      writer.lastChunk()
      writer.end()
    }
    endWrite(index, writer.count)
  }

  // MARK: HTTP/2 sessions

  @inline(__always)
  mutating func markDirty(_ index: Int32) {
    let connection = connections[index]
    guard !connection[].flags.contains(.dirty) else { return }
    connection[].flags.insert(.dirty)
    dirty.append(index)
  }

  /// Sends what the sessions have gathered in this turn: one send a connection in the usual case.
  mutating func flushSessions() {
    var position: Int32 = 0
    while position < dirty.count {
      let index = dirty[position]
      position += 1
      let connection = connections[index]
      guard connection[].flags.contains(.dirty) else { continue }
      connection[].flags.remove(.dirty)
      if connection[].phase == .http2 { flushSession(index) }
    }
    dirty.removeAll()
  }

  private mutating func flushSession(_ index: Int32) {
    let connection = connections[index]
    guard let session = connection[].session else { return }
    inbox.reset()
    while engine.unsentBytes(connection[].handle) <= limits.bufferHighWater {
      let room = 64 * 1024
      let place = unsafe beginWrite(index, room)
      let count = unsafe session.drain(into: place, capacity: room)
      if count == 0 { break }
      endWrite(index, count)
    }
    let handle = connection[].handle
    sessionEvents(index)
    guard isAlive(index, handle) else { return }
    if session.isFinished {
      if case .fatal(_, let limit) = session.status, connection[].role == .downstream { sessionEnded(index, limit) }
      if connection[].role == .downstream { clientGone(index) } else { upstreamFailed(index, error: 0) }
      if isAlive(index, handle) { closeWhenDrained(index) }
    }
  }
}
