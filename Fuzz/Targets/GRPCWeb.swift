import GRPCWeb
import HTTPSemantics

/// The first byte is the size of the pieces. Base64 comes out the same in pieces and at once, and what is encoded is
/// decoded again.
func fuzzGRPCWeb(_ input: Input) -> Int32 {
  guard input.count > 1 else { return 0 }
  let text = input.part(1..<input.count)
  defer { text.keep() }
  let piece = Int(input.bytes[0] % 32) + 1
  check(decode(text, piece: text.count) == decode(text, piece: piece), "the bytes depend on how the text was cut")
  let encoded = Input(encode(text, piece: piece))
  defer { encoded.keep() }
  let sizes = encode(text, piece: text.count)
  check(sizes == encoded.array, "the text depends on how the bytes were cut")
  if let bytes = decode(encoded, piece: 64) {
    check(text.array.starts(with: bytes), "what was encoded is decoded to something else")
    check(bytes.count + 2 >= text.count, "more than two bytes are kept")
  } else {
    check(false, "what was encoded cannot be decoded")
  }
  _ = GRPCWebMediaType(text.bytes)
  return 0
}

private func decode(_ text: Input, piece: Int) -> [UInt8]? {
  var decoder = GRPCWebTextDecoder()
  var bytes: [UInt8] = []
  var start = 0
  while start < text.count {
    let part = text.part(start..<min(start + piece, text.count))
    defer { part.keep() }
    let room = GRPCWebTextDecoder.mostBytes(for: part.count) + 3
    let output = UnsafeMutablePointer<UInt8>.allocate(capacity: room)
    defer { output.deallocate() }
    let count = decoder.decode(part.bytes, into: output)
    if count < 0 { return nil }
    check(count <= room, "\(count) bytes of \(part.count) characters")
    bytes += UnsafeBufferPointer(start: output, count: count)
    start += part.count
  }
  return bytes
}

private func encode(_ bytes: Input, piece: Int) -> [UInt8] {
  var encoder = GRPCWebEncoder()
  var text: [UInt8] = []
  let room = 64
  let output = UnsafeMutablePointer<UInt8>.allocate(capacity: room)
  defer { output.deallocate() }
  var start = 0
  while start < bytes.count {
    let part = bytes.part(start..<min(start + piece, bytes.count))
    defer { part.keep() }
    let (used, written) = encoder.encode(part.bytes, into: output, capacity: room)
    check(used > 0 && used <= part.count && written <= room, "\(used) bytes, \(written) characters")
    text += UnsafeBufferPointer(start: output, count: written)
    start += used
  }
  return text
}
