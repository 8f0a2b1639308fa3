import YAML

// The forms of strings that the resource definitions ask for, each written once.
extension TextRule {
  /// RFC 1123 label: the form of namespaces.
  static let label = TextRule(
    "lower-case letters, digits and '-', with a letter or digit at both ends", minLength: 1, maxLength: 63,
    matches: { isLabel($0.utf8[...]) })

  /// RFC 1123 subdomain: the form of object names and section names.
  static let objectName = TextRule(
    "a name of lower-case letters, digits, '-' and '.'", minLength: 1, maxLength: 253, matches: isSubdomain)

  /// A reference's name. The definitions ask only for its length.
  static let referenceName = TextRule("a name", minLength: 1, maxLength: 253)

  /// gateway.networking.k8s.io PreciseHostname.
  static let preciseHostname = TextRule(
    "a host name in lower case without a port or a wildcard, as shop.example.com", minLength: 1,
    maxLength: 253,
    matches: isSubdomain)

  /// gateway.networking.k8s.io Hostname: a leading `*.` is allowed. An address is not a name.
  static let hostname = TextRule(
    "a host name in lower case without a port, as shop.example.com or *.example.com", minLength: 1,
    maxLength: 253, matches: { isSubdomain($0.hasPrefix("*.") ? String($0.dropFirst(2)) : $0) })

  static let group = TextRule(
    "an API group as gateway.networking.k8s.io, or empty for the core group", maxLength: 253,
    matches: { $0.isEmpty || isSubdomain($0) })

  static let kind = TextRule(
    "a kind as HTTPRoute", minLength: 1, maxLength: 63,
    matches: { text in
      let bytes = Array(text.utf8)
      guard let first = bytes.first, let last = bytes.last else { return false }
      return isLetter(first) && last != dash && bytes.allSatisfy { isLetter($0) || isDigit($0) || $0 == dash }
    })

  static let controllerName = TextRule(
    "a domain and a path, as sluice.dev/gateway-controller", minLength: 1, maxLength: 253,
    matches: { text in
      guard let slash = text.firstIndex(of: "/") else { return false }
      let path = text[text.index(after: slash)...]
      return isSubdomain(String(text[..<slash])) && !path.isEmpty
        && path.utf8.allSatisfy { isPathByte($0) && $0 != UInt8(ascii: "@") }
    })

  /// A token of RFC 9110, section 5.6.2.
  static let headerName = TextRule(
    "letters, digits and !#$%&'*+-.^_`|~ only", minLength: 1, maxLength: 256, matches: isToken)

  static let headerValue = TextRule(
    "visible ASCII characters with single spaces or tabs between them", minLength: 1, maxLength: 4096,
    matches: { text in
      let bytes = Array(text.utf8)
      for (index, byte) in bytes.enumerated() where byte < 0x21 || byte > 0x7E {
        guard byte == 0x20 || byte == 0x09, index > 0, index + 1 < bytes.count else { return false }
        guard bytes[index - 1] > 0x20, bytes[index + 1] > 0x20 else { return false }
      }
      return true
    })

  /// `[prefix/]name` as labels and annotations have it.
  static let qualifiedName = TextRule(
    "a name as app or example.com/app", minLength: 1, maxLength: 317,
    matches: { text in
      let parts = text.split(separator: "/", omittingEmptySubsequences: false)
      guard parts.count <= 2, let name = parts.last, name.utf8.count <= 63 else { return false }
      if parts.count == 2, !isSubdomain(String(parts[0])) { return false }
      return isLabelValue(name.utf8[...])
    })

  static let labelValue = TextRule(
    "letters, digits, '-', '_' and '.', with a letter or digit at both ends", maxLength: 63,
    matches: { $0.isEmpty || isLabelValue($0.utf8[...]) })

  /// gateway.networking.k8s.io Duration (GEP-2257).
  static let duration = TextRule(
    "a duration as 10s, 500ms or 1h30m (h, m, s, ms; whole numbers)", matches: { gatewayDuration($0) != nil })

  /// google.protobuf.Duration as Kubernetes takes it, at least one millisecond.
  static let goDuration = TextRule(
    "a duration of at least 1ms, as 10s, 1.5s or 1h30m",
    matches: { goDurationValue($0).map { $0 >= .milliseconds(1) } ?? false })

  static func text(_ count: ClosedRange<Int>) -> TextRule {
    TextRule("a text", minLength: count.lowerBound, maxLength: count.upperBound)
  }
}

