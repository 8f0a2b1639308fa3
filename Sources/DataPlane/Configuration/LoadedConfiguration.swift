import ControlProtocol
import HTTPSemantics
import ProxyProtocol
import RoutingTable
import SystemIO
import TLS
import Telemetry
import Upstream

/// What an image needs before requests can be routed by it, whatever its endpoints are: compiled regular
/// expressions and certificates. Configurations that differ in endpoints only share it.
@safe
final class ImageResources {
  let image: MappedImage
  let table: RoutingImage
  /// By image socket index; nil where there is no TLS or no certificate that works.
  let servers: [TLSServer?]
  let certificateProblems: [String]
  /// What people should know though it is served; for the log.
  let notices: [String]
  // INVARIANT: by image listener index, one at least; owned, written in `init` only.
  let clientValidations: UnsafeMutablePointer<UInt64>
  let backendClients: BackendClients
  private let regexes: LoadedRegexes

  /// - Parameters:
  ///   - ticketKeys: keep sessions resumable over configurations.
  ///   - previous: where TLS clients are taken over from.
  init(
    _ image: MappedImage, ticketKeys: TLSTicketKeys, limits: Limits, reusing previous: ImageResources?
  ) throws(LoadError) {
    let regexes: LoadedRegexes
    do throws(ImageError) {
      regexes = try unsafe LoadedRegexes(verified: image.start, count: image.byteCount)
    } catch {
      throw LoadError(reason: error.description)
    }
    table = unsafe RoutingImage(verified: image.start, count: image.byteCount, regexes: regexes.pointers)
    self.regexes = regexes
    self.image = image
    var servers: [TLSServer?] = []
    var problems: [String] = []
    var notices: [String] = []
    for index in 0..<table.socketCount {
      let (server, problem) = Self.makeServer(table, index, ticketKeys, limits)
      servers.append(server)
      problems.append(problem)
      for notice in server?.notices ?? [] where !notices.contains(notice) { notices.append(notice) }
    }
    self.servers = servers
    certificateProblems = problems
    self.notices = notices
    backendClients = BackendClients(table, reusing: previous?.backendClients)
    unsafe clientValidations = .allocate(capacity: max(1, table.listenerCount))
    // SAFETY: as many elements as there are listeners.
    for index in 0..<table.listenerCount {
      let validation = Self.validation(table, table.listener(index).clientValidation)
      unsafe (clientValidations + index).initialize(to: validation?.identity ?? 0)
    }
  }

  deinit { unsafe clientValidations.deallocate() }

  private static func validation(
    _ table: RoutingImage, _ source: ClientValidationSource?
  ) -> TLSClientValidation? {
    guard let source else { return nil }
    let bundle = table.trustBundle(source.trustBundle)
    let mode: TLSClientValidation.Mode =
      switch source.mode {
      case .required: .required
      case .optional: .optional
      case .unchecked: .insecureFallback
      }
    return TLSClientValidation(mode: mode, name: String(decoding: bundle.name), authoritiesPEM: array(bundle.pem))
  }

  /// The certificates of a socket. One that cannot be used takes only itself out.
  private static func makeServer(
    _ table: RoutingImage, _ socketIndex: Int, _ ticketKeys: TLSTicketKeys, _ limits: Limits
  ) -> (TLSServer?, String) {
    let socket = table.socket(socketIndex)
    guard socket.kind == .https else { return (nil, "") }
    var bindings: [TLS.TLSBinding] = []
    var problems: [String] = []
    for index in 0..<socket.tlsBindingCount {
      let binding = socket.tlsBinding(index)
      let source = table.certificate(binding.certificate)
      let certificate = TLSCertificate(
        name: String(decoding: source.name), chainPEM: array(source.chainPEM), keyPEM: array(source.keyPEM),
        ocspStaple: array(source.ocspStaple))
      let clients = validation(table, binding.clientValidation)
      do throws(TLSError) {
        try certificate.check()
        // Without its authorities the names are not served: nothing lets in whom they would have kept out. Should
        // another binding cover them, requests for them are misdirected (`Worker.isMisdirected`).
        try clients?.check()
        let names = (0..<binding.nameCount).map { String(decoding: binding.name($0)) }
        var made = TLS.TLSBinding(names: names, certificate: certificate, clients: clients)
        made.negotiatesALPN =
          names.isEmpty || table.servesHTTP(socket: socketIndex, serverName: binding.name(0))
        bindings.append(made)
      } catch {
        problems.append(error.description)
      }
    }
    if bindings.isEmpty {
      let isNeeded = socket.listeners.contains { table.listener($0).proto != .tlsPassthrough }
      if problems.isEmpty && isNeeded { problems.append("no certificate is configured for this socket") }
      return (nil, problems.joined(separator: "; "))
    }
    do throws(TLSError) {
      let identity = "\(String(decoding: socket.address)):\(socket.port)"
      let server = try TLSServer(
        bindings: bindings, identity: identity, ticketKeys: ticketKeys, maxKeyUpdates: limits.maxKeyUpdates)
      return (server, problems.joined(separator: "; "))
    } catch {
      return (nil, (problems + [error.description]).joined(separator: "; "))
    }
  }

