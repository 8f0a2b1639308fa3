import HTTP2
import HTTPSemantics

/// What clients and backends that speak HTTP/2 have in common. All of a simulation share one inbox.
class HTTP2Side: SimulatedPeer {
  unowned let simulation: Simulation
  let session: HTTP2Session
  private(set) var link: SimulatedLink?
  private var isFlushing = false

  init(_ simulation: Simulation, isServer: Bool) {
    self.simulation = simulation
    let inbox = simulation.inbox
    guard let session = isServer ? HTTP2Session.server(inbox) : HTTP2Session.client(inbox) else {
      preconditionFailure("no memory for a session")
    }
    self.session = session
  }

  deinit { session.destroy() }

  func attach(_ link: SimulatedLink) { self.link = link }

  /// Something happened; the event's views are valid.
  func handle(_ event: HTTP2Event) {}

  /// The connection is of no more use.
  func over(_ reason: String) {}

  // MARK: Bytes

  func received(_ bytes: [UInt8]) {
    guard link != nil else { return }
    let inbox = simulation.inbox
    inbox.reset()
    inbox.setNow(milliseconds: simulation.network.now / 1_000_000)
    var bytes = bytes
    // The events view the bytes, which the compiler may free as soon as nothing else asks for them.
    let result = unsafe bytes.withUnsafeMutableBufferPointer {
      let result = unsafe session.receive($0.baseAddress!, $0.count)
      collect()
      return result
    }
    if case .fatal(let code, let limit) = result {
      if limit == .none { simulation.fail("\(self): the proxy broke HTTP/2 (error \(code))") }
      flush()
      return leave(resets: true, "a fault in the frames")
    }
    flush()
  }

  private func collect() {
    let inbox = simulation.inbox
    var index = 0
    while index < inbox.count {
      handle(inbox[index])
      index += 1
    }
    inbox.reset()
  }

  /// Sends what the session has to say.
  func flush() {
    guard !isFlushing else { return }
    isFlushing = true
    simulation.inbox.reset()
    while let link {
      let room = 65_536
      let bytes = unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
        count = unsafe session.drain(into: buffer.baseAddress!, capacity: room)
      }
      collect()
      if bytes.isEmpty { break }
      link.send(bytes)
    }
    isFlushing = false
    if session.isFinished { leave(resets: false, "finished") }
  }

  func leave(resets: Bool, _ reason: String) {
    guard let link else { return }
    self.link = nil
    if resets { link.reset() } else { link.close() }
    over(reason)
  }

  func ended() { leave(resets: false, "the proxy closed") }

  func broken() { leave(resets: true, "reset") }

  // MARK: Sending

  func write(_ stream: Int32, _ bytes: [UInt8], endStream: Bool) {
    _ = unsafe (bytes + [0]).withUnsafeBufferPointer {
      unsafe session.write(stream, $0.baseAddress!, bytes.count, endStream: endStream)
    }
  }

  func trailers(_ stream: Int32, _ list: [(String, String)]) {
    withFields(list, simulation.inbox.fieldList()) { _ = session.submitTrailers(stream, fields: $0) }
  }

  func withBytes<Result>(_ text: String, _ body: (Bytes) -> Result) -> Result {
    let array = Array(text.utf8) + [0]
    return unsafe array.withUnsafeBufferPointer {
      unsafe body(Bytes(start: $0.baseAddress!, count: $0.count - 1))
    }
  }

  /// Names and values must outlive the submission, so the list is made around it.
  func withFields<Result>(
    _ list: [(String, String)], _ fields: HTTP2FieldList, _ body: (HTTP2FieldList) -> Result
  ) -> Result {
    guard let (name, value) = list.first else { return body(fields) }
    return withBytes(name) { name in
      withBytes(value) { value in
        var longer = fields
        longer.append(name: name, value: value)
        return withFields(Array(list.dropFirst()), longer, body)
      }
    }
  }

  static func value(_ name: String, in table: HeaderTable) -> String? {
    (0..<table.count).first { String(decoding: table[$0].nameBytes) == name }.map {
      String(decoding: table[$0].valueBytes)
    }
  }

  static func array(_ bytes: Bytes) -> [UInt8] {
    unsafe Array(UnsafeBufferPointer(start: bytes.start, count: bytes.count))
  }

  /// Gives the window of some bytes back, at once or later.
  func consume(_ stream: Int32, _ count: Int) {
    if simulation.network.random.chance(simulation.plan.slowReaderPercent) {
      consumeLater(stream, count, microseconds: simulation.network.random.within(0...50_000))
    } else {
      session.consume(stream, count)
    }
  }

  private func consumeLater(_ stream: Int32, _ count: Int, microseconds: Int) {
    simulation.network.after(microseconds) { [self] in
      guard link != nil else { return }
      session.consume(stream, count)
      flush()
    }
  }

  /// Sends a body piece by piece, then what ends it.
  func sendBody(
    _ stream: Int32, _ exchange: Exchange, isAnswer: Bool, _ range: Range<Int>, finish: @escaping () -> Void
  ) {
    guard link != nil else { return }
    guard !range.isEmpty else {
      finish()
      flush()
      return
    }
    let end = range.lowerBound + 1 + simulation.network.random.size(range.count - 1)
    write(stream, exchange.bytes(isAnswer: isAnswer, range.lowerBound..<end), endStream: false)
    flush()
    let pause = simulation.network.random.chance(70) ? 0 : simulation.network.random.within(1...3_000)
    simulation.network.after(pause) { [self] in
      sendBody(stream, exchange, isAnswer: isAnswer, end..<range.upperBound, finish: finish)
    }
  }
}
