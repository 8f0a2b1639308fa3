import HTTPSemantics
import TLS
import Testing

struct RestTests {
  @Test(arguments: [TLSVersion.tls12, .tls13])
  func restingConnectionsGoOn(version: TLSVersion) throws {
    let pairs = try (0..<50).map { _ in try connected(version) }
    for (left, right) in pairs {
      left.connection.rest()
      right.connection.rest()
      #expect(left.connection.isResting && right.connection.isResting)
    }
    for round in 0..<5 {
      for (index, (left, right)) in pairs.enumerated().shuffled() {
        let text = Array("secret of \(index) in \(round)".utf8)
        left.plaintext = []
        right.plaintext = []
        left.write(text)
        pump(left, right)
        #expect(right.plaintext == text)
        right.write(text + text)
        pump(left, right)
        #expect(left.plaintext == text + text && left.failure == nil && right.failure == nil)
        if round % 2 == index % 2 { left.connection.rest() }
        right.connection.rest()
        #expect(right.connection.isResting)
        #expect(right.connection.isHandshakeDone && right.connection.isResting)
      }
    }
    for (left, right) in pairs {
      #expect(String(decoding: right.connection.serverName) == String(decoding: left.connection.serverName))
      left.connection.shutdown()
      pump(left, right)
      #expect(right.isClosed)
      right.connection.rest()
    }
  }

  @Test func busyConnectionsDoNotRest() throws {
    let (left, right) = try connected(.tls13)
    left.write([1, 2, 3])
    left.connection.rest()
    #expect(!left.connection.isResting)
    let wire = left.output()
    unsafe wire.withUnsafeBufferPointer { unsafe right.connection.feed($0.baseAddress!, $0.count) }
    right.connection.rest()
    #expect(!right.connection.isResting)
    right.readAll()
    #expect(right.plaintext == [1, 2, 3])
    right.connection.rest()
    #expect(right.connection.isResting)
  }
}
