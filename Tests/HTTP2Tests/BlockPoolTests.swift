import Testing

@testable import HTTP2

/// The library's small blocks: what is handed out is the caller's alone, whatever order they come back in.
struct BlockPoolTests {
  /// A block whose bytes say whose it is.
  @safe
  private struct Held {
    var block: UnsafeMutableRawPointer
    var count: Int
    var mark: UInt8

    init(_ block: UnsafeMutableRawPointer, _ count: Int, _ mark: UInt8) {
      unsafe self.block = unsafe block
      self.count = count
      self.mark = mark
      unsafe block.initializeMemory(as: UInt8.self, repeating: mark, count: count)
    }

    func isIntact(_ first: Int) -> Bool {
      unsafe UnsafeRawBufferPointer(start: block, count: first).allSatisfy { $0 == mark }
    }

    var isAligned: Bool { unsafe UInt(bitPattern: block) % 16 == 0 }
  }

  @Test func blocksDoNotOverlap() {
    var pool = BlockPool(mostBytes: 4096)
    var held: [Held] = []
    var state: UInt64 = 1
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    let sizes = [1, 63, 64, 65, 128, 200, 512, 1000, 1024, 1025, 5000]
    for step in 0..<20_000 {
      let choice = held.isEmpty ? 0 : held.count == 64 ? 2 : random(3)
      if choice == 0 {
        let count = sizes[random(sizes.count)]
        held.append(unsafe Held(pool.take(count)!, count, UInt8(truncatingIfNeeded: step)))
        #expect(held[held.count - 1].isAligned)
      } else if choice == 1 {
        let index = random(held.count)
        let wanted = 1 + random(3000)
        var moved = held[index]
        unsafe moved.block = pool.resize(moved.block, wanted)!
        #expect(moved.isAligned && moved.isIntact(min(moved.count, wanted)))
        held[index] = unsafe Held(moved.block, wanted, moved.mark)
      } else {
        let gone = held.remove(at: random(held.count))
        #expect(gone.isIntact(gone.count))
        unsafe pool.give(gone.block)
      }
    }
    for one in held { unsafe pool.give(one.block) }
    pool.destroy()
  }

  @Test func aBlockIsTakenAgain() {
    var pool = BlockPool(mostBytes: 256)
    var held: [Held] = []
    for mark: UInt8 in 0..<3 { held.append(unsafe Held(pool.take(100)!, 100, mark)) }
    for one in held { unsafe pool.give(one.block) }
    // Two blocks of 128 bytes are all that is kept, the last one in front.
    for (count, index) in [(128, 1), (65, 0)] {
      let again = unsafe pool.take(count)
      #expect(unsafe again == held[index].block)
    }
    for one in held[..<2] { unsafe pool.give(one.block) }
    pool.destroy()
  }
}
