import CLinux
import Testing

@testable import ControlProtocol

/// SplitMix64: the tests' own reproducible randomness.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

let samples: [ControlMessage] = [
  .hello(Hello(role: "dataplane", instance: "default", process: 4711, lastRevision: 0, lastChecksum: 0)),
  .hello(
    Hello(role: "dataplane", instance: "zürich/ä", process: .max, lastRevision: .max, lastChecksum: 1)),
  .snapshot(SnapshotNotice(revision: 7, byteCount: 1, checksum: 99, endpointSequence: 0)),
  .snapshot(
    SnapshotNotice(revision: .max, byteCount: Frame.maxImageBytes, checksum: .max, endpointSequence: 3)),
  .endpointUpdate(EndpointUpdate(revision: 1, sequence: 1, backends: [])),
  .endpointUpdate(
    EndpointUpdate(
      revision: 1, sequence: 2,
      backends: [
        .init(id: "default/hoopgateway:8009", endpoints: []),
        .init(
          id: "default/hoopgateway:8010",
          endpoints: [
            Endpoint(address: "127.0.0.1", port: 8010, weight: 1, isReady: true, isTerminating: false),
            Endpoint(address: "::1", port: 65535, weight: .max, isReady: false, isTerminating: true),
          ]),
      ])),
  .ack(Ack(revision: 3, sequence: 0, sockets: [])),
  .ack(
    Ack(
      revision: 3, sequence: 9,
      sockets: [
        SocketStatus(address: "", port: 80, bindPort: 80, code: 13, reason: "Permission denied"),
        SocketStatus(address: "::", port: 443, bindPort: 8443),
      ])),
  .nack(Nack(revision: 3, sequence: 4, reason: "image: offset 12 is out of bounds")),
  .health(
    Health(
      uptimeMilliseconds: 1, revision: 2, sequence: 3, connections: 4, requests: 5, isDraining: true)),
  .ping(0), .pong(.max),
]

struct FrameTests {
  @Test(arguments: samples)
  func roundTrip(_ message: ControlMessage) throws {
    let frame = try #require(message.frame())
    var decoder = FrameDecoder()
    decoder.append(frame)
    #expect(try decoder.next() == message)
    #expect(try decoder.next() == nil)
    #expect(decoder.bufferedBytes == 0)
  }

