internal import CLinux
internal import Glibc

/// The two queues that the kernel shares with us (io_uring(7)), by raw system calls.
///
/// `push` writes an entry, `enter` hands all of them over, `pop` takes completions. One thread
/// makes, uses and ends it (IORING_SETUP_SINGLE_ISSUER), and the kernel completes nothing but
/// inside of `enter` (DEFER_TASKRUN), so that nothing here races.
@safe struct Ring: ~Copyable {
  // INVARIANT: the pointers lead into the two mappings, which live from init to deinit; indices
  // into the arrays are taken modulo their size, which is a power of two.
  private let entries: UnsafeMutablePointer<RingEntry>
  private let completions: UnsafeMutablePointer<io_uring_cqe>
  private let submissionTail: UnsafeMutablePointer<UInt32>
  private let submissionFlags: UnsafeMutablePointer<UInt32>
  private let completionHead: UnsafeMutablePointer<UInt32>
  private let completionTail: UnsafeMutablePointer<UInt32>
  private let queues: UnsafeMutableRawPointer
  private let queuesBytes: Int
  private let entryMask: UInt32
  private let completionMask: UInt32
  let descriptor: Int32
  /// What `enter` names the ring by: its place in the thread's table of registered rings.
  private let enterName: Int32
  private let enterFlags: UInt32
  /// Entries pushed, and of those the ones handed over.
  private(set) var pushed: UInt32 = 0
  private var submitted: UInt32 = 0
  /// Completions taken, and how far they are known.
  private(set) var head: UInt32 = 0
  private(set) var tail: UInt32 = 0

  // INVARIANT: nil, or completions of which those from `asideHead` to before `asideCount` come
  // before all in the queue.
  private var aside: UnsafeMutablePointer<RingCompletion>?
  private var asideHead = 0
  private var asideCount = 0

  /// Both counts are rounded up to powers of two; `completions` is not below `entries`.
  init(entries entryCount: UInt32, completions completionCount: UInt32) throws(SystemError) {
    var parameters = io_uring_params()
    parameters.flags =
      UInt32(IORING_SETUP_SINGLE_ISSUER) | UInt32(IORING_SETUP_DEFER_TASKRUN) | UInt32(IORING_SETUP_CQSIZE)
      | UInt32(IORING_SETUP_SUBMIT_ALL) | UInt32(IORING_SETUP_R_DISABLED)
    parameters.cq_entries = completionCount
    let ring = unsafe clinux_ring_setup(entryCount, &parameters)
    if ring < 0 { throw SystemError(errno: clinux_errno(), operation: "io_uring_setup") }
    let needed = UInt32(IORING_FEAT_SINGLE_MMAP) | UInt32(IORING_FEAT_NODROP) | UInt32(IORING_FEAT_EXT_ARG)
    guard parameters.features & needed == needed else {
      System.close(ring)
      throw SystemError(errno: ENOSYS, operation: "io_uring_setup: features")
    }
    do throws(SystemError) {
      try Self.restrict(ring)
    } catch {
      System.close(ring)
      throw error
    }
    let submissions = Int(parameters.sq_off.array) + Int(parameters.sq_entries) * MemoryLayout<UInt32>.stride
    let completed = Int(parameters.cq_off.cqes) + Int(parameters.cq_entries) * MemoryLayout<io_uring_cqe>.stride
    let size = max(submissions, completed)
    let base: UnsafeMutableRawPointer, array: UnsafeMutableRawPointer
    do throws(SystemError) {
      unsafe base = try System.mapShared(ring, size, offset: Int(IORING_OFF_SQ_RING))
    } catch {
      System.close(ring)
      throw error
    }
    do throws(SystemError) {
      unsafe array = try System.mapShared(
        ring, Int(parameters.sq_entries) * MemoryLayout<RingEntry>.stride, offset: Int(IORING_OFF_SQES))
    } catch {
      unsafe System.unmap(base, size)
      System.close(ring)
      throw error
    }
    // SAFETY: the kernel said where in its mapping each word lies.
    func word(_ offset: UInt32) -> UnsafeMutablePointer<UInt32> {
      unsafe (base + Int(offset)).assumingMemoryBound(to: UInt32.self)
    }
    unsafe queues = base
    queuesBytes = size
    unsafe entries = array.bindMemory(to: RingEntry.self, capacity: Int(parameters.sq_entries))
    unsafe completions = (base + Int(parameters.cq_off.cqes)).assumingMemoryBound(to: io_uring_cqe.self)
    unsafe submissionTail = word(parameters.sq_off.tail)
    unsafe submissionFlags = word(parameters.sq_off.flags)
    unsafe completionHead = word(parameters.cq_off.head)
    unsafe completionTail = word(parameters.cq_off.tail)
    entryMask = parameters.sq_entries - 1
    completionMask = parameters.cq_entries - 1
    // Entries are used in the order of their array.
    let order = unsafe word(parameters.sq_off.array)
    for i in 0..<Int(parameters.sq_entries) { unsafe order[i] = UInt32(i) }
    descriptor = ring
    let name = Self.registerName(ring)
    enterName = name ?? ring
    enterFlags = name == nil ? 0 : UInt32(IORING_ENTER_REGISTERED_RING)
  }

