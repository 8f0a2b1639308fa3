import HTTPSemantics
import RoutingTable
import SystemIO
import TLS
import Telemetry

/// From a request head to what its rule wants: find the route in the compiled table, then answer, redirect or
/// forward.
extension Worker where Engine: ~Copyable {
  mutating func beginRequest(_ stream: Int32, _ head: inout RequestHead) {
    let s = streams[stream]
    text.reset()
    s[].startedNanoseconds = nowNanoseconds
    if head.endStream { s[].flags.insert(.requestEnded) }
    if head.method == .head { s[].flags.insert(.headRequest) }
    if head.method.isIdempotent { s[].flags.insert(.idempotent) }
    if head.scheme == .https { s[].flags.insert(.secure) }
    if head.isGRPC {
      s[].flags.insert(.grpc)
      counters.add(.requestsGRPC)
    }
    counters.add(.requestsActive)
    guard let socket = currentSocket(slot: connections[s[].downstream][].socketSlot) else {
      counters.add(.noListener)
      reply(stream, status: 503, reason: "this listener is no longer configured", flags: .noListener)
      return
    }
    s[].cell = currentCell
    retainCell(currentCell)
    guard normalizeTarget(stream, &head, socket) else { return }
    dropPeerClaims(stream, head.fields)
    if accessLog >= 0 { keepLabel(stream, head) }
    if head.method == .options || head.method == .trace { guard mayPass(stream, &head) else { return } }
    if limits.maxRequestBodyBytes > 0 && head.contentLength > Int64(limits.maxRequestBodyBytes) {
      hit(.maxRequestBodyBytes, s[].downstream)
      reply(stream, status: 413, reason: "the request body is larger than this proxy takes", flags: .limit)
      return
    }
    let image = cells[currentCell][].view.image
    let answer = unsafe withUnsafePointer(to: &head) { unsafe image.lookup(socket: Int(socket), head: $0) }
    if head.scheme == .https, isMisdirected(stream, socket, answer, host: head.host) {
      reply(stream, status: 421, reason: "this connection was opened for another host", flags: .misdirected)
      return
    }
    // A browser has to see that it was misdirected; all other answers to gRPC-Web are gRPC-Web.
    if answer.translatesGRPCWeb { beginGRPCWeb(stream, &head) }
    switch answer.outcome {
    case .matched:
      apply(stream, &head, answer)
    case .noRoute:
      counters.add(.noRoute)
      reply(stream, status: 404, reason: "no route matches this request", flags: .noRoute)
    case .noHost:
      counters.add(.noHost)
      reply(stream, status: 404, reason: "no route is configured for this host", flags: .noHost)
    case .noListener:
      counters.add(.noListener)
      reply(stream, status: 404, reason: "no listener takes this host", flags: .noListener)
    }
  }

  /// OPTIONS and TRACE may say with Max-Forwards how many intermediaries pass them on (RFC 9110 section 7.6.2): one
  /// less from here on. False: this is the last, and the request was answered; so was one whose number is none.
  @inline(never)
  private mutating func mayPass(_ stream: Int32, _ head: inout RequestHead) -> Bool {
    let index = head.fields.firstIndex(named: Bytes("max-forwards"))
    guard index >= 0 else { return true }
    let field = head.fields[index]
    let isAlone = head.fields.firstIndex(named: field.nameBytes, from: index + 1) < 0
    guard isAlone, let left = forwardsLeft(field.valueBytes) else {
      counters.add(.malformedRequests)
      reply(stream, status: 400, reason: "Max-Forwards is not one number", flags: .malformed)
      return false
    }
    if left == 0 {
      if head.method == .options {
        reply(stream, status: 200, body: .empty, flags: .fixedResponse)
      } else {
        // A reflection would show scripts what browsers keep from them.
        reply(stream, status: 501, reason: "TRACE is not answered here", flags: .fixedResponse)
      }
      return false
    }
    head.fields[index] = HeaderField(name: field.nameBytes, value: text.decimal(left - 1), known: field.known)
    return true
  }

  /// 1*DIGIT, at most what nine digits hold and one; nil: no number.
  private func forwardsLeft(_ value: Bytes) -> UInt64? {
    var left: UInt64 = 0
    var index = 0
    while index < value.count {
      guard value[index] &- 0x30 < 10 else { return nil }
      left = min(left * 10 + UInt64(value[index] &- 0x30), 1_000_000_000)
      index += 1
    }
    return value.isEmpty ? nil : left
  }

