import Glibc
import HTTPSemantics
import Testing

@testable import ProxyProtocol

private let limit = 4096

func parse(_ bytes: [UInt8], limit: Int = limit) -> ProxyParse {
  // Exactly sized, so that AddressSanitizer sees a read behind the end.
  let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, bytes.count))
  defer { unsafe copy.deallocate() }
  unsafe copy.update(from: bytes, count: bytes.count)
  return parseProxyHeader(unsafe Bytes(start: copy, count: bytes.count), limit: limit)
}

func written(_ version: ProxyVersion, _ source: ProxyAddress, _ destination: ProxyAddress) -> [UInt8] {
  unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: longestProxyLine) { place in
    let count = unsafe writeProxyHeader(version, source: source, destination: destination, to: place.baseAddress!)
    return unsafe Array(place.prefix(count))
  }
}

private let four = ProxyAddress(ipv4: 0xc000_0201, port: 56324)
private let otherFour = ProxyAddress(ipv4: 0xffff_ffff, port: 443)
private let six = ProxyAddress(ipv6: 0x2001_0db8_0000_0000, 1, port: 0)
private let otherSix = ProxyAddress(ipv6: .max, .max, port: 65535)

/// A header of version 2 with any content behind its 16 bytes.
private func binary(_ command: UInt8, _ family: UInt8, _ rest: [UInt8], length: Int? = nil) -> [UInt8] {
  let count = length ?? rest.count
  return Array("\r\n\r\n\0\r\nQUIT\n".utf8) + [command, family, UInt8(count >> 8), UInt8(count & 255)] + rest
}

private let fourBytes: [UInt8] = [192, 0, 2, 1, 255, 255, 255, 255, 0xdc, 0x04, 1, 0xbb]
private let sixBytes: [UInt8] =
  [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] + [UInt8](repeating: 255, count: 16) + [0, 0, 255, 255]

private func withChecksum(_ bytes: [UInt8], spoiled: Bool = false) -> [UInt8] {
  var bytes = bytes + [3, 0, 4, 0, 0, 0, 0]
  bytes[15] = UInt8(bytes.count - 16)
  let sum = unsafe bytes.withUnsafeBufferPointer {
    crc32c(unsafe Bytes(start: $0.baseAddress!, count: $0.count), zeroedAt: bytes.count - 4)
  }
  for index in 0..<4 { bytes[bytes.count - 4 + index] = UInt8(truncatingIfNeeded: sum >> UInt32(24 - 8 * index)) }
  if spoiled { bytes[16] ^= 1 }
  return bytes
}

private typealias Valid = (name: String, bytes: [UInt8], source: ProxyAddress, destination: ProxyAddress)
private let none = ProxyAddress()

private let valid: [Valid] = [
  ("TCP4", Array("PROXY TCP4 192.0.2.1 255.255.255.255 56324 443\r\n".utf8), four, otherFour),
  ("TCP6", Array("PROXY TCP6 2001:db8::1 ffff:FFFF:ffff:ffff:ffff:ffff:ffff:ffff 0 65535\r\n".utf8), six, otherSix),
  ("UNKNOWN", Array("PROXY UNKNOWN\r\n".utf8), none, none),
  ("UNKNOWN with more", Array("PROXY UNKNOWN anything at  all\r\n".utf8), none, none),
  ("the longest line", Array("PROXY UNKNOWN \(String(repeating: "f", count: 91))\r\n".utf8), none, none),
  (
    "mapped", Array("PROXY TCP6 ::ffff:192.0.2.1 :: 1 2\r\n".utf8),
    ProxyAddress(ipv6: 0, 0xffff_c000_0201, port: 1), ProxyAddress(ipv6: 0, 0, port: 2)
  ),
  ("v2 TCP over IPv4", binary(0x21, 0x11, fourBytes), four, otherFour),
  ("v2 TCP over IPv6", binary(0x21, 0x21, sixBytes), six, otherSix),
  ("v2 extensions", binary(0x21, 0x11, fourBytes + [4, 0, 0, 0xea, 0, 2, 1, 2]), four, otherFour),
  ("v2 checksum", withChecksum(binary(0x21, 0x11, fourBytes)), four, otherFour),
  ("v2 checksum behind an extension", withChecksum(binary(0x21, 0x21, sixBytes + [1, 0, 2, 104, 50])), six, otherSix),
  ("v2 LOCAL", binary(0x20, 0, []), none, none),
  ("v2 LOCAL skips what it carries", binary(0x20, 0xff, [1, 2, 3]), none, none),
  ("v2 UNSPEC", binary(0x21, 0, [9, 9]), none, none),
  ("v2 UDP", binary(0x21, 0x12, fourBytes), none, none),
  ("v2 UNSPEC transport", binary(0x21, 0x10, fourBytes), none, none),
  ("v2 unix", binary(0x21, 0x31, [UInt8](repeating: 65, count: 216)), none, none),
]

