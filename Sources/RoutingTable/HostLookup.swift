public import HTTPSemantics

// From a request's host to the record of the most specific pattern. Same SAFETY as the reader; a key views the
// request during the call.

/// The host of a request, hashed once for all tables.
@safe
struct HostKey {
  // INVARIANT: `count` readable bytes while the key is in use.
  let start: UnsafePointer<UInt8>
  /// Without the dot that ends a fully qualified name; 0: no pattern but `*` takes it.
  let count: Int
  let hash: UInt32

  @inline(__always)
  init(_ host: Bytes) {
    unsafe start = host.start
    var count = host.count
    if count > 0, unsafe host.start[count &- 1] == UInt8(ascii: ".") { count &-= 1 }
    self.count = count > ImageFormat.maximumHostLength ? 0 : count
    hash = unsafe textHash(start, self.count, ignoringCase: true)
  }
}

extension RoutingImage {
  /// Index of the listener whose hostname matches best, or -1. Also asked with a TLS server name, to tell
  /// a misdirected request (RFC 9110 section 15.5.20).
  public func listener(socket: Int, host: Bytes) -> Int32 {
    let hosts = checked(.sockets, socket, as: SocketRecord.self).hosts
    return Int32(bitPattern: target(of: hosts, HostKey(host)))
  }

  @inline(__always)
  func target(of table: HostTable, _ key: HostKey) -> UInt32 {
    let host = hostRecord(of: table, key)
    return host == ImageFormat.none ? host : unsafe place(.hosts, Int(host), as: HostRecord.self).pointee.target
  }

  /// Index of the record of the most specific pattern, or `none`: the name itself, then the longest suffix, then `*`.
  @inline(__always)
  func hostRecord(of table: HostTable, _ key: HostKey) -> UInt32 {
    if table.slots.count == 0 || key.count == 0 { return table.any }
    let exact = unsafe probe(table, key.hash, key.start, key.count, HostKind.exact)
    if exact != ImageFormat.none { return exact }
    if table.wildcardDots == 0 { return table.any }
    return wildcard(of: table, key)
  }

  /// From the longest suffix to the shortest, so that the first one found is the answer. Only suffixes with as many
  /// dots as some pattern has are looked for.
  private func wildcard(of table: HostTable, _ key: HostKey) -> UInt32 {
    var dots: UInt32 = 0
    var index = 0
    while index < key.count {
      if unsafe key.start[index] == UInt8(ascii: ".") { dots &+= 1 }
      index &+= 1
    }
    let allDots = dots
    index = 0
    while dots > 0 {
      if unsafe key.start[index] == UInt8(ascii: ".") {
        if index > 0, table.wildcardDots &>> min(dots, 31) & 1 != 0 {
          let suffix = unsafe key.start + index
          let length = key.count &- index
          let hash = unsafe textHash(suffix, length, ignoringCase: true)
          if dots == allDots {
            let oneLabel = unsafe probe(table, hash, suffix, length, HostKind.oneLabelWildcard)
            if oneLabel != ImageFormat.none { return oneLabel }
          }
          let found = unsafe probe(table, hash, suffix, length, HostKind.wildcard)
          if found != ImageFormat.none { return found }
        }
        dots &-= 1
      }
      index &+= 1
    }
    return table.any
  }

  /// The verifier proved an empty slot, so the loop ends.
  @inline(__always)
  private func probe(
    _ table: HostTable, _ hash: UInt32, _ text: UnsafePointer<UInt8>, _ count: Int, _ kind: UInt8
  ) -> UInt32 {
    let total = Int(table.slots.count)
    let slots = unsafe place(.hostSlots, Int(table.slots.first), as: HashSlot.self)
    var index = ImageFormat.home(hash, slots: total)
    while true {
      let slot = unsafe slots[index]
      if slot.record == ImageFormat.none { return ImageFormat.none }
      if slot.hash == hash, unsafe isKey(slot.record, text, count, kind) { return slot.record }
      index &+= 1
      if index == total { index = 0 }
    }
  }

  @inline(__always)
  private func isKey(_ host: UInt32, _ text: UnsafePointer<UInt8>, _ count: Int, _ kind: UInt8) -> Bool {
    let record = unsafe place(.hosts, Int(host), as: HostRecord.self)
    if unsafe Int(record.pointee.keyLength) != count || record.pointee.kind != kind { return false }
    let key = unsafe self.key(of: record)
    return unsafe sameText(text, key, count, ignoringCase: true)
  }

  @inline(__always)
  private func key(of record: UnsafePointer<HostRecord>) -> UnsafePointer<UInt8> {
    if unsafe Int(record.pointee.keyLength) <= HostRecord.keyRoom {
      return unsafe (UnsafeRawPointer(record) + HostRecord.keyOffset).assumingMemoryBound(to: UInt8.self)
    }
    return unsafe place(.bytes, Int(record.pointee.key.0), as: UInt8.self)
  }
}
