internal import HTTPSemantics

/// Writes a PROXY protocol header. Addresses of which one is IPv4 and the other IPv6 are both said as IPv6; without
/// a source or a destination the header says that they are not known (UNKNOWN, or UNSPEC).
///
/// - Parameter place: has room for `longestProxyLine` bytes, which either version fits in.
/// - Returns: the number of bytes written.
public func writeProxyHeader(
  _ version: ProxyVersion, source: ProxyAddress, destination: ProxyAddress, to place: UnsafeMutablePointer<UInt8>
) -> Int {
  var writer = unsafe HeaderWriter(place)
  let isKnown = source.family != .none && destination.family != .none
  let isIPv4 = source.family == .ipv4 && destination.family == .ipv4
  let from = isIPv4 ? source : source.mapped
  let to = isIPv4 ? destination : destination.mapped
  switch version {
  case .v1:
    guard isKnown else {
      writer.text("PROXY UNKNOWN\r\n")
      break
    }
    writer.text(isIPv4 ? "PROXY TCP4 " : "PROXY TCP6 ")
    writer.address(from)
    writer.text(" ")
    writer.address(to)
    writer.text(" ")
    writer.decimal(from.port)
    writer.text(" ")
    writer.decimal(to.port)
    writer.text("\r\n")
  case .v2:
    writer.bytes(signature)
    let size = isIPv4 ? 4 : 16
    writer.number(0x21, 1)
    writer.number(!isKnown ? 0 : isIPv4 ? 0x11 : 0x21, 1)
    writer.number(isKnown ? UInt64(2 * size + 4) : 0, 2)
    guard isKnown else { break }
    writer.binary(from)
    writer.binary(to)
    writer.number(UInt64(from.port), 2)
    writer.number(UInt64(to.port), 2)
  }
  return writer.count
}

@safe
private struct HeaderWriter {
  // INVARIANT: room for `longestProxyLine` bytes. The longest line is 104 bytes (two IPv6 addresses of 39 and two
  // ports of 5), the longest binary header 52.
  private let place: UnsafeMutablePointer<UInt8>
  private(set) var count = 0

  init(_ place: UnsafeMutablePointer<UInt8>) { unsafe self.place = place }

  mutating func byte(_ byte: UInt8) {
    precondition(count < longestProxyLine)
    unsafe place[count] = byte
    count += 1
  }

  mutating func bytes(_ bytes: Bytes) {
    var index = 0
    while index < bytes.count {
      byte(bytes[index])
      index += 1
    }
  }

  mutating func text(_ literal: StaticString) { bytes(Bytes(literal)) }

  /// The lowest `size` bytes, the highest first.
  mutating func number(_ number: UInt64, _ size: Int) {
    var left = size
    while left > 0 {
      left -= 1
      byte(UInt8(truncatingIfNeeded: number >> UInt64(8 * left)))
    }
  }

  mutating func binary(_ address: ProxyAddress) {
    if address.family == .ipv6 { number(address.high, 8) }
    number(address.low, address.family == .ipv6 ? 8 : 4)
  }

  mutating func decimal(_ number: UInt16) {
    var divisor: UInt16 = 10_000
    while divisor > 1, number < divisor { divisor /= 10 }
    while divisor > 0 {
      byte(0x30 + UInt8(number / divisor % 10))
      divisor /= 10
    }
  }

  /// Without leading zeros, and without `::`, which no reader needs.
  mutating func address(_ address: ProxyAddress) {
    var group = 0
    while group < (address.family == .ipv6 ? 8 : 4) {
      if address.family == .ipv6 {
        if group > 0 { text(":") }
        let half = group < 4 ? address.high : address.low
        hexadecimal(UInt16(truncatingIfNeeded: half >> UInt64(48 - 16 * (group & 3))))
      } else {
        if group > 0 { text(".") }
        decimal(UInt16(UInt8(truncatingIfNeeded: address.low >> UInt64(24 - 8 * group))))
      }
      group += 1
    }
  }

  private mutating func hexadecimal(_ number: UInt16) {
    var shift: UInt16 = 12
    while shift > 0, number >> shift == 0 { shift -= 4 }
    while true {
      let digit = UInt8(number >> shift & 15)
      byte(digit < 10 ? 0x30 + digit : 0x57 + digit)
      if shift == 0 { return }
      shift -= 4
    }
  }
}
