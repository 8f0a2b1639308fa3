public import HTTPSemantics

extension RoutingImage {
  /// `index` is that of an answer, or below `ruleCount`.
  public func rule(_ index: Int32) -> RuleView {
    RuleView(image: self, record: checked(.rules, Int(index), as: RuleRecord.self))
  }
}

public enum RuleAction: UInt8, Sendable {
  case forward, redirect, respond
}

/// A rule of the image. Trivial; valid as long as the image.
public struct RuleView {
  let image: RoutingImage
  let record: RuleRecord

  public var provenance: Bytes { image.bytes(record.provenance) }
  public var action: RuleAction { RuleAction(rawValue: record.action) ?? .respond }
  public var isGRPC: Bool { record.isGRPC != 0 }
  /// Milliseconds; 0: none.
  public var requestTimeout: UInt32 { record.requestTimeout }
  /// Milliseconds; 0: none.
  public var backendTimeout: UInt32 { record.backendTimeout }
  /// Of a redirect or a fixed answer.
  public var status: UInt16 { record.status }
  /// Of a fixed answer.
  public var reason: Bytes { image.bytes(record.reason) }
  public var requestHeaders: HeaderOperations {
    HeaderOperations(image: image, run: record.requestHeaders)
  }
  public var responseHeaders: HeaderOperations {
    HeaderOperations(image: image, run: record.responseHeaders)
  }
  /// New authority of the request to the backend; empty: unchanged.
  public var rewriteHost: Bytes { image.bytes(record.rewriteHost) }
  /// `rewrittenTarget` has something to do.
  public var rewritesPath: Bool { record.rewritePathKind != PathRewriteCode.none }
  public var weightedBackendCount: Int { Int(record.backends.count) }

  public func weightedBackend(_ index: Int) -> WeightedBackendView {
    precondition(index >= 0 && index < weightedBackendCount)
    return WeightedBackendView(image: image, record: weighted(index))
  }

  /// Index for `weightedBackend` by weight, with `random` uniform over all its values; -1 when no
  /// backend has a weight above zero: 500.
  public func pick(random: UInt32) -> Int32 {
    if record.totalWeight == 0 { return -1 }
    let point = UInt32((UInt64(random) &* UInt64(record.totalWeight)) >> 32)
    var low = 0
    var high = weightedBackendCount - 1
    // The first whose cumulative weight is above the point; the last one's is the total, which is.
    while low < high {
      let middle = (low + high) / 2
      if weighted(middle).cumulative > point { high = middle } else { low = middle + 1 }
    }
    return Int32(truncatingIfNeeded: low)
  }

  @inline(__always)
  private func weighted(_ index: Int) -> WeightedRecord {
    image.record(.weightedBackends, Int(record.backends.first) + index, as: WeightedRecord.self)
  }
}

public struct WeightedBackendView {
  let image: RoutingImage
  let record: WeightedRecord

  /// Index of the backend; -1: this share of requests is answered with 500.
  public var backend: Int32 { Int32(bitPattern: record.backend) }
  public var weight: UInt32 { record.weight }
  public var requestHeaders: HeaderOperations {
    HeaderOperations(image: image, run: record.requestHeaders)
  }
  public var responseHeaders: HeaderOperations {
    HeaderOperations(image: image, run: record.responseHeaders)
  }
}

/// Header operations, to be applied in order: `for i in 0..<operations.count { operations[i] }`.
public struct HeaderOperations {
  let image: RoutingImage
  let run: Run

  public var count: Int { Int(run.count) }

  public subscript(index: Int) -> HeaderOperationView {
    precondition(index >= 0 && index < count)
    let record = image.record(
      .headerOperations, Int(run.first) + index, as: HeaderOperationRecord.self)
    return HeaderOperationView(
      kind: HeaderOperationKind(rawValue: record.kind) ?? .remove, name: image.bytes(record.name),
      value: image.bytes(record.value))
  }
}

public struct HeaderOperationView {
  public let kind: HeaderOperationKind
  /// Lower case.
  public let name: Bytes
  public let value: Bytes
}
