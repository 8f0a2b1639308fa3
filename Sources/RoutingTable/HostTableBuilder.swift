/// A host pattern of the source in the form of the image.
struct HostPattern: Hashable {
  enum Kind: Hashable {
    case any, exact, wildcard, oneLabelWildcard
  }

  var kind: Kind
  /// The name, or the suffix with its leading dot; lower case, no trailing dot.
  var key: [UInt8]

  init(_ text: String, oneLabel: Bool, at location: String) throws(TableError) {
    var bytes = asciiLowercased(text)
    if bytes.last == UInt8(ascii: "."), bytes.count > 2 { bytes.removeLast() }
    if bytes.isEmpty || bytes == [UInt8(ascii: "*")] {
      kind = .any
      key = []
      return
    }
    kind = .exact
    if bytes.starts(with: "*.".utf8) {
      bytes.removeFirst()
      kind = oneLabel ? .oneLabelWildcard : .wildcard
    }
    let labels = kind == .exact ? bytes[...] : bytes.dropFirst()
    guard !labels.isEmpty, labels.first != UInt8(ascii: "."),
      labels.allSatisfy({ $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "*") && $0 != UInt8(ascii: "/") })
    else {
      throw TableError(
        location, "\"\(text)\" is no host pattern; write a name, \"*.\" and a name, or \"*\"")
    }
    guard bytes.count <= ImageFormat.maximumHostLength else {
      throw TableError(
        location,
        "the host pattern has \(bytes.count) bytes, the limit is \(ImageFormat.maximumHostLength)")
    }
    key = bytes
  }

  /// As in the image.
  var code: UInt8 {
    switch kind {
    case .any: HostKind.any
    case .exact: HostKind.exact
    case .wildcard: HostKind.wildcard
    case .oneLabelWildcard: HostKind.oneLabelWildcard
    }
  }

  /// As people write it.
  var text: String {
    switch kind {
    case .any: "*"
    case .exact: String(decoding: key, as: UTF8.self)
    case .wildcard, .oneLabelWildcard: "*" + String(decoding: key, as: UTF8.self)
    }
  }
}

extension ImageBuilder {
  /// Patterns are distinct. `tree` is that of a virtual host.
  mutating func addHostTable(_ patterns: [(pattern: HostPattern, target: Int, tree: TreeRecord?)]) -> HostTable {
    var table = HostTable()
    var keys: [(hash: UInt32, record: UInt32)] = []
    for (pattern, target, tree) in patterns {
      let index = UInt32(clamping: hosts.count)
      hosts.append(hostRecord(pattern, target: target, tree: tree))
      if pattern.kind == .any {
        table.any = index
        continue
      }
      keys.append((textHash(pattern.key), index))
      if pattern.kind == .exact { continue }
      let dots = pattern.key.count { $0 == UInt8(ascii: ".") }
      table.wildcardDots |= 1 << UInt32(min(dots, 31))
    }
    let slots = hashSlots(keys)
    table.slots = run(hostSlots.count, slots.count)
    hostSlots += slots
    return table
  }

  private mutating func hostRecord(_ pattern: HostPattern, target: Int, tree: TreeRecord?) -> HostRecord {
    var record = HostRecord()
    record.target = UInt32(clamping: target)
    let anchors = tree?.anchors ?? Run()
    record.traits = HostRecord.traits(
      kind: pattern.code, isWholeSegments: tree?.isWholeSegments == 1, anchorCount: Int(anchors.count))
    record.keyLength = UInt8(clamping: pattern.key.count)
    if pattern.key.count > HostRecord.keyRoom {
      record.key.0 = intern(pattern.key).offset
    } else {
      copy(pattern.key, into: &record.key)
    }
    if let tree { find(tree, from: &record) }
    return record
  }

  /// Everything that a look-up asks about the tree before it reads an anchor.
  private func find(_ tree: TreeRecord, from record: inout HostRecord) {
    let root = tree.nodes.first
    record.onward = tree.isWholeSegments != 0 ? nodes[Int(root)].passing : root
    record.depths = tree.depths
    record.firstAnchor = tree.anchors.first
    if tree.anchors.count > ImageFormat.tagCount {
      record.tags.0 = tree.firstSlot
      record.tags.1 = tree.anchors.count
    } else {
      copy(tags(of: tree.anchors), into: &record.tags)
    }
  }

  private func tags(of anchors: Run) -> [UInt8] {
    let first = Int(anchors.first)
    return anchorHashes[first..<first + Int(anchors.count)].map { UInt8(truncatingIfNeeded: $0) }
  }

  /// An open-addressing table of keys, which are put in one after the other.
  func hashSlots(_ keys: [(hash: UInt32, record: UInt32)]) -> [HashSlot] {
    let count = ImageFormat.slotCount(keys: keys.count)
    var slots = [HashSlot](repeating: HashSlot(), count: count)
    for (hash, record) in keys {
      var index = ImageFormat.home(hash, slots: count)
      while slots[index].record != ImageFormat.none { index = index + 1 == count ? 0 : index + 1 }
      slots[index] = HashSlot(hash: hash, record: record)
    }
    return slots
  }
}

/// The bytes at the beginning of a field of integers, which has room for them.
func copy<Field: BitwiseCopyable>(_ bytes: [UInt8], into field: inout Field) {
  precondition(bytes.count <= MemoryLayout<Field>.size)
  // SAFETY: there is room, and every value of the bytes is one of the field's.
  unsafe withUnsafeMutableBytes(of: &field) { room in unsafe room.copyBytes(from: bytes) }
}
