import HTTP2
import Testing

/// Clients that take nothing, heads that do not end, frames that lead nowhere.
struct FloodTests {
  static let post = Raw.headers(1, Raw.post, end: false)

  /// A server with one stream whose response of `count` bytes waits for a window of 0.
  private func stalled(_ count: Int) throws -> Endpoint {
    let server = try Endpoint(server: true)
    server.receive(Raw.preface + Raw.frame(4, 0, 0, [0, 4, 0, 0, 0, 0]) + Raw.headers(1, Raw.get))
    let body = [UInt8](repeating: 0x61, count: count)
    server.session.submitResponse(1, status: 200, fields: server.inbox.fieldList(), endStream: false)
    unsafe body.withUnsafeBufferPointer { bytes in
      unsafe _ = server.session.write(1, bytes.baseAddress!, bytes.count, endStream: true)
    }
    _ = server.drain()
    return server
  }

  private func window(_ bytes: UInt32) -> [UInt8] { Raw.frame(8, 0, 1, Raw.word(bytes)) }

  @Test func aStreamWhoseWindowStaysShutIsReset() throws {
    let server = try stalled(5000)
    for now in [1000, 1250, 1499] as [UInt32] {
      #expect(server.session.resetStalled(nowMilliseconds: now, after: 500) == 0)
    }
    #expect(server.session.resetStalled(nowMilliseconds: 1500, after: 500) == 1)
    _ = server.drain()
    #expect(server.session.totalQueuedBytes == 0)
    #expect(server.events(.streamClosed).map(\.code) == [HTTP2ErrorCode.enhanceYourCalm])
    #expect(server.session.resetStalled(nowMilliseconds: 9000, after: 500) == 0)
  }

  /// 1023 bytes are nothing, 1024 begin the time anew; the clock may wrap.
  @Test(arguments: [(UInt32(1023), 1), (1024, 0)])
  func aByteNowAndThenBuysNoTime(taken: UInt32, reset: Int) throws {
    let server = try stalled(50_000)
    let start = UInt32.max - 100
    #expect(server.session.resetStalled(nowMilliseconds: start, after: 500) == 0)
    server.receive(window(taken))
    _ = server.drain()
    #expect(server.session.resetStalled(nowMilliseconds: start &+ 499, after: 500) == 0)
    #expect(server.session.resetStalled(nowMilliseconds: start &+ 501, after: 500) == reset)
  }

  @Test func aHeadThatDoesNotEndIsKnownByItsBeginning() throws {
    let server = try Endpoint(server: true)
    let block = Raw.block(Raw.get)
    server.inbox.setNow(milliseconds: 77)
    server.receive(Raw.start + Raw.frame(1, 1, 1, Array(block[..<10])))
    #expect(server.session.headBegan == 77)
    server.inbox.setNow(milliseconds: 99)
    server.receive(Raw.frame(9, 0, 1, Array(block[10..<20])))
    #expect(server.session.headBegan == 77)
    server.receive(Raw.frame(9, 4, 1, Array(block[20...])))
    #expect(server.session.headBegan == 0 && server.events(.requestHead).count == 1)
  }

  static let floods: [(String, [UInt8], HTTP2Limit)] = [
    ("unknown types", Raw.frame(0xee, 0xff, 0, [1, 2]), .unknownFrames),
    ("GOAWAY", Raw.frame(7, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0]), .unknownFrames),
    ("padding", Raw.frame(0, 8, 1, [1, 0]), .emptyData), ("empty DATA", Raw.frame(0, 0, 1, []), .emptyData),
    ("PRIORITY", Raw.frame(2, 0, 3, Raw.word(0) + [1]), .priorities),
  ]

  @Test(arguments: floods)
  func framesThatLeadNowhereEndTheSession(name: String, frame: [UInt8], limit: HTTP2Limit) throws {
    let server = try Endpoint(server: true)
    #expect(server.receive(Raw.start + Self.post) == .ok)
    var result = HTTP2Result.ok
    for _ in 0..<2000 where result == .ok { result = server.receive(frame) }
    #expect(result == .fatal(errorCode: HTTP2ErrorCode.enhanceYourCalm, limit: limit), "\(name)")
  }

  /// One large field in the table and a head of references to it: unpacked no further than four times the limit.
  @Test func aBombIsNotUnpacked() throws {
    let server = try Endpoint(server: true)
    let field = [0x40, 1, 0x78, 0x7f, 0xe1, 0x1d] + [UInt8](repeating: 0x62, count: 3936)
    let first = Raw.frame(1, 5, 1, Raw.block(Raw.get) + field)
    #expect(server.receive(Raw.start + first) == .ok)
    #expect(server.events(.requestHead).count == 1)
    let bomb = Raw.frame(1, 5, 3, Raw.block(Raw.get) + [UInt8](repeating: 0xbe, count: 16_000))
    #expect(server.receive(bomb) == .fatal(errorCode: HTTP2ErrorCode.enhanceYourCalm, limit: .headerBytes))
  }

  /// The same with many small fields: crumbs of a cookie.
  @Test func crumbsBeyondAllMeasureEndTheSession() throws {
    let server = try Endpoint(server: true)
    let crumbs = (0..<600).map { _ in ("cookie", "a") }
    let result = server.receive(Raw.start + Raw.headers(1, Raw.get + crumbs))
    #expect(result == .fatal(errorCode: HTTP2ErrorCode.enhanceYourCalm, limit: .headerFields))
  }

  /// CVE-2025-8671: counted when the fault comes, not when the frame goes out.
  @Test func resetsThatWeAreMadeToSendCountAtOnce() throws {
    var limits = HTTP2Limits()
    limits.resetsSent = HTTP2Rate(burst: 10, perSecond: 1)
    let server = try Endpoint(server: true, limits: limits)
    var bytes = Raw.start
    for stream in 0..<UInt32(50) { bytes += Raw.headers(2 * stream + 1, [(":method", "GET")]) }
    #expect(server.receive(bytes) == .fatal(errorCode: HTTP2ErrorCode.enhanceYourCalm, limit: .resetsSent))
    #expect(server.events(.malformed).count == 11)
  }

  /// A tenth of the burst comes back each second, also where the frames went out in between.
  @Test func resetsAreForgiven() throws {
    var limits = HTTP2Limits()
    limits.resetsSent = HTTP2Rate(burst: 10, perSecond: 1)
    let server = try Endpoint(server: true, limits: limits)
    server.receive(Raw.start)
    for stream in 0..<UInt32(100) {
      server.inbox.setNow(milliseconds: UInt64(stream) * 1000 + 5000)
      #expect(server.receive(Raw.headers(2 * stream + 1, [(":method", "GET")])) == .ok)
      _ = server.drain()
    }
  }

  @Test func aRequestTakenBackAtOnceIsGone() throws {
    let server = try Endpoint(server: true)
    var gone: [Int32: Bool] = [:]
    server.handler = { _, event in
      if event.kind == .requestHead { gone[event.streamID] = event.isStreamGone }
    }
    server.receive(Raw.start + Raw.headers(1, Raw.get) + Raw.headers(3, Raw.get) + Raw.reset(1))
    #expect(gone == [1: true, 3: false])
  }
}
