import HTTP1
import HTTPSemantics
import Testing

/// Valid requests that have no body, each with what must come out of it.
private func valid(_ text: String, _ change: (inout Request) -> Void) -> (String, Request) {
  var request = Request()
  request.result = .complete
  request.consumed = text.utf8.count
  request.method = "GET"
  request.target = "/"
  request.path = "/"
  request.authority = "a"
  request.host = "a"
  request.lines = ["Host: a"]
  change(&request)
  return (text, request)
}

private let targets: [(String, Request)] = [
  valid("GET / HTTP/1.1\r\nHost: a\r\n\r\n") { _ in },
  valid("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n") { _ in },
  valid("GET /a/b%20c?x=1&y=%C3%A4 HTTP/1.1\r\nhost:a.example:8080\r\n\r\n") {
    $0.target = "/a/b%20c?x=1&y=%C3%A4"
    $0.path = "/a/b%20c"
    $0.query = "x=1&y=%C3%A4"
    $0.authority = "a.example:8080"
    $0.host = "a.example"
    $0.port = 8080
    $0.lines = ["host: a.example:8080"]
  },
  valid("GET /? HTTP/1.1\r\nHost: a\r\n\r\n") {
    $0.target = "/?"
    $0.query = ""
  },
  valid("GET /?a?b\\c|d{}\"é HTTP/1.1\r\nHost: a\r\n\r\n") {
    $0.target = "/?a?b\\c|d{}\"é"
    $0.query = "a?b\\c|d{}\"é"
  },
  valid("M-SEARCH //x/../y HTTP/1.1\r\nHost: a\r\n\r\n") {
    $0.method = "M-SEARCH"
    $0.target = "//x/../y"
    $0.path = "//x/../y"
  },
  valid("!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\nHost: a\r\n\r\n") { $0.method = "!#$%&'*+-.^_`|~09azAZ" },
  valid("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n") {
    $0.method = "OPTIONS"
    $0.target = "*"
    $0.path = "*"
  },
  valid("GET http://A:80/x?y HTTP/1.1\r\nHost: a:80\r\n\r\n") {
    $0.target = "/x?y"
    $0.path = "/x"
    $0.query = "y"
    $0.authority = "A:80"
    $0.host = "A"
    $0.port = 80
    $0.lines = ["Host: a:80"]
  },
  valid("GET HTTP://a HTTP/1.1\r\nHost: a\r\n\r\n") { _ in },
  valid("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n") {
    $0.method = "OPTIONS"
    $0.target = "*"
    $0.path = "*"
  },
  valid("GET http://a/ HTTP/1.0\r\n\r\n") {
    $0.lines = []
    $0.minorVersion = 0
    $0.keepAlive = false
  },
  valid("GET / HTTP/1.0\r\n\r\n") {
    $0.authority = ""
    $0.host = ""
    $0.lines = []
    $0.minorVersion = 0
    $0.keepAlive = false
  },
  valid("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n") {
    $0.authority = "[::1]:8080"
    $0.host = "[::1]"
    $0.port = 8080
    $0.lines = ["Host: [::1]:8080"]
  },
]

private func field(_ line: String, _ change: (inout Request) -> Void) -> (String, Request) {
  valid("GET / HTTP/1.1\r\nHost: a\r\n\(line)\r\n\r\n") {
    $0.lines = ["Host: a", line]
    change(&$0)
  }
}

