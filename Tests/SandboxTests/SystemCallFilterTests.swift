import CSandbox
import Glibc
import Testing

@testable import Sandbox

/// The filter's instructions, run as the kernel would run them.
@Suite struct SystemCallFilterTests {
  private let deny = SystemCallFilter(otherwise: .fail(EPERM))
  private let kill = SystemCallFilter(otherwise: .kill)

  /// What the kernel does with a call: classic BPF over the words of `seccomp_data` (linux/filter.h).
  private func verdict(
    _ filter: SystemCallFilter, _ number: Int32, _ arguments: [UInt32] = [],
    architecture: UInt32 = SystemCalls.architecture
  ) throws -> UInt32 {
    var words = [UInt32(bitPattern: number), architecture, 0, 0]
    for index in 0..<6 { words += [index < arguments.count ? arguments[index] : 0, 0] }
    var accumulator: UInt32 = 0
    var next = 0
    while true {
      let instruction = filter.instructions[next]
      next += 1
      let value = instruction.operand
      let holds: Bool
      switch instruction.code {
      case 0x20:
        accumulator = words[Int(value) / 4]
        continue
      case 0x06: return value
      case 0x15: holds = accumulator == value
      case 0x35: holds = accumulator >= value
      case 0x45: holds = accumulator & value != 0
      default: throw Unknown(code: instruction.code)
      }
      next += Int(holds ? instruction.onTrue : instruction.onFalse)
    }
  }

  private struct Unknown: Error { let code: UInt16 }

  @Test func whatIsNeededIsAllowed() throws {
    for number in SystemCalls.allowed {
      #expect(try verdict(deny, number) == SystemCallVerdict.allow.action, "system call \(number)")
    }
  }

  @Test func whatIsDeadlyEndsTheProcess() throws {
    for number in SystemCalls.deadly {
      #expect(try verdict(deny, number) == SystemCallVerdict.kill.action, "system call \(number)")
      #expect(!SystemCalls.allowed.contains(number))
    }
  }

  @Test func everythingElseFails() throws {
    // Of those without a place in either list: a directory made root, a clock set, a number that does not exist.
    for number in [SYS_chroot, SYS_clock_settime, SYS_kill, SYS_quotactl, 9999] {
      #expect(try verdict(deny, Int32(number)) == SystemCallVerdict.fail(EPERM).action, "system call \(number)")
      #expect(try verdict(kill, Int32(number)) == SystemCallVerdict.kill.action)
    }
  }

  @Test func socketsAreOfTheInternetOrOfThisSystem() throws {
    for domain in [AF_INET, AF_INET6, AF_UNIX] {
      #expect(try verdict(kill, Int32(SYS_socket), [UInt32(domain)]) == SystemCallVerdict.allow.action)
    }
    for domain in [AF_PACKET, AF_NETLINK, AF_VSOCK, AF_ALG] {
      #expect(try verdict(deny, Int32(SYS_socket), [UInt32(domain)]) == SystemCallVerdict.fail(EAFNOSUPPORT).action)
    }
  }

  @Test func memoryCannotBecomeCode() throws {
    let data = UInt32(PROT_READ | PROT_WRITE)
    for number in [SYS_mmap, SYS_mprotect].map({ Int32($0) }) {
      #expect(try verdict(kill, number, [0, 4096, data]) == SystemCallVerdict.allow.action)
      #expect(
        try verdict(deny, number, [0, 4096, data | UInt32(PROT_EXEC)]) == SystemCallVerdict.fail(EACCES).action)
    }
  }

  @Test func threadsAreMadeAndProcessesAreNot() throws {
    #expect(try verdict(kill, Int32(SYS_clone), [0x3d0f00]) == SystemCallVerdict.allow.action)
    #expect(try verdict(deny, Int32(SYS_clone), [UInt32(SIGCHLD)]) == SystemCallVerdict.fail(EPERM).action)
    // The C library then asks clone.
    #expect(try verdict(kill, Int32(SYS_clone3)) == SystemCallVerdict.fail(ENOSYS).action)
  }

  @Test func noRingIsMadeAndNoOtherArchitectureAsks() throws {
    #expect(try verdict(deny, Int32(SYS_io_uring_setup)) == SystemCallVerdict.fail(EPERM).action)
    #expect(try verdict(deny, Int32(SYS_read), architecture: 0x4000_0003) == SystemCallVerdict.kill.action)
    #if arch(x86_64)
      #expect(try verdict(deny, Int32(SYS_read) | 0x4000_0000) == SystemCallVerdict.kill.action)
    #endif
  }

  @Test func programIsWithinTheKernelsLimits() {
    #expect(deny.instructions.count <= 4096)
    for (index, instruction) in deny.instructions.enumerated() where instruction.code & 7 == 5 {
      #expect(index + 1 + Int(max(instruction.onTrue, instruction.onFalse)) < deny.instructions.count)
    }
  }
}