private typealias Invalid = (bytes: [UInt8], error: ProxyProtocolError)

private func line(_ text: String, _ error: ProxyProtocolError) -> Invalid { (Array(text.utf8), error) }

private let invalid: [Invalid] = [
  line("GET / HTTP/1.1\r\n", .missing),
  line("PROXY\tTCP4", .missing),
  line("proxy TCP4", .missing),
  line(" PROXY TCP4", .missing),
  line("\n", .missing),
  line("\r\n\r\nG", .missing),
  line("\r\n\r\n\0\r\nQUIT\r", .missing),
  line("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", .lineEnd),
  line("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX", .lineEnd),
  line("PROXY UNKNOWN\r\r\n", .lineEnd),
  line("PROXY TCP4 192.0.2.1\0", .lineByte),
  line("PROXY UNKNOWN \u{e9}", .lineByte),
  line("PROXY UNKNOWN \(String(repeating: "f", count: 92))\r\n", .lineTooLong),
  line("PROXY \(String(repeating: "f", count: 200))", .lineTooLong),
  line("PROXY \r\n", .transport),
  line("PROXY TCP\r\n", .transport),
  line("PROXY TCP5 ::1 ::1 1 2\r\n", .transport),
  line("PROXY unknown\r\n", .transport),
  line("PROXY UNKNOWNS\r\n", .transport),
  line("PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", .transport),
  line("PROXY TCP4\r\n", .address),
  line("PROXY TCP4 \r\n", .address),
  line("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", .address),
  line("PROXY TCP4 192.0.2.1\r\n", .address),
  line("PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n", .address),
  line("PROXY TCP4 ::1 ::1 1 2\r\n", .address),
  line("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", .address),
  line("PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", .address),
  line("PROXY TCP4 192.0.02.1 192.0.2.2 1 2\r\n", .address),
  line("PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", .address),
  line("PROXY TCP4 192.0.2.1.1 192.0.2.2 1 2\r\n", .address),
  line("PROXY TCP4 192.0.2.1 0x7f.0.0.1 1 2\r\n", .address),
  line("PROXY TCP4 192.0.2.+1 192.0.2.2 1 2\r\n", .address),
  line("PROXY TCP6 ::1%eth0 ::1 1 2\r\n", .address),
  line("PROXY TCP6 [::1] ::1 1 2\r\n", .address),
  line("PROXY TCP6 1::2::3 ::1 1 2\r\n", .address),
  line("PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n", .address),
  line("PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n", .address),
  line("PROXY TCP6 1:2:3:4::5:6:7:8 ::1 1 2\r\n", .address),
  line("PROXY TCP6 12345::1 ::1 1 2\r\n", .address),
  line("PROXY TCP4 192.0.2.1 192.0.2.2\r\n", .port),
  line("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", .port),
  line("PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n", .port),
  line("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", .port),
  line("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", .port),
  line("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", .port),
  line("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", .port),
  line("PROXY TCP4 192.0.2.1 192.0.2.2 1 100000\r\n", .port),
  line("PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n", .port),
  (Array(binary(0x11, 0x11, fourBytes).prefix(13)), .version),
  (binary(0x31, 0x11, fourBytes), .version),
  (binary(0x22, 0x11, fourBytes), .command),
  (binary(0x21, 0x41, fourBytes), .family),
  (binary(0x21, 0x13, fourBytes), .family),
  (binary(0x21, 0x11, Array(fourBytes.dropLast())), .addressLength),
  (binary(0x21, 0x21, fourBytes), .addressLength),
  (binary(0x21, 0x31, fourBytes), .addressLength),
  (binary(0x21, 0x11, fourBytes + [4, 0]), .extensionLength),
  (binary(0x21, 0x11, fourBytes + [4, 0, 2, 0]), .extensionLength),
  (binary(0x21, 0x11, fourBytes + [4, 255, 255, 0]), .extensionLength),
  (binary(0x21, 0x31, [UInt8](repeating: 65, count: 217)), .extensionLength),
  (binary(0x21, 0x11, [], length: limit - 15), .tooLong),
  (binary(0x20, 0, [], length: 65535), .tooLong),
  (withChecksum(binary(0x21, 0x11, fourBytes), spoiled: true), .checksum),
  (withChecksum(withChecksum(binary(0x21, 0x11, fourBytes))), .checksum),
  (binary(0x21, 0x11, fourBytes + [3, 0, 3, 0, 0, 0]), .checksum),
]

