import RoutingTable

/// What the rows say of one image and pattern.
struct Row {
  let shape: Shape
  let routes: Int
  let pattern: Pattern
  let nanoseconds: Double
  let imageBytes: Int
  let compileMilliseconds: Double
}

@main
enum Main {
  static let usage = """
    Usage: lookup [--json] [--rounds N] [--shape hosts|paths|mix] [--routes N]
    Times look-ups in routing images of 10 to 100,000 routes.
    """

  static func main() throws {
    var arguments = CommandLine.arguments.dropFirst()
    var json = false
    var repetitions = 9
    var shapes = Shape.allCases
    var sizes = [10, 100, 1000, 10_000, 100_000]
    while let argument = arguments.popFirst() {
      switch argument {
      case "--json": json = true
      case "--rounds": repetitions = arguments.first.flatMap { Int($0) } ?? repetitions
      case "--shape": shapes = shapes.filter { $0.rawValue == arguments.first }
      case "--routes": sizes = arguments.first.flatMap { Int($0) }.map { [$0] } ?? []
      default:
        print(usage)
        return
      }
      if argument == "--rounds" || argument == "--shape" || argument == "--routes" { arguments.removeFirst() }
    }
    let requests = Requests()
    let rows = try measure(shapes, sizes, requests, repetitions: repetitions)
    let latencies = [15, 18, 20, 22, 23, 24, 25].map { Latency(bytes: 1 << $0, requests) }
    print(json ? Report.json(rows, latencies) : Report.markdown(rows, latencies))
  }

  /// Rounds over all images, so that what else runs on the machine hits each of them; the median of the rounds.
  private static func measure(
    _ shapes: [Shape], _ sizes: [Int], _ requests: borrowing Requests, repetitions: Int
  ) throws -> [Row] {
    var cases: [Case] = []
    for shape in shapes {
      for size in sizes { cases.append(try Case(shape: shape, routes: size)) }
    }
    for item in cases { item.check(requests) }
    for _ in 0..<repetitions {
      for item in cases {
        for pattern in Pattern.allCases.indices {
          // Once for the caches.
          item.measure(pattern, requests, keep: false)
          item.measure(pattern, requests, keep: true)
        }
      }
    }
    let clock = Case.clockCost()
    return cases.flatMap { item in
      zip(Pattern.allCases, item.times).map { pattern, times in
        Row(
          shape: item.shape, routes: item.routes, pattern: pattern,
          nanoseconds: times.sorted()[times.count / 2] - clock, imageBytes: item.imageBytes,
          compileMilliseconds: item.compileTime)
      }
    }
  }
}
