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
  /// The listener has gRPC-Web requests translated.
  public var translatesGRPCWeb: Bool

  @inlinable
  public init() {
    outcome = .noListener
    listener = -1
    virtualHost = -1
    entry = -1
    rule = -1
    matchedPrefixLength = 0
    translatesGRPCWeb = false
  }
}

extension RoutingImage {
  /// The answer for a request that came in on this socket (its index).
  ///
  /// What it costs in a large table is the cache lines that it misses: a slot and the record of the host, a slot
  /// and the record of the anchor, and no more when the winner asks nothing but the path.
  public func lookup(socket: Int, head: UnsafePointer<RequestHead>) -> RouteAnswer {
    var answer = RouteAnswer()
    let key = unsafe HostKey(head.pointee.host)
    let listeners = checked(.sockets, socket, as: SocketRecord.self).hosts
    let listener = target(of: listeners, key)
    if listener == ImageFormat.none { return answer }
    answer.listener = Int32(truncatingIfNeeded: listener)
    answer.outcome = .noHost
    let settings = unsafe place(.listeners, Int(listener), as: ListenerRecord.self)
    answer.translatesGRPCWeb = unsafe settings.pointee.flags & ListenerFlag.translatesGRPCWeb != 0
    let host = unsafe hostRecord(of: settings.pointee.hosts, key)
    if host == ImageFormat.none { return answer }
    let found = unsafe place(.hosts, Int(host), as: HostRecord.self)
    answer.virtualHost = unsafe Int32(truncatingIfNeeded: found.pointee.target)
    answer.outcome = .noRoute
    unsafe findRoute(found, head, &answer)
    return answer
  }

  /// The answer for a connection below HTTP, by the server name of its ClientHello; empty where there is none.
  /// A listener of HTTP has no answer here: `RouteAnswer.Outcome.noRoute`.
  public func lookup(socket: Int, serverName: Bytes) -> RouteAnswer {
    var answer = RouteAnswer()
    let key = HostKey(serverName)
    let listener = target(of: checked(.sockets, socket, as: SocketRecord.self).hosts, key)
    if listener == ImageFormat.none { return answer }
    answer.listener = Int32(truncatingIfNeeded: listener)
    answer.outcome = .noHost
    let found = record(.listeners, Int(listener), as: ListenerRecord.self)
    let virtualHost = target(of: found.hosts, key)
    if virtualHost == ImageFormat.none { return answer }
    answer.virtualHost = Int32(truncatingIfNeeded: virtualHost)
    answer.outcome = .noRoute
    let entries = record(.virtualHosts, Int(virtualHost), as: VirtualHostRecord.self).entries
    if found.proto == ListenerProtocol.http.rawValue || entries.count == 0 { return answer }
    answer.outcome = .matched
    answer.entry = Int32(truncatingIfNeeded: entries.first)
    answer.rule = Int32(truncatingIfNeeded: record(.entries, Int(entries.first), as: EntryRecord.self).rule)
    return answer
  }

  @inline(__always)
  private func findRoute(
    _ host: UnsafePointer<HostRecord>, _ head: UnsafePointer<RequestHead>, _ answer: inout RouteAnswer
  ) {
    let path = unsafe head.pointee.path
    guard let (anchor, length) = unsafe anchor(of: host, path) else {
      let onward = unsafe host.pointee.onward
      let isWholeSegments = unsafe host.pointee.isWholeSegments
      let list = isWholeSegments ? list(onward) : candidates(below: Int(onward), path: path, from: 0)
      return unsafe choose(list, head, &answer)
    }
    let isEnd = length == path.count
    let flags = unsafe anchor.pointee.flags
    if flags & (isEnd ? AnchorFlag.endWins : AnchorFlag.slashWins) != 0 {
      answer.outcome = .matched
      answer.entry = unsafe Int32(truncatingIfNeeded: anchor.pointee.entry)
      answer.rule = unsafe Int32(truncatingIfNeeded: anchor.pointee.rule)
      let matched = flags & AnchorFlag.wholePath != 0 ? path.count : length
      answer.matchedPrefixLength = Int32(truncatingIfNeeded: matched)
      return
    }
    let index = unsafe anchor - place(.anchors, 0, as: AnchorRecord.self)
    let detail = record(.anchorDetails, index, as: AnchorDetail.self)
    if !isEnd, flags & AnchorFlag.descends != 0 {
      return unsafe choose(candidates(below: Int(detail.node), path: path, from: length), head, &answer)
    }
    unsafe choose(list(isEnd ? detail.end : detail.slash), head, &answer)
  }

  /// The first of the candidates whose other predicates hold.
  private func choose(
    _ list: CandidateList, _ head: UnsafePointer<RequestHead>, _ answer: inout RouteAnswer
  ) {
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
        return
      }
      index &+= 1
    }
  }

  /// Every candidate of a path in a tree, by walking it from its root.
  func candidates(root: Int, path: Bytes) -> CandidateList {
    candidates(below: root, path: path, from: 0)
  }

  /// Walks on from a node that the first `position` bytes lead to; the list belongs to the last node that the path
  /// reaches.
  private func candidates(below node: Int, path: Bytes, from position: Int) -> CandidateList {
    let nodes = unsafe start(of: .nodes).assumingMemoryBound(to: NodeRecord.self)
    let text = unsafe start(of: .bytes).assumingMemoryBound(to: UInt8.self)
    let count = path.count
    var node = unsafe nodes + node
    var position = position
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
