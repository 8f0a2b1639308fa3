import CLinux
import Glibc
import HTTPSemantics
import RoutingTable
import SystemIO
import Telemetry

/// What an exchange leaves in the access log. Lines are gathered in a turn and written at its end.
extension Worker where Engine: ~Copyable {
  /// Texts are kept one behind the other, each behind its two-byte length: their memory is gone when the line is
  /// written. Method, authority, target and user agent come first, then rule, backend and request id where it came
  /// to them.
  mutating func keepLabel(_ stream: Int32, _ head: borrowing RequestHead) {
    keepText(stream, head.methodBytes)
    keepText(stream, head.authority)
    keepText(stream, head.target)
    keepText(stream, value(of: .userAgent, in: head.fields))
  }

  /// The id under which the backend sees the request, the client's own or ours.
  mutating func keepRequestID(_ stream: Int32, _ fields: HeaderTable) {
    keepText(stream, value(of: .xRequestID, in: fields))
  }

  private func value(of known: KnownHeader, in fields: HeaderTable) -> Bytes {
    let index = fields.firstIndex(of: known)
    return index < 0 ? .empty : fields[index].valueBytes
  }

  mutating func keepText(_ stream: Int32, _ bytes: Bytes) {
    let s = streams[stream]
    let kept = bytes.slice(0, min(bytes.count, 4096))
    unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 2) { length in
      unsafe length[0] = UInt8(truncatingIfNeeded: kept.count)
      unsafe length[1] = UInt8(truncatingIfNeeded: kept.count >> 8)
      guard let start = length.baseAddress else { return }
      _ = s[].label.append(unsafe Bytes(start: start, count: 2), limit: 65_536)
    }
    _ = s[].label.append(kept, limit: 65_536)
  }

  private func text(_ number: Int, of label: Bytes) -> LogText {
    var position = 0
    var index = 0
    while position + 2 <= label.count {
      let count = Int(label[position]) | Int(label[position + 1]) << 8
      if index == number {
        let bytes = label.slice(position + 2, position + 2 + count)
        return unsafe LogText(bytes.start, bytes.count)
      }
      position += 2 + count
      index += 1
    }
    return LogText()
  }

  mutating func logExchange(_ stream: Int32) {
    let s = streams[stream]
    var record = AccessLogRecord()
    var now = timespec()
    // SAFETY: fills a local.
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    let wall = UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
    let age = nowNanoseconds &- s[].startedNanoseconds
    record.startNanoseconds = wall &- age
    record.durationMicroseconds = age / 1000
    if s[].flags.contains(.layer4) {
      record.requestProtocol =
        s[].flags.contains(.datagrams) ? .udp : s[].flags.contains(.passthrough) ? .tlsPassthrough : .tcp
    } else if s[].flags.contains(.downstreamHTTP2) {
      record.requestProtocol = .http2
    } else if s[].flags.contains(.tunnelled) {
      record.requestProtocol = .webSocket
    } else if connections[s[].downstream][].flags.contains(.http10) {
      record.requestProtocol = .http10
    }
    record.isTLS = s[].flags.contains(.secure)
    let label = s[].label.bytes
    record.method = text(0, of: label)
    record.authority = text(1, of: label)
    record.target = text(2, of: label)
    record.userAgent = text(3, of: label)
    record.rule = text(4, of: label)
    record.backend = text(5, of: label)
    record.requestID = text(6, of: label)
    record.grpcStatus = Int32(s[].grpcStatus)
    record.status = Int32(s[].status)
    record.requestBytes = s[].bytesReceived
    record.responseBytes = s[].bytesSent
    record.flags = ResponseFlags(rawValue: s[].responseFlags)
    let peer = connections[s[].downstream][].peer
    let upstream = s[].upstream >= 0 ? connections[s[].upstream][].peer : SocketAddress()
    let room = SocketAddress.maximumTextLength
    unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: room * 2 + 8) { place in
      guard let start = place.baseAddress else { return }
      record.peer = unsafe LogText(start, peer.format(into: start))
      record.upstream = unsafe endpointText(upstream, start + room)
      logLines.append(record, counters: counters)
    }
  }

  /// A connection that is refused before there is a request or a backend.
  mutating func logRefusal(
    _ index: Int32, _ proto: AccessLogRecord.RequestProtocol, serverName: Bytes = .empty, flags: ResponseFlags,
    reason: StaticString
  ) {
    guard accessLog >= 0 else { return }
    var record = AccessLogRecord()
    var now = timespec()
    // SAFETY: fills a local.
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    record.startNanoseconds = UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
    record.requestProtocol = proto
    record.isTLS = proto == .tlsPassthrough
    record.authority = unsafe LogText(serverName.start, serverName.count)
    record.flags = flags
    record.reason = unsafe LogText(reason.utf8Start, reason.utf8CodeUnitCount)
    unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: SocketAddress.maximumTextLength) { place in
      guard let start = place.baseAddress else { return }
      record.peer = unsafe LogText(start, connections[index][].peer.format(into: start))
      logLines.append(record, counters: counters)
    }
  }

  /// `address:port` at `place`, which has room for an address and 6 bytes more.
  private func endpointText(_ address: SocketAddress, _ place: UnsafeMutablePointer<UInt8>) -> LogText {
    var count = unsafe address.format(into: place)
    guard count > 0 else { return LogText() }
    // SAFETY: a colon and at most five digits.
    unsafe place[count] = 0x3a
    count += 1
    var divisor: UInt16 = 10_000
    while divisor > 1, address.port < divisor { divisor /= 10 }
    while divisor > 0 {
      unsafe place[count] = 48 + UInt8(truncatingIfNeeded: address.port / divisor % 10)
      count += 1
      divisor /= 10
    }
    return unsafe LogText(place, count)
  }

  /// Remembers the status that a gRPC backend gave, in a head (trailers-only) or in trailers.
  @inline(__always)
  func noteGRPCStatus(_ stream: Int32, _ table: HeaderTable) {
    guard accessLog >= 0, streams[stream][].flags.contains(.grpc) else { return }
    let index = table.firstIndex(of: .grpcStatus)
    guard index >= 0 else { return }
    var status: Int16 = 0
    let value = table[index].valueBytes
    var position = 0
    while position < value.count, position < 3 {
      guard value[position] >= 48, value[position] <= 57 else { return }
      status = status * 10 + Int16(value[position] - 48)
      position += 1
    }
    streams[stream][].grpcStatus = status
  }

  mutating func flushAccessLog() {
    if accessLog >= 0 { logLines.flush(counters: counters) }
  }
}
