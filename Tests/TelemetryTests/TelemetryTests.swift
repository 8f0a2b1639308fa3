import CLinux
import Testing

@testable import Telemetry

struct CounterTests {
  @Test func indicesFollowTheDeclaration() {
    for (index, counter) in Counter.allCases.enumerated() { #expect(counter.index == index) }
    for (index, limit) in Limit.allCases.enumerated() { #expect(limit.index == index) }
    // What a `CounterBlock` has room for.
    #expect(Counter.count <= 128 && Limit.count <= 128)
  }

  @Test func descriptionsAreUniqueAndGrouped() {
    var seen: Set<String> = []
    var families: [String] = []
    for counter in Counter.allCases {
      let description = counter.description
      #expect(seen.insert("\(description.family){\(description.labels)}").inserted, "\(counter)")
      #expect(description.kind == .gauge || "\(description.family)".hasSuffix("_total"), "\(counter)")
      if families.last != "\(description.family)" { families.append("\(description.family)") }
    }
    // Samples of a family stand together, as the exposition format wants.
    #expect(Set(families).count == families.count)
  }

  @Test func blockCounts() {
    let block = CounterBlock.allocate()
    defer { block.deallocate() }
    block.add(.requestsActive)
    block.add(.requestsActive, 4)
    block.subtract(.requestsActive, 2)
    block.add(.accessLogLinesDropped)
    block.hit(.maxAdminConnections)
    for status in [100, 200, 299, 301, 404, 500, 503] { block.addResponse(status: status) }
    #expect(block.value(.requestsActive) == 3)
    #expect(block.value(.accessLogLinesDropped) == 1)
    #expect(block.hits(of: .maxAdminConnections) == 1)
    #expect(block.hits(of: .maxConnections) == 0)
    #expect(block.value(.responses2xx) == 2 && block.value(.responses5xx) == 2)
  }

  @Test func bucketsMatchTheirBounds() {
    for microseconds in DurationBuckets.bounds.flatMap({ [$0 - 1, $0, $0 + 1] }) + [0, .max] {
      let wanted = DurationBuckets.bounds.firstIndex { microseconds <= $0 } ?? 14
      #expect(DurationBuckets.bucket(microseconds) == wanted, "\(microseconds)")
    }
  }

  @Test func metricsText() {
    let blocks = [CounterBlock.allocate(), CounterBlock.allocate()]
    defer { for block in blocks { block.deallocate() } }
    blocks[0].add(.requestsHTTP2, 3)
    blocks[1].add(.requestsHTTP2, 4)
    blocks[1].add(.requestsActive, 1)
    blocks[0].subtract(.requestsActive, 1)
    blocks[0].hit(.maxHeadBytes)
    blocks[0].observeRequest(microseconds: 700)
    blocks[1].observeRequest(microseconds: 20_000_000)
    var metrics = MetricsText()
    metrics.workers(blocks)
    let lines = metrics.text.split(separator: "\n").map(String.init)
    for line in [
      "sluice_requests_total{protocol=\"http2\"} 7", "sluice_requests_active 0",
      "sluice_limit_hits_total{limit=\"max-head-bytes\"} 1",
      "sluice_request_duration_seconds_bucket{le=\"0.0005\"} 0",
      "sluice_request_duration_seconds_bucket{le=\"0.001\"} 1",
      "sluice_request_duration_seconds_bucket{le=\"10\"} 1",
      "sluice_request_duration_seconds_bucket{le=\"+Inf\"} 2",
      "sluice_request_duration_seconds_sum 20.0007", "sluice_request_duration_seconds_count 2",
      "sluice_worker_requests_total{worker=\"1\"} 4",
    ] { #expect(lines.contains(line), "\(line)") }
    // TYPE once a family.
    let types = lines.filter { $0.hasPrefix("# TYPE") }
    #expect(Set(types).count == types.count)
  }
}

struct LimitsTests {
  @Test func namesAreUniqueAndDefaultsInRange() throws {
    let defaults = Limits()
    #expect(Set(Limit.allCases.map { "\($0.name)" }).count == Limit.count)
    for limit in Limit.allCases {
      #expect(limit.definition.range.contains(defaults[limit]), "\(limit)")
    }
    try defaults.validate()
  }

  @Test func everyLimitCanBeSetAndIsItsOwn() throws {
    for limit in Limit.allCases {
      var limits = Limits()
      let value = limits[limit] + 1
      try limits.set("\(limit.name)=\(value)")
      #expect(limits[limit] == value, "\(limit)")
      var changed = 0
      for other in Limit.allCases where limits[other] != Limits()[other] { changed += 1 }
      #expect(changed == 1, "\(limit)")
    }
  }

  @Test(arguments: [
    ("max-head-bytes=32KiB", Limit.maxHeadBytes, 32_768), ("stream-window=1MiB", .streamWindow, 1 << 20),
    ("idle-timeout=2h", .idleTimeout, 7_200_000), ("idle-timeout=0", .idleTimeout, 0),
    ("drain-timeout=500ms", .drainTimeout, 500), ("drain-timeout=3m", .drainTimeout, 180_000),
    ("max-concurrent-streams=7", .maxConcurrentStreams, 7),
  ])
  func values(_ text: String, _ limit: Limit, _ value: Int) throws {
    var limits = Limits()
    try limits.set(text)
    #expect(limits[limit] == value)
  }

  @Test(arguments: [
    ("max-head-bytes", "expected name=value"), ("max-heads=1", "is not known"),
    ("max-head-bytes=ten", "is not a number of bytes"), ("max-head-bytes=1s", "is not a number of bytes"),
    ("idle-timeout=1KiB", "is not a time"), ("max-head-bytes=-5", "is not"), ("max-head-bytes=1", "outside"),
    ("stream-window=4GiB", "outside"), ("max-head-bytes=99999999999999999999", "is not"),
    ("idle-timeout=999999999999999999h", "is not"), ("max-header-fields=0", "outside"),
  ])
  func refused(_ text: String, _ part: String) {
    var limits = Limits()
    let error = #expect(throws: LimitError.self) { try limits.set(text) }
    #expect(error?.description.contains(part) == true, "\(error?.description ?? "")")
    #expect(limits == Limits())
  }

  @Test func valuesThatDisagree() throws {
    var limits = Limits()
    try limits.set("buffer-low-water=64KiB")
    #expect(throws: LimitError.self) { try limits.validate() }
    limits = Limits()
    try limits.set("max-head-bytes=1KiB")
    #expect(throws: LimitError.self) { try limits.validate() }
  }
}

struct AccessLogTests {
  func line(_ record: AccessLogRecord, capacity: Int = 4096) -> String {
    var bytes = [UInt8](repeating: 0, count: capacity)
    let count = unsafe bytes.withUnsafeMutableBufferPointer { buffer in
      unsafe record.format(into: buffer.baseAddress!, capacity: capacity)
    }
    return String(decoding: bytes[..<count], as: UTF8.self)
  }

  @Test func wholeRecord() {
    let path: [UInt8] = Array("/a\"b\\c\n\u{1}é".utf8) + [0xFF, 0xC0, 0x80]
    unsafe path.withUnsafeBufferPointer { bytes in
      var record = AccessLogRecord()
      record.startNanoseconds = 1_772_582_399_000_001_999
      record.durationMicroseconds = 1234
      record.requestProtocol = .http2
      record.isTLS = true
      record.target = unsafe LogText(bytes.baseAddress, bytes.count)
      record.status = 503
      record.grpcStatus = 14
      record.responseBytes = 10
      record.flags = [.noHealthyEndpoint, .retried]
      #expect(
        line(record) == """
          {"time":"2026-03-03T23:59:59.000001Z","duration_us":1234,"protocol":"HTTP/2","tls":true,\
          "path":"/a\\"b\\\\c\\u000a\\u0001é\u{FFFD}\u{FFFD}\u{FFFD}","status":503,"grpc_status":14,\
          "bytes_in":0,"bytes_out":10,"flags":["no_healthy_endpoint","retried"]}

          """)
    }
  }

  @Test func tooSmall() {
    let whole = line(AccessLogRecord()).utf8.count
    for capacity in 1..<whole { #expect(line(AccessLogRecord(), capacity: capacity) == "") }
    #expect(line(AccessLogRecord(), capacity: whole).utf8.count == whole)
  }

  @Test func calendar() {
    #expect(CivilDate(daysSince1970: 0).day == 1 && CivilDate(daysSince1970: 0).year == 1970)
    let leap = CivilDate(daysSince1970: 19_782)
    #expect(leap.year == 2024 && leap.month == 2 && leap.day == 29)
    let end = CivilDate(daysSince1970: 20_453)
    #expect(end.year == 2025 && end.month == 12 && end.day == 31)
  }

  @Test func flagNames() {
    let names = (0..<ResponseFlags.count).map { "\(ResponseFlags.name(ofBit: $0))" }
    #expect(Set(names).count == names.count && !names.contains("unknown"))
  }

  @Test func bufferWritesAndCounts() throws {
    let file = "/tmp/sluice-access-\(getpid())-\(UInt64.random(in: 0 ... .max)).log"
    defer { unsafe unlink(file) }
    let log = try AccessLog(path: file)
    let counters = CounterBlock.allocate()
    defer { counters.deallocate() }
    var buffer = AccessLogBuffer(descriptor: log.descriptor)
    defer { buffer.deallocate() }
    for _ in 0..<2000 { buffer.append(AccessLogRecord(), counters: counters) }
    buffer.flush(counters: counters)
    unsafe rename(file, file + ".1")
    defer { unsafe unlink(file + ".1") }
    try log.reopen()
    buffer.append(AccessLogRecord(), counters: counters)
    buffer.flush(counters: counters)
    #expect(counters.value(.accessLogLines) == 2001 && counters.value(.accessLogLinesDropped) == 0)
    let one = line(AccessLogRecord()).utf8.count
    let new = unsafe clinux_open_read(file)
    let old = unsafe clinux_open_read(file + ".1")
    #expect(clinux_file_size(new) == one && clinux_file_size(old) == 2000 * one)
    close(new)
    close(old)
    close(log.descriptor)
  }

  @Test func aPipeThatNobodyReadsCostsLinesNotTime() throws {
    var ends: [Int32] = [0, 0]
    #expect(unsafe pipe(&ends) == 0)
    defer { for end in ends { close(end) } }
    let counters = CounterBlock.allocate()
    defer { counters.deallocate() }
    var buffer = AccessLogBuffer(descriptor: ends[1])
    defer { buffer.deallocate() }
    for _ in 0..<5000 { buffer.append(AccessLogRecord(), counters: counters) }
    buffer.flush(counters: counters)
    #expect(counters.value(.accessLogLinesDropped) > 1000)
    #expect(counters.value(.accessLogLinesDropped) + counters.value(.accessLogLines) == 5000)
  }

  @Test func unwritablePath() {
    let error = #expect(throws: AccessLogError.self) { try AccessLog(path: "/nonexistent/x.log") }
    #expect(error?.description == "access log /nonexistent/x.log: No such file or directory")
  }
}
