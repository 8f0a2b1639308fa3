internal import CSandbox
internal import Glibc

/// Something that could not be given up.
public struct SandboxError: Error, Equatable, CustomStringConvertible {
  public let description: String

  init(_ what: String, errno: Int32) {
    description = "\(what): \(unsafe String(cString: strerror(errno)))"
  }

  init(_ description: String) { self.description = description }
}

/// What a process gives up before it touches a byte from outside. Each step holds for the calling thread and for those
/// that it starts later, `filterSystemCalls` for all there are.
public enum Sandbox {
  /// Of a system call that is not among those that the data plane needs.
  public enum Refusal: String, Sendable, CaseIterable {
    /// It fails with EPERM.
    case deny
    /// The process is ended: to find out in tests what a change needs.
    case kill
    /// Nothing is filtered.
    case off
  }

  /// Becomes another user, if one is named, and keeps of root's powers only that to bind ports below 1024 and, until
  /// `endLocking`, that to lock memory. Neither this process nor a program that it might start can have more again
  /// (`no_new_privs`).
  public static func dropPrivileges(user: String?) throws(SandboxError) {
    let isRoot = geteuid() == 0
    if let user {
      guard isRoot else { throw SandboxError("--user \(user): only root can become another user") }
      try become(user)
    }
    guard csandbox_prctl(PR_SET_NO_NEW_PRIVS, 1) == 0 else {
      throw SandboxError("no_new_privs", errno: csandbox_errno())
    }
    if isRoot { try keep([UInt32(CAP_NET_BIND_SERVICE), UInt32(CAP_IPC_LOCK)]) }
  }

  /// The calling thread has what it locks in memory: rings of io_uring count towards a limit that all processes of a
  /// user share, unless whoever makes them may pass over it.
  public static func endLocking() throws(SandboxError) {
    if geteuid() == 0 || hasPowers { try keep([UInt32(CAP_NET_BIND_SERVICE)]) }
  }

  private static func become(_ user: String) throws(SandboxError) {
    // SAFETY: the entry is read before anything else asks for one, on the only thread.
    guard let entry = unsafe getpwnam(user) else { throw SandboxError("--user \(user): there is no such user") }
    let (uid, gid) = unsafe (entry.pointee.pw_uid, entry.pointee.pw_gid)
    guard csandbox_prctl(PR_SET_KEEPCAPS, 1) == 0, unsafe initgroups(user, gid) == 0, setgid(gid) == 0, setuid(uid) == 0
    else { throw SandboxError("--user \(user)", errno: csandbox_errno()) }
  }

  private static var hasPowers: Bool {
    var data = powers([])
    var header = __user_cap_header_struct(version: UInt32(_LINUX_CAPABILITY_VERSION_3), pid: 0)
    let result = unsafe withUnsafeMutablePointer(to: &data) { data in
      // SAFETY: version 3 fills two elements, which the tuple is.
      unsafe data.withMemoryRebound(to: __user_cap_data_struct.self, capacity: 2) { data in
        unsafe csandbox_capget(&header, data)
      }
    }
    return result == 0 && data.0.permitted | data.1.permitted != 0
  }

  private static func powers(_ kept: [UInt32]) -> (__user_cap_data_struct, __user_cap_data_struct) {
    let bits = kept.reduce(UInt32(0)) { $0 | 1 << $1 }
    return (
      __user_cap_data_struct(effective: bits, permitted: bits, inheritable: 0),
      __user_cap_data_struct(effective: 0, permitted: 0, inheritable: 0)
    )
  }

  /// Those that a container has not given are not kept; the first is the one that matters most.
  private static func keep(_ wanted: [UInt32]) throws(SandboxError) {
    var kept = wanted
    while true {
      var header = __user_cap_header_struct(version: UInt32(_LINUX_CAPABILITY_VERSION_3), pid: 0)
      var data = powers(kept)
      let result = unsafe withUnsafeMutablePointer(to: &data) { data in
        // SAFETY: version 3 reads two elements, which the tuple is.
        unsafe data.withMemoryRebound(to: __user_cap_data_struct.self, capacity: 2) { data in
          unsafe csandbox_capset(&header, data)
        }
      }
      if result == 0 { return }
      if kept.isEmpty { throw SandboxError("capabilities", errno: csandbox_errno()) }
      kept.removeLast()
    }
  }

