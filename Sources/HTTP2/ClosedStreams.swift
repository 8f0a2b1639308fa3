/// What a session remembers of streams that are gone, to tell frames that were on their way from frames that break
/// the rules (RFC 9113 section 5.1, "closed").
///
/// A peer that has ended or reset a stream may send nothing more on it; one whose stream we have reset may not know
/// of it yet. Of resets the last few are kept; a stream older than one that was forgotten gets the benefit of the
/// doubt.
struct ClosedStreams {
  enum Verdict {
    /// The frame was on its way when the stream ended; the library passes over it.
    case late
    /// The stream has ended for the peer.
    case closed
    /// The identifier was passed over, and may not be used any more (section 5.1.1).
    case skipped
  }

  /// The highest identifier that was opened.
  private(set) var highest: Int32 = 0
  // INVARIANT: bit n stands for stream `highest` - 2n: it was opened.
  private var opened: UInt64 = 0
  // INVARIANT: `next` is an index of `reset`; 0 is no stream.
  private var reset = InlineArray<16, Int32>(repeating: 0)
  private var next: UInt8 = 0
  /// The highest identifier that fell out of `reset`.
  private var forgotten: Int32 = 0

  @inline(__always)
  mutating func noteOpened(_ id: Int32) {
    guard id > highest else { return }
    let distance = (id &- highest) / 2
    opened = distance < 64 ? opened << UInt64(distance) | 1 : 1
    highest = id
  }

  mutating func noteReset(_ id: Int32) {
    guard id > forgotten, !holds(id) else { return }
    forgotten = max(forgotten, reset[Int(next)])
    reset[Int(next)] = id
    next = (next &+ 1) & 15
  }

  /// From now on the library drops new streams without a word: nothing can be said about their frames.
  mutating func forgive() { forgotten = .max }

  private func holds(_ id: Int32) -> Bool {
    for index in 0..<16 where reset[index] == id { return true }
    return false
  }

  /// About a DATA or HEADERS frame on a stream that is not open and not above `highest`.
  func verdict(_ id: Int32) -> Verdict {
    if id <= forgotten || holds(id) { return .late }
    let distance = (highest &- id) / 2
    return distance >= 64 || opened & (1 << UInt64(distance)) != 0 ? .closed : .skipped
  }
}
