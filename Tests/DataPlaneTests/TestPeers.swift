import CLinux
import ControlProtocol
import Glibc
import RoutingTable
import SystemIO
import Testing

@testable import DataPlane

/// A fleet of one worker that serves one table, reached through handed-over socket pairs: no ports are taken.
final class TestFleet {
  let fleet: Fleet

  /// On the engine that SLUICE_ENGINE names: the Makefile runs these tests on each.
  init(_ source: TableSource, options: DataPlaneOptions = DataPlaneOptions(workers: 1)) throws {
    var options = options
    let name = unsafe getenv("SLUICE_ENGINE").map { unsafe String(cString: $0) } ?? "epoll"
    options.engine = try #require(DataPlaneOptions.Engine(rawValue: name))
    fleet = try Fleet(options: options)
    try fleet.start()
    try publish(source)
  }

  deinit { fleet.beginDrain(milliseconds: 0) }

  func publish(_ source: TableSource) throws {
    let bytes = try compile(source)
    let checksum = unsafe bytes.withUnsafeBytes { unsafe imageChecksum($0) }
    let notice = SnapshotNotice(
      revision: source.revision, byteCount: UInt64(bytes.count), checksum: checksum, endpointSequence: 0)
    let publication = try fleet.publish(MappedImage(copying: bytes, notice: notice), changes: [])
    while fleet.adoptedSequence < publication.sequence { usleep(500) }
    fleet.collectRetired()
  }

  /// A client connection of the listener on `port`.
  func connect(port: UInt16 = 80) throws -> TestConnection {
    var pair: [Int32] = [0, 0]
    try #require(unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
    try #require(fleet.handOver(pair[0], port: port))
    return TestConnection(pair[1])
  }
}

/// A blocking socket with a time limit on every read.
final class TestConnection {
  let descriptor: Int32
  /// The peer has ended, rather than said nothing for too long.
  private(set) var hasEnded = false

  init(_ descriptor: Int32) {
    self.descriptor = descriptor
    var limit = timeval(tv_sec: 30, tv_usec: 0)
    unsafe _ = setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  func send(_ text: String) {
    let bytes = Array(text.utf8)
    var sent = 0
    while sent < bytes.count {
      let n = unsafe bytes.withUnsafeBytes {
        unsafe Glibc.send(descriptor, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      if n <= 0 { return }
      sent += n
    }
  }

  func endSending() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// What has come, at most `most` bytes; empty at the end or when the time is up.
  func receiveSome(_ most: Int = 65_536) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: most)
    let n = unsafe recv(descriptor, &buffer, most, 0)
    if n == 0 { hasEnded = true }
    return n > 0 ? Array(buffer[..<n]) : []
  }

  /// Reads until `text` has come, or to the end.
  func receive(until text: String) -> String {
    var all = ""
    while !all.contains(text) {
      let some = receiveSome()
      if some.isEmpty { break }
      all += String(decoding: some, as: UTF8.self)
    }
    return all
  }

  func receiveAll() -> String {
    var all: [UInt8] = []
    while true {
      let some = receiveSome()
      if some.isEmpty { return String(decoding: all, as: UTF8.self) }
      all += some
    }
  }
}

/// A backend on a loopback port of the kernel's choice; the test accepts and answers by hand.
final class TestBackend {
  let port: UInt16
  private let listener: Int32

  init() throws {
    listener = try ListeningSocket.open(address: "127.0.0.1", port: 0, reusePort: false)
    port = UInt16(clinux_local_port(listener))
  }

  deinit { close(listener) }

  func accept() throws -> TestConnection {
    var question = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
    try #require(unsafe poll(&question, 1, 30_000) == 1)
    let descriptor = clinux_accept_any(listener)
    try #require(descriptor >= 0)
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
    return TestConnection(descriptor)
  }
}

extension TableSource {
  /// One clear-text listener on port 80, one host, one rule that forwards everything to `port`.
  static func forwarding(to port: UInt16, revision: UInt64 = 1, rule: RuleSource? = nil) -> TableSource {
    let backend = BackendSource(
      id: "default/b:\(port)", endpoints: [EndpointSource(address: "127.0.0.1", port: port)])
    let forward = RuleSource(provenance: "test", action: .forward([WeightedBackend(backend: 0)]))
    let host = VirtualHostSource(entries: [EntrySource(path: .any, rule: 0)])
    let listener = ListenerSource(name: "default/g/http", virtualHosts: [host])
    return TableSource(
      revision: revision, sockets: [SocketSource(address: "127.0.0.1", port: 80, bindPort: 0, listeners: [listener])],
      backends: [backend], rules: [rule ?? forward])
  }
}