private let fields: [(String, Request)] = [
  field("X_Under.score~: 1") { _ in },
  field("X-Long-Name-Of-More-Than-Sixteen-Bytes_too: a value of more than sixteen bytes, with a\ttab") { _ in
  },
  field("X: é\u{ff}") { _ in },
  valid("GET / HTTP/1.1\r\nHost:\t a \t\r\nA:\r\nB: \t \r\nC:c\r\n\r\n") {
    $0.lines = ["Host: a", "A: ", "B: ", "C: c"]
  },
  field("Content-Length: 0") { $0.contentLength = 0 },
  field("content-length: 5") {
    $0.contentLength = 5
    $0.endStream = false
  },
  field("Content-Length: 999999999999999999") {
    $0.contentLength = 999_999_999_999_999_999
    $0.endStream = false
  },
  field("Transfer-Encoding: Chunked") {
    $0.lines[1] = "-Transfer-Encoding: Chunked"
    $0.isChunked = true
    $0.endStream = false
  },
  field("Connection: close") {
    $0.lines[1] = "-Connection: close"
    $0.keepAlive = false
  },
  field("Connection: Keep-Alive, CLOSE") {
    $0.lines[1] = "-Connection: Keep-Alive, CLOSE"
    $0.keepAlive = false
  },
  valid("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n") {
    $0.lines = ["Host: a", "-Connection: keep-alive", "-Expect: 100-continue"]
    $0.minorVersion = 0
  },
  field("Expect: 100-Continue") { $0.lines[1] = "-Expect: 100-Continue" },
  field("Expect: 100-continue\r\nContent-Length: 0") {
    $0.lines = ["Host: a", "-Expect: 100-continue", "Content-Length: 0"]
    $0.contentLength = 0
  },
  field("Expect: 100-continue\r\nContent-Length: 1") {
    $0.lines = ["Host: a", "Expect: 100-continue", "Content-Length: 1"]
    $0.contentLength = 1
    $0.endStream = false
    $0.expectContinue = true
  },
  field("X_Forwarded_For: 1") { $0.lines[1] = "-X_Forwarded_For: 1" },
  field("keep.alive: 1") { $0.lines[1] = "-keep.alive: 1" },
  field("X-Forwarded-Whatever: 1") { _ in },
  field("Content-Type: application/grpc+proto") { $0.isGRPC = true },
  field("Content-Type: application/grpc-web") { _ in },
  field("TE: gzip;q=0.5, trailers") {
    $0.lines[1] = "-TE: gzip;q=0.5, trailers"
    $0.hasTETrailers = true
  },
  field("Trailer: X-Sum") { _ in },
  field("Proxy-Connection: close") { $0.lines[1] = "-Proxy-Connection: close" },
  field("Keep-Alive: timeout=5") { $0.lines[1] = "-Keep-Alive: timeout=5" },
  valid(
    "GET / HTTP/1.1\r\nX-A: 1\r\nConnection: x-a, ,X-B,te\r\nHost: a\r\nx-b: 2\r\nX-Ab: 3\r\nX-B: 4\r\n\r\n"
  ) {
    $0.lines = ["-X-A: 1", "-Connection: x-a, ,X-B,te", "Host: a", "-x-b: 2", "X-Ab: 3", "-X-B: 4"]
  },
  valid("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\r\n") {
    $0.lines = ["Host: a", "-Upgrade: WebSocket", "-Connection: keep-alive, Upgrade"]
    $0.upgrade = .webSocket
  },
  valid("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: foo/1\r\nConnection: Upgrade\r\n\r\n") {
    $0.lines = ["Host: a", "-Upgrade: foo/1", "-Connection: Upgrade"]
    $0.upgrade = .other
  },
  field("Upgrade: websocket") { $0.lines[1] = "-Upgrade: websocket" },
  valid("POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n") {
    $0.method = "POST"
    $0.lines = ["Host: a", "-Upgrade: websocket", "-Connection: Upgrade"]
  },
  valid("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\n") {
    $0.lines = ["Host: a", "-Upgrade: h2c", "-Connection: Upgrade", "Content-Length: 1"]
    $0.contentLength = 1
    $0.endStream = false
  },
  valid(
    "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket, h2c\r\nHTTP2-Settings: AAMA\r\n"
      + "Connection: Upgrade, HTTP2-Settings\r\n\r\n"
  ) {
    $0.lines = [
      "Host: a", "-Upgrade: websocket, h2c", "-HTTP2-Settings: AAMA", "-Connection: Upgrade, HTTP2-Settings",
    ]
  },
  valid("GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n") {
    $0.lines = ["Host: a", "-Upgrade: websocket", "-Connection: Upgrade"]
    $0.minorVersion = 0
    $0.keepAlive = false
  },
]

