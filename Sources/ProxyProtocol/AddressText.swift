internal import HTTPSemantics

/// A decimal number up to `most` without leading zeros; nil when the text is anything else.
func parseDecimal(_ text: Bytes, most: Int) -> Int? {
  guard text.count >= 1, text.count <= 5, text.count == 1 || text[0] != 0x30 else { return nil }
  var number = 0
  var index = 0
  while index < text.count {
    let digit = text[index] &- 0x30
    guard digit < 10 else { return nil }
    number = number * 10 + Int(digit)
    index += 1
  }
  return number <= most ? number : nil
}

/// Four decimal numbers of at most 255 without leading zeros, with dots between them.
func parseIPv4(_ text: Bytes) -> UInt32? {
  var rest = text
  var number: UInt32 = 0
  var part = 0
  while part < 4 {
    let dot = rest.firstIndex(of: 0x2e)
    guard part < 3 ? dot >= 0 : dot < 0 else { return nil }
    guard let octet = parseDecimal(rest.slice(0, part < 3 ? dot : rest.count), most: 255) else { return nil }
    number = number << 8 | UInt32(octet)
    if part < 3 { rest = rest.slice(dot + 1, rest.count) }
    part += 1
  }
  return number
}

/// The forms of RFC 4291 section 2.2: eight groups, fewer with one `::`, and the last two as an IPv4 address.
func parseIPv6(_ text: Bytes) -> UInt128? {
  var groups = Groups()
  var position = 0
  if text.hasPrefix("::") {
    groups.hasGap = true
    position = 2
  }
  while position < text.count {
    let start = position
    var group: UInt32 = 0
    while position < text.count, position < start + 4, let digit = hexadecimalDigit(text[position]) {
      group = group << 4 | digit
      position += 1
    }
    if position < text.count, text[position] == 0x2e {
      guard let number = parseIPv4(text.slice(start, text.count)) else { return nil }
      groups.append(number >> 16)
      groups.append(number & 0xffff)
      position = text.count
      break
    }
    guard position > start else { return nil }
    groups.append(group)
    if position == text.count { break }
    guard text[position] == 0x3a, position + 1 < text.count else { return nil }
    position += 1
    if text[position] == 0x3a {
      guard !groups.hasGap else { return nil }
      groups.hasGap = true
      position += 1
    }
  }
  return groups.number
}

/// The groups of an address in front of its `::` and behind it.
private struct Groups {
  var hasGap = false
  private var front: UInt128 = 0
  private var frontCount = 0
  private var back: UInt128 = 0
  private var backCount = 0

  mutating func append(_ group: UInt32) {
    if hasGap {
      back = back << 16 | UInt128(group)
      backCount += 1
    } else {
      front = front << 16 | UInt128(group)
      frontCount += 1
    }
  }

  /// Nil when there are too many or too few. A gap stands for one group at least.
  var number: UInt128? {
    let count = frontCount + backCount
    guard hasGap ? count <= 7 : count == 8 else { return nil }
    return front << UInt128(16 * (8 - frontCount)) | back
  }
}

private func hexadecimalDigit(_ byte: UInt8) -> UInt32? {
  switch byte {
  case 0x30...0x39: UInt32(byte - 0x30)
  case 0x41...0x46: UInt32(byte - 0x41 + 10)
  case 0x61...0x66: UInt32(byte - 0x61 + 10)
  default: nil
  }
}
