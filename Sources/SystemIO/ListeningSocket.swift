internal import CLinux
internal import Glibc

/// Opens TCP sockets that listen.
public enum ListeningSocket {
  /// A non-blocking descriptor that listens at `address` (an IP literal; empty: every address of
  /// both families). With `reusePort` several workers may each have their own at one port.
  /// Accepted connections inherit TCP_NODELAY and keep-alive from it.
  public static func open(
    address: String, port: UInt16, backlog: Int32 = 4096, reusePort: Bool = true
  ) throws(SystemError) -> Int32 {
    guard let parsed = SocketAddress(ip: address, port: port) else {
      throw SystemError(errno: EINVAL, operation: "bind: not an IP address")
    }
    return try open(parsed, backlog: backlog, reusePort: reusePort)
  }

  /// The same for an address that was read before. IPv6 any is dual stack; where the machine has
  /// no IPv6, it is IPv4 any.
  public static func open(
    _ address: SocketAddress, backlog: Int32 = 4096, reusePort: Bool = true
  ) throws(SystemError) -> Int32 {
    do throws(SystemError) {
      return try openExactly(address, backlog: backlog, reusePort: reusePort)
    } catch {
      let isAny = address == SocketAddress(ip: "", port: address.port)
      guard isAny, error.errno == EAFNOSUPPORT || error.errno == EADDRNOTAVAIL else { throw error }
      let four = SocketAddress(ipv4: 0, port: address.port)
      return try openExactly(four, backlog: backlog, reusePort: reusePort)
    }
  }

  private static func openExactly(
    _ address: SocketAddress, backlog: Int32, reusePort: Bool
  ) throws(SystemError) -> Int32 {
    let descriptor = try System.streamSocket(family: Int32(address.family), about: address)
    var error: Int32 = 0
    if address.isIPv6 { error = System.setOption(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0) }
    if error == 0 { error = System.setOption(descriptor, SOL_SOCKET, SO_REUSEADDR, 1) }
    if error == 0, reusePort { error = System.setOption(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) }
    if error != 0 {
      System.close(descriptor)
      throw SystemError(errno: error, operation: "setsockopt", address: address)
    }
    System.setStreamOptions(descriptor)
    error = System.bind(descriptor, address)
    if error != 0 {
      System.close(descriptor)
      throw SystemError(errno: error, operation: "bind", address: address)
    }
    error = System.listen(descriptor, backlog)
    if error != 0 {
      System.close(descriptor)
      throw SystemError(errno: error, operation: "listen", address: address)
    }
    return descriptor
  }

  /// The address that a socket is bound to; tells the port that the kernel chose for port 0.
  public static func localAddress(of descriptor: Int32) throws(SystemError) -> SocketAddress {
    try System.localAddress(of: descriptor)
  }
}
