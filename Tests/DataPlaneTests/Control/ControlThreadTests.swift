import CLinux
import ControlProtocol
import RoutingTable
import Telemetry
import Testing

@testable import DataPlane

func endpoints(_ port: UInt16) -> [EndpointUpdate.Backend] {
  [
    .init(
      id: "default/web:80",
      endpoints: [
        Endpoint(address: "127.0.0.1", port: port, weight: 1, isReady: true, isTerminating: false)
      ])
  ]
}

@Suite(.timeLimit(.minutes(10)))
struct ControlThreadTests {
  @Test func helloSnapshotAck() throws {
    let bench = try Bench()
    let hello = try #require(try bench.connect())
    #expect(hello.role == "dataplane" && hello.lastRevision == 0 && hello.lastChecksum == 0)
    #expect(try bench.get("/ready").hasPrefix("HTTP/1.1 503 "))
    bench.fleet.adoptsAtOnce = false
    bench.fleet.sockets = [
      SocketStatus(address: "", port: 80, bindPort: 8080, code: 13, reason: "Permission denied")
    ]
    let image = try testImage(revision: 4)
    try bench.controller.send(image: image, revision: 4)
    try bench.turn { bench.fleet.published.count == 1 }
    #expect(unsafe Array(bench.fleet.published[0].image.bytes) == image)
    // No ack and not ready before every worker adopted it.
    for _ in 0..<10 { bench.thread.turn(mostMilliseconds: 1) }
    #expect(try bench.controller.received() == [])
    #expect(try bench.get("/ready").hasPrefix("HTTP/1.1 503 "))
    bench.fleet.adopt()
    #expect(
      try bench.message() == .ack(Ack(revision: 4, sequence: 0, sockets: bench.fleet.sockets)))
    #expect(try bench.get("/ready").hasPrefix("HTTP/1.1 200 OK\r\n"))
    #expect(bench.fleet.collected > 0)
    #expect(bench.log().contains { $0.contains("listener *:80 on port 8080: Permission denied") })
  }

  @Test func endpointUpdates() throws {
    let bench = try Bench()
    _ = try bench.connect()
    try bench.controller.send(image: testImage(revision: 1), revision: 1)
    #expect(try bench.message() == .ack(Ack(revision: 1, sequence: 0, sockets: bench.fleet.sockets)))
    try bench.controller.send(
      .endpointUpdate(EndpointUpdate(revision: 1, sequence: 1, backends: endpoints(81))))
    #expect(try bench.message() == .ack(Ack(revision: 1, sequence: 1, sockets: bench.fleet.sockets)))
    #expect(bench.fleet.published.last?.changes == endpoints(81))
    #expect(bench.fleet.published[0].image === bench.fleet.published[1].image)
    // Of another snapshot.
    try bench.controller.send(.endpointUpdate(EndpointUpdate(revision: 2, sequence: 1, backends: [])))
    guard case .nack(let nack)? = try bench.message() else {
      Issue.record("no nack")
      return
    }
    #expect(nack.revision == 2 && nack.sequence == 1 && nack.reason.contains("not the one in use"))
    #expect(bench.fleet.published.count == 2)
  }

  @Test func announcedEndpointsComeTogetherWithTheImage() throws {
    let bench = try Bench()
    _ = try bench.connect()
    try bench.controller.send(image: testImage(revision: 1), revision: 1, endpoints: 7)
    for _ in 0..<5 { bench.thread.turn(mostMilliseconds: 1) }
    #expect(bench.fleet.published.isEmpty)
    try bench.controller.send(
      .endpointUpdate(EndpointUpdate(revision: 1, sequence: 7, backends: endpoints(90))))
    #expect(try bench.message() == .ack(Ack(revision: 1, sequence: 7, sockets: bench.fleet.sockets)))
    #expect(bench.fleet.published.count == 1 && bench.fleet.published[0].changes == endpoints(90))
  }

  @Test func aReconnectWithTheSameSwapsNothing() throws {
    let bench = try Bench()
    _ = try bench.connect()
    let image = try testImage(revision: 1)
    try bench.controller.send(image: image, revision: 1)
    _ = try bench.message()
    try bench.controller.send(
      .endpointUpdate(EndpointUpdate(revision: 1, sequence: 3, backends: endpoints(81))))
    _ = try bench.message()
    bench.controller.drop()
    let hello = try #require(try bench.connect())
    #expect(hello.lastRevision == 1 && hello.lastChecksum == bench.fleet.published[0].image.checksum)
    try bench.controller.send(image: image, revision: 1, endpoints: 1)
    try bench.controller.send(
      .endpointUpdate(EndpointUpdate(revision: 1, sequence: 1, backends: endpoints(81))))
    #expect(try bench.message() == .ack(Ack(revision: 1, sequence: 1, sockets: bench.fleet.sockets)))
    #expect(bench.fleet.published.count == 2)
    // Its own endpoints again are a change.
    try bench.controller.send(image: image, revision: 1)
    #expect(try bench.message() == .ack(Ack(revision: 1, sequence: 0, sockets: bench.fleet.sockets)))
    #expect(bench.fleet.published.count == 3 && bench.fleet.published[2].changes == [])
  }

  static let refusals: [(String, String)] = [
    ("no descriptor", "without its image's descriptor"), ("not sealed", "not a sealed memfd"),
    ("wrong size", "were announced"), ("wrong checksum", "checksum"), ("not an image", "routing image"),
    ("not a file", "not a sealed memfd"), ("load", "regular expression"), ("message", "ends within"),
    ("alien", "only the data plane sends"),
  ]

  @Test(arguments: refusals)
  func whatIsMalformedIsRefusedAndTheOldServes(_ what: String, _ reason: String) throws {
    let bench = try Bench()
    _ = try bench.connect()
    let good = try testImage(revision: 1)
    try bench.controller.send(image: good, revision: 1)
    _ = try bench.message()
    _ = bench.log()
    let next = try testImage(revision: 2)
    let checksum = unsafe next.withUnsafeBytes { unsafe imageChecksum($0) }
    var notice = SnapshotNotice(
      revision: 2, byteCount: UInt64(next.count), checksum: checksum, endpointSequence: 0)
    var isUnnamed = false
    switch what {
    case "no descriptor": try bench.controller.send(.snapshot(notice))
    case "not sealed": try bench.controller.send(image: next, revision: 2, isSealed: false)
    case "wrong size":
      notice.byteCount += 1
      try bench.controller.send(.snapshot(notice), descriptor: bench.controller.memory(next))
    case "wrong checksum":
      notice.checksum ^= 1
      try bench.controller.send(.snapshot(notice), descriptor: bench.controller.memory(next))
    case "not an image":
      try bench.controller.send(image: [UInt8](repeating: 7, count: 4096), revision: 2)
    case "not a file":
      let pair = OwnedDescriptor(eventfd(0, 0))
      try bench.controller.send(.snapshot(notice), descriptor: pair)
    case "load":
      bench.fleet.refusal = "rule x: regular expression \"(\" is malformed"
      try bench.controller.send(image: next, revision: 2)
    case "message":
      isUnnamed = true
      try bench.controller.sendRaw([1, 0, 0, 0, 1, 0, 2, 0, 9])
    default:
      isUnnamed = true
      try bench.controller.send(.nack(Nack(revision: 1, sequence: 1, reason: "?")))
    }
    guard case .nack(let nack)? = try bench.message() else {
      Issue.record("no nack")
      return
    }
    #expect(nack.revision == (isUnnamed ? 0 : 2))
    #expect(nack.reason.contains(reason), "\(nack.reason)")
    #expect(bench.log().contains { $0.hasPrefix("error") && $0.contains(reason) })
    #expect(bench.fleet.published.map(\.revision) == [1])
    #expect(try bench.get("/ready").hasPrefix("HTTP/1.1 200 "))
    // And the connection goes on.
    bench.fleet.refusal = nil
    try bench.controller.send(image: testImage(revision: 3), revision: 3)
    #expect(try bench.message() == .ack(Ack(revision: 3, sequence: 0, sockets: bench.fleet.sockets)))
  }

  @Test func framingErrorsEndTheConnectionAndItComesBack() throws {
    let bench = try Bench()
    _ = try bench.connect()
    try bench.controller.sendRaw([0, 0, 0, 0, 9, 0, 2, 0])
    guard case .nack(let nack)? = try bench.message() else {
      Issue.record("no nack")
      return
    }
    #expect(nack.reason.contains("version 9"))
    #expect(try bench.message() == nil)
    #expect(try bench.connect() != nil)
  }

  @Test func updateOfARefusedSnapshotInOneRead() throws {
    let bench = try Bench()
    _ = try bench.connect()
    try bench.controller.send(image: testImage(revision: 1), revision: 1)
    _ = try bench.message()
    bench.fleet.refusal = "no"
    try bench.controller.send(image: testImage(revision: 2), revision: 2)
    try bench.controller.send(
      .endpointUpdate(EndpointUpdate(revision: 2, sequence: 1, backends: endpoints(9))))
    for _ in 0..<2 {
      guard case .nack(let nack)? = try bench.message() else {
        Issue.record("no nack")
        return
      }
      #expect(nack.revision == 2)
    }
    #expect(bench.fleet.published.count == 1)
  }

  @Test func startsFromDiskWithoutAController() throws {
    let directory = TemporaryDirectory()
    let image = try testImage(revision: 8)
    do {
      let bench = try Bench(directory: directory)
      _ = try bench.connect()
      try bench.controller.send(image: image, revision: 8)
      _ = try bench.message()
      try bench.controller.send(
        .endpointUpdate(EndpointUpdate(revision: 8, sequence: 2, backends: endpoints(81))))
      _ = try bench.message()
      let file = try SnapshotFile(directory: directory.path + "/state")
      try bench.turn { file.load().update != nil }
    }
    unsafe unlink(directory.path + "/control")
    unsafe unlink(directory.path + "/admin")
    let bench = try Bench(directory: directory)
    #expect(bench.fleet.published.map(\.revision) == [8])
    #expect(bench.fleet.published[0].changes == endpoints(81))
    #expect(unsafe Array(bench.fleet.published[0].image.bytes) == image)
    bench.thread.turn(mostMilliseconds: 1)
    #expect(try bench.get("/ready").hasPrefix("HTTP/1.1 200 "))
    #expect(try bench.get("/config").contains("\"source\":\"disk\""))
  }

  @Test func bindingIsTriedAgainOnlyWhereThatHelps() throws {
    let bench = try Bench()
    _ = try bench.connect()
    bench.fleet.sockets = [
      SocketStatus(address: "", port: 80, bindPort: 80, code: EADDRINUSE, reason: "in use")
    ]
    try bench.controller.send(image: testImage(revision: 1), revision: 1)
    _ = try bench.message()
    bench.fleet.sockets = [SocketStatus(address: "", port: 80, bindPort: 80)]
    guard case .ack(let ack)? = try bench.message() else {
      Issue.record("no second ack")
      return
    }
    #expect(ack.sockets == bench.fleet.sockets && bench.fleet.published.count == 2)
  }

  @Test func drainEndsWhenTheWorkersHave() throws {
    let bench = try Bench()
    _ = try bench.connect()
    try bench.controller.send(image: testImage(revision: 1), revision: 1)
    _ = try bench.message()
    bench.thread.beginDrain(clinux_monotonic_nanoseconds() / 1_000_000)
    #expect(bench.fleet.drainMilliseconds == 60_000)
    #expect(try bench.get("/ready").hasPrefix("HTTP/1.1 503 "))
    #expect(bench.thread.exitCode == nil)
    bench.fleet.isDrained = true
    #expect(bench.thread.run() == 0)
    #expect(unsafe clinux_is_socket(bench.directory.path + "/admin") == 0)
  }

  @Test func secondSignalEndsAtOnce() throws {
    let bench = try Bench()
    bench.thread.beginDrain(0)
    bench.thread.beginDrain(0)
    #expect(bench.thread.exitCode == 1)
  }
}

