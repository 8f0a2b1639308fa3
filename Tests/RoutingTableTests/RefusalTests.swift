import Testing

@testable import RoutingTable

/// Damage to hash tables, hosts and anchors that the verifier must refuse.
@Suite struct RefusalTests {
  /// Ten routes found by tags at one host, and forty found by slots at another.
  private func image() throws -> [UInt8] {
    func entries(_ count: Int) -> [EntrySource] {
      (0..<count).map { EntrySource(path: .segmentPrefix("/api/\($0)"), rule: $0 % 2) }
    }
    let hosts = [
      VirtualHostSource(pattern: "a.test", entries: entries(10)),
      VirtualHostSource(
        pattern: "*.test", entries: entries(40) + [EntrySource(path: .stringPrefix("/api/1/"), rule: 1)]),
    ]
    let rules = (0..<2).map { RuleSource(provenance: "rule \($0)", action: .forward([])) }
    return try compile(
      TableSource(
        sockets: [SocketSource(port: 80, listeners: [ListenerSource(name: "l", virtualHosts: hosts)])], rules: rules))
  }

  private func place(of section: ImageSection, in image: [UInt8]) -> (offset: Int, count: Int) {
    func number(_ at: Int) -> Int { (0..<4).reduce(0) { $0 | Int(image[at + $1]) << (8 * $1) } }
    let entry = ImageFormat.sectionTableOffset + section.rawValue * 8
    return (number(entry), number(entry + 4))
  }

  /// The reason for which the image is refused when one record was changed; nil when it is accepted.
  private func refusal<Record: BitwiseCopyable>(
    _ section: ImageSection, _ index: Int, _ change: (inout Record) -> Void
  ) throws -> ImageError.Reason? {
    var image = try image()
    let (offset, count) = place(of: section, in: image)
    precondition(index < count && section.stride == MemoryLayout<Record>.stride)
    unsafe image.withUnsafeMutableBytes { raw in
      let at = offset + index * MemoryLayout<Record>.stride
      var record = unsafe raw.loadUnaligned(fromByteOffset: at, as: Record.self)
      change(&record)
      unsafe raw.storeBytes(of: record, toByteOffset: at, as: Record.self)
    }
    writeChecksum(into: &image)
    do throws(ImageError) {
      _ = try LoadedImage(image)
      return nil
    } catch {
      return error.reason
    }
  }

  private func first<Record: BitwiseCopyable>(
    _ section: ImageSection, where isWanted: (Record) -> Bool
  ) throws -> Int {
    let image = try image()
    let (offset, count) = place(of: section, in: image)
    let index = (0..<count).first { index in
      let at = offset + index * MemoryLayout<Record>.stride
      return unsafe image.withUnsafeBytes { raw in
        isWanted(unsafe raw.loadUnaligned(fromByteOffset: at, as: Record.self))
      }
    }
    return try #require(index)
  }

  @Test func theUnchangedImageIsAccepted() throws {
    #expect(try refusal(.anchors, 0) { (_: inout AnchorRecord) in } == nil)
  }

  @Test func anchors() throws {
    let changes: [(ImageError.Reason, (inout AnchorRecord) -> Void)] = [
      (.badValue, { $0.textLength = 0 }), (.badValue, { $0.textLength = 64 }), (.badReference, { $0.textLength = 63 }),
      (.badReference, { $0.entry += 1 }), (.badReference, { $0.entry = ImageFormat.none }),
      (.badReference, { $0.rule ^= 1 }),
      (.badReference, { $0.rule = 7 }), (.badReference, { $0.flags ^= AnchorFlag.wholePath }),
      (.badValue, { $0.flags ^= AnchorFlag.descends }), (.badValue, { $0.flags |= 16 }),
      (.badValue, { $0.text = (0, 0, 0, 0, 0, 0, 0) }), (.badOrder, { $0.text.1 ^= 1 << 8 }),
    ]
    for (number, (reason, change)) in changes.enumerated() {
      let found = try refusal(.anchors, 0, change)
      #expect(found == reason, "change \(number): \(String(describing: found))")
    }
    let details: [(inout AnchorDetail) -> Void] = [
      { $0.node = 0 }, { $0.node = 1_000_000 }, { $0.end = 0 }, { $0.slash = ImageFormat.none },
    ]
    for (number, change) in details.enumerated() {
      #expect(try refusal(.anchorDetails, 0, change) == .badReference, "change \(number)")
    }
    // An anchor with slots: its hash is not the slot's any more.
    #expect(try refusal(.anchors, 20) { (anchor: inout AnchorRecord) in anchor.text.1 ^= 1 << 8 } == .badOrder)
  }

