/// Appends to raw memory with a known capacity; stops at the end and remembers that it did.
@safe
struct LineWriter {
  // INVARIANT: count <= capacity, and capacity bytes at output may be written.
  let output: UnsafeMutablePointer<UInt8>
  let capacity: Int
  private(set) var count = 0
  private(set) var overflowed = false

  init(_ output: UnsafeMutablePointer<UInt8>, capacity: Int) {
    unsafe self.output = unsafe output
    self.capacity = capacity
  }

  // SAFETY: of every write below: `room` proved the bytes.
  private mutating func room(_ bytes: Int) -> Bool {
    if capacity - count < bytes { overflowed = true }
    return !overflowed
  }

  mutating func byte(_ value: UInt8) {
    guard room(1) else { return }
    unsafe output[count] = value
    count += 1
  }

  /// A line feed; the one byte that may go beyond `capacity`, where the owner has kept room for it.
  mutating func end() {
    unsafe output[count] = 0x0A
    count += 1
  }

  mutating func literal(_ value: StaticString) {
    let length = value.utf8CodeUnitCount
    guard room(length) else { return }
    unsafe (output + count).update(from: value.utf8Start, count: length)
    count += length
  }

  mutating func number(_ value: UInt64) {
    var digits = 1
    var rest = value
    while rest >= 10 {
      rest /= 10
      digits += 1
    }
    padded(value, digits)
  }

  /// Decimal with leading zeros.
  mutating func padded(_ value: UInt64, _ digits: Int) {
    guard room(digits) else { return }
    var rest = value
    var place = count + digits
    while place > count {
      place -= 1
      unsafe output[place] = UInt8(48 + rest % 10)
      rest /= 10
    }
    count += digits
  }

  /// RFC 3339 in UTC with microseconds.
  mutating func time(_ nanoseconds: UInt64) {
    let seconds = nanoseconds / 1_000_000_000
    let date = CivilDate(daysSince1970: Int(seconds / 86_400))
    padded(UInt64(date.year), 4)
    byte(0x2D)
    padded(UInt64(date.month), 2)
    byte(0x2D)
    padded(UInt64(date.day), 2)
    byte(0x54)
    let second = seconds % 86_400
    padded(second / 3600, 2)
    byte(0x3A)
    padded(second / 60 % 60, 2)
    byte(0x3A)
    padded(second % 60, 2)
    byte(0x2E)
    padded(nanoseconds % 1_000_000_000 / 1000, 6)
    byte(0x5A)
  }

  /// A key and a JSON string; nothing when the text is empty.
  mutating func text(_ key: StaticString, _ value: LogText) {
    guard let start = unsafe value.start, value.count > 0 else { return }
    literal(key)
    byte(0x22)
    unsafe escaped(UnsafeBufferPointer(start: start, count: value.count))
    byte(0x22)
  }

  mutating func flags(_ flags: ResponseFlags) {
    literal(",\"flags\":[")
    var first = true
    for bit in 0..<ResponseFlags.count where flags.rawValue & (1 << UInt32(bit)) != 0 {
      if !first { byte(0x2C) }
      first = false
      byte(0x22)
      literal(ResponseFlags.name(ofBit: bit))
      byte(0x22)
    }
    byte(0x5D)
  }

  /// RFC 8259 section 7. Bytes that are not UTF-8 become U+FFFD, so that a line is always valid JSON.
  mutating func escaped(_ bytes: UnsafeBufferPointer<UInt8>) {
    var index = 0
    while index < bytes.count {
      let value = unsafe bytes[index]
      switch value {
      case 0x22, 0x5C:
        byte(0x5C)
        byte(value)
        index += 1
      case 0x20...0x7E:
        byte(value)
        index += 1
      case 0x80...:
        let length = unsafe Self.sequenceLength(bytes, at: index)
        if length == 0 {
          literal("\u{FFFD}")
          index += 1
        } else {
          for offset in 0..<length { byte(unsafe bytes[index + offset]) }
          index += length
        }
      default:
        literal("\\u00")
        byte(Self.hex(value >> 4))
        byte(Self.hex(value & 15))
        index += 1
      }
      if overflowed { return }
    }
  }

  private static func hex(_ nibble: UInt8) -> UInt8 { nibble < 10 ? 48 + nibble : 87 + nibble }

  /// Length of the well-formed UTF-8 sequence at `index` (Unicode table 3-7), 0 if it is none.
  private static func sequenceLength(_ bytes: UnsafeBufferPointer<UInt8>, at index: Int) -> Int {
    let lead = unsafe bytes[index]
    let length: Int
    var second: ClosedRange<UInt8> = 0x80...0xBF
    switch lead {
    case 0xC2...0xDF: length = 2
    case 0xE0: (length, second) = (3, 0xA0...0xBF)
    case 0xED: (length, second) = (3, 0x80...0x9F)
    case 0xE1...0xEF: length = 3
    case 0xF0: (length, second) = (4, 0x90...0xBF)
    case 0xF1...0xF3: length = 4
    case 0xF4: (length, second) = (4, 0x80...0x8F)
    default: return 0
    }
    guard index + length <= bytes.count, unsafe second.contains(bytes[index + 1]) else { return 0 }
    for offset in 2..<max(length, 2) where unsafe bytes[index + offset] & 0xC0 != 0x80 { return 0 }
    return length
  }
}

/// A day of the Gregorian calendar.
struct CivilDate: Equatable {
  let year: Int
  let month: Int
  let day: Int

  /// Counts years from March so that the leap day is the last of its year.
  init(daysSince1970 days: Int) {
    let shifted = days + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
    month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  }
}
