internal import CLinux
internal import Glibc

/// What a call on a non-blocking descriptor came to.
enum Outcome {
  case done(Int)
  case wouldBlock
  case failed(Int32)
}

/// Nanoseconds of CLOCK_MONOTONIC.
public func monotonicNanoseconds() -> UInt64 {
  var t = timespec()
  // SAFETY: `t` lives through the call.
  _ = unsafe clock_gettime(CLOCK_MONOTONIC, &t)
  return UInt64(t.tv_sec) &* 1_000_000_000 &+ UInt64(t.tv_nsec)
}

/// Every system call of the engines. Interrupted calls are tried again; an errno that only a bug
/// of ours can cause traps.
enum System {
  @inline(__always)
  static func receive(_ fd: Int32, _ p: UnsafeMutablePointer<UInt8>, _ n: Int, flags: Int32 = 0) -> Outcome {
    while true {
      // SAFETY: the caller owns `n` bytes at `p`.
      let r = unsafe Glibc.recv(fd, p, n, flags)
      if r >= 0 { return .done(r) }
      let e = clinux_errno()
      if e == EAGAIN { return .wouldBlock }
      if e != EINTR { return refuseBug(e) }
    }
  }

  @inline(__always)
  static func send(_ fd: Int32, _ p: UnsafePointer<UInt8>, _ n: Int) -> Outcome {
    while true {
      // SAFETY: the caller owns `n` bytes at `p`.
      let r = unsafe Glibc.send(fd, p, n, Int32(MSG_NOSIGNAL))
      if r >= 0 { return .done(r) }
      let e = clinux_errno()
      if e == EAGAIN { return .wouldBlock }
      if e != EINTR { return refuseBug(e) }
    }
  }

  @inline(never)
  private static func refuseBug(_ e: Int32) -> Outcome {
    precondition(e != EBADF && e != EFAULT && e != ENOTSOCK, "a descriptor or buffer that is not ours")
    return .failed(e)
  }

  static func accept(_ fd: Int32, _ peer: inout SocketAddress) -> Outcome {
    while true {
      var length = socklen_t(MemoryLayout<SocketAddress>.size)
      peer = SocketAddress()
      // SAFETY: SocketAddress has the layout of sockaddr_in6; longer addresses are cut off.
      let r = unsafe withUnsafeMutableBytes(of: &peer) { raw in
        unsafe clinux_accept(fd, raw.baseAddress, &length)
      }
      if r >= 0 { return .done(Int(r)) }
      let e = clinux_errno()
      switch e {
      case EAGAIN: return .wouldBlock
      // Errors of the one connection that would have been taken (accept(2)); the next may be well.
      case EINTR, ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH,
        ENETUNREACH, EOPNOTSUPP, EPERM, ETIMEDOUT:
        continue
      default: return refuseBug(e)
      }
    }
  }

  static func streamSocket(family: Int32, about: SocketAddress) throws(SystemError) -> Int32 {
    let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let fd = Glibc.socket(family, type, 0)
    if fd < 0 { throw SystemError(errno: clinux_errno(), operation: "socket", address: about) }
    return fd
  }

  /// 0, EINPROGRESS or another errno. Not tried again: an interrupted connect goes on by itself.
  static func connect(_ fd: Int32, _ address: SocketAddress) -> Int32 {
    let r = unsafe address.withSockaddr { p, n in unsafe clinux_connect(fd, p, n) }
    if r == 0 { return 0 }
    let e = clinux_errno()
    return e == EINTR ? EINPROGRESS : e
  }

  static func bind(_ fd: Int32, _ address: SocketAddress) -> Int32 {
    unsafe address.withSockaddr { p, n in unsafe clinux_bind(fd, p, n) } == 0 ? 0 : clinux_errno()
  }

  static func listen(_ fd: Int32, _ backlog: Int32) -> Int32 {
    Glibc.listen(fd, backlog) == 0 ? 0 : clinux_errno()
  }

  static func localAddress(of fd: Int32) throws(SystemError) -> SocketAddress {
    var address = SocketAddress()
    var length = socklen_t(MemoryLayout<SocketAddress>.size)
    // SAFETY: SocketAddress has the layout of sockaddr_in6.
    let r = unsafe withUnsafeMutableBytes(of: &address) { raw in
      unsafe clinux_getsockname(fd, raw.baseAddress, &length)
    }
    if r != 0 { throw SystemError(errno: clinux_errno(), operation: "getsockname") }
    return address
  }

