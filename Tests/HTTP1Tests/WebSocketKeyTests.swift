import HTTP1
import HTTPSemantics
import Testing

@Suite("WebSocket key") struct WebSocketKeyTests {
  private func text(of key: WebSocketKey) -> String {
    var out = [UInt8](repeating: 0, count: WebSocketKey.length)
    unsafe out.withUnsafeMutableBufferPointer { unsafe key.write(to: $0.baseAddress!) }
    return String(decoding: out, as: UTF8.self)
  }

  private func accept(of key: WebSocketKey) -> String {
    var out = [UInt8](repeating: 0, count: WebSocketKey.acceptLength)
    unsafe out.withUnsafeMutableBufferPointer { unsafe key.writeAccept(to: $0.baseAddress!) }
    return String(decoding: out, as: UTF8.self)
  }

  private func read(_ text: String) -> WebSocketKey? {
    let bytes = Array(text.utf8)
    return unsafe bytes.withUnsafeBufferPointer {
      guard let start = $0.baseAddress else { return WebSocketKey(.empty) }
      return unsafe WebSocketKey(Bytes(start: start, count: $0.count))
    }
  }

  @Test("the key and the answer of RFC 6455 section 1.3, and one hashed by another program")
  func answers() throws {
    for (text, accepted) in [
      ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
      ("AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
    ] {
      let key = try #require(read(text))
      #expect(self.text(of: key) == text)
      #expect(accept(of: key) == accepted)
    }
  }

  @Test("a key is sixteen bytes in base64")
  func made() {
    for (high, low, expected) in [
      (UInt64(0), UInt64(0), "AAAAAAAAAAAAAAAAAAAAAA=="),
      (0x7468_6520_7361_6d70, 0x6c65_206e_6f6e_6365, "dGhlIHNhbXBsZSBub25jZQ=="),
      (.max, .max, "/////////////////////w=="),
    ] {
      #expect(text(of: WebSocketKey(high, low)) == expected)
    }
  }

  @Test(
    "what is no key",
    arguments: [
      "", "=", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ===", "dGhlIHNhbXBsZSBub25jZQAA",
      "dGhlIHNhbXBsZSBub25jZQ=A", "dGhlIHNhbXBsZSBub25j =Q=", "dGhl-HNhbXBsZSBub25jZQ==", "dGhl_HNhbXBsZSBub25jZQ==",
      "dGhl\u{0}HNhbXBsZSBub25jZQ==", "dGhl\u{e9}NhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ== ",
    ])
  func refused(text: String) { #expect(read(text) == nil) }

  /// Bits that 16 bytes do not fill are the client's affair: it compares with what it has sent.
  @Test("the last digit may be any")
  func lastDigit() throws {
    #expect(text(of: try #require(read("dGhlIHNhbXBsZSBub25jZ/=="))) == "dGhlIHNhbXBsZSBub25jZ/==")
  }
}
