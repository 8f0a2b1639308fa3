import CLinux
import Glibc

/// How many descriptors the process may have, which bounds every worker's tables.
enum DescriptorLimit {
  /// More than this many slots a worker would only be memory: it is twice what one worker carries.
  private static var most: rlim_t { 131_072 }

  /// Takes what the system allows without further rights: many start programs with 1024, room for some 500
  /// connections and their backends.
  static func raise() { _ = clinux_raise_open_files() }

  /// The rings of io_uring are locked memory, which is counted for all processes of a user together once this one may
  /// not pass over the limit any more (CAP_IPC_LOCK).
  static func raiseLockedMemory() {
    let resource = __rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue)
    var limit = rlimit(rlim_cur: rlim_t.max, rlim_max: rlim_t.max)
    // SAFETY: both calls read or fill a local.
    if unsafe setrlimit(resource, &limit) == 0 { return }
    unsafe _ = getrlimit(resource, &limit)
    limit.rlim_cur = limit.rlim_max
    unsafe _ = setrlimit(resource, &limit)
  }

  /// Descriptors that a worker's tables have room for.
  static var slots: Int {
    var limit = rlimit(rlim_cur: 1024, rlim_max: 1024)
    // SAFETY: fills a local.
    unsafe _ = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return Int(min(limit.rlim_cur, most))
  }
}
