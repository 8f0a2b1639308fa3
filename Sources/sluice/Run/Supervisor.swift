import CLinux
import Glibc

/// Keeps the controller and the data plane running until a signal asks for an orderly end. `run` occupies
/// one thread for the whole time: the children die with that thread, so none outlives its supervisor.
struct Supervisor {
  /// The process that carries traffic ends first, then the one that configures it.
  private var children: [ChildProcess]
  private let signals: Int32
  private let drainTimeout: Duration
  private var failure: String?

  /// What ends the program when a child starts with it: wrong flags or a configuration that cannot work (2,
  /// and those of sysexits.h). To start it again would not help.
  private static let hopeless: Set<Int32> = Set(64...78).union([2])
  private static let controllerGrace: Duration = .seconds(5)

  /// `children` in the order of starting; they are ended in the reverse order.
  init(children: [ChildProcess], drainTimeout: Duration) throws(CommandError) {
    let wanted = [SIGTERM, SIGINT, SIGHUP, SIGCHLD]
    let pipe = unsafe wanted.withUnsafeBufferPointer {
      unsafe clinux_signal_pipe($0.baseAddress, Int32($0.count))
    }
    guard pipe >= 0 else { throw .failed("cannot watch for signals: \(errnoText(errno))") }
    self.children = children
    self.signals = pipe
    self.drainTimeout = drainTimeout
  }

  /// Returns after the orderly end; an error when a child could not even start.
  consuming func run() throws(CommandError) {
    for index in children.indices {
      let error = children[index].start(now: .now)
      guard error == 0 else {
        stopAll()
        throw .failed("cannot start \(children[index].path): \(errnoText(error))")
      }
    }
    while failure == nil {
      poll(until: nextStart)
      if let signal = takeSignals().first(where: { $0 != SIGCHLD }) {
        Terminal.error("sluice | signal \(signal): draining (again to end at once)")
        break
      }
      collectEnded()
      startWaiting()
    }
    stopAll()
    if let failure { throw .failed(failure) }
  }

  private var nextStart: ContinuousClock.Instant? {
    children.compactMap { child in
      if case .waiting(let until) = child.state { until } else { nil }
    }.min()
  }

  private mutating func collectEnded() {
    for index in children.indices {
      guard let (ending, ranFor) = children[index].reap() else { continue }
      let name = children[index].name
      if case .exited(let code) = ending, Self.hopeless.contains(code), ranFor < RestartPolicy.healthyAfter {
        failure = "\(name) cannot run (\(ending)); its messages are above"
        return
      }
      let delay = children[index].policy.ended(ranFor: ranFor)
      children[index].state = .waiting(until: .now + delay)
      Terminal.error("sluice | \(name) ended (\(ending)); starting it again in \(delay)")
    }
  }

  private mutating func startWaiting() {
    for index in children.indices {
      guard case .waiting(let until) = children[index].state, until <= .now else { continue }
      let error = children[index].start(now: .now)
      guard error != 0 else { continue }
      let delay = children[index].policy.ended(ranFor: .zero)
      children[index].state = .waiting(until: .now + delay)
      let name = children[index].name
      Terminal.error("sluice | cannot start \(name): \(errnoText(error)); trying again in \(delay)")
    }
  }

  private mutating func stopAll() {
    for index in children.indices.reversed() {
      guard let process = children[index].process else { continue }
      let grace = index == children.indices.last ? drainTimeout : Self.controllerGrace
      kill(process, SIGTERM)
      let deadline = ContinuousClock.now + grace
      var hurried = false
      while children[index].process != nil {
        poll(until: min(deadline, .now + .milliseconds(500)))
        hurried = hurried || takeSignals().contains { $0 != SIGCHLD }
        if hurried || deadline <= .now { kill(process, SIGKILL) }
        _ = children[index].reap()
      }
    }
  }

  /// Waits for output, a signal or the instant, and passes the output on.
  private mutating func poll(until instant: ContinuousClock.Instant?) {
    var descriptors = [pollfd(fd: signals, events: Int16(POLLIN), revents: 0)]
    descriptors += children.compactMap(\.output).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    var timeout: Int32 = -1
    if let instant {
      let left = ContinuousClock.now.duration(to: instant).components
      timeout = Int32(clamping: max(0, left.seconds * 1000 + left.attoseconds / 1_000_000_000_000_000 + 1))
    }
    _ = unsafe descriptors.withUnsafeMutableBufferPointer {
      unsafe Glibc.poll($0.baseAddress, nfds_t($0.count), timeout)
    }
    var closed = false
    for index in children.indices {
      guard let output = children[index].output,
        let ready = descriptors.first(where: { $0.fd == output }), ready.revents != 0
      else { continue }
      children[index].drainOutput(output)
      closed = closed || ready.revents & Int16(POLLIN) == 0
    }
    // A closed pipe stays ready until its process is collected, which follows within moments.
    if closed { usleep(10_000) }
  }

  private func takeSignals() -> [Int32] {
    var buffer = [UInt8](repeating: 0, count: 64)
    let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(signals, $0.baseAddress, $0.count) }
    return count > 0 ? buffer[..<count].map(Int32.init) : []
  }
}

func errnoText(_ error: Int32) -> String {
  unsafe strerror(error).map { unsafe String(cString: $0) } ?? "error \(error)"
}