let validRequests = targets + fields

@Suite struct ValidRequestTests {
  @Test(arguments: validRequests.indices)
  func parsed(_ index: Int) {
    let (text, expected) = validRequests[index]
    #expect(parseRequest(text) == expected, "\(text.debugDescription)")
  }

  /// Whatever lies behind the input, and however much of the next request is there, makes no difference.
  @Test(arguments: validRequests.indices)
  func whatFollowsIsNotRead(_ index: Int) {
    let (text, expected) = validRequests[index]
    let bytes = Array(text.utf8)
    let memory = GuardedMemory(capacity: bytes.count + 64)
    for filler: UInt8 in [0, 0x0d, 0x0a, 0x20, 0x3a, 0x61, 0xff] {
      #expect(parseRequest(bytes[...], memory, filler: filler) == expected, "\(text.debugDescription)")
    }
    let pipelined = bytes + Array("GET /next HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\n".utf8)
    #expect(parseRequest(pipelined[...], memory) == expected)
  }

  /// A part of a valid head is never an error and never a whole head.
  @Test(arguments: validRequests.indices)
  func everyPrefixIsIncomplete(_ index: Int) {
    let bytes = Array(validRequests[index].0.utf8)
    let memory = GuardedMemory(capacity: bytes.count)
    for count in 0..<bytes.count {
      for filler: UInt8 in [0, 0x0a, 0x0d, 0x3a, 0x61] {
        let request = parseRequest(bytes[..<count], memory, filler: filler)
        let prefix = String(decoding: bytes[..<count], as: UTF8.self).debugDescription
        #expect(request.result == .incomplete && request.consumed == 0, "\(prefix) before \(filler)")
      }
    }
  }
}

/// Input, why it is refused, the section that says so. Each is a whole request, so none may stay incomplete.
private let refusedLines: [(String, HTTP1Error, String)] = [
  ("GET /\r\n\r\n", .requestLine, "9112 3: HTTP/0.9 has no version"),
  ("GET / HTTP/1.1\nHost: a\r\n\r\n", .bareLF, "9112 2.2"),
  ("GET / HTTP/1.1\r\nHost: a\n\r\n", .bareLF, "9112 2.2"),
  ("GET / HTTP/1.1\r\nHost: a\r\n\n", .bareLF, "9112 2.2"),
  ("GET / HTTP/1.1\rHost: a\r\n\r\n", .bareCR, "9112 2.2"),
  ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", .bareCR, "9112 2.2"),
  ("GET / HTTP/1.1\r\nHost: a\r\n\rX", .bareCR, "9112 2.2"),
  ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .bareCR, "9112 2.2: one empty line"),
  ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .bareLF, "9112 2.2"),
  (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", .method, "9112 3"),
  ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", .requestLine, "9112 3: single space"),
  ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", .version, "9112 3: single space"),
  ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", .method, "9112 3"),
  ("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", .pathCharacter, "9112 3"),
  ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", .version, "9112 3.2: no whitespace"),
  ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", .version, "9112 3"),
  ("GET / http/1.1\r\nHost: a\r\n\r\n", .version, "9112 2.3: case-sensitive"),
  ("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", .version, "9112 2.3"),
  ("GET / HTTP/11\r\nHost: a\r\n\r\n", .version, "9112 2.3"),
  ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", .version, "9112 2.3"),
  ("GET / HTTP/+1.1\r\nHost: a\r\n\r\n", .version, "9112 2.3"),
  ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", .unsupportedVersion, "9110 15.6.6"),
  ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", .unsupportedVersion, "9110 15.6.6"),
  ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", .unsupportedVersion, "9110 15.6.6"),
  ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .asteriskForm, "9112 3.2.4"),
  ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", .method, "9110 5.6.2"),
  ("GÉT / HTTP/1.1\r\nHost: a\r\n\r\n", .method, "9110 5.6.2"),
  ("GET\u{0} / HTTP/1.1\r\nHost: a\r\n\r\n", .nul, "9110 5.6.2"),
  ("\u{16}\u{3}\u{1}\u{0}\u{5}", .method, "TLS on a plain port"),
  ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", .connectRefused, "9110 9.3.6"),
  ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", .connectRefused, "9110 9.3.6"),
  ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", .target, "9112 3.2"),
  ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", .target, "9112 3.2.3: CONNECT only"),
  ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", .asteriskForm, "9112 3.2.4"),
  ("OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", .target, "9112 3.2.4"),
  ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", .target, "9112 3.2.2"),
  ("GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", .target, "9112 3.2.2"),
  ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", .host, "9110 4.2.1: no empty host"),
  ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", .host, "9110 4.2.4: no userinfo"),
  ("GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n", .target, "no contiguous origin-form"),
  ("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", .schemeDiffersFromConnection, "9110 7.4"),
  ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", .hostDiffersFromTarget, "9112 3.2.2"),
  ("GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", .hostDiffersFromTarget, "9112 3.2.2"),
  ("GET http://a/ HTTP/1.1\r\n\r\n", .missingHost, "9112 3.2"),
  ("GET ?x HTTP/1.1\r\nHost: a\r\n\r\n", .target, "9112 3.2.1"),
  ("GET \\a HTTP/1.1\r\nHost: a\r\n\r\n", .target, "9112 3.2.1"),
  ("GET /\\a HTTP/1.1\r\nHost: a\r\n\r\n", .pathCharacter, "3986 3.3"),
  ("GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", .pathCharacter, "9110 7.1: no fragment"),
  ("GET /?#f HTTP/1.1\r\nHost: a\r\n\r\n", .pathCharacter, "9110 7.1: no fragment"),
  ("GET /ä HTTP/1.1\r\nHost: a\r\n\r\n", .pathCharacter, "3986 3.3"),
  ("GET /a\u{0} HTTP/1.1\r\nHost: a\r\n\r\n", .nul, "3986 3.3"),
  ("GET /?\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n", .pathCharacter, "3986 3.4"),
  ("GET /?\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", .pathCharacter, "3986 3.4"),
]