  /// From here on the ring does sockets and nothing else, whoever writes entries into it: no file is opened through
  /// it behind a filter of system calls (io_uring_register(2), IORING_REGISTER_RESTRICTIONS).
  private static func restrict(_ ring: Int32) throws(SystemError) {
    let operations = [
      IORING_OP_FILES_UPDATE, IORING_OP_RECV, IORING_OP_SEND, IORING_OP_RECVMSG, IORING_OP_SENDMSG, IORING_OP_ACCEPT,
      IORING_OP_CONNECT, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL, IORING_OP_CLOSE,
    ]
    let registrations = [
      IORING_REGISTER_FILES2, IORING_REGISTER_RING_FDS, IORING_UNREGISTER_RING_FDS, IORING_REGISTER_PBUF_RING,
      IORING_UNREGISTER_PBUF_RING, IORING_REGISTER_SYNC_CANCEL,
    ]
    var list: [io_uring_restriction] = []
    for operation in operations {
      var entry = io_uring_restriction()
      entry.opcode = UInt16(IORING_RESTRICTION_SQE_OP)
      entry.sqe_op = UInt8(operation.rawValue)
      list.append(entry)
    }
    for registration in registrations {
      var entry = io_uring_restriction()
      entry.opcode = UInt16(IORING_RESTRICTION_REGISTER_OP)
      entry.register_op = UInt8(registration)
      list.append(entry)
    }
    var flags = io_uring_restriction()
    flags.opcode = UInt16(IORING_RESTRICTION_SQE_FLAGS_ALLOWED)
    flags.sqe_flags = .max
    list.append(flags)
    let count = UInt32(list.count)
    // SAFETY: the kernel copies the list during the call.
    let result = unsafe list.withUnsafeMutableBufferPointer { buffer in
      unsafe clinux_ring_register(ring, UInt32(IORING_REGISTER_RESTRICTIONS), buffer.baseAddress, count)
    }
    if result != 0 { throw SystemError(errno: clinux_errno(), operation: "io_uring_register: restrictions") }
    if clinux_ring_register(ring, UInt32(IORING_REGISTER_ENABLE_RINGS), nil, 0) != 0 {
      throw SystemError(errno: clinux_errno(), operation: "io_uring_register: enable")
    }
  }

  /// Makes an empty table of files, as large as the process may have descriptors, `count` at most.
  /// - Returns: its size.
  func makeFileTable(_ count: Int) throws(SystemError) -> Int {
    let size = min(count, System.openLimit())
    var registration = io_uring_rsrc_register()
    registration.nr = UInt32(size)
    registration.flags = UInt32(IORING_RSRC_REGISTER_SPARSE)
    let bytes = UInt32(MemoryLayout<io_uring_rsrc_register>.size)
    let result = unsafe clinux_ring_register(descriptor, UInt32(IORING_REGISTER_FILES2), &registration, bytes)
    if result != 0 { throw SystemError(errno: clinux_errno(), operation: "io_uring_register: files") }
    return size
  }

