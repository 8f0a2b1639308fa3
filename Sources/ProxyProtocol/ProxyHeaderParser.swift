public import HTTPSemantics

/// Most bytes of a line of version 1, with its end (section 2.1).
public let longestProxyLine = 107

/// The signature that version 2 begins with (section 2.2).
var signature: Bytes { Bytes("\r\n\r\n\0\r\nQUIT\n") }
private let fixedLength = 16

/// Reads a PROXY protocol header of version 1 or 2.
///
/// - Parameters:
///   - bytes: everything that has come since the connection was opened. After `needMore`, call again with more.
///   - limit: most bytes of a header of version 2.
/// - Returns: as soon as it is certain; in particular `invalid` at the first byte that no header has.
public func parseProxyHeader(_ bytes: Bytes, limit: Int) -> ProxyParse {
  guard !bytes.isEmpty else { return .needMore }
  return bytes[0] == signature[0] ? parseBinary(bytes, limit) : parseLine(bytes)
}

// MARK: Version 1

private func parseLine(_ bytes: Bytes) -> ProxyParse {
  let start = Bytes("PROXY ")
  let compared = min(bytes.count, start.count)
  guard bytes.slice(0, compared).equals(start.slice(0, compared)) else { return .invalid(.missing) }
  var end = compared
  while end < bytes.count, bytes[end] != 0x0d {
    guard end < longestProxyLine else { return .invalid(.lineTooLong) }
    guard bytes[end] >= 0x20 && bytes[end] < 0x7f else {
      return .invalid(bytes[end] == 0x0a ? .lineEnd : .lineByte)
    }
    end += 1
  }
  guard end + 2 <= bytes.count else { return end + 2 <= longestProxyLine ? .needMore : .invalid(.lineTooLong) }
  guard end + 2 <= longestProxyLine else { return .invalid(.lineTooLong) }
  guard bytes[end + 1] == 0x0a else { return .invalid(.lineEnd) }
  return parseFields(bytes.slice(start.count, end), length: end + 2)
}

private func parseFields(_ line: Bytes, length: Int) -> ProxyParse {
  var fields = Fields(rest: line)
  let transport = fields.next()
  // Whatever the sender adds to it is to be ignored.
  if transport.equals("UNKNOWN") { return .complete(ProxyHeader(length: length, version: .v1)) }
  let isIPv4 = transport.equals("TCP4")
  guard isIPv4 || transport.equals("TCP6") else { return .invalid(.transport) }
  guard var source = parseAddress(fields.next(), isIPv4: isIPv4) else { return .invalid(.address) }
  guard var destination = parseAddress(fields.next(), isIPv4: isIPv4) else { return .invalid(.address) }
  guard let sourcePort = parsePort(fields.next()) else { return .invalid(.port) }
  guard let destinationPort = parsePort(fields.next()), fields.isAtEnd else { return .invalid(.port) }
  source.port = sourcePort
  destination.port = destinationPort
  return .complete(ProxyHeader(length: length, version: .v1, source: source, destination: destination))
}

/// The parts of a line between single spaces; two spaces have an empty part between them.
private struct Fields {
  var rest: Bytes
  var isAtEnd = false

  init(rest: Bytes) { self.rest = rest }

  mutating func next() -> Bytes {
    if isAtEnd { return .empty }
    let space = rest.firstIndex(of: 0x20)
    if space < 0 {
      isAtEnd = true
      return rest
    }
    let field = rest.slice(0, space)
    rest = rest.slice(space + 1, rest.count)
    return field
  }
}

private func parseAddress(_ text: Bytes, isIPv4: Bool) -> ProxyAddress? {
  if isIPv4 {
    guard let number = parseIPv4(text) else { return nil }
    return ProxyAddress(ipv4: number, port: 0)
  }
  guard let number = parseIPv6(text) else { return nil }
  return ProxyAddress(
    ipv6: UInt64(truncatingIfNeeded: number >> 64), UInt64(truncatingIfNeeded: number), port: 0)
}

private func parsePort(_ text: Bytes) -> UInt16? {
  guard let number = parseDecimal(text, most: 65_535) else { return nil }
  return UInt16(number)
}

// MARK: Version 2

