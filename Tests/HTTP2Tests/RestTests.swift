import HTTP2
import HTTPSemantics
import Testing

/// Sessions whose memory is put away must behave like those whose memory stays: the same bytes on the wire, the
/// same events.
struct RestTests {
  /// A connection that may rest after every step.
  final class Pair {
    let client: Endpoint
    let server: Endpoint
    let rests: Bool
    var wire: [[UInt8]] = []
    var rested = 0

    init(rests: Bool) throws {
      self.rests = rests
      client = try Endpoint(server: false)
      server = try Endpoint(server: true)
    }

    func settle(piece: Int = .max) {
      while true {
        let toServer = client.drain()
        server.receive(toServer, piece: piece)
        let toClient = server.drain()
        client.receive(toClient, piece: piece)
        wire += [toServer, toClient]
        rest()
        if toServer.isEmpty && toClient.isEmpty { return }
      }
    }

    func rest() {
      guard rests else { return }
      for session in [client.session, server.session] {
        session.rest()
        if session.isResting { rested += 1 }
      }
    }

    /// One exchange; fields and body from the seed.
    func exchange(_ random: inout Seeded) {
      let text = { (random: inout Seeded, most: Int) in
        String(repeating: Character(UnicodeScalar(UInt8(97 + random.below(26)))), count: random.below(most) + 1)
      }
      // From a few names, so that the HPACK tables of both sides fill, are hit and evict.
      let request = (0..<random.below(6)).map { _ in ("x-\(random.below(40))", text(&random, 200)) }
      let large = random.below(20) == 0
      let response = (0..<random.below(6)).map { _ in ("y-\(random.below(40))", text(&random, large ? 9000 : 200)) }
      let piece = random.below(3) == 0 ? random.below(50) + 1 : Int.max
      let body = text(&random, random.below(10) == 0 ? 100_000 : 500)
      let isReset = random.below(10) == 0
      let id = client.request("POST", "/\(random.below(9))", request, end: false)
      client.write(id, body, end: true)
      settle(piece: piece)
      server.respond(id, 200, response)
      rest()
      server.write(id, body)
      if isReset { client.session.reset(id, HTTP2ErrorCode.cancel) } else { server.trailers(id, [("z", "1")]) }
      settle(piece: piece)
      if random.below(8) == 0 { client.session.ping() }
      settle()
    }
  }

  /// SplitMix64.
  struct Seeded {
    var state: UInt64
    mutating func below(_ limit: Int) -> Int {
      state &+= 0x9e37_79b9_7f4a_7c15
      var z = state
      z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
      return Int((z ^ (z >> 31)) % UInt64(limit))
    }
  }

  @Test(arguments: 1...24)
  func restingChangesNothing(seed: UInt64) throws {
    let awake = try Pair(rests: false)
    let resting = try Pair(rests: true)
    for pair in [awake, resting] {
      var random = Seeded(state: seed)
      for _ in 0..<25 { pair.exchange(&random) }
    }
    #expect(resting.rested > 50 && awake.rested == 0)
    #expect(resting.wire == awake.wire)
    #expect(resting.client.seen == awake.client.seen)
    #expect(resting.server.seen == awake.server.seen)
    #expect(resting.client.session.status == .ok && resting.server.session.status == .ok)
  }

  /// Sessions of one inbox, each with secrets of its own, resting and waking in any order.
  @Test func sessionsOfOneInboxKeepApart() throws {
    let inbox = try #require(HTTP2Inbox.make())
    let sessions = try (0..<200).map { _ in try #require(HTTP2Session.server(inbox)) }
    let peers = try sessions.map { _ in try Endpoint(server: false) }
    var random = Seeded(state: 99)
    var rested = 0
    func turn(_ index: Int, _ path: String, _ secret: String) throws {
      let session = sessions[index]
      let peer = peers[index]
      let id = peer.request("GET", path, [("x-secret", secret)])
      for _ in 0..<3 {
        var bytes = peer.drain()
        unsafe bytes.withUnsafeMutableBufferPointer { buffer in
          guard let base = buffer.baseAddress else { return }
          #expect(unsafe session.receive(base, buffer.count) == .ok)
          for place in 0..<inbox.count where inbox[place].kind == .requestHead {
            let fields = unsafe lines(inbox[place].requestHead.pointee.fields)
            #expect(fields == ["x-secret: \(secret)"])
            var answer = inbox.fieldList()
            // The value must outlive the submission.
            let isSent = withBytes(secret) {
              answer.append(name: "y-secret", value: $0)
              return session.submitResponse(id, status: 200, fields: answer, endStream: true)
            }
            #expect(isSent)
          }
          inbox.reset()
        }
        var out = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe out.withUnsafeMutableBufferPointer {
          unsafe session.drain(into: $0.baseAddress!, capacity: $0.count)
        }
        inbox.reset()
        peer.receive(Array(out[..<count]))
      }
      #expect(peer.events(.responseHead).last?.fields == ["y-secret: \(secret)"])
      if random.below(4) > 0 { session.rest() }
      rested += session.isResting ? 1 : 0
    }
    for step in 0..<2000 {
      let index = random.below(sessions.count)
      // Every second time what the tables hold from before.
      try turn(index, "/\(index)", step % 2 == 0 ? "secret-of-\(index)" : "secret-of-\(index)-\(random.below(3))")
    }
    #expect(rested > 1000)
    sessions.forEach { $0.destroy() }
    inbox.destroy()
  }

  @Test func busySessionsDoNotRest() throws {
    let client = try Endpoint(server: false)
    let server = try Endpoint(server: true)
    client.session.rest()
    // The preface is still to be sent.
    #expect(!client.session.isResting)
    pump(client, server)
    let id = client.request("POST", end: false)
    client.session.rest()
    #expect(!client.session.isResting)
    pump(client, server)
    server.session.rest()
    #expect(!server.session.isResting)
    client.write(id, "", end: true)
    server.respond(id, end: true)
    pump(client, server)
    server.session.rest()
    client.session.rest()
    #expect(server.session.isResting && client.session.isResting)
    #expect(!server.session.wantsWrite && !server.session.isResting)
    server.session.rest()
    // The end of Endpoint destroys a session that rests.
  }

  /// A request head that comes in pieces lies outside the session and in it.
  @Test func halfAHeadKeepsASessionAwake() throws {
    let server = try Endpoint(server: true)
    server.receive(Raw.start)
    _ = server.drain()
    let request = Raw.headers(1, Raw.get)
    server.session.rest()
    #expect(server.session.isResting)
    server.receive(Array(request[..<20]))
    server.session.rest()
    #expect(!server.session.isResting)
    server.receive(Array(request[20...]))
    #expect(server.events(.requestHead).count == 1)
  }

  /// Half a frame header may wait in the library: it comes back as well.
  @Test func halfAFrameSurvives() throws {
    let server = try Endpoint(server: true)
    server.receive(Raw.start)
    _ = server.drain()
    for byte in Raw.frame(6, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8]) {
      server.session.rest()
      #expect(server.session.isResting)
      server.receive([byte])
    }
    #expect(server.drain() == Raw.frame(6, 1, 0, [1, 2, 3, 4, 5, 6, 7, 8]))
  }
}