  /// From here on only these folders and what is below them can be opened (Landlock, Linux 5.13). Paths that do not
  /// exist are left out. What is open stays open, and sockets are no files.
  public static func restrictFiles(readable: [String], writable: [String]) throws(SandboxError) {
    let reads = UInt64(LANDLOCK_ACCESS_FS_READ_FILE) | UInt64(LANDLOCK_ACCESS_FS_READ_DIR)
    let writes =
      reads | UInt64(LANDLOCK_ACCESS_FS_WRITE_FILE) | UInt64(LANDLOCK_ACCESS_FS_REMOVE_FILE)
      | UInt64(LANDLOCK_ACCESS_FS_REMOVE_DIR) | UInt64(LANDLOCK_ACCESS_FS_MAKE_REG)
      | UInt64(LANDLOCK_ACCESS_FS_MAKE_DIR) | UInt64(LANDLOCK_ACCESS_FS_MAKE_SOCK)
    var attributes = landlock_ruleset_attr()
    // All thirteen rights of the first version: what no rule gives is refused, running programs among it.
    attributes.handled_access_fs = (1 << 13) - 1
    let size = MemoryLayout<UInt64>.size
    let ruleset = unsafe csandbox_landlock_create(&attributes, size, 0)
    guard ruleset >= 0 else { throw SandboxError("Landlock", errno: csandbox_errno()) }
    defer { close(ruleset) }
    for path in readable { try allow(path, reads, ruleset) }
    for path in writable { try allow(path, writes, ruleset) }
    guard csandbox_landlock_restrict(ruleset) == 0 else { throw SandboxError("Landlock", errno: csandbox_errno()) }
  }

  private static func allow(_ path: String, _ rights: UInt64, _ ruleset: Int32) throws(SandboxError) {
    let descriptor = unsafe open(path, O_PATH | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { return }
    let isFolder = status.st_mode & mode_t(S_IFMT) == mode_t(S_IFDIR)
    var rule = landlock_path_beneath_attr()
    // A file takes only the rights that files have.
    let ofFiles = UInt64(LANDLOCK_ACCESS_FS_READ_FILE) | UInt64(LANDLOCK_ACCESS_FS_WRITE_FILE)
    rule.allowed_access = isFolder ? rights : rights & ofFiles
    rule.parent_fd = descriptor
    guard unsafe csandbox_landlock_add(ruleset, &rule) == 0 else {
      throw SandboxError("Landlock: \(path)", errno: csandbox_errno())
    }
  }

  /// From here on every thread asks the kernel only for what the data plane needs. `dropPrivileges` comes first.
  public static func filterSystemCalls(_ refusal: Refusal) throws(SandboxError) {
    if refusal == .off { return }
    let filter = SystemCallFilter(otherwise: refusal == .kill ? .kill : .fail(EPERM))
    var program = filter.instructions.map {
      sock_filter(code: $0.code, jt: $0.onTrue, jf: $0.onFalse, k: $0.operand)
    }
    let flags = UInt32(SECCOMP_FILTER_FLAG_TSYNC) | UInt32(SECCOMP_FILTER_FLAG_SPEC_ALLOW)
    let result = unsafe program.withUnsafeMutableBufferPointer { buffer in
      var header = unsafe sock_fprog(len: UInt16(buffer.count), filter: buffer.baseAddress)
      // SAFETY: the kernel copies the program during the call.
      return unsafe csandbox_seccomp(UInt32(SECCOMP_SET_MODE_FILTER), flags, &header)
    }
    guard result == 0 else { throw SandboxError("seccomp", errno: csandbox_errno()) }
  }
}