  @Test func layoutIsFixed() {
    // A change of these bytes is a change of the protocol: raise Frame.version.
    #expect(
      ControlMessage.nack(Nack(revision: 0x0102_0304_0506_0708, sequence: 2, reason: "né")).frame()
        == [
          23, 0, 0, 0, 1, 0, 5, 0, 8, 7, 6, 5, 4, 3, 2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0x6E, 0xC3,
          0xA9,
        ])
  }

  @Test func piecesOfAnySize() throws {
    let stream = samples.flatMap { $0.frame() ?? [] }
    for size in [1, 2, 3, 7, 8, 9, 64, stream.count] {
      var decoder = FrameDecoder()
      var found: [ControlMessage] = []
      var index = 0
      while index < stream.count {
        let end = min(stream.count, index + size)
        decoder.append(stream[index..<end])
        index = end
        while let message = try decoder.next() { found.append(message) }
      }
      #expect(found == samples, "pieces of \(size)")
    }
  }

  @Test func framingErrorsAreFatal() {
    for (bytes, error) in [
      ([0, 0, 0, 0, 2, 0, 7, 0], ControlProtocolError.unsupportedVersion(2)),
      ([1, 0, 0, 1, 1, 0, 7, 0], .frameTooLong(0x0100_0001)),
      ([255, 255, 255, 255, 1, 0, 7, 0], .frameTooLong(.max)),
    ] as [([UInt8], ControlProtocolError)] {
      var decoder = FrameDecoder()
      decoder.append(bytes)
      #expect(throws: error) { try decoder.next() }
      decoder.append(ControlMessage.ping(1).frame() ?? [])
      #expect(throws: error) { try decoder.next() }
      #expect(error.isFatal)
    }
  }

  static let malformed: [(String, kind: UInt16, payload: [UInt8], ControlProtocolError)] = [
    ("no kind", 0, [], .unknownKind(0)),
    ("unknown kind", 9, [1, 2], .unknownKind(9)),
    ("short ping", 7, [1, 2, 3], .truncated("ping")),
    ("long ping", 7, [UInt8](repeating: 0, count: 9), .trailingBytes(kind: 7, count: 1)),
    ("no image", 2, [UInt8](repeating: 0, count: 32), .invalidValue("snapshot.byteCount")),
    (
      "huge image", 2, [UInt8](repeating: 0, count: 13) + [1] + [UInt8](repeating: 0, count: 18),
      .invalidValue("snapshot.byteCount")
    ),
    (
      "count of backends beyond the bytes", 3, [UInt8](repeating: 0, count: 16) + [255, 255, 255, 255],
      .truncated("endpointUpdate.backends")
    ),
    (
      "text beyond the end", 5, [UInt8](repeating: 0, count: 16) + [5, 0, 0, 0, 65],
      .truncated("nack.reason")
    ),
    (
      "text too long", 5, [UInt8](repeating: 0, count: 16) + [1, 0, 1, 0, 65], .invalidText("nack.reason")
    ),
    (
      "text not UTF-8", 5, [UInt8](repeating: 0, count: 16) + [2, 0, 0, 0, 0xC0, 0x80],
      .invalidText("nack.reason")
    ),
    ("flag of 2", 6, [UInt8](repeating: 0, count: 40) + [2], .invalidValue("health.isDraining")),
  ]

  @Test func malformedMessagesAreSkipped() throws {
    for (name, kind, payload, error) in Self.malformed {
      var decoder = FrameDecoder()
      let length = UInt32(payload.count)
      decoder.append(
        [UInt8(length & 255), UInt8(length >> 8), 0, 0, 1, 0, UInt8(kind), 0] as [UInt8] + payload)
      decoder.append(try #require(ControlMessage.ping(5).frame()))
      #expect(throws: error, "\(name)") { try decoder.next() }
      #expect(!error.isFatal)
      #expect(try decoder.next() == .ping(5), "\(name)")
    }
  }

  /// Hostile bytes end in messages or errors, never in a trap, and what decodes encodes to the same bytes.
  @Test(arguments: [1, 2, 3, 4] as [UInt64])
  func mutatedBytes(_ seed: UInt64) throws {
    var random = SeededGenerator(state: seed)
    let stream = samples.flatMap { $0.frame() ?? [] }
    var decoded = 0
    var refused = 0
    for _ in 0..<4000 {
      var bytes = stream
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        let value = UInt8.random(in: 0...255, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes[place] = value
        case 1: bytes[place] ^= 1 << (value % 8)
        case 2: bytes.removeLast(min(place, bytes.count / 2))
        default: bytes.insert(value, at: place)
        }
      }
      var decoder = FrameDecoder()
      decoder.append(bytes)
      reading: while true {
        do {
          guard let message = try decoder.next() else { break }
          let again = try #require(message.frame())
          var second = FrameDecoder()
          second.append(again)
          #expect(try second.next() == message)
          decoded += 1
        } catch let error as ControlProtocolError {
          refused += 1
          #expect(!error.description.isEmpty)
          if error.isFatal { break reading }
        }
      }
    }
    // Both ways were taken, or the test shows nothing.
    #expect(decoded > 1000 && refused > 1000)
  }

  @Test func pureNoise() {
    var random = SeededGenerator(state: 42)
    for _ in 0..<20_000 {
      let kind = UInt8.random(in: 1...8, using: &random)
      let length = Int.random(in: 0..<80, using: &random)
      var bytes: [UInt8] = [UInt8(length), 0, 0, 0, 1, 0, kind, 0]
      for _ in 0..<length {
        let value = UInt8.random(in: 0...255, using: &random)
        bytes.append(value < 128 ? 0 : value)
      }
      _ = try? ControlMessage.decode(kind: UInt16(kind), bytes[8...])
    }
  }

  @Test func tooLongForAFrame() {
    let long = String(repeating: "x", count: Frame.maxStringBytes + 1)
    #expect(ControlMessage.nack(Nack(revision: 1, sequence: 1, reason: long)).frame() == nil)
  }

  @Test func checksumSeesEveryBit() {
    var random = SeededGenerator(state: 7)
    for length in [0, 1, 7, 8, 9, 63, 64, 1000] {
      var bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
      let sum = unsafe bytes.withUnsafeBytes { unsafe imageChecksum($0) }
      #expect(sum != 0)
      for bit in 0..<(length * 8) {
        bytes[bit / 8] ^= 1 << UInt8(bit % 8)
        #expect(unsafe bytes.withUnsafeBytes { unsafe imageChecksum($0) } != sum)
        bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      }
      #expect(unsafe (bytes + [0]).withUnsafeBytes { unsafe imageChecksum($0) } != sum)
    }
  }
}

struct FrameChannelTests {
  @Test func shortSendsAndDescriptors() throws {
    var channel = FrameChannel()
    let descriptor = OwnedDescriptor(try #require(unsafe clinux_memfd("test") as Int32?))
    let notice = SnapshotNotice(revision: 1, byteCount: 1, checksum: 1, endpointSequence: 0)
    let queued = [channel.send(.ping(1)), channel.send(.snapshot(notice), descriptor: descriptor)]
    #expect(queued == [true, true])
    var stream: [UInt8] = []
    var places: [Int] = []
    var rounds = 0
    while channel.hasOutgoing {
      rounds += 1
      _ = unsafe channel.flush { bytes, number in
        let part = min(bytes.count, 5)
        if number >= 0 { places.append(stream.count) }
        unsafe stream.append(contentsOf: bytes.prefix(part))
        return part
      }
    }
    #expect(rounds > 5)
    // With the snapshot's first byte and only there.
    #expect(places == [16])
    var other = FrameChannel()
    other.received(stream, descriptors: [descriptor])
    let first = try #require(try other.next())
    #expect(first.message == .ping(1) && first.descriptor == nil)
    let second = try #require(try other.next())
    #expect(second.descriptor === descriptor)
    #expect(try other.next() == nil)
  }
}
