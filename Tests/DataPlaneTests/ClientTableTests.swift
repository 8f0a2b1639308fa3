import SystemIO
import Testing

@testable import DataPlane

struct ClientTableTests {
  /// Against a dictionary, with few addresses so that buckets are shared and nodes come back.
  @Test(arguments: [1, 2, 3] as [UInt64])
  func countsAsADictionaryDoes(seed: UInt64) {
    var random = RandomSource(seed: seed)
    var table = ClientTable(capacity: 64, seed: seed)
    var counts: [String: Int] = [:]
    var held: [(Int32, String)] = []
    for _ in 0..<20_000 {
      if random.next() % 2 == 0 && held.count < 64 {
        let number = random.next() % 40
        let ip = number % 2 == 0 ? "192.0.2.\(number)" : "2001:db8:0:\(number)::\(random.next() % 999)"
        let key = number % 2 == 0 ? ip : "\(number)"
        let node = table.join(SocketAddress(ip: ip, port: 1)!, limit: 5)
        #expect((node == nil) == (counts[key, default: 0] == 5))
        guard let node else { continue }
        counts[key, default: 0] += 1
        held.append((node, key))
      } else if !held.isEmpty {
        let (node, key) = held.remove(at: Int(random.next() % UInt64(held.count)))
        table.leave(node)
        counts[key]! -= 1
      }
    }
  }

  @Test func nobodyIsCountedWhereNothingIsLimited() {
    var table = ClientTable(capacity: 0, seed: 1)
    #expect(table.join(SocketAddress(ip: "192.0.2.1", port: 1)!, limit: 1) == -1)
    var some = ClientTable(capacity: 4, seed: 1)
    #expect(some.join(SocketAddress(), limit: 1) == -1)
    table.leave(-1)
  }
}
