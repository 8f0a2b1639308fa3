import SystemIO
import Testing

@testable import DataPlane

/// The table of UDP sessions against a dictionary.
@Suite struct DatagramSessionsTests {
  private func key(_ number: UInt32) -> DatagramKey {
    DatagramKey(
      listener: Int32(number % 3), peer: SocketAddress(ipv4: 0x0A00_0000 | number >> 4, port: UInt16(number & 15)),
      local: LocalAddress())
  }

  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func agreesWithADictionary(seed: UInt64) {
    var random = Seeded(state: seed)
    var table = DatagramSessions(seed: random.next())
    var model: [UInt32: Int32] = [:]
    for step in 0..<4_000 {
      let number = UInt32(random.next() % 300)
      if let known = model[number] {
        #expect(table.find(key(number)) == known)
        if random.next() % 2 == 0 {
          table.remove(key(number))
          model[number] = nil
        }
      } else {
        #expect(table.find(key(number)) == -1)
        // What is not there is not taken away from others.
        table.remove(key(number))
        table.insert(key(number), Int32(step))
        model[number] = Int32(step)
      }
      #expect(table.count == model.count)
    }
    for number in 0..<300 as Range<UInt32> { #expect(table.find(key(number)) == model[number] ?? -1) }
  }

  @Test func everyPartOfAKeyCounts() {
    var table = DatagramSessions(seed: 7)
    let first = DatagramKey(
      listener: 1, peer: SocketAddress(ipv4: 0x7F00_0001, port: 53), local: LocalAddress())
    table.insert(first, 5)
    var other = first
    other.listener = 2
    #expect(table.find(other) == -1)
    other = first
    other.peer.port = 54
    #expect(table.find(other) == -1)
    other = first
    other.peer.family = 10
    #expect(table.find(other) == -1)
    #expect(table.find(first) == 5)
  }

  private struct Seeded {
    var state: UInt64

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }
}
