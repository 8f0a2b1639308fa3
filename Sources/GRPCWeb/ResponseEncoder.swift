public import HTTPSemantics

/// A gRPC response body on its way to a gRPC-Web client: where its messages end, and its base64 text.
///
/// A message is five bytes, flags and a big-endian length, and as many bytes of payload (gRPC over HTTP/2,
/// "Length-Prefixed-Message"). The text is padded at the end of each message and nowhere else, so that a client has a
/// message's last byte as soon as we do; of a message that is not whole, two bytes at most wait here.
@frozen
public struct GRPCWebEncoder: Sendable {
  /// Bytes of the present message's prefix, 0 to 4; 0 within a payload too.
  private var prefix: UInt8 = 0
  /// Bytes that the text is short of a group of three, 0 to 2, and what they are.
  private var kept: UInt8 = 0
  private var keptBytes: UInt16 = 0
  /// Bytes of the payload still to come; of the length, while the prefix is read.
  private var remaining: UInt32 = 0

  public init() {}

  /// Whether a frame of trailers may follow here: no message is cut in two.
  public var isBetweenMessages: Bool { prefix == 0 && remaining == 0 }

  /// Takes note of a piece that is passed on as it is (`application/grpc-web`).
  public mutating func follow(_ input: Bytes) {
    var used = 0
    while used < input.count { used &+= advance(input.slice(used, input.count)) }
  }

  /// Encodes as much of a piece as finds room.
  /// - Parameter capacity: at least 4 bytes.
  /// - Returns: bytes of `input` used, at least one of any, and characters written.
  public mutating func encode(
    _ input: Bytes, into output: UnsafeMutablePointer<UInt8>, capacity: Int
  ) -> (used: Int, written: Int) {
    precondition(capacity >= 4)
    var used = 0
    var written = 0
    while used < input.count {
      // Every three bytes, those kept among them, become four characters.
      let most = min(input.count &- used, (capacity &- written) / 4 * 3 &- Int(kept))
      if most <= 0 { break }
      let piece = input.slice(used, used &+ most)
      let part = piece.slice(0, advance(piece))
      // SAFETY: `most` leaves room for the groups of `part`, a padded one at its end included.
      written &+= unsafe append(part, output + written)
      if isBetweenMessages { written &+= unsafe flush(output + written) }
      used &+= part.count
    }
    return (used, written)
  }

  /// Goes on to the end of the present message or of the input, whichever comes first.
  /// - Returns: bytes gone, at least one of any.
  private mutating func advance(_ input: Bytes) -> Int {
    var index = 0
    if remaining == 0 || prefix > 0 {
      while index < input.count {
        // The first byte is flags; the length begins behind it.
        if prefix > 0 { remaining = remaining << 8 | UInt32(input[index]) }
        prefix &+= 1
        index &+= 1
        guard prefix == 5 else { continue }
        prefix = 0
        break
      }
      if prefix > 0 || remaining == 0 { return index }
    }
    let count = min(Int(remaining), input.count &- index)
    remaining &-= UInt32(truncatingIfNeeded: count)
    return index &+ count
  }

  /// Writes whole groups of three and keeps the rest.
  private mutating func append(_ input: Bytes, _ output: UnsafeMutablePointer<UInt8>) -> Int {
    var written = 0
    var group = UInt32(keptBytes)
    var count = kept
    var index = 0
    while index < input.count {
      // SAFETY: below the view's count; the caller has room for four characters a group.
      group = unsafe group << 8 | UInt32(input.start[index])
      index &+= 1
      count &+= 1
      guard count == 3 else { continue }
      unsafe output[written] = character(group >> 18)
      unsafe output[written + 1] = character(group >> 12)
      unsafe output[written + 2] = character(group >> 6)
      unsafe output[written + 3] = character(group)
      written &+= 4
      group = 0
      count = 0
    }
    keptBytes = UInt16(truncatingIfNeeded: group)
    kept = count
    return written
  }

  /// Ends the text with what is kept, padded (RFC 4648 section 4).
  private mutating func flush(_ output: UnsafeMutablePointer<UInt8>) -> Int {
    guard kept > 0 else { return 0 }
    let group = UInt32(keptBytes) << (kept == 1 ? 16 : 8)
    // SAFETY: the caller has room for a group.
    unsafe output[0] = character(group >> 18)
    unsafe output[1] = character(group >> 12)
    unsafe output[2] = kept == 1 ? 0x3d : character(group >> 6)
    unsafe output[3] = 0x3d
    kept = 0
    keptBytes = 0
    return 4
  }
}

private let alphabet: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

/// Of the lower six bits.
@inline(__always)
private func character(_ bits: UInt32) -> UInt8 {
  // SAFETY: the alphabet has 64 characters.
  unsafe alphabet.utf8Start[Int(bits & 63)]
}
