import Upstream

/// A caller of the pool that knows by plain means what each connection does.
struct Simulation: ~Copyable {
  private enum Use: Equatable {
    case leased
    case idle(since: UInt64)
    case shared(streams: Int, limit: Int, draining: Bool)
  }

  var table = PoolTable(maxConnections: 40, maxIdlePerEndpoint: 4)
  private var known: [Int32: (endpoint: Int32, use: Use)] = [:]
  private var retired: Set<Int32> = []
  private var endpointCount: Int32 = 2
  private var now: UInt64 = 0
  private var state: UInt64

  init(seed: UInt64) {
    state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    table.reserve(endpoints: 2, backends: 1)
  }

  private mutating func random(_ bound: Int) -> Int {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return Int((state &* 2_685_821_657_736_338_717) >> 33) % bound
  }

  private mutating func any(_ accept: (Use) -> Bool) -> Int32? {
    let found = known.filter { accept($0.value.use) }.keys.sorted()
    return found.isEmpty ? nil : found[random(found.count)]
  }

  private mutating func unused() -> Int32? {
    let free = (0..<40 as Range<Int32>).filter { known[$0] == nil }
    return free.isEmpty ? nil : free[random(free.count)]
  }

  /// One operation; what was wrong about its answer.
  mutating func step() -> String? {
    now += UInt64(random(20))
    let endpoint = Int32(random(Int(endpointCount)))
    switch random(14) {
    case 0, 1: return leaseOrOpen(endpoint)
    case 2, 3: return release()
    case 4, 5: return openStream(endpoint)
    case 6, 7: return closeStream()
    case 8:
      guard let connection = any({ _ in true }) else { return nil }
      table.remove(connection)
      known[connection] = nil
    case 9: return expire()
    case 10: return retire(endpoint)
    case 11:
      table.restore(endpoint: endpoint)
      retired.remove(endpoint)
    case 12: return drainOrLimit()
    default:
      endpointCount = min(endpointCount + 1, 12)
      table.reserve(endpoints: Int(endpointCount), backends: 1)
    }
    return nil
  }

  private mutating func leaseOrOpen(_ endpoint: Int32) -> String? {
    let idle = known.filter { entry in
      if case .idle = entry.value.use { return entry.value.endpoint == endpoint }
      return false
    }
    let leased = table.leaseIdle(endpoint: endpoint)
    if leased >= 0 {
      guard idle[leased] != nil else { return "leased \(leased), which is not idle there" }
      known[leased]?.use = .leased
    } else {
      if !idle.isEmpty { return "did not lease one of \(idle.keys.sorted())" }
      guard let connection = unused() else { return nil }
      table.addLeased(connection, endpoint: endpoint)
      known[connection] = (endpoint, .leased)
    }
    return nil
  }

  private mutating func release() -> String? {
    guard let connection = any({ $0 == .leased }), let endpoint = known[connection]?.endpoint
    else { return nil }
    let idle = known.filter { entry in
      if case .idle = entry.value.use { return entry.value.endpoint == endpoint }
      return false
    }
    switch table.release(connection, endpoint: endpoint, nowMilliseconds: now) {
    case .keep:
      if retired.contains(endpoint) { return "kept \(connection) of a retired endpoint" }
      if idle.count >= 4 { return "kept too many" }
      known[connection]?.use = .idle(since: now)
    case .close(let closed):
      if retired.contains(endpoint) {
        if closed != connection { return "closed \(closed) for \(connection)" }
      } else {
        if idle.count < 4 || idle[closed] == nil { return "closed \(closed) without need" }
        known[connection]?.use = .idle(since: now)
      }
      known[closed] = nil
    }
    return nil
  }

  private mutating func openStream(_ endpoint: Int32) -> String? {
    let connection = table.shared(endpoint: endpoint)
    if connection >= 0 {
      guard let entry = known[connection], entry.endpoint == endpoint,
        case .shared(let streams, let limit, false) = entry.use, streams < limit
      else { return "shared \(connection), which has no room there" }
      table.streamOpened(connection)
      known[connection]?.use = .shared(streams: streams + 1, limit: limit, draining: false)
      return nil
    }
    let missed = known.contains { entry in
      if case .shared(let streams, let limit, false) = entry.value.use {
        return entry.value.endpoint == endpoint && streams < limit
      }
      return false
    }
    if missed { return "overlooked a connection with room" }
    guard let connection = unused() else { return nil }
    let limit = random(5)
    table.addShared(connection, endpoint: endpoint, limit: limit, nowMilliseconds: now)
    known[connection] = (endpoint, .shared(streams: 0, limit: limit, draining: false))
    return nil
  }

  private mutating func closeStream() -> String? {
    let carrying = any { use in
      if case .shared(let streams, _, _) = use { return streams > 0 }
      return false
    }
    guard let connection = carrying, let entry = known[connection],
      case .shared(let streams, let limit, let draining) = entry.use
    else { return nil }
    let ends = streams == 1 && (draining || retired.contains(entry.endpoint))
    let action = table.streamClosed(connection, nowMilliseconds: now)
    if action != (ends ? .close(connection) : .keep) { return "\(action) for \(entry)" }
    if ends {
      known[connection] = nil
    } else {
      known[connection]?.use = .shared(streams: streams - 1, limit: limit, draining: draining)
    }
    return nil
  }

  private mutating func expire() -> String? {
    let time = now - min(now, UInt64(random(200)))
    while case let connection = table.expireIdle(olderThanMilliseconds: time), connection >= 0 {
      switch known[connection]?.use {
      case .idle(let since) where since < time: break
      case .shared(0, _, false): break
      case let use: return "expired \(connection): \(String(describing: use)) at \(time)"
      }
      known[connection] = nil
    }
    let missed = known.contains { entry in
      if case .idle(let since) = entry.value.use { return since < time }
      return false
    }
    return missed ? "did not expire all" : nil
  }

  private mutating func retire(_ endpoint: Int32) -> String? {
    table.retire(endpoint: endpoint)
    retired.insert(endpoint)
    while case let connection = table.nextRetired(endpoint: endpoint), connection >= 0 {
      guard let entry = known.removeValue(forKey: connection), entry.endpoint == endpoint else {
        return "retired \(connection), which is not there"
      }
      switch entry.use {
      case .idle, .shared(0, _, _): break
      default: return "retired \(connection), which is in use"
      }
    }
    for (connection, entry) in known where entry.endpoint == endpoint {
      switch entry.use {
      case .idle: return "left \(connection) idle"
      case .shared(let streams, let limit, false) where streams < limit:
        known[connection]?.use = .shared(streams: streams, limit: limit, draining: true)
      default: break
      }
    }
    return nil
  }

  private mutating func drainOrLimit() -> String? {
    let found = any { use in
      if case .shared(_, _, false) = use { return true }
      return false
    }
    guard let connection = found, case .shared(let streams, let limit, _)? = known[connection]?.use else {
      return nil
    }
    if random(2) == 0, streams > 0 {
      table.setDraining(connection)
      known[connection]?.use = .shared(streams: streams, limit: limit, draining: true)
    } else {
      let limit = random(6)
      table.setLimit(connection, limit)
      known[connection]?.use = .shared(streams: streams, limit: limit, draining: false)
    }
    return nil
  }
}
