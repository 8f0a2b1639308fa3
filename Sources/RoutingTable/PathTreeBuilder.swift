/// Builds one path tree: a compressed radix tree in which each node holds, merged in order of precedence,
/// every entry that a path ending there, or passing there, can still meet.
///
/// A list is cut behind the first entry that asks nothing but the path, since no look-up comes past it;
/// equal lists are stored once. What remains is the worst case: R entries that match everywhere and ask
/// more than the path (headers, or a regular expression without a literal prefix), each with precedence
/// over N distinct paths, cost R times N numbers of four bytes.
struct PathTreeBuilder {
  /// Which paths that come to a place in the tree an entry is a candidate for.
  enum Reach {
    /// Those that end there.
    case end
    /// Those that end there or go on with a slash.
    case segment
    /// All of them.
    case all
  }

  /// A place in the tree where an entry becomes a candidate.
  struct Key {
    var bytes: [UInt8]
    var entry: UInt32
    var reach: Reach
  }

  /// Candidates, and the word that leads to them in the image.
  private struct List {
    var entries: [UInt32] = []
    var word = ImageFormat.none
  }

  /// A node whose children are still to be made.
  private struct Pending {
    var node: Int
    var keys: Range<Int>
    var depth: Int
    var inherited: List
  }

  private var keys: [Key]
  /// By entry: it asks nothing but the path.
  private let isUnconditional: (UInt32) -> Bool
  private var pending: [Pending] = []
  /// Nodes that keys end at and that a look-up may begin at.
  private var anchors: [Anchor] = []
  /// Every key that is not the root's has an anchor and counts at the end of a segment only.
  private var isWholeSegments = true

  private struct Anchor {
    var node: Int
    var text: [UInt8]
  }

  init(keys: [Key], isUnconditional: @escaping (UInt32) -> Bool) {
    self.isUnconditional = isUnconditional
    self.keys = keys
    self.keys.sort { one, other in
      if one.bytes == other.bytes { return one.entry < other.entry }
      return one.bytes.lexicographicallyPrecedes(other.bytes)
    }
  }

  /// The nodes of the tree, root first, and its anchors.
  mutating func build(into image: inout ImageBuilder) -> TreeRecord {
    let first = image.nodes.count
    image.nodes.append(NodeRecord())
    pending = [
      Pending(node: first, keys: 0..<keys.count, depth: 0, inherited: List())
    ]
    while let next = pending.popLast() { expand(next, into: &image) }
    var tree = TreeRecord()
    tree.nodes = image.run(first, image.nodes.count - first)
    tree.isWholeSegments = isWholeSegments ? 1 : 0
    addAnchors(to: &tree, in: &image)
    return tree
  }

  private func addAnchors(to tree: inout TreeRecord, in image: inout ImageBuilder) {
    let first = image.anchors.count
    for anchor in anchors {
      tree.depths |= 1 << UInt16(depth(of: anchor.text))
      image.add(anchor.text, node: anchor.node, mayDescend: !isWholeSegments)
    }
    tree.anchors = image.run(first, anchors.count)
    if anchors.count <= ImageFormat.tagCount { return }
    let keys = anchors.indices.map { (image.anchorHashes[first + $0], UInt32(clamping: first + $0)) }
    tree.firstSlot = UInt32(clamping: image.anchorSlots.count)
    image.anchorSlots += image.hashSlots(keys)
  }

  /// A look-up asks for prefixes of the path by their number of slashes.
  private func depth(of text: [UInt8]) -> Int { text.count { $0 == UInt8(ascii: "/") } }

  /// A node that keys end at.
  private mutating func note(_ place: Pending, goesOnAnyhow: Bool) {
    if place.depth == 0 { return }
    if goesOnAnyhow { isWholeSegments = false }
    let text = keys[place.keys.lowerBound].bytes
    guard text.count <= ImageFormat.maximumAnchorLength,
      (1...ImageFormat.maximumAnchorDepth).contains(depth(of: text))
    else {
      isWholeSegments = false
      return
    }
    anchors.append(Anchor(node: place.node, text: text))
  }

  private mutating func expand(_ place: Pending, into image: inout ImageBuilder) {
    var own: (end: [UInt32], segment: [UInt32], all: [UInt32]) = ([], [], [])
    var index = place.keys.lowerBound
    // Sorted: the keys that end at this node come before those that go on.
    while index < place.keys.upperBound, keys[index].bytes.count == place.depth {
      switch keys[index].reach {
      case .end: own.end.append(keys[index].entry)
      case .segment: own.segment.append(keys[index].entry)
      case .all: own.all.append(keys[index].entry)
      }
      index += 1
    }
    if index > place.keys.lowerBound { note(place, goesOnAnyhow: !own.all.isEmpty) }
    let passing = extended(place.inherited, by: own.all, in: &image)
    let atSlash = extended(passing, by: own.segment, in: &image)
    image.nodes[place.node].passing = passing.word
    image.nodes[place.node].atSlash = atSlash.word
    image.nodes[place.node].atEnd = extended(atSlash, by: own.end, in: &image).word
    addChildren(of: place, from: index, passing: passing, atSlash: atSlash, into: &image)
  }

