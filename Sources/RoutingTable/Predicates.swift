import CRE2
import HTTPSemantics

// Whether an entry's predicates hold. Same SAFETY as the reader; views of the request are valid during the
// call.

extension RoutingImage {
  /// Everything that the path tree did not prove.
  func holds(_ number: Int, _ entry: EntryRecord, _ head: UnsafePointer<RequestHead>) -> Bool {
    let detail = record(.entryDetails, number, as: EntryDetail.self)
    if !(unsafe methodHolds(entry, detail, head)) { return false }
    if !(unsafe pathHolds(entry, detail, head.pointee.path)) { return false }
    var index = 0
    while index < Int(entry.predicateCount) {
      let place = Int(entry.firstPredicate) &+ index
      let predicate = record(.predicates, place, as: PredicateRecord.self)
      if !(unsafe holds(predicate, head)) { return false }
      index &+= 1
    }
    return true
  }

  func methodHolds(
    _ entry: EntryRecord, _ detail: EntryDetail, _ head: UnsafePointer<RequestHead>
  ) -> Bool {
    if entry.flags & EntryFlag.hasMethod == 0 { return true }
    return unsafe bytes(detail.methodToken).equals(head.pointee.methodBytes)
  }

  /// The part of the path's question that is left to the entry.
  func pathHolds(_ entry: EntryRecord, _ detail: EntryDetail, _ path: Bytes) -> Bool {
    if entry.pathKind == PathKind.regex { return matches(detail.pathRegex, path) }
    if entry.flags & EntryFlag.comparePath == 0 { return true }
    let wanted = bytes(detail.path)
    if path.count < wanted.count { return false }
    if !path.slice(0, wanted.count).equalsIgnoringCase(wanted) { return false }
    if path.count == wanted.count { return true }
    switch entry.pathKind {
    case PathKind.exact: return false
    case PathKind.segmentPrefix: return path[wanted.count] == UInt8(ascii: "/")
    default: return true
    }
  }

  func holds(_ predicate: PredicateRecord, _ head: UnsafePointer<RequestHead>) -> Bool {
    let verdict: Bool
    switch predicate.subject {
    case PredicateSubject.header:
      verdict = unsafe headerHolds(predicate, head)
    case PredicateSubject.queryParameter:
      verdict = unsafe queryHolds(predicate, head.pointee.query)
    default:
      let authority = unsafe head.pointee.authority
      verdict = holds(predicate, value: authority, isThere: !authority.isEmpty)
    }
    return verdict != (predicate.flags & PredicateFlag.invert != 0)
  }

  /// Without `invert`.
  private func holds(_ predicate: PredicateRecord, value: Bytes, isThere: Bool) -> Bool {
    switch predicate.test {
    case PredicateTest.present: return isThere
    case PredicateTest.absent: return !isThere
    default: break
    }
    if !isThere, predicate.flags & PredicateFlag.missingIsEmpty == 0 { return false }
    if predicate.test == PredicateTest.regex { return matches(predicate.regex, value) }
    let wanted = bytes(predicate.value)
    let isPrefix = predicate.test == PredicateTest.prefix
    if isPrefix ? value.count < wanted.count : value.count != wanted.count { return false }
    let part = value.slice(0, wanted.count)
    return predicate.flags & PredicateFlag.ignoreCase != 0
      ? part.equalsIgnoringCase(wanted) : part.equals(wanted)
  }

  @inline(__always)
  func matches(_ regex: UInt32, _ text: Bytes) -> Bool {
    let start = unsafe UnsafeRawPointer(text.start).assumingMemoryBound(to: CChar.self)
    return unsafe cre2_full_match(regexes[Int(regex)], start, text.count) == 1
  }

  // MARK: headers

  private func headerHolds(_ predicate: PredicateRecord, _ head: UnsafePointer<RequestHead>) -> Bool {
    let name = bytes(predicate.name)
    let fields = unsafe head.pointee.fields
    let first = index(of: name, in: fields, from: 0)
    if first < 0 { return holds(predicate, value: .empty, isThere: false) }
    if predicate.test == PredicateTest.present { return true }
    if predicate.test == PredicateTest.absent { return false }
    let second = index(of: name, in: fields, from: first &+ 1)
    if second < 0 { return holds(predicate, value: fields[first].valueBytes, isThere: true) }
    return joinedHolds(predicate, name: name, fields: fields, first: first)
  }

  /// Fields that are not forwarded count too: the client did send them. -1: none.
  @inline(__always)
  private func index(of name: Bytes, in fields: HeaderTable, from start: Int) -> Int {
    var index = start
    while index < fields.count {
      let field = fields[index]
      if Int(field.nameLength) == name.count, sameIgnoringCase(field.nameBytes, lowercase: name) {
        return index
      }
      index &+= 1
    }
    return -1
  }

