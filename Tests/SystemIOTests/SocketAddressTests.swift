import Glibc
import SystemIO
import Testing

@Suite struct SocketAddressTests {
  @Test(arguments: [
    ("127.0.0.1", "127.0.0.1", "127.0.0.1:8080"), ("0.0.0.0", "0.0.0.0", "0.0.0.0:8080"),
    ("255.10.9.100", "255.10.9.100", "255.10.9.100:8080"), ("::1", "::1", "[::1]:8080"),
    ("", "::", "[::]:8080"), ("2001:DB8:0:0::5", "2001:db8::5", "[2001:db8::5]:8080"),
  ])
  func readsAndWrites(text: String, ip: String, whole: String) throws {
    let address = try #require(SocketAddress(ip: text, port: 8_080))
    #expect(address.ip == ip)
    #expect(address.description == whole)
    #expect(address.port == 8_080)
  }

  @Test(arguments: ["localhost", "1.2.3", "1.2.3.4.5", "256.1.1.1", "[::1]", "1.2.3.4:80", " ", "::1%eth0"])
  func refuses(text: String) {
    #expect(SocketAddress(ip: text, port: 1) == nil)
  }

  @Test func showsMappedAddressesAsIPv4() throws {
    let mapped = try #require(SocketAddress(ip: "::ffff:10.1.2.3", port: 99))
    #expect(mapped.unmapped == SocketAddress(ipv4: 0x0a01_0203, port: 99))
    let other = try #require(SocketAddress(ip: "::fffe:10.1.2.3", port: 99))
    #expect(other.unmapped == other)
  }

  @Test(arguments: [("127.9.9.9", true), ("::1", true), ("128.0.0.1", false), ("::", false), ("::2", false)])
  func knowsLoopback(text: String, expected: Bool) throws {
    #expect(try #require(SocketAddress(ip: text, port: 1)).isLoopback == expected)
  }

  @Test func isTheKernelsStructure() {
    #expect(MemoryLayout<SocketAddress>.size == MemoryLayout<sockaddr_in6>.size)
  }
}

@Suite struct ListeningSocketTests {
  @Test func saysWhatFailed() throws {
    let first = try ListeningSocket.open(address: "127.0.0.1", port: 0, reusePort: false)
    defer { _ = close(first) }
    let address = try ListeningSocket.localAddress(of: first)
    let error = #expect(throws: SystemError.self) {
      try ListeningSocket.open(address: "127.0.0.1", port: address.port, reusePort: false)
    }
    #expect(error?.description == "bind 127.0.0.1:\(address.port): Address already in use")
    let notAddress = #expect(throws: SystemError.self) {
      try ListeningSocket.open(address: "example.com", port: 0)
    }
    #expect(notAddress?.description == "bind: not an IP address: Invalid argument")
  }

  @Test func severalListenAtOnePort() throws {
    let first = try ListeningSocket.open(address: "127.0.0.1", port: 0)
    let port = try ListeningSocket.localAddress(of: first).port
    let second = try ListeningSocket.open(address: "127.0.0.1", port: port)
    #expect(try ListeningSocket.localAddress(of: second).port == port)
    _ = close(first)
    _ = close(second)
  }

  @Test func anyAddressTakesIPv4() throws {
    let d = try Driver<EpollEngine>()
    let descriptor = try ListeningSocket.open(address: "", port: 0)
    let address = try ListeningSocket.localAddress(of: descriptor)
    let listener = d.engine.listen(on: descriptor)
    let peer = Sockets.connect(to: address)
    #expect(d.until { $0.contains { $0.kind == .accepted } })
    #expect(d.log.first?.peer.isIPv4 == true && d.log.first?.peer.ip == "127.0.0.1")
    if let accepted = d.log.first?.descriptor { _ = close(accepted) }
    d.engine.stopListening(listener)
    // The engine has closed it: the port refuses now.
    let again = try d.engine.connect(to: SocketAddress(ipv4: 0x7f00_0001, port: address.port))
    #expect(d.until { $0.contains { $0.socket == again && $0.error == ECONNREFUSED } })
    peer.close()
  }
}
