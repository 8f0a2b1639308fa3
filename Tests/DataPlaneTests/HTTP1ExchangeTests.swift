import RoutingTable
import Testing

@testable import DataPlane

struct HTTP1ExchangeTests {
  @Test func requestAndResponsePassWithTheProxysFields() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    client.send("GET /a?b=c HTTP/1.1\r\nHost: x.test\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-Keep: 2\r\n\r\n")
    let server = try backend.accept()
    let request = server.receive(until: "\r\n\r\n")
    #expect(request.hasPrefix("GET /a?b=c HTTP/1.1\r\n"))
    #expect(request.contains("Host: x.test\r\n"))
    #expect(request.contains("X-Keep: 2\r\n"))
    #expect(!request.contains("X-Hop"))
    #expect(request.contains("x-forwarded-proto: http\r\n"))
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Answer: yes\r\n\r\nhello")
    let response = client.receive(until: "hello")
    #expect(response == "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Answer: yes\r\n\r\nhello")
    // The same two connections carry the next exchange.
    client.send("POST /p HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    let second = server.receive(until: "0\r\n\r\n")
    #expect(second.contains("transfer-encoding: chunked\r\n"))
    #expect(second.hasSuffix("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
    server.send("HTTP/1.1 204 No Content\r\n\r\n")
    #expect(client.receive(until: "\r\n\r\n").hasPrefix("HTTP/1.1 204"))
  }

  @Test func pipelinedRequestsAreAnsweredInOrder() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    let server = try backend.accept()
    #expect(server.receive(until: "\r\n\r\n").hasPrefix("GET /1 "))
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    #expect(server.receive(until: "\r\n\r\n").hasPrefix("GET /2 "))
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo")
    let all = client.receiveAll()
    #expect(all.contains("2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK"))
    #expect(all.hasSuffix("two"))
  }

  @Test func aDeadBackendIs503AndAMalformedOne502() throws {
    let backend = try TestBackend()
    let port = backend.port
    let fleet = try TestFleet(.forwarding(to: port))
    let client = try fleet.connect()
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    let server = try backend.accept()
    _ = server.receive(until: "\r\n\r\n")
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx")
    #expect(client.receive(until: "\r\n\r\n").hasPrefix("HTTP/1.1 502 "))
    let dead = try TestFleet(.forwarding(to: 1))
    let second = try dead.connect()
    second.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    #expect(second.receive(until: "\r\n\r\n").hasPrefix("HTTP/1.1 503 "))
  }

  @Test func aMalformedRequestIsRefusedAndTheConnectionEnds() throws {
    let fleet = try TestFleet(.forwarding(to: 1))
    let client = try fleet.connect()
    client.send("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
    let answer = client.receiveAll()
    #expect(answer.hasPrefix("HTTP/1.1 400 "))
    #expect(answer.contains("connection: close"))
  }

  @Test func aWebSocketBecomesATunnelWithHalfClose() throws {
    let backend = try TestBackend()
    let fleet = try TestFleet(.forwarding(to: backend.port))
    let client = try fleet.connect()
    client.send(
      "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n")
    let server = try backend.accept()
    let request = server.receive(until: "\r\n\r\n")
    #expect(request.lowercased().contains("upgrade: websocket\r\n"))
    server.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nearly")
    let response = client.receive(until: "early")
    #expect(response.hasPrefix("HTTP/1.1 101 "))
    #expect(response.hasSuffix("early"))
    client.send("up")
    #expect(server.receive(until: "up") == "up")
    client.endSending()
    #expect(server.receiveAll().isEmpty)
    server.send("last words")
    server.endSending()
    #expect(client.receiveAll() == "last words")
  }
}
