public import HTTPSemantics

/// Where a request belongs. Indexes are -1 from the first step on that failed.
@frozen
public struct RouteAnswer: Equatable, Sendable {
  public enum Outcome: UInt8, Sendable {
    case matched, noListener, noHost, noRoute
  }

  public var outcome: Outcome
  public var listener: Int32
  public var virtualHost: Int32
  public var entry: Int32
  public var rule: Int32
  /// Bytes of the path that the entry's matcher took: the prefix; 0 for any; the whole path for exact and
  /// regex.
  public var matchedPrefixLength: Int32

  @inlinable
  public init() {
    outcome = .noListener
    listener = -1
    virtualHost = -1
    entry = -1
    rule = -1
    matchedPrefixLength = 0
  }
}

extension RoutingImage {
  /// The answer for a request that came in on this socket (its index).
  public func lookup(socket: Int, head: UnsafePointer<RequestHead>) -> RouteAnswer {
    var answer = RouteAnswer()
    let listener = unsafe self.listener(socket: socket, host: head.pointee.host)
    if listener < 0 { return answer }
    answer.listener = listener
    answer.outcome = .noHost
    let hosts = record(.listeners, Int(listener), as: ListenerRecord.self).hosts
    let host = unsafe target(of: hosts, host: head.pointee.host)
    if host == ImageFormat.none { return answer }
    answer.virtualHost = Int32(truncatingIfNeeded: host)
    answer.outcome = .noRoute
    let virtualHost = record(.virtualHosts, Int(host), as: VirtualHostRecord.self)
    let list = unsafe candidates(root: Int(virtualHost.nodes.first), path: head.pointee.path)
    var index = 0
    while index < Int(list.count) {
      let number = candidate(list, index)
      let entry = record(.entries, number, as: EntryRecord.self)
      if entry.flags & EntryFlag.unconditional != 0 || (unsafe holds(number, entry, head)) {
        answer.outcome = .matched
        answer.entry = Int32(truncatingIfNeeded: number)
        answer.rule = Int32(truncatingIfNeeded: entry.rule)
        answer.matchedPrefixLength =
          entry.matchedLength == ImageFormat.none
          ? Int32(truncatingIfNeeded: unsafe head.pointee.path.count)
          : Int32(truncatingIfNeeded: entry.matchedLength)
        return answer
      }
      index &+= 1
    }
    return answer
  }

  /// Index of the listener whose hostname matches best, or -1. Also asked with a TLS server name, to tell
  /// a misdirected request (RFC 9110 section 15.5.20).
  public func listener(socket: Int, host: Bytes) -> Int32 {
    let hosts = checked(.sockets, socket, as: SocketRecord.self).hosts
    return Int32(bitPattern: target(of: hosts, host: host))
  }

  /// The most specific target of a host, or `none`. One pass from the last byte to the first: at each dot
  /// the hash of the suffix is at hand, so that the longest wildcard is the last that was found.
  @inline(__always)
  func target(of table: HostTable, host: Bytes) -> UInt32 {
    if table.slots.count == 0 { return table.any }
    return unsafe namedTarget(of: table, host: host.start, count: host.count)
  }

  private func namedTarget(of table: HostTable, host: UnsafePointer<UInt8>, count: Int) -> UInt32 {
    var length = count
    if length > 0, unsafe host[length &- 1] == UInt8(ascii: ".") { length &-= 1 }
    if length == 0 || length > ImageFormat.maximumHostLength { return table.any }
    var firstDot = 0
    while firstDot < length, unsafe host[firstDot] != UInt8(ascii: ".") { firstDot &+= 1 }
    var best = table.any
    var hash = HostHash()
    var index = length
    while index > 0 {
      index &-= 1
      let byte = unsafe lowercased(host[index])
      hash.add(byte)
      if byte == UInt8(ascii: "."), index > 0, table.hasWildcards != 0 {
        let suffix = unsafe Bytes(start: host + index, count: length &- index)
        var found = probe(table, hash.value, suffix, HostSlotKind.wildcard)
        if index == firstDot {
          let oneLabel = probe(table, hash.value, suffix, HostSlotKind.oneLabelWildcard)
          if oneLabel != ImageFormat.none { found = oneLabel }
        }
        if found != ImageFormat.none { best = found }
      }
    }
    let whole = unsafe Bytes(start: host, count: length)
    let exact = probe(table, hash.value, whole, HostSlotKind.exact)
    return exact != ImageFormat.none ? exact : best
  }

