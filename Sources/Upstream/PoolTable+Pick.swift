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
    // What is left of this round, one whole round more, and the first round, which has everyone.
    var steps = count &* 3
    var idleSteps = 0
    while steps > 0 {
      steps &-= 1
      // SAFETY: `position` is below `count`.
      let choice = unsafe base[position]
      let index = position
      let taken = choice.isEligible && choice.weight >= round
      position &+= 1
      if position == count {
        position = 0
        round = round == .max ? 1 : round &+ 1
      }
      idleSteps &+= 1
      if !taken {
        // A whole round without a taker: the cycle is over.
        if idleSteps >= count, round > 1 {
          round = 1
          idleSteps = 0
        }
        continue
      }
      idleSteps = 0
      if choice.slot == avoiding {
        if fallback < 0 { fallback = Int32(index) }
        continue
      }
      unsafe turns[Int(backendSlot)] = Turn(position: UInt32(position), round: round)
      return Int32(index)
    }
    return fallback
  }
}