private func parseBinary(_ bytes: Bytes, _ limit: Int) -> ProxyParse {
  let compared = min(bytes.count, signature.count)
  guard bytes.slice(0, compared).equals(signature.slice(0, compared)) else { return .invalid(.missing) }
  guard bytes.count >= fixedLength else {
    if bytes.count > 12 && bytes[12] >> 4 != 2 { return .invalid(.version) }
    return .needMore
  }
  guard bytes[12] >> 4 == 2 else { return .invalid(.version) }
  let command = bytes[12] & 15
  guard command <= 1 else { return .invalid(.command) }
  let length = fixedLength + (Int(bytes[14]) << 8 | Int(bytes[15]))
  guard length <= limit else { return .invalid(.tooLong) }
  let header = ProxyHeader(length: length, version: .v2)
  let isProxied = command == 1
  let family = bytes[13] >> 4
  let transport = bytes[13] & 15
  var addresses = 0
  if isProxied {
    guard family <= 3 && transport <= 2 else { return .invalid(.family) }
    addresses = family == 1 ? 12 : family == 2 ? 36 : family == 3 ? 216 : 0
    guard length >= fixedLength + addresses else { return .invalid(.addressLength) }
  }
  guard bytes.count >= length else { return .needMore }
  // What LOCAL and UNSPEC carry besides is to be skipped unseen.
  guard isProxied && family != 0 else { return .complete(header) }
  let whole = bytes.slice(0, length)
  if let error = checkExtensions(whole, from: fixedLength + addresses) { return .invalid(error) }
  guard family != 3 && transport == 1 else { return .complete(header) }
  return .complete(readAddresses(whole, header, isIPv4: family == 1))
}

private func readAddresses(_ bytes: Bytes, _ header: ProxyHeader, isIPv4: Bool) -> ProxyHeader {
  var header = header
  if isIPv4 {
    header.source = ProxyAddress(
      ipv4: UInt32(truncatingIfNeeded: number(bytes, 16, 4)), port: UInt16(number(bytes, 24, 2)))
    header.destination = ProxyAddress(
      ipv4: UInt32(truncatingIfNeeded: number(bytes, 20, 4)), port: UInt16(number(bytes, 26, 2)))
  } else {
    header.source = ProxyAddress(
      ipv6: number(bytes, 16, 8), number(bytes, 24, 8), port: UInt16(number(bytes, 48, 2)))
    header.destination = ProxyAddress(
      ipv6: number(bytes, 32, 8), number(bytes, 40, 8), port: UInt16(number(bytes, 50, 2)))
  }
  return header
}

/// `count` bytes, at most 8, as a number, the first the highest.
private func number(_ bytes: Bytes, _ offset: Int, _ count: Int) -> UInt64 {
  var number: UInt64 = 0
  var index = offset
  while index < offset + count {
    number = number << 8 | UInt64(bytes[index])
    index += 1
  }
  return number
}

/// Extensions (TLVs) are type, two bytes of length, value, one behind the other to the end of the header. Of their
/// values only the checksum concerns us (section 2.2.3); a second one would make the first meaningless.
private func checkExtensions(_ bytes: Bytes, from first: Int) -> ProxyProtocolError? {
  var position = first
  var checksum = -1
  while position < bytes.count {
    guard position + 3 <= bytes.count else { return .extensionLength }
    let count = Int(bytes[position + 1]) << 8 | Int(bytes[position + 2])
    guard position + 3 + count <= bytes.count else { return .extensionLength }
    if bytes[position] == 3 {
      guard count == 4, checksum < 0 else { return .checksum }
      checksum = position + 3
    }
    position += 3 + count
  }
  if checksum >= 0 && UInt64(crc32c(bytes, zeroedAt: checksum)) != number(bytes, checksum, 4) { return .checksum }
  return nil
}

/// CRC-32C (RFC 3720 appendix B.4) with four bytes taken for zeros.
func crc32c(_ bytes: Bytes, zeroedAt hole: Int) -> UInt32 {
  var crc = UInt32.max
  var index = 0
  while index < bytes.count {
    crc ^= index >= hole && index < hole + 4 ? 0 : UInt32(bytes[index])
    var bit = 0
    while bit < 8 {
      crc = crc & 1 == 0 ? crc >> 1 : crc >> 1 ^ 0x82f6_3b78
      bit += 1
    }
    index += 1
  }
  return ~crc
}
