import HTTP2
import HTTPSemantics
import Testing

/// What a test remembers of an event.
struct Seen: Equatable {
  var kind: HTTP2Event.Kind
  var stream: Int32
  var tag: UInt64 = 0
  var endStream = false
  var code: UInt32 = 0
  var limit = HTTP2Limit.none
  var status: UInt16 = 0
  var data: [UInt8] = []
  var fields: [String] = []
}

/// One side of a connection in memory.
final class Endpoint {
  let inbox: HTTP2Inbox
  let session: HTTP2Session
  var seen: [Seen] = []
  /// Lines of the debug log.
  let frames = FrameLines()
  /// Gives window back for data at once.
  var consumes = true
  /// Keeps what DATA carried; off for large bodies.
  var keepsData = true
  var received = 0
  var capacity = 65_536
  /// Runs for every event while its views are valid.
  var handler: ((Endpoint, HTTP2Event) -> Void)?

  init(server: Bool, limits: HTTP2Limits = HTTP2Limits()) throws {
    let inbox = try #require(HTTP2Inbox.make(server: limits, client: limits))
    self.inbox = inbox
    session = try #require(server ? HTTP2Session.server(inbox) : HTTP2Session.client(inbox))
    session.setLogID(7)
    unsafe inbox.setDebugLog(
      { argument, line, count in
        let lines = unsafe Unmanaged<FrameLines>.fromOpaque(argument!).takeUnretainedValue()
        lines.all.append(
          unsafe String(decoding: UnsafeBufferPointer(start: line, count: count), as: UTF8.self))
      }, argument: unsafe Unmanaged.passUnretained(frames).toOpaque())
  }

  deinit {
    session.destroy()
    inbox.destroy()
  }

  /// Hands the bytes over in pieces, each in memory of its own that is overwritten afterwards. What is not read of a
  /// piece because of `mostFrames` stands in front of the next one.
  @discardableResult
  func receive(_ bytes: [UInt8], piece: Int = .max, mostFrames: Int = .max) -> HTTP2Result {
    var start = 0
    while start < bytes.count {
      var part = Array(bytes[start..<start + min(piece, bytes.count - start)])
      var used = 0
      let result = unsafe part.withUnsafeMutableBufferPointer { buffer in
        let result = unsafe session.receive(buffer.baseAddress!, buffer.count, mostFrames: mostFrames, used: &used)
        collect()
        for index in buffer.indices { unsafe buffer[index] = 0xaa }
        return result
      }
      if result != .ok { return result }
      start += used
    }
    return .ok
  }

  func drain() -> [UInt8] {
    var all: [UInt8] = []
    while true {
      var buffer = [UInt8](repeating: 0, count: capacity)
      let count = unsafe buffer.withUnsafeMutableBufferPointer { memory in
        unsafe session.drain(into: memory.baseAddress!, capacity: memory.count)
      }
      collect()
      if count == 0 { return all }
      all += buffer[..<count]
    }
  }

  private func collect() {
    var index = 0
    while index < inbox.count {
      let event = inbox[index]
      handler?(self, event)
      record(event)
      index += 1
    }
    inbox.reset()
  }

  private func record(_ event: HTTP2Event) {
    var entry = Seen(
      kind: event.kind, stream: event.streamID, tag: event.tag, endStream: event.endStream,
      code: event.errorCode,
      limit: event.limit)
    switch event.kind {
    case .requestHead: entry.fields = unsafe lines(event.requestHead.pointee.fields)
    case .responseHead, .informational:
      entry.status = unsafe event.responseHead.pointee.status
      entry.fields = unsafe lines(event.responseHead.pointee.fields)
    case .trailers: entry.fields = lines(event.trailers)
    case .data:
      received += event.bytes.count
      if keepsData { entry.data = Array(String(decoding: event.bytes).utf8) }
      if consumes { session.consume(event.streamID, event.bytes.count) }
      if !keepsData { return }
    default: break
    }
    seen.append(entry)
  }

  func kinds(_ stream: Int32) -> [HTTP2Event.Kind] { seen.filter { $0.stream == stream }.map(\.kind) }

  func events(_ kind: HTTP2Event.Kind) -> [Seen] { seen.filter { $0.kind == kind } }

  func body(_ stream: Int32) -> String {
    String(decoding: seen.filter { $0.stream == stream }.flatMap(\.data), as: UTF8.self)
  }

