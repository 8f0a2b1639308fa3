/// The parts of a valid authority.
@frozen
public struct Authority {
  /// Without port and without one final dot; IPv6 literals keep their brackets.
  public var host: Bytes
  /// -1 when absent or empty.
  public var port: Int32

  @inlinable
  public init(host: Bytes, port: Int32) {
    self.host = host
    self.port = port
  }
}

/// Splits and checks `host [":" port]` (RFC 9110 sections 4.2.1, 4.2.3 and 7.2; RFC 3986 section 3.2.2).
///
/// Narrower than the grammar of reg-name on purpose: a host is labels of unreserved bytes (underscores too)
/// joined by single dots, or an IPv6 literal in brackets. Percent-encoding, sub-delims, userinfo, IPvFuture
/// and zone identifiers are refused, because no route can name them and two readers may understand them
/// differently. The port is at most 65535. One final dot is allowed and not part of `host`. Returns nil for
/// everything else.
public func parseAuthority(_ bytes: Bytes) -> Authority? {
  if bytes.isEmpty { return nil }
  // SAFETY of this file: every index is checked against the count of the view before the read.
  if unsafe bytes.start[0] == 0x5b {
    let close = bytes.firstIndex(of: 0x5d)
    guard close > 0, isIPv6Address(bytes.slice(1, close)) else { return nil }
    let host = bytes.slice(0, close + 1)
    if close + 1 == bytes.count { return Authority(host: host, port: -1) }
    guard bytes[close + 1] == 0x3a else { return nil }
    guard let port = parsePort(bytes, from: close + 2) else { return nil }
    return Authority(host: host, port: port)
  }
  var end = 0
  var labelStart = 0
  while end < bytes.count {
    let byte = unsafe bytes.start[end]
    if byte == 0x3a { break }
    if byte == 0x2e {
      if end == labelStart { return nil }
      labelStart = end &+ 1
    } else if !ByteSet.unreserved.contains(byte) {
      return nil
    }
    end &+= 1
  }
  if end == 0 { return nil }
  var port: Int32 = -1
  if end < bytes.count {
    guard let number = parsePort(bytes, from: end + 1) else { return nil }
    port = number
  }
  let hostEnd = labelStart == end ? end - 1 : end
  return Authority(host: bytes.slice(0, hostEnd), port: port)
}

/// Digits up to the end; an empty port is -1 (RFC 3986 section 3.2.3: port = *DIGIT), nil when not a port.
private func parsePort(_ bytes: Bytes, from start: Int) -> Int32? {
  if start == bytes.count { return -1 }
  guard bytes.count - start <= 5 else { return nil }
  var value: Int32 = 0
  var index = start
  while index < bytes.count {
    let digit = bytes[index] &- 0x30
    guard digit < 10 else { return nil }
    value = value * 10 + Int32(digit)
    index += 1
  }
  return value <= 65535 ? value : nil
}

/// Digits and dots of an IPv4 address: four numbers from 0 to 255 without leading zeros (RFC 3986 section
/// 3.2.2).
public func isIPv4Address(_ bytes: Bytes) -> Bool {
  var parts = 0
  var index = 0
  while index < bytes.count {
    let start = index
    var value = 0
    while index < bytes.count, bytes[index] &- 0x30 < 10, index - start < 4 {
      value = value * 10 + Int(bytes[index] &- 0x30)
      index += 1
    }
    let length = index - start
    if length == 0 || value > 255 || (length > 1 && bytes[start] == 0x30) { return false }
    parts += 1
    if index == bytes.count { break }
    if bytes[index] != 0x2e || parts == 4 { return false }
    index += 1
    if index == bytes.count { return false }
  }
  return parts == 4
}

/// IPv6address of RFC 3986 section 3.2.2, without brackets and without a zone.
public func isIPv6Address(_ bytes: Bytes) -> Bool {
  var groups = 0
  var compressed = false
  var index = 0
  if bytes.count < 2 { return false }
  if bytes[0] == 0x3a {
    guard bytes[1] == 0x3a else { return false }
    compressed = true
    index = 2
    if index == bytes.count { return true }
  }
  while index < bytes.count {
    let start = index
    while index < bytes.count, index - start < 5, hexValue(bytes[index]) >= 0 { index += 1 }
    let length = index - start
    if index < bytes.count, bytes[index] == 0x2e {
      guard isIPv4Address(bytes.slice(start, bytes.count)) else { return false }
      groups += 2
      return compressed ? groups <= 7 : groups == 8
    }
    if length == 0 || length > 4 { return false }
    groups += 1
    if index == bytes.count { break }
    guard bytes[index] == 0x3a, groups < 8 else { return false }
    index += 1
    if index == bytes.count { return false }
    if bytes[index] == 0x3a {
      if compressed { return false }
      compressed = true
      index += 1
      if index == bytes.count { break }
    }
  }
  return compressed ? groups <= 7 : groups == 8
}
