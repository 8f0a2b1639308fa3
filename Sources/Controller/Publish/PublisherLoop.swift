import CLinux
import ControlProtocol

/// One data plane.
struct PublisherConnection {
  let descriptor: OwnedDescriptor
  var channel = FrameChannel()
  /// Nil until its hello came: nothing is sent before.
  var instance: String?
  /// What it was sent last.
  var sentGeneration: UInt64 = 0
  var sentSequence: UInt64 = 0
  var lastHeardMilliseconds: UInt64
  var lastPingMilliseconds: UInt64
}

/// The thread of the publisher: accepts, sends what is newest, turns answers into events.
struct PublisherLoop {
  private static let pingMilliseconds: UInt64 = 5000
  /// More data planes than anyone runs on one machine.
  private static let maxConnections = 64

  private let listener: OwnedDescriptor
  private let shared: PublisherShared
  /// A peer that says nothing (not even pong) for so long is gone.
  private let silenceMilliseconds: UInt64
  private let continuation: AsyncStream<PublisherEvent>.Continuation
  private let log: PublisherLog
  private var connections: [PublisherConnection] = []
  private var scratch = [UInt8](repeating: 0, count: 64 * 1024)

  init(
    listener: OwnedDescriptor, shared: PublisherShared, silenceMilliseconds: UInt64,
    continuation: AsyncStream<PublisherEvent>.Continuation, log: @escaping PublisherLog
  ) {
    self.listener = listener
    self.shared = shared
    self.silenceMilliseconds = silenceMilliseconds
    self.continuation = continuation
    self.log = log
  }

  mutating func run() {
    while true {
      let state = shared.current
      if state.isStopping { break }
      let now = PublisherSocket.monotonicMilliseconds()
      sendNewest(state, now)
      wait()
    }
    for index in connections.indices.reversed() { drop(index, "the controller stops") }
  }

  /// Waits for anything and does it.
  private mutating func wait() {
    var questions = [
      pollfd(fd: shared.wake.number, events: Int16(POLLIN), revents: 0),
      pollfd(fd: listener.number, events: Int16(POLLIN), revents: 0),
    ]
    for connection in connections {
      let events = connection.channel.hasOutgoing ? POLLIN | POLLOUT : POLLIN
      questions.append(pollfd(fd: connection.descriptor.number, events: Int16(events), revents: 0))
    }
    guard unsafe poll(&questions, UInt(questions.count), 1000) > 0 else { return }
    if questions[0].revents != 0 {
      var count: UInt64 = 0
      _ = unsafe CLinux.read(shared.wake.number, &count, 8)
    }
    // From the end: a dropped connection moves only those behind it.
    for index in connections.indices.reversed() where questions[index + 2].revents != 0 {
      receive(connections[index].descriptor)
    }
    if questions[1].revents != 0 { accept() }
  }

  private mutating func accept() {
    while true {
      let number = clinux_accept_any(listener.number)
      if number < 0 {
        if clinux_errno() == ECONNABORTED { continue }
        return
      }
      let descriptor = OwnedDescriptor(number)
      if let refusal = PublisherSocket.refusal(of: number) {
        log(.error, "control socket: \(refusal)")
        continue
      }
      guard connections.count < Self.maxConnections else {
        log(.error, "control socket: more than \(Self.maxConnections) connections")
        continue
      }
      let now = PublisherSocket.monotonicMilliseconds()
      connections.append(
        PublisherConnection(descriptor: descriptor, lastHeardMilliseconds: now, lastPingMilliseconds: now))
    }
  }

  // MARK: Sending

  private mutating func sendNewest(_ state: PublisherShared.State, _ now: UInt64) {
    for index in connections.indices.reversed() {
      if now - connections[index].lastHeardMilliseconds > silenceMilliseconds {
        drop(index, "no sign of life for \(silenceMilliseconds) ms")
        continue
      }
      queueNewest(index, state, now)
      flush(index)
    }
  }

  private mutating func queueNewest(_ index: Int, _ state: PublisherShared.State, _ now: UInt64) {
    guard connections[index].instance != nil, !connections[index].channel.hasOutgoing else { return }
    let sequence = state.update?.sequence ?? 0
    if let notice = state.snapshot, connections[index].sentGeneration != state.generation {
      var notice = notice
      notice.endpointSequence = sequence
      _ = connections[index].channel.send(.snapshot(notice), descriptor: state.memory)
      if let update = state.update { _ = connections[index].channel.send(.endpointUpdate(update)) }
      connections[index].sentGeneration = state.generation
      connections[index].sentSequence = sequence
    } else if let update = state.update, connections[index].sentSequence != sequence {
      _ = connections[index].channel.send(.endpointUpdate(update))
      connections[index].sentSequence = sequence
    } else if now - connections[index].lastPingMilliseconds > Self.pingMilliseconds {
      connections[index].lastPingMilliseconds = now
      _ = connections[index].channel.send(.ping(now))
    }
  }

