import ProxyProtocol
import RoutingTable
import SystemIO
import TLS
import Upstream

/// What a worker needs of a configuration while requests run: plain pointers into memory that the
/// configuration owns, so that reading it costs no reference counting.
@safe
struct ConfigurationView {
  // INVARIANT: the pointers have as many elements as their counts say and are valid while the worker's cell holds
  // its reference to the configuration. SAFETY of every unsafe line below: this and the check next to it.
  let image: RoutingImage
  let sequence: UInt64
  let socketIndex: UnsafePointer<Int16>
  let socketSlotCount: Int32
  let tlsEntries: UnsafePointer<SocketTLS>
  let clientValidations: UnsafePointer<UInt64>
  let traitEntries: UnsafePointer<SocketTraits>
  let backends: UnsafePointer<BackendEntry>
  let backendCount: Int32
  let backendSlotCount: Int32
  let current: UnsafePointer<UInt8>
  let endpointSlotCount: Int32

  /// Image index of the socket in a slot; nil where this configuration has none.
  @inline(__always)
  func socket(slot: Int16) -> Int32? {
    guard slot >= 0, Int32(slot) < socketSlotCount else { return nil }
    let index = unsafe socketIndex[Int(slot)]
    return index >= 0 ? Int32(index) : nil
  }

  func tls(socket: Int32) -> SocketTLS {
    precondition(socket >= 0 && Int(socket) < image.socketCount)
    return unsafe tlsEntries[Int(socket)]
  }

  /// What clients of a listener had to show in their handshake: `TLSClientValidation.identity`, 0 for nothing.
  @inline(__always)
  func clientValidation(listener: Int32) -> UInt64 {
    guard listener >= 0 && Int(listener) < image.listenerCount else { return 0 }
    return unsafe clientValidations[Int(listener)]
  }

  @inline(__always)
  func traits(socket: Int32) -> SocketTraits {
    precondition(socket >= 0 && Int(socket) < image.socketCount)
    return unsafe traitEntries[Int(socket)]
  }

  @inline(__always)
  func backend(_ index: Int32) -> BackendEntry {
    precondition(index >= 0 && index < backendCount)
    return unsafe backends[Int(index)]
  }

  /// Whether some backend of this configuration names the endpoint.
  @inline(__always)
  func isCurrent(endpoint: Int32) -> Bool {
    guard endpoint >= 0, endpoint < endpointSlotCount else { return false }
    return unsafe current[Int(endpoint)] != 0
  }
}

/// One backend of a configuration with its endpoints; `choices[i]` and `addresses[i]` belong together.
@safe
struct BackendEntry {
  // INVARIANT: `count` elements behind either pointer, owned by the configuration.
  let slot: Int32
  let proto: BackendProtocol
  /// Of the header that connections to it begin with.
  let proxyVersion: ProxyVersion?
  let count: Int32
  let choices: UnsafePointer<EndpointChoice>
  let addresses: UnsafePointer<SocketAddress>
  let security: BackendSecurity
}

/// Whether a socket speaks TLS, and with which certificates; none when no certificate could be used.
struct SocketTLS {
  let isSecure: Bool
  let server: TLSServerHandle?
}

/// A configuration that this worker serves from or that requests begun under it still read.
@safe
struct Cell {
  let view: ConfigurationView
  /// Streams that read it, and one for being the current one; 0: the cell is free.
  var users: Int32
  // INVARIANT: one retained reference, given back when `users` falls to 0.
  let owner: Unmanaged<LoadedConfiguration>
}
