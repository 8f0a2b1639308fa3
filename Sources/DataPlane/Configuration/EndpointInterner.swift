/// Gives backends and endpoints small stable numbers, so that a worker's pools and cursors live in plain arrays
/// and survive any number of configurations. Used by the control thread only.
///
/// A number is given again only after the last configuration that named it is gone, because by then no worker
/// has a connection under it.
struct EndpointInterner: ~Copyable {
  private struct Numbers {
    var byKey: [String: Int32] = [:]
    var uses: [Int32: Int] = [:]
    var keys: [Int32: String] = [:]
    var free: [Int32] = []
    var next: Int32 = 0

    mutating func retain(_ key: String) -> Int32 {
      if let number = byKey[key] {
        uses[number, default: 0] += 1
        return number
      }
      let number = free.isEmpty ? next : free.removeFirst()
      if number == next { next += 1 }
      byKey[key] = number
      keys[number] = key
      uses[number] = 1
      return number
    }

    mutating func release(_ number: Int32) {
      guard let left = uses[number] else { preconditionFailure("released a number that is not in use") }
      if left > 1 {
        uses[number] = left - 1
        return
      }
      uses[number] = nil
      if let key = keys.removeValue(forKey: number) { byKey[key] = nil }
      free.append(number)
    }
  }

  private var backends = Numbers()
  private var endpoints = Numbers()
  private var sockets = Numbers()

  mutating func backend(_ identity: String) -> Int32 { backends.retain(identity) }
  /// - Parameter tls: identity of the settings; another one makes it another endpoint, with connections of its own.
  mutating func endpoint(backend identity: String, address: String, port: UInt16, tls: String) -> Int32 {
    endpoints.retain("\(identity)|\(address)|\(port)|\(tls)")
  }
  mutating func socket(address: String, port: UInt16, bindPort: UInt16, isDatagram: Bool) -> Int32 {
    sockets.retain("\(address)|\(port)|\(bindPort)|\(isDatagram)")
  }

  /// Takes back what one configuration used.
  mutating func release(backends used: [Int32], endpoints usedEndpoints: [Int32], sockets usedSockets: [Int32]) {
    for number in used { backends.release(number) }
    for number in usedEndpoints { endpoints.release(number) }
    for number in usedSockets { sockets.release(number) }
  }
}
