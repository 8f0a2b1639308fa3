/// A client that speaks HTTP/1.1: it pipelines, half-closes, breaks off, and checks every byte that comes back.
final class HTTP1Client: SimulatedPeer {
  private unowned let simulation: Simulation
  private var link: SimulatedLink?
  private var reader = MessageReader(readsRequests: false)
  /// Not sent yet, and sent but not answered, in order.
  private var left: [Exchange]
  private var sent: [Exchange] = []
  private let depth: Int
  private let port: Int
  /// Of the answer in hand.
  private var head: MessageReader.Head?
  private var received = 0
  private var isTunnel = false
  private var waitsForContinue: Exchange?
  private var saidClose = false
  private var lastWasTimed = false

  init(_ simulation: Simulation, _ exchanges: [Exchange], depth: Int, port: Int) {
    self.simulation = simulation
    self.depth = depth
    self.port = port
    left = exchanges
    open()
  }

  private func open() {
    (reader, sent, head, received) = (MessageReader(readsRequests: false), [], nil, 0)
    (isTunnel, waitsForContinue, saidClose, lastWasTimed) = (false, nil, false, false)
    guard let listener = simulation.listener(port) else {
      for exchange in left { simulation.resolve(exchange, .aborted("no listener")) }
      left = []
      return
    }
    link = simulation.network.connect(to: listener, from: self)
    simulation.liveClients += 1
    if simulation.network.random.chance(simulation.plan.slowReaderPercent) { readSlowly(link) }
    fill()
  }

  /// The connection is over: what was sent has its outcome, what was not goes over another.
  private func over(_ reason: String) {
    guard link != nil else { return }
    link = nil
    simulation.liveClients -= 1
    // A timeout in an answer ends the connection under those behind it, and it may act when the answer has come whole
    // and only its backend's stream is still open. A reset takes along what is under way.
    let isExpected = saidClose || lastWasTimed || reason == "reset" && sent.contains(where: \.isAnsweredUnread)
    for (place, exchange) in sent.enumerated() {
      let isBehind = isExpected || place > 0 && sent[0].isTimed
      simulation.resolve(exchange, .aborted(isBehind ? "behind a close" : reason))
    }
    sent = []
    if !left.isEmpty { simulation.network.after(1_000) { [self] in open() } }
  }

  private func readSlowly(_ link: SimulatedLink?) {
    guard let link, link === self.link else { return }
    link.pause(true)
    simulation.network.after(simulation.network.random.within(1_000...200_000)) { [self] in
      link.pause(false)
      simulation.network.after(simulation.network.random.within(1_000...20_000)) { [self] in readSlowly(link) }
    }
  }

  // MARK: Requests

  private func fill() {
    while let link, !saidClose, waitsForContinue == nil, sent.count < depth, let exchange = left.first {
      if sent.last?.isUpgrade == true { return }
      left.removeFirst()
      sent.append(exchange)
      send(exchange, on: link)
    }
    guard let link, left.isEmpty else { return }
    if sent.isEmpty {
      // Some close, some wait for the worker to do so.
      if simulation.network.random.chance(70) { link.close() } else { link.end() }
      if !isTunnel { over("done") }
    } else if simulation.plan.halfCloses, simulation.network.random.chance(20), waitsForContinue == nil,
      sent.last?.isUpgrade == false
    {
      link.end()
    }
  }

  private func send(_ exchange: Exchange, on link: SimulatedLink) {
    simulation.network.note("client sends \(exchange.id) \(exchange.method) \(exchange.path)")
    var text = "\(exchange.method) \(exchange.path) HTTP/1.1\r\nHost: simulated.test\r\n"
    if exchange.isUpgrade {
      text += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    }
    if exchange.expects { text += "Expect: 100-continue\r\n" }
    let hasBody = !exchange.isUpgrade && (exchange.requestLength > 0 || exchange.method == "POST")
    if hasBody {
      text += exchange.isChunked ? "Transfer-Encoding: chunked\r\n" : "Content-Length: \(exchange.requestLength)\r\n"
    }
    link.send(Array((text + "\r\n").utf8))
    if let after = exchange.abandonedAfter {
      simulation.network.after(after) { [self] in abandon(exchange, link) }
    }
    if let patience = simulation.plan.patience {
      simulation.network.after(patience) { [self] in abandon(exchange, link) }
    }
    guard hasBody else { return }
    if exchange.expects {
      waitsForContinue = exchange
      simulation.network.after(500_000) { [self] in goOn(exchange, link) }
    } else {
      sendBody(exchange, on: link)
    }
  }

