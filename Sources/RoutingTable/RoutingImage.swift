public import HTTPSemantics

/// A verified image, read in place: two words, no allocation, no reference counts. Copies are free and
/// live as long as the memory behind them does.
@safe
public struct RoutingImage {
  // INVARIANT: `base` is aligned to eight bytes and points to an image that `verify` accepted, mapped for
  // as long as any copy of this value is in use and written by nobody. Hence every index and offset read
  // from it is in bounds. SAFETY of every unsafe line of the reader: this, and the precondition on the
  // index that a caller hands in.
  let base: UnsafeRawPointer
  // INVARIANT: one compiled expression for each element of the `regexes` section, in its order.
  let regexes: UnsafePointer<OpaquePointer?>

  /// `regexes` is `LoadedRegexes.pointers` of the same image; both outlive the value.
  public init(verified base: UnsafeRawPointer, count: Int, regexes: UnsafePointer<OpaquePointer?>) {
    precondition(count >= ImageFormat.headerLength)
    unsafe self.base = base
    unsafe self.regexes = regexes
  }

  @inline(__always)
  func number<T: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as type: T.Type) -> T {
    unsafe base.load(fromByteOffset: offset, as: T.self)
  }

  @inline(__always)
  func start(of section: ImageSection) -> UnsafeRawPointer {
    let place = ImageFormat.sectionTableOffset + section.rawValue * 8
    return unsafe base + Int(number(at: place, as: UInt32.self))
  }

  @inline(__always)
  func count(of section: ImageSection) -> Int {
    Int(number(at: ImageFormat.sectionTableOffset + section.rawValue * 8 + 4, as: UInt32.self))
  }

  /// `index` comes from the image, or was checked by the caller.
  @inline(__always)
  func record<T: BitwiseCopyable>(_ section: ImageSection, _ index: Int, as type: T.Type) -> T {
    unsafe start(of: section).load(fromByteOffset: index * MemoryLayout<T>.stride, as: T.self)
  }

  /// Where the record lies, for reading parts of it; the same of `index`.
  @inline(__always)
  func place<T: BitwiseCopyable>(_ section: ImageSection, _ index: Int, as type: T.Type) -> UnsafePointer<T> {
    unsafe (start(of: section) + index &* MemoryLayout<T>.stride).assumingMemoryBound(to: T.self)
  }

  @inline(__always)
  func checked<T: BitwiseCopyable>(_ section: ImageSection, _ index: Int, as type: T.Type) -> T {
    precondition(index >= 0 && index < count(of: section))
    return record(section, index, as: type)
  }

  @inline(__always)
  func bytes(_ ref: StringRef) -> Bytes {
    let text = unsafe start(of: .bytes).assumingMemoryBound(to: UInt8.self)
    return unsafe Bytes(start: text + Int(ref.offset), count: Int(ref.length))
  }

  public var revision: UInt64 { number(at: ImageFormat.revisionOffset, as: UInt64.self) }
  public var checksum: UInt64 { number(at: ImageFormat.checksumOffset, as: UInt64.self) }
  public var socketCount: Int { count(of: .sockets) }
  public var listenerCount: Int { count(of: .listeners) }
  public var backendCount: Int { count(of: .backends) }
  public var ruleCount: Int { count(of: .rules) }
  public var entryCount: Int { count(of: .entries) }
  public var certificateCount: Int { count(of: .certificates) }
  public var trustBundleCount: Int { count(of: .trustBundles) }

  public func socket(_ index: Int) -> SocketView {
    SocketView(image: self, record: checked(.sockets, index, as: SocketRecord.self))
  }

  public func listener(_ index: Int) -> ListenerView {
    ListenerView(image: self, record: checked(.listeners, index, as: ListenerRecord.self))
  }

  public func virtualHost(_ index: Int) -> VirtualHostView {
    VirtualHostView(image: self, record: checked(.virtualHosts, index, as: VirtualHostRecord.self))
  }

  public func backend(_ index: Int) -> BackendView {
    BackendView(image: self, record: checked(.backends, index, as: BackendRecord.self))
  }

  public func certificate(_ index: Int) -> CertificateView {
    let record = checked(.certificates, index, as: CertificateRecord.self)
    return CertificateView(
      name: bytes(record.name), chainPEM: bytes(record.chainPEM), keyPEM: bytes(record.keyPEM),
      ocspStaple: bytes(record.ocspStaple))
  }

  public func trustBundle(_ index: Int) -> TrustBundleView {
    let record = checked(.trustBundles, index, as: TrustBundleRecord.self)
    return TrustBundleView(name: bytes(record.name), pem: bytes(record.pem))
  }

  func clientValidation(_ index: UInt32) -> ClientValidationSource? {
    if index == ImageFormat.none { return nil }
    let record = checked(.clientValidations, Int(index), as: ClientValidationRecord.self)
    return ClientValidationSource(
      mode: ClientValidationSource.Mode(rawValue: UInt8(truncatingIfNeeded: record.mode)) ?? .required,
      trustBundle: Int(record.trustBundle))
  }
}

public struct SocketView {
  let image: RoutingImage
  let record: SocketRecord

  /// IP literal; empty: every address.
  public var address: Bytes { image.bytes(record.address) }
  public var port: UInt16 { record.port }
  public var bindPort: UInt16 { record.bindPort }
  public var kind: SocketKind { SocketKind(rawValue: record.kind) ?? .http }
  /// Connections begin with a PROXY protocol header, from trusted networks only.
  public var expectsProxyProtocol: Bool { record.expectsProxyProtocol != 0 }
  /// Indexes of its listeners.
  public var listeners: Range<Int> {
    Int(record.listeners.first)..<Int(record.listeners.first) + Int(record.listeners.count)
  }
  public var tlsBindingCount: Int { Int(record.tls.count) }

