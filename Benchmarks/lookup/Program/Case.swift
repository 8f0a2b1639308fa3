import HTTPSemantics
import RoutingTable

/// Which routes the requests of a run are for.
enum Pattern: String, CaseIterable {
  /// Every route as often as every other: the worst for caches.
  case uniform
  /// The n-th most wanted route is asked for 1/n as often as the first.
  case zipf

  func sequence(routes: Int, count: Int) -> [UInt32] {
    var random = Random(UInt64(routes))
    switch self {
    case .uniform: return (0..<count).map { _ in UInt32(random.below(routes)) }
    case .zipf:
      var ranks = (0..<routes).map { UInt32($0) }
      for index in stride(from: routes - 1, to: 0, by: -1) { ranks.swapAt(index, random.below(index + 1)) }
      var sums: [Double] = []
      sums.reserveCapacity(routes)
      for rank in 0..<routes { sums.append((sums.last ?? 0) + 1 / Double(rank + 1)) }
      return (0..<count).map { _ in
        let point = Double(random.next() >> 11) / Double(1 << 53) * (sums.last ?? 1)
        var (low, high) = (0, routes - 1)
        while low < high {
          let middle = (low + high) / 2
          if sums[middle] > point { high = middle } else { low = middle + 1 }
        }
        return ranks[low]
      }
    }
  }
}

/// One image, and what its look-ups took.
final class Case {
  static let sequenceLength = 1 << 18

  let shape: Shape
  let routes: Int
  /// Milliseconds.
  let compileTime: Double
  private let mapping: Mapping
  private let regexes: LoadedRegexes
  private let sequences: [[UInt32]]
  private(set) var times: [[Double]] = Pattern.allCases.map { _ in [] }

  var imageBytes: Int { mapping.count }
  private var image: RoutingImage {
    unsafe RoutingImage(verified: mapping.base, count: mapping.count, regexes: regexes.pointers)
  }

  init(shape: Shape, routes: Int) throws {
    self.shape = shape
    self.routes = routes
    let source = shape.table(routes: routes)
    let start = now()
    let bytes = try compile(source)
    compileTime = Double(now() - start) / 1e6
    mapping = Mapping(bytes)
    try unsafe verify(UnsafeRawBufferPointer(start: mapping.base, count: mapping.count))
    regexes = try unsafe LoadedRegexes(verified: mapping.base, count: mapping.count)
    sequences = Pattern.allCases.map { $0.sequence(routes: routes, count: Self.sequenceLength) }
  }

  /// Every route wins its own request.
  func check(_ requests: borrowing Requests) {
    for route in 0..<routes {
      requests.prepare(0, shape.names(of: route))
      let answer = unsafe image.lookup(socket: 0, head: requests.heads)
      precondition(answer.rule == Int32(route), "\(shape), \(routes): route \(route) got \(answer)")
    }
  }

  /// Requests of a run: the whole sequence when the table is large, so that a second run finds in the caches whatever
  /// of the first one fits there.
  private var lookups: Int { routes < 10_000 ? Self.sequenceLength / 8 : Self.sequenceLength }

  func measure(_ pattern: Int, _ requests: borrowing Requests, keep: Bool) {
    let sequence = sequences[pattern]
    var place = 0
    var batches: [UInt64] = []
    batches.reserveCapacity(lookups / Requests.count)
    while batches.count * Requests.count < lookups {
      for index in 0..<Requests.count {
        requests.prepare(index, shape.names(of: Int(sequence[place])))
        place = (place + 1) % Self.sequenceLength
      }
      batches.append(Self.run(image, requests))
    }
    // The median batch: one in which the thread had to wait for its core says nothing.
    if keep { times[pattern].append(Double(batches.sorted()[batches.count / 2]) / Double(Requests.count)) }
  }

  /// Nanoseconds for the look-ups of a batch. Each waits for the answer of the one before, as a worker's do, which
  /// are a request's whole work apart.
  @inline(never)
  private static func run(_ image: RoutingImage, _ requests: borrowing Requests) -> UInt64 {
    let start = now()
    var index = 0
    while index < Requests.count {
      let answer = unsafe image.lookup(socket: 0, head: requests.heads + index)
      // The rule of a match is not negative: adds one.
      index &+= 1 &+ Int(answer.rule >> 31)
    }
    return now() - start
  }

  /// Nanoseconds a look-up that the clock takes.
  static func clockCost() -> Double {
    var costs: [UInt64] = []
    for _ in 0..<10_000 {
      let start = now()
      costs.append(now() - start)
    }
    return Double(costs.sorted()[costs.count / 2]) / Double(Requests.count)
  }
}
