import GRPCWeb
import HTTPSemantics
import RoutingTable
import Telemetry

/// What a translated gRPC-Web request has beside its `Stream`, in the slot of the same number.
struct GRPCWebState {
  /// What the body of the request is.
  var isText: Bool
  var decoder = GRPCWebTextDecoder()
  /// What the client wants of the answer.
  var answer: GRPCWebMediaType
  var encoder = GRPCWebEncoder()
  /// The backend's answer is gRPC, and so its body and trailers are translated.
  var isAnswering = false
  /// The frame of trailers is written.
  var hasTrailers = false
}

/// gRPC-Web on listeners that have the option: to a gRPC backend such a request is a gRPC request like any other, and
/// what comes back, or what we answer ourselves, is a gRPC-Web response (grpc/grpc, doc/PROTOCOL-WEB.md).
///
/// Everything else passes by here for the price of one flag.
extension Worker where Engine: ~Copyable {
  // MARK: The request

  /// Makes a gRPC request of a gRPC-Web one; leaves every other head as it is.
  @inline(never)
  mutating func beginGRPCWeb(_ stream: Int32, _ head: inout RequestHead) {
    let index = head.fields.firstIndex(of: .contentType)
    guard head.method == .post, index >= 0, head.fields.firstIndex(of: .contentType, from: index + 1) < 0 else {
      return
    }
    var field = head.fields[index]
    guard let type = GRPCWebMediaType(field.valueBytes) else { return }
    var answer = type
    let accept = head.fields.firstIndex(of: .accept)
    if accept >= 0, let wanted = GRPCWebMediaType(accept: head.fields[accept].valueBytes) {
      answer.isText = wanted.isText
      answer.namesProto = answer.namesProto || wanted.namesProto
    }
    grpcWebStates[stream][] = GRPCWebState(isText: type.isText, answer: answer)
    streams[stream][].flags.insert([.grpc, .grpcWeb])
    counters.add(.requestsGRPC)
    counters.add(.requestsGRPCWeb)
    field.setValue(joined("application/grpc", grpcWebSuffix(field.valueBytes)))
    head.fields[index] = field
    head.isGRPC = true
    let length = head.fields.firstIndex(of: .contentLength)
    if type.isText && length >= 0 {
      drop(head.fields, length)
      head.contentLength = -1
    }
  }

  private mutating func joined(_ name: StaticString, _ suffix: Bytes) -> Bytes {
    guard !suffix.isEmpty, let place = unsafe text.reserve(name.utf8CodeUnitCount + suffix.count) else {
      return Bytes(name)
    }
    // SAFETY: as many bytes as both have were reserved.
    unsafe place.update(from: name.utf8Start, count: name.utf8CodeUnitCount)
    unsafe (place + name.utf8CodeUnitCount).update(from: suffix.start, count: suffix.count)
    return unsafe Bytes(start: place, count: name.utf8CodeUnitCount + suffix.count)
  }

  /// A piece of the request's body on its way to the backend.
  @inline(never)
  mutating func forwardGRPCWebRequest(_ stream: Int32, _ bytes: Bytes) {
    let web = grpcWebStates[stream]
    guard web[].isText else {
      passRequestBody(stream, bytes)
      return
    }
    var rest = bytes
    while !rest.isEmpty {
      let piece = rest.slice(0, min(rest.count, rewritten.capacity))
      rest = rest.slice(piece.count, rest.count)
      // SAFETY: what a text becomes is shorter than it, but for what was begun before: three bytes at most.
      let count = unsafe web[].decoder.decode(piece, into: rewritten.base)
      guard count >= 0 else {
        refuseText(stream)
        return
      }
      passRequestBody(stream, unsafe Bytes(start: rewritten.base, count: count))
    }
  }

  /// The request is whole. False when its text is not: the stream has ended then.
  @inline(never)
  mutating func endGRPCWebRequest(_ stream: Int32) -> Bool {
    let web = grpcWebStates[stream]
    if !web[].isText || web[].decoder.isComplete { return true }
    refuseText(stream)
    return false
  }

  private mutating func refuseText(_ stream: Int32) {
    counters.add(.malformedRequests)
    text.reset()
    cancelUpstream(stream)
    if streams[stream][].flags.contains(.responseStarted) {
      abortExchange(stream)
    } else {
      reply(stream, status: 400, reason: "the request body is not base64", flags: .malformed)
    }
  }

  // MARK: The response

  /// Translates a backend's response head. One that is no gRPC, such as an error of something in between, passes as
  /// it is: clients know what its status means.
  /// - Returns: the frame of trailers that the head came with, when there is nothing behind it. It stays valid until
  ///   the next one is made.
  @inline(never)
  mutating func beginGRPCWebAnswer(_ stream: Int32, _ head: inout ResponseHead) -> Bytes {
    let web = grpcWebStates[stream]
    let index = head.fields.firstIndex(of: .contentType)
    guard head.isGRPC, index >= 0 else { return .empty }
    web[].isAnswering = true
    var field = head.fields[index]
    let suffix = grpcWebSuffix(field.valueBytes)
    let isText = web[].answer.isText
    field.setValue(
      suffix.isEmpty
        ? Bytes(web[].answer.answer) : joined(isText ? "application/grpc-web-text" : "application/grpc-web", suffix))
    head.fields[index] = field
    let length = head.fields.firstIndex(of: .contentLength)
    if length >= 0 { drop(head.fields, length) }
    let trailer = head.fields.firstIndex(of: .trailer)
    if trailer >= 0 { drop(head.fields, trailer) }
    head.contentLength = -1
    guard head.endStream else { return .empty }
    head.endStream = false
    noteGRPCStatus(stream, head.fields)
    return trailersOnlyFrame(stream, head.fields)
  }

