import Glibc
import HTTP2
import HTTPSemantics
import Testing

@testable import DataPlane

/// An HTTP/2 client or backend driven by hand over a blocking socket.
final class HTTP2Peer {
  struct Message {
    var status: UInt16 = 0
    var path = ""
    var fields: [String] = []
    var trailers: [String] = []
    var body: [UInt8] = []
    var interim: [UInt16] = []
    var hasHead = false
    var isEnded = false
    /// Set once the stream is gone.
    var code: UInt32?

    var text: String { String(decoding: body, as: UTF8.self) }
  }

  let connection: TestConnection
  let inbox: HTTP2Inbox
  let session: HTTP2Session
  var messages: [Int32: Message] = [:]
  /// Streams in the order in which their heads came.
  var order: [Int32] = []
  var wentAway = false
  /// Gives window back for data at once.
  var consumes = true

  init(_ connection: TestConnection, server: Bool, limits: HTTP2Limits = HTTP2Limits()) throws {
    self.connection = connection
    inbox = try #require(HTTP2Inbox.make(server: limits))
    session = try #require(server ? HTTP2Session.server(inbox) : HTTP2Session.client(inbox))
    flush()
  }

  deinit {
    session.destroy()
    inbox.destroy()
  }

  func flush() {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = unsafe buffer.withUnsafeMutableBufferPointer {
        unsafe session.drain(into: $0.baseAddress!, capacity: $0.count)
      }
      collect()
      if count == 0 { return }
      connection.send(bytes: Array(buffer[..<count]))
    }
  }

  /// Reads until `isDone` holds; false when the peer closed or the time ran out before.
  @discardableResult
  func wait(_ isDone: (HTTP2Peer) -> Bool) -> Bool {
    flush()
    while !isDone(self) {
      var some = connection.receiveSome()
      if some.isEmpty { return isDone(self) }
      unsafe some.withUnsafeMutableBufferPointer {
        unsafe _ = session.receive($0.baseAddress!, $0.count)
        // The events view the bytes, which live no longer than this.
        collect()
      }
      flush()
    }
    return true
  }

  /// Reads to the end; false when the time ran out before the peer closed.
  func waitForEnd() -> Bool {
    wait { _ in false }
    return connection.hasEnded
  }

  /// The next message whose head has not been asked for yet.
  func nextHead(_ seen: Int = 0) throws -> Int32 {
    try #require(wait { $0.order.count > seen })
    return order[seen]
  }

  private func collect() {
    var index = 0
    while index < inbox.count {
      note(inbox[index])
      index += 1
    }
    inbox.reset()
  }

  private func note(_ event: HTTP2Event) {
    let id = event.streamID
    switch event.kind {
    case .requestHead:
      let head = unsafe event.requestHead.pointee
      messages[id, default: Message()].path = String(decoding: head.target)
      messages[id]?.fields = lines(head.fields)
      messages[id]?.hasHead = true
      order.append(id)
    case .responseHead:
      let head = unsafe event.responseHead.pointee
      messages[id, default: Message()].status = head.status
      messages[id]?.fields = lines(head.fields)
      messages[id]?.hasHead = true
      order.append(id)
    case .informational:
      messages[id, default: Message()].interim.append(unsafe event.responseHead.pointee.status)
    case .data:
      let bytes = event.bytes
      messages[id]?.body += unsafe Array(UnsafeBufferPointer(start: bytes.start, count: bytes.count))
      if consumes { session.consume(id, bytes.count) }
    case .trailers: messages[id]?.trailers = lines(event.trailers)
    case .streamClosed: messages[id, default: Message()].code = event.errorCode
    case .goAway: wentAway = true
    case .endStream, .reset, .writable, .settings, .malformed: break
    }
    if event.endStream { messages[id]?.isEnded = true }
  }

  private func lines(_ table: HeaderTable) -> [String] {
    (0..<table.count).filter { !table[$0].isDropped }.map {
      "\(String(decoding: table[$0].nameBytes)): \(String(decoding: table[$0].valueBytes))"
    }
  }

  // MARK: Sending

  private func withBytes<Result>(_ text: String, _ body: (Bytes) -> Result) -> Result {
    let array = Array(text.utf8) + [0]
    return unsafe array.withUnsafeBufferPointer {
      unsafe body(Bytes(start: $0.baseAddress!, count: $0.count - 1))
    }
  }

  /// Names and values must outlive the submission, so the list is made around it.
  private func withFields<Result>(
    _ list: [(String, String)], _ fields: HTTP2FieldList, _ body: (HTTP2FieldList) -> Result
  ) -> Result {
    guard let (name, value) = list.first else { return body(fields) }
    return withBytes(name) { name in
      withBytes(value) { value in
        var longer = fields
        longer.append(name: name, value: value)
        return withFields(Array(list.dropFirst()), longer, body)
      }
    }
  }

  @discardableResult
  func request(_ method: String, _ path: String, _ list: [(String, String)] = [], end: Bool = true) -> Int32 {
    let id = withFields(list, inbox.fieldList()) { fields in
      withBytes(method) { method in
        withBytes(path) { path in
          session.submitRequest(
            method: method, scheme: .http, authority: Bytes("x.test"), path: path, fields: fields, endStream: end,
            tag: 0)
        }
      }
    }
    messages[id] = Message()
    flush()
    return id
  }

  func respond(_ id: Int32, _ status: UInt16, _ list: [(String, String)] = [], end: Bool = false) {
    _ = withFields(list, inbox.fieldList()) {
      session.submitResponse(id, status: status, fields: $0, endStream: end)
    }
    flush()
  }

  func inform(_ id: Int32, _ status: UInt16) {
    session.submitInformational(id, status: status, fields: inbox.fieldList())
    flush()
  }

  func write(_ id: Int32, _ bytes: [UInt8], end: Bool = false) {
    _ = unsafe (bytes + [0]).withUnsafeBufferPointer {
      unsafe session.write(id, $0.baseAddress!, bytes.count, endStream: end)
    }
    flush()
  }

  func write(_ id: Int32, _ text: String, end: Bool = false) { write(id, Array(text.utf8), end: end) }

  func trailers(_ id: Int32, _ list: [(String, String)]) {
    _ = withFields(list, inbox.fieldList()) { session.submitTrailers(id, fields: $0) }
    flush()
  }
}

extension TestConnection {
  /// Reads until the bytes end with `text`, or to the end.
  func receive(toSuffix text: String) -> [UInt8] {
    let end = Array(text.utf8)
    var all: [UInt8] = []
    while all.count < end.count || Array(all[(all.count - end.count)...]) != end {
      let some = receiveSome()
      if some.isEmpty { break }
      all += some
    }
    return all
  }

  func send(bytes: [UInt8]) {
    var sent = 0
    while sent < bytes.count {
      let n = unsafe bytes.withUnsafeBytes {
        unsafe Glibc.send(descriptor, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      if n <= 0 { return }
      sent += n
    }
  }
}
