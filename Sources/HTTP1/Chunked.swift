internal import CLinux
public import HTTPSemantics

/// One step of a chunked body. `consumed` is how many bytes of the input the step is done with, data
/// included.
public enum ChunkStep: Equatable, Sendable {
  /// `count` bytes of body lie at `offset` of the input.
  case data(offset: Int, count: Int, consumed: Int)
  /// Call again with more bytes. What was not consumed must be the start of the next input: that is only ever
  /// the trailer section, which has to be whole (at most `maxTrailerBytes`) before it is taken.
  case needMore(consumed: Int)
  /// The body is over. The last `trailers` bytes of those consumed are the trailer section with its empty
  /// line, for `parseTrailers`; 0 when it holds no field.
  case end(consumed: Int, trailers: Int)
  case invalid(HTTP1Error)
}

/// Takes a chunked body apart (RFC 9112 section 7.1). Trivial; kept in the connection.
///
/// The size is 1 to 16 hexadecimal digits, with no whitespace around it. Extensions are skipped, but a
/// control byte in them (CR, LF or NUL above all) is refused. After `.end` and `.invalid` the decoder stays
/// there.
public struct ChunkedDecoder: Sendable {
  private enum State: UInt8 {
    case size, chunkExtension, sizeLF, data, dataCR, dataLF, trailers, ended, failed
  }

  private var state = State.size
  private var digits: UInt8 = 0
  private var failure = HTTP1Error.chunkSize
  /// Bytes of the current chunk still to come; below 2^60.
  private var remaining = 0
  private var lineExtensionBytes = 0
  private var extensionBytes = 0
  private var dataBytes = 0

  public init() {}

  public var isEnded: Bool { state == .ended }

  /// Takes the next step on the `n` bytes at `p`; 16 bytes beyond them must be readable.
  public mutating func next(_ p: UnsafePointer<UInt8>, _ n: Int, limits: HTTP1Limits) -> ChunkStep {
    var position = 0
    while position < n {
      // SAFETY: the position is below `n`.
      let byte = unsafe p[position]
      switch state {
      case .size:
        if let error = takeSize(byte) { return fail(error) }
        position &+= 1
      case .chunkExtension:
        let mask = unsafe clinux_control_mask16(p + position)
        let plain = min(mask == 0 ? 16 : mask.trailingZeroBitCount, n &- position)
        if plain > 0 {
          position &+= plain
          lineExtensionBytes &+= plain
          if lineExtensionBytes > limits.maxChunkExtensionBytes { return fail(.chunkExtensionTooLong) }
          continue
        }
        if let error = endExtension(byte, limits) { return fail(error) }
        position &+= 1
      case .sizeLF:
        guard byte == lineFeed else { return fail(.bareCR) }
        position &+= 1
        state = remaining == 0 ? .trailers : .data
      case .data:
        let count = min(remaining, n &- position)
        remaining &-= count
        dataBytes &+= count
        if remaining == 0 { state = .dataCR }
        return .data(offset: position, count: count, consumed: position &+ count)
      case .dataCR:
        guard byte == carriageReturn else { return fail(.chunkEnd) }
        position &+= 1
        state = .dataLF
      case .dataLF:
        guard byte == lineFeed else { return fail(.chunkEnd) }
        position &+= 1
        digits = 0
        state = .size
      case .trailers: return unsafe takeTrailers(p, position, n, limits)
      case .ended: return .end(consumed: 0, trailers: 0)
      case .failed: return .invalid(failure)
      }
    }
    return .needMore(consumed: position)
  }

  private mutating func fail(_ error: HTTP1Error) -> ChunkStep {
    state = .failed
    failure = error
    return .invalid(error)
  }

  @inline(__always)
  private mutating func takeSize(_ byte: UInt8) -> HTTP1Error? {
    let digit = hexValue(byte)
    if digit >= 0 {
      guard digits < 16 && remaining < 1 << 56 else { return .chunkSizeOverflow }
      remaining = remaining << 4 | digit
      digits &+= 1
      return nil
    }
    guard digits > 0 else { return refusal(of: byte, otherwise: .chunkSize) }
    if byte == carriageReturn {
      state = .sizeLF
      return nil
    }
    guard byte == 0x3b else { return refusal(of: byte, otherwise: .chunkSize) }
    lineExtensionBytes = 1
    state = .chunkExtension
    return nil
  }

