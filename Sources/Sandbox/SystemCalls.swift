internal import CSandbox

/// What the data plane asks of the kernel once it runs, and nothing else.
enum SystemCalls {
  /// Allowed whatever their arguments. The kernel remembers such numbers in a bitmap (since 5.11), so that a call costs
  /// no look-up; their order only matters on older ones: what a request needs comes first.
  static let allowed: [Int32] = requests + memory + threads + sockets + files + process + legacy

  private static let requests: [Int32] = [
    SYS_io_uring_enter, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg,
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_close, SYS_accept4, SYS_epoll_ctl, SYS_setsockopt, SYS_getsockopt,
    SYS_connect, SYS_shutdown, SYS_clock_gettime, SYS_futex, SYS_madvise,
  ]

  private static let memory: [Int32] = [SYS_munmap, SYS_mremap, SYS_brk]

  private static let threads: [Int32] = [
    SYS_set_robust_list, SYS_rseq, SYS_sched_yield, SYS_sched_getaffinity, SYS_gettid, SYS_exit, SYS_restart_syscall,
    SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_sigaltstack, SYS_nanosleep, SYS_clock_nanosleep,
    SYS_clock_getres, SYS_gettimeofday, SYS_membarrier,
  ]

  private static let sockets: [Int32] = [
    SYS_bind, SYS_listen, SYS_getsockname, SYS_getpeername, SYS_sendmmsg, SYS_recvmmsg, SYS_epoll_create1,
    SYS_eventfd2, SYS_ppoll, SYS_io_uring_register, SYS_signalfd4, SYS_timerfd_create, SYS_timerfd_settime,
  ]

  private static let files: [Int32] = [
    SYS_openat, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_lseek, SYS_pread64, SYS_pwrite64, SYS_fcntl, SYS_ftruncate,
    SYS_fsync, SYS_fdatasync, SYS_renameat, SYS_renameat2, SYS_unlinkat, SYS_mkdirat, SYS_fchmod, SYS_fchmodat,
    SYS_getdents64, SYS_readlinkat, SYS_faccessat, SYS_dup, SYS_dup3, SYS_flock,
  ]

  private static let process: [Int32] = [
    SYS_exit_group, SYS_getpid, SYS_tgkill, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getrandom,
    SYS_getrusage, SYS_prlimit64, SYS_sysinfo, SYS_uname,
  ]

  #if arch(x86_64)
    /// Older forms of the above, which libraries still use.
    private static let legacy: [Int32] = [
      SYS_epoll_wait, SYS_poll, SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_rename, SYS_unlink, SYS_mkdir,
      SYS_chmod, SYS_readlink, SYS_dup2, SYS_time, SYS_accept,
    ]
    /// `AUDIT_ARCH_*` of linux/audit.h.
    static let architecture = UInt32(0xC000_003E)
  #elseif arch(arm64)
    private static let legacy: [Int32] = [SYS_accept]
    /// `AUDIT_ARCH_*` of linux/audit.h.
    static let architecture = UInt32(0xC000_00B7)
  #else
    #error("The system calls of this processor are not listed yet.")
  #endif

  /// Another program, another process's memory, another kernel: nothing that the data plane does by mistake.
  static let deadly: [Int32] = [
    SYS_execve, SYS_execveat, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_init_module,
    SYS_finit_module, SYS_kexec_load, SYS_bpf, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_setns, SYS_unshare,
    SYS_keyctl, SYS_add_key, SYS_open_by_handle_at, SYS_userfaultfd,
  ]
}
