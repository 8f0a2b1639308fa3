internal import CSandbox
internal import Glibc

/// A seccomp filter (seccomp(2)) as the instructions that the kernel runs for each system call.
struct SystemCallFilter {
  /// `sock_filter` of linux/filter.h.
  struct Instruction: Equatable {
    var code: UInt16
    var onTrue: UInt8 = 0
    var onFalse: UInt8 = 0
    var operand: UInt32
  }

  /// Offsets into `seccomp_data`; arguments have eight bytes each, the low four of them first.
  private enum Field {
    static let number: UInt32 = 0
    static let architecture: UInt32 = 4
    static func argument(_ index: UInt32) -> UInt32 { 16 + index * 8 }
  }

  private(set) var instructions: [Instruction] = []

  /// - Parameter other: what becomes of a call that is neither allowed nor deadly.
  init(otherwise other: SystemCallVerdict) {
    load(Field.architecture)
    unless(equal: SystemCalls.architecture, .kill)
    load(Field.number)
    #if arch(x86_64)
      // The numbers of the x32 form of the same processor.
      add(UInt16(BPF_JMP | BPF_JGE | BPF_K), onTrue: 0, onFalse: 1, 0x4000_0000)
      add(.kill)
    #endif
    for number in SystemCalls.allowed {
      add(UInt16(BPF_JMP | BPF_JEQ | BPF_K), onTrue: 0, onFalse: 1, UInt32(number))
      add(.allow)
    }
    allow(SYS_socket, argument: 0, oneOf: [AF_UNIX, AF_INET, AF_INET6].map { UInt32($0) })
    // Data that can be run is not made any more.
    allow(SYS_mmap, argument: 2, without: UInt32(PROT_EXEC))
    allow(SYS_mprotect, argument: 2, without: UInt32(PROT_EXEC))
    // Threads, not processes. The flags of clone3 are in memory; the C library falls back to clone.
    allow(SYS_clone, argument: 0, with: UInt32(CLONE_THREAD))
    whenever(SYS_clone3, .fail(ENOSYS))
    // A ring could open files behind this filter; those that are there can not.
    whenever(SYS_io_uring_setup, .fail(EPERM))
    for number in SystemCalls.deadly { whenever(number, .kill) }
    add(other)
  }

  private mutating func add(_ code: UInt16, onTrue: UInt8 = 0, onFalse: UInt8 = 0, _ operand: UInt32) {
    instructions.append(Instruction(code: code, onTrue: onTrue, onFalse: onFalse, operand: operand))
  }

  private mutating func load(_ offset: UInt32) { add(UInt16(BPF_LD | BPF_W | BPF_ABS), offset) }

  private mutating func add(_ verdict: SystemCallVerdict) { add(UInt16(BPF_RET | BPF_K), verdict.action) }

  private mutating func unless(equal value: UInt32, _ verdict: SystemCallVerdict) {
    add(UInt16(BPF_JMP | BPF_JEQ | BPF_K), onTrue: 1, onFalse: 0, value)
    add(verdict)
  }

  private mutating func whenever(_ number: Int32, _ verdict: SystemCallVerdict) {
    add(UInt16(BPF_JMP | BPF_JEQ | BPF_K), onTrue: 0, onFalse: 1, UInt32(number))
    add(verdict)
  }

  /// The number is loaded again behind each of these, because a look at an argument takes its place.
  private mutating func allow(_ number: Int32, argument: UInt32, oneOf values: [UInt32]) {
    add(UInt16(BPF_JMP | BPF_JEQ | BPF_K), onTrue: 0, onFalse: UInt8(2 * values.count + 3), UInt32(number))
    load(Field.argument(argument))
    for value in values {
      add(UInt16(BPF_JMP | BPF_JEQ | BPF_K), onTrue: 0, onFalse: 1, value)
      add(.allow)
    }
    add(.fail(EAFNOSUPPORT))
    load(Field.number)
  }

  private mutating func allow(_ number: Int32, argument: UInt32, without bits: UInt32) {
    add(UInt16(BPF_JMP | BPF_JEQ | BPF_K), onTrue: 0, onFalse: 4, UInt32(number))
    load(Field.argument(argument))
    add(UInt16(BPF_JMP | BPF_JSET | BPF_K), onTrue: 0, onFalse: 1, bits)
    add(.fail(EACCES))
    add(.allow)
  }

  private mutating func allow(_ number: Int32, argument: UInt32, with bits: UInt32) {
    add(UInt16(BPF_JMP | BPF_JEQ | BPF_K), onTrue: 0, onFalse: 4, UInt32(number))
    load(Field.argument(argument))
    add(UInt16(BPF_JMP | BPF_JSET | BPF_K), onTrue: 1, onFalse: 0, bits)
    add(.fail(EPERM))
    add(.allow)
  }
}

/// What the kernel does with a system call.
enum SystemCallVerdict: Equatable {
  case allow
  /// It returns this error.
  case fail(Int32)
  /// It ends the process.
  case kill

  /// `SECCOMP_RET_*` of linux/seccomp.h, with its data.
  var action: UInt32 {
    switch self {
    case .allow: 0x7fff_0000
    case .fail(let error): 0x0005_0000 | UInt32(error)
    case .kill: 0x8000_0000
    }
  }
}