  /// The verifier proved an empty slot, so the loop ends.
  private func probe(_ table: HostTable, _ hash: UInt32, _ key: Bytes, _ kind: UInt16) -> UInt32 {
    let mask = Int(table.slots.count) &- 1
    var index = Int(hash) & mask
    while true {
      let slot = record(.hostSlots, Int(table.slots.first) &+ index, as: HostSlot.self)
      if slot.kind == HostSlotKind.empty { return ImageFormat.none }
      if slot.hash == hash, slot.kind == kind, Int(slot.length) == key.count {
        let ref = StringRef(offset: slot.offset, length: UInt32(slot.length))
        if sameIgnoringCase(key, lowercase: bytes(ref)) { return slot.target }
      }
      index = (index &+ 1) & mask
    }
  }

  /// Walks the tree once; the list belongs to the last node that the path reaches.
  func candidates(root: Int, path: Bytes) -> CandidateList {
    let nodes = unsafe start(of: .nodes).assumingMemoryBound(to: NodeRecord.self)
    let text = unsafe start(of: .bytes).assumingMemoryBound(to: UInt8.self)
    let count = path.count
    var node = unsafe nodes + root
    var position = 0
    while position < count {
      let wanted = unsafe path.start[position]
      let child = unsafe self.child(of: node, wanted, nodes, text)
      guard let child = unsafe child else { return unsafe list(beyond: node, wanted) }
      let length = unsafe Int(child.pointee.labelLength)
      if length > count &- position { return unsafe list(beyond: node, wanted) }
      let label = unsafe text + Int(child.pointee.labelOffset)
      let rest = unsafe path.start + position
      // The first byte is already known to be the same.
      var index = 1
      while index < length {
        if unsafe label[index] != rest[index] { return unsafe list(beyond: node, wanted) }
        index &+= 1
      }
      position &+= length
      unsafe node = child
    }
    return list(unsafe node.pointee.atEnd)
  }

  /// The child whose label begins with this byte, by halving.
  @inline(__always)
  private func child(
    of node: UnsafePointer<NodeRecord>, _ wanted: UInt8, _ nodes: UnsafePointer<NodeRecord>,
    _ text: UnsafePointer<UInt8>
  ) -> UnsafePointer<NodeRecord>? {
    var high = unsafe Int(node.pointee.childCount)
    if high == 0 { return nil }
    let firstBytes = unsafe text + Int(node.pointee.childBytes)
    // The last child whose first byte is not above the wanted one.
    var low = 0
    while high &- low > 1 {
      let middle = (low &+ high) &>> 1
      if unsafe firstBytes[middle] <= wanted { low = middle } else { high = middle }
    }
    if unsafe firstBytes[low] != wanted { return nil }
    return unsafe nodes + (Int(node.pointee.firstChild) &+ low)
  }

  /// For a path that goes on with this byte from its last node.
  @inline(__always)
  private func list(beyond node: UnsafePointer<NodeRecord>, _ next: UInt8) -> CandidateList {
    list(next == UInt8(ascii: "/") ? unsafe node.pointee.atSlash : unsafe node.pointee.passing)
  }

  @inline(__always)
  private func list(_ word: UInt32) -> CandidateList {
    if word == ImageFormat.none { return CandidateList() }
    if word & ImageFormat.onlyEntry != 0 {
      return CandidateList(first: word & ~ImageFormat.onlyEntry, count: 1)
    }
    return CandidateList(first: word &+ 1, count: record(.candidates, Int(word), as: UInt32.self))
  }

  @inline(__always)
  func candidate(_ list: CandidateList, _ index: Int) -> Int {
    if list.count == 1 { return Int(list.first) }
    return Int(record(.candidates, Int(list.first) &+ index, as: UInt32.self))
  }
}

/// `known` is in lower case and as long as `text`.
@inline(__always)
func sameIgnoringCase(_ text: Bytes, lowercase known: Bytes) -> Bool {
  var index = 0
  while index < text.count {
    if unsafe lowercased(text.start[index]) != known.start[index] { return false }
    index &+= 1
  }
  return true
}