  /// Spares the look-up of the descriptor in each `enter`; nil where the kernel has no room for it.
  private static func registerName(_ ring: Int32) -> Int32? {
    var update = io_uring_rsrc_update()
    update.offset = .max
    update.data = UInt64(ring)
    // SAFETY: the kernel reads and writes a local.
    let count = unsafe clinux_ring_register(ring, UInt32(IORING_REGISTER_RING_FDS), &update, 1)
    return count == 1 ? Int32(update.offset) : nil
  }

  deinit {
    unsafe aside?.deallocate()
    if enterName != descriptor {
      var update = io_uring_rsrc_update()
      update.offset = UInt32(enterName)
      _ = unsafe clinux_ring_register(descriptor, UInt32(IORING_UNREGISTER_RING_FDS), &update, 1)
    }
    unsafe System.unmap(entries, Int(entryMask + 1) * MemoryLayout<RingEntry>.stride)
    unsafe System.unmap(queues, queuesBytes)
    System.close(descriptor)
  }

  // MARK: Submissions

  var isFull: Bool { pushed &- submitted > entryMask }
  var hasUnsubmitted: Bool { pushed != submitted }

  /// Only where the ring is not full. The entry's number is good for `entry` until the next `enter`.
  @inline(__always)
  @discardableResult
  mutating func push(_ entry: RingEntry) -> UInt32 {
    let number = pushed
    unsafe entries[Int(number & entryMask)] = entry
    pushed = number &+ 1
    return number
  }

  /// Whether entry `number` is the one of `tag` and was not handed over yet.
  func holds(_ number: UInt32, _ tag: RingTag) -> Bool {
    guard number &- submitted < pushed &- submitted else { return false }
    return unsafe entries[Int(number & entryMask)].tag == tag.word
  }

  /// An entry that was pushed and not handed over yet may still be made longer.
  @inline(__always)
  func setLength(of number: UInt32, _ length: UInt32) {
    unsafe entries[Int(number & entryMask)].length = length
  }

  /// Hands over what was pushed. With `timeout` it waits for a completion as long (nil: for ever)
  /// and completes what became ready; without `waits` it only hands over.
  mutating func enter(waits: Bool, nanoseconds timeout: UInt64?) {
    unsafe clinux_store_release_u32(completionHead, head)
    unsafe clinux_store_release_u32(submissionTail, pushed)
    var isFirst = true
    while isFirst || pushed != submitted {
      let result = enterOnce(waits: waits && isFirst, nanoseconds: timeout)
      isFirst = false
      if result >= 0 {
        submitted = submitted &+ UInt32(result)
        continue
      }
      let error = clinux_errno()
      switch error {
      case ETIME, EINTR: break
      // Memory for requests or room for completions is short: what is done is taken first.
      case EAGAIN, EBUSY, ENOMEM: _ = enterOnce(waits: true, nanoseconds: 1_000_000)
      default: preconditionFailure("io_uring_enter: errno \(error)")
      }
    }
    unsafe tail = clinux_load_acquire_u32(completionTail)
  }

  private func enterOnce(waits: Bool, nanoseconds timeout: UInt64?) -> Int32 {
    let count = pushed &- submitted
    guard waits else { return clinux_ring_enter(enterName, count, 0, enterFlags, nil, 0) }
    let flags = enterFlags | UInt32(IORING_ENTER_GETEVENTS)
    guard let timeout else { return clinux_ring_enter(enterName, count, 1, flags, nil, 0) }
    if timeout == 0 { return clinux_ring_enter(enterName, count, 0, flags, nil, 0) }
    var time = __kernel_timespec(
      tv_sec: Int64(clamping: timeout / 1_000_000_000), tv_nsec: Int64(timeout % 1_000_000_000))
    // SAFETY: both locals live through the call.
    return unsafe withUnsafePointer(to: &time) { time in
      var argument = io_uring_getevents_arg()
      argument.ts = UInt64(UInt(bitPattern: time))
      return unsafe clinux_ring_enter(
        enterName, count, 1, flags | UInt32(IORING_ENTER_EXT_ARG), &argument,
        MemoryLayout<io_uring_getevents_arg>.size)
    }
  }

