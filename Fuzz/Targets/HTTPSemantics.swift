import HTTPSemantics

/// A normal form is its own normal form; a path that seems to need none has none but itself; the host of an
/// authority is an authority.
func fuzzPathsAndAuthorities(_ input: Input) -> Int32 {
  let path = input.bytes
  let room = UnsafeMutablePointer<UInt8>.allocate(capacity: max(input.count, 1))
  defer { room.deallocate() }
  switch normalizePath(path, room, capacity: input.count) {
  case .unchanged: break
  case .noRoom: check(false, "the path's own length does not suffice")
  case .invalid: break
  case .rewritten(let count):
    check(count > 0 && count <= input.count, "\(count) of \(input.count)")
    check(pathNeedsNormalizing(path), "a path that needs no normalising was rewritten")
    let normal = Input(room, count)
    defer { normal.keep() }
    let second = UnsafeMutablePointer<UInt8>.allocate(capacity: count)
    defer { second.deallocate() }
    guard case .unchanged = normalizePath(normal.bytes, second, capacity: count) else {
      check(false, "\(String(decoding: normal.bytes)) is no normal form")
      return 0
    }
  }
  if let authority = parseAuthority(path) {
    check(!authority.host.isEmpty && authority.port >= -1 && authority.port <= 65535, "\(authority.port)")
    let again = parseAuthority(authority.host)
    check(again != nil && again?.port == -1, "a host is no authority")
    check(again?.host.equals(authority.host) == true, "a host differs from its own host")
  }
  _ = isIPv4Address(path)
  _ = isIPv6Address(path)
  return 0
}
