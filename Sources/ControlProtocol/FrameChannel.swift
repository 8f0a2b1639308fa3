import CLinux

/// A descriptor that is closed with its last owner.
public final class OwnedDescriptor: Sendable {
  public let number: Int32

  /// Takes `number` over.
  public init(_ number: Int32) { self.number = number }

  deinit { close(number) }
}

/// One side of a control connection without its socket: received bytes and descriptors go in, messages come
/// out; sent messages go in, bytes (and the descriptor that goes with the first of them) come out.
public struct FrameChannel: Sendable {
  private var decoder = FrameDecoder()
  private var descriptors: [OwnedDescriptor] = []
  private var outgoing: [Outgoing] = []
  private var sentOfFirst = 0

  private struct Outgoing: Sendable {
    let bytes: [UInt8]
    let descriptor: OwnedDescriptor?
  }

  /// A message with the descriptor that came with it: only a snapshot has one.
  public struct Received: Sendable {
    public let message: ControlMessage
    public let descriptor: OwnedDescriptor?
  }

  public init() {}

  // MARK: Receiving

  /// At most 8 descriptors wait; more are closed.
  public mutating func received(_ bytes: some Collection<UInt8>, descriptors fresh: [OwnedDescriptor] = []) {
    decoder.append(bytes)
    descriptors.append(contentsOf: fresh.prefix(max(0, 8 - descriptors.count)))
  }

  public mutating func next() throws(ControlProtocolError) -> Received? {
    guard let message = try decoder.next() else { return nil }
    guard case .snapshot = message else { return Received(message: message, descriptor: nil) }
    let descriptor = descriptors.isEmpty ? nil : descriptors.removeFirst()
    return Received(message: message, descriptor: descriptor)
  }

  // MARK: Sending

  public var hasOutgoing: Bool { !outgoing.isEmpty }

  /// False: the message does not fit a frame; nothing was queued.
  public mutating func send(_ message: ControlMessage, descriptor: OwnedDescriptor? = nil) -> Bool {
    guard let frame = message.frame() else { return false }
    outgoing.append(Outgoing(bytes: frame, descriptor: descriptor))
    return true
  }

  /// What the socket has to send next. Calls `transmit(bytes, descriptor or -1)` until it returns less than
  /// it was given; a negative result is the caller's errno convention and ends the loop.
  /// Returns the last result, 0 when there was nothing.
  public mutating func flush(_ transmit: (UnsafeRawBufferPointer, Int32) -> Int) -> Int {
    var last = 0
    while let first = outgoing.first {
      let offset = sentOfFirst
      // The descriptor goes with the first byte and must not go twice.
      let descriptor = offset == 0 ? first.descriptor?.number ?? -1 : -1
      last = unsafe first.bytes.withUnsafeBytes { bytes in
        unsafe transmit(UnsafeRawBufferPointer(rebasing: bytes[offset...]), descriptor)
      }
      if last < 0 { return last }
      sentOfFirst += last
      if sentOfFirst < first.bytes.count { return last }
      outgoing.removeFirst()
      sentOfFirst = 0
    }
    return last
  }
}
