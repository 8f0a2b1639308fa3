import HTTP2
import Telemetry

/// What a seed stands for: how many clients, what the network is like, what goes wrong.
struct SimulationPlan {
  /// Nothing goes wrong by itself: every request must be answered by its backend, whole.
  let isCalm: Bool
  var clients: Int
  var requestsEach: Int
  /// Percent of the clients that speak HTTP/2.
  var http2Percent: Int
  var largestBody: Int
  /// Microseconds until a client gives up a request; nil: never. Where nothing goes wrong an answer may take as long as
  /// the network needs for all that goes before it, and a world that stands still is found by that: see `quiet`.
  var patience: Int?
  var slowReaderPercent = 0
  var halfCloses = false
  var faultPercent = 0
  var abandonPercent = 0
  var idleClosePercent = 0
  var refusedConnectPercent = 0
  var silentConnectPercent = 0
  var swaps = 0
  /// Whether swaps take away endpoints and listeners that are in use, all of them even.
  var swapsAreHarsh = false
  /// Microseconds after which the drain begins whatever is under way; nil: at the end.
  var drainAfter: Int?
  var limits = Limits()
  var conditions = SimulatedNetwork.Conditions()
  var peerLimits = HTTP2Limits()

  init(seed: UInt64, random: inout SimulatedRandom) {
    isCalm = seed % 3 == 0
    clients = 1 + random.below(8)
    requestsEach = 1 + random.below(10)
    http2Percent = random.pick([0, 50, 50, 100])
    largestBody = random.pick([500, 5_000, 5_000, 100_000])
    slowReaderPercent = random.pick([0, 0, 20, 60])
    swaps = random.pick([0, 1, 3, 8])
    conditions.delay = random.pick([1...20, 5...2_000, 5...2_000, 100...30_000])
    conditions.largestSegment = random.pick([3, 100, 1_460, 1_460, 16_384, 65_536])
    if conditions.largestSegment < 100 { largestBody = min(largestBody, 500) }
    conditions.sendRoom = random.pick([1...300, 1_000...8_000, 65_536...65_536])
    conditions.receiveRoom = random.pick([1_000, 16_384, 65_536])
    choosePeerLimits(&random)
    limits.bufferHighWater = random.pick([4_096, 4_096, 65_536])
    limits.bufferLowWater = limits.bufferHighWater / 4
    limits.maxUpstreamStreams = random.pick([1, 3, 100])
    limits.maxIdleUpstreamPerEndpoint = random.pick([1, 2, 1_024])
    limits.maxConcurrentStreams = random.pick([1, 5, 100])
    if !isCalm { makeStormy(&random) }
  }

  private mutating func choosePeerLimits(_ random: inout SimulatedRandom) {
    peerLimits.streamWindow = random.pick([65_535, 65_536, 200_000])
    peerLimits.maxStreamWindow = max(65_536, peerLimits.streamWindow)
    peerLimits.maxConcurrentStreams = random.pick([1, 4, 100])
    let much = HTTP2Rate(burst: 1_000_000, perSecond: 1_000_000)
    peerLimits.resetsReceived = much
    peerLimits.resetsSent = much
    peerLimits.pings = much
    peerLimits.settings = much
    peerLimits.emptyData = much
    peerLimits.windowUpdates = much
  }

  private mutating func makeStormy(_ random: inout SimulatedRandom) {
    patience = random.pick([2_000_000, 20_000_000])
    halfCloses = random.chance(50)
    faultPercent = random.pick([0, 20, 60])
    abandonPercent = random.pick([0, 10, 50])
    idleClosePercent = random.pick([0, 20, 80])
    refusedConnectPercent = random.pick([0, 0, 30])
    silentConnectPercent = random.pick([0, 0, 20])
    swapsAreHarsh = random.chance(60)
    conditions.stallPercent = random.pick([0, 0, 3])
    conditions.exhaustedPercent = random.pick([0, 0, 10])
    limits.idleTimeout = random.pick([300, 5_000, 3_600_000])
    limits.requestHeadTimeout = random.pick([50, 10_000])
    limits.requestBodyIdleTimeout = random.pick([50, 300_000])
    limits.writeStallTimeout = random.pick([0, 100, 300_000])
    limits.upstreamConnectTimeout = random.pick([20, 5_000])
    limits.upstreamIdleTimeout = random.pick([5, 200, 60_000])
    limits.maxUpstreamPerEndpoint = random.pick([0, 0, 2])
    limits.maxConnectionsPerWorker = random.pick([0, 0, 4])
    limits.maxRequestBodyBytes = random.pick([0, 0, 300])
    if random.chance(25) { drainAfter = random.within(1_000...3_000_000) }
  }

  // MARK: Requests

  func exchange(_ id: Int, isHTTP2: Bool, _ random: inout SimulatedRandom) -> Exchange {
    let exchange = Exchange(id: id, route: route(isHTTP2: isHTTP2, &random))
    exchange.method = random.pick(["GET", "GET", "POST", "POST", "PUT", "HEAD"])
    if exchange.route == .grpc { exchange.method = "POST" }
    if exchange.method == "POST" || exchange.method == "PUT" {
      exchange.requestLength = random.size(largestBody)
      exchange.isChunked = random.chance(50)
      exchange.expects = !isHTTP2 && exchange.requestLength > 0 && random.chance(15)
    }
    if !isHTTP2, exchange.route == .one || exchange.route == .two, random.chance(10) {
      exchange.isUpgrade = true
      exchange.method = "GET"
      exchange.requestLength = random.size(largestBody)
    }
    if random.chance(abandonPercent) { exchange.abandonedAfter = random.size(1_000_000) }
    exchange.answer = answer(exchange, &random)
    return exchange
  }

  private func route(isHTTP2: Bool, _ random: inout SimulatedRandom) -> Exchange.Route {
    switch random.below(20) {
    case 0: random.pick([.redirect, .fixed, .nowhere])
    case 1...2: isHTTP2 ? .grpc : .one
    case 3...4: .oneTimed
    case 5...6: .twoTimed
    case 7...13: .one
    default: .two
    }
  }

  private func answer(_ exchange: Exchange, _ random: inout SimulatedRandom) -> Exchange.Answer {
    var answer = Exchange.Answer()
    answer.length = random.size(largestBody)
    answer.delay = random.chance(70) ? random.below(2_000) : random.below(100_000)
    answer.interim = random.chance(10) && !exchange.isUpgrade
    answer.framing = random.pick([.length, .length, .chunked, .chunked, .untilClose])
    answer.trailers = answer.framing == .chunked && exchange.method != "HEAD" && random.chance(50)
    if exchange.route == .grpc { answer.trailers = true }
    if random.chance(10), !exchange.isUpgrade, exchange.route != .grpc {
      (answer.status, answer.length, answer.framing, answer.trailers) = (204, 0, .length, false)
    }
    if !isCalm {
      answer.isEarly = random.chance(10) && !exchange.isUpgrade
      answer.saysClose = random.chance(10)
      if random.chance(faultPercent) { answer.fault = random.pick(Exchange.Answer.Fault.allCases) }
    } else if answer.framing == .untilClose, exchange.isUpgrade {
      answer.framing = .length
    }
    return answer
  }
}
