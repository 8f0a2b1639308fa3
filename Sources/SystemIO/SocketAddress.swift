internal import CLinux
internal import Glibc

/// An IPv4 or IPv6 address with a port, in the kernel's own layout (28 bytes, that of
/// `sockaddr_in6`; an IPv4 address uses the first 16 as `sockaddr_in`).
@frozen public struct SocketAddress: Equatable, Sendable {
  /// `AF_INET`, `AF_INET6`, or what else the kernel said (`AF_UNIX` has no more than this).
  public var family: UInt16
  /// In network byte order.
  public var portBytes: UInt16
  /// The IPv4 address, or the flow label of IPv6. Network byte order, as all words.
  public var word1: UInt32
  /// Words 2 to 5 are the IPv6 address.
  public var word2: UInt32
  public var word3: UInt32
  public var word4: UInt32
  public var word5: UInt32
  /// The scope (interface) of a link-local IPv6 address, in the machine's byte order.
  public var scope: UInt32

  /// No address (family 0).
  @inlinable public init() {
    (family, portBytes, word1, word2, word3, word4, word5, scope) = (0, 0, 0, 0, 0, 0, 0, 0)
  }

  /// Reads an IPv4 or IPv6 literal without brackets; the empty text is IPv6 any, which a
  /// listening socket takes for every address of both families. Nil: not an IP address.
  public init?(ip: String, port: UInt16) {
    self.init()
    portBytes = port.bigEndian
    if ip.isEmpty {
      family = UInt16(AF_INET6)
      return
    }
    var four: UInt32 = 0
    if unsafe inet_pton(AF_INET, ip, &four) == 1 {
      family = UInt16(AF_INET)
      word1 = four
      return
    }
    var six: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
    guard unsafe inet_pton(AF_INET6, ip, &six) == 1 else { return nil }
    family = UInt16(AF_INET6)
    (word2, word3, word4, word5) = six
  }

  /// `address` and `port` in the machine's byte order; 127.0.0.1 is 0x7f00_0001.
  @inlinable public init(ipv4 address: UInt32, port: UInt16) {
    self.init()
    family = 2
    portBytes = port.bigEndian
    word1 = address.bigEndian
  }

  @inlinable public var port: UInt16 {
    get { UInt16(bigEndian: portBytes) }
    set { portBytes = newValue.bigEndian }
  }

  @inlinable public var isIPv4: Bool { family == 2 }
  @inlinable public var isIPv6: Bool { family == 10 }

  /// Whether only this machine can be behind the address.
  public var isLoopback: Bool {
    if isIPv4 { return UInt32(bigEndian: word1) >> 24 == 127 }
    return isIPv6 && word2 == 0 && word3 == 0 && word4 == 0 && UInt32(bigEndian: word5) == 1
  }

  /// The same peer, with an IPv4 address that a dual-stack socket showed as `::ffff:a.b.c.d` in
  /// its own form (RFC 4291 section 2.5.5.2).
  @inlinable public var unmapped: SocketAddress {
    guard family == 10, word2 == 0, word3 == 0, UInt32(bigEndian: word4) == 0xffff else { return self }
    var four = SocketAddress()
    four.family = 2
    four.portBytes = portBytes
    four.word1 = word5
    return four
  }

  /// The address that a connected socket has on this side; none (family 0) when the system does not say.
  public static func local(of descriptor: Int32) -> SocketAddress {
    (try? System.localAddress(of: descriptor)) ?? SocketAddress()
  }

  /// The other way: an IPv4 peer as a dual-stack socket names it.
  @inlinable public var mapped: SocketAddress {
    guard family == 2 else { return self }
    var six = SocketAddress()
    six.family = 10
    six.portBytes = portBytes
    six.word4 = UInt32(0xffff).bigEndian
    six.word5 = word1
    return six
  }

  /// Most bytes that `format` writes.
  public static let maximumTextLength = 46

  /// Writes the IP address as text, without brackets, scope and port, and returns its length;
  /// 0 when there is no IP address.
  public func format(into out: UnsafeMutablePointer<UInt8>) -> Int {
    if isIPv4 {
      let address = UInt32(bigEndian: word1)
      var n = 0
      var shift: UInt32 = 24
      while true {
        // SAFETY: four decimal bytes and three dots are 15 bytes; the caller gives 46.
        n &+= unsafe Self.writeDecimal(UInt8(truncatingIfNeeded: address >> shift), out + n)
        if shift == 0 { return n }
        unsafe out[n] = 0x2e
        n &+= 1
        shift &-= 8
      }
    }
    guard isIPv6 else { return 0 }
    var six = (word2, word3, word4, word5)
    return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: Self.maximumTextLength) { text in
      // SAFETY: INET6_ADDRSTRLEN is 46; the text ends with a zero.
      guard let start = text.baseAddress,
        unsafe inet_ntop(AF_INET6, &six, start, socklen_t(text.count)) != nil
      else { return 0 }
      let length = unsafe strlen(start)
      unsafe memcpy(out, start, length)
      return Int(length)
    }
  }

  @inline(__always)
  private static func writeDecimal(_ value: UInt8, _ out: UnsafeMutablePointer<UInt8>) -> Int {
    var n = 0
    if value >= 100 {
      unsafe out[n] = 0x30 + value / 100
      n = 1
    }
    if value >= 10 {
      unsafe out[n] = 0x30 + value / 10 % 10
      n &+= 1
    }
    unsafe out[n] = 0x30 + value % 10
    return n &+ 1
  }

  /// Bytes of the kernel's structure for this family.
  var length: socklen_t { isIPv4 ? 16 : 28 }

  /// The kernel's view of this address.
  @inline(__always)
  func withSockaddr<R>(_ body: (UnsafeRawPointer, socklen_t) -> R) -> R {
    // SAFETY: the fields are laid out as sockaddr_in6.
    unsafe withUnsafeBytes(of: self) { raw in
      unsafe body(raw.baseAddress.unsafelyUnwrapped, length)
    }
  }
}

extension SocketAddress: CustomStringConvertible {
  /// `127.0.0.1:80` or `[::1]:80`.
  public var description: String {
    let text = ip
    if text.isEmpty { return "address family \(family)" }
    return isIPv6 ? "[\(text)]:\(port)" : "\(text):\(port)"
  }

  /// The IP address as text, without brackets; not for the hot path.
  public var ip: String {
    unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Self.maximumTextLength) { text in
      guard let start = text.baseAddress else { return "" }
      let n = unsafe format(into: start)
      return unsafe String(decoding: UnsafeBufferPointer(start: start, count: n), as: UTF8.self)
    }
  }
}
