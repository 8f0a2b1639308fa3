import CLinux
import Glibc
import SystemIO

/// The other end of a socket under test: a plain non-blocking descriptor.
final class Peer {
  private(set) var descriptor: Int32

  init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { close() }

  func close() {
    if descriptor >= 0 { _ = Glibc.close(descriptor) }
    descriptor = -1
  }

  /// Makes the kernel send RST instead of FIN.
  func reset() {
    var value = linger(l_onoff: 1, l_linger: 0)
    let size = socklen_t(MemoryLayout<linger>.size)
    _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &value, size)
    close()
  }

  func shutdownWrite() { _ = Glibc.shutdown(descriptor, Int32(SHUT_WR)) }

  /// How many of the bytes the kernel takes now.
  func write(_ bytes: ArraySlice<UInt8>) -> Int {
    let n = unsafe bytes.withUnsafeBytes { raw in
      unsafe Glibc.send(descriptor, raw.baseAddress, raw.count, Int32(MSG_NOSIGNAL))
    }
    return max(n, 0)
  }

  func write(_ text: String) -> Int { write(Array(text.utf8)[...]) }

  enum Read: Equatable {
    case bytes([UInt8])
    case nothing, end
    case failed(Int32)
  }

  /// What is there now, `limit` bytes at most.
  func read(limit: Int = 65_536) -> Read {
    var buffer = [UInt8](repeating: 0, count: limit)
    let n = unsafe buffer.withUnsafeMutableBytes { raw in
      unsafe recv(descriptor, raw.baseAddress, limit, 0)
    }
    if n > 0 { return .bytes(Array(buffer[..<n])) }
    if n == 0 { return .end }
    let error = clinux_errno()
    return error == EAGAIN ? .nothing : .failed(error)
  }
}

enum Sockets {
  /// Two connected unix stream sockets.
  static func pair() -> (Int32, Peer) {
    var ends: (Int32, Int32) = (-1, -1)
    let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let r = unsafe withUnsafeMutablePointer(to: &ends) { p in
      unsafe p.withMemoryRebound(to: Int32.self, capacity: 2) { unsafe socketpair(AF_UNIX, type, 0, $0) }
    }
    precondition(r == 0, "socketpair: \(SystemError.text(of: clinux_errno()))")
    return (ends.0, Peer(ends.1))
  }

  /// Two connected TCP sockets over loopback. `buffer`: SO_SNDBUF and SO_RCVBUF of both.
  static func tcpPair(buffer: Int32? = nil) throws -> (Int32, Peer) {
    let listening = try ListeningSocket.open(address: "127.0.0.1", port: 0, reusePort: false)
    defer { _ = close(listening) }
    if let buffer { limitBuffers(listening, buffer) }
    let peer = try connect(to: ListeningSocket.localAddress(of: listening), buffer: buffer)
    while true {
      let accepted = clinux_accept(listening, nil, nil)
      if accepted >= 0 { return (accepted, peer) }
      precondition(clinux_errno() == EAGAIN)
      usleep(200)
    }
  }

  static func limitBuffers(_ descriptor: Int32, _ bytes: Int32) {
    var value = bytes
    let size = socklen_t(MemoryLayout<Int32>.size)
    _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &value, size)
    _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &value, size)
  }

  /// A connection to an IPv4 listener.
  static func connect(to address: SocketAddress, buffer: Int32? = nil) -> Peer {
    let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    precondition(fd >= 0)
    if let buffer { limitBuffers(fd, buffer) }
    let target = address.isIPv4 ? address : SocketAddress(ipv4: 0x7f00_0001, port: address.port)
    let r = unsafe withUnsafeBytes(of: target) { unsafe clinux_connect(fd, $0.baseAddress, 16) }
    precondition(r == 0, "connect: \(SystemError.text(of: clinux_errno()))")
    _ = fcntl(fd, F_SETFL, O_NONBLOCK)
    return Peer(fd)
  }

  static func option(_ descriptor: Int32, _ level: Int32, _ name: Int32) -> Int32 {
    var value: Int32 = -1
    var size = socklen_t(MemoryLayout<Int32>.size)
    _ = unsafe getsockopt(descriptor, level, name, &value, &size)
    return value
  }
}

/// A seeded generator (xorshift64*), so that a failure can be run again.
struct Seeded: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed | 1 }
  mutating func next() -> UInt64 {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return state &* 2_685_821_657_736_338_717
  }
}

/// Bytes whose value tells their position, so that loss and disorder show.
func pattern(_ count: Int, from start: Int = 0) -> [UInt8] {
  (start..<start + count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
}
