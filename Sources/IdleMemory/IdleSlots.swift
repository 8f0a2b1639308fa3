internal import CLinux

/// Memory for what waits most of its life: slots of whole pages, each at an address of its own, whose contents
/// can be put away and brought back to the same address.
///
/// What is put away shrinks to the words that are not zero, and its pages go back to the system. Nothing is
/// shared between slots, and nothing has to be known about what lies in one: every byte of it comes back, so
/// that pointers into it and inside it stay good. It must only not be touched meanwhile.
///
/// A trivial handle. `take` and `give` are for one thread at a time, and nothing else reads what they write: the rest
/// concerns one slot and may run beside them.
@safe
public struct IdleSlots {
  // INVARIANT: `count` slots of `size` bytes from `base` on; they and `list` are valid from `make` until `destroy`,
  // which comes when no slot is taken any more.
  private let base: UnsafeMutableRawPointer
  private let size: Int
  private let count: Int
  private let list: UnsafeMutablePointer<SlotList>

  private init(base: UnsafeMutableRawPointer, size: Int, count: Int) {
    unsafe self.base = base
    self.size = size
    self.count = count
    unsafe list = .allocate(capacity: 1)
    unsafe list.initialize(to: SlotList(free: UnsafeMutablePointer<FreeSlot>.allocate(capacity: count)))
  }

  /// Reserves addresses for `count` slots; memory is only what is touched. Nil where that is refused, or where
  /// pages are so large that nothing would be won.
  public static func make(slotBytes: Int, count: Int) -> IdleSlots? {
    let page = Int(getpagesize())
    guard page <= 16 * 1024 else { return nil }
    let size = (slotBytes + page - 1) / page * page
    let flags = Int32(MAP_PRIVATE) | Int32(MAP_ANONYMOUS) | Int32(MAP_NORESERVE)
    // SAFETY: a new mapping aliases nothing.
    let base = unsafe mmap(nil, size * count, PROT_READ | PROT_WRITE, flags, -1, 0)
    guard let base = unsafe base, UInt(bitPattern: base) != UInt.max else { return nil }
    // A huge page under many slots could not be given back for one of them.
    unsafe _ = madvise(base, size * count, Int32(MADV_NOHUGEPAGE))
    return unsafe IdleSlots(base: base, size: size, count: count)
  }

  public func destroy() {
    unsafe _ = munmap(base, size * count)
    unsafe list.pointee.free.deallocate()
    unsafe list.deallocate()
  }

  /// Bytes of one slot.
  public var slotBytes: Int { size }

  /// The first address and the one behind the last.
  public var range: Range<UInt> {
    let start = unsafe UInt(bitPattern: base)
    return start..<start + UInt(size * count)
  }

  /// Where in a slot to begin when `spare` bytes of it are not needed: another cache line from slot to slot. From
  /// the start of their pages all would compete for the same lines of the caches.
  public func offset(in slot: UnsafeMutableRawPointer, spare: Int) -> Int {
    let index = unsafe (slot - base) / size
    return index % (max(0, spare) / 64 + 1) * 64
  }

  /// The slot that an address inside one belongs to.
  public func slot(holding memory: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
    let distance = unsafe memory - base
    return unsafe memory - distance % size
  }

  /// A slot with anything in it; nil when all are taken.
  public func take() -> UnsafeMutableRawPointer? {
    // SAFETY: the list holds `freeCount` indices below `used`, each once; indices from `used` on are new.
    if unsafe list.pointee.freeCount > 0 {
      unsafe list.pointee.freeCount -= 1
      let slot = unsafe list.pointee.free[list.pointee.freeCount]
      if slot.isWarm { unsafe list.pointee.warmCount -= 1 }
      return unsafe base + slot.index * size
    }
    guard unsafe list.pointee.used < count else { return nil }
    unsafe list.pointee.used += 1
    return unsafe base + (list.pointee.used - 1) * size
  }

  /// Takes a slot back that `take` gave and that is not put away.
  public func give(_ slot: UnsafeMutableRawPointer) {
    let isWarm = unsafe list.pointee.warmCount < SlotList.maxWarm
    if isWarm {
      unsafe list.pointee.warmCount += 1
    } else {
      unsafe _ = madvise(slot, size, MADV_DONTNEED)
    }
    let index = unsafe (slot - base) / size
    // SAFETY: a slot is free at most once, so that there is room for all.
    unsafe list.pointee.free[list.pointee.freeCount] = FreeSlot(index: index, isWarm: isWarm)
    unsafe list.pointee.freeCount += 1
  }