struct HeaderTests {
  @Test(arguments: valid.indices)
  func aHeaderIsReadWholeAndNoFurther(index: Int) {
    let (name, bytes, source, destination) = valid[index]
    for end in 0..<bytes.count {
      #expect(parse(Array(bytes[..<end])) == .needMore, "\(name), \(end) bytes")
    }
    let version: ProxyVersion = bytes[0] == 0x50 ? .v1 : .v2
    let header = ProxyHeader(length: bytes.count, version: version, source: source, destination: destination)
    #expect(parse(bytes) == .complete(header), "\(name)")
    #expect(parse(bytes + Array("\r\n\0GET".utf8)) == .complete(header), "\(name), with more")
  }

  @Test(arguments: invalid.indices)
  func aMalformedHeaderIsRefused(index: Int) {
    let (bytes, error) = invalid[index]
    let text = String(decoding: bytes, as: UTF8.self)
    #expect(parse(bytes) == .invalid(error), "\(text.debugDescription)")
    #expect(parse(bytes + [UInt8](repeating: 0x20, count: 200)) == .invalid(error), "\(text.debugDescription)")
    for end in 0..<bytes.count {
      switch parse(Array(bytes[..<end])) {
      case .needMore: break
      case .invalid(let early): #expect(early == error, "\(text.debugDescription), \(end) bytes")
      case .complete: Issue.record("\(text.debugDescription): \(end) bytes are taken for a header")
      }
    }
  }

  @Test func everyErrorIsInTheTable() {
    #expect(Set(invalid.map(\.error)) == Set(ProxyProtocolError.allCases))
  }

  @Test func theLimitIsOfTheWholeHeader() {
    let bytes = binary(0x21, 0x11, fourBytes)
    #expect(parse(bytes, limit: 27) == .invalid(.tooLong))
    #expect(parse(bytes, limit: 28) != .invalid(.tooLong))
  }

  /// RFC 3720 appendix B.4.
  @Test func theChecksumIsTheCastagnoliPolynomials() {
    #expect(crc32c(Bytes("123456789"), zeroedAt: -4) == 0xe306_9283)
  }

