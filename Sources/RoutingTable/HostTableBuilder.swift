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

  var slotKind: UInt16 {
    switch kind {
    case .any: HostSlotKind.empty
    case .exact: HostSlotKind.exact
    case .wildcard: HostSlotKind.wildcard
    case .oneLabelWildcard: HostSlotKind.oneLabelWildcard
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
  /// Patterns are distinct; at most half of the slots are used, so that a probe soon meets an empty one.
  mutating func addHostTable(_ patterns: [(pattern: HostPattern, target: Int)]) -> HostTable {
    var table = HostTable()
    let named = patterns.filter { $0.pattern.kind != .any }
    if let any = patterns.first(where: { $0.pattern.kind == .any }) {
      table.any = UInt32(clamping: any.target)
    }
    table.hasWildcards = named.contains { $0.pattern.kind != .exact } ? 1 : 0
    if named.isEmpty { return table }
    var capacity = 2
    while capacity < named.count * 2 { capacity *= 2 }
    var slots = [HostSlot](repeating: HostSlot(), count: capacity)
    for (pattern, target) in named {
      let key = intern(pattern.key)
      var hash = HostHash()
      for byte in pattern.key.reversed() { hash.add(byte) }
      var index = Int(hash.value) & (capacity - 1)
      while slots[index].kind != HostSlotKind.empty { index = (index + 1) & (capacity - 1) }
      slots[index] = HostSlot(
        hash: hash.value, target: UInt32(clamping: target), offset: key.offset,
        length: UInt16(clamping: key.length), kind: pattern.slotKind)
    }
    table.slots = run(hostSlots.count, capacity)
    hostSlots += slots
    return table
  }
}
