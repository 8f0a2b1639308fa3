public import HTTPSemantics

/// Appends to memory of the caller; what does not fit is dropped and remembered.
@safe
struct ByteWriter {
  // INVARIANT: `out` has room for `capacity` bytes, of which `count` are written; the caller said so.
  private let out: UnsafeMutablePointer<UInt8>
  private let capacity: Int
  private(set) var count = 0
  private var overflowed = false

  init(_ out: UnsafeMutablePointer<UInt8>, capacity: Int) {
    unsafe self.out = out
    self.capacity = capacity
  }

  /// The length, or -1 when it did not fit.
  var result: Int { overflowed ? -1 : count }

  @inline(__always)
  mutating func append(_ byte: UInt8) {
    if count >= capacity {
      overflowed = true
      return
    }
    unsafe out[count] = byte
    count &+= 1
  }

  mutating func append(_ bytes: Bytes) {
    if bytes.count > capacity &- count {
      overflowed = true
      return
    }
    unsafe (out + count).update(from: bytes.start, count: bytes.count)
    count &+= bytes.count
  }

  mutating func append(decimal number: UInt16) {
    var divisor: UInt16 = 10000
    while divisor > 1, number < divisor { divisor /= 10 }
    while divisor > 0 {
      append(UInt8(truncatingIfNeeded: number / divisor % 10) + UInt8(ascii: "0"))
      divisor /= 10
    }
  }
}

extension RoutingImage {
  /// The target (path and query) of the request to the backend, written to `out`; its length, or -1 when
  /// it has more than `capacity` bytes. Without a path rewrite it is the target as received.
  public func rewrittenTarget(
    _ answer: RouteAnswer, _ rule: RuleView, _ head: UnsafePointer<RequestHead>,
    into out: UnsafeMutablePointer<UInt8>, capacity: Int
  ) -> Int {
    var writer = unsafe ByteWriter(out, capacity: capacity)
    unsafe writeTarget(
      kind: rule.record.rewritePathKind, replacement: bytes(rule.record.rewritePath), answer, head,
      to: &writer)
    return writer.result
  }

  /// The `Location` of a redirect rule (Gateway API HTTPRequestRedirectFilter, Istio HTTPRedirect),
  /// written to `out`; its length, or -1 when it has more than `capacity` bytes. A request that names no
  /// host gets a relative reference.
  public func redirectLocation(
    _ answer: RouteAnswer, _ rule: RuleView, _ head: UnsafePointer<RequestHead>,
    into out: UnsafeMutablePointer<UInt8>, capacity: Int
  ) -> Int {
    var writer = unsafe ByteWriter(out, capacity: capacity)
    let own = bytes(rule.record.redirectHost)
    let host = unsafe own.isEmpty ? head.pointee.host : own
    if !host.isEmpty {
      let named = bytes(rule.record.redirectScheme)
      let received: Bytes = unsafe head.pointee.scheme == .https ? Bytes("https") : Bytes("http")
      let scheme = named.isEmpty ? received : named
      writer.append(scheme)
      writer.append(Bytes("://"))
      writer.append(host)
      let port = unsafe redirectPort(rule, answer, head, scheme: scheme, received: received)
      if port != 0, port != wellKnownPort(scheme) {
        writer.append(UInt8(ascii: ":"))
        writer.append(decimal: port)
      }
    }
    unsafe writeTarget(
      kind: rule.record.redirectPathKind, replacement: bytes(rule.record.redirectPath), answer, head,
      to: &writer)
    return writer.result
  }

  /// 0: print none.
  private func redirectPort(
    _ rule: RuleView, _ answer: RouteAnswer, _ head: UnsafePointer<RequestHead>, scheme: Bytes,
    received: Bytes
  ) -> UInt16 {
    switch rule.record.redirectPortKind {
    case RedirectPortCode.number: return rule.record.redirectPort
    case RedirectPortCode.schemeDefault: return 0
    case RedirectPortCode.fromRequest:
      let port = unsafe UInt16(truncatingIfNeeded: max(head.pointee.port, 0))
      // The port that the old scheme implies says nothing about the new one.
      return port == wellKnownPort(received) ? 0 : port
    default:
      if rule.record.redirectScheme.length > 0, wellKnownPort(scheme) != 0 { return 0 }
      if answer.listener < 0 { return 0 }
      return socket(listener(Int(answer.listener)).socket).port
    }
  }

  private func writeTarget(
    kind: UInt8, replacement: Bytes, _ answer: RouteAnswer, _ head: UnsafePointer<RequestHead>,
    to writer: inout ByteWriter
  ) {
    let path = unsafe head.pointee.path
    // "*" (RFC 9110 section 9.3.7) is no path and has no place in a Location.
    if path.count > 0, path[0] != UInt8(ascii: "/") {
      if writer.count == 0 { unsafe writer.append(head.pointee.target) }
      return
    }
    let matched = min(Int(max(answer.matchedPrefixLength, 0)), path.count)
    let rest = path.slice(matched, path.count)
    var fragment = Bytes.empty
    var bringsQuery = false
    let start = writer.count
    switch kind {
    case PathRewriteCode.full:
      let mark = replacement.firstIndex(of: UInt8(ascii: "#"))
      let end = mark < 0 ? replacement.count : mark
      fragment = replacement.slice(end, replacement.count)
      bringsQuery = replacement.slice(0, end).firstIndex(of: UInt8(ascii: "?")) >= 0
      writeAbsolute(replacement.slice(0, end), to: &writer)
    case PathRewriteCode.segmentPrefix:
      var end = replacement.count
      while end > 0, replacement[end - 1] == UInt8(ascii: "/") { end -= 1 }
      if end > 0 { writeAbsolute(replacement.slice(0, end), to: &writer) }
      if !rest.isEmpty { writeAbsolute(rest, to: &writer) }
    case PathRewriteCode.stringPrefix:
      if replacement.isEmpty {
        writeAbsolute(rest, to: &writer)
      } else {
        writeAbsolute(replacement, to: &writer)
        writer.append(rest)
      }
    default:
      writer.append(path)
    }
    if writer.count == start { writer.append(UInt8(ascii: "/")) }
    if unsafe head.pointee.hasQuery, !bringsQuery {
      writer.append(UInt8(ascii: "?"))
      unsafe writer.append(head.pointee.query)
    }
    writer.append(fragment)
  }

  /// With a slash in front when there is none.
  private func writeAbsolute(_ text: Bytes, to writer: inout ByteWriter) {
    if text.isEmpty || text[0] != UInt8(ascii: "/") { writer.append(UInt8(ascii: "/")) }
    writer.append(text)
  }

  private func wellKnownPort(_ scheme: Bytes) -> UInt16 {
    if scheme.equals("http") { return 80 }
    if scheme.equals("https") { return 443 }
    return 0
  }
}
