import Glibc

/// The place of one element of a `Table`: `slot[].field` reads or writes it. It stays valid as long as the
/// worker; whether the element is still the same one is for the caller to know (generation).
@safe
struct Slot<Element> {
  // INVARIANT: points into a table that lives as long as the worker.
  let place: UnsafeMutablePointer<Element>

  @inline(__always)
  init(_ place: UnsafeMutablePointer<Element>) { unsafe self.place = place }

  @inline(__always)
  subscript() -> Element {
    // SAFETY: by the invariant; only the worker's own thread comes here.
    unsafeAddress { unsafe UnsafePointer(place) }
    nonmutating unsafeMutableAddress { unsafe place }
  }
}

/// A fixed list of numbers with room for all that can ever be in it.
struct IndexList: ~Copyable {
  private let table: Table<Int32>
  private(set) var count: Int32 = 0

  init(capacity: Int) { table = Table(capacity: capacity) }

  var isEmpty: Bool { count == 0 }

  @inline(__always)
  subscript(index: Int32) -> Int32 { table[index][] }

  @inline(__always)
  mutating func append(_ number: Int32) {
    table[count][] = number
    count += 1
  }

  mutating func removeAll() { count = 0 }
}

/// Numbers below a capacity in the order in which they were put in, each at most once.
struct IndexQueue: ~Copyable {
  private let capacity: Int32
  private let ring: Table<Int32>
  private let contained: Table<Bool>
  private var first: Int32 = 0
  private(set) var count: Int32 = 0

  init(capacity: Int) {
    self.capacity = Int32(capacity)
    ring = Table(capacity: capacity)
    contained = Table(capacity: capacity)
  }

  var isEmpty: Bool { count == 0 }

  func contains(_ number: Int32) -> Bool { contained[number][] }

  /// What is there already keeps its place.
  mutating func append(_ number: Int32) {
    if contained[number][] { return }
    contained[number][] = true
    let place = first &+ count
    ring[place < capacity ? place : place &- capacity][] = number
    count &+= 1
  }

  /// The queue must not be empty.
  mutating func popFirst() -> Int32 {
    precondition(count > 0)
    let number = ring[first][]
    contained[number][] = false
    first = first &+ 1 == capacity ? 0 : first &+ 1
    count &-= 1
    return number
  }
}

/// Memory for bytes that a worker owns for its whole life.
@safe
struct Scratch: ~Copyable {
  // INVARIANT: `base` points to `capacity` + `ByteStore.slack` bytes until deinit.
  let base: UnsafeMutablePointer<UInt8>
  let capacity: Int

  init(capacity: Int) {
    unsafe base = .allocate(capacity: capacity + ByteStore.slack)
    unsafe base.initialize(repeating: 0, count: capacity + ByteStore.slack)
    self.capacity = capacity
  }

  deinit { unsafe base.deallocate() }
}

/// A fixed number of slots in zeroed, lazily committed memory; addresses never move.
@safe
struct Table<Element>: ~Copyable {
  // INVARIANT: `base` points to `capacity` initialised elements until deinit.
  let base: UnsafeMutablePointer<Element>
  let capacity: Int

  /// Untouched pages cost nothing, so that a large capacity is only address space. A slot holds zero bits until
  /// it is first written.
  init(capacity: Int) {
    self.capacity = capacity
    let size = max(1, capacity * MemoryLayout<Element>.stride)
    let memory = unsafe mmap(
      nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let memory = unsafe memory, unsafe memory != MAP_FAILED else {
      preconditionFailure("out of address space for a worker's tables")
    }
    unsafe base = memory.bindMemory(to: Element.self, capacity: capacity)
  }

  @inline(__always)
  subscript(index: Int32) -> Slot<Element> {
    precondition(index >= 0 && Int(index) < capacity)
    // SAFETY: the index was just checked against the invariant's capacity.
    return unsafe Slot(base + Int(index))
  }

  deinit { unsafe munmap(base, max(1, capacity * MemoryLayout<Element>.stride)) }
}
