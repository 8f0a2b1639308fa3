import CLinux
import ControlProtocol

/// System calls of the publisher.
enum PublisherSocket {
  static func text(_ code: Int32) -> String {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { memory in
      guard let base = memory.baseAddress, let text = unsafe clinux_error_text(code, base, 256) else {
        return "error \(code)"
      }
      return unsafe String(cString: text)
    }
  }

  /// A listening unix socket that only its owner may connect to.
  static func listen(path: String) throws(PublisherError) -> OwnedDescriptor {
    func failure(_ call: String) -> PublisherError {
      PublisherError(path: path, reason: "\(call): \(text(clinux_errno()))")
    }
    try removeStale(path: path)
    let number = clinux_unix_socket()
    guard number >= 0 else { throw failure("socket") }
    let descriptor = OwnedDescriptor(number)
    // Before bind: the file then never exists with wider permissions.
    guard fchmod(number, 0o600) == 0 else { throw failure("fchmod") }
    guard unsafe clinux_unix_bind(number, path) == 0 else { throw failure("bind") }
    guard CLinux.listen(number, 16) == 0 else { throw failure("listen") }
    return descriptor
  }

  private static func removeStale(path: String) throws(PublisherError) {
    guard unsafe clinux_is_socket(path) != 0 else { return }
    let probe = clinux_unix_socket()
    guard probe >= 0 else { return }
    defer { close(probe) }
    if unsafe clinux_unix_connect(probe, path) == 0 {
      throw PublisherError(path: path, reason: "another controller listens here")
    }
    if clinux_errno() == ECONNREFUSED { unsafe unlink(path) }
  }

  /// Nil: errno says why.
  static func sealedMemory(_ image: [UInt8]) -> OwnedDescriptor? {
    let number = unsafe clinux_memfd("sluice-snapshot")
    guard number >= 0 else { return nil }
    let descriptor = OwnedDescriptor(number)
    let isWritten = unsafe image.withUnsafeBytes { bytes in
      var offset = 0
      while offset < bytes.count {
        // SAFETY: offset < count.
        let n = unsafe write(number, bytes.baseAddress! + offset, bytes.count - offset)
        if n < 0 && clinux_errno() == EINTR { continue }
        if n <= 0 { return false }
        offset += n
      }
      return true
    }
    guard isWritten, clinux_seal(number) == 0 else { return nil }
    return descriptor
  }

  /// Nil: the peer may connect. Otherwise why not.
  static func refusal(of peer: Int32) -> String? {
    var uid: UInt32 = 0
    var pid: Int32 = 0
    guard unsafe clinux_peer_credentials(peer, &uid, &pid) == 0 else {
      return "no peer credentials: \(text(clinux_errno()))"
    }
    if uid == 0 || uid == geteuid() { return nil }
    return "process \(pid) of user \(uid) may not connect, only user \(geteuid()) and root may"
  }

  static func monotonicMilliseconds() -> UInt64 { clinux_monotonic_nanoseconds() / 1_000_000 }
}
