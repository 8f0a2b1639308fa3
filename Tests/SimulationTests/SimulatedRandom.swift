/// Where every choice of a simulation comes from: SplitMix64, so that one number repeats a run.
struct SimulatedRandom {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }

  /// 0 ..< count; 0 where there is nothing to choose.
  mutating func below(_ count: Int) -> Int { count <= 1 ? 0 : Int(next() % UInt64(count)) }

  mutating func within(_ range: ClosedRange<Int>) -> Int {
    range.lowerBound + below(range.upperBound - range.lowerBound + 1)
  }

  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

  mutating func pick<Element>(_ list: [Element]) -> Element { list[below(list.count)] }

  /// Mostly small, now and then up to `most`.
  mutating func size(_ most: Int) -> Int {
    switch below(10) {
    case 0: 0
    case 1...6: below(min(most, 600) + 1)
    case 7...8: below(min(most, 8_000) + 1)
    default: below(most + 1)
    }
  }
}
