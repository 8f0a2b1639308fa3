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