  /// Whether the client asked in its handshake for a name of another listener than the host's: it reuses a
  /// connection beyond what its certificate was chosen for, and is told to open another (RFC 9110 section 15.5.20).
  /// So is one that was not asked, or not in the same way, for a certificate that the host's listener wants to see: be
  /// it that it sent no name, or that the listener wants it only since a moment ago.
  private func isMisdirected(_ stream: Int32, _ socket: Int32, _ answer: RouteAnswer, host: Bytes) -> Bool {
    let image = cells[currentCell][].view.image
    // Behind a name that bytes are served under there is nobody who expects a request.
    if cells[currentCell][].view.traits(socket: socket).isMixed, answer.listener >= 0,
      image.listener(Int(answer.listener)).proto != .http
    {
      return true
    }
    let s = streams[stream]
    let connection = connections[s[].downstream]
    guard let tls = connection[].tls else { return false }
    let wanted = cells[currentCell][].view.clientValidation(listener: answer.listener)
    if wanted != 0 {
      if wanted != tls.clientValidation { return true }
      if connection[].flags.contains(.isIdentified) { s[].flags.insert(.isIdentified) }
    }
    let name = tls.serverName
    if name.isEmpty || name.equalsIgnoringCase(host) { return false }
    let chosen = image.listener(socket: Int(socket), host: name)
    if chosen < 0 || chosen == answer.listener { return false }
    // The hosts of one Istio server are listeners of one name.
    return answer.listener < 0 || !image.listener(Int(chosen)).name.equals(image.listener(Int(answer.listener)).name)
  }

  /// Routing sees exactly what is forwarded: the path in its normal form.
  @inline(__always)
  private mutating func normalizeTarget(_ stream: Int32, _ head: inout RequestHead, _ socket: Int32) -> Bool {
    guard pathNeedsNormalizing(head.path) else { return true }
    return normalizeSlowly(stream, &head, pathPolicy(socket, host: head.host))
  }

  /// Of the listener that takes the host.
  @inline(never)
  private func pathPolicy(_ socket: Int32, host: Bytes) -> PathPolicy {
    var policy = PathPolicy()
    let image = cells[currentCell][].view.image
    let index = image.listener(socket: Int(socket), host: host)
    guard index >= 0 else { return policy }
    let listener = image.listener(Int(index))
    policy.rejectsEscapedSlashes = listener.escapedSlashes == .reject
    policy.decodesEscapedSlashes = listener.escapedSlashes == .decode
    policy.mergesSlashes = listener.mergesSlashes
    return policy
  }

  @inline(never)
  private mutating func normalizeSlowly(_ stream: Int32, _ head: inout RequestHead, _ policy: PathPolicy) -> Bool {
    let extra = head.hasQuery ? head.query.count + 1 : 0
    let room = head.path.count
    guard let place = unsafe text.reserve(room + extra) else {
      reply(stream, status: 414, reason: "the request target is too long", flags: .limit)
      return false
    }
    switch unsafe normalizePath(head.path, place, capacity: room, policy: policy) {
    case .unchanged:
      text.giveBack(room + extra)
      return true
    case .rewritten(let count):
      // SAFETY: `room` covers the path, `extra` the question mark and the query.
      if head.hasQuery {
        unsafe place[count] = 0x3f
        unsafe (place + count + 1).update(from: head.query.start, count: head.query.count)
      }
      head.setTarget(unsafe Bytes(start: place, count: count + extra))
      return true
    case .invalid(let error):
      counters.add(.malformedRequests)
      let index = streams[stream][].downstream
      if !streams[stream][].flags.contains(.downstreamHTTP2) { connections[index][].flags.remove(.keepAlive) }
      reply(stream, status: 400, reason: error.reason, flags: .malformed)
      return false
    case .noRoom:
      reply(stream, status: 414, reason: "the request target is too long", flags: .limit)
      return false
    }
  }

  @inline(__always)
  private mutating func apply(_ stream: Int32, _ head: inout RequestHead, _ answer: RouteAnswer) {
    let s = streams[stream]
    let rule = cells[s[].cell][].view.image.rule(answer.rule)
    s[].rule = answer.rule
    if accessLog >= 0 { keepText(stream, rule.provenance) }
    if rule.isGRPC { s[].flags.insert(.grpc) }
    if rule.requestTimeout != 0 { s[].requestDeadline = nowMilliseconds + UInt64(rule.requestTimeout) }
    switch rule.action {
    case .forward:
      forward(stream, &head, rule, answer)
    case .redirect:
      redirect(stream, &head, rule, answer)
    case .respond:
      reply(stream, status: rule.status, body: rule.reason, flags: .fixedResponse)
    }
  }

