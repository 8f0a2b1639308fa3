import HTTP1
import HTTPSemantics
import Testing

private func valid(
  _ text: String, _ method: HTTPSemantics.Method = .get, _ change: (inout Response) -> Void
) -> (String, HTTPSemantics.Method, Response) {
  var response = Response()
  response.result = .complete
  response.consumed = text.utf8.count
  response.status = 200
  response.reason = "OK"
  change(&response)
  return (text, method, response)
}

private let bodies = [
  valid("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\n") {
    $0.lines = ["Content-Length: 5", "Server: x"]
    $0.contentLength = 5
  },
  valid("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") {
    $0.lines = ["Content-Length: 0"]
    $0.contentLength = 0
    $0.endStream = true
  },
  valid("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n") {
    $0.lines = ["-Transfer-Encoding: chunked", "Trailer: x"]
    $0.isChunked = true
  },
  valid("HTTP/1.1 200 OK\r\n\r\n") {
    $0.untilClose = true
    $0.keepAlive = false
  },
  valid("HTTP/1.1 404 \r\nContent-Length: 1\r\n\r\n") {
    $0.status = 404
    $0.reason = ""
    $0.lines = ["Content-Length: 1"]
    $0.contentLength = 1
  },
  valid("HTTP/1.1 500\r\nContent-Length: 1\r\n\r\n") {
    $0.status = 500
    $0.reason = ""
    $0.lines = ["Content-Length: 1"]
    $0.contentLength = 1
  },
  valid("HTTP/1.1 299 a\tb é  c of more than 16 bytes\r\nContent-Length: 1\r\nConnection: close\r\n\r\n") {
    $0.status = 299
    $0.reason = "a\tb é  c of more than 16 bytes"
    $0.lines = ["Content-Length: 1", "-Connection: close"]
    $0.contentLength = 1
    $0.keepAlive = false
  },
  valid("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n") {
    $0.lines = ["Content-Length: 1"]
    $0.contentLength = 1
    $0.keepAlive = false
    $0.minorVersion = 0
  },
  valid("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive, X-Y\r\nx-y: 1\r\n\r\n") {
    $0.lines = ["Content-Length: 1", "-Connection: keep-alive, X-Y", "-x-y: 1"]
    $0.contentLength = 1
    $0.minorVersion = 0
  },
  valid("HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n") {
    $0.lines = ["Content-Type: application/grpc", "Content-Length: 0"]
    $0.contentLength = 0
    $0.endStream = true
    $0.isGRPC = true
  },
]

/// RFC 9112 section 6.3, rules 1 and 2.
private let bodiless = [
  valid("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", .head) {
    $0.lines = ["Content-Length: 5"]
    $0.contentLength = 5
    $0.endStream = true
  },
  valid("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", .head) {
    $0.lines = ["-Transfer-Encoding: chunked"]
    $0.isChunked = true
    $0.endStream = true
  },
  valid("HTTP/1.1 200 OK\r\n\r\n", .head) { $0.endStream = true },
  valid("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n") {
    $0.status = 304
    $0.reason = "Not Modified"
    $0.lines = ["Content-Length: 5"]
    $0.contentLength = 5
    $0.endStream = true
  },
  valid("HTTP/1.1 204 No Content\r\n\r\n") {
    $0.status = 204
    $0.reason = "No Content"
    $0.endStream = true
  },
  valid("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n") {
    $0.status = 204
    $0.reason = "No Content"
    $0.lines = ["-Content-Length: 0"]
    $0.endStream = true
  },
  valid("HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n") {
    $0.status = 204
    $0.reason = "No Content"
    $0.lines = ["-Content-Length: 9"]
    $0.endStream = true
    $0.keepAlive = false
  },
  valid("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n") {
    $0.status = 204
    $0.reason = "No Content"
    $0.lines = ["-Transfer-Encoding: chunked"]
    $0.endStream = true
    $0.keepAlive = false
  },
  valid("HTTP/1.1 100 Continue\r\n\r\n") {
    $0.status = 100
    $0.reason = "Continue"
    $0.endStream = true
  },
  valid("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") {
    $0.status = 103
    $0.reason = "Early Hints"
    $0.lines = ["Link: </a>"]
    $0.endStream = true
  },
  valid("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n") {
    $0.status = 101
    $0.reason = "Switching Protocols"
    $0.lines = ["-Connection: upgrade", "-Upgrade: websocket"]
    $0.endStream = true
    $0.keepAlive = false
    $0.upgrade = .webSocket
  },
  valid("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: foo/2\r\n\r\n") {
    $0.status = 101
    $0.reason = "X"
    $0.lines = ["-Connection: upgrade", "-Upgrade: foo/2"]
    $0.endStream = true
    $0.keepAlive = false
    $0.upgrade = .other
  },
  valid("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket, foo\r\n\r\n") {
    $0.status = 101
    $0.reason = "X"
    $0.lines = ["-Connection: upgrade", "-Upgrade: websocket, foo"]
    $0.endStream = true
    $0.keepAlive = false
    $0.upgrade = .other
  },
  valid("HTTP/1.1 426 X\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: foo/2\r\n\r\n") {
    $0.status = 426
    $0.reason = "X"
    $0.lines = ["Content-Length: 0", "-Connection: upgrade", "-Upgrade: foo/2"]
    $0.contentLength = 0
    $0.endStream = true
  },
]

private let validResponses = bodies + bodiless

