import ControlProtocol
import HTTPSemantics

/// The first byte is the size of the pieces. A message that was read is written as the bytes that it was.
func fuzzControlFrames(_ input: Input) -> Int32 {
  guard input.count > 1 else { return 0 }
  let bytes = Array(input.array.dropFirst())
  let whole = messages(bytes, piece: bytes.count)
  let pieces = messages(bytes, piece: Int(input.bytes[0]) + 1)
  check(whole == pieces, "messages depend on how they were cut")
  for message in whole {
    guard let frame = message.frame() else {
      check(false, "a message that was read cannot be written")
      continue
    }
    check(messages(frame, piece: frame.count) == [message], "a written message reads differently")
  }
  return 0
}

private func messages(_ bytes: [UInt8], piece: Int) -> [ControlMessage] {
  var decoder = FrameDecoder()
  var found: [ControlMessage] = []
  var start = 0
  while start < bytes.count {
    let end = min(start + piece, bytes.count)
    decoder.append(bytes[start..<end])
    start = end
    while true {
      do throws(ControlProtocolError) {
        guard let message = try decoder.next() else { break }
        found.append(message)
      } catch {
        if error.isFatal { return found }
      }
    }
  }
  return found
}