  /// Whether PROXY protocol headers are taken from this address: its first eight bytes as a number, and its last
  /// eight; one of IPv4 mapped (RFC 4291 section 2.5.5.2).
  public func trusts(high: UInt64, low: UInt64) -> Bool {
    for index in 0..<Int(record.networks.count) {
      let network = image.record(.networks, Int(record.networks.first) + index, as: NetworkRecord.self)
      if network.contains(high: high, low: low) { return true }
    }
    return false
  }

  public func tlsBinding(_ index: Int) -> TLSBindingView {
    precondition(index >= 0 && index < tlsBindingCount)
    return TLSBindingView(
      image: image,
      record: image.record(.tlsBindings, Int(record.tls.first) + index, as: TLSBindingRecord.self))
  }
}

public struct TLSBindingView {
  let image: RoutingImage
  let record: TLSBindingRecord

  /// Index of the certificate.
  public var certificate: Int { Int(record.certificate) }
  public var clientValidation: ClientValidationSource? { image.clientValidation(record.clientValidation) }
  public var nameCount: Int { Int(record.names.count) }

  /// Lower case: a name, `*.` and a name, or `*`.
  public func name(_ index: Int) -> Bytes {
    precondition(index >= 0 && index < nameCount)
    return image.bytes(image.record(.names, Int(record.names.first) + index, as: StringRef.self))
  }
}

public struct ListenerView {
  let image: RoutingImage
  let record: ListenerRecord

  public var name: Bytes { image.bytes(record.name) }
  public var hostname: Bytes { image.bytes(record.hostname) }
  public var proto: ListenerProtocol { ListenerProtocol(rawValue: record.proto) ?? .http }
  public var escapedSlashes: EscapedSlashes { EscapedSlashes(rawValue: record.escapedSlashes) ?? .reject }
  public var mergesSlashes: Bool { record.flags & ListenerFlag.mergesSlashes != 0 }
  public var translatesGRPCWeb: Bool { record.flags & ListenerFlag.translatesGRPCWeb != 0 }
  public var clientValidation: ClientValidationSource? { image.clientValidation(record.clientValidation) }
  /// Index of the socket that it belongs to.
  public var socket: Int { Int(record.socket) }
  public var virtualHosts: Range<Int> {
    Int(record.virtualHosts.first)..<Int(record.virtualHosts.first) + Int(record.virtualHosts.count)
  }
}

public struct VirtualHostView {
  let image: RoutingImage
  let record: VirtualHostRecord

  public var pattern: Bytes { image.bytes(record.pattern) }
  public var listener: Int { Int(record.listener) }
  public var entryCount: Int { Int(record.entries.count) }
}

public struct BackendView {
  let image: RoutingImage
  let record: BackendRecord

  public var id: Bytes { image.bytes(record.id) }
  public var proto: BackendProtocol { BackendProtocol(rawValue: record.proto) ?? .automatic }
  public var endpointCount: Int { Int(record.endpoints.count) }
  public var proxyProtocol: ProxyProtocolVersion { ProxyProtocolVersion(rawValue: record.proxyProtocol) ?? .none }
  /// Nil: in the clear.
  public var tls: BackendTLSView? {
    if record.tls == ImageFormat.none { return nil }
    return BackendTLSView(image: image, record: image.checked(.backendTLS, Int(record.tls), as: BackendTLSRecord.self))
  }

  public func endpoint(_ index: Int) -> EndpointView {
    precondition(index >= 0 && index < endpointCount)
    let record = image.record(
      .endpoints, Int(record.endpoints.first) + index, as: EndpointRecord.self)
    return EndpointView(
      address: image.bytes(record.address), port: record.port, weight: record.weight,
      isReady: record.flags & EndpointFlag.ready != 0,
      isTerminating: record.flags & EndpointFlag.terminating != 0)
  }
}

public struct BackendTLSView {
  let image: RoutingImage
  let record: BackendTLSRecord

  /// Lower case; empty: none.
  public var serverName: Bytes { image.bytes(record.serverName) }
  /// Nil: the system's.
  public var trustBundle: Int? { record.trustBundle == ImageFormat.none ? nil : Int(record.trustBundle) }
  /// Nil: we show none.
  public var certificate: Int? { record.certificate == ImageFormat.none ? nil : Int(record.certificate) }
  public var verifies: Bool { record.verifies != 0 }
  public var subjectAltNameCount: Int { Int(record.subjectAltNames.count) }

  public func subjectAltName(_ index: Int) -> (kind: SubjectAltName.Kind, value: Bytes) {
    precondition(index >= 0 && index < subjectAltNameCount)
    let record = image.record(
      .subjectAltNames, Int(record.subjectAltNames.first) + index, as: SubjectAltNameRecord.self)
    return (SubjectAltName.Kind(rawValue: UInt8(truncatingIfNeeded: record.kind)) ?? .dns, image.bytes(record.value))
  }
}

public struct EndpointView {
  /// IP literal.
  public let address: Bytes
  public let port: UInt16
  public let weight: UInt16
  public let isReady: Bool
  public let isTerminating: Bool
}

public struct CertificateView {
  public let name: Bytes
  public let chainPEM: Bytes
  public let keyPEM: Bytes
  /// DER; empty: none.
  public let ocspStaple: Bytes
}

public struct TrustBundleView {
  public let name: Bytes
  public let pem: Bytes
}
