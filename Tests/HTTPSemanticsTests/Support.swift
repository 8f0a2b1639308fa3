import HTTPSemantics

/// Runs `body` on a view of the text, in memory of exactly its size.
func with<R>(_ bytes: [UInt8], _ body: (Bytes) throws -> R) rethrows -> R {
  try unsafe bytes.withUnsafeBufferPointer { buffer in
    guard let start = buffer.baseAddress else { return try body(.empty) }
    return try unsafe body(Bytes(start: start, count: buffer.count))
  }
}

func with<R>(_ text: String, _ body: (Bytes) throws -> R) rethrows -> R {
  try with(Array(text.utf8), body)
}

/// SplitMix64: the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
