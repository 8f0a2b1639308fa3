/// One request with what is to become of it, and what became of it.
final class Exchange {
  enum Route: String, CaseIterable {
    /// To HTTP/1.1 backends, to HTTP/2 backends, and to either under a rule with timeouts.
    case one, two, oneTimed, twoTimed
    case grpc
    /// Answered without a backend.
    case redirect, fixed, nowhere
  }

  enum Framing: CaseIterable { case length, chunked, untilClose }

  /// What a backend does about the request.
  struct Answer {
    enum Fault: CaseIterable {
      case none
      /// Stops in the middle: by a reset, or by an end where that can be told from a whole answer.
      case reset, end
      case silence, malformed, refused
      /// Bytes behind the answer that nobody asked for.
      case surplus
      /// The connection ends behind a whole answer, unannounced.
      case unannouncedClose
      case goAway
    }

    var status = 200
    var length = 0
    var framing = Framing.length
    /// Microseconds from the end of the request (or from its head) to the first byte.
    var delay = 0
    var isEarly = false
    var interim = false
    var trailers = false
    var fault = Fault.none
    var saysClose = false
  }

  enum Outcome: Equatable {
    case answered
    /// A status of the proxy's own.
    case local(Int)
    /// Visibly not whole.
    case aborted(String)
  }

  let id: Int
  let route: Route
  var method = "GET"
  var requestLength = 0
  var isChunked = false
  var expects = false
  var isUpgrade = false
  /// The client stops within the request or the answer, after this many microseconds; nil: it does not.
  var abandonedAfter: Int?
  var answer = Answer()

  /// A backend's surplus came in place of its answer: see `Simulation.check`.
  var gotSurplus = false

  private(set) var outcome: Outcome?
  /// How often a backend got the head and did not refuse it.
  var acted = 0
  /// How often a backend got the whole request.
  var delivered = 0

  init(id: Int, route: Route) {
    self.id = id
    self.route = route
  }

  var path: String { "/\(route.rawValue)/\(id)" }
  var isIdempotent: Bool { method != "POST" }
  var isPlain: Bool { answer.fault == .none && abandonedAfter == nil }
  /// Under a rule with timeouts, which act in a network that is slow by itself too.
  var isTimed: Bool { route == .oneTimed || route == .twoTimed }
  /// Answered without waiting for its body. Where the rest is under way for longer than the worker lingers, the reset
  /// that it then meets takes the answer along (RFC 9112 section 9.6).
  var isAnsweredUnread: Bool { requestLength > 0 && [.redirect, .fixed, .nowhere].contains(route) }

  /// - Returns: false when it was resolved before.
  func resolve(_ outcome: Outcome) -> Bool {
    guard self.outcome == nil else { return false }
    self.outcome = outcome
    return true
  }

  static func id(ofPath path: some StringProtocol) -> Int? {
    path.split(separator: "/").last.flatMap { Int($0) }
  }

  // MARK: Bodies

  /// The byte at a place of a body: no two bodies agree for long.
  static func byte(_ id: Int, isAnswer: Bool, at offset: Int) -> UInt8 {
    let mixed = UInt32(truncatingIfNeeded: id &* 2 &+ (isAnswer ? 1 : 0)) &* 2_654_435_761
    return UInt8(truncatingIfNeeded: (mixed >> 8) &+ UInt32(truncatingIfNeeded: offset) &* 167 &+ mixed >> 21)
      ^ UInt8(truncatingIfNeeded: offset >> 8)
  }

  func bytes(isAnswer: Bool, _ range: Range<Int>) -> [UInt8] {
    range.map { Self.byte(id, isAnswer: isAnswer, at: $0) }
  }

  /// Whether the bytes stand at this place of the body.
  func agrees(_ bytes: some Collection<UInt8>, isAnswer: Bool, from offset: Int) -> Bool {
    var at = offset
    for byte in bytes {
      if byte != Self.byte(id, isAnswer: isAnswer, at: at) { return false }
      at += 1
    }
    return at <= (isAnswer ? answer.length : requestLength)
  }
}
