import SystemIO

/// How many connections each client address has to one worker. An IPv6 client counts by its /64, which is what one
/// household or machine is given.
///
/// Nodes keep their place for as long as somebody holds them, so that a connection remembers a number.
@safe
struct ClientTable: ~Copyable {
  private struct Node {
    var key: UInt64 = 0
    var isIPv6 = false
    var count: Int32 = 0
    /// Next in the bucket, or in the list of free nodes.
    var next: Int32 = -1
  }

  // INVARIANT: `buckets` has `mask` + 1 entries, `nodes` has `capacity`; every link is -1 or below `used`.
  private let buckets: UnsafeMutablePointer<Int32>
  private let nodes: UnsafeMutablePointer<Node>
  private let mask: Int
  private let capacity: Int
  private var used = 0
  private var free: Int32 = -1
  private let seed: UInt64

  /// For at most `capacity` connections at once; 0: nobody counts.
  init(capacity: Int, seed: UInt64) {
    self.capacity = capacity
    self.seed = seed
    var size = 1
    while size < capacity { size <<= 1 }
    mask = size - 1
    unsafe buckets = .allocate(capacity: size)
    unsafe buckets.initialize(repeating: -1, count: size)
    unsafe nodes = .allocate(capacity: max(1, capacity))
    unsafe nodes.initialize(repeating: Node(), count: max(1, capacity))
  }

  deinit {
    unsafe buckets.deallocate()
    unsafe nodes.deallocate()
  }

  private func key(_ peer: SocketAddress) -> UInt64 {
    peer.isIPv6 ? UInt64(peer.word2) << 32 | UInt64(peer.word3) : UInt64(peer.word1)
  }

  private func bucket(_ key: UInt64) -> Int {
    let product = (key ^ seed).multipliedFullWidth(by: 0x9e37_79b9_7f4a_7c15)
    return Int(truncatingIfNeeded: product.high ^ product.low) & mask
  }

  /// One more connection of `peer`; nil when it has `limit` already, or is no IP address (-1) and counts nowhere.
  mutating func join(_ peer: SocketAddress, limit: Int) -> Int32? {
    guard capacity > 0, peer.isIPv4 || peer.isIPv6 else { return -1 }
    let key = key(peer)
    let place = bucket(key)
    // SAFETY: of every access below: by the invariant.
    var index = unsafe buckets[place]
    while index >= 0 {
      let node = unsafe nodes + Int(index)
      if unsafe node.pointee.key == key && node.pointee.isIPv6 == peer.isIPv6 {
        if unsafe Int(node.pointee.count) >= limit { return nil }
        unsafe node.pointee.count += 1
        return index
      }
      index = unsafe node.pointee.next
    }
    if free >= 0 {
      index = free
      free = unsafe nodes[Int(index)].next
    } else {
      guard used < capacity else { return -1 }
      index = Int32(used)
      used += 1
    }
    unsafe nodes[Int(index)] = Node(key: key, isIPv6: peer.isIPv6, count: 1, next: buckets[place])
    unsafe buckets[place] = index
    return index
  }

  /// A connection that `join` gave this number is gone.
  mutating func leave(_ index: Int32) {
    guard index >= 0 else { return }
    let node = unsafe nodes + Int(index)
    unsafe node.pointee.count -= 1
    guard unsafe node.pointee.count == 0 else { return }
    let place = bucket(unsafe node.pointee.key)
    if unsafe buckets[place] == index {
      unsafe buckets[place] = node.pointee.next
    } else {
      var before = unsafe buckets[place]
      while unsafe nodes[Int(before)].next != index { before = unsafe nodes[Int(before)].next }
      unsafe nodes[Int(before)].next = node.pointee.next
    }
    unsafe node.pointee.next = free
    free = index
  }
}
