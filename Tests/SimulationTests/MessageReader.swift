/// Reads HTTP/1.1 messages of either kind as they come; strict, and simple rather than fast.
struct MessageReader {
  struct Head {
    /// The request line or the status line.
    var line = ""
    /// Names in lower case.
    var fields: [(name: String, value: String)] = []

    func value(_ name: String) -> String? { fields.first { $0.name == name }?.value }
    var status: Int { line.hasPrefix("HTTP/1.1 ") ? Int(line.dropFirst(9).prefix(3)) ?? 0 : 0 }
    var path: Substring { line.split(separator: " ").dropFirst().first ?? "" }
    var method: Substring { line.split(separator: " ").first ?? "" }
  }

  enum Part {
    case head(Head)
    case data([UInt8])
    /// With the trailer section's lines.
    case end([String])
    case invalid(String)
  }

  private enum State {
    case head
    case length(Int)
    case chunkSize
    case chunk(Int)
    case chunkEnd
    case trailers([String])
    case untilClose
    case raw
    case broken
    case ended
  }

  let readsRequests: Bool
  private var buffer: [UInt8] = []
  private var state = State.head
  /// No head ends before this place of the buffer.
  private var scanned = 0
  /// The next response has no body whatever its head says.
  var isForHead = false

  init(readsRequests: Bool) { self.readsRequests = readsRequests }

  mutating func feed(_ bytes: [UInt8]) { buffer += bytes }

  /// Everything from here on is data.
  mutating func becomeRaw() { state = .raw }

  var isBetweenMessages: Bool {
    if case .head = state { return buffer.isEmpty }
    return false
  }

  var isUntilClose: Bool {
    if case .untilClose = state { return true }
    return false
  }

  mutating func next() -> Part? {
    while true {
      switch state {
      case .broken: return nil
      case .ended:
        state = .head
        return .end([])
      case .head: return readHead()
      case .raw, .untilClose:
        if buffer.isEmpty { return nil }
        defer { buffer = [] }
        return .data(buffer)
      case .length(let left): return readData(left, after: left <= buffer.count ? .ended : .length(left - buffer.count))
      case .chunk(let left):
        return readData(left, after: left <= buffer.count ? .chunkEnd : .chunk(left - buffer.count))
      case .chunkEnd:
        guard let line = takeLine() else { return nil }
        if !line.isEmpty { return fail("a chunk that is longer than it says") }
        state = .chunkSize
      case .chunkSize:
        guard let line = takeLine() else { return nil }
        guard let size = Int(line, radix: 16), size >= 0 else { return fail("chunk size \(line)") }
        state = size == 0 ? .trailers([]) : .chunk(size)
      case .trailers(let lines):
        guard let line = takeLine() else { return nil }
        if line.isEmpty {
          state = .head
          return .end(lines)
        }
        state = .trailers(lines + [line])
      }
    }
  }

  private mutating func readData(_ left: Int, after: State) -> Part? {
    guard !buffer.isEmpty else { return nil }
    let count = min(left, buffer.count)
    let bytes = Array(buffer[..<count])
    buffer.removeFirst(count)
    state = after
    return .data(bytes)
  }

  private mutating func takeLine() -> String? {
    guard let end = buffer.firstIndex(of: 10) else { return nil }
    let line = buffer[..<end]
    buffer.removeFirst(end + 1)
    return String(decoding: line.last == 13 ? line.dropLast() : line, as: UTF8.self)
  }

  private mutating func fail(_ reason: String) -> Part {
    state = .broken
    return .invalid(reason)
  }

  private mutating func readHead() -> Part? {
    let end: [UInt8] = [13, 10, 13, 10]
    var at = scanned
    while at + 4 <= buffer.count, !(buffer[at + 3] == 10 && buffer[at..<(at + 4)].elementsEqual(end)) { at += 1 }
    scanned = at + 4 <= buffer.count ? 0 : at
    if at + 4 > buffer.count { return nil }
    let lines = String(decoding: buffer[..<at], as: UTF8.self).split(separator: "\r\n")
    buffer.removeFirst(at + 4)
    var head = Head()
    head.line = String(lines.first ?? "")
    for line in lines.dropFirst() {
      guard let colon = line.firstIndex(of: ":") else { return fail("field \(line)") }
      let value = line[line.index(after: colon)...].drop { $0 == " " }
      head.fields.append((line[..<colon].lowercased(), String(value)))
    }
    if readsRequests ? !head.line.hasSuffix(" HTTP/1.1") : head.status == 0 { return fail("first line \(head.line)") }
    state = bodyState(head)
    return .head(head)
  }

  private mutating func bodyState(_ head: Head) -> State {
    if !readsRequests, head.status < 200 { return .head }
    if !readsRequests, isForHead || head.status == 204 || head.status == 304 { return .ended }
    if head.value("transfer-encoding") != nil { return .chunkSize }
    if let length = head.value("content-length").flatMap({ Int($0) }) { return length == 0 ? .ended : .length(length) }
    return readsRequests ? .ended : .untilClose
  }
}
