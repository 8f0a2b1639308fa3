import HTTPSemantics
import TLS
import Testing

struct DataTests {
  private func pattern(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
  }

  @Test(arguments: [TLSVersion.tls12, .tls13], [777, 16_384, Int.max])
  func largeData(version: TLSVersion, piece: Int) throws {
    let (left, right) = try connected(version)
    let data = pattern(3_000_001)
    left.write(data)
    right.readSize = 1000
    pump(left, right, piece: piece)
    #expect(right.plaintext == data)
    right.write(data)
    pump(left, right, piece: piece)
    #expect(left.plaintext == data)
    #expect(left.connection.pendingOutput == 0)
  }

  /// Reading stops in the middle; the buffer goes away; later input comes behind what was kept.
  @Test func inputIsKeptForLater() throws {
    let (left, right) = try connected()
    let data = pattern(60_000)
    left.write(data)
    let wire = left.output()
    var seen: [UInt8] = []
    func readOnce() {
      var buffer = [UInt8](repeating: 0, count: 500)
      let result = unsafe buffer.withUnsafeMutableBufferPointer {
        unsafe right.connection.read(into: $0.baseAddress!, capacity: $0.count)
      }
      if case .bytes(let count) = result { seen += buffer[..<count] }
    }
    for part in [wire[..<20_000], wire[20_000..<20_001], wire[20_001...]] {
      var memory = Array(part)
      unsafe memory.withUnsafeMutableBufferPointer { buffer in
        unsafe right.connection.feed(UnsafePointer(buffer.baseAddress!), buffer.count)
        readOnce()
        right.connection.keepInput()
        for index in buffer.indices { unsafe buffer[index] = 0 }
      }
    }
    #expect(right.connection.hasInput && seen.count == 1500)
    right.readAll()
    #expect(seen + right.plaintext == data)
    #expect(!right.connection.hasInput)
  }

  @Test(arguments: [0, 100, 16_000, 100_000])
  func writeStraightIntoTheOutput(capacity: Int) throws {
    let (left, right) = try connected()
    let data = pattern(40_000)
    left.write([9, 9, 9])
    var out = [UInt8](repeating: 0, count: max(1, capacity))
    let count = unsafe out.withUnsafeMutableBufferPointer { memory in
      unsafe data.withUnsafeBufferPointer { bytes in
        unsafe left.connection.write(
          bytes.baseAddress!, bytes.count, into: memory.baseAddress!, capacity: capacity)
      }
    }
    #expect(capacity < 50_000 ? count == capacity : left.connection.pendingOutput == 0)
    right.feed(Array(out[..<count]) + left.output())
    #expect(right.plaintext == [9, 9, 9] + data)
  }

  @Test func garbageFails() throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    let server = try TLSServer(bindings: [TLSBinding(names: ["*"], certificate: leaf.certificate)])
    for (text, message) in [("GET / HTTP/1.1\r\n\r\n", "http request"), ("\u{0}\u{1}\u{2}garbage!", "")] {
      let end = try End(accept: server)
      end.feed(Array(text.utf8))
      #expect(end.failure?.kind == .handshake)
      #expect(message.isEmpty || end.failure?.description.contains(message) == true)
      #expect(!end.write([1]))
      end.connection.shutdown()
    }
  }

  @Test func damagedRecordsFail() throws {
    let (left, right) = try connected()
    left.write(Array("hello".utf8))
    var wire = left.output()
    wire[wire.count - 1] ^= 1
    right.feed(wire)
    #expect(right.failure?.kind == .record && right.plaintext.isEmpty)
    #expect(right.connection.pendingOutput > 0, "an alert")
    pump(left, right)
    #expect(left.failure?.kind == .record)
  }

  /// Any damage to a handshake ends in a failure or a wait for more, never in a trap.
  @Test func damagedHandshakes() throws {
    let leaf = try TestCertificate("leaf", names: ["DNS:a"])
    defer { leaf.destroy() }
    let server = try TLSServer(bindings: [TLSBinding(names: ["a"], certificate: leaf.certificate)])
    let client = try TLSClient(verification: .off, alpn: [.h2])
    let left = try End(connect: client, name: "a")
    left.feed([])
    let hello = left.output()
    var state: UInt64 = 7
    for _ in 0..<500 {
      var bytes = hello
      for _ in 0..<3 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        bytes[Int(state >> 33) % bytes.count] = UInt8(truncatingIfNeeded: state >> 24)
      }
      let end = try End(accept: server)
      end.feed(bytes, piece: 1 + Int(state >> 40) % 400)
      #expect(!end.connection.isHandshakeDone)
    }
  }
}
