import HTTPSemantics

@testable import RoutingTable

/// A request in ordinary values, and the head that a codec would make of it.
struct TestRequest: CustomStringConvertible {
  var method = "GET"
  var scheme = Scheme.http
  var authority = "example.com"
  var target = "/"
  var headers: [(name: String, value: String)] = []

  init(
    method: String = "GET", scheme: Scheme = .http, authority: String = "example.com",
    target: String = "/", headers: [(name: String, value: String)] = []
  ) {
    self.method = method
    self.scheme = scheme
    self.authority = authority
    self.target = target
    self.headers = headers
  }

  var description: String {
    "\(method) \(scheme)://\(authority)\(target) \(headers.map { "\($0.name): \($0.value)" })"
  }

  var path: String { String(target.prefix { $0 != "?" }) }

  /// The pointer is good during the call.
  func withHead<Result>(_ body: (UnsafePointer<RequestHead>) throws -> Result) rethrows -> Result {
    let arena = UnsafeMutablePointer<UInt8>.allocate(capacity: 16 * 1024)
    defer { unsafe arena.deallocate() }
    var used = 0
    func view(_ text: String) -> Bytes {
      let start = used
      for byte in text.utf8 {
        precondition(used < 16 * 1024)
        unsafe arena[used] = byte
        used += 1
      }
      return unsafe Bytes(start: arena + start, count: used - start)
    }
    let room = UnsafeMutablePointer<HeaderField>.allocate(capacity: headers.count + 1)
    defer { unsafe room.deallocate() }
    var table = unsafe HeaderTable(base: room, capacity: headers.count)
    for (name, value) in headers {
      let text = view(name)
      let known = unsafe KnownHeader.classify(text.start, text.count)
      precondition(table.append(HeaderField(name: text, value: view(value), known: known)))
    }
    var head = RequestHead(fields: table)
    head.methodBytes = view(method)
    head.method = Method(classifying: head.methodBytes)
    head.scheme = scheme
    head.setTarget(view(target))
    if !authority.isEmpty { precondition(head.setAuthority(view(authority)), "\(authority)") }
    return unsafe try body(&head)
  }
}

extension LoadedImage {
  convenience init(_ source: TableSource) throws {
    try self.init(compile(source))
  }

  func lookup(_ request: TestRequest, socket: Int = 0) -> RouteAnswer {
    withImage { image in
      unsafe request.withHead { head in unsafe image.lookup(socket: socket, head: head) }
    }
  }
}

/// A table with one socket, one listener and one virtual host for every host.
func table(
  _ entries: [EntrySource], rules: [RuleSource]? = nil, port: UInt16 = 80, kind: SocketKind = .http
) -> TableSource {
  let highest = entries.map(\.rule).max() ?? 0
  return TableSource(
    revision: 1,
    sockets: [
      SocketSource(
        port: port, kind: kind,
        listeners: [
          ListenerSource(name: "test/listener", virtualHosts: [VirtualHostSource(entries: entries)])
        ])
    ],
    rules: rules
      ?? (0...highest).map { RuleSource(provenance: "rule \($0)", action: .forward([])) })
}

/// A small generator with a known sequence (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }

  /// True once in `times`.
  mutating func once(in times: Int) -> Bool { below(times) == 0 }

  mutating func pick<T>(_ items: [T]) -> T { items[below(items.count)] }
}
