import Glibc
import HTTPSemantics

/// A copy of the fuzzer's bytes in memory of exactly the size that the parsers are promised: ASan reports
/// whatever reads further.
final class Input {
  // INVARIANT: `start` has `count` bytes of input and `Self.slack` zeroed bytes behind them, until deinit.
  let start: UnsafeMutablePointer<UInt8>
  let count: Int

  /// Bytes behind its input that a parser may read.
  static let slack = 16

  init(_ bytes: UnsafePointer<UInt8>?, _ count: Int) {
    start = .allocate(capacity: count + Self.slack)
    start.initialize(repeating: 0, count: count + Self.slack)
    if let bytes = bytes { start.update(from: bytes, count: count) }
    self.count = count
  }

  init(_ bytes: [UInt8]) {
    start = .allocate(capacity: bytes.count + Self.slack)
    start.initialize(repeating: 0, count: bytes.count + Self.slack)
    for (index, byte) in bytes.enumerated() { start[index] = byte }
    count = bytes.count
  }

  deinit { start.deallocate() }

  /// Called in a `defer`: otherwise the memory may be gone after the last use of the object, which is before the
  /// last use of its bytes.
  func keep() { withExtendedLifetime(self) {} }

  var bytes: Bytes { Bytes(start: start, count: count) }

  var array: [UInt8] { Array(UnsafeBufferPointer(start: start, count: count)) }

  /// A copy of a part; short memory of its own.
  func part(_ range: Range<Int>) -> Input {
    precondition(range.lowerBound >= 0 && range.upperBound <= count)
    return Input(start + range.lowerBound, range.count)
  }
}

/// Room for header fields, as large as the product's.
func withFieldTable<Result>(_ body: (HeaderTable) -> Result) -> Result {
  let base = UnsafeMutablePointer<HeaderField>.allocate(capacity: 100)
  defer { base.deallocate() }
  return body(HeaderTable(base: base, capacity: 100))
}

/// A promise of the product that fuzzing checks: trap, so that libFuzzer keeps the input.
func check(_ holds: Bool, _ promise: @autoclosure () -> String, line: UInt = #line, file: StaticString = #fileID) {
  if holds { return }
  // Optimised code traps without the text.
  let text = "\(file):\(line): broken promise: \(promise())\n"
  _ = write(2, text, text.utf8.count)
  preconditionFailure(text)
}