  /// - Parameter byte: a control byte.
  private mutating func endExtension(_ byte: UInt8, _ limits: HTTP1Limits) -> HTTP1Error? {
    guard byte == carriageReturn else { return refusal(of: byte, otherwise: .chunkExtension) }
    extensionBytes &+= lineExtensionBytes
    guard extensionBytes <= limits.maxChunkExtensionBytes &* 16 &+ dataBytes else { return .chunkExtensionTooLong }
    state = .sizeLF
    return nil
  }

  private mutating func takeTrailers(
    _ p: UnsafePointer<UInt8>, _ position: Int, _ n: Int, _ limits: HTTP1Limits
  ) -> ChunkStep {
    // SAFETY: `position` and `n` bound the input; scans read up to 16 bytes beyond it.
    let start = unsafe p + position
    let end = unsafe p + n
    var line = unsafe FieldLine(at: start)
    while true {
      switch unsafe scanFieldLine(line.next, end, &line) {
      case .field: continue
      case .invalid(let error): return fail(error)
      case .incomplete:
        if n - position >= limits.maxTrailerBytes { return fail(.trailerTooLarge) }
        return .needMore(consumed: position)
      case .empty:
        let length = unsafe line.next - start
        if length > limits.maxTrailerBytes { return fail(.trailerTooLarge) }
        state = .ended
        return .end(consumed: position + length, trailers: length == 2 ? 0 : length)
      }
    }
  }
}

/// Parses a whole trailer section, its empty line included, into `table` from index 0; nil when all is well.
///
/// Host, Content-Length and Transfer-Encoding are refused, under names that only look like theirs too. Other
/// fields that may be no trailers (`KnownHeader.mayBeTrailer`) are flagged to be dropped. Everything else is kept.
public func parseTrailers(
  _ p: UnsafePointer<UInt8>, _ n: Int, limits: HTTP1Limits, into table: inout HeaderTable
) -> HTTP1Error? {
  table.removeAll()
  if n == 0 { return nil }
  // SAFETY: `n` bounds the input; scans read up to 16 bytes beyond it.
  let end = unsafe p + n
  var line = unsafe FieldLine(at: p)
  let room = min(limits.maxFields, table.capacity)
  while true {
    switch unsafe scanFieldLine(line.next, end, &line) {
    case .field: break
    case .empty: return line.sawOddName && dropDisguisedNames(table) != nil ? .trailerField : nil
    case .incomplete: return .trailerTooLarge
    case .invalid(let error): return error
    }
    let known = unsafe KnownHeader.classify(line.name, line.nameLength)
    if known.isFramingOrRouting { return .trailerField }
    var field = unsafe HeaderField(
      name: Bytes(start: line.name, count: line.nameLength),
      value: Bytes(start: line.value, count: line.valueLength), known: known, flags: HeaderField.lineFlag)
    field.isDropped = !known.mayBeTrailer
    guard table.count < room, table.append(field) else { return .tooManyFields }
  }
}

/// Most bytes that `writeChunkHeader` writes.
public let maxChunkHeaderBytes = 18

/// Writes the size line of a chunk of `count` (above 0) bytes; returns its length. The data must be followed
/// by CR LF.
public func writeChunkHeader(_ count: Int, to output: UnsafeMutablePointer<UInt8>) -> Int {
  precondition(count > 0)
  let digits = (64 - count.leadingZeroBitCount + 3) / 4
  var index = digits
  var rest = count
  // SAFETY: the caller gives room for `maxChunkHeaderBytes`; at most 16 digits and CR LF are written.
  while index > 0 {
    index &-= 1
    let digit = UInt8(rest & 15)
    unsafe output[index] = digit < 10 ? 0x30 + digit : 0x57 + digit
    rest >>= 4
  }
  unsafe output[digits] = carriageReturn
  unsafe output[digits + 1] = lineFeed
  return digits + 2
}

/// Writes the end of a chunked body without trailers, 5 bytes; returns their number. With trailers use
/// `HeadWriter.lastChunk()`, `fields(_:)` and `end()`.
public func writeLastChunk(to output: UnsafeMutablePointer<UInt8>) -> Int {
  let text = Bytes("0\r\n\r\n")
  // SAFETY: the caller gives room for 5 bytes.
  unsafe output.update(from: text.start, count: text.count)
  return text.count
}
