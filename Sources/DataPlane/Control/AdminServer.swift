import CLinux
import ControlProtocol
import Telemetry

/// Where the admin socket could not be opened.
struct AdminError: Error, Equatable, CustomStringConvertible {
  let place: String
  let reason: String
  var description: String { "admin socket \(place): \(reason)" }
}

/// The admin socket (mode 0600) and, where asked for, an admin port. One request a connection; the main
/// thread answers between its other duties.
///
/// A tunnel (`CONNECT`) is only for the unix socket: the port has no access control.
struct AdminServer: ~Copyable {
  private static let requestMilliseconds: UInt64 = 10_000

  private struct Listener {
    let descriptor: OwnedDescriptor
    let isLocal: Bool
  }

  private struct Connection {
    let descriptor: OwnedDescriptor
    let isLocal: Bool
    let deadline: UInt64
    var input: [UInt8] = []
    var output: [UInt8] = []
    var sent = 0
    var tunnelPort: UInt16?
  }

  private let maxConnections: Int
  private let counters: CounterBlock
  private var limitLog: LimitLog
  private var path: String?
  private var listeners: [Listener] = []
  private var connections: [Connection] = []

  /// `counters` are those of the main thread.
  init(limits: Limits, counters: CounterBlock, log: LineLogger) {
    self.counters = counters
    maxConnections = limits.maxAdminConnections
    limitLog = LimitLog(log: log, limits: limits)
  }

  /// Opens the unix socket; a socket that a dead process left is removed.
  mutating func listen(path: String) throws(AdminError) {
    func failure(_ call: String) -> AdminError {
      AdminError(place: path, reason: "\(call): \(errorText(clinux_errno()))")
    }
    if unsafe clinux_is_socket(path) != 0 {
      let probe = OwnedDescriptor(clinux_unix_socket())
      if unsafe clinux_unix_connect(probe.number, path) == 0 {
        throw AdminError(place: path, reason: "another data plane listens here")
      }
      if clinux_errno() == ECONNREFUSED { unsafe unlink(path) }
    }
    let number = clinux_unix_socket()
    guard number >= 0 else { throw failure("socket") }
    let descriptor = OwnedDescriptor(number)
    // Before bind: the file then never exists with wider permissions.
    guard fchmod(number, 0o600) == 0 else { throw failure("fchmod") }
    guard unsafe clinux_unix_bind(number, path) == 0 else { throw failure("bind") }
    guard CLinux.listen(number, 64) == 0 else { throw failure("listen") }
    self.path = path
    listeners.append(Listener(descriptor: descriptor, isLocal: true))
  }

  /// Opens a port; returns the number bound (for port 0). `address` is IPv4 in host order.
  mutating func listen(address: UInt32, port: UInt16) throws(AdminError) -> UInt16 {
    let number = clinux_tcp_listen(address, port)
    guard number >= 0 else {
      throw AdminError(place: "port \(port)", reason: "bind: \(errorText(clinux_errno()))")
    }
    let descriptor = OwnedDescriptor(number)
    listeners.append(Listener(descriptor: descriptor, isLocal: false))
    return UInt16(truncatingIfNeeded: clinux_local_port(number))
  }

  /// Removes the socket's file.
  mutating func close() {
    if let path { unsafe unlink(path) }
    path = nil
    listeners = []
    connections = []
  }

  // MARK: Polling

  /// When the oldest connection has to be ended, or what the log keeps back is to be said.
  var deadline: UInt64 { min(connections.map(\.deadline).min() ?? .max, limitLog.flushDeadline) }

  func appendQuestions(_ questions: inout [pollfd]) {
    for listener in listeners {
      questions.append(pollfd(fd: listener.descriptor.number, events: Int16(POLLIN), revents: 0))
    }
    for connection in connections {
      let events = connection.output.isEmpty ? POLLIN : POLLOUT
      questions.append(pollfd(fd: connection.descriptor.number, events: Int16(events), revents: 0))
    }
  }

