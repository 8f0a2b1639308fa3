internal import CDatagram
internal import CLinux
internal import Glibc

/// Opens UDP sockets.
public enum DatagramSocket {
  /// A non-blocking descriptor bound to `address` (an IP literal; empty: every address of both families) that tells of
  /// each datagram which local address it came to. With `reusePort` several workers share a port, and the kernel gives
  /// all datagrams of one client to the same of them as long as the workers stay the same.
  public static func open(
    address: String, port: UInt16, reusePort: Bool = true
  ) throws(SystemError) -> Int32 {
    guard let parsed = SocketAddress(ip: address, port: port) else {
      throw SystemError(errno: EINVAL, operation: "bind: not an IP address")
    }
    do throws(SystemError) {
      return try open(parsed, reusePort: reusePort)
    } catch {
      guard address.isEmpty, error.errno == EAFNOSUPPORT || error.errno == EADDRNOTAVAIL else { throw error }
      return try open(SocketAddress(ipv4: 0, port: port), reusePort: reusePort)
    }
  }

  private static func open(_ address: SocketAddress, reusePort: Bool) throws(SystemError) -> Int32 {
    let descriptor = try make(address)
    var error: Int32 = 0
    if address.isIPv6 { error = System.setOption(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0) }
    if error == 0, reusePort { error = System.setOption(descriptor, SOL_SOCKET, SO_REUSEPORT, 1) }
    if error == 0, cdatagram_ask_for_local_address(descriptor, Int32(address.family)) != 0 {
      error = cdatagram_errno()
    }
    if error == 0 { error = System.bind(descriptor, address) }
    if error != 0 {
      System.close(descriptor)
      throw SystemError(errno: error, operation: "bind", address: address)
    }
    return descriptor
  }

  /// A non-blocking descriptor that sends to and hears from `address` only.
  public static func connected(to address: SocketAddress) throws(SystemError) -> Int32 {
    let descriptor = try make(address)
    let error = System.connect(descriptor, address)
    if error != 0 {
      System.close(descriptor)
      throw SystemError(errno: error, operation: "connect", address: address)
    }
    return descriptor
  }

  private static func make(_ address: SocketAddress) throws(SystemError) -> Int32 {
    let type = Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let descriptor = Glibc.socket(Int32(address.family), type, 0)
    if descriptor < 0 { throw SystemError(errno: clinux_errno(), operation: "socket", address: address) }
    return descriptor
  }
}

/// The local address that a datagram came to, which the answer goes out from: a socket that is bound to every address
/// would choose another on a machine with several.
public struct LocalAddress: Equatable, Sendable {
  var family: UInt16 = 0
  var interface: UInt32 = 0
  /// The bytes of the address, the first four alone for IPv4.
  public internal(set) var low: UInt64 = 0
  public internal(set) var high: UInt64 = 0

  public init() {}

  public var isIPv6: Bool { family == UInt16(AF_INET6) }
}

/// What one call brought in, in memory that is made once for a thread.
@safe public struct DatagramBatch: ~Copyable {
  /// Most datagrams of one `receive`.
  public static let capacity = Int(CDATAGRAM_BATCH)
  /// More bytes than this a UDP datagram can not have.
  public static let datagramBytes = 65_536

  // INVARIANT: from init to deinit `records` has `capacity` elements, each of which names its own `datagramBytes` bytes
  // of `memory`; the first `count` are what the last `receive` filled.
  private let records: UnsafeMutablePointer<cdatagram>
  private let memory: UnsafeMutablePointer<UInt8>
  public private(set) var count = 0

  public init() {
    // Pages that are never written take no memory.
    unsafe memory = .allocate(capacity: Self.capacity * Self.datagramBytes)
    unsafe records = .allocate(capacity: Self.capacity)
    for index in 0..<Self.capacity {
      var record = unsafe cdatagram()
      unsafe record.data = memory + index * Self.datagramBytes
      unsafe record.room = UInt32(Self.datagramBytes)
      unsafe (records + index).initialize(to: record)
    }
  }

  deinit {
    unsafe records.deallocate()
    unsafe memory.deallocate()
  }

  /// Takes what has arrived. 0: nothing has. An error that the network reported about a datagram sent earlier (a
  /// connected socket hears of a closed port) comes as its errno below zero, once.
  public mutating func receive(_ socket: Socket) -> Int {
    while true {
      // SAFETY: the invariant.
      let result = unsafe cdatagram_receive(socket.index, records, Int32(Self.capacity))
      count = max(0, Int(result))
      if result >= 0 { return Int(result) }
      let error = cdatagram_errno()
      if error == EAGAIN { return 0 }
      if error != EINTR { return -Int(error) }
    }
  }

  /// The bytes of a datagram, valid until the next `receive`.
  @inline(__always)
  public func bytes(_ index: Int) -> UnsafeBufferPointer<UInt8> {
    precondition(index >= 0 && index < count)
    return unsafe UnsafeBufferPointer(start: records[index].data, count: Int(records[index].length))
  }

  public func peer(_ index: Int) -> SocketAddress {
    precondition(index >= 0 && index < count)
    var address = SocketAddress()
    // SAFETY: SocketAddress has the layout of sockaddr_in6.
    unsafe withUnsafeMutableBytes(of: &address) { raw in
      unsafe withUnsafeBytes(of: records[index].peer) { peer in unsafe raw.copyMemory(from: peer) }
    }
    return address
  }

  public func local(_ index: Int) -> LocalAddress {
    precondition(index >= 0 && index < count)
    var local = LocalAddress()
    local.family = unsafe records[index].family
    local.interface = unsafe records[index].interface
    // SAFETY: the field has sixteen bytes.
    unsafe withUnsafeBytes(of: records[index].local) { raw in
      local.low = unsafe raw.loadUnaligned(as: UInt64.self)
      local.high = unsafe raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    }
    return local
  }
}

extension Socket {
  /// Sends one datagram: to whom the socket is connected (`peer` nil), or to `peer`, from `local`. False: it was
  /// dropped, for want of room or because the network refuses it, as datagrams may be.
  public func send(
    datagram bytes: UnsafeBufferPointer<UInt8>, to peer: SocketAddress? = nil, from local: LocalAddress = LocalAddress()
  ) -> Bool {
    var from = unsafe cdatagram()
    unsafe from.family = local.family
    unsafe from.interface = local.interface
    // SAFETY: the field has sixteen bytes.
    unsafe withUnsafeMutableBytes(of: &from.local) { raw in
      unsafe raw.storeBytes(of: local.low, as: UInt64.self)
      unsafe raw.storeBytes(of: local.high, toByteOffset: 8, as: UInt64.self)
    }
    // An empty buffer has no start, and an empty datagram is one all the same.
    guard let peer else { return unsafe cdatagram_send(index, bytes.baseAddress, bytes.count, nil, 0, nil) >= 0 }
    return unsafe peer.withSockaddr { address, length in
      unsafe cdatagram_send(index, bytes.baseAddress, bytes.count, address, length, &from) >= 0
    }
  }
}
