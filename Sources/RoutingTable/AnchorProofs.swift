// The proofs of anchors.

extension ImageVerifier {
  /// The text of every anchor, whichever tree it belongs to; notes its hash.
  mutating func checkAnchorTexts() throws(ImageError) {
    try require(
      count(of: .anchors) == count(of: .anchorDetails), .badReference,
      "anchors: \(count(of: .anchors)), anchorDetails: \(count(of: .anchorDetails))")
    anchorHashes.reserveCapacity(count(of: .anchors))
    for index in 0..<count(of: .anchors) {
      let anchor = record(.anchors, index, as: AnchorRecord.self)
      try require(
        (1...ImageFormat.maximumAnchorLength).contains(Int(anchor.textLength)), .badValue,
        place(.anchors, index, "textLength"))
      if Int(anchor.textLength) > AnchorRecord.textRoom {
        try check(text: anchor.textRef, place(.anchors, index, "text"))
      }
      anchorHashes.append(textHash(text(of: anchor)))
    }
  }

  private func text(of anchor: AnchorRecord) -> [UInt8] {
    let length = Int(anchor.textLength)
    if length > AnchorRecord.textRoom { return unsafe Array(text(anchor.textRef)) }
    return leadingBytes(of: anchor.text, length)
  }

  /// Of one tree, whose nodes were proved. Trees do not share anchors, which keeps the work linear.
  mutating func checkAnchors(
    of host: VirtualHostRecord, _ at: @autoclosure () -> String
  ) throws(ImageError) {
    let run = host.tree.anchors
    try claim(run, of: .anchors, at())
    var depths: UInt16 = 0
    for index in Int(run.first)..<Int(run.first) + Int(run.count) {
      let anchor = record(.anchors, index, as: AnchorRecord.self)
      let depth = text(of: anchor).count { $0 == UInt8(ascii: "/") }
      try require(
        (1...ImageFormat.maximumAnchorDepth).contains(depth), .badValue, place(.anchors, index, "text"))
      depths |= 1 << UInt16(depth)
      try check(anchor, index, of: host)
    }
    try require(host.tree.depths == depths, .badValue, "\(at()): depths")
    if run.count <= ImageFormat.tagCount { return }
    let count = UInt32(clamping: ImageFormat.slotCount(keys: Int(run.count)))
    try checkSlots(of: run, Run(first: host.tree.firstSlot, count: count), at())
  }

  private mutating func checkSlots(
    of anchors: Run, _ slots: Run, _ at: @autoclosure () -> String
  ) throws(ImageError) {
    var isFound = [Bool](repeating: false, count: Int(anchors.count))
    for slot in try checkTable(slots, in: .anchorSlots, at()) {
      try require(
        slot.record >= anchors.first && slot.record - anchors.first < anchors.count, .badReference,
        "\(at()): slot of another tree")
      try require(
        anchorHashes[Int(slot.record)] == slot.hash, .badOrder, place(.anchors, Int(slot.record), "hash"))
      isFound[Int(slot.record - anchors.first)] = true
    }
    try require(!isFound.contains(false), .badOrder, "\(at()): an anchor has no slot")
  }

  /// It says what its node says, and of the winner what the entry says.
  private func check(_ anchor: AnchorRecord, _ index: Int, of host: VirtualHostRecord) throws(ImageError) {
    let nodes = host.tree.nodes
    let detail = record(.anchorDetails, index, as: AnchorDetail.self)
    try require(
      detail.node >= nodes.first && detail.node - nodes.first < nodes.count, .badReference,
      place(.anchorDetails, index, "node"))
    let node = record(.nodes, Int(detail.node), as: NodeRecord.self)
    try require(
      detail.end == node.atEnd && detail.slash == node.atSlash, .badReference,
      place(.anchorDetails, index, "end"))
    let children = StringRef(offset: node.childBytes, length: UInt32(node.childCount))
    let hasSlash = node.childCount > 0 && (unsafe text(children).contains(UInt8(ascii: "/")))
    let descends = hasSlash && host.tree.isWholeSegments == 0
    try require(
      anchor.flags < 16 && (anchor.flags & AnchorFlag.descends != 0) == descends
        && !(descends && anchor.flags & AnchorFlag.slashWins != 0), .badValue, place(.anchors, index, "flags"))
    if anchor.flags & AnchorFlag.endWins != 0 { try check(winner: node.atEnd, of: anchor, index) }
    if anchor.flags & AnchorFlag.slashWins != 0 { try check(winner: node.atSlash, of: anchor, index) }
  }

  private func check(winner word: UInt32, of anchor: AnchorRecord, _ index: Int) throws(ImageError) {
    try require(
      word != ImageFormat.none && word & ImageFormat.onlyEntry != 0, .badValue, place(.anchors, index, "flags"))
    try require(word & ~ImageFormat.onlyEntry == anchor.entry, .badReference, place(.anchors, index, "entry"))
    // The node's list was proved: the entry is there.
    let entry = record(.entries, Int(anchor.entry), as: EntryRecord.self)
    let length =
      anchor.flags & AnchorFlag.wholePath != 0 ? ImageFormat.none : UInt32(anchor.textLength)
    try require(
      entry.rule == anchor.rule && entry.matchedLength == length
        && entry.flags & EntryFlag.unconditional != 0, .badReference, place(.anchors, index, "rule"))
  }
}

extension AnchorRecord {
  /// Of a text that does not fit the record.
  fileprivate var textRef: StringRef { StringRef(offset: text.0, length: UInt32(textLength)) }
}