  @inline(__always)
  private mutating func forward(
    _ stream: Int32, _ head: inout RequestHead, _ rule: RuleView, _ answer: RouteAnswer
  ) {
    let s = streams[stream]
    let number = rule.pick(random: UInt32(truncatingIfNeeded: random.next()))
    guard number >= 0, rule.weightedBackend(Int(number)).backend >= 0 else {
      counters.add(.noBackend)
      reply(stream, status: 500, reason: "the rule's backend does not exist or may not be used", flags: .noBackend)
      return
    }
    let pick = rule.weightedBackend(Int(number))
    s[].weighted = number
    s[].backend = pick.backend
    let entry = cells[s[].cell][].view.backend(pick.backend)
    if accessLog >= 0 { keepText(stream, cells[s[].cell][].view.image.backend(Int(pick.backend)).id) }
    let speaksHTTP2 = entry.proto == .h2c || s[].flags.contains(.grpc)
    if speaksHTTP2 { s[].flags.insert(.http2Upstream) }
    if head.upgrade != .none { guard askUpgrade(stream, &head) else { return } }
    if rule.backendTimeout != 0 { s[].backendDeadline = nowMilliseconds + UInt64(rule.backendTimeout) }
    if s[].requestDeadline != 0 || s[].backendDeadline != 0 { armStream(stream) }
    if rule.rewritesPath || !rule.rewriteHost.isEmpty { rewrite(stream, &head, rule, answer) }
    prepareRequestFields(stream, &head, rule, pick)
    sendRequest(stream, &head)
  }

  /// Replaces what the rule rewrites: the authority and the path.
  private mutating func rewrite(
    _ stream: Int32, _ head: inout RequestHead, _ rule: RuleView, _ answer: RouteAnswer
  ) {
    let newHost = rule.rewriteHost
    if rule.rewritesPath {
      let image = cells[streams[stream][].cell][].view.image
      let place = unsafe rewritten.base
      let room = rewritten.capacity
      let count = unsafe withUnsafePointer(to: &head) {
        unsafe image.rewrittenTarget(answer, rule, $0, into: place, capacity: room)
      }
      if count > 0 { head.setTarget(text.copy(unsafe Bytes(start: rewritten.base, count: count))) }
    }
    if !newHost.isEmpty {
      let host = head.fields.firstIndex(of: .host)
      if host >= 0 { drop(head.fields, host) }
      _ = head.setAuthority(newHost)
    }
  }

  // MARK: Fields of the request

  /// Takes away what an untrusted peer says about itself, before a route is chosen by it: `prepareRequestFields`
  /// says it. Notes on the way whether the request has an identity.
  @inline(__always)
  private func dropPeerClaims(_ stream: Int32, _ fields: HeaderTable) {
    var index = 0
    while index < fields.count {
      switch fields[index].known {
      case .other: break
      case .xForwardedFor, .xForwardedProto, .xForwardedHost, .xForwardedPort, .xForwardedClientCert,
        .xForwardedOther, .forwarded, .xRealIP, .te:
        drop(fields, index)
      case .xRequestID where !fields[index].isDropped: streams[stream][].flags.insert(.hasRequestID)
      default: break
      }
      index &+= 1
    }
  }

  /// Adds what the next hop is told about the client, and does what the rule says about fields.
  @inline(__always)
  private mutating func prepareRequestFields(
    _ stream: Int32, _ head: inout RequestHead, _ rule: RuleView, _ pick: WeightedBackendView
  ) {
    let s = streams[stream]
    let original = head.authority
    addPeer(&head.fields, connections[s[].downstream][].peer)
    if s[].flags.contains(.isIdentified), let tls = connections[s[].downstream][].tls {
      addLine(&head.fields, .xForwardedClientCert, "x-forwarded-client-cert", tls.clientIdentity)
    }
    let scheme: StaticString = s[].flags.contains(.secure) ? "https" : "http"
    addLine(&head.fields, .xForwardedProto, "x-forwarded-proto", Bytes(scheme))
    if !original.isEmpty { addLine(&head.fields, .xForwardedHost, "x-forwarded-host", original) }
    if !s[].flags.contains(.hasRequestID) { addRequestID(&head.fields) }
    if accessLog >= 0 { keepRequestID(stream, head.fields) }
    operate(&head.fields, rule.requestHeaders)
    operate(&head.fields, pick.requestHeaders)
    // RFC 9113 section 8.2.2 allows only this one; gRPC asks for it.
    if s[].flags.contains(.http2Upstream) && (head.hasTETrailers || head.isGRPC) {
      add(&head.fields, .te, "te", Bytes("trailers"))
    }
  }

  @inline(__always)
  func drop(_ table: HeaderTable, _ index: Int) {
    var field = table[index]
    field.isDropped = true
    table[index] = field
  }

  @inline(__always)
  func add(_ table: inout HeaderTable, _ known: KnownHeader, _ name: StaticString, _ value: Bytes) {
    guard !value.isEmpty else { return }
    // A table that is full has room for every field that may arrive and for ours: see maximumFields.
    _ = table.append(HeaderField(name: Bytes(name), value: value, known: known))
  }