private let refusedHosts: [(String, HTTP1Error, String)] = [
  ("", .missingHost, "9112 3.2"),
  ("Host: a\r\nHost: a\r\n", .duplicateHost, "9112 3.2"),
  ("Host: a\r\nhost: b\r\n", .duplicateHost, "9112 3.2"),
  ("Host:\r\n", .host, "9110 4.2.1"),
  ("Host: a, b\r\n", .host, "9110 7.2"),
  ("Host: a b\r\n", .host, "9110 7.2"),
  ("Host: a/b\r\n", .host, "9110 7.2"),
  ("Host: u@a\r\n", .host, "9110 7.2"),
  ("Host: a:x\r\n", .host, "9110 7.2"),
  ("Host: a:99999\r\n", .host, "9110 7.2"),
  ("Host: http://a\r\n", .host, "9110 7.2"),
  ("Host: [::1\r\n", .host, "3986 3.2.2"),
]

private let refusedFields: [(String, HTTP1Error, String)] = [
  ("X : 1", .whitespaceBeforeColon, "9112 5.1"),
  ("X\t: 1", .whitespaceBeforeColon, "9112 5.1"),
  ("Transfer-Encoding : chunked", .whitespaceBeforeColon, "9112 5.1"),
  (" X: 1", .foldedLine, "9112 2.2, 5.2"),
  ("X: 1\r\n folded", .foldedLine, "9112 5.2"),
  ("X: 1\r\n\tfolded", .foldedLine, "9112 5.2"),
  ("X: 1\r\n \r\nY: 1", .foldedLine, "9112 5.2"),
  (": 1", .fieldName, "9112 5"),
  ("X", .bareCR, "9112 5: no colon"),
  ("X\u{0}: 1", .nul, "9110 5.1"),
  ("X(: 1", .fieldName, "9110 5.1"),
  ("X\"Y: 1", .fieldName, "9110 5.1"),
  ("Xé: 1", .fieldName, "9110 5.1"),
  ("X/Y: 1", .fieldName, "9110 5.1"),
  ("[x]: 1", .fieldName, "9110 5.1"),
  ("X: \u{0}", .nul, "9110 5.5"),
  ("X: a\u{0}b", .nul, "9110 5.5"),
  ("X: a\u{1}b", .controlByte, "9110 5.5"),
  ("X: a\u{b}b", .controlByte, "9110 5.5"),
  ("X: a\u{1f}", .controlByte, "9110 5.5"),
  ("X: a\u{7f}", .controlByte, "9110 5.5"),
  ("X: a\nY: b", .bareLF, "9112 2.2"),
  ("X: a\rY: b", .bareCR, "9112 2.2"),
  ("X: a\r\rY: b", .bareCR, "9112 2.2"),
  ("X:\n Y", .bareLF, "9112 2.2"),
  ("Content-Length: ", .contentLength, "9110 8.6"),
  ("Content-Length: +1", .contentLength, "9110 8.6"),
  ("Content-Length: -1", .contentLength, "9110 8.6"),
  ("Content-Length: 1,1", .contentLength, "9110 8.6: lists are refused too"),
  ("Content-Length: 1 1", .contentLength, "9110 8.6"),
  ("Content-Length: 0x1", .contentLength, "9110 8.6"),
  ("Content-Length: 1.0", .contentLength, "9110 8.6"),
  ("Content-Length: 1e3", .contentLength, "9110 8.6"),
  ("Content-Length: a", .contentLength, "9110 8.6"),
  ("Content-Length: \"1\"", .contentLength, "9110 8.6"),
  ("Content-Length: 18446744073709551617", .contentLength, "9110 8.6: overflow"),
  ("Content-Length: 1000000000000000000", .contentLength, "9110 8.6: above 10^18"),
  ("Content-Length: 1\r\nContent-Length: 1", .duplicateContentLength, "9112 6.3"),
  ("Content-Length: 1\r\nContent-Length: 2", .duplicateContentLength, "9112 6.3"),
  ("Content-Length: 0\r\nX: 1\r\ncontent-LENGTH: 0", .duplicateContentLength, "9112 6.3"),
  ("Content-Length: 1\r\nTransfer-Encoding: chunked", .contentLengthWithTransferEncoding, "9112 6.3: CL.TE"),
  ("Transfer-Encoding: chunked\r\nContent-Length: 1", .contentLengthWithTransferEncoding, "9112 6.3: TE.CL"),
  ("Transfer-Encoding: chunked\r\nContent-Length: 0", .contentLengthWithTransferEncoding, "9112 6.3"),
  ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", .duplicateTransferEncoding, "9112 7.1"),
  ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", .duplicateTransferEncoding, "9112 6.1: TE.TE"),
  ("Transfer-Encoding: xchunked", .unsupportedTransferCoding, "9112 6.1"),
  ("Transfer-Encoding: identity", .unsupportedTransferCoding, "9112 7"),
  ("Transfer-Encoding: gzip", .unsupportedTransferCoding, "9112 6.1"),
  ("Transfer-Encoding: gzip, chunked", .transferEncoding, "9112 6.1"),
  ("Transfer-Encoding: chunked, chunked", .transferEncoding, "9112 7.1"),
  ("Transfer-Encoding: chunked, identity", .transferEncoding, "9112 6.1: TE.TE"),
  ("Transfer-Encoding: chunked;x=1", .transferEncoding, "9112 7.1: no parameters"),
  ("Transfer-Encoding: ,chunked", .transferEncoding, "9112 6.1"),
  ("Transfer-Encoding: \"chunked\"", .transferEncoding, "9112 6.1"),
  ("Transfer-Encoding: chun ked", .transferEncoding, "9112 6.1"),
  ("Transfer-Encoding: chunked\u{b}", .controlByte, "9110 5.5"),
  ("Transfer-Encoding:", .transferEncoding, "9112 6.1"),
  ("Transfer-Encoding\u{b}: chunked", .fieldName, "9110 5.1"),
  ("Expect: 200-ok", .expectation, "9110 10.1.1"),
  ("Expect:", .expectation, "9110 10.1.1"),
  ("Expect: 100-continue, x", .expectation, "9110 10.1.1"),
  ("Expect: 100-continue\r\nExpect: 100-continue", .expectation, "9110 10.1.1"),
  ("Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1", .upgradeWithBody, "9110 7.8"),
  ("Transfer-Encoding: chunked\r\nConnection: upgrade\r\nUpgrade: foo", .upgradeWithBody, "9110 7.8"),
  ("Content_Length: 1", .disguisedField, "3875 4.1.18"),
  ("Transfer.Encoding: chunked", .disguisedField, "3875 4.1.18"),
  ("HOST: b", .duplicateHost, "9112 3.2"),
  ("Connection: a b", .connection, "9110 7.6.1"),
  ("Connection: close;x", .connection, "9110 7.6.1"),
  ("Connection: host", .connectionListsFraming, "9110 7.6.1"),
  ("Connection: close, Content-Length\r\nContent-Length: 1", .connectionListsFraming, "9110 7.6.1"),
  ("Connection: transfer-encoding\r\nTransfer-Encoding: chunked", .connectionListsFraming, "9110 7.6.1"),
  ("Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", .connection, "more than 16 names"),
]

