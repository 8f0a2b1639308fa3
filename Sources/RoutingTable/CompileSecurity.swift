import HTTPSemantics

// Who may come in, who backends are, and what is served below HTTP.

extension Compiler {
  /// Index of the validation, equal ones once; `none`: clients need no certificate.
  mutating func add(_ validation: ClientValidationSource?, at location: String) throws(TableError) -> UInt32 {
    guard let validation else { return ImageFormat.none }
    let record = ClientValidationRecord(
      trustBundle: try trustBundle(validation.trustBundle, at: "\(location).clientValidation"),
      mode: UInt32(validation.mode.rawValue))
    if let known = image.clientValidations.firstIndex(of: record) { return UInt32(clamping: known) }
    image.clientValidations.append(record)
    return UInt32(clamping: image.clientValidations.count - 1)
  }

  mutating func add(_ tls: BackendTLSSource, at location: String) throws(TableError) -> UInt32 {
    var record = BackendTLSRecord()
    if !tls.serverName.isEmpty {
      let name = try HostPattern(tls.serverName, oneLabel: false, at: "\(location).serverName").text
      guard !name.contains("*") else {
        throw TableError("\(location).serverName", "\"\(tls.serverName)\" is a pattern, not a name")
      }
      record.serverName = image.intern(name)
    }
    if let bundle = tls.trustBundle { record.trustBundle = try trustBundle(bundle, at: location) }
    if let certificate = tls.certificate {
      guard source.certificates.indices.contains(certificate) else {
        throw TableError(
          location, "certificate \(certificate) is not among the \(source.certificates.count) of the table")
      }
      record.certificate = UInt32(clamping: certificate)
    }
    record.verifies = tls.verifies ? 1 : 0
    record.subjectAltNames = image.run(image.subjectAltNames.count, tls.subjectAltNames.count)
    for (index, name) in tls.subjectAltNames.enumerated() {
      guard !name.value.isEmpty, name.value.utf8.allSatisfy(TextRule.visible.allows) else {
        throw TableError("\(location).subjectAltNames[\(index)]", "\"\(name.value)\" is no name of a certificate")
      }
      image.subjectAltNames.append(
        SubjectAltNameRecord(kind: UInt32(name.kind.rawValue), value: image.intern(name.value)))
    }
    image.backendTLS.append(record)
    return UInt32(clamping: image.backendTLS.count - 1)
  }

  mutating func add(_ networks: [NetworkSource], at location: String) throws(TableError) -> Run {
    let first = image.networks.count
    for (index, network) in networks.enumerated() {
      guard let record = NetworkRecord(network) else {
        throw TableError(
          "\(location)[\(index)]", "\"\(network.text)\" is no range of addresses such as 10.0.0.0/8 or fd00::/8")
      }
      image.networks.append(record)
    }
    return image.run(first, networks.count)
  }

  private func trustBundle(_ index: Int, at location: String) throws(TableError) -> UInt32 {
    guard source.trustBundles.indices.contains(index) else {
      throw TableError(
        location, "trust bundle \(index) is not among the \(source.trustBundles.count) of the table")
    }
    return UInt32(clamping: index)
  }

  func isServable(_ proto: ListenerProtocol, on kind: SocketKind) -> Bool {
    switch kind {
    case .http: proto == .http
    case .https: proto != .udp
    case .tcp: proto == .tcp
    case .udp: proto == .udp
    }
  }

  /// Below HTTP there is nothing that an entry could ask.
  func checkPlain(_ virtualHost: VirtualHostSource, at location: String) throws(TableError) {
    guard virtualHost.entries.count <= 1 else {
      throw TableError("\(location).entries", "more than one entry where nothing tells connections apart")
    }
    guard let entry = virtualHost.entries.first else { return }
    guard entry == EntrySource(rule: entry.rule) else {
      throw TableError("\(location).entries[0]", "asks for what only HTTP has")
    }
    guard source.rules.indices.contains(entry.rule), case .forward = source.rules[entry.rule].action else {
      throw TableError("\(location).entries[0].rule", "only backends can be led to below HTTP")
    }
  }
}

extension NetworkSource {
  /// Whether the text is an address, or one with a prefix length behind a slash.
  public var isValid: Bool { NetworkRecord(self) != nil }
}

extension NetworkRecord {
  init?(_ source: NetworkSource) {
    let parts = source.text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count <= 2, let address = addressBytes(String(parts[0])) else { return nil }
    let isIPv4 = !parts[0].contains(":")
    var length = isIPv4 ? 32 : 128
    if parts.count == 2 {
      guard parts[1].count <= 3, parts[1].utf8.allSatisfy({ $0 &- UInt8(ascii: "0") < 10 }),
        let given = Int(parts[1]), given <= length
      else { return nil }
      length = given
    }
    if isIPv4 { length += 96 }
    let number = { (half: ArraySlice<UInt8>) in half.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
    high = number(address[..<8]) & NetworkRecord.mask(length)
    low = number(address[8...]) & NetworkRecord.mask(length - 64)
    prefixLength = UInt64(length)
  }

  /// Of the first `length` of 64 bits; as many as there are when it is less than none or more than all.
  @inline(__always)
  static func mask(_ length: Int) -> UInt64 { ~UInt64(0) << UInt64(min(max(64 - length, 0), 64)) }

  @inline(__always)
  func contains(high otherHigh: UInt64, low otherLow: UInt64) -> Bool {
    let length = Int(truncatingIfNeeded: prefixLength)
    return (otherHigh ^ high) & Self.mask(length) | (otherLow ^ low) & Self.mask(length &- 64) == 0
  }
}

/// The sixteen bytes of an IP literal, an IPv4 address mapped.
private func addressBytes(_ text: String) -> [UInt8]? {
  if text.contains(":") {
    guard text.withLiteralBytes({ isIPv6Address($0) }) else { return nil }
    return ipv6Bytes(text)
  }
  guard text.withLiteralBytes({ isIPv4Address($0) }) else { return nil }
  return [UInt8](repeating: 0, count: 10) + [255, 255] + text.split(separator: ".").compactMap { UInt8($0) }
}

/// Of a literal that is known to be one.
private func ipv6Bytes(_ text: String) -> [UInt8]? {
  func bytes(_ groups: some Sequence<Substring>) -> [UInt8] {
    groups.flatMap { group -> [UInt8] in
      if group.contains(".") { return group.split(separator: ".").compactMap { UInt8($0) } }
      guard let number = UInt16(group, radix: 16) else { return [] }
      return [UInt8(number >> 8), UInt8(truncatingIfNeeded: number)]
    }
  }
  let groups = text.split(separator: ":", omittingEmptySubsequences: false)
  // The empty group stands for the zeros that were left out; one at either end comes with a second.
  guard let gap = groups.firstIndex(of: "") else {
    let whole = bytes(groups)
    return whole.count == 16 ? whole : nil
  }
  let head = bytes(groups[..<gap])
  let tail = bytes(groups[gap...].drop { $0.isEmpty })
  guard head.count + tail.count <= 16 else { return nil }
  return head + [UInt8](repeating: 0, count: 16 - head.count - tail.count) + tail
}