  /// Who is at the other end; zero when it is gone already.
  static func peerAddress(of fd: Int32) -> SocketAddress {
    var address = SocketAddress()
    var length = socklen_t(MemoryLayout<SocketAddress>.size)
    // SAFETY: SocketAddress has the layout of sockaddr_in6; longer addresses are cut off.
    _ = unsafe withUnsafeMutableBytes(of: &address) { raw in
      unsafe clinux_getpeername(fd, raw.baseAddress, &length)
    }
    return address
  }

  static func setOption(_ fd: Int32, _ level: Int32, _ name: Int32, _ value: Int32) -> Int32 {
    var v = value
    // SAFETY: `v` lives through the call.
    let r = unsafe setsockopt(fd, level, name, &v, socklen_t(MemoryLayout<Int32>.size))
    return r == 0 ? 0 : clinux_errno()
  }

  /// SO_LINGER with a time of 0: closing resets the connection (socket(7)).
  static func setResetOnClose(_ fd: Int32) {
    var option = linger(l_onoff: 1, l_linger: 0)
    // SAFETY: `option` lives through the call.
    _ = unsafe setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
  }

  /// No delay for small segments, and probes that find a dead peer after two minutes. A socket
  /// that is not TCP has neither, which is no error.
  static func setStreamOptions(_ fd: Int32) {
    let tcp = Int32(IPPROTO_TCP)
    if setOption(fd, tcp, TCP_NODELAY, 1) != 0 { return }
    _ = setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
    _ = setOption(fd, tcp, TCP_KEEPIDLE, 60)
    _ = setOption(fd, tcp, TCP_KEEPINTVL, 15)
    _ = setOption(fd, tcp, TCP_KEEPCNT, 4)
  }

  /// Takes the pending error off the socket; 0: none.
  static func takeError(_ fd: Int32) -> Int32 {
    var e: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    // SAFETY: `e` and `length` live through the call.
    return unsafe getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &length) == 0 ? e : clinux_errno()
  }

  static func shutdownWrite(_ fd: Int32) { _ = Glibc.shutdown(fd, Int32(SHUT_WR)) }

  /// Linux frees the descriptor whatever close says, so that it is never called again.
  static func close(_ fd: Int32) {
    let r = Glibc.close(fd)
    precondition(r == 0 || clinux_errno() != EBADF, "closed a descriptor that is not ours")
  }

  /// A descriptor held only to be given up when the process runs out of them; -1: none to be had.
  static func openReserve() -> Int32 {
    eventfd(0, Int32(EFD_CLOEXEC))
  }

  static func openEvent() throws(SystemError) -> Int32 {
    let fd = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    if fd < 0 { throw SystemError(errno: clinux_errno(), operation: "eventfd") }
    return fd
  }

  static func resetEvent(_ fd: Int32) {
    var count: UInt64 = 0
    // SAFETY: `count` lives through the call.
    _ = unsafe Glibc.read(fd, &count, MemoryLayout<UInt64>.size)
  }

  /// Zeroed memory that costs nothing until it is touched.
  static func map(_ bytes: Int) throws(SystemError) -> UnsafeMutableRawPointer {
    let flags = Int32(MAP_PRIVATE) | Int32(MAP_ANONYMOUS) | Int32(MAP_NORESERVE)
    // SAFETY: a new mapping aliases nothing.
    let p = unsafe mmap(nil, bytes, PROT_READ | PROT_WRITE, flags, -1, 0)
    guard let p = unsafe p, unsafe p != MAP_FAILED else {
      throw SystemError(errno: clinux_errno(), operation: "mmap")
    }
    return unsafe p
  }

  /// Memory that an io_uring shares with us.
  static func mapShared(_ fd: Int32, _ bytes: Int, offset: Int) throws(SystemError) -> UnsafeMutableRawPointer {
    // SAFETY: a new mapping aliases nothing.
    let p = unsafe mmap(nil, bytes, PROT_READ | PROT_WRITE, Int32(MAP_SHARED) | Int32(MAP_POPULATE), fd, offset)
    guard let p = unsafe p, unsafe p != MAP_FAILED else {
      throw SystemError(errno: clinux_errno(), operation: "mmap: io_uring")
    }
    return unsafe p
  }

  static func unmap(_ p: UnsafeMutableRawPointer, _ bytes: Int) { _ = unsafe munmap(p, bytes) }

  /// The number of descriptors that the process may open now.
  static func openLimit() -> Int {
    var limit = rlimit()
    // SAFETY: `limit` lives through the call.
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1_024 }
    return Int(min(limit.rlim_cur, 4_194_304))
  }

  /// The number of descriptors that the process may ever open, within reason.
  static func descriptorLimit() -> Int {
    var limit = rlimit()
    // SAFETY: `limit` lives through the call.
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 65_536 }
    return Int(min(limit.rlim_max, 4_194_304))
  }
}
