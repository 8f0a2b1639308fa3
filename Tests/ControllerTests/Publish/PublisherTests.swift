import CLinux
import ControlProtocol
import Synchronization
import Testing

@testable import Controller

/// A data plane's end of the socket, by hand.
final class FakeDataPlane {
  let descriptor: OwnedDescriptor
  var channel = FrameChannel()

  init(path: String) throws {
    let number = clinux_unix_socket()
    descriptor = OwnedDescriptor(number)
    #expect(unsafe clinux_unix_connect(number, path) == 0, "connect: errno \(clinux_errno())")
  }

  func send(_ message: ControlMessage) throws { try sendRaw(try #require(message.frame())) }

  func sendRaw(_ bytes: [UInt8]) throws { try #require(trySend(bytes) == bytes.count) }

  /// What the socket took; -1: the publisher has closed it.
  private func trySend(_ bytes: [UInt8]) -> Int {
    let number = descriptor.number
    return unsafe bytes.withUnsafeBytes {
      unsafe clinux_send_descriptor(number, $0.baseAddress, $0.count, -1)
    }
  }

  func hello(_ instance: String = "default", revision: UInt64 = 0) throws {
    try send(
      .hello(
        Hello(role: "dataplane", instance: instance, process: 1, lastRevision: revision, lastChecksum: 0)))
  }

  /// Whether something can be read within so many milliseconds.
  func hasInput(within milliseconds: Int32) -> Bool {
    var question = pollfd(fd: descriptor.number, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&question, 1, milliseconds) > 0
  }

  /// The next message that is no ping; nil: the publisher closed.
  func next() throws -> FrameChannel.Received? {
    for _ in 0..<3000 {
      while let received = try channel.next() {
        if case .ping(let number) = received.message {
          // It may have closed since it asked: that is for the caller to find.
          _ = trySend(try #require(ControlMessage.pong(number).frame()))
        } else {
          return received
        }
      }
      guard hasInput(within: 10) else { continue }
      var bytes = [UInt8](repeating: 0, count: 4096)
      var passed = [Int32](repeating: -1, count: 8)
      var passedCount: Int32 = 0
      let count = unsafe clinux_receive_descriptors(descriptor.number, &bytes, 4096, &passed, &passedCount)
      if count <= 0 { return nil }
      channel.received(bytes[..<count], descriptors: passed[..<Int(passedCount)].map(OwnedDescriptor.init))
    }
    Issue.record("nothing came within 30 s")
    return nil
  }

  func expectSnapshot(_ revision: UInt64, image: [UInt8], endpoints: UInt64 = 0) throws {
    let received = try #require(try next())
    guard case .snapshot(let notice) = received.message else {
      Issue.record("not a snapshot: \(received.message)")
      return
    }
    #expect(notice.revision == revision && notice.endpointSequence == endpoints)
    #expect(notice.byteCount == UInt64(image.count))
    let memory = try #require(received.descriptor)
    #expect(clinux_is_sealed(memory.number) == 1)
    #expect(clinux_file_size(memory.number) == Int64(image.count))
    var bytes = [UInt8](repeating: 0, count: image.count)
    #expect(unsafe pread(memory.number, &bytes, bytes.count, 0) == image.count)
    #expect(bytes == image)
    #expect(unsafe notice.checksum == bytes.withUnsafeBytes { unsafe imageChecksum($0) })
    #expect(ftruncate(memory.number, 0) != 0, "the image can be changed")
  }

  func expectEndpoints(_ change: EndpointChange) throws {
    #expect(try next()?.message == .endpointUpdate(EndpointUpdate(change)))
  }
}

func temporaryPath(_ name: String) -> String {
  "/tmp/sluice-\(getpid())-\(UInt32.random(in: 0 ... .max)).\(name)"
}

func change(_ revision: UInt64, _ sequence: UInt64, ports: [UInt16] = [80]) -> EndpointChange {
  EndpointChange(
    revision: revision, sequence: sequence,
    backends: [
      BackendEndpoints(
        id: "default/web:80", endpoints: ports.map { BackendEndpoint(address: "127.0.0.1", port: $0) })
    ])
}

/// A publisher that takes no data plane for gone: what a test awaits may come late where many tests share the threads.
private func patientPublisher(log: @escaping PublisherLog = { _, _ in }) throws -> Publisher {
  try Publisher(path: temporaryPath("control"), silenceMilliseconds: 3_600_000, log: log)
}

@Suite(.timeLimit(.minutes(10)))
struct PublisherTests {
  @Test func helloThenSnapshotThenAck() async throws {
    let publisher = try patientPublisher()
    defer { publisher.stop() }
    var events = publisher.events.makeAsyncIterator()
    let image = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    await publisher.publish(revision: 5, image: image)
    let plane = try FakeDataPlane(path: publisher.path)
    try plane.hello()
    try plane.expectSnapshot(5, image: image)
    #expect(await events.next() == .connected(instance: "default"))
    try plane.send(
      .ack(
        Ack(
          revision: 5, sequence: 0,
          sockets: [
            SocketStatus(address: "", port: 80, bindPort: 80, code: 13, reason: "Permission denied"),
            SocketStatus(address: "", port: 81, bindPort: 8081),
          ])))
    #expect(
      await events.next()
        == .ack(
          instance: "default", revision: 5, sequence: 0,
          sockets: [
            SocketReport(
              address: "", port: 80, bindPort: 80,
              failure: BindFailure(code: 13, reason: "Permission denied")),
            SocketReport(address: "", port: 81, bindPort: 8081),
          ]))
    try plane.send(.nack(Nack(revision: 6, sequence: 0, reason: "no")))
    #expect(await events.next() == .nack(instance: "default", revision: 6, sequence: 0, reason: "no"))
  }

  @Test func updatesFollowAndAReconnectGetsAll() async throws {
    let publisher = try patientPublisher()
    defer { publisher.stop() }
    let first = try FakeDataPlane(path: publisher.path)
    try first.hello("one")
    await publisher.publish(revision: 1, image: [1, 2, 3])
    try first.expectSnapshot(1, image: [1, 2, 3])
    await publisher.publishEndpoints(change(1, 1))
    try first.expectEndpoints(change(1, 1))
    await publisher.publishEndpoints(change(1, 2, ports: [81, 82]))
    try first.expectEndpoints(change(1, 2, ports: [81, 82]))
    // Of another snapshot: not sent.
    await publisher.publishEndpoints(change(9, 3))
    let second = try FakeDataPlane(path: publisher.path)
    try second.hello("two", revision: 1)
    try second.expectSnapshot(1, image: [1, 2, 3], endpoints: 2)
    try second.expectEndpoints(change(1, 2, ports: [81, 82]))
    await publisher.publish(revision: 2, image: [4])
    try first.expectSnapshot(2, image: [4])
    try second.expectSnapshot(2, image: [4])
  }

  @Test func nothingBeforeHelloAndAlienMessagesEnd() async throws {
    let publisher = try patientPublisher()
    defer { publisher.stop() }
    await publisher.publish(revision: 1, image: [1])
    for message in [ControlMessage.ping(1), .ack(Ack(revision: 1, sequence: 0, sockets: []))] {
      let plane = try FakeDataPlane(path: publisher.path)
      try plane.send(message)
      #expect(try plane.next() == nil)
    }
    let plane = try FakeDataPlane(path: publisher.path)
    try plane.hello()
    try plane.expectSnapshot(1, image: [1])
    try plane.send(.endpointUpdate(EndpointUpdate(revision: 1, sequence: 1, backends: [])))
    #expect(try plane.next() == nil)
  }

  @Test func malformedMessagesAreLoggedAndTheRestGoesOn() async throws {
    let lines = Mutex<[String]>([])
    let publisher = try patientPublisher { level, line in
      if level == .error { lines.withLock { $0.append(line) } }
    }
    defer { publisher.stop() }
    await publisher.publish(revision: 1, image: [1])
    let plane = try FakeDataPlane(path: publisher.path)
    try plane.hello()
    try plane.expectSnapshot(1, image: [1])
    try plane.sendRaw([2, 0, 0, 0, 1, 0, 4, 0, 9, 9])
    try plane.send(.ping(77))
    #expect(try plane.next()?.message == .pong(77))
    #expect(lines.withLock { $0 } == ["data plane default: control message ends within ack.revision"])
    try plane.sendRaw([2, 0, 0, 0, 9, 0, 4, 0])
    #expect(try plane.next() == nil)
  }

  @Test func theSameInstanceReplacesItself() async throws {
    let publisher = try patientPublisher()
    defer { publisher.stop() }
    var events = publisher.events.makeAsyncIterator()
    let old = try FakeDataPlane(path: publisher.path)
    try old.hello()
    #expect(await events.next() == .connected(instance: "default"))
    let new = try FakeDataPlane(path: publisher.path)
    try new.hello()
    #expect(await events.next() == .disconnected(instance: "default"))
    #expect(await events.next() == .connected(instance: "default"))
    #expect(try old.next() == nil)
  }

  @Test func aDataPlaneThatSaysNothingIsGone() async throws {
    let publisher = try Publisher(path: temporaryPath("control"), silenceMilliseconds: 300)
    defer { publisher.stop() }
    var events = publisher.events.makeAsyncIterator()
    let plane = try FakeDataPlane(path: publisher.path)
    try plane.hello()
    #expect(await events.next() == .connected(instance: "default"))
    #expect(await events.next() == .disconnected(instance: "default"))
    #expect(try plane.next() == nil)
  }

  @Test func slowReaderGetsTheNewestOnly() async throws {
    let publisher = try patientPublisher()
    defer { publisher.stop() }
    let plane = try FakeDataPlane(path: publisher.path)
    try plane.hello()
    await publisher.publish(revision: 1, image: [1])
    try plane.expectSnapshot(1, image: [1])
    // More than a socket holds: the first one stays half sent for as long as nobody reads.
    let ports = [UInt16](1...20_000)
    let last: UInt64 = 8
    await publisher.publishEndpoints(change(1, 1, ports: ports))
    #expect(plane.hasInput(within: 20_000))
    for sequence in 2...last {
      await publisher.publishEndpoints(change(1, sequence, ports: ports))
    }
    var seen: [UInt64] = []
    while seen.last != last, let received = try plane.next() {
      if case .endpointUpdate(let update) = received.message { seen.append(update.sequence) }
    }
    #expect(seen.first == 1 && seen.last == last && seen.count < last && seen == seen.sorted(), "\(seen)")
  }

  @Test func theFileAndItsMode() async throws {
    let path = temporaryPath("control")
    let publisher = try Publisher(path: path)
    #expect(unsafe clinux_is_socket(path) == 1)
    var status = stat()
    #expect(unsafe lstat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    let error = #expect(throws: PublisherError.self) { _ = try Publisher(path: path) }
    #expect(error?.reason == "another controller listens here")
    publisher.stop()
    for await _ in publisher.events {}
    #expect(unsafe clinux_is_socket(path) == 0)
    // What a killed process leaves is taken over.
    let stale = clinux_unix_socket()
    #expect(unsafe clinux_unix_bind(stale, path) == 0)
    close(stale)
    let next = try Publisher(path: path)
    next.stop()
    #expect(throws: PublisherError.self) { _ = try Publisher(path: "/nonexistent/control") }
    #expect(throws: PublisherError.self) {
      _ = try Publisher(path: "/tmp/" + String(repeating: "x", count: 120))
    }
  }
}
