import Glibc
import HTTPSemantics
import Testing

@testable import RoutingTable

/// Damaged images: the verifier refuses them, or they are safe to read.
@Suite struct MutationTests {
  /// Memory that ends where a page without any right begins: a read beyond the image ends the test.
  @safe private struct GuardedMemory: ~Copyable {
    // INVARIANT: `capacity` bytes are mapped at `base`, owned by this value, between two guard pages.
    let page = 4096
    let base: UnsafeMutableRawPointer
    let capacity: Int

    init(atLeast count: Int) {
      capacity = (count + page - 1) / page * page
      let flags = MAP_PRIVATE | MAP_ANONYMOUS
      let mapped = unsafe mmap(nil, capacity + 2 * page, PROT_NONE, flags, -1, 0)
      guard let mapped = unsafe mapped else { preconditionFailure("mmap") }
      unsafe base = mapped + page
      precondition(unsafe mprotect(base, capacity, PROT_READ | PROT_WRITE) == 0)
    }

    deinit { unsafe munmap(base - page, capacity + 2 * page) }

    /// The image so that its last byte is the last one that may be read.
    func place(_ image: [UInt8]) -> UnsafeRawBufferPointer {
      let start = unsafe base + (capacity - image.count)
      unsafe image.withUnsafeBytes { raw in
        if let source = raw.baseAddress { unsafe start.copyMemory(from: source, byteCount: raw.count) }
      }
      return unsafe UnsafeRawBufferPointer(start: start, count: image.count)
    }
  }

  /// How many of each table: fewer for sanitizers, which make a step ten times as long.
  private static let copies = unsafe getenv("SLUICE_SANITIZED") == nil ? 1000 : 300

  @Test(arguments: [11, 12, 13, 14] as [UInt64])
  func damagedImagesAreRefusedOrSafe(seed: UInt64) throws {
    var tables = RandomTables(seed: seed)
    var accepted = 0
    var refused: [ImageError.Reason: Int] = [:]
    for _ in 0..<10 {
      let source = tables.table(entries: 6)
      let original = try compile(source)
      let requests = (0..<6).map { _ in tables.request(for: source, socket: 0) }
      let memory = GuardedMemory(atLeast: original.count)
      for _ in 0..<Self.copies {
        let image = mutated(original, &tables.random)
        let place = unsafe memory.place(image)
        do throws(ImageError) {
          try unsafe verify(place)
          accepted += 1
          try unsafe read(place, requests)
        } catch {
          refused[error.reason, default: 0] += 1
        }
      }
    }
    // Damage to texts and numbers that nothing depends on is accepted; both ways must have been walked.
    #expect(accepted > Self.copies / 2, "seed \(seed)")
    for reason in [
      ImageError.Reason.wrongChecksum, .wrongLength, .badSection, .badReference, .badOrder, .badValue,
    ] {
      #expect(refused[reason, default: 0] > 0, "seed \(seed): nothing was refused for \(reason)")
    }
  }

  @Test func everyTruncationIsRefused() throws {
    var tables = RandomTables(seed: 21)
    let original = try compile(tables.table(entries: 4))
    for length in 0..<original.count {
      var cut = Array(original[..<length])
      if length >= ImageFormat.headerLength, length % 8 == 0 {
        write(UInt64(length), at: 16, to: &cut)
        writeChecksum(into: &cut)
      }
      let memory = GuardedMemory(atLeast: max(length, 1))
      let place = unsafe memory.place(cut)
      #expect(throws: ImageError.self) { try unsafe verify(place) }
    }
  }

  private func write(_ number: UInt64, at offset: Int, to image: inout [UInt8]) {
    for index in 0..<8 { image[offset + index] = UInt8(truncatingIfNeeded: number >> (8 * UInt64(index))) }
  }

