import HTTPSemantics
import Testing

private func classify(_ name: String) -> KnownHeader {
  with(name) { unsafe KnownHeader.classify($0.start, $0.count) }
}

@Suite struct NameTests {
  @Test(arguments: KnownHeader.allCases.filter { $0 != .other })
  func knownNameInAnyCase(_ known: KnownHeader) {
    let name = "\(known.name)"
    #expect(name == name.lowercased())
    #expect(classify(name) == known)
    #expect(classify(name.uppercased()) == known)
    let mixed = String(
      name.enumerated().map { $0.offset % 2 == 0 ? Character($0.element.uppercased()) : $0.element })
    #expect(classify(mixed) == known)
  }

  /// Every name that differs from a known one in one byte, or is longer or shorter by one, is another name.
  @Test(arguments: KnownHeader.allCases.filter { $0 != .other })
  func neighboursAreOther(_ known: KnownHeader) {
    let name = Array("\(known.name)".utf8)
    let names = Set(KnownHeader.allCases.map { "\($0.name)" })
    for index in name.indices {
      for replacement in Array("abcdefghijklmnopqrstuvwxyz0123456789-_.~!".utf8)
      where replacement != name[index] {
        var other = name
        other[index] = replacement
        let text = String(decoding: other, as: UTF8.self)
        if names.contains(text) { continue }
        #expect(classify(text) == rest(text), "\(text)")
      }
    }
    let longer = "\(known.name)x"
    #expect(classify(longer) == rest(longer))
    let shorter = String("\(known.name)".dropLast())
    #expect(classify(shorter) == rest(shorter))
  }

  /// What a name is that is none of the others.
  private func rest(_ name: String) -> KnownHeader {
    name.hasPrefix("x-forwarded-") && name.utf8.count > 12 ? .xForwardedOther : .other
  }

