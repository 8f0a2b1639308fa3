extension PoolTable {
  /// Weighted round robin over the eligible candidates: in round r those take part whose weight is
  /// at least r, so that over a whole cycle each gets exactly its weight and none gets all of its
  /// share in a row. Returns the candidate's index; -1: none is eligible.
  ///
  /// `avoiding` is the endpoint slot that a retry comes from (-1: none); it is picked only when
  /// there is no other.
  public mutating func pick(
    _ candidates: UnsafeBufferPointer<EndpointChoice>, backendSlot: Int32, avoiding: Int32 = -1
  ) -> Int32 {
    precondition(backendSlot >= 0 && Int(backendSlot) < backendCapacity, "backend slot out of range")
    let count = candidates.count
    guard count > 0, let base = candidates.baseAddress else { return -1 }
    var position = Int(unsafe turns[Int(backendSlot)].position) % count
    var round = max(unsafe turns[Int(backendSlot)].round, 1)
    var fallback: Int32 = -1
    var passed = 0
    while true {
      // SAFETY: `position` is below `count`.
      let choice = unsafe base[position]
      let index = Int32(position)
      position &+= 1
      let taken = choice.isEligible && choice.weight >= round
      if position == count {
        position = 0
        round = round == .max ? 1 : round &+ 1
      }
      if taken, choice.slot != avoiding {
        unsafe turns[Int(backendSlot)] = Turn(position: UInt32(position), round: round)
        return index
      }
      if taken, fallback < 0 { fallback = index }
      passed &+= 1
      if passed < count { continue }
      // Nobody takes part in so late a round: the cycle is over. In its first round all do, and
      // when that too went by, nobody is there.
      if passed >= count &* 2 { break }
      if passed == count {
        position = 0
        round = 1
      }
    }
    return fallback
  }
}
