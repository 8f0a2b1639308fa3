import CLinux
import Glibc
import Synchronization

/// What the workers spend together: client connections, and memory against `max-memory`. Touched when a connection
/// comes or goes and a few times a second, never by a request.
final class ProcessBudget: Sendable {
  private let connections = Atomic<Int>(0)
  /// Bytes that the process has to itself, at the last look.
  private let memory = Atomic<Int>(0)
  private let lookedAt = Atomic<UInt64>(0)
  private let trimmedAt = Atomic<UInt64>(0)
  private let isOver = Atomic<Bool>(false)
  /// /proc/self/statm, kept open; negative: it cannot be read, and the limit never acts.
  private let statm: Int32
  private let pageBytes: Int
  /// `malloc_trim(3)`, where the C library has it.
  private let trim: (@convention(c) (Int) -> Int32)?
  /// Bytes; 0: no limit.
  let maxMemory: Int

  /// Milliseconds between two looks at the process's memory.
  private static var interval: UInt64 { 100 }
  /// And between two calls for the allocator to give back what it has: some milliseconds of a worker's time.
  private static var trimInterval: UInt64 { 500 }

  init(maxMemory: Int) {
    statm = unsafe clinux_open_read("/proc/self/statm")
    pageBytes = Int(sysconf(Int32(_SC_PAGESIZE)))
    // SAFETY: the symbol of this name is that function.
    trim = unsafe dlsym(nil, "malloc_trim").map {
      unsafe unsafeBitCast($0, to: (@convention(c) (Int) -> Int32).self)
    }
    self.maxMemory = maxMemory
  }

  deinit { if statm >= 0 { close(statm) } }

  var openConnections: Int { connections.load(ordering: .relaxed) }
  func connectionOpened() { connections.add(1, ordering: .relaxed) }
  func connectionClosed() { connections.subtract(1, ordering: .relaxed) }

  /// Whether the process holds more than it may; read anew by one of the workers every 100 ms. What was refused is
  /// taken again below nine tenths of the limit, so that it does not go back and forth with each connection.
  func isOverMemory(nowMilliseconds now: UInt64) -> Bool {
    guard maxMemory > 0, statm >= 0 else { return false }
    let last = lookedAt.load(ordering: .relaxed)
    guard now >= last &+ Self.interval,
      lookedAt.compareExchange(expected: last, desired: now, ordering: .relaxed).exchanged
    else { return isOver.load(ordering: .relaxed) }
    var held = ownBytes()
    let was = isOver.load(ordering: .relaxed)
    let bound = was ? maxMemory / 10 * 9 : maxMemory
    if held > bound && now >= trimmedAt.load(ordering: .relaxed) &+ Self.trimInterval {
      // The allocator keeps what was freed; a burst that is over must not count for ever.
      trimmedAt.store(now, ordering: .relaxed)
      _ = trim?(0)
      held = ownBytes()
    }
    let over = held > bound
    memory.store(held, ordering: .relaxed)
    if over != was { isOver.store(over, ordering: .relaxed) }
    return over
  }

  /// The second number of statm is resident pages, the third those of them that are files (images, programs).
  private func ownBytes() -> Int {
    unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 128) { text in
      // SAFETY: reads at most what the buffer holds.
      let count = unsafe pread(statm, text.baseAddress, text.count, 0)
      var numbers = (0, 0, 0)
      var field = 0
      var index = 0
      while index < count, field < 3 {
        let byte = unsafe text[index]
        index += 1
        if byte == 0x20 {
          field += 1
          continue
        }
        let digit = Int(byte &- 0x30)
        switch field {
        case 0: break
        case 1: numbers.1 = numbers.1 &* 10 &+ digit
        default: numbers.2 = numbers.2 &* 10 &+ digit
        }
      }
      return max(0, numbers.1 &- numbers.2) &* pageBytes
    }
  }

  /// Bytes that the system lets the process have: the machine's memory, or its control group's (version 2) if that
  /// is less.
  static func systemBytes() -> Int {
    let machine = Int(sysconf(Int32(_SC_PHYS_PAGES))) * Int(sysconf(Int32(_SC_PAGESIZE)))
    // In a container this is the container's own group; elsewhere the root has no such file.
    let group = number(in: "/sys/fs/cgroup/memory.max") ?? .max
    return min(machine, group)
  }

  private static func number(in path: String) -> Int? {
    let descriptor = unsafe clinux_open_read(path)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 64)
    let count = unsafe read(descriptor, &bytes, bytes.count)
    guard count > 0 else { return nil }
    return Int(String(decoding: bytes[..<count], as: UTF8.self).prefix { $0.isNumber })
  }

  /// `max-memory` as it acts here: never more than three quarters of what the system gives.
  static func effectiveMaxMemory(_ limit: Int) -> Int {
    limit == 0 ? 0 : min(limit, systemBytes() / 4 * 3)
  }
}