private let refused: [(String, HTTP1Error, String)] = [
  ("HTTP/2 200 OK\r\n\r\n", .statusLine, "9112 4"),
  ("HTTP/1.2 200 OK\r\n\r\n", .unsupportedVersion, "9112 2.3"),
  ("http/1.1 200 OK\r\n\r\n", .statusLine, "9112 2.3"),
  ("HTTP/1.1200 OK\r\n\r\n", .statusLine, "9112 4"),
  ("HTTP/1.1  200 OK\r\n\r\n", .statusLine, "9112 4"),
  ("HTTP/1.1 20 OK\r\n\r\n", .statusLine, "9112 4"),
  ("HTTP/1.1 2000 OK\r\n\r\n", .statusLine, "9112 4"),
  ("HTTP/1.1 +20 OK\r\n\r\n", .statusLine, "9112 4"),
  ("HTTP/1.1 099 OK\r\n\r\n", .statusCode, "9110 15"),
  ("HTTP/1.1 600 OK\r\n\r\n", .statusCode, "9110 15"),
  ("HTTP/1.1 200 OK\nX: 1\r\n\r\n", .bareLF, "9112 2.2"),
  ("HTTP/1.1 200\n\r\n", .bareLF, "9112 2.2"),
  ("HTTP/1.1 200 O\rK\r\n\r\n", .bareCR, "9112 2.2"),
  ("HTTP/1.1 200 O\u{0}K\r\n\r\n", .nul, "9112 4"),
  ("HTTP/1.1 200 O\u{1}K\r\n\r\n", .controlByte, "9112 4"),
  ("SSH-2.0-OpenSSH_9\r\n", .statusLine, "another protocol"),
  ("\r\nHTTP/1.1 200 OK\r\n\r\n", .statusLine, "9112 4: nothing before the status line"),
  ("HTTP/1.1 200 OK\r\n X: 1\r\n\r\n", .foldedLine, "9112 5.2"),
  ("HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n", .foldedLine, "9112 5.2"),
  ("HTTP/1.1 200 OK\r\nX : 1\r\n\r\n", .whitespaceBeforeColon, "9112 5.1"),
  ("HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", .bareLF, "9112 2.2: response splitting"),
  ("HTTP/1.1 200 OK\r\nX: a\u{0}\r\n\r\n", .nul, "9110 5.5"),
  ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", .duplicateContentLength, "9112 6.3"),
  ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", .contentLength, "9112 6.3"),
  ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", .contentLength, "9112 6.3"),
  (
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    .contentLengthWithTransferEncoding, "9112 6.3"
  ),
  ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", .unsupportedTransferCoding, "9112 6.1"),
  ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", .transferEncoding, "9112 6.1"),
  ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", .transferEncodingInHTTP10, "9112 6.1"),
  ("HTTP/1.1 100 X\r\nTransfer-Encoding: chunked\r\n\r\n", .transferEncoding, "9112 6.1"),
  ("HTTP/1.1 101 X\r\n\r\n", .upgradeMissing, "9110 15.2.2"),
  ("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", .upgradeMissing, "9110 7.8"),
  ("HTTP/1.1 101 X\r\nConnection: upgrade\r\n\r\n", .upgradeMissing, "9110 7.8"),
  ("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", .upgradeMissing, "9113 3.1: h2c"),
  ("HTTP/1.1 200 OK\r\nConnection: content-length\r\n\r\n", .connectionListsFraming, "9110 7.6.1"),
]

@Suite struct ResponseTests {
  @Test(arguments: validResponses.indices)
  func parsed(_ index: Int) {
    let (text, method, expected) = validResponses[index]
    #expect(parseResponse(text, method: method) == expected, "\(text.debugDescription)")
    let bytes = Array(text.utf8)
    let memory = GuardedMemory(capacity: bytes.count + 32)
    for filler: UInt8 in [0, 0x0d, 0x0a, 0x20, 0x3a, 0x61, 0xff] {
      #expect(parseResponse(bytes[...], memory, filler: filler, method: method) == expected)
      let more = bytes + Array("HTTP/1.1 200 OK\r\n\r\n".utf8)
      #expect(parseResponse(more[...], memory, filler: filler, method: method) == expected)
    }
  }

  @Test(arguments: validResponses.indices)
  func everyPrefixIsIncomplete(_ index: Int) {
    let (text, method, _) = validResponses[index]
    let bytes = Array(text.utf8)
    let memory = GuardedMemory(capacity: bytes.count)
    for count in 0..<bytes.count {
      for filler: UInt8 in [0, 0x0a, 0x0d, 0x3a, 0x61] {
        let response = parseResponse(bytes[..<count], memory, filler: filler, method: method)
        #expect(response.result == .incomplete, "\(text.prefix(count).debugDescription)")
      }
    }
  }

  @Test func refusedResponses() {
    for (text, error, section) in refused {
      #expect(parseResponse(text).result == .invalid(error), "RFC \(section): \(text.debugDescription)")
    }
  }

  @Test func limits() {
    var limits = HTTP1Limits()
    limits.maxHeadBytes = 40
    let head = "HTTP/1.1 200 OK\r\nX: \(String(repeating: "v", count: 16))\r\n\r\n"
    #expect(head.utf8.count == 40)
    #expect(parseResponse(head, limits: limits).result == .complete)
    #expect(
      parseResponse(head.replacing("X:", with: "XX:"), limits: limits).result == .invalid(.headTooLarge))
    let reason = "HTTP/1.1 200 \(String(repeating: "r", count: 27))"
    #expect(parseResponse(reason, limits: limits).result == .invalid(.headTooLarge))
    #expect(parseResponse(String(reason.dropLast()), limits: limits).result == .incomplete)
  }

  @Test func interim() {
    var head = ResponseHead()
    for (status, isInterim) in [
      (100, true), (101, false), (103, true), (199, true), (200, false), (99, false),
    ] {
      head.status = UInt16(status)
      #expect(head.isInterim == isInterim)
    }
  }
}
