/// Builds one path tree: a compressed radix tree in which each node holds, merged in order of precedence,
/// every entry that a path ending there, or passing there, can still meet.
///
/// A list is cut behind the first entry that asks nothing but the path, since no look-up comes past it;
/// equal lists are stored once. What remains is the worst case: R entries that match everywhere and ask
/// more than the path (headers, or a regular expression without a literal prefix), each with precedence
/// over N distinct paths, cost R times N numbers of four bytes.
struct PathTreeBuilder {
  /// A place in the tree where an entry becomes a candidate.
  struct Key {
    var bytes: [UInt8]
    var entry: UInt32
    /// Only for a path that ends there; otherwise for all that go on, too.
    var onlyAtEnd: Bool
  }

  /// A node whose children are still to be made.
  private struct Pending {
    var node: Int
    var keys: Range<Int>
    var depth: Int
    var inherited: [UInt32]
    var inheritedList: CandidateList
  }

  private var keys: [Key]
  /// By entry: it asks nothing but the path.
  private let isUnconditional: (UInt32) -> Bool
  private var pending: [Pending] = []

  init(keys: [Key], isUnconditional: @escaping (UInt32) -> Bool) {
    self.isUnconditional = isUnconditional
    self.keys = keys
    self.keys.sort { one, other in
      if one.bytes == other.bytes { return one.entry < other.entry }
      return one.bytes.lexicographicallyPrecedes(other.bytes)
    }
  }

  /// The nodes of the tree, root first.
  mutating func build(into image: inout ImageBuilder) -> Run {
    let first = image.nodes.count
    image.nodes.append(NodeRecord())
    pending = [
      Pending(
        node: first, keys: 0..<keys.count, depth: 0, inherited: [], inheritedList: CandidateList())
    ]
    while let next = pending.popLast() { expand(next, into: &image) }
    return image.run(first, image.nodes.count - first)
  }

  private mutating func expand(_ place: Pending, into image: inout ImageBuilder) {
    var passingOwn: [UInt32] = []
    var endOwn: [UInt32] = []
    var index = place.keys.lowerBound
    // Sorted: the keys that end at this node come before those that go on.
    while index < place.keys.upperBound, keys[index].bytes.count == place.depth {
      if keys[index].onlyAtEnd {
        endOwn.append(keys[index].entry)
      } else {
        passingOwn.append(keys[index].entry)
      }
      index += 1
    }
    let passing = passingOwn.isEmpty ? place.inherited : merged(place.inherited, passingOwn)
    let passingList = passingOwn.isEmpty ? place.inheritedList : image.intern(candidates: passing)
    image.nodes[place.node].passing = passingList
    image.nodes[place.node].atEnd =
      endOwn.isEmpty ? passingList : image.intern(candidates: merged(passing, endOwn))
    addChildren(
      of: place, from: index, inherited: passing, inheritedList: passingList, into: &image)
  }

  private mutating func addChildren(
    of place: Pending, from start: Int, inherited: [UInt32], inheritedList: CandidateList,
    into image: inout ImageBuilder
  ) {
    let firstChild = image.nodes.count
    var firstBytes: [UInt8] = []
    var low = start
    while low < place.keys.upperBound {
      let byte = keys[low].bytes[place.depth]
      let high = end(of: byte, at: place.depth, from: low, below: place.keys.upperBound)
      let depth = commonLength(keys[low].bytes, keys[high - 1].bytes, from: place.depth)
      firstBytes.append(byte)
      var child = NodeRecord()
      child.label = image.intern(Array(keys[low].bytes[place.depth..<depth]))
      pending.append(
        Pending(
          node: image.nodes.count, keys: low..<high, depth: depth, inherited: inherited,
          inheritedList: inheritedList))
      image.nodes.append(child)
      low = high
    }
    image.nodes[place.node].children = image.run(firstChild, firstBytes.count)
    image.nodes[place.node].childBytes = image.intern(firstBytes).offset
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