  private static func array(_ bytes: Bytes) -> [UInt8] {
    unsafe Array(UnsafeBufferPointer(start: bytes.start, count: bytes.count))
  }
}

/// An image with everything that the workers need around it. Built on the control thread, immutable afterwards,
/// freed there when the last worker has let go.
final class LoadedConfiguration: @unchecked Sendable {
  let sequence: UInt64
  let view: ConfigurationView
  let sockets: [Socket]
  let resources: ImageResources
  private let storage: ConfigurationStorage

  /// One socket of the image on its way to be bound.
  struct Socket {
    var slot: Int16
    var kind: SocketKind
    var address: String
    var port: UInt16
    var bindPort: UInt16
    /// Why it cannot serve TLS (in part); empty when all is well.
    var certificateProblem: String
  }

  /// - Parameter changes: endpoint lists that replace the image's own, by backend identity.
  init(
    _ resources: ImageResources, changes: [EndpointUpdate.Backend], sequence: UInt64,
    interner: inout EndpointInterner
  ) {
    let table = resources.table
    var sockets: [Socket] = []
    let storage = ConfigurationStorage()
    for index in 0..<table.socketCount {
      let socket = table.socket(index)
      let address = String(decoding: socket.address)
      let slot = interner.socket(
        address: address, port: socket.port, bindPort: socket.bindPort, isDatagram: socket.kind == .udp)
      sockets.append(
        Socket(
          slot: Int16(slot), kind: socket.kind, address: address, port: socket.port, bindPort: socket.bindPort,
          certificateProblem: resources.certificateProblems[index]))
      let isSecure = socket.kind == SocketKind.https
      storage.add(
        socketSlot: slot, index: index, SocketTLS(isSecure: isSecure, server: resources.servers[index]?.handle),
        SocketTraits(table, socket))
    }
    var overrides: [String: [Endpoint]] = [:]
    for change in changes { overrides[change.id] = change.endpoints }
    for index in 0..<table.backendCount {
      let backend = table.backend(index)
      storage.add(
        backend, resources.backendClients.entries[index], endpoints: overrides[String(decoding: backend.id)],
        interner: &interner)
    }
    storage.finish()
    self.resources = resources
    self.storage = storage
    self.sockets = sockets
    self.sequence = sequence
    view = unsafe storage.view(
      image: table, sequence: sequence, clientValidations: UnsafePointer(resources.clientValidations))
  }

  /// Gives the numbers back; no worker may read the configuration any more.
  func release(to interner: inout EndpointInterner) {
    interner.release(
      backends: storage.backendSlots, endpoints: storage.endpointSlots, sockets: sockets.map { Int32($0.slot) })
  }

  var endpointSlotCount: Int { storage.endpointSlotCount }
}

/// The tables behind a `ConfigurationView`, owned by its configuration.
@safe
final class ConfigurationStorage {
  // INVARIANT: every pointer owns its memory until deinit; nothing is written after `finish`.
  private var socketIndex: UnsafeMutablePointer<Int16>?
  private var tls: UnsafeMutablePointer<SocketTLS>?
  private var traits: UnsafeMutablePointer<SocketTraits>?
  private var backends: UnsafeMutablePointer<BackendEntry>?
  private var choices: UnsafeMutablePointer<EndpointChoice>?
  private var addresses: UnsafeMutablePointer<SocketAddress>?
  private var current: UnsafeMutablePointer<UInt8>?

  private var sockets: [(slot: Int32, index: Int, tls: SocketTLS, traits: SocketTraits)] = []
  private var entries: [Entry] = []
  private var allChoices: [EndpointChoice] = []
  private var allAddresses: [SocketAddress] = []

  private struct Entry {
    var slot: Int32
    var proto: BackendProtocol
    var proxy: ProxyVersion?
    var first: Int
    var count: Int
    var security: BackendSecurity
  }

  private(set) var backendSlots: [Int32] = []
  private(set) var endpointSlots: [Int32] = []
  private(set) var socketSlotCount = 0
  private(set) var endpointSlotCount = 0

  func add(socketSlot: Int32, index: Int, _ tls: SocketTLS, _ traits: SocketTraits) {
    sockets.append((socketSlot, index, tls, traits))
  }

