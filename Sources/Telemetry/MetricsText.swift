/// Builds the text that Prometheus scrapes (exposition format 0.0.4).
public struct MetricsText {
  public private(set) var text = ""
  private var lastFamily = ""

  public init() {}

  /// One sample. Samples of one family must follow each other; HELP and TYPE are written once.
  public mutating func sample(
    _ family: String, _ type: String, help: String, labels: [(String, String)] = [], value: String
  ) {
    head(family, type, help)
    let list = labels.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",")
    line(family, list, value)
  }

  /// All counters and limits added up over the workers, and a few of each worker. `main` holds what the
  /// main thread counts; it is added up but is no worker.
  public mutating func workers(_ workers: [CounterBlock], main: CounterBlock? = nil) {
    let blocks = workers + (main.map { [$0] } ?? [])
    for counter in Counter.allCases {
      let description = counter.description
      let sum = blocks.reduce(0 as UInt64) { $0 &+ $1.value(counter) }
      head("\(description.family)", description.kind == .gauge ? "gauge" : "counter", "\(description.help)")
      // A gauge may look negative for an instant while its worker writes.
      let value = description.kind == .gauge ? "\(max(0, Int64(bitPattern: sum)))" : "\(sum)"
      line("\(description.family)", "\(description.labels)", value)
    }
    for limit in Limit.allCases {
      let sum = blocks.reduce(0 as UInt64) { $0 &+ $1.hits(of: limit) }
      sample(
        "sluice_limit_hits_total", "counter", help: "How often a limit acted.",
        labels: [("limit", "\(limit.name)")], value: "\(sum)")
    }
    durations(blocks)
    for (index, block) in workers.enumerated() {
      sample(
        "sluice_worker_requests_total", "counter", help: "Requests of one worker.",
        labels: [("worker", "\(index)")],
        value: "\(block.value(.requestsHTTP1) &+ block.value(.requestsHTTP2))")
    }
    for (index, block) in workers.enumerated() {
      sample(
        "sluice_worker_connections_active", "gauge", help: "Open client connections of one worker.",
        labels: [("worker", "\(index)")],
        value: "\(max(0, Int64(bitPattern: block.value(.downstreamConnectionsActive))))")
    }
  }

  private mutating func durations(_ blocks: [CounterBlock]) {
    let family = "sluice_request_duration_seconds"
    head(family, "histogram", "From the first byte of a request to the last of its response.")
    var cumulative: UInt64 = 0
    for (index, bound) in DurationBuckets.bounds.enumerated() {
      cumulative = blocks.reduce(cumulative) { $0 &+ $1.requests(inBucket: index) }
      line("\(family)_bucket", "le=\"\(Self.seconds(bound))\"", "\(cumulative)")
    }
    cumulative = blocks.reduce(cumulative) { $0 &+ $1.requests(inBucket: DurationBuckets.bounds.count) }
    line("\(family)_bucket", "le=\"+Inf\"", "\(cumulative)")
    line("\(family)_sum", "", Self.seconds(blocks.reduce(0) { $0 &+ $1.requestMicroseconds }))
    line("\(family)_count", "", "\(cumulative)")
  }

  private mutating func head(_ family: String, _ type: String, _ help: String) {
    guard family != lastFamily else { return }
    lastFamily = family
    text += "# HELP \(family) \(help)\n# TYPE \(family) \(type)\n"
  }

  private mutating func line(_ name: String, _ labels: String, _ value: String) {
    text += labels.isEmpty ? "\(name) \(value)\n" : "\(name){\(labels)} \(value)\n"
  }

  /// Microseconds as seconds without trailing zeros.
  public static func seconds(_ microseconds: UInt64) -> String {
    var fraction = "\(microseconds % 1_000_000 + 1_000_000)".dropFirst()
    while fraction.last == "0" { fraction.removeLast() }
    return fraction.isEmpty ? "\(microseconds / 1_000_000)" : "\(microseconds / 1_000_000).\(fraction)"
  }

  private static func escaped(_ value: String) -> String {
    var result = ""
    for character in value.unicodeScalars {
      switch character {
      case "\\": result += "\\\\"
      case "\"": result += "\\\""
      case "\n": result += "\\n"
      default: result.unicodeScalars.append(character)
      }
    }
    return result
  }
}
