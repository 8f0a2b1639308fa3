import HTTP2
import HTTPSemantics

/// A client that speaks HTTP/2 with many streams, some of which it resets.
final class HTTP2Client: HTTP2Side {
  private struct Call {
    let exchange: Exchange
    var received = 0
    var status = 0
    var isOfBackend = false
    var isWhole = false
    var grpcStatus: String?
  }

  private var left: [Exchange]
  private var calls: [Int32: Call] = [:]
  /// Streams in the order in which they were opened.
  private var open: [Int32] = []
  private let width: Int
  private let port: Int
  private var wentAway = false

  init(_ simulation: Simulation, _ exchanges: [Exchange], width: Int, port: Int) {
    left = exchanges
    self.width = width
    self.port = port
    super.init(simulation, isServer: false)
    guard let listener = simulation.listener(port) else {
      for exchange in left { simulation.resolve(exchange, .aborted("no listener")) }
      return
    }
    attach(simulation.network.connect(to: listener, from: self))
    simulation.liveClients += 1
    fill()
  }

  private func fill() {
    while link != nil, !wentAway, open.count < width, session.canOpenStream, let exchange = left.first {
      left.removeFirst()
      submit(exchange)
    }
    if left.isEmpty || wentAway, open.isEmpty, link != nil {
      session.goAway(graceful: false)
      flush()
      leave(resets: false, "done")
      return
    }
    flush()
  }

  private func submit(_ exchange: Exchange) {
    simulation.network.note("client sends \(exchange.id) \(exchange.method) \(exchange.path) on HTTP/2")
    let hasBody = exchange.requestLength > 0 || exchange.method == "POST"
    var fields: [(String, String)] = []
    if exchange.route == .grpc { fields.append(("content-type", "application/grpc")) }
    if hasBody, !exchange.isChunked { fields.append(("content-length", "\(exchange.requestLength)")) }
    let stream = withFields(fields, simulation.inbox.fieldList()) { list in
      withBytes(exchange.method) { method in
        withBytes(exchange.path) { path in
          session.submitRequest(
            method: method, scheme: .http, authority: Bytes("simulated.test"), path: path, fields: list,
            endStream: !hasBody, tag: 0)
        }
      }
    }
    guard stream > 0 else {
      wentAway = true
      left.insert(exchange, at: 0)
      return
    }
    calls[stream] = Call(exchange: exchange)
    open.append(stream)
    let network = simulation.network
    if let after = exchange.abandonedAfter { network.after(after) { [self] in abandon(stream, exchange) } }
    if let patience = simulation.plan.patience {
      network.after(patience) { [self] in
        guard exchange.outcome == nil else { return }
        abandon(stream, exchange)
      }
    }
    guard hasBody else { return }
    network.after(network.random.within(0...2_000)) { [self] in
      sendBody(stream, exchange, isAnswer: false, 0..<exchange.requestLength) { [self] in
        if exchange.isChunked {
          trailers(stream, [("x-id", "\(exchange.id)")])
        } else {
          write(stream, [], endStream: true)
        }
      }
    }
  }

  private func abandon(_ stream: Int32, _ exchange: Exchange) {
    guard link != nil, calls[stream] != nil else { return }
    simulation.network.note("client abandons \(exchange.id)")
    if simulation.network.random.chance(10) { return leave(resets: true, "the client went") }
    session.reset(stream, HTTP2ErrorCode.cancel)
    close(stream, "the client reset it")
    fill()
  }

  private func close(_ stream: Int32, _ reason: String, isRefused: Bool = false) {
    guard let call = calls.removeValue(forKey: stream) else { return }
    open.removeAll { $0 == stream }
    let exchange = call.exchange
    if isRefused {
      // RFC 9113 section 8.7: nothing was done with it, so that it may be sent again.
      if exchange.acted > 0 { simulation.fail("\(exchange.id) was refused after a backend had got it") }
      return left.append(exchange)
    }
    if exchange.gotSurplus { return simulation.resolve(exchange, .aborted("surplus")) }
    let isGRPCFailure = exchange.route == .grpc && call.grpcStatus != nil && call.grpcStatus != "0"
    guard call.isWhole else { return simulation.resolve(exchange, .aborted(reason)) }
    if !call.isOfBackend { return simulation.resolve(exchange, .local(call.status)) }
    if isGRPCFailure { return simulation.resolve(exchange, .aborted("gRPC status")) }
    let expected = exchange.method == "HEAD" || call.status == 204 ? 0 : exchange.answer.length
    if call.received != expected {
      simulation.fail("\(exchange.id): a whole answer of \(call.received) bytes, \(expected) were sent")
    }
    simulation.resolve(exchange, .answered)
  }

  override func handle(_ event: HTTP2Event) {
    let stream = event.streamID
    switch event.kind {
    case .responseHead:
      let head = unsafe event.responseHead.pointee
      let id = Self.value("x-id", in: head.fields)
      guard let call = calls[stream] else { return }
      calls[stream]?.status = Int(head.status)
      calls[stream]?.isOfBackend = id != nil
      calls[stream]?.grpcStatus = Self.value("grpc-status", in: head.fields)
      simulation.check(id, Int(head.status), for: call.exchange)
    case .data:
      let bytes = Self.array(event.bytes)
      consume(stream, bytes.count)
      guard let call = calls[stream] else { return }
      if call.isOfBackend, !call.exchange.agrees(bytes, isAnswer: true, from: call.received) {
        simulation.failBytes(bytes, call.exchange, isAnswer: true, at: call.received, "a client")
      }
      calls[stream]?.received += bytes.count
    case .trailers: calls[stream]?.grpcStatus = Self.value("grpc-status", in: event.trailers)
    case .streamClosed:
      let isRefused = event.errorCode == HTTP2ErrorCode.refusedStream
      close(stream, "reset by the proxy (\(event.errorCode))", isRefused: isRefused)
      simulation.network.after(0) { [self] in if link != nil { fill() } }
    case .goAway: wentAway = true
    default: break
    }
    if event.endStream { calls[stream]?.isWhole = true }
  }

  override func over(_ reason: String) {
    simulation.liveClients -= 1
    let streams = open
    for stream in streams { close(stream, reason) }
    let rest = left
    left = []
    guard !rest.isEmpty else { return }
    let (width, port, simulation) = (width, port, simulation)
    simulation.network.after(1_000) { _ = HTTP2Client(simulation, rest, width: width, port: port) }
  }
}
