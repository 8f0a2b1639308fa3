/// The two forms of the header (The PROXY protocol, versions 1 and 2, of 2020/03/05).
public enum ProxyVersion: UInt8, Sendable {
  case v1 = 1
  case v2 = 2
}

/// An IP address with a port, as a header carries it. Trivial.
@frozen
public struct ProxyAddress: Equatable, Sendable {
  public enum Family: UInt8, Sendable { case none, ipv4, ipv6 }

  public var family: Family
  public var port: UInt16
  /// As a number: the first byte on the wire is the highest; an IPv4 address is in the lowest 32 bits of `low`.
  public var high: UInt64
  public var low: UInt64

  /// No address.
  public init() { (family, port, high, low) = (.none, 0, 0, 0) }

  /// 127.0.0.1 is 0x7f00_0001.
  public init(ipv4 address: UInt32, port: UInt16) {
    (family, self.port, high, low) = (.ipv4, port, 0, UInt64(address))
  }

  /// ::1 is (0, 1).
  public init(ipv6 high: UInt64, _ low: UInt64, port: UInt16) {
    (family, self.port, self.high, self.low) = (.ipv6, port, high, low)
  }

  /// The address as IPv6: its first eight bytes as a number, and its last eight.
  public var mappedHalves: (high: UInt64, low: UInt64) { (mapped.high, mapped.low) }

  /// The same address as IPv6: an IPv4 one in its mapped form (RFC 4291 section 2.5.5.2).
  var mapped: ProxyAddress {
    guard family == .ipv4 else { return self }
    return ProxyAddress(ipv6: 0, 0xffff_0000_0000 | low, port: port)
  }
}

/// What a header says.
@frozen
public struct ProxyHeader: Equatable, Sendable {
  /// Bytes of the header; what the client sent begins behind them.
  public var length: Int
  public var version: ProxyVersion
  /// Both without a family where the header names no address that we know (LOCAL, UNKNOWN, UNSPEC, unix sockets,
  /// datagrams): the addresses of the connection itself count then.
  public var source: ProxyAddress
  public var destination: ProxyAddress

  public init(
    length: Int, version: ProxyVersion, source: ProxyAddress = ProxyAddress(),
    destination: ProxyAddress = ProxyAddress()
  ) {
    self.length = length
    self.version = version
    self.source = source
    self.destination = destination
  }
}

/// Why a header is refused. The connection has to close: what follows cannot be told from the header.
public enum ProxyProtocolError: UInt8, Error, Sendable, CaseIterable {
  case missing
  case lineTooLong, lineEnd, lineByte, transport, address, port
  case version, command, family, tooLong, addressLength, extensionLength, checksum

  /// For logs.
  public var reason: StaticString {
    switch self {
    case .missing: "the connection does not begin with a PROXY protocol header"
    case .lineTooLong: "the line has no end within 107 bytes"
    case .lineEnd: "the line does not end in CR LF"
    case .lineByte: "a byte that is no printable ASCII in the line"
    case .transport: "the line's transport is none of TCP4, TCP6, UNKNOWN"
    case .address: "an address of the line is malformed"
    case .port: "a port of the line is malformed"
    case .version: "the version is not 2"
    case .command: "the command is neither LOCAL nor PROXY"
    case .family: "the address family or the transport is not defined"
    case .tooLong: "the header is longer than it may be"
    case .addressLength: "the header is shorter than its addresses"
    case .extensionLength: "an extension does not end where the header ends"
    case .checksum: "the header's checksum is wrong"
    }
  }
}

/// What came of `parseProxyHeader`.
public enum ProxyParse: Equatable, Sendable {
  /// So far it may be a header.
  case needMore
  case complete(ProxyHeader)
  case invalid(ProxyProtocolError)
}
