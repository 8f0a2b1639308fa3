import Glibc
import Sandbox
import Telemetry

/// What the process gives up on its way to serving, in the order in which it can do without.
struct Confinement {
  let user: String?
  let refusal: Sandbox.Refusal
  let log: LineLogger

  /// The authorities of the system, for backends that are held against those, and what the process reads of itself.
  private static let readable = [
    "/etc/ssl", "/etc/pki", "/usr/lib/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
    "/proc/self", "/sys/fs/cgroup/memory.max", "/dev/null", "/dev/urandom",
  ]

  /// Where the environment says that the system's authorities are, which OpenSSL goes by.
  private static var namedAuthorities: [String] {
    let values = unsafe [secure_getenv("SSL_CERT_FILE"), secure_getenv("SSL_CERT_DIR")]
    return unsafe values.compactMap(\.self)
      .flatMap { unsafe String(cString: $0).split(separator: ":").map(String.init) }
  }

  /// Before the first thread is started. Another user that cannot be had is an error; where the system has no Landlock,
  /// or a container forbids it, the process goes on without.
  func beforeThreads(_ arguments: DataPlaneArguments) throws(SandboxError) {
    try Sandbox.dropPrivileges(user: user)
    // Made by the user that the process is now.
    let writable = arguments.makeWritableFolders()
    if refusal == .off {
      log.warning("--sandbox off: any file can be opened and any system call be made")
      return
    }
    do throws(SandboxError) {
      try Sandbox.restrictFiles(readable: Self.readable + Self.namedAuthorities, writable: writable)
    } catch {
      log.info("files are not restricted (\(error))")
    }
  }

  /// Once the workers have what they need: rings that are made later are refused.
  func beforeServing() {
    do throws(SandboxError) {
      try Sandbox.endLocking()
      try Sandbox.filterSystemCalls(refusal)
    } catch {
      log.info("system calls are not filtered (\(error))")
    }
  }
}

extension DataPlaneArguments {
  /// The folders that files are made in while the process runs.
  fileprivate func makeWritableFolders() -> [String] {
    var folders = [control.adminPath, accessLogPath == "-" ? nil : accessLogPath].compactMap { $0 }.map(Self.folder)
    if let state = control.stateDirectory {
      // What opens it would make it, and by then could not any more.
      _ = unsafe mkdir(state, 0o700)
      folders.append(state)
    }
    return folders
  }

  private static func folder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }
}