  /// Takes the status out of a head. Its other fields may be headers as well as trailers: they stay.
  private mutating func trailersOnlyFrame(_ stream: Int32, _ fields: HeaderTable) -> Bytes {
    grpcWebStates[stream][].hasTrailers = true
    var frame = unsafe GRPCWebTrailerFrame(rewritten.base, capacity: rewritten.capacity)
    var hasStatus = false
    var index = 0
    while index < fields.count {
      let field = fields[index]
      let isStatus = field.known == .grpcStatus
      if !field.isDropped,
        isStatus || field.known == .grpcMessage || field.nameBytes.equalsIgnoringCase("grpc-status-details-bin")
      {
        frame.line(field.nameBytes, field.valueBytes)
        drop(fields, index)
        hasStatus = hasStatus || isStatus
      }
      index += 1
    }
    return hasStatus && frame.isSound ? frame.end() : statusFrame(2, Self.withoutStatus)
  }

  /// A piece of the response's body on its way to the client.
  @inline(never)
  mutating func forwardGRPCWebResponse(_ stream: Int32, _ bytes: Bytes) {
    let web = grpcWebStates[stream]
    // A head that could not be expressed was answered otherwise.
    guard streams[stream][].responseBody != .none else { return }
    guard web[].isAnswering, web[].answer.isText else {
      if web[].isAnswering { web[].encoder.follow(bytes) }
      passResponseBody(stream, bytes)
      return
    }
    var rest = bytes
    while !rest.isEmpty {
      // SAFETY: the room is what the scratch has.
      let step = unsafe web[].encoder.encode(rest, into: grpcWebText.base, capacity: grpcWebText.capacity)
      rest = rest.slice(step.used, rest.count)
      passResponseBody(stream, unsafe Bytes(start: grpcWebText.base, count: step.written))
    }
  }

  /// The response is whole.
  /// - Returns: the trailers that are still to be sent behind the body.
  @inline(never)
  mutating func endGRPCWebAnswer(_ stream: Int32, _ trailers: HeaderTable) -> HeaderTable {
    let web = grpcWebStates[stream]
    guard web[].isAnswering else { return trailers }
    // Within a message a frame would be taken for its payload; that the message is cut off says enough.
    guard !web[].hasTrailers, web[].encoder.isBetweenMessages else { return .empty }
    web[].hasTrailers = true
    var frame = unsafe GRPCWebTrailerFrame(rewritten.base, capacity: rewritten.capacity)
    frame.lines(trailers)
    let isSound = frame.isSound && trailers.firstIndex(of: .grpcStatus) >= 0
    forwardGRPCWebResponse(stream, isSound ? frame.end() : statusFrame(2, Self.withoutStatus))
    return .empty
  }

  /// Ends a response that breaks off with a status, which the client can tell from an end that was meant.
  /// - Returns: false when it has to break off for the client too.
  @inline(never)
  mutating func breakOffGRPCWeb(_ stream: Int32) -> Bool {
    let web = grpcWebStates[stream]
    guard web[].isAnswering, !web[].hasTrailers, web[].encoder.isBetweenMessages else { return false }
    web[].hasTrailers = true
    streams[stream][].grpcStatus = 14
    forwardGRPCWebResponse(stream, statusFrame(14, "the connection to the backend was lost"))
    endResponse(stream, trailers: .empty)
    return true
  }

  private static var withoutStatus: StaticString { "the backend ended its answer without a status" }

  private mutating func statusFrame(_ status: UInt8, _ message: StaticString) -> Bytes {
    statusFrame(status, Bytes(message))
  }

  private mutating func statusFrame(_ status: UInt8, _ message: Bytes) -> Bytes {
    let digits = Bytes("0001020304050607080910111213141516")
    let start = Int(min(status, 16)) * 2
    var frame = unsafe GRPCWebTrailerFrame(rewritten.base, capacity: rewritten.capacity)
    frame.line(Bytes("grpc-status"), digits.slice(status < 10 ? start + 1 : start, start + 2))
    if !message.isEmpty { frame.line(Bytes("grpc-message"), message) }
    return frame.end()
  }

  /// Answers without a backend: a head, and a body that is nothing but trailers.
  /// - Parameter message: percent-encoded.
  mutating func replyGRPCWeb(_ stream: Int32, status: UInt8, message: Bytes) {
    let web = grpcWebStates[stream]
    web[].isAnswering = false
    streams[stream][].grpcStatus = Int16(status)
    var body = statusFrame(status, message.count <= 4096 ? message : .empty)
    if web[].answer.isText {
      var encoder = GRPCWebEncoder()
      // SAFETY: the frame has less than 5 KiB, the scratch 64.
      let step = unsafe encoder.encode(body, into: grpcWebText.base, capacity: grpcWebText.capacity)
      body = unsafe Bytes(start: grpcWebText.base, count: step.written)
    }
    var head = ResponseHead(
      fields: unsafe HeaderTable(base: responseFields.base, capacity: responseFields.capacity))
    head.status = 200
    head.contentLength = Int64(body.count)
    add(&head.fields, .contentType, "content-type", Bytes(web[].answer.answer))
    add(&head.fields, .contentLength, "content-length", text.decimal(UInt64(body.count)))
    sendLocal(stream, &head, body: body)
  }
}
