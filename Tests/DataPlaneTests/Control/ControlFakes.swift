import CLinux
import ControlProtocol
import RoutingTable
import Telemetry
import Testing

@testable import DataPlane

/// Workers that adopt when the test says so.
final class FakeFleet: FleetControl {
  struct Published {
    let revision: UInt64
    let changes: [EndpointUpdate.Backend]
    let image: MappedImage
  }

  var published: [Published] = []
  var refusal: String?
  var sockets: [SocketStatus] = [SocketStatus(address: "", port: 80, bindPort: 8080)]
  var adoptsAtOnce = true
  var adoptedSequence: UInt64 = 0
  var handedOver: [(descriptor: OwnedDescriptor, port: UInt16)] = []
  var drainMilliseconds: Int?
  var isDrained = false
  var collected = 0
  let counters = [CounterBlock.allocate(), CounterBlock.allocate()]
  private let event = OwnedDescriptor(eventfd(0, Int32(EFD_NONBLOCK) | Int32(EFD_CLOEXEC)))

  deinit { for block in counters { block.deallocate() } }

  var adoptionEventDescriptor: Int32 { event.number }

  func publish(_ image: MappedImage, changes: [EndpointUpdate.Backend]) throws(LoadError) -> Publication {
    if let refusal { throw LoadError(reason: refusal) }
    published.append(Published(revision: image.revision, changes: changes, image: image))
    if adoptsAtOnce { adopt() }
    return Publication(sequence: UInt64(published.count), sockets: sockets)
  }

  func adopt() {
    adoptedSequence = UInt64(published.count)
    var one: UInt64 = 1
    _ = unsafe write(event.number, &one, 8)
  }

  func collectRetired() { collected += 1 }
  func hasListener(port: UInt16) -> Bool { sockets.contains { $0.port == port } }

  func handOver(_ descriptor: Int32, port: UInt16) -> Bool {
    guard hasListener(port: port) else { return false }
    handedOver.append((OwnedDescriptor(descriptor), port))
    return true
  }

  func beginDrain(milliseconds: Int) { drainMilliseconds = milliseconds }
}

/// A directory that goes with the value.
final class TemporaryDirectory {
  let path = "/tmp/sluice-test-\(getpid())-\(UInt64.random(in: 0 ... .max))"

  init() { unsafe mkdir(path, 0o700) }

  deinit {
    for name in [
      "control", "admin", "state/snapshot.image", "state/snapshot.endpoints", "state/snapshot.image.corrupt",
      "state/snapshot.endpoints.corrupt", "state/snapshot.image.new",
    ] { unsafe unlink("\(path)/\(name)") }
    unsafe rmdir("\(path)/state")
    unsafe rmdir(path)
  }
}

/// The controller's end, by hand.
final class FakeController {
  private let listener: OwnedDescriptor
  private var socket: OwnedDescriptor?
  private var channel = FrameChannel()

  init(path: String) throws {
    listener = OwnedDescriptor(clinux_unix_socket())
    unsafe unlink(path)
    try #require(unsafe clinux_unix_bind(listener.number, path) == 0)
    try #require(listen(listener.number, 4) == 0)
  }

  var isConnected: Bool { socket != nil }

  func drop() { socket = nil }

  func accept() -> Bool {
    let number = clinux_accept_any(listener.number)
    if number < 0 { return false }
    socket = OwnedDescriptor(number)
    channel = FrameChannel()
    return true
  }

  func send(_ message: ControlMessage, descriptor: OwnedDescriptor? = nil) throws {
    let frame = try #require(message.frame())
    try sendRaw(frame, descriptor: descriptor)
  }

  func sendRaw(_ bytes: [UInt8], descriptor: OwnedDescriptor? = nil) throws {
    let number = try #require(socket).number
    let sent = unsafe bytes.withUnsafeBytes {
      unsafe clinux_send_descriptor(number, $0.baseAddress, $0.count, descriptor?.number ?? -1)
    }
    try #require(sent == bytes.count)
  }

  func send(image: [UInt8], revision: UInt64, endpoints: UInt64 = 0, isSealed: Bool = true) throws {
    let checksum = unsafe image.withUnsafeBytes { unsafe imageChecksum($0) }
    try send(
      .snapshot(
        SnapshotNotice(
          revision: revision, byteCount: UInt64(image.count), checksum: checksum,
          endpointSequence: endpoints)),
      descriptor: try memory(image, isSealed: isSealed))
  }

  func memory(_ image: [UInt8], isSealed: Bool = true) throws -> OwnedDescriptor {
    let descriptor = OwnedDescriptor(unsafe clinux_memfd("test"))
    let count = unsafe image.withUnsafeBytes { unsafe write(descriptor.number, $0.baseAddress!, $0.count) }
    try #require(count == image.count)
    if isSealed { try #require(clinux_seal(descriptor.number) == 0) }
    return descriptor
  }

  /// What has come so far; drops the connection when the data plane did.
  func received() throws -> [ControlMessage] {
    guard let number = socket?.number else { return [] }
    var messages: [ControlMessage] = []
    var bytes = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = unsafe recv(number, &bytes, bytes.count, 0x40)
      if count == 0 { socket = nil }
      if count <= 0 { break }
      channel.received(bytes[..<count])
    }
    while let next = try channel.next() {
      if case .health = next.message { continue }
      messages.append(next.message)
    }
    return messages
  }
}

