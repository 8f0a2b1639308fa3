import HTTPSemantics

// From a path to the deepest anchor on it. Same SAFETY as the reader.

extension RoutingImage {
  /// The deepest anchor whose text is the whole path or goes on with a slash there, and the length of that text.
  ///
  /// There is one prefix of the path for every number of slashes, and only numbers that anchors have are tried. As an
  /// anchor is a node of the tree and its text is compared, walking from it meets what walking from the root meets.
  @inline(__always)
  func anchor(of host: UnsafePointer<HostRecord>, _ path: Bytes) -> (UnsafePointer<AnchorRecord>, Int)? {
    let depths = unsafe UInt64(host.pointee.depths)
    if depths == 0 { return nil }
    let slashes = unsafe bits(of: UInt8(ascii: "/"), path.start, path.count)
    let depth = slashes.nonzeroBitCount
    // As deep as the path is: all of it. Less deep: up to the next slash.
    if depth < 16, depths &>> UInt64(depth) & 1 != 0, path.count <= ImageFormat.maximumAnchorLength {
      if let found = unsafe anchor(of: host, path.start, path.count) { return unsafe (found, path.count) }
    }
    var left = depth > 15 ? depths : depths & ((1 &<< UInt64(depth)) &- 1)
    while left != 0 {
      let tried = 63 &- left.leadingZeroBitCount
      left ^= 1 &<< UInt64(tried)
      var rest = slashes
      var passed = 0
      while passed < tried {
        rest &= rest &- 1
        passed &+= 1
      }
      let length = rest.trailingZeroBitCount
      if let found = unsafe anchor(of: host, path.start, length) { return unsafe (found, length) }
    }
    return nil
  }

  @inline(__always)
  private func anchor(
    of host: UnsafePointer<HostRecord>, _ text: UnsafePointer<UInt8>, _ count: Int
  ) -> UnsafePointer<AnchorRecord>? {
    let hash = unsafe textHash(text, count, ignoringCase: false)
    let total = unsafe host.pointee.fewAnchors
    if total == HostRecord.manyAnchors { return unsafe slotted(host, hash, text, count) }
    let anchors = unsafe place(.anchors, Int(host.pointee.firstAnchor), as: AnchorRecord.self)
    let tags = unsafe UnsafeRawPointer(host) + HostRecord.tagsOffset
    let wanted = UInt8(truncatingIfNeeded: hash)
    let low = unsafe bits(of: wanted, in: tags.loadUnaligned(as: UInt64.self))
    let high = unsafe bits(of: wanted, in: tags.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    var found = (low | high &<< 8) & ((1 &<< UInt64(total)) &- 1)
    while found != 0 {
      let anchor = unsafe anchors + found.trailingZeroBitCount
      if unsafe isText(of: anchor, text, count) { return unsafe anchor }
      found &= found &- 1
    }
    return nil
  }

  /// The verifier proved an empty slot, so the loop ends.
  @inline(__always)
  private func slotted(
    _ host: UnsafePointer<HostRecord>, _ hash: UInt32, _ text: UnsafePointer<UInt8>, _ count: Int
  ) -> UnsafePointer<AnchorRecord>? {
    let anchors = unsafe place(.anchors, 0, as: AnchorRecord.self)
    let slots = unsafe place(.anchorSlots, Int(host.pointee.tags.0), as: HashSlot.self)
    let total = ImageFormat.slotCount(keys: unsafe Int(host.pointee.tags.1))
    var index = ImageFormat.home(hash, slots: total)
    while true {
      let slot = unsafe slots[index]
      if slot.record == ImageFormat.none { return nil }
      if slot.hash == hash {
        let anchor = unsafe anchors + Int(slot.record)
        if unsafe isText(of: anchor, text, count) { return unsafe anchor }
      }
      index &+= 1
      if index == total { index = 0 }
    }
  }

  @inline(__always)
  private func isText(
    of anchor: UnsafePointer<AnchorRecord>, _ text: UnsafePointer<UInt8>, _ count: Int
  ) -> Bool {
    if unsafe Int(anchor.pointee.textLength) != count { return false }
    let known = unsafe self.text(of: anchor)
    return unsafe sameText(text, known, count, ignoringCase: false)
  }

  @inline(__always)
  private func text(of anchor: UnsafePointer<AnchorRecord>) -> UnsafePointer<UInt8> {
    if unsafe Int(anchor.pointee.textLength) <= AnchorRecord.textRoom {
      return unsafe (UnsafeRawPointer(anchor) + AnchorRecord.textOffset).assumingMemoryBound(to: UInt8.self)
    }
    return unsafe place(.bytes, Int(anchor.pointee.text.0), as: UInt8.self)
  }
}