  func add(
    _ backend: BackendView, _ tls: BackendClients.Entry, endpoints: [Endpoint]?, interner: inout EndpointInterner
  ) {
    let identity = String(decoding: backend.id)
    let slot = interner.backend(identity)
    backendSlots.append(slot)
    let first = allChoices.count
    var list = endpoints ?? []
    if endpoints == nil {
      for index in 0..<backend.endpointCount {
        let endpoint = backend.endpoint(index)
        list.append(
          Endpoint(
            address: String(decoding: endpoint.address), port: endpoint.port, weight: endpoint.weight,
            isReady: endpoint.isReady, isTerminating: endpoint.isTerminating))
      }
    }
    let proxyVersion = ProxyVersion(rawValue: backend.proxyProtocol.rawValue)
    // Connections that began otherwise are those of another endpoint.
    let owner = proxyVersion == nil ? identity : "\(identity)|proxy\(backend.proxyProtocol.rawValue)"
    for endpoint in list {
      guard let address = SocketAddress(ip: endpoint.address, port: endpoint.port) else { continue }
      let number = interner.endpoint(
        backend: owner, address: endpoint.address, port: endpoint.port, tls: tls.identity)
      endpointSlots.append(number)
      var flags: UInt16 = 0
      if endpoint.isReady { flags |= EndpointChoice.ready }
      if endpoint.isTerminating { flags |= EndpointChoice.terminating }
      allChoices.append(EndpointChoice(slot: number, weight: endpoint.weight, flags: flags))
      allAddresses.append(address)
    }
    entries.append(
      Entry(
        slot: slot, proto: backend.proto, proxy: proxyVersion, first: first, count: allChoices.count - first,
        security: tls.security))
  }

  /// Lays everything out in memory that workers read.
  func finish() {
    socketSlotCount = Int((sockets.map(\.slot).max() ?? -1) + 1)
    endpointSlotCount = Int((endpointSlots.max() ?? -1) + 1)
    let bySlot = UnsafeMutablePointer<Int16>.allocate(capacity: max(1, socketSlotCount))
    unsafe bySlot.initialize(repeating: -1, count: max(1, socketSlotCount))
    let secure = UnsafeMutablePointer<SocketTLS>.allocate(capacity: max(1, sockets.count))
    let openings = UnsafeMutablePointer<SocketTraits>.allocate(capacity: max(1, sockets.count))
    for socket in sockets {
      // SAFETY: slots are below their own maximum, indices count the sockets.
      unsafe bySlot[Int(socket.slot)] = Int16(socket.index)
      unsafe (secure + socket.index).initialize(to: socket.tls)
      unsafe (openings + socket.index).initialize(to: socket.traits)
    }
    let flat = UnsafeMutablePointer<EndpointChoice>.allocate(capacity: max(1, allChoices.count))
    let places = UnsafeMutablePointer<SocketAddress>.allocate(capacity: max(1, allAddresses.count))
    let marks = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, endpointSlotCount))
    unsafe marks.initialize(repeating: 0, count: max(1, endpointSlotCount))
    for index in allChoices.indices {
      unsafe (flat + index).initialize(to: allChoices[index])
      unsafe (places + index).initialize(to: allAddresses[index])
      unsafe marks[Int(allChoices[index].slot)] = 1
    }
    let table = UnsafeMutablePointer<BackendEntry>.allocate(capacity: max(1, entries.count))
    for (index, entry) in entries.enumerated() {
      unsafe (table + index).initialize(
        to: BackendEntry(
          slot: entry.slot, proto: entry.proto, proxyVersion: entry.proxy, count: Int32(entry.count),
          choices: flat + entry.first, addresses: places + entry.first, security: entry.security))
    }
    unsafe socketIndex = unsafe bySlot
    unsafe tls = unsafe secure
    unsafe traits = unsafe openings
    unsafe choices = unsafe flat
    unsafe addresses = unsafe places
    unsafe current = unsafe marks
    unsafe backends = unsafe table
    allChoices = []
    allAddresses = []
  }

  func view(
    image: RoutingImage, sequence: UInt64, clientValidations: UnsafePointer<UInt64>
  ) -> ConfigurationView {
    guard let socketIndex = unsafe socketIndex, let tls = unsafe tls, let traits = unsafe traits,
      let backends = unsafe backends, let current = unsafe current
    else { preconditionFailure("finish() comes first") }
    return unsafe ConfigurationView(
      image: image, sequence: sequence, socketIndex: socketIndex, socketSlotCount: Int32(socketSlotCount),
      tlsEntries: tls, clientValidations: clientValidations, traitEntries: traits, backends: backends,
      backendCount: Int32(entries.count),
      backendSlotCount: (backendSlots.max() ?? -1) + 1, current: current,
      endpointSlotCount: Int32(endpointSlotCount))
  }

  deinit {
    unsafe socketIndex?.deallocate()
    unsafe tls?.deallocate()
    unsafe traits?.deallocate()
    unsafe backends?.deallocate()
    unsafe choices?.deallocate()
    unsafe addresses?.deallocate()
    unsafe current?.deallocate()
  }
}
