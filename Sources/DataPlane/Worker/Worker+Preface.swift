import Glibc
import HTTPSemantics
import ProxyProtocol
import RoutingTable
import SystemIO
import TLS
import Telemetry

/// What stands before the protocol of a connection: a header of the PROXY protocol, and the server name of a
/// ClientHello that decides who goes on with it.
extension Worker where Engine: ~Copyable {
  // MARK: PROXY protocol

  /// A trusted peer begins with the header, before anything else. Nobody else may: their first bytes would be taken
  /// for an address.
  /// - Returns: false when the connection is refused.
  mutating func beginProxyHeader(_ index: Int32, _ socket: Int32) -> Bool {
    let connection = connections[index]
    // Handed over by the admin socket: its peer has no address, and is as good as we are.
    if connection[].peer.family != UInt16(AF_INET) && connection[].peer.family != UInt16(AF_INET6) {
      return beginProtocol(index)
    }
    let (high, low) = ProxyAddress(connection[].peer).mappedHalves
    guard cells[currentCell][].view.image.socket(Int(socket)).trusts(high: high, low: low) else {
      counters.add(.proxyPeersRefused)
      logRefusal(index, .tcp, flags: .untrusted, reason: "PROXY protocol headers are not taken from this address")
      return false
    }
    connection[].phase = .proxyHeader
    arm(index, at: nowMilliseconds + UInt64(limits.requestHeadTimeout))
    return true
  }

  mutating func proxyHeaderBytes(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    var stashed = connection[].stash.take()
    defer { stashed.release() }
    let all = joined(&stashed, bytes)
    switch parseProxyHeader(all, limit: limits.maxProxyHeaderBytes) {
    case .needMore:
      _ = connection[].stash.append(all, limit: limits.maxProxyHeaderBytes)
    case .invalid(let error):
      counters.add(.proxyHeadersRefused)
      if error == .tooLong { hit(.maxProxyHeaderBytes, index) }
      logRefusal(index, .tcp, flags: error == .tooLong ? .limit : .malformed, reason: error.reason)
      closeConnection(index)
    case .complete(let header):
      counters.add(.proxyHeaders)
      guard takeAddresses(index, header), beginProtocol(index) else {
        closeConnection(index)
        return
      }
      let handle = connection[].handle
      let rest = all.slice(header.length, all.count)
      if !rest.isEmpty && isAlive(index, handle) { plainOrSecure(index, rest) }
    }
  }

  /// The client is whom the header names, from here on for everyone who asks.
  /// - Returns: false when it has as many connections as it may have.
  private mutating func takeAddresses(_ index: Int32, _ header: ProxyHeader) -> Bool {
    guard header.source.family != .none else { return true }
    let connection = connections[index]
    connection[].peer = SocketAddress(header.source).unmapped
    connection[].proxiedDestination.set(SocketAddress(header.destination).unmapped)
    return joinClient(index)
  }

  /// Says to a backend who the client is. Sent before the connection stands, and so before anything else, TLS
  /// included.
  mutating func sendProxyHeader(_ index: Int32, _ stream: Int32, _ version: ProxyVersion) {
    let client = connections[streams[stream][].downstream]
    var destination = SocketAddress()
    if client[].peer.family != 0 {
      destination = client[].proxiedDestination.value ?? SocketAddress.local(of: client[].handle.index).unmapped
    }
    let place = unsafe engine.reserve(longestProxyLine)
    let count = unsafe writeProxyHeader(
      version, source: ProxyAddress(client[].peer), destination: ProxyAddress(destination), to: place)
    counters.add(.upstreamBytesSent, count)
    engine.send(connections[index][].handle, reserved: count)
  }

  // MARK: ClientHello

  /// The records of the ClientHello, until the server name is known. They go unchanged to whoever it chooses.
  mutating func clientHelloBytes(_ index: Int32, _ bytes: Bytes) {
    let connection = connections[index]
    var stashed = connection[].stash.take()
    defer { stashed.release() }
    let all = joined(&stashed, bytes)
    if all.count < Int(connection[].remaining) {
      _ = connection[].stash.append(all, limit: limits.maxClientHelloBytes)
      return
    }
    switch unsafe peekClientHello(all, limit: limits.maxClientHelloBytes, scratch: plaintext.base) {
    case .needMore(let least):
      connection[].remaining = Int64(least)
      _ = connection[].stash.append(all, limit: limits.maxClientHelloBytes)
    case .invalid(let error):
      counters.add(.tlsHandshakeFailures)
      if error == .tooLong { hit(.maxClientHelloBytes, index) }
      refuseHello(
        index, alert: error == .notTLS ? .empty : TLSAlert.decodeError, .empty,
        error == .tooLong ? .limit : .malformed, error.reason)
    case .complete(let hello):
      connection[].remaining = 0
      chooseByName(index, hello.serverName, all)
    }
  }

  private mutating func chooseByName(_ index: Int32, _ name: Bytes, _ hello: Bytes) {
    let connection = connections[index]
    guard let socket = currentSocket(slot: connection[].socketSlot) else {
      closeConnection(index)
      return
    }
    switch cells[currentCell][].view.image.nameRoute(socket: socket, serverName: name) {
    case .terminate:
      guard beginTLS(index, socket) else {
        closeConnection(index)
        return
      }
      plainOrSecure(index, hello)
    case .passThrough(let rule):
      beginTCP(index, rule: rule, isPassthrough: true, serverName: name, early: hello)
    case .unknown:
      counters.add(.serverNamesUnknown)
      // RFC 6066 section 3.
      refuseHello(index, alert: TLSAlert.unrecognizedName, name, .noHost, "nobody serves this server name")
    }
  }

  private mutating func refuseHello(
    _ index: Int32, alert: Bytes, _ name: Bytes, _ flags: ResponseFlags, _ reason: StaticString
  ) {
    logRefusal(index, .tlsPassthrough, serverName: name, flags: flags, reason: reason)
    write(index, alert)
    closeWhenDrained(index)
  }

  // MARK: Both

  /// The bytes behind those that were stashed.
  private func joined(_ stashed: inout ByteStore, _ bytes: Bytes) -> Bytes {
    if stashed.isEmpty { return bytes }
    _ = stashed.append(bytes, limit: .max)
    return stashed.bytes
  }
}

extension SocketAddress {
  /// Family 0 for an address without one.
  init(_ address: ProxyAddress) {
    self.init()
    switch address.family {
    case .none: return
    case .ipv4: self = SocketAddress(ipv4: UInt32(truncatingIfNeeded: address.low), port: address.port)
    case .ipv6:
      family = UInt16(AF_INET6)
      port = address.port
      (word2, word3) = Self.words(address.high)
      (word4, word5) = Self.words(address.low)
    }
  }

  private static func words(_ half: UInt64) -> (UInt32, UInt32) {
    (UInt32(truncatingIfNeeded: half >> 32).bigEndian, UInt32(truncatingIfNeeded: half).bigEndian)
  }
}

extension ProxyAddress {
  /// Without a family for what is neither IPv4 nor IPv6.
  init(_ address: SocketAddress) {
    if address.isIPv4 {
      self.init(ipv4: UInt32(bigEndian: address.word1), port: address.port)
    } else if address.isIPv6 {
      self.init(
        ipv6: Self.half(address.word2, address.word3), Self.half(address.word4, address.word5), port: address.port)
    } else {
      self.init()
    }
  }

  private static func half(_ high: UInt32, _ low: UInt32) -> UInt64 {
    UInt64(UInt32(bigEndian: high)) << 32 | UInt64(UInt32(bigEndian: low))
  }
}
