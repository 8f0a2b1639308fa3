import YAML

public struct IstioRetry: Hashable, Sendable {
  public var attempts: Int
  public var perTryTimeout: Duration?
  public var retryOn: String?
  public var retryRemoteLocalities: Bool?
  public var retryIgnorePreviousHosts: Bool?
  public var backoff: Duration?

  init(_ reader: inout ObjectReader) {
    attempts = reader.int("attempts", in: 0...Int(Int32.max)) ?? 0
    perTryTimeout = reader.string("perTryTimeout", .goDuration).flatMap(goDurationValue)
    retryOn = reader.string("retryOn")
    retryRemoteLocalities = reader.bool("retryRemoteLocalities")
    retryIgnorePreviousHosts = reader.bool("retryIgnorePreviousHosts")
    backoff = reader.string("backoff", .goDuration).flatMap(goDurationValue)
  }
}

public struct IstioFault: Hashable, Sendable {
  public struct Delay: Hashable, Sendable {
    public var fixedDelay: Duration?
    public var exponentialDelay: Duration?
    /// 0 to 100.
    public var percentage: Double?
  }

  public struct Abort: Hashable, Sendable {
    public enum Answer: Hashable, Sendable {
      case httpStatus(Int)
      case grpcStatus(String)
      case http2Error(String)
    }

    public var answer: Answer?
    /// 0 to 100.
    public var percentage: Double?
  }

  public var delay: Delay?
  public var abort: Abort?

  init(_ reader: inout ObjectReader) {
    delay = reader.object("delay") { delay in
      let percentage = readPercentage(&delay, "percentage")
      let percent = delay.int("percent", in: 0...100).map(Double.init)
      let value = Delay(
        fixedDelay: delay.string("fixedDelay", .goDuration).flatMap(goDurationValue),
        exponentialDelay: delay.string("exponentialDelay", .goDuration).flatMap(goDurationValue),
        percentage: percentage ?? percent)
      if value.fixedDelay != nil, value.exponentialDelay != nil {
        delay.error("must have only one of fixedDelay and exponentialDelay")
      }
      return value
    }
    abort = reader.object("abort") { abort in
      let http = abort.int("httpStatus", in: 200...599)
      let grpc = abort.string("grpcStatus")
      let http2 = abort.string("http2Error")
      if (http == nil ? 0 : 1) + (grpc == nil ? 0 : 1) + (http2 == nil ? 0 : 1) > 1 {
        abort.error("must have only one of httpStatus, grpcStatus and http2Error")
      }
      let answer: Abort.Answer? =
        http.map { .httpStatus($0) } ?? grpc.map { .grpcStatus($0) } ?? http2.map { .http2Error($0) }
      return Abort(answer: answer, percentage: readPercentage(&abort, "percentage"))
    }
  }
}

/// istio Percent: `{value: 12.5}`.
func readPercentage(_ reader: inout ObjectReader, _ field: String) -> Double? {
  reader.object(field) { percentage in
    let value = percentage.double("value") ?? 0
    if value < 0 || value > 100 { percentage.error(at: "value", "must be between 0 and 100") }
    return value
  }
}

public struct IstioMirror: Hashable, Sendable {
  public var destination: IstioDestination
  public var percentage: Double?

  init(_ reader: inout ObjectReader) {
    destination = reader.requiredObject("destination") { IstioDestination(&$0) }
    percentage = readPercentage(&reader, "percentage")
  }
}

public struct IstioCORSPolicy: Hashable, Sendable {
  public enum UnmatchedPreflights: String, CaseIterable, Sendable {
    case unspecified = "UNSPECIFIED"
    case forward = "FORWARD"
    case ignore = "IGNORE"
  }

  /// From `allowOrigins`, then the older `allowOrigin` as exact texts.
  public var allowOrigins: [IstioStringMatch]
  public var allowMethods: [String]
  public var allowHeaders: [String]
  public var exposeHeaders: [String]
  public var maxAge: Duration?
  public var allowCredentials: Bool?
  public var unmatchedPreflights: UnmatchedPreflights

  init(_ reader: inout ObjectReader) {
    let origins = reader.list("allowOrigins") { IstioStringMatch(&$0) } ?? []
    let exact = reader.strings("allowOrigin") ?? []
    allowOrigins = origins + exact.map { .exact($0) }
    allowMethods = reader.strings("allowMethods") ?? []
    allowHeaders = reader.strings("allowHeaders", .headerName) ?? []
    exposeHeaders = reader.strings("exposeHeaders", .headerName) ?? []
    maxAge = reader.string("maxAge", .goDuration).flatMap(goDurationValue)
    allowCredentials = reader.bool("allowCredentials")
    unmatchedPreflights = reader.choice("unmatchedPreflights") ?? .unspecified
  }
}