  /// Hands over what was pushed and ends all operations: the files that they held on to are let
  /// go of when it returns. Nothing may be done with the ring afterwards.
  func cancelEverything() {
    var request = io_uring_sync_cancel_reg()
    request.fd = -1
    request.flags = UInt32(IORING_ASYNC_CANCEL_ALL) | UInt32(IORING_ASYNC_CANCEL_ANY)
    request.timeout = __kernel_timespec(tv_sec: 0, tv_nsec: 100_000_000)
    unsafe clinux_store_release_u32(submissionTail, pushed)
    _ = enterOnce(waits: true, nanoseconds: 0)
    _ = unsafe clinux_ring_register(descriptor, UInt32(IORING_REGISTER_SYNC_CANCEL), &request, 1)
    _ = clinux_ring_enter(enterName, 0, 0, enterFlags | UInt32(IORING_ENTER_GETEVENTS), nil, 0)
  }

  // MARK: Completions

  /// Completions that found no room wait in the kernel until there is and an `enter` completes. Their
  /// multishot operations have ended.
  var hasOverflow: Bool {
    unsafe clinux_load_acquire_u32(submissionFlags) & UInt32(IORING_SQ_CQ_OVERFLOW) != 0
  }

  /// A completion by its number, from `head` to before `tail`.
  @inline(__always)
  func completion(_ number: UInt32) -> RingCompletion {
    let raw = unsafe completions + Int(number & completionMask)
    return unsafe RingCompletion(
      tag: RingTag(word: raw.pointee.user_data), result: raw.pointee.res, flags: raw.pointee.flags)
  }

  /// Makes room for what found none: what is in the queue waits in the heap instead.
  @inline(never)
  mutating func setAside() {
    let left = asideCount - asideHead, added = Int(tail &- head)
    let grown = UnsafeMutablePointer<RingCompletion>.allocate(capacity: max(1, left + added))
    // SAFETY: as many as were counted; RingCompletion is trivial.
    if let aside = unsafe aside {
      unsafe grown.update(from: aside + asideHead, count: left)
      unsafe aside.deallocate()
    }
    for i in 0..<added { unsafe grown[left + i] = completion(head &+ UInt32(i)) }
    unsafe aside = unsafe grown
    asideHead = 0
    asideCount = left + added
    head = tail
  }

  @inline(never)
  private mutating func popAside() -> RingCompletion? {
    guard let aside = unsafe aside, asideHead < asideCount else { return nil }
    asideHead += 1
    let completion = unsafe aside[asideHead - 1]
    if asideHead == asideCount {
      unsafe aside.deallocate()
      unsafe self.aside = nil
      asideHead = 0
      asideCount = 0
    }
    return completion
  }

  @inline(__always)
  mutating func pop() -> RingCompletion? {
    if asideCount != 0 { return popAside() }
    if head == tail { return nil }
    let completion = completion(head)
    head = head &+ 1
    return completion
  }
}

/// What became of a submission.
struct RingCompletion {
  var tag: RingTag
  /// A count or a descriptor; below zero an errno.
  var result: Int32
  var flags: UInt32

  /// The operation goes on.
  @inline(__always)
  var hasMore: Bool { flags & UInt32(IORING_CQE_F_MORE) != 0 }

  /// The buffer that was filled; nil: none was.
  @inline(__always)
  var buffer: UInt16? {
    flags & UInt32(IORING_CQE_F_BUFFER) != 0
      ? UInt16(truncatingIfNeeded: flags >> UInt32(IORING_CQE_BUFFER_SHIFT)) : nil
  }
}
