import HTTPSemantics

/// A batch of request heads in little memory, as a worker has them when it has just parsed them: in the first cache.
@safe
struct Requests: ~Copyable {
  static let count = 32
  private static let room = 128
  private static let fieldCount = 7

  // INVARIANT: `count` heads; `count` times `room` bytes for their hosts and paths; two tables of `fieldCount` fields,
  // the first with and the second without the header that some routes ask for. Owned by this value.
  let heads: UnsafeMutablePointer<RequestHead>
  private let text: UnsafeMutablePointer<UInt8>
  private let fields: UnsafeMutablePointer<HeaderField>
  private let tables: [HeaderTable]

  init() {
    unsafe heads = .allocate(capacity: Self.count)
    unsafe heads.initialize(repeating: RequestHead(), count: Self.count)
    unsafe text = .allocate(capacity: Self.count * Self.room)
    unsafe text.initialize(repeating: 0, count: Self.count * Self.room)
    unsafe fields = .allocate(capacity: Self.fieldCount * 2)
    let common: [(StaticString, StaticString)] = [
      ("host", "-"), ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"), ("accept", "*/*"),
      ("accept-encoding", "gzip, deflate, br"), ("authorization", "Bearer 0123456789abcdef"),
      ("x-request-id", "7b1f0d5e9a3c"),
    ]
    var with = unsafe HeaderTable(base: fields, capacity: Self.fieldCount)
    var without = unsafe HeaderTable(base: fields + Self.fieldCount, capacity: Self.fieldCount)
    for (name, value) in common {
      _ = with.append(Self.field(name, value))
      _ = without.append(Self.field(name, value))
    }
    _ = with.append(Self.field("x-version", "canary"))
    tables = [with, without]
  }

  deinit {
    unsafe heads.deallocate()
    unsafe text.deallocate()
    unsafe fields.deallocate()
  }

  private static func field(_ name: StaticString, _ value: StaticString) -> HeaderField {
    let known = unsafe KnownHeader.classify(name.utf8Start, name.utf8CodeUnitCount)
    return HeaderField(name: Bytes(name), value: Bytes(value), known: known)
  }

  /// Makes head `index` the request that this route wins.
  func prepare(_ index: Int, _ names: Shape.Names) {
    precondition(index >= 0 && index < Self.count)
    let start = unsafe text + index * Self.room
    var end = 0
    func add(_ part: String) {
      var part = part
      part.withUTF8 { bytes in
        precondition(end + bytes.count <= Self.room)
        // SAFETY: there is room, as was just checked. The formatter would take away the space behind `unsafe`.
        // swift-format-ignore
        for unsafe byte in unsafe bytes {
          unsafe start[end] = byte
          end += 1
        }
      }
    }
    if names.isWildcard { add("www.") }
    add(names.host)
    let hostEnd = end
    add(names.path)
    add(names.rest)
    var head = RequestHead(fields: tables[names.asksHeader ? 0 : 1])
    head.method = .get
    head.methodBytes = Bytes("GET")
    // SAFETY: the parts of the text that were just written.
    head.setTarget(unsafe Bytes(start: start + hostEnd, count: end - hostEnd))
    precondition(head.setAuthority(unsafe Bytes(start: start, count: hostEnd)))
    unsafe heads[index] = head
  }
}
