import HTTP2
import Testing

/// Reading a few frames at a time comes to the same as reading all that is there.
struct FramesPerTurnTests {
  /// Twelve requests of every form, two of them reset, as one client's bytes.
  private func conversation() throws -> [UInt8] {
    let client = try Endpoint(server: false)
    let long = String(repeating: "v", count: 20_000)
    var bytes: [UInt8] = []
    for number in 0..<4 {
      client.request("GET", "/\(number)", authority: "a.test", number == 2 ? [("x-long", long)] : [])
      let upload = client.request("POST", "/up", end: false)
      client.write(upload, String(repeating: "b", count: 300 * number), end: number % 2 == 0)
      if number % 2 == 1 { client.trailers(upload, [("x-sum", "\(number)")]) }
      let gone = client.request("PUT", "/gone", end: false)
      bytes += client.drain()
      if number > 1 { client.session.reset(gone, 8) }
      client.session.ping()
    }
    return bytes + client.drain()
  }

  @Test(arguments: [1, 2, 5, 64], [1, 7, 100, Int.max])
  func theEventsAreTheSame(mostFrames: Int, piece: Int) throws {
    let bytes = try conversation()
    let whole = try Endpoint(server: true)
    #expect(whole.receive(bytes, piece: piece) == .ok)
    let sliced = try Endpoint(server: true)
    #expect(sliced.receive(bytes, piece: piece, mostFrames: mostFrames) == .ok)
    #expect(sliced.summary == whole.summary)
    #expect(sliced.drain() == whole.drain())
    #expect(whole.events(.requestHead).count == 12)
  }

  @Test func aFrameMoreWaits() throws {
    let client = try Endpoint(server: false)
    for _ in 0..<5 { client.request() }
    var bytes = client.drain()
    let server = try Endpoint(server: true)
    var used = 0
    // The client's SETTINGS and its window are the first two.
    unsafe bytes.withUnsafeMutableBufferPointer { buffer in
      _ = unsafe server.session.receive(buffer.baseAddress!, buffer.count, mostFrames: 4, used: &used)
    }
    #expect(used < bytes.count)
    #expect((0..<server.inbox.count).count { server.inbox[$0].kind == .requestHead } == 2)
  }
}

extension Endpoint {
  /// What came, the bodies of a stream in one piece.
  fileprivate var summary: [String] {
    var bodies: [Int32: Int] = [:]
    var lines: [String] = []
    for event in seen {
      if event.kind == .data {
        bodies[event.stream, default: 0] += event.data.count
      } else {
        lines.append("\(event.kind) \(event.stream) \(event.endStream) \(event.code) \(event.fields)")
      }
    }
    return lines.filter { !$0.hasPrefix("settings") } + bodies.sorted { $0.key < $1.key }.map { "\($0)" }
  }
}