  /// Puts the first `used` bytes of a slot away; what lies behind them is lost. Until `bringBack` the slot must
  /// not be touched. Nil when there is nothing to be won: everything is then as it was.
  public func putAway(_ slot: UnsafeMutableRawPointer, used: Int) -> IdleImage? {
    precondition(used <= slotBytes)
    let words = (used + 7) / 8
    // SAFETY: slots are made of whole pages; the image gets as many words as were counted.
    let source = unsafe UnsafePointer(slot.assumingMemoryBound(to: UInt64.self))
    let size = unsafe pack(source, words, nil)
    guard size * 16 <= slotBytes else { return nil }
    let image = unsafe IdleImage(words: UnsafeMutablePointer<UInt64>.allocate(capacity: size))
    unsafe image.words.initialize(to: UInt64(size))
    unsafe _ = pack(source, words, image.words)
    guard unsafe madvise(slot, slotBytes, MADV_DONTNEED) == 0 else {
      image.destroy()
      return nil
    }
    return image
  }

  /// Fills a slot with what was put away; the image is gone with it.
  public func bringBack(_ slot: UnsafeMutableRawPointer, _ image: IdleImage) {
    // SAFETY: the image was made from this slot by `pack`, whose offsets stay inside it; what it leaves out was
    // zero, and is zero because the system gives back no other pages.
    unsafe unpack(UnsafePointer(image.words), slot.assumingMemoryBound(to: UInt64.self))
    image.destroy()
  }
}

/// What a slot held while its pages are away. Trivial; `bringBack` ends it.
@safe
public struct IdleImage {
  // INVARIANT: owned; the first word is the number of words, itself counted.
  let words: UnsafeMutablePointer<UInt64>

  /// Bytes that are kept.
  public var count: Int { unsafe Int(words[0]) * 8 }

  func destroy() {
    // There may be keys in it.
    unsafe explicit_bzero(words, count)
    unsafe words.deallocate()
  }
}

private struct FreeSlot {
  var index: Int
  /// Its pages have not been given back.
  var isWarm: Bool
}

@safe
private struct SlotList {
  /// Slots from here on were never taken.
  var used = 0
  // INVARIANT: room for every slot; the last `freeCount` given back, of which `warmCount` still have their pages.
  let free: UnsafeMutablePointer<FreeSlot>
  var freeCount = 0
  var warmCount = 0

  /// Slots whose pages are kept for the next that takes one, so that busy times need no system call.
  static var maxWarm: Int { 64 }

  init(free: UnsafeMutablePointer<FreeSlot>) { unsafe self.free = free }
}

/// Writes runs of words that are not zero behind the first word of `image`, each with a header: how many zero
/// words come before it (low half), how many words it has (high half). Returns the words of the whole image;
/// without an image it only counts.
private func pack(_ source: UnsafePointer<UInt64>, _ count: Int, _ image: UnsafeMutablePointer<UInt64>?) -> Int {
  var size = 1
  var position = 0
  var index = 0
  // SAFETY: `source` has `count` words; `image`, if there is one, has as many as the same call without counted.
  while true {
    while index < count, unsafe source[index] == 0 { index += 1 }
    if index == count { return size }
    let start = index
    // A lone zero takes no more room in a run than the header of the next one would.
    while index < count, unsafe source[index] != 0 || (index + 1 < count && source[index + 1] != 0) { index += 1 }
    if let image = unsafe image {
      unsafe image[size] = UInt64(start - position) | UInt64(index - start) << 32
      unsafe (image + size + 1).update(from: source + start, count: index - start)
    }
    size += 1 + index - start
    position = index
  }
}

private func unpack(_ image: UnsafePointer<UInt64>, _ target: UnsafeMutablePointer<UInt64>) {
  let size = unsafe Int(image[0])
  var index = 1
  var position = 0
  while index < size {
    let header = unsafe image[index]
    let count = Int(header >> 32)
    position += Int(header & 0xffff_ffff)
    unsafe (target + position).update(from: image + index + 1, count: count)
    position += count
    index += 1 + count
  }
}
