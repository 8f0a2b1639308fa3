import YAML

// The rules of the Gateway definition that look at more than one field.

extension TextRule {
  static let protocolName = TextRule(
    "a protocol as HTTP, or one with a domain as example.com/proto", minLength: 1, maxLength: 255,
    matches: { text in
      let parts = text.split(separator: "/", omittingEmptySubsequences: false)
      guard let last = parts.last, isSubdomain(last.lowercased()) else { return false }
      return parts.count == 1 ? !last.contains(".") : parts.count == 2 && isSubdomain(String(parts[0]))
    })
}

extension GatewayListener {
  func check(_ reader: ObjectReader) {
    switch `protocol` {
    case "HTTP", "TCP", "UDP":
      if tls != nil { reader.error(at: "tls", "must not be set for the protocol \(`protocol`)") }
    case "HTTPS":
      if let tls, tls.mode != .terminate {
        reader.error(at: "tls", "must have the mode Terminate for the protocol HTTPS")
      }
      if tls == nil {
        reader.error(at: "tls", "is required for the protocol HTTPS, with certificateRefs that name a Secret")
      }
    case "TLS":
      if tls == nil {
        reader.error(at: "tls", "is required for the protocol TLS, with the mode Terminate or Passthrough")
      }
    default: break
    }
    if `protocol` == "TCP" || `protocol` == "UDP", hostname != nil {
      reader.error(at: "hostname", "must not be set for the protocol \(`protocol`)")
    }
  }
}

extension GatewaySpec {
  func checkListeners(_ reader: ObjectReader) {
    for (index, one) in listeners.enumerated() {
      for other in listeners[..<index] {
        if one.name == other.name, !one.name.isEmpty {
          reader.error(
            at: "listeners", index: index, "name", "\"\(one.name)\" is the name of an earlier listener")
        }
        if one.port == other.port, one.protocol == other.protocol, one.hostname == other.hostname {
          let host = one.hostname ?? "any host"
          reader.error(
            at: "listeners", index: index,
            "has the port, protocol and hostname (\(one.port), \(one.protocol), \(host)) of \"\(other.name)\""
          )
        }
      }
    }
  }

  func checkAddresses(_ reader: ObjectReader) {
    for (index, one) in addresses.enumerated() where one.type == "IPAddress" || one.type == "Hostname" {
      guard one.value != nil, addresses[..<index].contains(one) else { continue }
      reader.error(at: "addresses", index: index, "stands here a second time")
    }
  }
}

extension GatewayAddress {
  func check(_ reader: ObjectReader) {
    guard let value, !value.isEmpty else { return }
    switch type {
    case "IPAddress":
      if !isIPAddress(value) { reader.error(at: "value", "\"\(value)\" is not an IP address") }
    case "Hostname":
      if let complaint = TextRule.hostname.complaint(about: value) { reader.error(at: "value", complaint) }
    default: break
    }
  }
}

/// Whether a text is an IPv4 address in four decimal parts, or an IPv6 address without a zone.
func isIPAddress(_ text: String) -> Bool {
  if text.contains(":") { return isIPv6Address(text) }
  let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
  return parts.count == 4
    && parts.allSatisfy { part in
      guard part.count >= 1, part.count <= 3, part.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else {
        return false
      }
      guard part.count == 1 || part.first != 0x30 else { return false }
      return Int(String(decoding: part, as: UTF8.self)).map { $0 <= 255 } ?? false
    }
}

private func isIPv6Address(_ text: String) -> Bool {
  var groups = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
  // At either end "::" leaves two empty parts; one of them is enough.
  if text.hasPrefix("::") { groups.removeFirst() } else if text.hasPrefix(":") { return false }
  if text.hasSuffix("::"), groups.count > 1 {
    groups.removeLast()
  } else if text.hasSuffix(":"), text != "::" {
    return false
  }
  let gaps = groups.filter(\.isEmpty).count
  guard gaps <= 1 else { return false }
  var count = 0
  for (index, group) in groups.enumerated() where !group.isEmpty {
    if group.contains(".") {
      guard index == groups.count - 1, isIPAddress(group), !group.contains(":") else { return false }
      count += 2
    } else {
      guard group.utf8.count <= 4, UInt32(group, radix: 16) != nil, group.first != "+", group.first != "-"
      else {
        return false
      }
      count += 1
    }
  }
  return gaps == 1 ? count < 8 : count == 8
}
