extension ControlMessage {
  /// The whole frame. What does not fit a frame is our own bug or an object that validation let through:
  /// nil, the caller says so in a log.
  public func frame() -> [UInt8]? {
    var writer = MessageWriter()
    switch self {
    case .hello(let hello): writer.put(hello)
    case .snapshot(let notice):
      writer.put(notice.revision)
      writer.put(notice.byteCount)
      writer.put(notice.checksum)
      writer.put(notice.endpointSequence)
    case .endpointUpdate(let update): writer.put(update)
    case .ack(let ack): writer.put(ack)
    case .nack(let nack):
      writer.put(nack.revision)
      writer.put(nack.sequence)
      writer.put(nack.reason)
    case .health(let health): writer.put(health)
    case .ping(let number), .pong(let number): writer.put(number)
    }
    return writer.frame(kind: kind)
  }
}

/// Appends fields in their order; the header is put in front at the end.
struct MessageWriter {
  private var bytes = [UInt8](repeating: 0, count: Frame.headerBytes)
  private var isTooLong = false

  mutating func put<Number: FixedWidthInteger>(_ number: Number) {
    var rest = number
    for _ in 0..<(Number.bitWidth / 8) {
      bytes.append(UInt8(truncatingIfNeeded: rest))
      rest >>= 8
    }
  }

  mutating func put(_ flag: Bool) { bytes.append(flag ? 1 : 0) }

  mutating func put(_ text: String) {
    let utf8 = text.utf8
    if utf8.count > Frame.maxStringBytes { isTooLong = true }
    put(UInt32(truncatingIfNeeded: utf8.count))
    bytes.append(contentsOf: utf8)
  }

  mutating func put<Element>(_ list: [Element], _ body: (inout MessageWriter, Element) -> Void) {
    put(UInt32(truncatingIfNeeded: list.count))
    for element in list { body(&self, element) }
  }

  mutating func put(_ hello: Hello) {
    put(hello.role)
    put(hello.instance)
    put(hello.process)
    put(hello.lastRevision)
    put(hello.lastChecksum)
  }

  mutating func put(_ update: EndpointUpdate) {
    put(update.revision)
    put(update.sequence)
    put(update.backends) { writer, backend in
      writer.put(backend.id)
      writer.put(backend.endpoints) { writer, endpoint in
        writer.put(endpoint.address)
        writer.put(endpoint.port)
        writer.put(endpoint.weight)
        writer.put(endpoint.isReady)
        writer.put(endpoint.isTerminating)
      }
    }
  }

  mutating func put(_ ack: Ack) {
    put(ack.revision)
    put(ack.sequence)
    put(ack.sockets) { writer, socket in
      writer.put(socket.address)
      writer.put(socket.port)
      writer.put(socket.bindPort)
      writer.put(socket.code)
      writer.put(socket.reason)
    }
  }

  mutating func put(_ health: Health) {
    put(health.uptimeMilliseconds)
    put(health.revision)
    put(health.sequence)
    put(health.connections)
    put(health.requests)
    put(health.isDraining)
  }

  consuming func frame(kind: UInt16) -> [UInt8]? {
    let payload = bytes.count - Frame.headerBytes
    if isTooLong || payload > Frame.maxPayloadBytes { return nil }
    let header = UInt64(UInt32(payload)) | UInt64(Frame.version) << 32 | UInt64(kind) << 48
    for index in 0..<Frame.headerBytes { bytes[index] = UInt8(truncatingIfNeeded: header >> (8 * index)) }
    return bytes
  }
}