@Suite(.timeLimit(.minutes(10)))
struct AdminServerTests {
  @Test func answers() throws {
    let bench = try Bench()
    _ = try bench.connect()
    bench.fleet.counters[1].add(.requestsHTTP1, 3)
    try bench.controller.send(image: testImage(revision: 5), revision: 5)
    _ = try bench.message()
    #expect(try bench.get("/live").hasSuffix("\r\n\r\nlive\n"))
    let metrics = try bench.get("/metrics")
    for line in [
      "sluice_requests_total{protocol=\"http1\"} 3", "sluice_ready 1", "sluice_configuration_revision 5",
      "sluice_controller_connected 1", "sluice_listening_sockets{state=\"bound\"} 1", "sluice_workers 2",
    ] { #expect(metrics.contains("\n\(line)\n"), "\(line)") }
    #expect(AdminView.residentBytes() ?? 0 > 1 << 20)
    #expect(try bench.get("/config").contains("\"revision\":5,"))
    #expect(try bench.get("/connections").contains("{\"worker\":1,\"downstreamConnections\":0"))
    #expect(try bench.get("/none").hasPrefix("HTTP/1.1 404 "))
    #expect(try bench.admin("POST /ready HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 405 "))
    let head = try bench.admin("HEAD /live HTTP/1.1\r\n\r\n")
    #expect(head.contains("content-length: 5\r\n") && head.hasSuffix("\r\n\r\n"))
  }

  @Test(arguments: ["\r\n\r\n", "GET\r\n\r\n", "GET /\u{1} HTTP/1.1\r\n\r\n", "GET / SPDY/1\r\n\r\n"])
  func malformed(_ request: String) throws {
    #expect(try Bench().admin(request).hasPrefix("HTTP/1.1 400 "))
  }

  @Test func tooLongAHead() throws {
    let request = "GET / HTTP/1.1\r\nx: " + String(repeating: "a", count: 9000)
    #expect(try Bench().admin(request).hasPrefix("HTTP/1.1 400 "))
  }

  @Test func tunnel() throws {
    let bench = try Bench()
    let client = try bench.connectAdmin()
    try bench.send(client, "CONNECT 80 HTTP/1.1\r\nHost: sluice\r\n\r\n")
    try bench.turn { bench.fleet.handedOver.count == 1 }
    let (worker, port) = bench.fleet.handedOver[0]
    #expect(port == 80)
    var bytes = [UInt8](repeating: 0, count: 64)
    let count = unsafe recv(client.number, &bytes, 64, 0)
    #expect(String(decoding: bytes[..<count], as: UTF8.self) == "HTTP/1.1 200 OK\r\n\r\n")
    // The two ends are one connection now, and the main thread holds nothing of it.
    try bench.send(client, "ping")
    #expect(unsafe recv(worker.number, &bytes, 64, 0) == 4)
    for _ in 0..<3 { bench.thread.turn(mostMilliseconds: 1) }
    try bench.send(worker, "pong!")
    #expect(unsafe recv(client.number, &bytes, 64, 0) == 5)
  }

  @Test func tunnelsThatAreRefused() throws {
    let bench = try Bench()
    _ = try bench.connect()
    try bench.controller.send(image: testImage(revision: 5), revision: 5)
    _ = try bench.message()
    let missing = try bench.admin("CONNECT 81 HTTP/1.1\r\n\r\n")
    #expect(missing.hasPrefix("HTTP/1.1 404 "))
    #expect(missing.hasSuffix("no listener has port 81; there are: 80\n"))
    #expect(try bench.admin("CONNECT x HTTP/1.1\r\n\r\n").hasPrefix("HTTP/1.1 400 "))
    #expect(try bench.admin("CONNECT 80 HTTP/1.1\r\n\r\nGET").hasPrefix("HTTP/1.1 400 "))
    let view = try bench.get("/config")
    #expect(view.contains("\"ready\":true"))
    let port = bench.thread.adminPort
    #expect(try bench.admin("GET /ready HTTP/1.1\r\n\r\n", port: port).hasPrefix("HTTP/1.1 200 "))
    #expect(try bench.admin("CONNECT 80 HTTP/1.1\r\n\r\n", port: port).hasPrefix("HTTP/1.1 403 "))
    #expect(bench.fleet.handedOver.isEmpty)
  }

  @Test func connectionLimitAndMode() throws {
    let bench = try Bench(maxAdminConnections: 2)
    let clients = [try bench.connectAdmin(), try bench.connectAdmin()]
    bench.thread.turn(mostMilliseconds: 5)
    #expect(try bench.get("/live") == "")
    try bench.send(clients[0], "GET /live HTTP/1.1\r\n\r\n")
    for _ in 0..<3 { bench.thread.turn(mostMilliseconds: 5) }
    let metrics = try bench.get("/metrics")
    #expect(metrics.contains("\nsluice_limit_hits_total{limit=\"max-admin-connections\"} 1\n"))
    #expect(bench.log().filter { $0.contains("limit max-admin-connections (2) reached") }.count == 1)
    #expect(!metrics.contains("worker=\"2\""))
    var status = stat()
    #expect(unsafe lstat(bench.directory.path + "/admin", &status) == 0 && status.st_mode & 0o777 == 0o600)
    #expect(throws: AdminError.self) { try Bench(directory: bench.directory, controller: bench.controller) }
  }
}

struct SnapshotFileTests {
  @Test func damageIsReportedAndSetAside() throws {
    let directory = TemporaryDirectory()
    let file = try SnapshotFile(directory: directory.path + "/state")
    #expect(file.load().image == nil && file.load().problems == [])
    let bytes = try testImage(revision: 3)
    let sum = unsafe bytes.withUnsafeBytes { unsafe imageChecksum($0) }
    let image = try MappedImage(
      copying: bytes,
      notice: SnapshotNotice(revision: 3, byteCount: UInt64(bytes.count), checksum: sum, endpointSequence: 0))
    let path = directory.path + "/state/snapshot.image"
    // Every 7th byte, and every kind of truncation near the borders.
    var damages = Array(stride(from: 0, to: bytes.count + 56, by: 7)).map { (cut: false, at: $0) }
    damages += [0, 1, 55, 56, 57, bytes.count + 55].map { (cut: true, at: $0) }
    for (cut, at) in damages {
      try file.save(image)
      if cut {
        #expect(unsafe truncate(path, at) == 0)
      } else {
        let source = unsafe clinux_open_read(path)
        var whole = [UInt8](repeating: 0, count: bytes.count + 56)
        #expect(unsafe read(source, &whole, whole.count) == whole.count)
        close(source)
        whole[at] ^= 0x10
        let target = unsafe clinux_open_create(path)
        #expect(unsafe write(target, whole, whole.count) == whole.count)
        close(target)
      }
      let loaded = file.load()
      #expect(loaded.image == nil && loaded.problems.count == 1, "\(cut ? "cut" : "bit") at \(at)")
      #expect(loaded.problems.first?.hasSuffix("kept as \(path).corrupt") == true)
      #expect(file.load().problems == [])
    }
    try file.save(image)
    var status = stat()
    #expect(unsafe lstat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    #expect(file.load().image?.checksum == image.checksum)
  }

