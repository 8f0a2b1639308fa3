/// The values of all limits, trivial numbers that the hot path reads directly. Times are milliseconds.
/// The defaults are those that edge proxies agree on; what each one does is said in `Limit`.
@frozen
public struct Limits: Sendable, Equatable {
  public var maxConnections = 65_536
  public var maxConnectionsPerWorker = 0
  public var maxConnectionsPerClient = 0
  public var maxHandshakes = 1000
  public var tlsHandshakeTimeout = 10_000
  public var tlsTicketKeyInterval = 3_600_000
  public var maxKeyUpdates = 100
  public var requestHeadTimeout = 10_000
  public var idleTimeout = 3_600_000
  public var requestBodyIdleTimeout = 300_000
  public var writeStallTimeout = 300_000

  public var tcpIdleTimeout = 3_600_000
  public var udpSessionIdleTimeout = 60_000
  public var maxUDPSessions = 10_000
  public var maxProxyHeaderBytes = 4096
  public var maxClientHelloBytes = 16 * 1024

  public var maxRequestLineBytes = 16 * 1024
  public var maxHeadBytes = 60 * 1024
  public var maxHeaderFields = 100
  public var maxTrailerBytes = 16 * 1024
  public var maxChunkExtensionBytes = 1024
  public var maxRequestBodyBytes = 0

  public var bufferHighWater = 64 * 1024
  public var bufferLowWater = 16 * 1024

  public var maxConcurrentStreams = 100
  public var streamWindow = 64 * 1024
  public var maxStreamWindow = 256 * 1024
  public var connectionWindow = 1024 * 1024
  public var maxStreamResets = 1000
  public var maxPings = 120
  public var maxSettings = 60
  public var maxEmptyFrames = 1000
  public var maxPriorityFrames = 2000
  public var maxWindowUpdates = 500_000
  public var maxContinuationFrames = 16
  public var maxUnknownFrames = 1000
  public var maxQueuedControlFrames = 1000

  public var upstreamConnectTimeout = 5000
  public var upstreamIdleTimeout = 60_000
  public var maxIdleUpstreamPerEndpoint = 1024
  public var maxUpstreamPerEndpoint = 0
  public var maxUpstreamStreams = 100
  public var maxInterimResponses = 16
  public var maxUpstreamSessions = 4

  public var drainTimeout = 30_000
  public var maxAdminConnections = 64
  public var maxTurnMicroseconds = 100
  public var maxMemory = 2 << 30

  public init() {}

  /// As a worker keeps them: a time of 0, which switches a client's timeout off, is a year.
  public var acting: Limits {
    var result = self
    for limit in [
      Limit.tlsHandshakeTimeout, .requestHeadTimeout, .idleTimeout, .requestBodyIdleTimeout, .writeStallTimeout,
    ]
    where self[limit] == 0 {
      result[limit] = limit.definition.range.upperBound
    }
    return result
  }

  /// The value of one limit. Off the hot path: it is a jump table.
  public subscript(limit: Limit) -> Int {
    get { self[keyPath: Self.path(to: limit)] }
    set { self[keyPath: Self.path(to: limit)] = newValue }
  }

  private static func path(to limit: Limit) -> WritableKeyPath<Limits, Int> {
    switch limit {
    case .maxConnections: \.maxConnections
    case .maxConnectionsPerWorker: \.maxConnectionsPerWorker
    case .maxConnectionsPerClient: \.maxConnectionsPerClient
    case .maxHandshakes: \.maxHandshakes
    case .tlsHandshakeTimeout: \.tlsHandshakeTimeout
    case .tlsTicketKeyInterval: \.tlsTicketKeyInterval
    case .maxKeyUpdates: \.maxKeyUpdates
    case .requestHeadTimeout: \.requestHeadTimeout
    case .idleTimeout: \.idleTimeout
    case .requestBodyIdleTimeout: \.requestBodyIdleTimeout
    case .writeStallTimeout: \.writeStallTimeout
    case .tcpIdleTimeout: \.tcpIdleTimeout
    case .udpSessionIdleTimeout: \.udpSessionIdleTimeout
    case .maxUDPSessions: \.maxUDPSessions
    case .maxProxyHeaderBytes: \.maxProxyHeaderBytes
    case .maxClientHelloBytes: \.maxClientHelloBytes
    case .maxRequestLineBytes: \.maxRequestLineBytes
    case .maxHeadBytes: \.maxHeadBytes
    case .maxHeaderFields: \.maxHeaderFields
    case .maxTrailerBytes: \.maxTrailerBytes
    case .maxChunkExtensionBytes: \.maxChunkExtensionBytes
    case .maxRequestBodyBytes: \.maxRequestBodyBytes
    case .bufferHighWater: \.bufferHighWater
    case .bufferLowWater: \.bufferLowWater
    case .maxConcurrentStreams: \.maxConcurrentStreams
    case .streamWindow: \.streamWindow
    case .maxStreamWindow: \.maxStreamWindow
    case .connectionWindow: \.connectionWindow
    case .maxStreamResets: \.maxStreamResets
    case .maxPings: \.maxPings
    case .maxSettings: \.maxSettings
    case .maxEmptyFrames: \.maxEmptyFrames
    case .maxPriorityFrames: \.maxPriorityFrames
    case .maxWindowUpdates: \.maxWindowUpdates
    case .maxContinuationFrames: \.maxContinuationFrames
    case .maxUnknownFrames: \.maxUnknownFrames
    case .maxQueuedControlFrames: \.maxQueuedControlFrames
    case .upstreamConnectTimeout: \.upstreamConnectTimeout
    case .upstreamIdleTimeout: \.upstreamIdleTimeout
    case .maxIdleUpstreamPerEndpoint: \.maxIdleUpstreamPerEndpoint
    case .maxUpstreamPerEndpoint: \.maxUpstreamPerEndpoint
    case .maxUpstreamStreams: \.maxUpstreamStreams
    case .maxInterimResponses: \.maxInterimResponses
    case .maxUpstreamSessions: \.maxUpstreamSessions
    case .drainTimeout: \.drainTimeout
    case .maxAdminConnections: \.maxAdminConnections
    case .maxTurnMicroseconds: \.maxTurnMicroseconds
    case .maxMemory: \.maxMemory
    }
  }
}

