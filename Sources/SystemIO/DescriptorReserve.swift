internal import CLinux
internal import Glibc

/// A descriptor held only to be given up when the process runs out of them, so that connections
/// can be taken in and closed instead of waiting unseen in the backlog.
struct DescriptorReserve: ~Copyable {
  /// -1: lost to another thread, or to the lack itself.
  private var descriptor: Int32 = System.openReserve()

  deinit { if descriptor >= 0 { System.close(descriptor) } }

  mutating func refill() {
    if descriptor < 0 { descriptor = System.openReserve() }
  }

  /// Takes in one connection at `listener` and closes it. `failed`: not even that can be done.
  mutating func refuse(at listener: Int32, _ error: Int32) -> Outcome {
    guard error == EMFILE || error == ENFILE, descriptor >= 0 else { return .failed(error) }
    System.close(descriptor)
    var peer = SocketAddress()
    let second = System.accept(listener, &peer)
    if case .done(let accepted) = second { System.close(Int32(accepted)) }
    descriptor = System.openReserve()
    return second
  }
}
