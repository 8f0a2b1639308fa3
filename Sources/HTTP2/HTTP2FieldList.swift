internal import CNghttp2
public import HTTPSemantics

/// The fields of one head that is about to be submitted, in memory of the inbox: one list at a time.
///
/// Views are kept, not copied, until the submission. Names may have any case. Left out: dropped fields,
/// connection-specific ones (RFC 9113 section 8.2.2), and te unless it says "trailers". Host is left out when
/// the submission has an authority.
@safe
public struct HTTP2FieldList {
  // INVARIANT: `state` is the inbox's. Its array has room for `pairCapacity` entries: the first `pseudoSlots`
  // are kept free for pseudo-headers, the next `count` are set.
  let state: UnsafeMutablePointer<InboxState>
  public private(set) var count = 0
  /// Index of a Host field, -1 without one.
  var hostIndex = -1

  init(state: UnsafeMutablePointer<InboxState>) { unsafe self.state = state }

  static var pseudoSlots: Int { 5 }

  /// One field, as it is: for fields of our own making.
  public mutating func append(name: Bytes, value: Bytes, neverIndexed: Bool = false) {
    add(name, value, UInt8(neverIndexed ? NGHTTP2_NV_FLAG_NO_INDEX.rawValue : NGHTTP2_NV_FLAG_NONE.rawValue))
  }

  public mutating func append(name: StaticString, value: Bytes) { append(name: Bytes(name), value: value) }

  /// One field of a message that is forwarded.
  @inline(__always)
  public mutating func append(_ field: HeaderField) {
    if field.isDropped { return }
    switch field.known {
    case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade, .http2Settings: return
    case .te: if !field.valueBytes.equalsIgnoringCase("trailers") { return }
    case .host: hostIndex = count
    default: break
    }
    let hidden = field.flags & HeaderField.neverIndexedFlag != 0
    add(
      field.nameBytes, field.valueBytes,
      UInt8(hidden ? NGHTTP2_NV_FLAG_NO_INDEX.rawValue : NGHTTP2_NV_FLAG_NONE.rawValue))
  }

  /// All fields of a message that is forwarded.
  public mutating func append(_ table: HeaderTable) {
    var index = 0
    while index < table.count {
      append(table[index])
      index &+= 1
    }
  }

  @inline(__always)
  private mutating func add(_ name: Bytes, _ value: Bytes, _ flags: UInt8) {
    let index = Self.pseudoSlots &+ count
    if unsafe index == state.pointee.pairCapacity { grow() }
    // SAFETY: the index is below the capacity. The library copies name and value during the submission and
    // writes through neither pointer.
    unsafe state.pointee.pairs[index] = pair(name, value, flags)
    count &+= 1
  }

  private func grow() {
    let old = unsafe state.pointee.pairCapacity
    let grown = UnsafeMutablePointer<nghttp2_nv>.allocate(capacity: old * 2)
    // SAFETY: entries are trivial; the unset pseudo slots are copied as the bytes that they are.
    unsafe memcpy(grown, state.pointee.pairs, old * MemoryLayout<nghttp2_nv>.stride)
    unsafe state.pointee.pairs.deallocate()
    unsafe state.pointee.pairs = grown
    unsafe state.pointee.pairCapacity = old * 2
  }

  /// Puts the pseudo-headers in front and returns where the array begins and how long it is.
  func finish(_ pseudo: borrowing PseudoFields, dropHost: Bool) -> (UnsafeMutablePointer<nghttp2_nv>, Int) {
    let pairs = unsafe state.pointee.pairs
    var fields = count
    if dropHost && hostIndex >= 0 {
      let place = Self.pseudoSlots + hostIndex
      let rest = fields - hostIndex - 1
      // SAFETY: both ranges lie inside the `count` entries that are set.
      unsafe memmove(pairs + place, pairs + place + 1, rest * MemoryLayout<nghttp2_nv>.stride)
      fields -= 1
    }
    let start = Self.pseudoSlots - pseudo.count
    if pseudo.count > 0 { unsafe pairs[start] = pair(pseudo.first.0, pseudo.first.1, 0) }
    if pseudo.count > 1 { unsafe pairs[start + 1] = pair(pseudo.second.0, pseudo.second.1, 0) }
    if pseudo.count > 2 { unsafe pairs[start + 2] = pair(pseudo.third.0, pseudo.third.1, 0) }
    if pseudo.count > 3 { unsafe pairs[start + 3] = pair(pseudo.fourth.0, pseudo.fourth.1, 0) }
    if pseudo.count > 4 { unsafe pairs[start + 4] = pair(pseudo.fifth.0, pseudo.fifth.1, 0) }
    return unsafe (pairs + start, pseudo.count + fields)
  }

  @inline(__always)
  private func pair(_ name: Bytes, _ value: Bytes, _ flags: UInt8) -> nghttp2_nv {
    unsafe nghttp2_nv(
      name: UnsafeMutablePointer(mutating: name.start), value: UnsafeMutablePointer(mutating: value.start),
      namelen: name.count, valuelen: value.count, flags: flags)
  }
}

/// Up to five pseudo-headers in the order in which they are sent.
struct PseudoFields {
  var count = 0
  var first = (Bytes.empty, Bytes.empty)
  var second = (Bytes.empty, Bytes.empty)
  var third = (Bytes.empty, Bytes.empty)
  var fourth = (Bytes.empty, Bytes.empty)
  var fifth = (Bytes.empty, Bytes.empty)

  mutating func append(_ name: StaticString, _ value: Bytes) {
    switch count {
    case 0: first = (Bytes(name), value)
    case 1: second = (Bytes(name), value)
    case 2: third = (Bytes(name), value)
    case 3: fourth = (Bytes(name), value)
    default:
      precondition(count == 4)
      fifth = (Bytes(name), value)
    }
    count += 1
  }
}
