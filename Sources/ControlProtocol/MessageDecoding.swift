extension ControlMessage {
  /// One payload. Any bytes are allowed: what is wrong is an error, never a trap.
  static func decode(
    kind: UInt16, _ payload: ArraySlice<UInt8>
  ) throws(ControlProtocolError) -> ControlMessage {
    var reader = MessageReader(payload)
    let message: ControlMessage
    switch kind {
    case 1: message = .hello(try reader.hello())
    case 2: message = .snapshot(try reader.snapshot())
    case 3: message = .endpointUpdate(try reader.endpointUpdate())
    case 4: message = .ack(try reader.ack())
    case 5:
      message = .nack(
        Nack(
          revision: try reader.number("nack.revision"), sequence: try reader.number("nack.sequence"),
          reason: try reader.text("nack.reason")))
    case 6: message = .health(try reader.health())
    case 7: message = .ping(try reader.number("ping"))
    case 8: message = .pong(try reader.number("pong"))
    default: throw .unknownKind(kind)
    }
    if reader.remaining > 0 { throw .trailingBytes(kind: kind, count: reader.remaining) }
    return message
  }
}

/// Reads fields in their order; every read is checked against what is left.
struct MessageReader {
  private let bytes: ArraySlice<UInt8>
  private var place: Int

  init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    place = bytes.startIndex
  }

  var remaining: Int { bytes.endIndex - place }

  mutating func number<Number: FixedWidthInteger>(
    _ field: StaticText
  ) throws(ControlProtocolError) -> Number {
    let width = Number.bitWidth / 8
    guard remaining >= width else { throw .truncated(field) }
    var value: UInt64 = 0
    for index in 0..<width { value |= UInt64(bytes[place + index]) << UInt64(8 * index) }
    place += width
    return Number(truncatingIfNeeded: value)
  }

  mutating func flag(_ field: StaticText) throws(ControlProtocolError) -> Bool {
    let value: UInt8 = try number(field)
    guard value <= 1 else { throw .invalidValue(field) }
    return value == 1
  }

  mutating func text(_ field: StaticText) throws(ControlProtocolError) -> String {
    let length: UInt32 = try number(field)
    guard length <= Frame.maxStringBytes else { throw .invalidText(field) }
    guard remaining >= Int(length) else { throw .truncated(field) }
    let part = bytes[place..<(place + Int(length))]
    guard let text = String(validating: part, as: UTF8.self) else { throw .invalidText(field) }
    place += Int(length)
    return text
  }

  /// A count that is larger than the bytes left could hold is refused before anything is reserved for it.
  mutating func list<Element>(
    _ field: StaticText, leastBytes: Int,
    _ element: (inout MessageReader) throws(ControlProtocolError) -> Element
  ) throws(ControlProtocolError) -> [Element] {
    let count: UInt32 = try number(field)
    guard Int(count) <= remaining / leastBytes else { throw .truncated(field) }
    var list: [Element] = []
    list.reserveCapacity(Int(count))
    for _ in 0..<count { list.append(try element(&self)) }
    return list
  }

  mutating func hello() throws(ControlProtocolError) -> Hello {
    Hello(
      role: try text("hello.role"), instance: try text("hello.instance"),
      process: try number("hello.process"), lastRevision: try number("hello.lastRevision"),
      lastChecksum: try number("hello.lastChecksum"))
  }

  mutating func snapshot() throws(ControlProtocolError) -> SnapshotNotice {
    let notice = SnapshotNotice(
      revision: try number("snapshot.revision"), byteCount: try number("snapshot.byteCount"),
      checksum: try number("snapshot.checksum"),
      endpointSequence: try number("snapshot.endpointSequence"))
    guard (1...Frame.maxImageBytes).contains(notice.byteCount) else {
      throw .invalidValue("snapshot.byteCount")
    }
    return notice
  }

  mutating func endpointUpdate() throws(ControlProtocolError) -> EndpointUpdate {
    EndpointUpdate(
      revision: try number("endpointUpdate.revision"), sequence: try number("endpointUpdate.sequence"),
      backends: try list("endpointUpdate.backends", leastBytes: 8) {
        (reader) throws(ControlProtocolError) in
        EndpointUpdate.Backend(
          id: try reader.text("endpointUpdate.backend.id"),
          endpoints: try reader.list("endpointUpdate.backend.endpoints", leastBytes: 10) {
            (reader) throws(ControlProtocolError) in try reader.endpoint()
          })
      })
  }

  private mutating func endpoint() throws(ControlProtocolError) -> Endpoint {
    Endpoint(
      address: try text("endpoint.address"), port: try number("endpoint.port"),
      weight: try number("endpoint.weight"), isReady: try flag("endpoint.isReady"),
      isTerminating: try flag("endpoint.isTerminating"))
  }

  mutating func ack() throws(ControlProtocolError) -> Ack {
    Ack(
      revision: try number("ack.revision"), sequence: try number("ack.sequence"),
      sockets: try list("ack.sockets", leastBytes: 16) { (reader) throws(ControlProtocolError) in
        SocketStatus(
          address: try reader.text("ack.socket.address"), port: try reader.number("ack.socket.port"),
          bindPort: try reader.number("ack.socket.bindPort"), code: try reader.number("ack.socket.code"),
          reason: try reader.text("ack.socket.reason"))
      })
  }

  mutating func health() throws(ControlProtocolError) -> Health {
    Health(
      uptimeMilliseconds: try number("health.uptime"), revision: try number("health.revision"),
      sequence: try number("health.sequence"), connections: try number("health.connections"),
      requests: try number("health.requests"), isDraining: try flag("health.isDraining"))
  }
}

/// Cuts a byte stream into messages. Bytes come in any pieces; at most one frame is buffered.
public struct FrameDecoder: Sendable {
  private var buffer: [UInt8] = []
  private var start = 0
  private var failed: ControlProtocolError?

  public init() {}

  /// Bytes received and not yet decoded.
  public var bufferedBytes: Int { buffer.count - start }

  public mutating func append(_ bytes: some Collection<UInt8>) {
    if start == buffer.count {
      buffer.removeAll(keepingCapacity: buffer.capacity <= 1 << 16)
      start = 0
    } else if start > 1 << 16 {
      buffer.removeFirst(start)
      start = 0
    }
    buffer.append(contentsOf: bytes)
  }

  /// The next message, nil when more bytes are needed. After an error that is not fatal the message is
  /// skipped and the next call goes on; a fatal one is thrown again by every call.
  public mutating func next() throws(ControlProtocolError) -> ControlMessage? {
    if let failed { throw failed }
    guard bufferedBytes >= Frame.headerBytes else { return nil }
    var header: UInt64 = 0
    for index in 0..<Frame.headerBytes { header |= UInt64(buffer[start + index]) << UInt64(8 * index) }
    let length = UInt32(truncatingIfNeeded: header)
    let version = UInt16(truncatingIfNeeded: header >> 32)
    let kind = UInt16(truncatingIfNeeded: header >> 48)
    // The version comes first: another version may mean something else by the length.
    if version != Frame.version {
      failed = .unsupportedVersion(version)
    } else if length > Frame.maxPayloadBytes {
      failed = .frameTooLong(length)
    }
    if let failed { throw failed }
    let payload = start + Frame.headerBytes
    let end = payload + Int(length)
    guard buffer.count >= end else { return nil }
    start = end
    return try ControlMessage.decode(kind: kind, buffer[payload..<end])
  }
}
