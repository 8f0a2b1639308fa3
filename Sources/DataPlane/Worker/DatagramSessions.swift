import SystemIO

/// Which session a datagram belongs to: a client's address and port at one listener, and the local address that it
/// speaks to (a machine may have several behind one socket).
struct DatagramKey: Equatable {
  var listener: Int32
  var peer: SocketAddress
  var local: LocalAddress
}

/// The UDP sessions of a worker by their keys. A session's number is the descriptor that leads to its backend.
///
/// An open-addressing table, at most half full. Clients choose most of what is hashed, so a number that they do not
/// know is hashed with it: they can not make their sessions meet.
@safe
struct DatagramSessions: ~Copyable {
  private struct Entry {
    var key: DatagramKey
    var session: Int32
  }

  // INVARIANT: `capacity` entries, a power of two or none; those with a session of -1 are empty, and there are more of
  // them than of others, so that every search ends.
  private var entries: UnsafeMutablePointer<Entry>?
  private var capacity = 0
  private(set) var count = 0
  private let seed: UInt64

  init(seed: UInt64) { self.seed = seed }

  deinit { unsafe entries?.deallocate() }

  private static var empty: Entry {
    Entry(key: DatagramKey(listener: -1, peer: SocketAddress(), local: LocalAddress()), session: -1)
  }

  /// The session of a key; -1: there is none.
  func find(_ key: DatagramKey) -> Int32 {
    guard let entries = unsafe entries else { return -1 }
    var place = home(key)
    while unsafe entries[place].session >= 0 {
      if unsafe entries[place].key == key { return unsafe entries[place].session }
      place = (place &+ 1) & (capacity &- 1)
    }
    return -1
  }

  /// Only for a key that has no session.
  mutating func insert(_ key: DatagramKey, _ session: Int32) {
    if 2 * (count + 1) > capacity { grow() }
    count += 1
    put(Entry(key: key, session: session))
  }

  mutating func remove(_ key: DatagramKey) {
    guard let entries = unsafe entries else { return }
    var place = home(key)
    while unsafe entries[place].session >= 0, unsafe entries[place].key != key {
      place = (place &+ 1) & (capacity &- 1)
    }
    guard unsafe entries[place].session >= 0 else { return }
    count -= 1
    // Whatever was put further back because this place was taken moves up.
    var hole = place
    var next = (place &+ 1) & (capacity &- 1)
    while unsafe entries[next].session >= 0 {
      let wanted = home(unsafe entries[next].key)
      if (next &- wanted) & (capacity &- 1) >= (next &- hole) & (capacity &- 1) {
        unsafe entries[hole] = entries[next]
        hole = next
      }
      next = (next &+ 1) & (capacity &- 1)
    }
    unsafe entries[hole] = Self.empty
  }

  private func put(_ entry: Entry) {
    guard let entries = unsafe entries else { return }
    var place = home(entry.key)
    while unsafe entries[place].session >= 0 { place = (place &+ 1) & (capacity &- 1) }
    unsafe entries[place] = entry
  }

  private mutating func grow() {
    let (old, oldCapacity) = unsafe (entries, capacity)
    capacity = max(64, 2 * oldCapacity)
    let bigger = UnsafeMutablePointer<Entry>.allocate(capacity: capacity)
    unsafe bigger.initialize(repeating: Self.empty, count: capacity)
    unsafe entries = unsafe bigger
    guard let old = unsafe old else { return }
    for index in 0..<oldCapacity where unsafe old[index].session >= 0 { put(unsafe old[index]) }
    unsafe old.deallocate()
  }

  private func home(_ key: DatagramKey) -> Int {
    var hash = seed
    func mix(_ value: UInt64) {
      hash = (hash ^ value) &* 0x9FB2_1C65_1E98_DF25
      hash ^= hash >> 32
    }
    mix(UInt64(key.peer.word1) << 32 | UInt64(key.peer.word2))
    mix(UInt64(key.peer.word3) << 32 | UInt64(key.peer.word4))
    mix(UInt64(key.peer.word5) << 32 | UInt64(key.peer.portBytes) << 16 | UInt64(key.peer.family))
    mix(key.local.low)
    mix(key.local.high ^ UInt64(UInt32(bitPattern: key.listener)))
    return Int(truncatingIfNeeded: hash & UInt64(capacity - 1))
  }
}