  /// Sent or received frames of a stream as "HEADERS END_HEADERS", without lengths.
  func frameNames(_ direction: String, stream: Int32) -> [String] {
    frames.all.compactMap { line in
      let words = line.split(separator: " ").map(String.init)
      guard words.count == 7, words[2] == direction, words[4] == "stream=\(stream)" else { return nil }
      return "\(words[3]) \(words[5].dropFirst(6))"
    }
  }

  // MARK: Submitting

  func fields(_ list: [(String, String)], _ body: (HTTP2FieldList) -> Void) {
    withTable(list) { table in
      var fields = inbox.fieldList()
      fields.append(table)
      body(fields)
    }
  }

  @discardableResult
  func request(
    _ method: String = "GET", _ path: String = "/", authority: String = "example.com",
    _ list: [(String, String)] = [], end: Bool = true, tag: UInt64 = 0
  ) -> Int32 {
    var id: Int32 = 0
    fields(list) { fields in
      withBytes(method) { method in
        withBytes(path) { path in
          withBytes(authority) { authority in
            id = session.submitRequest(
              method: method, scheme: .http, authority: authority, path: path, fields: fields, endStream: end,
              tag: tag)
          }
        }
      }
    }
    return id
  }

  @discardableResult
  func respond(_ stream: Int32, _ status: UInt16 = 200, _ list: [(String, String)] = [], end: Bool = false)
    -> Bool
  {
    var isDone = false
    fields(list) { isDone = session.submitResponse(stream, status: status, fields: $0, endStream: end) }
    return isDone
  }

  @discardableResult
  func trailers(_ stream: Int32, _ list: [(String, String)]) -> Bool {
    var isDone = false
    fields(list) { isDone = session.submitTrailers(stream, fields: $0) }
    return isDone
  }

  @discardableResult
  func write(_ stream: Int32, _ text: String, end: Bool = false) -> Bool {
    withBytes(text) { bytes in unsafe session.write(stream, bytes.start, bytes.count, endStream: end) }
  }
}

final class FrameLines {
  var all: [String] = []
}

/// Moves bytes until neither side has any; true when it came to rest.
@discardableResult
func pump(_ left: Endpoint, _ right: Endpoint, piece: Int = .max, rounds: Int = 10_000) -> Bool {
  for _ in 0..<rounds {
    let toRight = left.drain()
    right.receive(toRight, piece: piece)
    let toLeft = right.drain()
    left.receive(toLeft, piece: piece)
    if toRight.isEmpty && toLeft.isEmpty { return true }
  }
  return false
}

func withBytes<Result>(_ text: String, _ body: (Bytes) -> Result) -> Result {
  let array = Array(text.utf8) + [0]
  return unsafe array.withUnsafeBufferPointer { buffer in
    unsafe body(Bytes(start: buffer.baseAddress!, count: buffer.count - 1))
  }
}

func withTable(_ list: [(String, String)], _ body: (HeaderTable) -> Void) {
  var text: [UInt8] = []
  var places: [(Int, Int, Int, Int)] = []
  for (name, value) in list {
    places.append((text.count, name.utf8.count, text.count + name.utf8.count, value.utf8.count))
    text += Array(name.utf8) + Array(value.utf8)
  }
  text += [UInt8](repeating: 0, count: 16)
  unsafe text.withUnsafeBufferPointer { bytes in
    let fields = UnsafeMutablePointer<HeaderField>.allocate(capacity: max(1, list.count))
    defer { unsafe fields.deallocate() }
    var table = unsafe HeaderTable(base: fields, capacity: max(1, list.count))
    for (name, nameCount, value, valueCount) in places {
      let known = unsafe KnownHeader.classify(bytes.baseAddress! + name, nameCount)
      let field = unsafe HeaderField(
        name: Bytes(start: bytes.baseAddress! + name, count: nameCount),
        value: Bytes(start: bytes.baseAddress! + value, count: valueCount), known: known)
      _ = table.append(field)
    }
    body(table)
  }
}

/// "name: value" of every field that is kept.
func lines(_ table: HeaderTable) -> [String] {
  (0..<table.count).compactMap { index in
    let field = table[index]
    return field.isDropped
      ? nil : "\(String(decoding: field.nameBytes)): \(String(decoding: field.valueBytes))"
  }
}