  private mutating func flush(_ index: Int) {
    let number = connections[index].descriptor.number
    let result = unsafe connections[index].channel.flush { bytes, passed in
      let sent = unsafe clinux_send_descriptor(number, bytes.baseAddress, bytes.count, passed)
      return sent >= 0 ? sent : -Int(clinux_errno())
    }
    if result < 0 && result != -Int(EAGAIN) {
      drop(index, "send: \(PublisherSocket.text(Int32(-result)))")
    }
  }

  // MARK: Receiving

  private mutating func receive(_ descriptor: OwnedDescriptor) {
    guard let index = connections.firstIndex(where: { $0.descriptor === descriptor }) else { return }
    let (count, code) = readSome(descriptor.number)
    if count < 0 && code == EAGAIN { return }
    guard count > 0 else {
      drop(index, count == 0 ? "closed by the data plane" : PublisherSocket.text(code))
      return
    }
    connections[index].lastHeardMilliseconds = PublisherSocket.monotonicMilliseconds()
    connections[index].channel.received(scratch[..<count])
    while let index = connections.firstIndex(where: { $0.descriptor === descriptor }) {
      do {
        guard let received = try connections[index].channel.next() else { return }
        handle(received.message, descriptor)
      } catch {
        log(.error, "data plane \(name(index)): \(error)")
        if error.isFatal { drop(index, "\(error)") }
      }
    }
  }

  /// A data plane has no business to send descriptors: what comes is closed.
  private mutating func readSome(_ number: Int32) -> (count: Int, code: Int32) {
    var passed = [Int32](repeating: -1, count: Int(CLINUX_MAX_DESCRIPTORS))
    var passedCount: Int32 = 0
    let capacity = scratch.count
    let count = unsafe scratch.withUnsafeMutableBytes { buffer in
      unsafe clinux_receive_descriptors(number, buffer.baseAddress, capacity, &passed, &passedCount)
    }
    let code = count < 0 ? clinux_errno() : 0
    for index in 0..<Int(passedCount) { close(passed[index]) }
    return (count, code)
  }

  private mutating func handle(_ message: ControlMessage, _ descriptor: OwnedDescriptor) {
    if case .hello(let hello) = message {
      greet(hello, descriptor)
      return
    }
    guard let index = connections.firstIndex(where: { $0.descriptor === descriptor }) else { return }
    guard let instance = connections[index].instance else {
      drop(index, "the first message must be hello")
      return
    }
    switch message {
    case .ack(let ack):
      log(.debug, "data plane \(instance): adopted snapshot \(ack.revision), endpoints \(ack.sequence)")
      continuation.yield(
        .ack(
          instance: instance, revision: ack.revision, sequence: ack.sequence,
          sockets: ack.sockets.map(SocketReport.init)))
    case .nack(let nack):
      log(
        .error,
        "data plane \(instance) refused snapshot \(nack.revision), endpoints \(nack.sequence):"
          + " \(nack.reason)")
      continuation.yield(
        .nack(
          instance: instance, revision: nack.revision, sequence: nack.sequence, reason: nack.reason))
    case .ping(let number):
      _ = connections[index].channel.send(.pong(number))
    case .pong, .health: break
    case .hello, .snapshot, .endpointUpdate:
      drop(index, "a message that only the controller sends")
    }
  }

  private mutating func greet(_ hello: Hello, _ descriptor: OwnedDescriptor) {
    // A data plane that comes again before its old connection is seen to be dead replaces it.
    for index in connections.indices.reversed() where connections[index].instance == hello.instance {
      if connections[index].descriptor !== descriptor { drop(index, "replaced by a new connection") }
    }
    guard let index = connections.firstIndex(where: { $0.descriptor === descriptor }) else { return }
    guard connections[index].instance == nil else {
      drop(index, "a second hello")
      return
    }
    connections[index].instance = hello.instance
    log(
      .info,
      "data plane \(hello.instance) (process \(hello.process)) connected"
        + (hello.lastRevision == 0 ? "" : ", serves snapshot \(hello.lastRevision)"))
    continuation.yield(.connected(instance: hello.instance))
  }

  private mutating func drop(_ index: Int, _ reason: String) {
    let connection = connections.remove(at: index)
    guard let instance = connection.instance else {
      log(.debug, "control socket: connection ended: \(reason)")
      return
    }
    log(.info, "data plane \(instance) disconnected: \(reason)")
    continuation.yield(.disconnected(instance: instance))
  }

  private func name(_ index: Int) -> String { connections[index].instance ?? "without a name" }
}

extension SocketReport {
  init(_ status: SocketStatus) {
    self.init(
      address: status.address, port: status.port, bindPort: status.bindPort,
      failure: status.code == 0 ? nil : BindFailure(code: status.code, reason: status.reason))
  }
}
