// The proofs of hash tables and of the records of hosts.

extension ImageVerifier {
  /// The slots are a table in which every key can be found and every search ends. Two tables that share slots are
  /// refused, which keeps the work linear. The used slots; what they lead to is for the caller to prove.
  mutating func checkTable(
    _ slots: Run, in section: ImageSection, _ at: @autoclosure () -> String
  ) throws(ImageError) -> [HashSlot] {
    try check(slots, in: section, at())
    try claim(slots, of: section, at())
    let total = Int(slots.count)
    if total == 0 { return [] }
    let first = Int(slots.first)
    var empty = -1
    for index in 0..<total
    where record(section, first + index, as: HashSlot.self).record == ImageFormat.none {
      empty = index
      break
    }
    try require(empty >= 0, .badValue, "\(at()): no slot is empty")
    // From an empty slot round to it: a used slot may lie only as far behind its home as used slots do.
    var found: [HashSlot] = []
    var used = 0
    for step in 1...total {
      let index = (empty + step) % total
      let slot = record(section, first + index, as: HashSlot.self)
      if slot.record == ImageFormat.none {
        used = 0
        continue
      }
      let distance = (index - ImageFormat.home(slot.hash, slots: total) + total) % total
      try require(
        distance <= used, .badOrder, "\(section)[\(first + index)]: not where its key is looked for")
      used += 1
      found.append(slot)
    }
    return found
  }

  /// Targets are within the run, which is one of `section`.
  mutating func check(
    _ table: HostTable, leadsTo section: ImageSection, _ targets: Run, _ at: @autoclosure () -> String
  ) throws(ImageError) {
    if table.any != ImageFormat.none {
      let host = try checkHost(table.any, leadsTo: section, targets, "\(at()).any")
      try require(host.kind == HostKind.any, .badValue, "\(at()).any.kind")
    }
    var dots: UInt32 = 0
    for slot in try checkTable(table.slots, in: .hostSlots, "\(at()).slots") {
      let host = try checkHost(slot.record, leadsTo: section, targets, "\(at()).slots")
      let key = try checkKey(of: host, slot.record)
      try require(textHash(key) == slot.hash, .badOrder, "\(place(.hosts, Int(slot.record), "hash"))")
      if host.kind == HostKind.exact { continue }
      dots |= 1 << UInt32(min(key.count { $0 == UInt8(ascii: ".") }, 31))
    }
    try require(table.wildcardDots == dots, .badValue, "\(at()).wildcardDots")
  }

  private mutating func checkKey(of host: HostRecord, _ index: UInt32) throws(ImageError) -> [UInt8] {
    let length = Int(host.keyLength)
    try require(
      (HostKind.exact...HostKind.oneLabelWildcard).contains(host.kind)
        && (1...ImageFormat.maximumHostLength).contains(length), .badValue,
      place(.hosts, Int(index), "key"))
    if length > HostRecord.keyRoom {
      let ref = StringRef(offset: host.key.0, length: UInt32(length))
      try check(text: ref, .lowercase, place(.hosts, Int(index), "key"))
      return unsafe Array(text(ref))
    }
    let key = leadingBytes(of: host.key, length)
    try require(key.allSatisfy(TextRule.lowercase.allows), .badText, place(.hosts, Int(index), "key"))
    return key
  }

  /// A record of a table: its target, and that it says of the tree what the target says.
  private func checkHost(
    _ index: UInt32, leadsTo section: ImageSection, _ targets: Run, _ at: @autoclosure () -> String
  ) throws(ImageError) -> HostRecord {
    try check(index: index, in: .hosts, at())
    let host = record(.hosts, Int(index), as: HostRecord.self)
    try require(
      host.target >= targets.first && host.target - targets.first < targets.count, .badReference,
      place(.hosts, Int(index), "target"))
    if section == .listeners {
      try require(
        host.onward == ImageFormat.none && host.fewAnchors == 0 && host.depths == 0, .badValue,
        place(.hosts, Int(index), "anchors"))
      return host
    }
    let tree = record(.virtualHosts, Int(host.target), as: VirtualHostRecord.self).tree
    let root = record(.nodes, Int(tree.nodes.first), as: NodeRecord.self)
    let onward = tree.isWholeSegments != 0 ? root.passing : tree.nodes.first
    let traits = HostRecord.traits(
      kind: host.kind, isWholeSegments: tree.isWholeSegments != 0, anchorCount: Int(tree.anchors.count))
    try require(
      host.traits == traits && host.onward == onward, .badReference, place(.hosts, Int(index), "onward"))
    try require(
      host.firstAnchor == tree.anchors.first && host.depths == tree.depths, .badReference,
      place(.hosts, Int(index), "anchors"))
    if tree.anchors.count > ImageFormat.tagCount {
      try require(
        host.tags.0 == tree.firstSlot && host.tags.1 == tree.anchors.count, .badReference,
        place(.hosts, Int(index), "tags"))
    } else {
      let tags = leadingBytes(of: host.tags, Int(tree.anchors.count))
      let hashes = anchorHashes[Int(tree.anchors.first)...].prefix(tags.count)
      try require(
        tags.elementsEqual(hashes.map { UInt8(truncatingIfNeeded: $0) }), .badOrder,
        place(.hosts, Int(index), "tags"))
    }
    return host
  }
}

/// The first bytes of a field of integers, in memory order.
func leadingBytes<Field: BitwiseCopyable>(of field: Field, _ count: Int) -> [UInt8] {
  // SAFETY: the buffer is the field's own, which has no padding.
  unsafe withUnsafeBytes(of: field) { raw in unsafe Array(raw.prefix(count)) }
}
