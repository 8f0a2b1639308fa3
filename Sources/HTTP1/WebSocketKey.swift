public import HTTPSemantics

/// A Sec-WebSocket-Key and what a server answers to it, by which a WebSocket's opening handshake is told from an
/// accident (RFC 6455 sections 4.1 and 4.2.2). Trivial; holds the key's text.
public struct WebSocketKey: Sendable {
  /// Bytes of a Sec-WebSocket-Key and of a Sec-WebSocket-Accept.
  public static var length: Int { 24 }
  public static var acceptLength: Int { 28 }

  private var words: InlineArray<3, UInt64> = [0, 0, 0]

  /// No key: to be replaced before it is used.
  public init() {}

  /// A key of a client's own: 16 random bytes. They need not be secret.
  public init(_ high: UInt64, _ low: UInt64) {
    var random = (high.bigEndian, low.bigEndian)
    unsafe withUnsafeBytes(of: &random) { bytes in
      unsafe withText { unsafe writeBase64(bytes, to: $0) }
    }
  }

  /// The key of a client; nil when it is not what 16 bytes are in base64.
  public init?(_ text: Bytes) {
    guard text.count == Self.length, text[22] == 0x3d, text[23] == 0x3d else { return nil }
    for index in 0..<22 {
      let byte = text[index]
      let isDigit = byte &- 0x30 < 10 || (byte | 0x20) &- 0x61 < 26 || byte == 0x2b || byte == 0x2f
      guard isDigit else { return nil }
    }
    // SAFETY: both are of `length` bytes.
    unsafe withText { unsafe $0.update(from: text.start, count: Self.length) }
  }

  // SAFETY of the rest of this file: three words are the `length` bytes of the key; callers' memory has the room that
  // is asked for.

  private mutating func withText(_ body: (UnsafeMutablePointer<UInt8>) -> Void) {
    unsafe withUnsafeMutableBytes(of: &words) {
      unsafe body($0.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self))
    }
  }

  /// Writes the key, `length` bytes.
  public func write(to out: UnsafeMutablePointer<UInt8>) {
    for index in 0..<3 {
      unsafe UnsafeMutableRawPointer(out + index * 8).storeBytes(of: words[index], as: UInt64.self)
    }
  }

  /// Writes what a server answers, `acceptLength` bytes: the SHA-1 hash of the key and a fixed text, in base64.
  public func writeAccept(to out: UnsafeMutablePointer<UInt8>) {
    let text = Bytes("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
    let count = Self.length + text.count
    // 60 bytes, the end mark and the length in bits: two blocks of 64 (FIPS 180-4 section 5.1.1).
    unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 128) { message in
      // SAFETY: 60 bytes of text and the last two of the length lie inside the 128.
      let start = unsafe message.baseAddress.unsafelyUnwrapped
      unsafe start.initialize(repeating: 0, count: 128)
      unsafe write(to: start)
      unsafe (start + Self.length).update(from: text.start, count: text.count)
      unsafe start[count] = 0x80
      unsafe start[126] = UInt8((count * 8) >> 8)
      unsafe start[127] = UInt8((count * 8) & 0xff)
      var hash = SHA1State()
      unsafe hash.add(start)
      unsafe hash.add(start + 64)
      var digest = hash.words
      for index in 0..<5 { digest[index] = digest[index].bigEndian }
      unsafe withUnsafeBytes(of: &digest) { unsafe writeBase64($0, to: out) }
    }
  }
}

private func writeBase64(_ bytes: UnsafeRawBufferPointer, to out: UnsafeMutablePointer<UInt8>) {
  let digits = Bytes("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
  var end = 0
  var index = 0
  while index < bytes.count {
    let left = bytes.count - index
    // SAFETY: at most `count` bytes are read; the callers' room is that of their length in base64.
    let first = unsafe UInt32(bytes[index]) << 16
    let second = unsafe left > 1 ? UInt32(bytes[index + 1]) << 8 : 0
    let third = unsafe left > 2 ? UInt32(bytes[index + 2]) : 0
    let group = first | second | third
    unsafe out[end] = digits[Int(group >> 18)]
    unsafe out[end + 1] = digits[Int(group >> 12 & 63)]
    unsafe out[end + 2] = left > 1 ? digits[Int(group >> 6 & 63)] : 0x3d
    unsafe out[end + 3] = left > 2 ? digits[Int(group & 63)] : 0x3d
    end += 4
    index += 3
  }
}

/// SHA-1 (FIPS 180-4 section 6.1.2); here it proves nothing and only has to be the same on both sides.
private struct SHA1State {
  var words: InlineArray<5, UInt32> = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0]

  /// One block of 64 bytes.
  mutating func add(_ block: UnsafePointer<UInt8>) {
    var schedule = InlineArray<80, UInt32>(repeating: 0)
    for index in 0..<16 {
      // SAFETY: 16 words of 4 bytes.
      schedule[index] = unsafe UnsafeRawPointer(block + index * 4).loadUnaligned(as: UInt32.self).bigEndian
    }
    for index in 16..<80 {
      let mixed = schedule[index - 3] ^ schedule[index - 8] ^ schedule[index - 14] ^ schedule[index - 16]
      schedule[index] = Self.rotate(mixed, 1)
    }
    var (a, b, c, d, e) = (words[0], words[1], words[2], words[3], words[4])
    for index in 0..<80 {
      let (mixed, constant): (UInt32, UInt32) =
        switch index / 20 {
        case 0: (b & c | ~b & d, 0x5a82_7999)
        case 1: (b ^ c ^ d, 0x6ed9_eba1)
        case 2: (b & c | b & d | c & d, 0x8f1b_bcdc)
        default: (b ^ c ^ d, 0xca62_c1d6)
        }
      let next = Self.rotate(a, 5) &+ mixed &+ e &+ constant &+ schedule[index]
      (a, b, c, d, e) = (next, a, Self.rotate(b, 30), c, d)
    }
    words[0] &+= a
    words[1] &+= b
    words[2] &+= c
    words[3] &+= d
    words[4] &+= e
  }

  private static func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 { word << count | word >> (32 - count) }
}
