/// What one read costs that has to wait for the one before, over so many bytes in random order, a read a cache line.
struct Latency {
  let bytes: Int
  /// Nanoseconds, one read right behind the other.
  let dense: Double
  /// Nanoseconds, with requests made between the reads as between look-ups: what else uses the caches of the machine
  /// has had as much time to push a line out.
  let paced: Double

  init(bytes: Int, _ requests: borrowing Requests) {
    let chain = Chain(bytes: bytes)
    self.bytes = bytes
    var offset = 0
    var times: [Double] = []
    let steps = max(chain.lines, 200_000)
    for _ in 0..<3 {
      let start = now()
      offset = chain.follow(from: offset, steps)
      times.append(Double(now() - start) / Double(steps))
    }
    dense = times.min() ?? 0
    var batches: [UInt64] = []
    // Once round for the caches.
    let batchCount = max(2 * chain.lines, 100_000) / Requests.count
    for batch in 0..<batchCount {
      for index in 0..<Requests.count { requests.prepare(index, Shape.hosts.names(of: batch * 32 + index)) }
      let start = now()
      offset = chain.follow(from: offset, Requests.count)
      if batch >= batchCount / 2 { batches.append(now() - start) }
    }
    precondition(offset >= 0)
    paced = Double(batches.sorted()[batches.count / 2]) / Double(Requests.count) - Case.clockCost()
  }
}

/// Lines of memory, each of which holds the offset of the next.
@safe
private struct Chain: ~Copyable {
  // INVARIANT: every line of the mapping begins with the offset of another.
  private let mapping: Mapping
  let lines: Int

  init(bytes: Int) {
    let line = 64
    mapping = Mapping(count: bytes)
    let lines = bytes / line
    self.lines = lines
    var order = (0..<lines).map { $0 }
    var random = Random(7)
    for index in stride(from: lines - 1, to: 0, by: -1) { order.swapAt(index, random.below(index + 1)) }
    for (place, at) in order.enumerated() {
      // SAFETY: both are numbers of lines within the mapping.
      unsafe mapping.base.storeBytes(of: order[(place + 1) % lines] * line, toByteOffset: at * line, as: Int.self)
    }
  }

  @inline(never)
  func follow(from start: Int, _ steps: Int) -> Int {
    var offset = start
    // SAFETY: the invariant.
    for _ in 0..<steps { unsafe offset = mapping.base.load(fromByteOffset: offset, as: Int.self) }
    return offset
  }
}
