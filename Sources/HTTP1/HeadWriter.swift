public import HTTPSemantics

/// Appends an HTTP/1.1 head to memory of known size.
///
/// Writes nothing beyond the capacity and nothing that would end a line early: `overflowed` and `isMalformed`
/// tell, once all is written, whether the result may be sent.
@safe
public struct HeadWriter {
  // INVARIANT: `output` has room for `capacity` bytes while the writer is in use; count <= capacity.
  @usableFromInline let output: UnsafeMutablePointer<UInt8>
  public let capacity: Int
  /// Bytes written so far.
  public private(set) var count = 0
  /// Something did not fit; the output is of no use.
  public private(set) var overflowed = false
  /// A name, value, target or method held a byte that must not stand there; the output must not be sent.
  public private(set) var isMalformed = false

  public init(_ output: UnsafeMutablePointer<UInt8>, capacity: Int) {
    unsafe self.output = output
    self.capacity = capacity
  }

  /// Whether what was written may be sent.
  public var isSound: Bool { !overflowed && !isMalformed }

  // MARK: Start lines

  public mutating func requestLine(method: Bytes, target: Bytes) {
    if !isToken(method) || target.isEmpty { isMalformed = true }
    append(method)
    append(0x20)
    let start = count
    append(target)
    checkVisible(from: start)
    append(" HTTP/1.1\r\n")
  }

  /// With `reason` empty the standard one is written.
  public mutating func statusLine(_ status: UInt16, reason: Bytes = .empty) {
    precondition(status >= 100 && status <= 999)
    append("HTTP/1.1 ")
    append(UInt8(0x30 + status / 100))
    append(UInt8(0x30 + status / 10 % 10))
    append(UInt8(0x30 + status % 10))
    append(0x20)
    if reason.isEmpty {
      append(Bytes(standardReason(status)))
    } else {
      value(reason)
    }
    append("\r\n")
  }

  // MARK: Fields

  /// All fields that are not dropped. Neighbours that lie in memory as whole HTTP/1 lines are copied as one
  /// run.
  public mutating func fields(_ table: HeaderTable) {
    var index = 0
    let mask = HeaderField.dropFlag | HeaderField.lineFlag
    while index < table.count {
      // SAFETY: the table's first `count` fields are initialised; the name and value of a field with the line
      // flag lie in one line that ends in CR LF.
      let field = unsafe table.base[index]
      index &+= 1
      if field.flags & mask == HeaderField.lineFlag {
        let start = unsafe field.name
        var end = unsafe lineEnd(field)
        while index < table.count {
          let next = unsafe table.base[index]
          guard unsafe next.flags & mask == HeaderField.lineFlag && next.name == end else { break }
          unsafe end = lineEnd(next)
          index &+= 1
        }
        unsafe append(Bytes(start: start, count: end - start))
      } else if !field.isDropped {
        self.field(field.nameBytes, field.valueBytes)
      }
    }
  }

  public mutating func field(_ name: StaticString, _ value: Bytes) {
    append(Bytes(name))
    append(": ")
    self.value(value)
    append("\r\n")
  }

  public mutating func field(_ name: Bytes, _ value: Bytes) {
    if !isToken(name) { isMalformed = true }
    append(name)
    append(": ")
    self.value(value)
    append("\r\n")
  }

  /// `length` in bytes, not negative.
  public mutating func contentLength(_ length: Int64) {
    precondition(length >= 0)
    append("content-length: ")
    number(UInt64(length))
    append("\r\n")
  }

  public mutating func transferEncodingChunked() { append("transfer-encoding: chunked\r\n") }

  public mutating func connectionClose() { append("connection: close\r\n") }

  public mutating func connectionKeepAlive() { append("connection: keep-alive\r\n") }

  /// "connection: upgrade" and the protocol, "websocket" for `Upgrade.webSocket`.
  public mutating func connectionUpgrade(_ name: Bytes) {
    append("connection: upgrade\r\n")
    field("upgrade", name)
  }

  /// The size line of the last chunk; trailers by `fields(_:)` and then `end()` follow.
  public mutating func lastChunk() { append("0\r\n") }

  /// The empty line.
  public mutating func end() { append("\r\n") }

  /// Bytes as they are: the caller answers for what they mean.
  public mutating func raw(_ bytes: Bytes) { append(bytes) }

  // MARK: Parts

  @inline(__always)
  private mutating func append(_ bytes: Bytes) {
    guard bytes.count <= capacity &- count else {
      overflowed = true
      return
    }
    // SAFETY: the room was just checked; input and output never overlap.
    unsafe (output + count).update(from: bytes.start, count: bytes.count)
    count &+= bytes.count
  }

  @inline(__always)
  private mutating func append(_ text: StaticString) { append(Bytes(text)) }

  @inline(__always)
  private mutating func append(_ byte: UInt8) {
    guard count < capacity else {
      overflowed = true
      return
    }
    // SAFETY: the room was just checked.
    unsafe output[count] = byte
    count &+= 1
  }

  private mutating func value(_ bytes: Bytes) {
    if !isFieldValue(bytes) { isMalformed = true }
    append(bytes)
  }

  private mutating func checkVisible(from start: Int) {
    var index = start
    while index < count {
      // SAFETY: the index is below the number of bytes written.
      let byte = unsafe output[index]
      if byte <= 0x20 || byte == 0x7f { isMalformed = true }
      index &+= 1
    }
  }

  private mutating func number(_ number: UInt64) {
    var divisor: UInt64 = 1
    while number / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      append(UInt8(0x30 + number / divisor % 10))
      divisor /= 10
    }
  }
}

/// The byte behind the CR LF of a field that is a whole line.
@inline(__always)
private func lineEnd(_ field: HeaderField) -> UnsafePointer<UInt8> {
  // SAFETY: with the line flag only whitespace lies between the value and the line's CR LF.
  var cursor = unsafe field.value + Int(field.valueLength)
  while unsafe cursor.pointee != carriageReturn { unsafe cursor += 1 }
  return unsafe cursor + 2
}
