import CLinux
import ControlProtocol
import Telemetry

/// What the controller wants to be served. `image` is nil for new endpoints of the image in use.
struct WantedConfiguration {
  let image: MappedImage?
  let revision: UInt64
  /// Of the endpoint update; 0: the image's own endpoints.
  let sequence: UInt64
  let changes: [EndpointUpdate.Backend]
}

/// The data plane's end of the control socket: connects again and again, turns messages into wanted
/// configurations, refuses what is malformed. It never touches what is served.
struct Subscriber {
  private static let leastPauseMilliseconds: UInt64 = 50
  private static let mostPauseMilliseconds: UInt64 = 2000
  /// The controller pings every 5 s; one that says nothing for so long is stuck.
  private static let silenceMilliseconds: UInt64 = 30_000

  private let path: String
  private let instance: String
  private let log: LineLogger

  private var socket: OwnedDescriptor?
  private var channel = FrameChannel()
  private var lastHeard: UInt64 = 0
  private var nextAttempt: UInt64 = 0
  private var pause = Subscriber.leastPauseMilliseconds
  private var lastFailure = ""
  /// An image whose endpoint update has not come yet, with that update's sequence.
  private var awaiting: (image: MappedImage, sequence: UInt64)?
  private var refusedRevision: UInt64 = 0
  private var scratch = [UInt8](repeating: 0, count: 64 * 1024)

  /// Messages and images that were refused.
  private(set) var refusals: UInt64 = 0

  init(path: String, instance: String, log: LineLogger) {
    self.path = path
    self.instance = instance
    self.log = log
  }

  /// -1: not connected.
  var descriptor: Int32 { socket?.number ?? -1 }
  var isConnected: Bool { socket != nil }
  var wantsWrite: Bool { socket != nil && channel.hasOutgoing }

  /// When `connectIfDue` or `expire` has something to do, in milliseconds of the monotonic clock.
  var deadline: UInt64 { socket == nil ? nextAttempt : lastHeard + Self.silenceMilliseconds }

  // MARK: Connecting

  /// `current` is the image in use, if there is one.
  mutating func connectIfDue(now: UInt64, current: MappedImage?) {
    if socket != nil, now > lastHeard + Self.silenceMilliseconds {
      disconnect(now, "no sign of life for \(Self.silenceMilliseconds / 1000) s")
    }
    guard socket == nil, now >= nextAttempt else { return }
    let number = clinux_unix_socket()
    guard number >= 0 else { return failed(now, "socket: \(errorText(clinux_errno()))") }
    let fresh = OwnedDescriptor(number)
    guard unsafe clinux_unix_connect(number, path) == 0 else {
      return failed(now, errorText(clinux_errno()))
    }
    var uid: UInt32 = 0
    var pid: Int32 = 0
    guard unsafe clinux_peer_credentials(number, &uid, &pid) == 0, uid == 0 || uid == geteuid() else {
      return failed(now, "the other end belongs to user \(uid), neither to root nor to user \(geteuid())")
    }
    socket = fresh
    channel = FrameChannel()
    awaiting = nil
    refusedRevision = 0
    lastHeard = now
    lastFailure = ""
    log.info("connected to the controller at \(path)")
    send(
      .hello(
        Hello(
          role: "dataplane", instance: instance, process: UInt32(bitPattern: getpid()),
          lastRevision: current?.revision ?? 0, lastChecksum: current?.checksum ?? 0)))
    flush(now)
  }

  /// The same failure is logged once, not at every attempt.
  private mutating func failed(_ now: UInt64, _ reason: String) {
    if reason != lastFailure { log.warning("no connection to the controller at \(path): \(reason)") }
    lastFailure = reason
    nextAttempt = now + pause
    pause = min(pause * 2, Self.mostPauseMilliseconds)
  }

  mutating func disconnect(_ now: UInt64, _ reason: String) {
    guard socket != nil else { return }
    log.warning("connection to the controller ended: \(reason); what is served stays")
    socket = nil
    channel = FrameChannel()
    awaiting = nil
    lastFailure = reason
    nextAttempt = now + pause
    pause = min(pause * 2, Self.mostPauseMilliseconds)
  }

  // MARK: Sending

  mutating func send(_ message: ControlMessage) {
    guard socket != nil else { return }
    if !channel.send(message) { log.error("a message to the controller does not fit a frame") }
  }

  mutating func refuse(revision: UInt64, sequence: UInt64, _ reason: String) {
    refusals += 1
    log.error("refused snapshot \(revision), endpoints \(sequence): \(reason); what is served stays")
    // A reason is for a person: its beginning is enough.
    send(.nack(Nack(revision: revision, sequence: sequence, reason: String(reason.prefix(4000)))))
  }