  private func mutated(_ original: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
    var image = original
    for _ in 0..<(1 + random.below(2)) {
      let place = random.below(image.count)
      let word = place / 4 * 4
      switch random.below(8) {
      case 0: image[place] ^= 1 << UInt8(random.below(8))
      case 1: image[place] = UInt8(truncatingIfNeeded: random.next())
      case 2...4:
        let numbers: [UInt32] = [0, 1, 2, 0x7FFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFE, UInt32(random.below(300))]
        let number = random.pick(numbers)
        for index in 0..<4 { image[word + index] = UInt8(truncatingIfNeeded: number >> (8 * UInt32(index))) }
      case 5: image[word] &+= random.once(in: 2) ? 1 : 255
      case 6:
        let other = random.below(image.count) / 4 * 4
        for index in 0..<4 { image.swapAt(word + index, other + index) }
      default:
        let length = random.below(image.count / 8 + 1) * 8
        if random.once(in: 10), length >= ImageFormat.headerLength {
          image = Array(image[..<length])
          write(UInt64(length), at: 16, to: &image)
        } else {
          image[place] = image[random.below(image.count)]
        }
      }
    }
    if !random.once(in: 50) { writeChecksum(into: &image) }
    return image
  }

  /// Everything that a worker or the control thread reads from an image.
  private func read(_ place: UnsafeRawBufferPointer, _ requests: [TestRequest]) throws(ImageError) {
    guard let base = place.baseAddress else { return }
    let regexes = try unsafe LoadedRegexes(verified: base, count: place.count)
    let image = unsafe RoutingImage(verified: base, count: place.count, regexes: regexes.pointers)
    let room = UnsafeMutablePointer<UInt8>.allocate(capacity: 256)
    defer { unsafe room.deallocate() }
    for socket in 0..<image.socketCount {
      let view = image.socket(socket)
      _ = (view.address.count, view.kind)
      for binding in 0..<view.tlsBindingCount {
        let tls = view.tlsBinding(binding)
        _ = image.certificate(tls.certificate).chainPEM.count
        for name in 0..<tls.nameCount { touch(tls.name(name)) }
      }
      for transport in [ExplainConnection.Transport.tls, .tcp, .udp] {
        _ = image.explain(socket: socket, ExplainConnection(transport, serverName: "www.example.com"))
      }
      for request in requests {
        unsafe request.withHead { head in
          let answer = unsafe image.lookup(socket: socket, head: head)
          _ = unsafe image.explain(socket: socket, head: head)
          if answer.rule < 0 { return }
          let rule = image.rule(answer.rule)
          _ = unsafe image.rewrittenTarget(answer, rule, head, into: room, capacity: 256)
          _ = unsafe image.redirectLocation(answer, rule, head, into: room, capacity: 256)
        }
      }
    }
    for index in 0..<image.ruleCount { touch(image.rule(Int32(index)), image) }
    for index in 0..<image.backendCount {
      let backend = image.backend(index)
      touch(backend.id)
      for endpoint in 0..<backend.endpointCount { touch(backend.endpoint(endpoint).address) }
    }
    for index in 0..<image.certificateCount { touch(image.certificate(index).keyPEM) }
  }

  private func touch(_ rule: RuleView, _ image: RoutingImage) {
    touch(rule.provenance)
    for random in [0, 1 << 31, UInt32.max] {
      let index = rule.pick(random: random)
      if index >= 0 {
        let weighted = rule.weightedBackend(Int(index))
        if weighted.backend >= 0 { touch(image.backend(Int(weighted.backend)).id) }
        touch(weighted.requestHeaders)
      }
    }
    touch(rule.requestHeaders)
    touch(rule.responseHeaders)
  }

  private func touch(_ operations: HeaderOperations) {
    for index in 0..<operations.count {
      touch(operations[index].name)
      touch(operations[index].value)
    }
  }

  /// Reads every byte; there are too many of them for an expectation each.
  private func touch(_ bytes: Bytes) {
    var sum = 0
    for index in 0..<bytes.count { sum &+= Int(bytes[index]) }
    precondition(sum >= 0)
  }
}
