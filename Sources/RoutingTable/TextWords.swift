// Texts eight bytes at a time. SAFETY of this file: each function reads exactly the `count` bytes that its caller
// vouches for, never one behind them; a text's end is read as a word that overlaps the one before.

@inline(__always)
private func word(_ start: UnsafePointer<UInt8>, _ offset: Int) -> UInt64 {
  unsafe UnsafeRawPointer(start).loadUnaligned(fromByteOffset: offset, as: UInt64.self)
}

/// The last eight bytes; of a shorter text a word that no other text of its length has.
@inline(__always)
private func lastWord(_ start: UnsafePointer<UInt8>, _ count: Int) -> UInt64 {
  if count >= 8 { return unsafe word(start, count &- 8) }
  if count >= 4 {
    let low = unsafe UnsafeRawPointer(start).loadUnaligned(as: UInt32.self)
    let high = unsafe UnsafeRawPointer(start).loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)
    return UInt64(low) | UInt64(high) &<< 32
  }
  if count == 0 { return 0 }
  return unsafe UInt64(start[0]) | UInt64(start[count &>> 1]) &<< 8 | UInt64(start[count &- 1]) &<< 16
}

/// A to Z become a to z, every other byte stays.
@inline(__always)
private func lowercased(_ word: UInt64) -> UInt64 {
  let low = word & 0x7F7F_7F7F_7F7F_7F7F
  let fromA = low &+ 0x3F3F_3F3F_3F3F_3F3F
  let beyondZ = low &+ 0x2525_2525_2525_2525
  let letters = (fromA ^ beyondZ) & ~word & 0x8080_8080_8080_8080
  return word | letters &>> 2
}

/// Of hosts (in lower case) and of paths. Tables are made of what the operator wrote, so nobody can aim at it.
@inline(__always)
func textHash(_ start: UnsafePointer<UInt8>, _ count: Int, ignoringCase: Bool) -> UInt32 {
  var state = 0x9E37_79B9_7F4A_7C15 &+ UInt64(truncatingIfNeeded: count)
  var index = 0
  while index &+ 8 < count {
    let next = unsafe word(start, index)
    state = (state ^ (ignoringCase ? lowercased(next) : next)) &* 0xFF51_AFD7_ED55_8CCD
    state ^= state &>> 32
    index &+= 8
  }
  let last = unsafe lastWord(start, count)
  state = (state ^ (ignoringCase ? lowercased(last) : last)) &* 0xFF51_AFD7_ED55_8CCD
  state = (state ^ (state &>> 32)) &* 0xC4CE_B9FE_1A85_EC53
  return UInt32(truncatingIfNeeded: state &>> 32)
}

func textHash(_ text: [UInt8]) -> UInt32 {
  unsafe text.withUnsafeBufferPointer { buffer in
    guard let start = buffer.baseAddress else { return 0 }
    return unsafe textHash(start, buffer.count, ignoringCase: false)
  }
}

@inline(__always)
private func sameWord(_ text: UInt64, _ known: UInt64, ignoringCase: Bool) -> Bool {
  // Nearly all texts are in lower case already.
  text == known || (ignoringCase && lowercased(text) == known)
}

/// `known` is as long, and in lower case when case makes no difference.
@inline(__always)
func sameText(
  _ text: UnsafePointer<UInt8>, _ known: UnsafePointer<UInt8>, _ count: Int, ignoringCase: Bool
) -> Bool {
  var index = 0
  while index &+ 8 < count {
    if unsafe !sameWord(word(text, index), word(known, index), ignoringCase: ignoringCase) { return false }
    index &+= 8
  }
  return unsafe sameWord(lastWord(text, count), lastWord(known, count), ignoringCase: ignoringCase)
}

/// Bit n is set when byte n of these eight is the wanted one.
@inline(__always)
func bits(of wanted: UInt8, in word: UInt64) -> UInt64 {
  let difference = word ^ (UInt64(wanted) &* 0x0101_0101_0101_0101)
  let low: UInt64 = 0x7F7F_7F7F_7F7F_7F7F
  let equal = ~(((difference & low) &+ low) | difference | low)
  return ((equal &>> 7) &* 0x0102_0408_1020_4080) &>> 56
}

/// Bit n is set when byte n is the wanted one; of the first 64 bytes.
@inline(__always)
func bits(of wanted: UInt8, _ start: UnsafePointer<UInt8>, _ count: Int) -> UInt64 {
  let count = min(count, 64)
  var result: UInt64 = 0
  var index = 0
  if count < 8 {
    while index < count {
      if unsafe start[index] == wanted { result |= 1 &<< UInt64(index) }
      index &+= 1
    }
    return result
  }
  while index &+ 8 < count {
    result |= bits(of: wanted, in: unsafe word(start, index)) &<< UInt64(index)
    index &+= 8
  }
  return result | bits(of: wanted, in: unsafe word(start, count &- 8)) &<< UInt64(count &- 8)
}
