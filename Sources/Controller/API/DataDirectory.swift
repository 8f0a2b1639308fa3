import Glibc

/// The folder that holds everything the controller keeps, readable by its owner only.
public struct DataDirectory: Sendable {
  public let path: String

  public enum Failure: Error, CustomStringConvertible {
    case system(operation: String, path: String, errno: Int32)
    case inUse(path: String)
    case damaged(path: String, reason: String)

    public var description: String {
      switch self {
      case .system(let operation, let path, let errno):
        "\(operation) \(path): \(unsafe String(cString: strerror(errno)))"
      case .inUse(let path):
        "\(path) is in use by another sluice-controller; choose another --data-dir"
      case .damaged(let path, let reason):
        "\(path): \(reason); remove the file to have it made anew"
      }
    }
  }

  /// Makes the folder (mode 0700) with its ancestors where it is missing.
  public init(path: String) throws(Failure) {
    self.path = path
    var made = path.hasPrefix("/") ? "" : "."
    for part in path.split(separator: "/") {
      made += "/" + part
      if unsafe mkdir(made, 0o700) != 0 && errno != EEXIST {
        throw .system(operation: "mkdir", path: made, errno: errno)
      }
    }
  }

  public func file(_ name: String) -> String { path + "/" + name }

  /// Holds the folder for this process until it ends. The descriptor stays open on purpose.
  public func lock() throws(Failure) {
    let path = file("controller.lock")
    let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .system(operation: "open", path: path, errno: errno) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { throw .inUse(path: self.path) }
  }

  /// The file's bytes, or nil when there is none.
  public func read(_ name: String) throws(Failure) -> [UInt8]? {
    let path = file(name)
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw .system(operation: "open", path: path, errno: errno)
    }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 16_384)
    while true {
      let count = unsafe buffer.withUnsafeMutableBytes {
        unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
      }
      guard count >= 0 else { throw .system(operation: "read", path: path, errno: errno) }
      if count == 0 { return bytes }
      bytes += buffer[..<count]
    }
  }

  /// Writes the file whole (mode 0600) or not at all.
  public func write(_ bytes: [UInt8], to name: String) throws(Failure) {
    try Self.write(bytes, toPath: file(name))
  }

  /// As `write(_:to:)`, anywhere.
  public static func write(_ bytes: [UInt8], toPath path: String) throws(Failure) {
    let draft = path + ".new"
    unsafe unlink(draft)
    let descriptor = unsafe open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .system(operation: "create", path: draft, errno: errno) }
    var rest = bytes[...]
    var failure: Int32 = 0
    while !rest.isEmpty && failure == 0 {
      let count = unsafe rest.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno != EINTR { failure = errno }
      if count > 0 { rest = rest.dropFirst(count) }
    }
    if fsync(descriptor) != 0 && failure == 0 { failure = errno }
    close(descriptor)
    guard failure == 0 else { throw .system(operation: "write", path: draft, errno: failure) }
    guard unsafe rename(draft, path) == 0 else {
      throw .system(operation: "rename", path: path, errno: errno)
    }
  }
}
