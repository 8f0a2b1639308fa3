internal import CLinux
internal import COpenSSL
internal import IdleMemory

/// The library's memory. Its record of a connection (7.6 KB in OpenSSL 3.0, more than half of what an idle
/// connection takes, nearly all of it for the handshake) lies in a slot that can be put away; everything else in
/// the heap, where it would lie without us.
///
/// Only the record may rest, because only the record is touched by nobody else: what it points to is counted and
/// shared (contexts, certificates, keys, fetched algorithms), and the library keeps no list of connections.
public enum TLSMemory {
  /// Gives the library memory in slots: once in the life of a process, before anything else uses the library and
  /// before there are other threads. False when it is too late or refused; connections then never rest.
  @discardableResult
  public static func prepare() -> Bool {
    if unsafe recordBytes >= 0 { return true }
    guard unsafe CRYPTO_set_mem_functions(allocate, reallocate, release) == 1 else { return false }
    let size = measure()
    guard size > 0, let made = IdleSlots.make(slotBytes: size, count: slotCount) else { return false }
    guard unsafe pthread_mutex_init(&lock, nil) == 0 else { return false }
    unsafe slots = made
    unsafe slotsStart = made.range.lowerBound
    unsafe slotsCount = UInt(made.range.count)
    unsafe recordBytes = size
    return true
  }

  /// Addresses that are reserved: 512 MB of them; further connections stay awake.
  private static let slotCount = 65_536

  /// How much the library allocates for a connection's record; 0 when it does not begin with the record.
  private static func measure() -> Int {
    guard let context = unsafe SSL_CTX_new(TLS_method()) else { return 0 }
    defer { unsafe SSL_CTX_free(context) }
    unsafe firstBytes = 0
    unsafe first = nil
    unsafe isMeasuring = true
    let made = unsafe SSL_new(context)
    unsafe isMeasuring = false
    defer { unsafe SSL_free(made) }
    return unsafe made != nil && UnsafeMutableRawPointer(made) == first ? firstBytes : 0
  }

  /// Puts the record of a connection away: nil when it does not lie in a slot.
  static func putAway(_ record: OpaquePointer) -> IdleImage? {
    let memory = unsafe UnsafeMutableRawPointer(record)
    guard let slots = unsafe slots, unsafe isSlot(memory) else { return nil }
    let slot = unsafe slots.slot(holding: memory)
    return unsafe slots.putAway(slot, used: memory - slot + recordBytes)
  }

  static func bringBack(_ record: OpaquePointer, _ image: IdleImage) {
    guard let slots = unsafe slots else { return }
    unsafe slots.bringBack(slots.slot(holding: UnsafeMutableRawPointer(record)), image)
  }
}

// SAFETY of the rest: these are written by `prepare` before there is a second thread, and only read after it.
// The list of free slots is guarded by `lock`; a slot belongs to whom the library gave it.
nonisolated(unsafe) private var slots: IdleSlots?
nonisolated(unsafe) private var slotsStart: UInt = 0
nonisolated(unsafe) private var slotsCount: UInt = 0
nonisolated(unsafe) private var recordBytes = -1
nonisolated(unsafe) private var lock = unsafe pthread_mutex_t()
nonisolated(unsafe) private var isMeasuring = false
nonisolated(unsafe) private var first: UnsafeMutableRawPointer?
nonisolated(unsafe) private var firstBytes = 0

@inline(__always)
private func isSlot(_ memory: UnsafeMutableRawPointer) -> Bool {
  unsafe UInt(bitPattern: memory) &- slotsStart < slotsCount
}

/// As `CRYPTO_malloc` does it: nothing for nothing.
private func allocate(_ count: Int, _: UnsafePointer<CChar>?, _: Int32) -> UnsafeMutableRawPointer? {
  if count == 0 { return nil }
  if unsafe count == recordBytes, let slot = unsafe takeSlot() { return unsafe slot }
  let memory = unsafe malloc(count)
  if unsafe isMeasuring && first == nil {
    unsafe first = memory
    unsafe firstBytes = count
  }
  return unsafe memory
}

private func release(_ memory: UnsafeMutableRawPointer?, _: UnsafePointer<CChar>?, _: Int32) {
  guard let memory = unsafe memory else { return }
  if unsafe isSlot(memory) { unsafe giveSlot(memory) } else { unsafe free(memory) }
}

private func reallocate(
  _ memory: UnsafeMutableRawPointer?, _ count: Int, _ file: UnsafePointer<CChar>?, _ line: Int32
) -> UnsafeMutableRawPointer? {
  guard let memory = unsafe memory else { return unsafe allocate(count, file, line) }
  if count == 0 {
    unsafe release(memory, file, line)
    return nil
  }
  guard unsafe isSlot(memory) else { return unsafe realloc(memory, count) }
  // Nothing of a record's size is known to grow.
  guard let moved = unsafe malloc(count) else { return nil }
  unsafe memcpy(moved, memory, min(count, recordBytes))
  unsafe giveSlot(memory)
  return unsafe moved
}

private func takeSlot() -> UnsafeMutableRawPointer? {
  unsafe pthread_mutex_lock(&lock)
  defer { unsafe pthread_mutex_unlock(&lock) }
  guard let slots = unsafe slots, let slot = unsafe slots.take() else { return nil }
  return unsafe slot + slots.offset(in: slot, spare: slots.slotBytes - recordBytes)
}

private func giveSlot(_ memory: UnsafeMutableRawPointer) {
  unsafe pthread_mutex_lock(&lock)
  defer { unsafe pthread_mutex_unlock(&lock) }
  guard let slots = unsafe slots else { return }
  unsafe slots.give(slots.slot(holding: memory))
}
