import HTTPSemantics
import ProxyProtocol
import TLS

/// What a parser says of a whole, it says of it in pieces too, and until then only that more is needed.
func fuzzClientHello(_ input: Input) -> Int32 {
  let limit = 4096
  let scratch = UnsafeMutablePointer<UInt8>.allocate(capacity: limit)
  defer { scratch.deallocate() }
  defer { input.keep() }
  guard case .complete(let hello) = peekClientHello(input.bytes, limit: limit, scratch: scratch) else { return 0 }
  let name = hello.serverName.array
  check(name.allSatisfy { $0 > 32 && $0 < 127 }, "a server name with byte \(name)")
  check(hello.protocols.count <= input.count, "more protocols than bytes")
  for end in 0..<input.count {
    let part = input.part(0..<end)
    defer { part.keep() }
    switch peekClientHello(part.bytes, limit: limit, scratch: scratch) {
    case .needMore(let least): check(least > end && least <= input.count, "\(least) bytes needed after \(end)")
    case .complete(let early): check(early.serverName.array == name, "the name depends on what follows")
    case .invalid(let error): check(false, "\(error) after \(end) bytes of a sound ClientHello")
    }
  }
  return 0
}

/// An accepted header is one whatever follows, no shorter piece of it is, and what is written of it reads the same.
func fuzzProxyHeader(_ input: Input) -> Int32 {
  defer { input.keep() }
  guard case .complete(let header) = parseProxyHeader(input.bytes, limit: 4096) else { return 0 }
  check(header.length > 0 && header.length <= input.count, "length \(header.length) of \(input.count)")
  for end in 0..<header.length {
    let part = input.part(0..<end)
    defer { part.keep() }
    check(parseProxyHeader(part.bytes, limit: 4096) == .needMore, "\(end) of \(header.length) bytes are not too few")
  }
  let place = UnsafeMutablePointer<UInt8>.allocate(capacity: longestProxyLine)
  defer { place.deallocate() }
  for version in [ProxyVersion.v1, .v2] {
    let count = writeProxyHeader(version, source: header.source, destination: header.destination, to: place)
    let written = Input(place, count)
    defer { written.keep() }
    guard case .complete(let again) = parseProxyHeader(written.bytes, limit: 4096) else {
      check(false, "a written header is not accepted")
      return 0
    }
    check(again.length == count, "a written header ends early")
    if header.source.family != .none && header.source.family == header.destination.family {
      check(again.source == header.source && again.destination == header.destination, "written addresses differ")
    }
  }
  return 0
}

extension Bytes {
  var array: [UInt8] { (0..<count).map { self[$0] } }
}
