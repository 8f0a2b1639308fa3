import IdleMemory
import Testing

@Suite("idle slots") struct IdleSlotsTests {
  static let slotBytes = 28 * 1024

  /// Words of chance, runs of zero between them, from a seed.
  static func words(_ random: inout SystemRandomNumberGenerator, _ count: Int, density: Int) -> [UInt64] {
    var words = [UInt64](repeating: 0, count: count)
    var index = 0
    while index < count {
      let run = Int.random(in: 1...40, using: &random)
      let isFilled = Int.random(in: 0..<100, using: &random) < density
      for place in index..<min(count, index + run) where isFilled { words[place] = random.next() }
      index += run
    }
    return words
  }

  @Test func everyByteComesBack() throws {
    let slots = try #require(IdleSlots.make(slotBytes: Self.slotBytes, count: 64))
    defer { slots.destroy() }
    var random = SystemRandomNumberGenerator()
    var held: [(slot: UnsafeMutableRawPointer, words: [UInt64], image: IdleImage?)] = unsafe []
    for index in 0..<64 {
      let slot = try unsafe #require(slots.take())
      let count = index == 0 ? 0 : Int.random(in: 0...Self.slotBytes / 8, using: &random)
      let words = Self.words(&random, count, density: index % 40)
      unsafe slot.copyMemory(from: words, byteCount: count * 8)
      unsafe held.append((slot, words, slots.putAway(slot, used: count * 8)))
    }
    #expect(unsafe slots.take() == nil)
    #expect(unsafe held.contains { unsafe $0.image != nil })
    for index in unsafe held.indices.shuffled() {
      let entry = unsafe held[index]
      if let image = unsafe entry.image { unsafe slots.bringBack(entry.slot, image) }
      let words = unsafe entry.slot.assumingMemoryBound(to: UInt64.self)
      for place in unsafe entry.words.indices {
        #expect(unsafe words[place] == entry.words[place], "word \(place)")
      }
      unsafe slots.give(entry.slot)
    }
  }

  /// A full slot would take more room put away than it does now.
  @Test func fullSlotsStay() throws {
    let slots = try #require(IdleSlots.make(slotBytes: Self.slotBytes, count: 1))
    defer { slots.destroy() }
    let slot = try unsafe #require(slots.take())
    unsafe _ = slot.initializeMemory(as: UInt8.self, repeating: 7, count: Self.slotBytes)
    #expect(unsafe slots.putAway(slot, used: Self.slotBytes) == nil)
    #expect(unsafe slot.load(fromByteOffset: Self.slotBytes - 1, as: UInt8.self) == 7)
  }

  @Test func imagesAreSmall() throws {
    let slots = try #require(IdleSlots.make(slotBytes: Self.slotBytes, count: 1))
    defer { slots.destroy() }
    let slot = try unsafe #require(slots.take())
    for index in 0..<10 { unsafe slot.storeBytes(of: 1, toByteOffset: index * 2048 + 8, as: UInt64.self) }
    let image = try unsafe #require(slots.putAway(slot, used: 25_001))
    #expect(image.count == 8 + 10 * 16)
    unsafe slots.bringBack(slot, image)
    #expect(unsafe slot.load(fromByteOffset: 9 * 2048 + 8, as: UInt64.self) == 1)
    #expect(unsafe slot.load(fromByteOffset: 9 * 2048 + 16, as: UInt64.self) == 0)
  }

  @Test func slotsAreUsedAgainAndNeverTwiceAtOnce() throws {
    let slots = try #require(IdleSlots.make(slotBytes: 100, count: 300))
    defer { slots.destroy() }
    var taken: Set<UInt> = []
    for round in 0..<3 {
      for _ in 0..<(100 + round * 100) {
        guard let slot = unsafe slots.take() else { continue }
        let address = UInt(bitPattern: slot)
        #expect(slots.range.contains(address) && taken.insert(address).inserted)
        #expect((address - slots.range.lowerBound) % UInt(slots.slotBytes) == 0)
      }
      for address in taken.shuffled().prefix(150) {
        unsafe slots.give(UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped)
        taken.remove(address)
      }
    }
  }

  @Test func offsetsStayInTheSpareRoom() throws {
    let slots = try #require(IdleSlots.make(slotBytes: 8192, count: 100))
    defer { slots.destroy() }
    var seen: Set<Int> = []
    for _ in 0..<100 {
      let slot = try unsafe #require(slots.take())
      let offset = unsafe slots.offset(in: slot, spare: 568)
      #expect(offset % 64 == 0 && offset <= 568)
      #expect(unsafe slots.offset(in: slot, spare: 63) == 0 && slots.offset(in: slot, spare: -1) == 0)
      #expect(unsafe slots.slot(holding: slot + offset) == slot && slots.slot(holding: slot + 8191) == slot)
      seen.insert(offset)
    }
    #expect(seen.count == 9)
  }
}