  /// Header modifiers of a rule or of one of its backends, in their order: set, add, remove.
  mutating func operate(_ table: inout HeaderTable, _ operations: HeaderOperations) {
    var index = 0
    while index < operations.count {
      let operation = operations[index]
      if operation.kind != .add {
        var found = table.firstIndex(named: operation.name)
        while found >= 0 {
          drop(table, found)
          found = table.firstIndex(named: operation.name, from: found + 1)
        }
      }
      if operation.kind != .remove {
        let known = unsafe KnownHeader.classify(operation.name.start, operation.name.count)
        _ = table.append(HeaderField(name: operation.name, value: operation.value, known: known))
      }
      index += 1
    }
  }

  // MARK: Fields of our own

  // They are composed as whole HTTP/1 lines, one behind the other, so that the writer copies them as one run; an
  // HTTP/2 submission reads name and value out of the line.

  /// Room for a line with a value of `count` bytes, whose name and ": " are written: where the value goes.
  @inline(__always)
  private mutating func beginLine(_ name: StaticString, _ count: Int) -> UnsafeMutablePointer<UInt8>? {
    let length = name.utf8CodeUnitCount
    guard let place = unsafe text.reserve(length + count + 4) else { return nil }
    // SAFETY: name, two bytes, value and two bytes are what was reserved.
    unsafe place.update(from: name.utf8Start, count: length)
    unsafe place[length] = 0x3a
    unsafe place[length + 1] = 0x20
    return unsafe place + length + 2
  }

  /// Ends the line whose value of `count` bytes lies at `value`.
  @inline(__always)
  private func endLine(
    _ table: inout HeaderTable, _ known: KnownHeader, _ nameLength: Int, _ value: UnsafeMutablePointer<UInt8>,
    _ count: Int
  ) {
    // SAFETY: of the line that `beginLine` reserved.
    unsafe value[count] = 13
    unsafe value[count + 1] = 10
    let name = unsafe Bytes(start: value - nameLength - 2, count: nameLength)
    _ = unsafe table.append(
      HeaderField(name: name, value: Bytes(start: value, count: count), known: known, flags: HeaderField.lineFlag))
  }

  @inline(__always)
  private mutating func addLine(
    _ table: inout HeaderTable, _ known: KnownHeader, _ name: StaticString, _ value: Bytes
  ) {
    guard let place = unsafe beginLine(name, value.count) else { return }
    // SAFETY: beginLine() made room for the value.
    unsafe place.update(from: value.start, count: value.count)
    unsafe endLine(&table, known, name.utf8CodeUnitCount, place, value.count)
  }

  @inline(__always)
  private mutating func addPeer(_ table: inout HeaderTable, _ peer: SocketAddress) {
    let room = SocketAddress.maximumTextLength
    guard let place = unsafe beginLine("x-forwarded-for", room) else { return }
    let count = unsafe peer.format(into: place)
    guard count > 0 else {
      text.giveBack(room + 19)
      return
    }
    text.giveBack(room - count)
    unsafe endLine(&table, .xForwardedFor, 15, place, count)
  }

  /// 128 random bits in lower-case hexadecimal digits.
  @inline(__always)
  private mutating func addRequestID(_ table: inout HeaderTable) {
    guard let place = unsafe beginLine("x-request-id", 32) else { return }
    var position = 0
    while position < 32 {
      let bits = random.next()
      // SAFETY: four words of eight digits are the 32 bytes of the value.
      unsafe UnsafeMutableRawPointer(place + position)
        .storeBytes(of: hexadecimal(UInt32(truncatingIfNeeded: bits)), as: UInt64.self)
      unsafe UnsafeMutableRawPointer(place + position + 8)
        .storeBytes(of: hexadecimal(UInt32(truncatingIfNeeded: bits >> 32)), as: UInt64.self)
      position += 16
    }
    unsafe endLine(&table, .xRequestID, 12, place, 32)
  }
}

/// Eight hexadecimal digits, one a byte, made side by side in one word.
@inline(__always)
private func hexadecimal(_ number: UInt32) -> UInt64 {
  var word = UInt64(number)
  word = (word | word << 16) & 0x0000_ffff_0000_ffff
  word = (word | word << 8) & 0x00ff_00ff_00ff_00ff
  word = (word | word << 4) & 0x0f0f_0f0f_0f0f_0f0f
  // Bytes above 9 get their bit 4 set by adding 6; each such byte becomes a letter.
  let letters = ((word &+ 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101
  return word &+ 0x3030_3030_3030_3030 &+ letters &* 39
}
