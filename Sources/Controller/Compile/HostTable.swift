import Glibc

import class Foundation.Thread

/// What the resolver said, and what it is being asked.
struct HostTable: Sendable {
  private(set) var addresses: [String: [String]] = [:]
  private var asked: Set<String> = []

  var names: [String] { asked.sorted() }

  /// Those that nobody has asked for yet; they count as asked from now on.
  mutating func unasked(_ names: [String]) -> [String] {
    names.filter { asked.insert($0).inserted }
  }

  /// True when the answer is news. An empty answer leaves what was known.
  mutating func note(_ name: String, _ found: [String]) -> Bool {
    let sorted = Array(Set(found)).sorted()
    guard asked.contains(name), !sorted.isEmpty, addresses[name] != sorted else { return false }
    addresses[name] = sorted
    return true
  }

  mutating func keep(only names: Set<String>) {
    asked.formIntersection(names)
    addresses = addresses.filter { names.contains($0.key) }
  }
}

/// getaddrinfo(3) on a thread of its own for each question.
public struct SystemResolver: HostResolving {
  public init() {}

  public func addresses(of host: String) async -> [String] {
    await withCheckedContinuation { continuation in
      let thread = Thread {
        continuation.resume(returning: Self.lookUp(host))
      }
      thread.start()
    }
  }

  private static func lookUp(_ host: String) -> [String] {
    var hints = unsafe addrinfo()
    // Each address comes once for each type of socket; they are made distinct below.
    unsafe hints.ai_flags = AI_ADDRCONFIG
    var list: UnsafeMutablePointer<addrinfo>?
    guard unsafe getaddrinfo(host, nil, &hints, &list) == 0 else { return [] }
    defer { unsafe freeaddrinfo(list) }
    var found: [String] = []
    var next = unsafe list
    while let entry = unsafe next {
      var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
      let status = unsafe getnameinfo(
        entry.pointee.ai_addr, entry.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
      if status == 0 {
        let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let address = String(decoding: bytes, as: UTF8.self)
        // A link-local address with its scope cannot be written into a table.
        if isAddressLiteral(address) { found.append(address) }
      }
      unsafe next = entry.pointee.ai_next
    }
    return Array(Set(found)).sorted()
  }
}
