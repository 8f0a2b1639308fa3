import Glibc

/// Memory of the kind that a data plane reads its image from: a shared mapping of a memfd, in pages of 4 KiB.
@safe
struct Mapping: ~Copyable {
  // INVARIANT: `count` bytes are mapped at `base`, owned by this value.
  let base: UnsafeMutableRawPointer
  let count: Int

  init(count: Int) {
    let descriptor = unsafe memfd_create("lookup", 0)
    precondition(descriptor >= 0 && ftruncate(descriptor, count) == 0, "no memory of \(count) bytes")
    let mapped = unsafe mmap(nil, count, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    close(descriptor)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else { preconditionFailure("mmap") }
    unsafe base = mapped
    self.count = count
  }

  init(_ bytes: [UInt8]) {
    self.init(count: bytes.count)
    unsafe bytes.withUnsafeBytes { raw in
      if let source = raw.baseAddress { unsafe base.copyMemory(from: source, byteCount: raw.count) }
    }
  }

  deinit { unsafe munmap(base, count) }
}

/// Nanoseconds.
func now() -> UInt64 {
  var time = timespec()
  unsafe clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// SplitMix64.
struct Random {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func below(_ limit: Int) -> Int { Int(((next() >> 32) &* UInt64(limit)) >> 32) }
}

/// What one read costs that has to wait for the one before, over so many bytes in random order, a read a cache line.
func chase(bytes: Int) -> Double {
  let line = 64
  let mapping = Mapping(count: bytes)
  let lines = bytes / line
  var order = (0..<lines).map { $0 }
  var random = Random(7)
  for index in stride(from: lines - 1, to: 0, by: -1) { order.swapAt(index, random.below(index + 1)) }
  for (place, at) in order.enumerated() {
    // SAFETY: both are numbers of lines within the mapping.
    unsafe mapping.base.storeBytes(of: order[(place + 1) % lines] * line, toByteOffset: at * line, as: Int.self)
  }
  let steps = max(lines, 200_000)
  var offset = 0
  var best = Double.infinity
  for _ in 0..<3 {
    let start = now()
    for _ in 0..<steps { unsafe offset = mapping.base.load(fromByteOffset: offset, as: Int.self) }
    best = min(best, Double(now() - start) / Double(steps))
  }
  precondition(offset >= 0)
  return best
}
