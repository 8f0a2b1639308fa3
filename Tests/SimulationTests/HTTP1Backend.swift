/// One connection to a backend that speaks HTTP/1.1.
final class HTTP1Backend: SimulatedPeer {
  private unowned let simulation: Simulation
  private let link: SimulatedLink
  private let endpoint: String
  private var reader = MessageReader(readsRequests: true)
  private var exchange: Exchange?
  private var isTunnel = false
  private var received = 0
  private var requestIsWhole = false
  private var answerIsWhole = true
  private var isClosed = false
  private var served = 0
  private var isMute = false

  init(_ simulation: Simulation, _ link: SimulatedLink, endpoint: String) {
    self.simulation = simulation
    self.link = link
    self.endpoint = endpoint
  }

  func received(_ bytes: [UInt8]) {
    if isClosed || isMute { return }
    reader.feed(bytes)
    while !isClosed, let part = reader.next() {
      switch part {
      case .head(let head): begin(head)
      case .data(let bytes): data(bytes)
      case .end(let trailers): finish(trailers)
      case .invalid(let reason): simulation.fail("\(endpoint) got what is no request: \(reason)")
      }
    }
  }

  private func begin(_ head: MessageReader.Head) {
    guard answerIsWhole, requestIsWhole || exchange == nil else {
      return simulation.fail("\(endpoint): \(head.line) before \(exchange?.id ?? 0) was over")
    }
    guard let found = simulation.exchange(ofPath: head.path), head.method == found.method else {
      return simulation.fail("\(endpoint): nobody asked for \(head.line)")
    }
    (exchange, received, requestIsWhole, answerIsWhole) = (found, 0, false, false)
    served += 1
    simulation.arrived(found, at: endpoint)
    if found.isUpgrade {
      isTunnel = true
      reader.becomeRaw()
      simulation.network.after(found.answer.delay) { [self] in answer(found) }
    } else if found.answer.isEarly {
      simulation.network.after(found.answer.delay) { [self] in answer(found) }
    } else if found.expects, simulation.network.random.chance(70) {
      link.send(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8))
    }
  }

  private func data(_ bytes: [UInt8]) {
    guard let exchange else { return simulation.fail("\(endpoint): bytes that belong to no request") }
    if !exchange.agrees(bytes, isAnswer: false, from: received) {
      simulation.failBytes(bytes, exchange, isAnswer: false, at: received, endpoint)
    }
    received += bytes.count
  }

  private func finish(_ trailers: [String]) {
    guard let exchange else { return }
    requestIsWhole = true
    exchange.delivered += 1
    if received != exchange.requestLength {
      simulation.fail("\(endpoint): request \(exchange.id) looks whole with \(received) of \(exchange.requestLength)")
    }
    if !trailers.isEmpty, trailers.map({ $0.lowercased() }) != ["x-id: \(exchange.id)"] {
      simulation.fail("\(endpoint): request \(exchange.id) has the trailers \(trailers)")
    }
    if !exchange.answer.isEarly { simulation.network.after(exchange.answer.delay) { [self] in answer(exchange) } }
  }

  // MARK: The answer

  private func answer(_ exchange: Exchange) {
    guard !isClosed, exchange === self.exchange else { return }
    let answer = exchange.answer
    switch answer.fault {
    case .silence: return
    case .refused:
      // Says nothing and goes, as a backend does that is just closing an idle connection.
      return close(resets: simulation.network.random.chance(50))
    case .malformed:
      link.send(Array("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".utf8))
      return
    default: break
    }
    simulation.network.note("\(endpoint) answers \(exchange.id)")
    if answer.interim { link.send(Array("HTTP/1.1 103 Early Hints\r\nx-hint: 1\r\n\r\n".utf8)) }
    if isTunnel {
      link.send(
        Array("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".utf8))
      return sendBody(exchange, framing: .untilClose)
    }
    var text = "HTTP/1.1 \(answer.status) OK\r\nx-id: \(exchange.id)\r\nx-endpoint: \(endpoint)\r\n"
    if answer.saysClose || answer.framing == .untilClose { text += "Connection: close\r\n" }
    switch answer.framing {
    case .length where answer.status != 204: text += "Content-Length: \(answer.length)\r\n"
    case .chunked where answer.status != 204: text += "Transfer-Encoding: chunked\r\n"
    default: break
    }
    link.send(Array((text + "\r\n").utf8))
    sendBody(exchange, framing: answer.framing)
  }

  private func sendBody(_ exchange: Exchange, framing: Exchange.Framing) {
    let answer = exchange.answer
    let hasBody = exchange.method != "HEAD" && answer.status != 204
    let isBroken = answer.fault == .reset || answer.fault == .end
    var length = hasBody ? answer.length : 0
    if isBroken { length = simulation.network.random.below(length + 1) }
    var at = 0
    while at < length {
      let end = at + 1 + simulation.network.random.size(length - at - 1)
      let piece = exchange.bytes(isAnswer: true, at..<end)
      if framing == .chunked { link.send(Array("\(String(piece.count, radix: 16))\r\n".utf8)) }
      link.send(piece)
      if framing == .chunked { link.send([13, 10]) }
      at = end
    }
    if isBroken {
      return close(resets: answer.fault == .reset || isTunnel || length == answer.length || framing == .untilClose)
    }
    if framing == .chunked, hasBody { link.send(Array("0\r\n\(answer.trailers ? "x-sum: 1\r\n" : "")\r\n".utf8)) }
    answerIsWhole = true
    if isTunnel { return link.end() }
    let closes = answer.saysClose || framing == .untilClose || answer.fault == .unannouncedClose
    if answer.fault == .surplus, framing != .untilClose {
      // It answers nothing after that, so that what follows on this connection is one answer off for one request only.
      link.sendSurplus(Array("HTTP/1.1 200 OK\r\nx-id: 0\r\nContent-Length: 0\r\n\r\n".utf8))
      isMute = true
    }
    if closes { return close(resets: false) }
    if simulation.plan.idleClosePercent > 0, simulation.network.random.chance(simulation.plan.idleClosePercent) {
      let before = served
      simulation.network.after(simulation.network.random.within(0...20_000)) { [self] in
        if served == before { close(resets: simulation.network.random.chance(30)) }
      }
    }
  }

  private func close(resets: Bool) {
    if isClosed { return }
    isClosed = true
    if resets { link.reset() } else { link.close() }
  }

  func ended() {
    if isTunnel, let exchange {
      if received == exchange.requestLength { exchange.delivered += 1 }
      link.end()
      return
    }
    // An upstream connection is not half-closed: its request is over, or broken off for good.
    close(resets: false)
  }

  func broken() { isClosed = true }
}