  /// `questions` are those of `appendQuestions`, answered. `answer` decides about a request, `handOver` takes
  /// a tunnel's descriptor (false: the listener is gone meanwhile).
  mutating func serve(
    _ questions: ArraySlice<pollfd>, now: UInt64, answer: (AdminRequest) -> AdminAnswer,
    handOver: (Int32, UInt16) -> Bool
  ) {
    limitLog.flush(now: now)
    let first = questions.startIndex + listeners.count
    let count = connections.count
    for index in (0..<count).reversed() {
      let isOver: Bool
      if questions[first + index].revents != 0 {
        isOver = turn(index, answer: answer, handOver: handOver)
      } else {
        isOver = now > connections[index].deadline
      }
      if isOver { connections.remove(at: index) }
    }
    for (offset, listener) in listeners.enumerated()
    where questions[questions.startIndex + offset].revents != 0 { accept(listener, now) }
  }

  private mutating func accept(_ listener: Listener, _ now: UInt64) {
    while true {
      let number = clinux_accept_any(listener.descriptor.number)
      if number < 0 {
        if clinux_errno() == ECONNABORTED { continue }
        return
      }
      let descriptor = OwnedDescriptor(number)
      guard connections.count < maxConnections else {
        counters.hit(.maxAdminConnections)
        limitLog.hit(.maxAdminConnections, peer: LogText(), port: 0, now: now)
        continue
      }
      connections.append(
        Connection(
          descriptor: descriptor, isLocal: listener.isLocal, deadline: now + Self.requestMilliseconds))
    }
  }

  /// True: the connection is over.
  private mutating func turn(
    _ index: Int, answer: (AdminRequest) -> AdminAnswer, handOver: (Int32, UInt16) -> Bool
  ) -> Bool {
    if connections[index].output.isEmpty {
      guard receive(index) else { return true }
      guard prepare(index, answer: answer) else { return false }
    }
    guard let isSent = send(index) else { return true }
    guard isSent else { return false }
    if let port = connections[index].tunnelPort {
      let copy = clinux_duplicate(connections[index].descriptor.number)
      if copy >= 0, !handOver(copy, port) { CLinux.close(copy) }
    } else {
      shutdown(connections[index].descriptor.number, 1)
    }
    return true
  }

  /// False: the peer is gone.
  private mutating func receive(_ index: Int) -> Bool {
    var bytes = [UInt8](repeating: 0, count: 2048)
    let count = unsafe recv(connections[index].descriptor.number, &bytes, bytes.count, 0x40)
    if count < 0 { return clinux_errno() == EAGAIN || clinux_errno() == EINTR }
    connections[index].input.append(contentsOf: bytes[..<count])
    return count > 0
  }

  /// True: there is an answer to be sent.
  private mutating func prepare(_ index: Int, answer: (AdminRequest) -> AdminAnswer) -> Bool {
    let result: AdminAnswer
    var isHead = false
    switch AdminRequest.parse(connections[index].input) {
    case .incomplete: return false
    case .malformed: result = .text(400, "malformed request")
    case .request(let request, let surplus):
      isHead = request.method == "HEAD"
      if request.method == "CONNECT", !connections[index].isLocal {
        result = .text(403, "tunnels are for the admin unix socket only")
      } else if request.method == "CONNECT", surplus > 0 {
        result = .text(400, "nothing may be sent before the answer to CONNECT")
      } else {
        result = answer(request)
      }
    }
    if case .tunnel(let port) = result { connections[index].tunnelPort = port }
    connections[index].output = result.bytes(isHead: isHead)
    return true
  }

  /// Nil: the peer is gone. True: everything is sent.
  private mutating func send(_ index: Int) -> Bool? {
    while connections[index].sent < connections[index].output.count {
      let number = connections[index].descriptor.number
      let offset = connections[index].sent
      let count = unsafe connections[index].output[offset...].withUnsafeBytes { bytes in
        unsafe clinux_send_descriptor(number, bytes.baseAddress, bytes.count, -1)
      }
      if count < 0 { return clinux_errno() == EAGAIN ? false : nil }
      connections[index].sent += count
    }
    return true
  }
}
