internal import Glibc

/// Timers by id in a hierarchical wheel: six levels of 64 buckets, each bucket a doubly linked
/// list through arrays indexed by id. Scheduling and cancelling take constant time. A timer never
/// fires early, and late by less than a tick plus the time between two calls of `advance`.
///
/// Memory is 24 bytes an id and is touched only for ids that are used.
@safe public struct TimerWheel: ~Copyable {
  private struct Entry {
    /// In ticks.
    var deadline: UInt64
    /// Neighbours in the bucket's list as id + 1; 0: none.
    var next: Int32
    var previous: Int32
    /// Index of the list + 1; 0: not scheduled.
    var list: Int32
    var unused: Int32
  }

  private static let levels = 6
  private static let expiredList = levels * 64
  private static let listCount = levels * 64 + 1
  /// Most ticks ahead that the levels can tell apart; what is later is looked at again then.
  private static let horizon: UInt64 = (1 << 36) - 1

  // INVARIANT: entries has room for `capacity` entries and heads for `listCount`; both live from
  // init to deinit. Every access below is with an id that `check` saw or that a list holds.
  private let entries: UnsafeMutablePointer<Entry>
  private let heads: UnsafeMutablePointer<Int32>
  /// Bit b of word l: bucket b of level l is not empty.
  private var occupied: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)
  /// The tick up to which `advance` has come.
  private var elapsed: UInt64 = 0
  private let tick: UInt64
  public let capacity: Int
  /// Timers that are scheduled, those included that expired and were not yet popped.
  public private(set) var count = 0

  /// Ids are below `capacity`. Time begins at 0 and goes on by `advance`.
  public init(capacity: Int, tickMilliseconds: UInt64 = 4) {
    precondition(capacity > 0 && tickMilliseconds > 0)
    self.capacity = capacity
    tick = tickMilliseconds
    // calloc gives large blocks as untouched zero pages, which read as "not scheduled".
    let memory = unsafe calloc(capacity, MemoryLayout<Entry>.stride)
    let lists = unsafe calloc(Self.listCount, MemoryLayout<Int32>.stride)
    guard let memory = unsafe memory, let lists = unsafe lists else {
      preconditionFailure("no memory for \(capacity) timers")
    }
    unsafe entries = memory.bindMemory(to: Entry.self, capacity: capacity)
    unsafe heads = lists.bindMemory(to: Int32.self, capacity: Self.listCount)
  }

  deinit {
    unsafe free(entries)
    unsafe free(heads)
  }

  /// Sets the timer `id`, in place of what it was set to. A time that has passed expires at once:
  /// `popExpired` returns it without another `advance`.
  public mutating func schedule(_ id: Int32, atMilliseconds time: UInt64) {
    check(id)
    if unsafe entries[Int(id)].list != 0 { unlink(id) }
    let whole = time / tick
    unsafe entries[Int(id)].deadline = time % tick == 0 ? whole : whole &+ 1
    place(id)
  }

  /// Nothing happens when it is not scheduled.
  public mutating func cancel(_ id: Int32) {
    check(id)
    if unsafe entries[Int(id)].list != 0 { unlink(id) }
  }

  public func isScheduled(_ id: Int32) -> Bool {
    check(id)
    return unsafe entries[Int(id)].list != 0
  }

  /// Moves every timer whose time has come to where `popExpired` takes it from. Time that goes
  /// back is ignored.
  public mutating func advance(nowMilliseconds now: UInt64) {
    let target = now / tick
    if target <= elapsed { return }
    while true {
      let (level, bucket, due) = earliest()
      if level < 0 || due > target { break }
      elapsed = due
      let list = level &* 64 &+ bucket
      // The bucket's timers are either due or belong to a finer level now.
      while true {
        let head = unsafe heads[list]
        if head == 0 { break }
        unlink(head &- 1)
        place(head &- 1)
      }
    }
    elapsed = target
  }

  /// The next expired timer, which is not scheduled any more; -1: none. Timers of one `advance`
  /// come in no promised order.
  public mutating func popExpired() -> Int32 {
    let head = unsafe heads[Self.expiredList]
    if head == 0 { return -1 }
    unlink(head &- 1)
    return head &- 1
  }

  /// When `advance` has to be called next, in milliseconds; `UInt64.max`: nothing is scheduled.
  /// It may be earlier than the first timer, never later by more than a tick.
  public var nextDeadline: UInt64 {
    if unsafe heads[Self.expiredList] != 0 { return elapsed &* tick }
    let (level, _, due) = earliest()
    return level < 0 ? .max : due &* tick
  }

  private func check(_ id: Int32) {
    precondition(id >= 0 && Int(id) < capacity, "timer id out of range")
  }

  /// Puts an unlisted timer into the list of its deadline.
  private mutating func place(_ id: Int32) {
    let deadline = unsafe entries[Int(id)].deadline
    var list = Self.expiredList
    if deadline > elapsed {
      let reach = min(deadline, elapsed &+ Self.horizon)
      // The level is that of the highest digit (base 64) in which the deadline differs from now.
      let digit = (63 &- ((elapsed ^ reach) | 63).leadingZeroBitCount) / 6
      let level = min(digit, Self.levels &- 1)
      let bucket = Int((reach >> UInt64(6 &* level)) & 63)
      list = level &* 64 &+ bucket
      setOccupied(level, occupied(level) | 1 << UInt64(bucket))
    }
    let head = unsafe heads[list]
    unsafe entries[Int(id)].next = head
    unsafe entries[Int(id)].previous = 0
    unsafe entries[Int(id)].list = Int32(list) &+ 1
    if head != 0 { unsafe entries[Int(head) &- 1].previous = id &+ 1 }
    unsafe heads[list] = id &+ 1
    count &+= 1
  }

  private mutating func unlink(_ id: Int32) {
    let entry = unsafe entries[Int(id)]
    let list = Int(entry.list) &- 1
    if entry.next != 0 { unsafe entries[Int(entry.next) &- 1].previous = entry.previous }
    if entry.previous != 0 {
      unsafe entries[Int(entry.previous) &- 1].next = entry.next
    } else {
      unsafe heads[list] = entry.next
      if entry.next == 0, list < Self.expiredList {
        let level = list / 64
        setOccupied(level, occupied(level) & ~(1 << UInt64(list % 64)))
      }
    }
    unsafe entries[Int(id)].list = 0
    count &-= 1
  }

  /// The first bucket that comes, and the tick at which it begins; level -1: all are empty. A
  /// finer level always comes before a coarser one.
  private func earliest() -> (level: Int, bucket: Int, due: UInt64) {
    var level = 0
    while level < Self.levels {
      let bits = occupied(level)
      if bits != 0 {
        let shift = UInt64(6 &* level)
        let current = (elapsed >> shift) & 63
        let rotated = current == 0 ? bits : bits >> current | bits << (64 &- current)
        let bucket = (current &+ UInt64(rotated.trailingZeroBitCount)) & 63
        let span: UInt64 = 1 << (shift &+ 6)
        var due = elapsed & ~(span &- 1) &+ bucket << shift
        // Only the coarsest level wraps around.
        if due <= elapsed { due &+= span }
        return (level, Int(bucket), due)
      }
      level &+= 1
    }
    return (-1, 0, 0)
  }

  @inline(__always)
  private func occupied(_ level: Int) -> UInt64 {
    switch level {
    case 0: occupied.0
    case 1: occupied.1
    case 2: occupied.2
    case 3: occupied.3
    case 4: occupied.4
    default: occupied.5
    }
  }

  @inline(__always)
  private mutating func setOccupied(_ level: Int, _ bits: UInt64) {
    switch level {
    case 0: occupied.0 = bits
    case 1: occupied.1 = bits
    case 2: occupied.2 = bits
    case 3: occupied.3 = bits
    case 4: occupied.4 = bits
    default: occupied.5 = bits
    }
  }
}