  @Test func endpointsOfAnotherImageAreIgnored() throws {
    let directory = TemporaryDirectory()
    let file = try SnapshotFile(directory: directory.path + "/state")
    func image(_ revision: UInt64) throws -> MappedImage {
      let bytes = try testImage(revision: revision)
      let sum = unsafe bytes.withUnsafeBytes { unsafe imageChecksum($0) }
      return try MappedImage(
        copying: bytes,
        notice: SnapshotNotice(
          revision: revision, byteCount: UInt64(bytes.count), checksum: sum, endpointSequence: 0))
    }
    let first = try image(1)
    let update = EndpointUpdate(revision: 1, sequence: 4, backends: endpoints(81))
    try file.save(first)
    try file.save(update, of: first)
    #expect(file.load().update == update)
    try file.save(try image(2))
    #expect(file.load().update == nil && file.load().problems == [])
    try file.save(first)
    #expect(file.load().update == update)
    try file.save(EndpointUpdate(revision: 1, sequence: 5, backends: []), of: first)
    #expect(file.load().update == nil)
  }

  @Test func directoryThatCannotBe() {
    #expect(throws: SnapshotFileError.self) { try SnapshotFile(directory: "/nonexistent/state") }
    #expect(throws: SnapshotFileError.self) { try SnapshotFile(directory: "/dev/null") }
  }
}

struct DataPlaneArgumentsTests {
  @Test func wholeLine() throws {
    let arguments = try DataPlaneArguments(
      [
        "--control", "/run/c", "--state-dir=/var/s", "--admin", "/run/a", "--admin-port", "0.0.0.0:15000",
        "--workers", "3", "--engine", "epoll", "--access-log", "-", "--limit", "idle-timeout=5m",
        "--limit=max-pings=7", "--drain-timeout", "9s", "--log-level", "debug", "--instance", "x",
      ], debug: "http1,http2")
    #expect(arguments.control.controlPath == "/run/c" && arguments.control.stateDirectory == "/var/s")
    #expect(arguments.control.adminPath == "/run/a" && arguments.control.instance == "x")
    #expect(arguments.control.adminPort == .init(address: 0, port: 15000))
    #expect(arguments.workers == 3 && arguments.engine == .epoll && arguments.debugHTTP2)
    #expect(arguments.accessLogPath == "-" && arguments.control.log.level == .debug)
    #expect(arguments.control.limits.idleTimeout == 300_000 && arguments.control.limits.maxPings == 7)
    #expect(arguments.control.limits.drainTimeout == 9000)
  }

  @Test(arguments: [
    (["--nope"], "unknown argument --nope"), (["--workers"], "a value is missing"),
    (["--workers", "0"], "expected a number"), (["--engine", "kqueue"], "auto, uring, epoll"),
    (["--admin-port", "70000"], "expected PORT"), (["--admin-port", "::1:80"], "expected PORT"),
    (["--limit", "x=1"], "is not known"), (["--limit", "buffer-low-water=1MiB"], "must be below"),
    (["--log-level", "loud"], "expected debug"), (["run"], "unknown argument run"),
  ])
  func refused(_ line: [String], _ part: String) {
    let error = #expect(throws: ArgumentError.self) { try DataPlaneArguments(line) }
    #expect(error?.description.contains(part) == true, "\(error?.description ?? "")")
  }

  @Test func helpNamesEveryLimit() {
    for limit in Limit.allCases { #expect(DataPlaneArguments.limitsHelp.contains("  \(limit.name) ")) }
  }
}
