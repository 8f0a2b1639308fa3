import CLinux
import HTTP1
import HTTPSemantics

/// Memory that ends at an unreadable page, so that a read beyond the promised 16 bytes kills the test.
@safe
struct GuardedMemory: ~Copyable {
  private let base: UnsafeMutableRawPointer
  private let size: Int
  private let page = 4096

  init(capacity: Int) {
    size = (capacity + 16 + page - 1) / page * page + page
    let mapped = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let mapped = unsafe mapped, Int(bitPattern: mapped) != -1 else { preconditionFailure("mmap") }
    unsafe base = mapped
    precondition(unsafe mprotect(base + (size - page), page, PROT_NONE) == 0)
  }

  deinit { unsafe munmap(base, size) }

  /// Copies the bytes so that they, and 16 bytes of `filler`, end at the unreadable page.
  func place(_ bytes: ArraySlice<UInt8>, filler: UInt8) -> UnsafePointer<UInt8> {
    let end = unsafe base + (size - page)
    let start = unsafe end - 16 - bytes.count
    unsafe bytes.withUnsafeBytes { source in
      if let address = source.baseAddress { unsafe start.copyMemory(from: address, byteCount: source.count) }
    }
    unsafe (end - 16).initializeMemory(as: UInt8.self, repeating: filler, count: 16)
    return unsafe UnsafePointer(start.assumingMemoryBound(to: UInt8.self))
  }
}

/// A table with memory of its own.
final class OwnedTable {
  let table: HeaderTable

  init(capacity: Int = 128) {
    let base = UnsafeMutablePointer<HeaderField>.allocate(capacity: capacity)
    unsafe table = HeaderTable(base: base, capacity: capacity)
  }

  deinit { unsafe table.base.deallocate() }
}

extension HeaderTable {
  /// "name: value" of every field; dropped ones begin with "-".
  var lines: [String] {
    (0..<count).map { index in
      let field = self[index]
      let text = "\(String(decoding: field.nameBytes)): \(String(decoding: field.valueBytes))"
      return field.isDropped ? "-" + text : text
    }
  }
}

/// A request head as ordinary values.
struct Request: Equatable {
  var result = HeadResult.incomplete
  var consumed = 0
  var method = ""
  var target = ""
  var path = ""
  var query: String?
  var authority = ""
  var host = ""
  var port = -1
  var lines: [String] = []
  var contentLength: Int64 = -1
  var isChunked = false
  var endStream = true
  var keepAlive = true
  var minorVersion = 1
  var expectContinue = false
  var upgrade = Upgrade.none
  var isGRPC = false
  var hasTETrailers = false
}

func parseRequest(
  _ bytes: ArraySlice<UInt8>, _ memory: borrowing GuardedMemory, filler: UInt8 = 0,
  limits: HTTP1Limits = .init(),
  capacity: Int = 128
) -> Request {
  let owned = OwnedTable(capacity: capacity)
  var head = RequestHead(fields: owned.table)
  var consumed = -1
  var request = Request()
  let start = unsafe memory.place(bytes, filler: filler)
  request.result = unsafe parseRequestHead(
    start, bytes.count, limits: limits, into: &head, consumed: &consumed)
  request.consumed = consumed
  guard request.result == .complete else { return request }
  request.method = String(decoding: head.methodBytes)
  request.target = String(decoding: head.target)
  request.path = String(decoding: head.path)
  request.query = head.hasQuery ? String(decoding: head.query) : nil
  request.authority = String(decoding: head.authority)
  request.host = String(decoding: head.host)
  request.port = Int(head.port)
  request.lines = head.fields.lines
  request.contentLength = head.contentLength
  request.isChunked = head.isChunked
  request.endStream = head.endStream
  request.keepAlive = head.keepAlive
  request.minorVersion = Int(head.minorVersion)
  request.expectContinue = head.expectContinue
  request.upgrade = head.upgrade
  request.isGRPC = head.isGRPC
  request.hasTETrailers = head.hasTETrailers
  return request
}

func parseRequest(_ text: String, limits: HTTP1Limits = .init(), capacity: Int = 128) -> Request {
  let bytes = Array(text.utf8)
  let memory = GuardedMemory(capacity: bytes.count)
  return parseRequest(bytes[...], memory, limits: limits, capacity: capacity)
}

/// A response head as ordinary values.
struct Response: Equatable {
  var result = HeadResult.incomplete
  var consumed = 0
  var status = 0
  var reason = ""
  var lines: [String] = []
  var contentLength: Int64 = -1
  var isChunked = false
  var endStream = false
  var keepAlive = true
  var untilClose = false
  var minorVersion = 1
  var upgrade = Upgrade.none
  var isGRPC = false
}

func parseResponse(
  _ bytes: ArraySlice<UInt8>, _ memory: borrowing GuardedMemory, filler: UInt8 = 0,
  method: HTTPSemantics.Method = .get, limits: HTTP1Limits = .init()
) -> Response {
  let owned = OwnedTable()
  var head = ResponseHead(fields: owned.table)
  var consumed = -1
  var response = Response()
  let start = unsafe memory.place(bytes, filler: filler)
  response.result = unsafe parseResponseHead(
    start, bytes.count, requestMethod: method, limits: limits, into: &head, consumed: &consumed)
  response.consumed = consumed
  guard response.result == .complete else { return response }
  response.status = Int(head.status)
  response.reason = String(decoding: head.reason)
  response.lines = head.fields.lines
  response.contentLength = head.contentLength
  response.isChunked = head.isChunked
  response.endStream = head.endStream
  response.keepAlive = head.keepAlive
  response.untilClose = head.untilClose
  response.minorVersion = Int(head.minorVersion)
  response.upgrade = head.upgrade
  response.isGRPC = head.isGRPC
  return response
}

func parseResponse(
  _ text: String, method: HTTPSemantics.Method = .get, limits: HTTP1Limits = .init()
) -> Response {
  let bytes = Array(text.utf8)
  let memory = GuardedMemory(capacity: bytes.count)
  return parseResponse(bytes[...], memory, method: method, limits: limits)
}

/// SplitMix64: the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