  mutating func flush(_ now: UInt64) {
    guard let number = socket?.number else { return }
    let result = unsafe channel.flush { bytes, passed in
      let sent = unsafe clinux_send_descriptor(number, bytes.baseAddress, bytes.count, passed)
      return sent >= 0 ? sent : -Int(clinux_errno())
    }
    if result < 0 && result != -Int(EAGAIN) { disconnect(now, "send: \(errorText(Int32(-result)))") }
  }

  // MARK: Receiving

  /// Reads what is there. Returns the newest that is wanted: what it replaces was never served.
  mutating func receive(now: UInt64, current: MappedImage?) -> [WantedConfiguration] {
    guard let number = socket?.number else { return [] }
    var passed = [Int32](repeating: -1, count: Int(CLINUX_MAX_DESCRIPTORS))
    var passedCount: Int32 = 0
    let capacity = scratch.count
    let count = unsafe scratch.withUnsafeMutableBytes { buffer in
      unsafe clinux_receive_descriptors(number, buffer.baseAddress, capacity, &passed, &passedCount)
    }
    let code = clinux_errno()
    if count < 0 && code == EAGAIN { return [] }
    guard count > 0 else {
      disconnect(now, count == 0 ? "closed by the controller" : errorText(code))
      return []
    }
    lastHeard = now
    pause = Self.leastPauseMilliseconds
    let descriptors = passed[..<Int(passedCount)].map { OwnedDescriptor($0) }
    channel.received(scratch[..<count], descriptors: descriptors)
    return decode(now: now, current: current)
  }

  private mutating func decode(now: UInt64, current: MappedImage?) -> [WantedConfiguration] {
    var wanted: [WantedConfiguration] = []
    while socket != nil {
      do {
        guard let received = try channel.next() else { break }
        let newest = wanted.last { $0.image != nil }?.image ?? current
        if let next = handle(received, now: now, current: newest) { wanted.append(next) }
      } catch {
        refuse(revision: 0, sequence: 0, "\(error)")
        if error.isFatal {
          flush(now)
          disconnect(now, "\(error)")
        }
      }
    }
    return wanted
  }

  private mutating func handle(
    _ received: FrameChannel.Received, now: UInt64, current: MappedImage?
  ) -> WantedConfiguration? {
    switch received.message {
    case .snapshot(let notice): return snapshot(notice, received.descriptor)
    case .endpointUpdate(let update): return endpoints(update, current: current)
    case .ping(let number): send(.pong(number))
    case .pong: break
    case .hello, .ack, .nack, .health:
      refuse(revision: 0, sequence: 0, "a message that only the data plane sends")
    }
    return nil
  }

  private mutating func snapshot(
    _ notice: SnapshotNotice, _ descriptor: OwnedDescriptor?
  ) -> WantedConfiguration? {
    awaiting = nil
    refusedRevision = notice.revision
    guard let descriptor else {
      refuse(revision: notice.revision, sequence: 0, "the snapshot came without its image's descriptor")
      return nil
    }
    let image: MappedImage
    do {
      image = try MappedImage(memory: descriptor, notice: notice)
    } catch {
      refuse(revision: notice.revision, sequence: 0, error.reason)
      return nil
    }
    refusedRevision = 0
    if notice.endpointSequence != 0 {
      awaiting = (image, notice.endpointSequence)
      return nil
    }
    return WantedConfiguration(image: image, revision: notice.revision, sequence: 0, changes: [])
  }

  private mutating func endpoints(_ update: EndpointUpdate, current: MappedImage?) -> WantedConfiguration? {
    if let (image, sequence) = awaiting {
      awaiting = nil
      if update.revision == image.revision, update.sequence == sequence {
        return WantedConfiguration(
          image: image, revision: update.revision, sequence: update.sequence, changes: update.backends)
      }
      refuse(
        revision: image.revision, sequence: 0,
        "endpoint update \(sequence) was announced with the snapshot, \(update.sequence) of snapshot"
          + " \(update.revision) came")
      return nil
    }
    guard update.revision != refusedRevision else {
      refuse(revision: update.revision, sequence: update.sequence, "its snapshot was refused")
      return nil
    }
    guard update.revision == current?.revision else {
      refuse(
        revision: update.revision, sequence: update.sequence,
        "its snapshot is not the one in use (\(current?.revision ?? 0))")
      return nil
    }
    return WantedConfiguration(
      image: nil, revision: update.revision, sequence: update.sequence, changes: update.backends)
  }
}
