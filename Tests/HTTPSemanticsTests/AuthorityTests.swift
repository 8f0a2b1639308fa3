import HTTPSemantics
import Testing

@Suite struct AuthorityTests {
  @Test(arguments: [
    ("example.com", "example.com", -1), ("example.com:80", "example.com", 80),
    ("example.com:", "example.com", -1),
    ("Example.COM:65535", "Example.COM", 65535), ("a", "a", -1), ("a_b.c~d-e", "a_b.c~d-e", -1),
    ("example.com.", "example.com", -1), ("example.com.:8080", "example.com", 8080),
    ("127.0.0.1:1", "127.0.0.1", 1), ("1.2.3", "1.2.3", -1), ("host:0", "host", 0),
    ("host:00080", "host", 80),
    ("[::1]", "[::1]", -1), ("[::1]:443", "[::1]", 443), ("[::]", "[::]", -1), ("[::1]:", "[::1]", -1),
    ("[2001:DB8::a:b]:1", "[2001:DB8::a:b]", 1), ("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", -1),
  ])
  func valid(_ text: String, _ host: String, _ port: Int) {
    with(text) { bytes in
      let authority = parseAuthority(bytes)
      #expect(authority.map { String(decoding: $0.host) } == host)
      #expect(authority?.port == Int32(port))
    }
  }

  @Test(arguments: [
    "", ":", ":80", ".", "..", ".a", "a..b", "a..", "a b", " a", "a ", "a\t", "user@host", "user:pw@host",
    "a@",
    "host:port", "host:-1", "host:+1", "host:65536", "host:99999", "host:123456", "host:1:2", "host:1 ",
    "host:0x1",
    "a/b", "a?b", "a#b", "a\\b", "a,b", "a;b", "a%62", "%00", "a\u{0}", "a\r", "a\n", "a\u{7f}", "ä", "a,",
    "a(b)", "a'b", "a\"b", "<a>", "[", "[]", "[::1", "::1", "[::1]x", "[::1]]", "[::1]:x", "[::1]:65536",
    "[[::1]]",
    "[1]", "[1.2.3.4]", "[v1.x]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[12345::]", "[1:2:3:4:5:6:7]", "*",
    "*.example.com", "http://a", "a{b}",
  ])
  func refused(_ text: String) {
    #expect(with(text) { parseAuthority($0) == nil })
  }

  @Test(arguments: [
    ("::", true), ("::1", true), ("1::", true), ("1:2:3:4:5:6:7:8", true), ("1:2:3:4:5:6:7::", true),
    ("::2:3:4:5:6:7:8", true), ("1::8", true), ("1:2:3:4:5:6:1.2.3.4", true), ("::1.2.3.4", true),
    ("1:2:3:4:5::1.2.3.4", true), ("ABCD:ef01::", true), ("1:2:3:4:5:6:7", false),
    ("1:2:3:4:5:6:7:8:9", false),
    ("1:2:3:4:5:6:7:8::", false), ("1::2::3", false), (":1", false), ("1:", false), (":::", false),
    (":", false),
    ("", false), ("g::", false), ("12345::", false), ("::1.2.3", false), ("::1.2.3.256", false),
    ("1:2:3:4:5:6:7:1.2.3.4", false), ("::1.2.3.4:5", false), ("1.2.3.4::", false), ("::01.2.3.4", false),
    ("1:2:3:4:5:6:7:8:", false), ("::1%eth0", false),
  ])
  func addresses(_ text: String, _ isValid: Bool) {
    #expect(with(text) { isIPv6Address($0) } == isValid)
  }

  @Test(arguments: [
    ("0.0.0.0", true), ("255.255.255.255", true), ("1.2.3.4", true), ("1.2.3", false), ("1.2.3.4.5", false),
    ("1.2.3.", false), (".1.2.3", false), ("1..2.3", false), ("256.1.1.1", false), ("01.1.1.1", false),
    ("1.2.3.4 ", false), ("a.b.c.d", false), ("", false), ("1000.1.1.1", false),
    ("99999999999999999999.1.1.1", false),
  ])
  func oldAddresses(_ text: String, _ isValid: Bool) {
    #expect(with(text) { isIPv4Address($0) } == isValid)
  }

  /// No sequence of bytes traps.
  @Test func randomBytes() {
    var generator = SeededGenerator(state: 1)
    let alphabet = Array("[]:.%0a1f@-_ ".utf8)
    for _ in 0..<20_000 {
      let text = (0..<Int.random(in: 0..<14, using: &generator)).map { _ in
        alphabet.randomElement(using: &generator)!
      }
      with(text) { bytes in
        guard let authority = parseAuthority(bytes) else { return }
        #expect(!authority.host.isEmpty && authority.port >= -1 && authority.port <= 65535)
        #expect(!text.contains(0x40) && !text.contains(0x20) && !text.contains(0x25))
      }
    }
  }
}