/// What is wrong with a `--limit name=value`, as a sentence for its author.
public struct LimitError: Error, Equatable, CustomStringConvertible {
  public let description: String
}

extension Limits {
  /// Takes one `name=value`. Bytes may end in `KiB`, `MiB`, `GiB`; times in `ms`, `s`, `m`, `h`
  /// (a time without one is milliseconds).
  public mutating func set(_ assignment: String) throws(LimitError) {
    guard let equals = assignment.firstIndex(of: "=") else {
      throw LimitError(description: "limit \"\(assignment)\": expected name=value")
    }
    let name = assignment[..<equals]
    let value = assignment[assignment.index(after: equals)...]
    guard let limit = Limit.allCases.first(where: { "\($0.name)" == name }) else {
      let known = Limit.allCases.map { "\($0.name)" }.joined(separator: ", ")
      throw LimitError(description: "limit \"\(name)\" is not known; known are: \(known)")
    }
    guard let number = Self.parse(value, as: limit.definition.unit) else {
      throw LimitError(
        description: "limit \(name): \"\(value)\" is not \(Self.form(of: limit.definition.unit))")
    }
    let range = limit.definition.range
    guard range.contains(number) else {
      throw LimitError(
        description: "limit \(name): \(value) is outside \(range.lowerBound) to \(range.upperBound)"
          + (limit.definition.unit == .milliseconds ? " ms" : ""))
    }
    self[limit] = number
  }

  /// What no single value shows: call it after the last `set`.
  public func validate() throws(LimitError) {
    if bufferLowWater >= bufferHighWater {
      throw LimitError(
        description:
          "limit buffer-low-water (\(bufferLowWater)) must be below buffer-high-water (\(bufferHighWater))")
    }
    if maxRequestLineBytes > maxHeadBytes {
      throw LimitError(
        description: "limit max-request-line-bytes (\(maxRequestLineBytes)) must not be above"
          + " max-head-bytes (\(maxHeadBytes))")
    }
  }

  private static func form(of unit: Limit.Unit) -> String {
    switch unit {
    case .count: "a number"
    case .bytes: "a number of bytes such as 65536, 64KiB or 1MiB"
    case .milliseconds: "a time such as 500ms, 10s, 5m or 1h"
    }
  }

  private static func parse(_ text: Substring, as unit: Limit.Unit) -> Int? {
    let digits = text.prefix { $0 >= "0" && $0 <= "9" }
    guard !digits.isEmpty, digits.count <= 18, let number = Int(digits) else { return nil }
    let suffix = text[digits.endIndex...]
    let factor: Int
    switch (unit, suffix) {
    case (_, ""): factor = 1
    case (.bytes, "KiB"), (.bytes, "Ki"): factor = 1 << 10
    case (.bytes, "MiB"), (.bytes, "Mi"): factor = 1 << 20
    case (.bytes, "GiB"), (.bytes, "Gi"): factor = 1 << 30
    case (.milliseconds, "ms"): factor = 1
    case (.milliseconds, "s"): factor = 1000
    case (.milliseconds, "m"): factor = 60_000
    case (.milliseconds, "h"): factor = 3_600_000
    default: return nil
    }
    let (product, overflow) = number.multipliedReportingOverflow(by: factor)
    return overflow ? nil : product
  }
}