@Suite struct RefusedRequestTests {
  private func check(_ text: String, _ error: HTTP1Error, _ section: String) {
    let request = parseRequest(text)
    #expect(request.result == .invalid(error), "RFC \(section): \(text.debugDescription)")
    #expect(request.consumed == 0)
  }

  @Test func requestLines() {
    for (text, error, section) in refusedLines { check(text, error, section) }
  }

  @Test func hosts() {
    for (lines, error, section) in refusedHosts { check("GET / HTTP/1.1\r\n\(lines)\r\n", error, section) }
    check("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", .duplicateHost, "9112 3.2")
    check("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", .host, "9112 3.2")
  }

  @Test func fieldLines() {
    for (lines, error, section) in refusedFields {
      check("POST / HTTP/1.1\r\nHost: a\r\n\(lines)\r\n\r\n", error, section)
    }
    check("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", .traceWithBody, "9110 9.3.8")
    check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", .transferEncodingInHTTP10, "9112 6.1")
  }

  /// Every byte in every place where a name, value or target may have it, against the grammar.
  @Test func everyByteInEveryPlace() {
    let memory = GuardedMemory(capacity: 256)
    for byte in UInt8.min...UInt8.max {
      func isComplete(_ before: String, _ after: String) -> Bool {
        let bytes = Array(before.utf8) + [byte] + Array(after.utf8)
        return parseRequest(bytes[...], memory).result == .complete
      }
      let isVisible = byte > 0x20 && byte < 0x7f
      let isPath = isVisible && byte != 0x23 && byte != 0x5c
      let isQuery = (isVisible || byte >= 0x80) && byte != 0x23
      let isValue = isVisible || byte >= 0x80 || byte == 0x09 || byte == 0x20
      for padding in [0, 3, 14, 15, 16, 17, 31, 32] {
        let pad = String(repeating: "p", count: padding)
        let tail = " HTTP/1.1\r\nHost: a\r\n\r\n"
        #expect(
          isComplete("\(pad)", "M /\(tail)") == ByteSet.token.contains(byte), "method \(byte) \(padding)")
        #expect(isComplete("GET /\(pad)", "x\(tail)") == isPath, "path \(byte) \(padding)")
        #expect(isComplete("GET /?\(pad)", "x\(tail)") == isQuery, "query \(byte) \(padding)")
        let start = "GET / HTTP/1.1\r\nHost: a\r\n"
        let isName = ByteSet.token.contains(byte) || (byte == 0x3a && padding > 0)
        #expect(isComplete("\(start)\(pad)", "Z: v\r\n\r\n") == isName, "name \(byte) \(padding)")
        #expect(isComplete("\(start)Z: \(pad)", "v\r\n\r\n") == isValue, "value \(byte) \(padding)")
      }
    }
  }

  @Test func limits() {
    var limits = HTTP1Limits()
    limits.maxRequestLine = 20
    limits.maxHeadBytes = 64
    limits.maxFields = 3
    let line = "GET /56789 HTTP/1.1"
    #expect(line.utf8.count == 19)
    #expect(parseRequest("\(line)\r\nHost: a\r\n\r\n", limits: limits).result == .complete)
    #expect(parseRequest("GET /567890 HTTP/1.1\r\nHost: a\r\n\r\n", limits: limits).result == .complete)
    let long = parseRequest("GET /5678901 HTTP/1.1\r\nHost: a\r\n\r\n", limits: limits)
    #expect(long.result == .invalid(.requestLineTooLong))
    #expect(parseRequest("GET /56789012345678901", limits: limits).result == .invalid(.requestLineTooLong))
    #expect(parseRequest("GET /5678901234567", limits: limits).result == .incomplete)
    let three = "\(line)\r\nHost: a\r\nB: 1\r\nC: 1\r\n"
    #expect(parseRequest("\(three)\r\n", limits: limits).result == .complete)
    #expect(parseRequest("\(three)D: 1\r\n\r\n", limits: limits).result == .invalid(.tooManyFields))
    #expect(parseRequest("\(three)\r\n", capacity: 2).result == .invalid(.tooManyFields))
    let value = String(repeating: "v", count: 64 - 21 - 9 - 2 - 5)
    let full = "\(line)\r\nHost: a\r\nX: \(value)\r\n\r\n"
    #expect(full.utf8.count == 64)
    #expect(parseRequest(full, limits: limits).result == .complete)
    #expect(
      parseRequest("\(line)\r\nHost: a\r\nX: \(value)v\r\n\r\n", limits: limits).result
        == .invalid(.headTooLarge))
    #expect(
      parseRequest("\(line)\r\nHost: a\r\nX: \(value)vvvv", limits: limits).result == .invalid(.headTooLarge))
    #expect(parseRequest("\(line)\r\nHost: a\r\nX: \(value)v", limits: limits).result == .incomplete)
  }

  @Test func statuses() {
    let expected: [HTTP1Error: UInt16] = [
      .requestLineTooLong: 414, .expectation: 417, .schemeDiffersFromConnection: 421, .headTooLarge: 431,
      .tooManyFields: 431,
      .trailerTooLarge: 431,
      .connectRefused: 501, .unsupportedTransferCoding: 501, .unsupportedVersion: 505,
    ]
    for error in HTTP1Error.allCases {
      #expect(error.status == expected[error] ?? 400)
      #expect(!"\(error.reason)".isEmpty)
    }
  }

  /// Mutated heads never trap, never read too far, and never yield a head with ambiguous framing.
  @Test(arguments: 1...8)
  func mutations(_ seed: Int) {
    var generator = SeededGenerator(state: UInt64(seed))
    let memory = GuardedMemory(capacity: 1024)
    let alphabet = Array("\r\n :\t,;0aA/?#%\u{0}\u{7f}".utf8) + [0xff]
    for _ in 0..<3000 {
      var bytes = Array(validRequests.randomElement(using: &generator)!.0.utf8)
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        let at = Int.random(in: 0..<bytes.count, using: &generator)
        switch Int.random(in: 0..<4, using: &generator) {
        case 0: bytes.remove(at: at)
        case 1: bytes.insert(alphabet.randomElement(using: &generator)!, at: at)
        case 2: bytes[at] = alphabet.randomElement(using: &generator)!
        default: bytes.insert(contentsOf: bytes[at...].prefix(20), at: at)
        }
      }
      let request = parseRequest(bytes[...], memory, filler: alphabet.randomElement(using: &generator)!)
      guard request.result == .complete else { continue }
      #expect(!(request.isChunked && request.contentLength >= 0))
      #expect(request.target.hasPrefix("/") || request.target == "*")
      #expect(request.minorVersion == 0 || !request.host.isEmpty)
      let head = bytes[..<request.consumed]
      #expect(!head.contains(0) && head.filter { $0 == 10 }.count == head.filter { $0 == 13 }.count)
    }
  }
}
