import HTTP1
import HTTP2
import HTTPSemantics
import SystemIO
import Telemetry

/// The request body on its way to the backend.
extension Worker where Engine: ~Copyable {
  @inline(__always)
  mutating func forwardRequestBody(_ stream: Int32, _ bytes: Bytes) {
    let s = streams[stream]
    s[].bytesReceived += UInt64(bytes.count)
    if limits.maxRequestBodyBytes > 0 && s[].bytesReceived > UInt64(limits.maxRequestBodyBytes)
      && !s[].flags.contains(.tunnelled)
    {
      hit(.maxRequestBodyBytes, s[].downstream)
      cancelUpstream(stream)
      if s[].flags.contains(.responseStarted) {
        abortExchange(stream)
      } else {
        reply(stream, status: 413, reason: "the request body is larger than this proxy takes", flags: .limit)
      }
      return
    }
    if s[].flags.contains(.grpcWeb) {
      forwardGRPCWebRequest(stream, bytes)
    } else {
      passRequestBody(stream, bytes)
    }
  }

  @inline(__always)
  mutating func passRequestBody(_ stream: Int32, _ bytes: Bytes) {
    let s = streams[stream]
    guard s[].upstream >= 0, s[].flags.contains(.headSent) else {
      // What one read brought is kept until the connection stands; nothing more is read meanwhile.
      _ = s[].pendingBody.append(bytes, limit: Int(Int32.max) / 4)
      pauseDownstream(stream)
      return
    }
    writeRequestBody(stream, bytes)
  }

  mutating func writeRequestBody(_ stream: Int32, _ bytes: Bytes) {
    let s = streams[stream]
    guard !bytes.isEmpty, s[].upstream >= 0 else { return }
    if !s[].flags.contains(.bodySent) {
      s[].flags.insert(.bodySent)
      if s[].requestBody != .http2 {
        s[].head.release()
        s[].flags.remove(.headKept)
      }
    }
    let index = s[].upstream
    if s[].requestBody == .http2 {
      guard let session = connections[index][].session else { return }
      keepBody(stream, bytes)
      unsafe session.write(s[].upstreamID, bytes.start, bytes.count, endStream: false)
      markDirty(index)
      if session.queuedBytes(s[].upstreamID) > limits.bufferHighWater { pauseDownstream(stream) }
    } else {
      writeBody(index, s[].requestBody, bytes)
      if isFull(index) { pauseDownstream(stream) }
    }
  }

  /// The client's request is whole.
  @inline(__always)
  mutating func endRequest(_ stream: Int32, trailers: HeaderTable) {
    let s = streams[stream]
    guard !s[].flags.contains(.requestEnded) else { return }
    s[].flags.insert(.requestEnded)
    if s[].flags.contains(.grpcWeb), !endGRPCWebRequest(stream) { return }
    if !s[].flags.contains(.downstreamHTTP2) { connections[s[].downstream][].deadline = 0 }
    guard s[].upstream >= 0, s[].flags.contains(.headSent) else {
      if trailers.count > 0 { keepTrailers(stream, trailers) }
      return
    }
    finishRequestBody(stream, trailers: trailers)
    if s[].flags.contains([.tunnelled, .responseEnded]) { finishStreamTunnel(stream) }
  }

  private mutating func keepTrailers(_ stream: Int32, _ trailers: HeaderTable) {
    let room = limits.maxHeadBytes + 64 * 1024
    let s = streams[stream]
    var index = 0
    while index < trailers.count {
      let field = trailers[index]
      index += 1
      if field.isDropped { continue }
      _ = s[].pendingTrailers.append(field.nameBytes, limit: room)
      _ = s[].pendingTrailers.append(Bytes(": "), limit: room)
      _ = s[].pendingTrailers.append(field.valueBytes, limit: room)
      _ = s[].pendingTrailers.append(Bytes("\r\n"), limit: room)
    }
    _ = s[].pendingTrailers.append(Bytes("\r\n"), limit: room)
  }

  /// Ends a request whose end came before there was an upstream to take it.
  mutating func finishPendingBody(_ stream: Int32) {
    var kept = streams[stream][].pendingTrailers.take()
    defer { kept.release() }
    var trailers = unsafe HeaderTable(base: requestFields.base, capacity: requestFields.capacity)
    if !kept.isEmpty {
      var unbounded = http1Limits
      unbounded.maxFields = Self.maximumFields
      unbounded.maxTrailerBytes = limits.maxHeadBytes + 64 * 1024
      let bytes = kept.bytes
      let fault = unsafe parseTrailers(bytes.start, bytes.count, limits: unbounded, into: &trailers)
      // They were sound when they came; should they not be now, they may be left out (RFC 9110 section 6.5.1).
      if fault != nil { trailers.count = 0 }
    }
    finishRequestBody(stream, trailers: trailers)
  }

  mutating func finishRequestBody(_ stream: Int32, trailers: HeaderTable) {
    let s = streams[stream]
    let index = s[].upstream
    guard index >= 0 else { return }
    switch s[].requestBody {
    case .http2:
      guard let session = connections[index][].session else { return }
      if trailers.count > 0 {
        // They are not kept, and without them the request is another.
        forgetHead(stream)
        var fields = inbox.fieldList()
        fields.append(trailers)
        session.submitTrailers(s[].upstreamID, fields: fields)
      } else {
        unsafe session.write(s[].upstreamID, Bytes.empty.start, 0, endStream: true)
      }
      markDirty(index)
    case .chunked:
      writeBodyEnd(index, trailers)
    case .untilClose:
      endSending(index)
    case .none, .length:
      break
    }
  }

  mutating func resumeDownstreamUnlessFull(_ stream: Int32) {
    let s = streams[stream]
    guard s[].downstream >= 0, s[].upstream >= 0 else { return }
    if s[].requestBody == .http2 {
      guard let session = connections[s[].upstream][].session else { return }
      if session.queuedBytes(s[].upstreamID) <= limits.bufferHighWater { resumeDownstream(stream) }
    } else if !isFull(s[].upstream) {
      resumeDownstream(stream)
    }
  }
}