/// A small table that compiles; the padding changes the image.
func testImage(revision: UInt64, name: String = "default/gateway/http") throws -> [UInt8] {
  try compile(
    TableSource(
      revision: revision,
      sockets: [
        SocketSource(
          port: 80, bindPort: 8080,
          listeners: [ListenerSource(name: name, hostname: "", virtualHosts: [])])
      ]))
}

/// The main thread under test with fakes on both sides; turns are made by the test.
final class Bench {
  let directory: TemporaryDirectory
  let fleet: FakeFleet
  let controller: FakeController
  var thread: ControlThread<FakeFleet>
  private let logEnds: [OwnedDescriptor]

  init(
    directory: TemporaryDirectory = TemporaryDirectory(), fleet: FakeFleet = FakeFleet(),
    controller: FakeController? = nil, maxAdminConnections: Int = 64
  ) throws {
    self.directory = directory
    self.fleet = fleet
    self.controller = try controller ?? FakeController(path: directory.path + "/control")
    var ends: [Int32] = [-1, -1]
    try #require(unsafe pipe(&ends) == 0)
    logEnds = ends.map { OwnedDescriptor($0) }
    var options = ControlOptions()
    options.controlPath = directory.path + "/control"
    options.stateDirectory = directory.path + "/state"
    options.adminPath = directory.path + "/admin"
    options.adminPort = ControlOptions.AdminPort(address: 0x7F00_0001, port: 0)
    options.limits.maxAdminConnections = maxAdminConnections
    options.limits.drainTimeout = 60_000
    options.log = LineLogger(level: .info, descriptor: ends[1])
    options.handlesSignals = false
    thread = try ControlThread(options: options, fleet: fleet)
  }

  /// Turns until `isDone`, at most 30 s.
  func turn(until isDone: () throws -> Bool) throws {
    for _ in 0..<6000 {
      if try isDone() { return }
      thread.turn(mostMilliseconds: 5)
    }
    Issue.record("did not happen within 30 s")
  }

  func connect() throws -> Hello? {
    try turn { controller.accept() }
    guard case .hello(let hello) = try message() else { return nil }
    return hello
  }

  /// The next message from the data plane.
  func message() throws -> ControlMessage? {
    if !messages.isEmpty { return messages.removeFirst() }
    try turn {
      messages += try controller.received()
      return !messages.isEmpty || !controller.isConnected
    }
    return messages.isEmpty ? nil : messages.removeFirst()
  }
  private var messages: [ControlMessage] = []

  /// Log lines so far, without time.
  func log() -> [String] {
    var question = pollfd(fd: logEnds[0].number, events: Int16(POLLIN), revents: 0)
    guard unsafe poll(&question, 1, 0) > 0 else { return [] }
    var bytes = [UInt8](repeating: 0, count: 65_536)
    let count = unsafe read(logEnds[0].number, &bytes, bytes.count)
    let text = String(decoding: bytes[..<max(0, count)], as: UTF8.self)
    return text.split(separator: "\n").map { String($0.dropFirst(28)) }
  }

  /// One exchange on the admin socket (or port).
  func admin(_ request: String, port: UInt16? = nil) throws -> String {
    let client = try connectAdmin(port: port)
    try send(client, request)
    var answer: [UInt8] = []
    try turn {
      var bytes = [UInt8](repeating: 0, count: 65_536)
      let count = unsafe recv(client.number, &bytes, bytes.count, 0x40)
      if count > 0 { answer += bytes[..<count] }
      return count == 0
    }
    return String(decoding: answer, as: UTF8.self)
  }

  func get(_ target: String) throws -> String { try admin("GET \(target) HTTP/1.1\r\nHost: sluice\r\n\r\n") }

  func connectAdmin(port: UInt16? = nil) throws -> OwnedDescriptor {
    guard let port else {
      let number = clinux_unix_socket()
      let client = OwnedDescriptor(number)
      try #require(unsafe clinux_unix_connect(number, directory.path + "/admin") == 0)
      return client
    }
    let client = OwnedDescriptor(socket(2, 1, 0))
    var address = sockaddr_in()
    address.sin_family = 2
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let result = unsafe clinux_connect(client.number, &address, UInt32(MemoryLayout<sockaddr_in>.size))
    try #require(result == 0)
    return client
  }

  func send(_ client: OwnedDescriptor, _ text: String) throws {
    let bytes = Array(text.utf8)
    let sent = unsafe bytes.withUnsafeBytes {
      unsafe clinux_send_descriptor(client.number, $0.baseAddress, $0.count, -1)
    }
    try #require(sent == bytes.count)
  }
}
