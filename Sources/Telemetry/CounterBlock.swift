public import CLinux

/// Fixed buckets of the request duration.
public enum DurationBuckets {
  /// Upper bounds in microseconds; one more bucket has none.
  public static let bounds: [UInt64] = [
    500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
  ]
  /// Words of a histogram: a count for each bucket, then the sum in microseconds.
  public static let words = 16

  /// The bucket of a duration, by comparisons only: no table to load.
  @inlinable
  public static func bucket(_ microseconds: UInt64) -> Int {
    if microseconds <= 25_000 {
      if microseconds <= 2500 { return microseconds <= 500 ? 0 : microseconds <= 1000 ? 1 : 2 }
      return microseconds <= 5000 ? 3 : microseconds <= 10_000 ? 4 : 5
    }
    if microseconds <= 500_000 {
      if microseconds <= 100_000 { return microseconds <= 50_000 ? 6 : 7 }
      return microseconds <= 250_000 ? 8 : 9
    }
    if microseconds <= 2_500_000 { return microseconds <= 1_000_000 ? 10 : 11 }
    return microseconds <= 5_000_000 ? 12 : microseconds <= 10_000_000 ? 13 : 14
  }
}

/// The counters of one worker: one 64-bit word each. Only its worker writes (relaxed stores, no locked
/// instruction); the admin thread reads and adds the workers up. Values may lag by a few instructions.
@safe @frozen
public struct CounterBlock: @unchecked Sendable {
  // INVARIANT: points to `words` words, 128-byte aligned, alive until `deallocate`.
  public let base: UnsafeMutablePointer<UInt64>

  @inlinable init(base: UnsafeMutablePointer<UInt64>) { unsafe self.base = base }

  /// Layout: counters, then hits of limits, then the request-duration histogram.
  @usableFromInline static let limitsOffset = 128
  @usableFromInline static let histogramOffset = 256
  public static let words = 272

  /// Zeroed, on cache lines of its own so that workers do not slow each other down.
  public static func allocate() -> CounterBlock {
    precondition(Counter.count <= limitsOffset && Limit.count <= histogramOffset - limitsOffset)
    let bytes = words * 8
    let raw = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 128)
    unsafe raw.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    return unsafe CounterBlock(base: raw.assumingMemoryBound(to: UInt64.self))
  }

  /// Nobody may use the block afterwards.
  public func deallocate() { unsafe UnsafeMutableRawPointer(base).deallocate() }

  // SAFETY: of all functions below: indices are constants of this type and below `words`.
  @inlinable @inline(__always)
  func bump(_ word: Int, _ amount: UInt64) {
    let place = unsafe base + word
    unsafe clinux_store_relaxed_u64(place, clinux_load_relaxed_u64(place) &+ amount)
  }

  @inlinable @inline(__always)
  public func add(_ counter: Counter, _ amount: Int = 1) {
    bump(counter.index, UInt64(truncatingIfNeeded: amount))
  }

  /// For gauges.
  @inlinable @inline(__always)
  public func subtract(_ counter: Counter, _ amount: Int = 1) {
    bump(counter.index, UInt64(truncatingIfNeeded: -amount))
  }

  /// A limit acted.
  @inlinable @inline(__always)
  public func hit(_ limit: Limit) { bump(Self.limitsOffset + limit.index, 1) }

  /// A status class counter: 100 to 599.
  @inlinable
  public func addResponse(status: Int) {
    switch status {
    case 200..<300: add(.responses2xx)
    case 100..<200: add(.responses1xx)
    case 300..<400: add(.responses3xx)
    case 400..<500: add(.responses4xx)
    default: add(.responses5xx)
    }
  }

  /// A request ended after `microseconds`.
  @inlinable
  public func observeRequest(microseconds: UInt64) {
    bump(Self.histogramOffset + DurationBuckets.bucket(microseconds), 1)
    bump(Self.histogramOffset + 15, microseconds)
  }

  // Reading, from any thread.
  public func value(_ counter: Counter) -> UInt64 { word(counter.index) }
  public func hits(of limit: Limit) -> UInt64 { word(Self.limitsOffset + limit.index) }
  /// Requests in bucket `index` (not cumulative), 0...14.
  public func requests(inBucket index: Int) -> UInt64 {
    precondition((0..<15).contains(index))
    return word(Self.histogramOffset + index)
  }
  /// Sum of all request durations in microseconds.
  public var requestMicroseconds: UInt64 { word(Self.histogramOffset + 15) }

  private func word(_ index: Int) -> UInt64 { unsafe clinux_load_relaxed_u64(base + index) }
}
