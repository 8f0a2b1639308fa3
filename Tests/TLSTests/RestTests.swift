import HTTPSemantics
import TLS
import Testing

/// In processes of their own: `TLSMemory.prepare` has to come before anything else uses the library.
struct RestTests {
  @Test func restingConnectionsGoOn() async {
    await #expect(processExitsWith: .success) {
      try #require(TLSMemory.prepare() && TLSMemory.prepare())
      try restAndGoOn(.tls12)
      try restAndGoOn(.tls13)
    }
  }

  @Test func busyConnectionsDoNotRest() async {
    await #expect(processExitsWith: .success) {
      try #require(TLSMemory.prepare())
      try stayAwakeWhileBusy()
    }
  }

  /// Connections of several threads take slots from one list, and give them back.
  @Test func threadsShareTheSlots() async {
    await #expect(processExitsWith: .success) {
      try #require(TLSMemory.prepare())
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<4 { group.addTask { for _ in 0..<3 { try restAndGoOn(.tls13) } } }
        try await group.waitForAll()
      }
    }
  }

  /// Too late: everything works, nothing rests.
  @Test func withoutSlotsConnectionsStayAwake() async {
    await #expect(processExitsWith: .success) {
      let (left, right) = try connected(.tls13)
      #expect(!TLSMemory.prepare())
      right.connection.rest()
      #expect(!right.connection.isResting)
      left.write([1])
      pump(left, right)
      #expect(right.plaintext == [1])
    }
  }
}

private func restAndGoOn(_ version: TLSVersion) throws {
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

private func stayAwakeWhileBusy() throws {
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