private let dash = UInt8(ascii: "-")

private func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

private func isLower(_ byte: UInt8) -> Bool { byte >= 0x61 && byte <= 0x7A }

private func isLetter(_ byte: UInt8) -> Bool { isLower(byte | 0x20) }

private func isLabel(_ bytes: Substring.UTF8View) -> Bool {
  guard let first = bytes.first, let last = bytes.last, first != dash, last != dash else { return false }
  return bytes.allSatisfy { isLower($0) || isDigit($0) || $0 == dash }
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*`.
func isSubdomain(_ text: String) -> Bool {
  text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { isLabel($0) }
}

private func isLabelValue(_ bytes: Substring.UTF8View) -> Bool {
  guard let first = bytes.first, let last = bytes.last else { return false }
  let isEnd: (UInt8) -> Bool = { isLetter($0) || isDigit($0) }
  return isEnd(first) && isEnd(last)
    && bytes.allSatisfy { isEnd($0) || $0 == dash || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".") }
}

/// Whether a text is a token of RFC 9110.
func isToken(_ text: String) -> Bool {
  !text.isEmpty
    && text.utf8.allSatisfy { byte in
      isLetter(byte) || isDigit(byte) || "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
}

/// A character of a path that needs no escape (RFC 3986, section 3.3), or the slash.
func isPathByte(_ byte: UInt8) -> Bool {
  isLetter(byte) || isDigit(byte) || "-/._~!$&'()*+,;=:@".utf8.contains(byte)
}

/// Path characters and complete percent escapes.
func isPath(_ text: String) -> Bool {
  let bytes = Array(text.utf8)
  var index = 0
  while index < bytes.count {
    if bytes[index] == UInt8(ascii: "%") {
      guard index + 2 < bytes.count, isHexadecimal(bytes[index + 1]), isHexadecimal(bytes[index + 2]) else {
        return false
      }
      index += 3
    } else {
      guard isPathByte(bytes[index]) else { return false }
      index += 1
    }
  }
  return true
}

private func isHexadecimal(_ byte: UInt8) -> Bool {
  isDigit(byte) || (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x66)
}

/// `^([0-9]{1,5}(h|m|s|ms)){1,4}$`; nil for any other text.
func gatewayDuration(_ text: String) -> Duration? {
  var rest = text.utf8[...]
  var total = Duration.zero
  var parts = 0
  while !rest.isEmpty {
    let digits = rest.prefix { isDigit($0) }
    rest = rest.dropFirst(digits.count)
    let unit = rest.prefix { !isDigit($0) }
    rest = rest.dropFirst(unit.count)
    parts += 1
    guard digits.count >= 1, digits.count <= 5, parts <= 4,
      let number = Int64(String(decoding: digits, as: UTF8.self))
    else { return nil }
    switch String(decoding: unit, as: UTF8.self) {
    case "h": total += .seconds(number * 3600)
    case "m": total += .seconds(number * 60)
    case "s": total += .seconds(number)
    case "ms": total += .milliseconds(number)
    default: return nil
    }
  }
  return parts > 0 ? total : nil
}

/// Go's time.ParseDuration for durations that are not negative: numbers with fractions and the units ns,
/// us, µs, ms, s, m, h. nil for any other text.
func goDurationValue(_ text: String) -> Duration? {
  if text == "0" { return .zero }
  var rest = (text.hasPrefix("+") ? text.dropFirst() : text[...]).unicodeScalars[...]
  var total = Duration.zero
  guard !rest.isEmpty else { return nil }
  while !rest.isEmpty {
    let number = rest.prefix { ($0.value >= 0x30 && $0.value <= 0x39) || $0 == "." }
    rest = rest.dropFirst(number.count)
    let unit = rest.prefix { ($0.value < 0x30 || $0.value > 0x39) && $0 != "." }
    rest = rest.dropFirst(unit.count)
    guard number.count <= 15, number.contains(where: { $0 != "." }), let value = Double("0" + String(number)),
      let scale = nanosecondsPerUnit(String(unit)), value * scale < 9e18
    else { return nil }
    total += .nanoseconds(Int64((value * scale).rounded()))
  }
  return total
}

private func nanosecondsPerUnit(_ unit: String) -> Double? {
  switch unit {
  case "ns": 1
  case "us", "\u{B5}s", "\u{3BC}s": 1e3
  case "ms": 1e6
  case "s": 1e9
  case "m": 60e9
  case "h": 3600e9
  default: nil
  }
}