  @Test func hosts() throws {
    let few = try first(.hosts) { (host: HostRecord) in host.fewAnchors == 10 }
    let many = try first(.hosts) { (host: HostRecord) in host.fewAnchors == HostRecord.manyAnchors }
    let changes: [(Int, ImageError.Reason, (inout HostRecord) -> Void)] = [
      (few, .badReference, { $0.target = 9 }), (few, .badReference, { $0.target ^= 1 }),
      (few, .badReference, { $0.onward = 0 }), (few, .badReference, { $0.firstAnchor += 1 }),
      (few, .badReference, { $0.depths = 0xFFFE }), (few, .badReference, { $0.traits ^= 4 }),
      (few, .badReference, { $0.traits += 8 }), (few, .badValue, { $0.keyLength = 0 }),
      (few, .badValue, { $0.keyLength = 254 }), (few, .badOrder, { $0.keyLength = 5 }),
      (few, .badOrder, { $0.key.0 ^= 2 }), (few, .badText, { $0.key.0 ^= 0x20 }), (few, .badOrder, { $0.tags.0 ^= 1 }),
      (few, .badOrder, { $0.tags.2 ^= 1 << 8 }), (many, .badReference, { $0.tags.0 += 1 }),
      (many, .badReference, { $0.tags.1 -= 1 }), (many, .badReference, { $0.traits = 10 << 3 | 2 }),
    ]
    for (number, (index, reason, change)) in changes.enumerated() {
      #expect(try refusal(.hosts, index, change) == reason, "change \(number)")
    }
  }

  @Test func slots() throws {
    for section in [ImageSection.hostSlots, .anchorSlots] {
      let used = try first(section) { (slot: HashSlot) in slot.record != ImageFormat.none }
      let empty = try first(section) { (slot: HashSlot) in slot.record == ImageFormat.none }
      let changes: [(Int, Set<ImageError.Reason>, (inout HashSlot) -> Void)] = [
        (used, [.badOrder], { $0.hash ^= 1 }), (used, [.badReference], { $0.record = 1_000_000 }),
        (empty, [.badOrder, .badReference], { $0.record = 0 }),
        (used, [.badOrder], { $0.hash = ~$0.hash }),
      ]
      for (number, (index, reasons, change)) in changes.enumerated() {
        let reason = try refusal(section, index, change)
        #expect(
          reason.map { reasons.contains($0) } == true,
          "\(section), change \(number): \(String(describing: reason))")
      }
    }
  }

  @Test func everyAnchorHasASlot() throws {
    let used = try first(.anchorSlots) { (slot: HashSlot) in slot.record != ImageFormat.none }
    #expect(
      try refusal(.anchorSlots, used) { (slot: inout HashSlot) in slot.record = ImageFormat.none } == .badOrder)
  }

  @Test func trees() throws {
    let changes: [(ImageError.Reason, (inout VirtualHostRecord) -> Void)] = [
      (.badReference, { $0.tree.anchors.count = 1_000_000 }), (.badReference, { $0.tree.anchors.first = 1 }),
      (.badValue, { $0.tree.depths = 2 }), (.badValue, { $0.tree.isWholeSegments = 2 }),
    ]
    for (number, (reason, change)) in changes.enumerated() {
      #expect(try refusal(.virtualHosts, 0, change) == reason, "change \(number)")
    }
    let slots: (inout VirtualHostRecord) -> Void = { $0.tree.firstSlot = 1 }
    #expect(try refusal(.virtualHosts, 1, slots) == .badReference)
    #expect(try refusal(.listeners, 0) { (l: inout ListenerRecord) in l.hosts.wildcardDots = 0 } == .badValue)
    #expect(try refusal(.listeners, 0) { (l: inout ListenerRecord) in l.hosts.any = 0 } == .badReference)
  }

  /// A socket's hosts lead to listeners, which have no paths.
  @Test func hostsOfListeners() throws {
    let listener = try first(.hosts) { (host: HostRecord) in host.kind == HostKind.any }
    #expect(try refusal(.hosts, listener) { (host: inout HostRecord) in host.onward = 0 } == .badValue)
    #expect(try refusal(.hosts, listener) { (host: inout HostRecord) in host.depths = 2 } == .badValue)
    #expect(try refusal(.sockets, 0) { (socket: inout SocketRecord) in socket.hosts.any = 1 } != nil)
  }
}