  private mutating func addChildren(
    of place: Pending, from start: Int, passing: List, atSlash: List, into image: inout ImageBuilder
  ) {
    let firstChild = image.nodes.count
    var firstBytes: [UInt8] = []
    var low = start
    while low < place.keys.upperBound {
      let byte = keys[low].bytes[place.depth]
      let high = end(of: byte, at: place.depth, from: low, below: place.keys.upperBound)
      let depth = commonLength(keys[low].bytes, keys[high - 1].bytes, from: place.depth)
      firstBytes.append(byte)
      let label = image.intern(Array(keys[low].bytes[place.depth..<depth]))
      var child = NodeRecord()
      child.labelOffset = label.offset
      child.labelLength = UInt16(clamping: label.length)
      pending.append(
        Pending(
          node: image.nodes.count, keys: low..<high, depth: depth,
          inherited: byte == UInt8(ascii: "/") ? atSlash : passing))
      image.nodes.append(child)
      low = high
    }
    image.nodes[place.node].childCount = UInt16(clamping: firstBytes.count)
    image.nodes[place.node].firstChild = firstBytes.isEmpty ? 0 : UInt32(clamping: firstChild)
    image.nodes[place.node].childBytes = image.intern(firstBytes).offset
  }

  private func extended(_ list: List, by own: [UInt32], in image: inout ImageBuilder) -> List {
    if own.isEmpty { return list }
    let entries = merged(list.entries, own)
    return List(entries: entries, word: image.intern(candidates: entries))
  }

  /// The first key from `low` on whose byte at `depth` differs, by halving.
  private func end(of byte: UInt8, at depth: Int, from low: Int, below limit: Int) -> Int {
    var known = low
    var beyond = limit
    while beyond - known > 1 {
      let middle = known + (beyond - known) / 2
      if keys[middle].bytes[depth] == byte { known = middle } else { beyond = middle }
    }
    return beyond
  }

  private func commonLength(_ one: [UInt8], _ other: [UInt8], from start: Int) -> Int {
    let limit = min(one.count, other.count)
    var length = start
    while length < limit, one[length] == other[length] { length += 1 }
    return length
  }

  /// Both ascending; cut behind the first unconditional entry.
  private func merged(_ one: [UInt32], _ other: [UInt32]) -> [UInt32] {
    var result: [UInt32] = []
    result.reserveCapacity(one.count + other.count)
    var i = 0
    var j = 0
    while i < one.count || j < other.count {
      let takeOne = j == other.count || (i < one.count && one[i] < other[j])
      let entry = takeOne ? one[i] : other[j]
      if takeOne { i += 1 } else { j += 1 }
      result.append(entry)
      if isUnconditional(entry) { break }
    }
    return result
  }
}

extension ImageBuilder {
  /// An anchor for a node whose lists and children are known.
  mutating func add(_ text: [UInt8], node index: Int, mayDescend: Bool) {
    let node = nodes[index]
    var record = AnchorRecord()
    record.textLength = UInt8(clamping: text.count)
    if text.count > AnchorRecord.textRoom {
      record.text.0 = intern(text).offset
    } else {
      copy(text, into: &record.text)
    }
    let firstByte = Int(node.childBytes)
    let children = bytes[firstByte..<firstByte + Int(node.childCount)]
    let descends = mayDescend && children.contains(UInt8(ascii: "/"))
    if descends { record.flags |= AnchorFlag.descends }
    let end = winner(node.atEnd, length: text.count)
    let slash = descends ? nil : winner(node.atSlash, length: text.count)
    if let winner = end ?? slash {
      record.entry = (end != nil ? node.atEnd : node.atSlash) & ~ImageFormat.onlyEntry
      record.rule = winner.rule
      if winner.matchedLength == ImageFormat.none { record.flags |= AnchorFlag.wholePath }
      if end != nil { record.flags |= AnchorFlag.endWins }
      if slash != nil, end == nil || node.atEnd == node.atSlash { record.flags |= AnchorFlag.slashWins }
    }
    anchors.append(record)
    anchorDetails.append(AnchorDetail(end: node.atEnd, slash: node.atSlash, node: UInt32(clamping: index)))
    anchorHashes.append(textHash(text))
  }

  /// The only entry that a word leads to, when it asks nothing but the path and matches all of it or an anchor's text.
  private func winner(_ word: UInt32, length: Int) -> EntryRecord? {
    if word == ImageFormat.none || word & ImageFormat.onlyEntry == 0 { return nil }
    let entry = entries[Int(word & ~ImageFormat.onlyEntry)]
    if entry.flags & EntryFlag.unconditional == 0 { return nil }
    return entry.matchedLength == ImageFormat.none || Int(entry.matchedLength) == length ? entry : nil
  }
}
