/// Sessions to be resumed, by endpoint: a few each, the newest is taken first and once only, because a ticket of
/// TLS 1.3 that is used twice lets others see that two connections belong together (RFC 8446 appendix C.4).
///
/// Used by one thread. What is not taken is destroyed with the store.
@safe
public struct SessionStore: ~Copyable {
  private struct Slot {
    var count: Int32 = 0
    /// Where the next one goes.
    var position: Int32 = 0
  }

  // INVARIANT: `capacity` slots and `capacity` × `perEndpoint` places; of each endpoint the `count` places before
  // `position`, wrapping around, hold a session that is ours.
  private var slots: UnsafeMutablePointer<Slot>
  private var sessions: UnsafeMutablePointer<TLSSession?>
  private var capacity = 0
  private let perEndpoint: Int
  /// Kept for all endpoints together.
  public private(set) var count = 0

  /// - Parameter perEndpoint: most sessions kept for one endpoint; one more takes the place of the oldest. 0: none
  ///   is kept.
  public init(perEndpoint: Int) {
    precondition(perEndpoint >= 0)
    self.perEndpoint = perEndpoint
    unsafe slots = .allocate(capacity: 0)
    unsafe sessions = .allocate(capacity: 0)
  }

  deinit {
    for endpoint in 0..<capacity {
      while let session = unsafe Self.pop(slots + endpoint, sessions + endpoint * perEndpoint, perEndpoint) {
        session.destroy()
      }
    }
    unsafe slots.deallocate()
    unsafe sessions.deallocate()
  }

  /// Makes room for endpoints below this number.
  public mutating func reserve(endpoints count: Int) {
    guard count > capacity else { return }
    let larger = max(count, capacity * 2)
    let newSlots = UnsafeMutablePointer<Slot>.allocate(capacity: larger)
    let newSessions = UnsafeMutablePointer<TLSSession?>.allocate(capacity: larger * perEndpoint)
    // SAFETY: `larger` is greater than `capacity`; both types are trivial, so that the old blocks only go.
    unsafe newSlots.initialize(from: slots, count: capacity)
    unsafe (newSlots + capacity).initialize(repeating: Slot(), count: larger - capacity)
    unsafe newSessions.initialize(from: sessions, count: capacity * perEndpoint)
    unsafe (newSessions + capacity * perEndpoint)
      .initialize(repeating: nil, count: (larger - capacity) * perEndpoint)
    unsafe slots.deallocate()
    unsafe sessions.deallocate()
    unsafe slots = newSlots
    unsafe sessions = newSessions
    capacity = larger
  }

  /// Keeps a session, which is the store's from now on.
  public mutating func put(_ session: TLSSession, endpoint: Int32) {
    guard perEndpoint > 0, endpoint >= 0, Int(endpoint) < capacity else {
      session.destroy()
      return
    }
    // SAFETY: the endpoint was checked, positions are below `perEndpoint`.
    let slot = unsafe slots + Int(endpoint)
    let place = unsafe sessions + Int(endpoint) * perEndpoint + Int(slot.pointee.position)
    unsafe place.pointee?.destroy()
    unsafe place.pointee = session
    unsafe slot.pointee.position = (slot.pointee.position + 1) % Int32(perEndpoint)
    if unsafe slot.pointee.count < Int32(perEndpoint) {
      unsafe slot.pointee.count += 1
      count += 1
    }
  }

  /// The newest session of the endpoint, which is the caller's from now on; nil: there is none.
  public mutating func take(endpoint: Int32) -> TLSSession? {
    guard endpoint >= 0, Int(endpoint) < capacity, perEndpoint > 0 else { return nil }
    let session = unsafe Self.pop(slots + Int(endpoint), sessions + Int(endpoint) * perEndpoint, perEndpoint)
    if session != nil { count -= 1 }
    return session
  }

  /// The endpoint is gone, its number may mean another one soon.
  public mutating func removeAll(endpoint: Int32) {
    while let session = take(endpoint: endpoint) { session.destroy() }
  }

  public func count(endpoint: Int32) -> Int {
    endpoint >= 0 && Int(endpoint) < capacity ? Int(unsafe slots[Int(endpoint)].count) : 0
  }

  private static func pop(
    _ slot: UnsafeMutablePointer<Slot>, _ places: UnsafeMutablePointer<TLSSession?>, _ perEndpoint: Int
  ) -> TLSSession? {
    guard unsafe slot.pointee.count > 0 else { return nil }
    let position = unsafe (Int(slot.pointee.position) + perEndpoint - 1) % perEndpoint
    unsafe slot.pointee.position = Int32(position)
    unsafe slot.pointee.count -= 1
    let session = unsafe places[position]
    unsafe places[position] = nil
    return session
  }
}
