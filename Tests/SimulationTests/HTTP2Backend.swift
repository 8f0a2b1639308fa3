import HTTP2
import HTTPSemantics

/// One connection to a backend that speaks HTTP/2.
final class HTTP2Backend: HTTP2Side {
  private struct Call {
    let exchange: Exchange
    var received = 0
    var isWhole = false
  }

  private let endpoint: String
  private var calls: [Int32: Call] = [:]
  private var wentAway = false

  init(_ simulation: Simulation, _ link: SimulatedLink, endpoint: String) {
    self.endpoint = endpoint
    super.init(simulation, isServer: true)
    attach(link)
  }

  /// Sends the settings.
  func start() { flush() }

  override func handle(_ event: HTTP2Event) {
    let stream = event.streamID
    switch event.kind {
    case .requestHead: begin(stream, event)
    case .data: data(stream, Self.array(event.bytes))
    case .trailers:
      if let exchange = calls[stream]?.exchange, Self.value("x-id", in: event.trailers) != "\(exchange.id)" {
        simulation.fail("\(endpoint): request \(exchange.id) has the trailers of another")
      }
    case .streamClosed: calls[stream] = nil
    default: break
    }
    if event.endStream { finish(stream) }
  }

  private func begin(_ stream: Int32, _ event: HTTP2Event) {
    let head = unsafe event.requestHead.pointee
    let path = String(decoding: head.target)
    guard let exchange = simulation.exchange(ofPath: path), String(decoding: head.methodBytes) == exchange.method
    else { return simulation.fail("\(endpoint): nobody asked for \(path)") }
    if exchange.answer.fault == .refused, simulation.network.random.chance(70) {
      simulation.network.note("\(endpoint) refuses \(exchange.id)")
      session.reset(stream, HTTP2ErrorCode.refusedStream)
      return
    }
    calls[stream] = Call(exchange: exchange)
    simulation.arrived(exchange, at: endpoint)
    if (head.upgrade == .webSocket) != exchange.isUpgrade {
      simulation.fail("\(endpoint): request \(exchange.id) is a tunnel, or none, against what was asked")
    }
    if exchange.answer.isEarly || exchange.isUpgrade { later(stream, exchange) }
  }

  private func data(_ stream: Int32, _ bytes: [UInt8]) {
    simulation.network.note("\(endpoint) got \(bytes.count) bytes of stream \(stream)")
    consume(stream, bytes.count)
    guard let call = calls[stream] else { return }
    if !call.exchange.agrees(bytes, isAnswer: false, from: call.received) {
      simulation.failBytes(bytes, call.exchange, isAnswer: false, at: call.received, endpoint)
    }
    calls[stream]?.received += bytes.count
  }

  private func finish(_ stream: Int32) {
    guard let call = calls[stream] else { return }
    let exchange = call.exchange
    if exchange.isUpgrade {
      // A tunnel ends where its client does.
      if call.received == exchange.requestLength { exchange.delivered += 1 }
      return
    }
    exchange.delivered += 1
    if call.received != exchange.requestLength {
      simulation.fail(
        "\(endpoint): request \(exchange.id) looks whole with \(call.received) of \(exchange.requestLength)")
    }
    if !exchange.answer.isEarly { later(stream, exchange) }
  }

  private func later(_ stream: Int32, _ exchange: Exchange) {
    simulation.network.after(exchange.answer.delay) { [self] in
      guard link != nil, calls[stream] != nil else { return }
      answer(stream, exchange)
      flush()
    }
  }

  private func answer(_ stream: Int32, _ exchange: Exchange) {
    let answer = exchange.answer
    simulation.network.note("\(endpoint) answers \(exchange.id)")
    switch answer.fault {
    case .silence: return
    case .malformed:
      // DATA on stream 0: nothing of this connection can be believed.
      link?.send([0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
      return
    case .refused: return session.reset(stream, HTTP2ErrorCode.internalError)
    case .goAway where !wentAway:
      wentAway = true
      session.goAway(graceful: simulation.network.random.chance(60))
    default: break
    }
    if answer.interim { session.submitInformational(stream, status: 103, fields: simulation.inbox.fieldList()) }
    let hasBody = exchange.method != "HEAD" && answer.status != 204
    let length = hasBody ? answer.length : 0
    var fields = [("x-id", "\(exchange.id)"), ("x-endpoint", endpoint)]
    if answer.framing == .length, answer.status != 204, !exchange.isUpgrade {
      fields.append(("content-length", "\(answer.length)"))
    }
    let hasTrailers = answer.trailers && !exchange.isUpgrade
    let endsAtOnce = length == 0 && !hasTrailers
    withFields(fields, simulation.inbox.fieldList()) {
      _ = session.submitResponse(stream, status: UInt16(answer.status), fields: $0, endStream: endsAtOnce)
    }
    if endsAtOnce { return }
    let isBroken = answer.fault == .reset || answer.fault == .end
    let end = isBroken ? simulation.network.random.below(length) : length
    sendBody(stream, exchange, isAnswer: true, 0..<end) { [self] in
      if answer.fault == .reset, simulation.network.random.chance(50) {
        leave(resets: true, "breaks off")
      } else if isBroken {
        session.reset(stream, HTTP2ErrorCode.internalError)
      } else if hasTrailers {
        trailers(stream, [("grpc-status", "0")])
      } else {
        write(stream, [], endStream: true)
      }
    }
  }
}