  private func goOn(_ exchange: Exchange, _ link: SimulatedLink) {
    guard waitsForContinue === exchange, link === self.link else { return }
    waitsForContinue = nil
    sendBody(exchange, on: link)
    fill()
  }

  private func sendBody(_ exchange: Exchange, on link: SimulatedLink) {
    var at = 0
    while at < exchange.requestLength {
      let end =
        exchange.isChunked
        ? at + 1 + simulation.network.random.size(exchange.requestLength - at - 1)
        : exchange.requestLength
      let piece = exchange.bytes(isAnswer: false, at..<end)
      if exchange.isChunked { link.send(Array("\(String(piece.count, radix: 16))\r\n".utf8)) }
      link.send(piece)
      if exchange.isChunked { link.send([13, 10]) }
      at = end
    }
    if exchange.isChunked { link.send(Array("0\r\nx-id: \(exchange.id)\r\n\r\n".utf8)) }
  }

  private func abandon(_ exchange: Exchange, _ link: SimulatedLink) {
    guard exchange.outcome == nil, link === self.link else { return }
    simulation.network.note("client abandons \(exchange.id)")
    if simulation.network.random.chance(50) { link.reset() } else { link.close() }
    over("the client went")
  }

  // MARK: Answers

  func received(_ bytes: [UInt8]) {
    guard link != nil else { return }
    reader.feed(bytes)
    while link != nil {
      reader.isForHead = sent.first?.method == "HEAD"
      guard let part = reader.next() else { break }
      switch part {
      case .head(let head): begin(head)
      case .data(let bytes): data(bytes)
      case .end: finish()
      case .invalid(let reason): simulation.fail("a client got a malformed answer: \(reason)")
      }
    }
  }

  private func begin(_ head: MessageReader.Head) {
    guard let exchange = sent.first else {
      // Of its own accord the proxy may say why it ends a connection, and nothing else.
      if head.status != 408 { simulation.fail("an answer that nobody asked for: \(head.line)") }
      saidClose = true
      return
    }
    if head.status == 100 {
      if waitsForContinue === exchange, let link { goOn(exchange, link) }
      return
    }
    if head.status == 101 {
      guard exchange.isUpgrade else { return simulation.fail("\(exchange.id) was switched without being asked") }
      isTunnel = true
      reader.becomeRaw()
      self.head = head
      received = 0
      link?.send(exchange.bytes(isAnswer: false, 0..<exchange.requestLength))
      link?.end()
      return
    }
    if head.status < 200 { return }
    self.head = head
    received = 0
    if head.value("connection") == "close" { saidClose = true }
    simulation.check(head.value("x-id"), head.status, for: exchange)
  }

  private func data(_ bytes: [UInt8]) {
    guard let exchange = sent.first, let head else { return }
    if !exchange.gotSurplus, isTunnel || head.value("x-id") != nil,
      !exchange.agrees(bytes, isAnswer: true, from: received)
    {
      simulation.failBytes(bytes, exchange, isAnswer: true, at: received, "a client")
    }
    received += bytes.count
  }

  private func finish() {
    guard let exchange = sent.first, let head else { return }
    sent.removeFirst()
    self.head = nil
    lastWasTimed = exchange.isTimed
    if head.value("x-id") == nil {
      simulation.resolve(exchange, .local(head.status))
    } else if exchange.gotSurplus {
      simulation.resolve(exchange, .aborted("surplus"))
    } else {
      let expected = exchange.method == "HEAD" || head.status == 204 ? 0 : exchange.answer.length
      if received != expected {
        simulation.fail("\(exchange.id): a whole answer of \(received) bytes, \(expected) were sent")
      }
      simulation.resolve(exchange, .answered)
    }
    if waitsForContinue === exchange {
      // The answer came without the body: what follows on this connection would be read as one.
      waitsForContinue = nil
      saidClose = true
    }
    if saidClose { link?.end() } else { fill() }
  }

  func ended() {
    if isTunnel, let exchange = sent.first {
      sent.removeFirst()
      let isWhole = received == exchange.answer.length
      simulation.resolve(exchange, isWhole ? .answered : .aborted("the tunnel ended early"))
      if !isWhole, exchange.isPlain, simulation.plan.isCalm {
        simulation.fail("\(exchange.id): a tunnel gave \(received) of \(exchange.answer.length) bytes")
      }
    } else if reader.isUntilClose {
      finish()
    }
    let link = link
    over("the proxy closed")
    link?.close()
  }

  func broken() { over("reset") }
}