  @Test func namesInDisguise() {
    let cases: [(String, KnownHeader)] = [
      ("content_length", .contentLength), ("Transfer.Encoding", .transferEncoding), ("X!Forwarded~For", .xForwardedFor),
      ("x_forwarded_other-name", .xForwardedOther), ("content-length", .other), ("content__length", .other),
      ("_host", .other), ("x_y", .other), (String(repeating: "_", count: 65), .other),
    ]
    for (name, known) in cases { #expect(with(name) { KnownHeader.disguised(by: $0) } == known, "\(name)") }
  }

  @Test func unknownNames() {
    for name in ["x", "", "content-lengths", "hosts", "x_forwarded_for", String(repeating: "a", count: 300)] {
      #expect(classify(name) == .other)
    }
  }

  @Test func hopByHop() {
    let hops = KnownHeader.allCases.filter(\.isHopByHop)
    let expected: Set<KnownHeader> = [
      .connection, .keepAlive, .proxyConnection, .te, .transferEncoding, .upgrade, .http2Settings,
    ]
    #expect(Set(hops) == expected)
  }

  @Test(arguments: [
    ("GET", Method.get), ("HEAD", .head), ("POST", .post), ("PUT", .put), ("DELETE", .delete),
    ("CONNECT", .connect),
    ("OPTIONS", .options), ("TRACE", .trace), ("PATCH", .patch), ("get", .other), ("Get", .other),
    ("GETS", .other),
    ("PRI", .other), ("", .other), ("PROPFIND", .other), ("OPTIONZ", .other),
  ])
  func methods(_ text: String, _ method: HTTPSemantics.Method) {
    #expect(with(text) { Method(classifying: $0) } == method)
    if method != .other { #expect("\(method.name)" == text) }
  }

  /// RFC 9110 section 9.2.
  @Test func methodProperties() {
    let safe: Set<HTTPSemantics.Method> = [.get, .head, .options, .trace]
    for raw in UInt8(0)...9 {
      guard let method = Method(rawValue: raw) else { continue }
      #expect(method.isSafe == safe.contains(method))
      #expect(method.isIdempotent == (safe.contains(method) || method == .put || method == .delete))
    }
  }

  /// The sets against the grammar, byte by byte.
  @Test func byteSets() {
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    let token = Set("!#$%&'*+-.^_`|~\(letters)".utf8)
    let unreserved = Set("-._~\(letters)".utf8)
    for byte in UInt8.min...UInt8.max {
      #expect(ByteSet.token.contains(byte) == token.contains(byte), "\(byte)")
      #expect(ByteSet.unreserved.contains(byte) == unreserved.contains(byte), "\(byte)")
      let isValue = byte == 9 || (byte >= 32 && byte != 127)
      #expect(with([byte]) { isFieldValue($0) } == isValue, "\(byte)")
    }
    for (text, value) in [
      ("0", 0), ("9", 9), ("a", 10), ("F", 15), ("g", -1), ("/", -1), (":", -1), ("@", -1),
    ] {
      #expect(hexValue(Array(text.utf8)[0]) == value)
    }
    #expect(hexValue(0x10) == -1)
  }

  @Test func listMembers() {
    let cases: [(String, [String])] = [
      ("", []), (",", []), ("a", ["a"]), (" a , b\t,,c ", ["a", "b", "c"]), ("a b", ["a b"]), (",a", ["a"]),
    ]
    for (text, expected) in cases {
      let found = with(text) { bytes in
        var members = ListMembers(bytes)
        var result: [String] = []
        while let member = members.next() { result.append(String(decoding: member)) }
        return result
      }
      #expect(found == expected, "\(text)")
    }
  }

  @Test func contentTypes() {
    let grpc = [
      "application/grpc", "application/grpc+proto", "Application/GRPC;charset=x", "application/grpc ; a",
    ]
    for text in grpc { #expect(with(text) { isGRPCContentType($0) }, "\(text)") }
    for text in [
      "application/grpc-web", "application/grpc-web+proto", "application/grpcx", "application/grp", "",
    ] {
      #expect(!with(text) { isGRPCContentType($0) }, "\(text)")
    }
  }
}

@Suite struct BytesTests {
  @Test func comparisons() {
    for length in 0..<40 {
      let text = (0..<length).map { UInt8(0x41 + $0 % 26) }
      let lower = text.map { lowercase($0) }
      with(text) { left in
        with(text) { #expect(left.equals($0)) }
        with(lower) { #expect(left.equalsIgnoringCase($0)) }
        with(lower) { #expect(left.equals($0) == (length == 0)) }
        for index in 0..<length {
          var other = text
          other[index] ^= 0x80
          with(other) { #expect(!left.equals($0) && !left.equalsIgnoringCase($0)) }
          with(Array(text[..<index])) {
            #expect(left.hasPrefix($0) && !$0.hasPrefix(left) && !left.equals($0))
          }
        }
      }
    }
    with("[") { bracket in #expect(!bracket.equalsIgnoringCase("{")) }
  }

  @Test func parts() {
    with(" \tab c\t ") { bytes in
      #expect(String(decoding: bytes.trimmed) == "ab c")
      #expect(bytes.firstIndex(of: 0x63) == 5)
      #expect(bytes.firstIndex(of: 0x7a) == -1)
      #expect(String(decoding: bytes.slice(2, 4)) == "ab")
    }
    with("  ") { #expect($0.trimmed.isEmpty) }
  }

  @Test func table() {
    let base = UnsafeMutablePointer<HeaderField>.allocate(capacity: 2)
    defer { unsafe base.deallocate() }
    var table = unsafe HeaderTable(base: base, capacity: 2)
    let fields = [
      HeaderField(name: "Host", value: "a", known: .host),
      HeaderField(name: "X-Thing", value: "b", known: .other, flags: HeaderField.lineFlag),
      HeaderField(name: "c", value: "c", known: .other),
    ]
    #expect(fields.map { table.append($0) } == [true, true, false])
    #expect(table.count == 2)
    #expect(table.firstIndex(of: .host) == 0)
    #expect(table.firstIndex(of: .cookie) == -1)
    #expect(table.firstIndex(named: Bytes("x-thing")) == 1)
    var field = table[1]
    field.setValue(Bytes("new"))
    #expect(field.flags & HeaderField.lineFlag == 0)
    field.isDropped = true
    table[1] = field
    #expect(table.firstIndex(named: Bytes("x-thing")) == -1)
    var empty = HeaderTable.empty
    let isAppended = empty.append(field)
    #expect(!isAppended)
  }

  @Test func targets() {
    var head = RequestHead()
    head.setTarget(Bytes("/a?b?c"))
    #expect(String(decoding: head.path) == "/a" && String(decoding: head.query) == "b?c" && head.hasQuery)
    head.setTarget(Bytes("/a"))
    #expect(String(decoding: head.path) == "/a" && head.query.isEmpty && !head.hasQuery)
    head.setTarget(Bytes("/a?"))
    #expect(String(decoding: head.path) == "/a" && head.query.isEmpty && head.hasQuery)
  }
}

extension HeaderField {
  init(name: StaticString, value: StaticString, known: KnownHeader, flags: UInt8 = 0) {
    self.init(name: Bytes(name), value: Bytes(value), known: known, flags: flags)
  }
}