  /// Several lines of one name: rare, so their joined value may be put together in memory of its own.
  private func joinedHolds(
    _ predicate: PredicateRecord, name: Bytes, fields: HeaderTable, first: Int
  ) -> Bool {
    var length = -1
    var line = first
    while line >= 0 {
      length &+= Int(fields[line].valueLength) &+ 1
      line = index(of: name, in: fields, from: line &+ 1)
    }
    return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: max(length, 1)) { room in
      var end = 0
      var line = first
      while line >= 0 {
        if line != first {
          unsafe room[end] = UInt8(ascii: ",")
          end &+= 1
        }
        let value = fields[line].valueBytes
        for index in 0..<value.count { unsafe room[end &+ index] = value.start[index] }
        end &+= value.count
        line = index(of: name, in: fields, from: line &+ 1)
      }
      guard let start = room.baseAddress else { return false }
      return unsafe holds(predicate, value: Bytes(start: start, count: end), isThere: true)
    }
  }

  // MARK: query parameters

  private func queryHolds(_ predicate: PredicateRecord, _ query: Bytes) -> Bool {
    let name = bytes(predicate.name)
    var parameters = QueryParameters(query)
    while parameters.next() {
      if !decodedEquals(parameters.name, name) { continue }
      if !isEncoded(parameters.value) {
        return holds(predicate, value: parameters.value, isThere: true)
      }
      let raw = parameters.value
      return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: raw.count) { room in
        guard let start = room.baseAddress else { return false }
        let end = unsafe decode(raw, into: start)
        return unsafe holds(predicate, value: Bytes(start: start, count: end), isThere: true)
      }
    }
    return holds(predicate, value: .empty, isThere: false)
  }
}

/// The raw parameters of a query, split at `&` and at each one's first `=`; empty ones are skipped.
struct QueryParameters {
  private let query: Bytes
  private var position = 0
  private(set) var name = Bytes.empty
  private(set) var value = Bytes.empty

  init(_ query: Bytes) {
    self.query = query
  }

  mutating func next() -> Bool {
    while position < query.count {
      let start = position
      var equals = -1
      // SAFETY: the position stays below the view's count.
      while position < query.count {
        let byte = unsafe query.start[position]
        if byte == UInt8(ascii: "&") { break }
        if equals < 0, byte == UInt8(ascii: "=") { equals = position }
        position &+= 1
      }
      let end = position
      position &+= 1
      if end == start { continue }
      name = query.slice(start, equals < 0 ? end : equals)
      value = equals < 0 ? .empty : query.slice(equals &+ 1, end)
      return true
    }
    return false
  }
}

@inline(__always)
func isEncoded(_ raw: Bytes) -> Bool {
  var index = 0
  while index < raw.count {
    let byte = unsafe raw.start[index]
    if byte == UInt8(ascii: "%") || byte == UInt8(ascii: "+") { return true }
    index &+= 1
  }
  return false
}

/// The byte that stands at `index` of a form-encoded text; moves `index` behind it.
@inline(__always)
private func nextDecoded(_ raw: Bytes, _ index: inout Int) -> UInt8 {
  let byte = unsafe raw.start[index]
  index &+= 1
  if byte == UInt8(ascii: "+") { return UInt8(ascii: " ") }
  if byte != UInt8(ascii: "%") || raw.count &- index < 2 { return byte }
  let high = unsafe hexValue(raw.start[index])
  let low = unsafe hexValue(raw.start[index &+ 1])
  if high < 0 || low < 0 { return byte }
  index &+= 2
  return UInt8(truncatingIfNeeded: high << 4 | low)
}

func decodedEquals(_ raw: Bytes, _ wanted: Bytes) -> Bool {
  if raw.count < wanted.count { return false }
  var index = 0
  var position = 0
  while index < raw.count {
    let byte = nextDecoded(raw, &index)
    if position == wanted.count { return false }
    if unsafe wanted.start[position] != byte { return false }
    position &+= 1
  }
  return position == wanted.count
}

/// `out` has room for as many bytes as `raw` has; the number of those written.
func decode(_ raw: Bytes, into out: UnsafeMutablePointer<UInt8>) -> Int {
  var index = 0
  var end = 0
  while index < raw.count {
    unsafe out[end] = nextDecoded(raw, &index)
    end &+= 1
  }
  return end
}

/// `known` is in lower case and as long as `text`.
@inline(__always)
func sameIgnoringCase(_ text: Bytes, lowercase known: Bytes) -> Bool {
  var index = 0
  while index < text.count {
    if unsafe lowercased(text.start[index]) != known.start[index] { return false }
    index &+= 1
  }
  return true
}
