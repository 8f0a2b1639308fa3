import HTTP1
import HTTPSemantics
import Testing

@Suite("WebSocket handshake") struct WebSocketHandshakeTests {
  @Test("the key and the answer of RFC 6455 section 1.3, and one hashed by another program")
  func accept() {
    for (key, accept) in [
      ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
      ("AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
    ] {
      var out = [UInt8](repeating: 0, count: 28)
      let text = Array(key.utf8)
      unsafe text.withUnsafeBufferPointer { text in
        unsafe out.withUnsafeMutableBufferPointer {
          let key = unsafe Bytes(start: text.baseAddress!, count: text.count)
          unsafe WebSocketHandshake.writeAccept(key, to: $0.baseAddress!)
        }
      }
      #expect(String(decoding: out, as: UTF8.self) == accept)
    }
  }

  @Test("a key is sixteen bytes in base64")
  func key() {
    for (high, low, expected) in [
      (UInt64(0), UInt64(0), "AAAAAAAAAAAAAAAAAAAAAA=="),
      (0x7468_6520_7361_6d70, 0x6c65_206e_6f6e_6365, "dGhlIHNhbXBsZSBub25jZQ=="),
      (.max, .max, "/////////////////////w=="),
    ] {
      var out = [UInt8](repeating: 0, count: 24)
      unsafe out.withUnsafeMutableBufferPointer {
        unsafe WebSocketHandshake.writeKey(high, low, to: $0.baseAddress!)
      }
      #expect(String(decoding: out, as: UTF8.self) == expected)
    }
  }
}
