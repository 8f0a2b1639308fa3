internal import CLinux
internal import Glibc

/// A system call that failed: which, on what, and the errno.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
  public var errno: Int32
  /// The call's name, such as `bind`.
  public var operation: StaticString
  /// What it was about, if it was about an address.
  public var address: SocketAddress?

  public init(errno: Int32, operation: StaticString, address: SocketAddress? = nil) {
    self.errno = errno
    self.operation = operation
    self.address = address
  }

  public static func == (a: SystemError, b: SystemError) -> Bool {
    a.errno == b.errno && a.address == b.address && a.operation.description == b.operation.description
  }

  /// `bind 0.0.0.0:80: Permission denied`.
  public var description: String {
    let subject = address.map { " \($0)" } ?? ""
    return "\(operation)\(subject): \(Self.text(of: errno))"
  }

  /// The C library's words for an errno.
  public static func text(of errno: Int32) -> String {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
      // SAFETY: the GNU strerror_r returns a zero-terminated text, in `buffer` or static.
      guard let start = buffer.baseAddress, let text = unsafe strerror_r(errno, start, buffer.count)
      else { return "error \(errno)" }
      return unsafe String(cString: text)
    }
  }
}
