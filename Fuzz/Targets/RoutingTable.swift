import Glibc
import HTTP1
import HTTPSemantics
@testable import RoutingTable

/// The verifier on any bytes (length and checksum are repaired, or nothing would get past them), and every reader
/// on what it accepts.
func fuzzRoutingImage(_ input: Input) -> Int32 {
  guard input.count >= ImageFormat.headerLength else { return 0 }
  let size = input.count & ~(ImageFormat.alignment - 1)
  let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: ImageFormat.alignment)
  defer { memory.deallocate() }
  memory.copyMemory(from: input.start, byteCount: size)
  memory.storeBytes(of: UInt64(size), toByteOffset: 16, as: UInt64.self)
  let view = UnsafeRawBufferPointer(start: memory, count: size)
  memory.storeBytes(
    of: ImageChecksum.of(view), toByteOffset: ImageFormat.checksumOffset, as: UInt64.self)
  do throws(ImageError) {
    try verify(view)
    let regexes = try LoadedRegexes(verified: memory, count: size)
    read(RoutingImage(verified: memory, count: size, regexes: regexes.pointers))
  } catch {
    check(!error.message.isEmpty, "an error without a message")
  }
  return 0
}

private let requests: [StaticString] = [
  "GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
  "GET /foo/bar?q=1&p=a%20b HTTP/1.1\r\nHost: www.test:8080\r\nX-A: 1\r\nx-b: abc\r\n\r\n",
  "POST /v1/items HTTP/1.1\r\nHost: EXAMPLE.com.\r\nContent-Length: 0\r\nContent-Type: application/grpc\r\n\r\n",
  "OPTIONS * HTTP/1.1\r\nHost: [::1]\r\n\r\n",
  "GET /a HTTP/1.0\r\n\r\n",
]

private func read(_ image: RoutingImage) {
  let capacity = 4096
  let room = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
  defer { room.deallocate() }
  var sum = 0
  for index in 0..<min(image.socketCount, 8) {
    let socket = image.socket(index)
    for binding in 0..<socket.tlsBindingCount {
      let binding = socket.tlsBinding(binding)
      for name in 0..<binding.nameCount { sum &+= total(binding.name(name)) }
      sum &+= total(image.certificate(binding.certificate).keyPEM)
    }
    for listener in socket.listeners {
      let listener = image.listener(listener)
      sum &+= total(listener.name) &+ total(listener.hostname)
      for host in listener.virtualHosts { sum &+= total(image.virtualHost(host).pattern) }
    }
    for request in requests { sum &+= ask(image, index, request, room, capacity) }
  }
  for index in 0..<image.backendCount {
    let backend = image.backend(index)
    for endpoint in 0..<backend.endpointCount { sum &+= total(backend.endpoint(endpoint).address) }
  }
  for index in 0..<image.ruleCount { sum &+= walk(image.rule(Int32(index))) }
  blackHole(sum)
}

private func ask(
  _ image: RoutingImage, _ socket: Int, _ text: StaticString, _ room: UnsafeMutablePointer<UInt8>, _ capacity: Int
) -> Int {
  let request = Input(text.utf8Start, text.utf8CodeUnitCount)
  defer { request.keep() }
  return withFieldTable { table in
    var head = RequestHead(fields: table)
    var consumed = 0
    let result = parseRequestHead(
      request.start, request.count, limits: HTTP1Limits(), into: &head, consumed: &consumed)
    check(result == .complete, "a request of the target's own is \(result)")
    let answer = image.lookup(socket: socket, head: &head)
    let explained = image.explain(socket: socket, head: &head)
    var sum = explained.passedOver.count
    let plain = image.explain(socket: socket, ExplainConnection(.tls, serverName: "a.example.com"))
    sum += plain.passedOver.count
    guard answer.outcome == .matched else { return sum }
    let rule = image.rule(answer.rule)
    sum &+= image.rewrittenTarget(answer, rule, &head, into: room, capacity: capacity)
    sum &+= image.redirectLocation(answer, rule, &head, into: room, capacity: capacity)
    return sum
  }
}

private func walk(_ rule: RuleView) -> Int {
  var sum = total(rule.provenance) &+ total(rule.reason) &+ total(rule.rewriteHost)
  sum &+= walk(rule.requestHeaders) &+ walk(rule.responseHeaders)
  for random: UInt32 in [0, 1 << 31, .max] {
    let picked = rule.pick(random: random)
    if picked >= 0 { sum &+= walk(rule.weightedBackend(Int(picked)).requestHeaders) }
  }
  return sum
}

private func walk(_ operations: HeaderOperations) -> Int {
  var sum = 0
  for index in 0..<operations.count { sum &+= total(operations[index].name) &+ total(operations[index].value) }
  return sum
}

/// Reads every byte.
private func total(_ bytes: Bytes) -> Int {
  var sum = 0
  for index in 0..<bytes.count { sum &+= Int(bytes[index]) }
  return sum
}

/// Keeps the compiler from leaving out what nobody looks at.
@inline(never) private func blackHole(_ value: Int) { withExtendedLifetime(value) {} }

/// Images are made, not kept: their format changes.
func writeImages(to folder: String) {
  for (name, source) in sampleTables() {
    do throws(TableError) {
      let image = try compile(source)
      let path = "\(folder)/\(name)"
      guard let file = fopen(path, "wb") else {
        print("cannot write \(path)")
        exit(1)
      }
      fwrite(image, 1, image.count, file)
      fclose(file)
    } catch {
      print("sample \(name): \(error)")
      exit(1)
    }
  }
}

private func sampleTables() -> [(String, TableSource)] {
  let backend = BackendSource(id: "default/a:80", endpoints: [EndpointSource(address: "10.0.0.1", port: 80)])
  let rules = [
    RuleSource(
      provenance: "forward",
      action: .forward([WeightedBackend(backend: 0, weight: 1), WeightedBackend(backend: nil, weight: 2)]),
      requestHeaders: [HeaderOperation(.set, "x-a", "1")],
      rewrite: RewriteSource(host: "b.test", path: .replaceSegmentPrefix("/new"))),
    RuleSource(
      provenance: "redirect",
      action: .redirect(RedirectSource(scheme: "https", host: nil, path: .replaceFull("/full?x=1"), status: 301))),
    RuleSource(provenance: "respond", action: .respond(status: 404, reason: "none")),
  ]
  let entries = [
    EntrySource(path: .exact("/a"), method: "GET", rule: 2),
    EntrySource(path: .regex("/v[0-9]/.*"), headers: [ValueMatch(name: "content-type", test: .prefix("app"))], rule: 0),
    EntrySource(
      path: .segmentPrefix("/foo"), headers: [ValueMatch(name: "x-a", test: .exact("1"))],
      queryParameters: [ValueMatch(name: "q", test: .regex("[0-9]+"))], rule: 0),
    EntrySource(path: .stringPrefix("/"), rule: 1),
  ]
  func table(_ hosts: [String], _ entries: [EntrySource]) -> TableSource {
    let virtualHosts = hosts.map { VirtualHostSource(pattern: $0, entries: entries) }
    let socket = SocketSource(
      port: 80, kind: .http, listeners: [ListenerSource(name: "test/http", hostname: "*", virtualHosts: virtualHosts)])
    return TableSource(revision: 1, sockets: [socket], backends: [backend], rules: rules)
  }
  return [
    ("none", TableSource(revision: 1)), ("one", table(["*"], [entries[3]])),
    ("every", table(["*", "*.test", "a.example.com"], entries)),
  ]
}