  @Test func whatIsWrittenIsReadBack() {
    for version in [ProxyVersion.v1, .v2] {
      for (source, destination) in [(four, otherFour), (six, otherSix), (none, none)] {
        let bytes = written(version, source, destination)
        let header = ProxyHeader(length: bytes.count, version: version, source: source, destination: destination)
        #expect(parse(bytes) == .complete(header))
      }
      let mixed = written(version, four, otherSix)
      let asSix = ProxyAddress(ipv6: 0, 0xffff_c000_0201, port: 56324)
      #expect(
        parse(mixed)
          == .complete(ProxyHeader(length: mixed.count, version: version, source: asSix, destination: otherSix)))
      let unknown = written(version, four, none)
      #expect(parse(unknown) == .complete(ProxyHeader(length: unknown.count, version: version)))
    }
    #expect(String(decoding: written(.v1, four, otherFour), as: UTF8.self) == text(of: 0))
    #expect(written(.v2, four, otherFour) == valid[6].bytes)
    #expect(written(.v2, six, otherSix) == valid[7].bytes)
    #expect(written(.v1, otherSix, otherSix).count == 104)
  }

  private func text(of index: Int) -> String { String(decoding: valid[index].bytes, as: UTF8.self) }
}

struct HostileHeaderTests {
  /// Whatever comes, the answer stays inside what came, and what was certain stays so.
  @Test func mutatedHeadersNeverTrap() {
    var random = SplitMix(state: 7)
    for round in 0..<20_000 {
      var bytes = valid[round % valid.count].bytes
      for _ in 0...Int(random.next() % 4) {
        let place = Int(random.next() % UInt64(bytes.count))
        switch random.next() % 4 {
        case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
        case 2 where bytes.count > 1: bytes.remove(at: place)
        default: bytes[place] ^= 1 << UInt8(random.next() % 8)
        }
      }
      let whole = parse(bytes)
      if case .complete(let header) = whole {
        #expect(header.length <= bytes.count && (header.source.family == header.destination.family))
      }
      let part = parse(Array(bytes.prefix(Int(random.next() % UInt64(bytes.count + 1)))))
      if part != .needMore { #expect(part == whole) }
    }
  }

  /// The C library reads the same addresses from the same texts.
  @Test func addressesAreReadAsTheSystemReadsThem() {
    var random = SplitMix(state: 11)
    let alphabet = Array("01a9fF::.:25".utf8)
    var agreed = 0
    for round in 0..<200_000 {
      var text: [UInt8] = []
      if round % 2 == 0 {
        for _ in 0..<Int(random.next() % 18) { text.append(alphabet[Int(random.next() % UInt64(alphabet.count))]) }
      } else {
        let groups = (0..<Int(random.next() % 3 + 7)).map { _ in String(random.next() % 70_000, radix: 16) }
        text = Array(groups.joined(separator: random.next() % 5 == 0 ? "::" : ":").utf8)
      }
      let string = String(decoding: text, as: UTF8.self)
      var sixBytes: (UInt64, UInt64) = (0, 0)
      let isSix = unsafe inet_pton(AF_INET6, string, &sixBytes) == 1
      let expected = isSix ? UInt128(sixBytes.0.bigEndian) << 64 | UInt128(sixBytes.1.bigEndian) : nil
      let six = unsafe text.withUnsafeBufferPointer { buffer in
        parseIPv6(buffer.isEmpty ? .empty : unsafe Bytes(start: buffer.baseAddress!, count: buffer.count))
      }
      #expect(six == expected, "\(string)")
      var fourBytes: UInt32 = 0
      let isFour = unsafe inet_pton(AF_INET, string, &fourBytes) == 1
      let four = unsafe text.withUnsafeBufferPointer { buffer in
        parseIPv4(buffer.isEmpty ? .empty : unsafe Bytes(start: buffer.baseAddress!, count: buffer.count))
      }
      #expect(four == (isFour ? fourBytes.bigEndian : nil), "\(string)")
      if isSix { agreed += 1 }
    }
    #expect(agreed > 1000)
  }
}

private struct SplitMix {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
