/// An image that owns its memory and its expressions: for the controller, `explain` and tests. The data
/// plane maps the image and keeps the two apart.
@safe
public final class LoadedImage: Sendable {
  // INVARIANT: `memory` holds a verified copy of the image and is never written after init; `regexes`
  // belong to it. RE2 matches on several threads.
  nonisolated(unsafe) private let memory: UnsafeMutableRawPointer
  nonisolated(unsafe) private let regexes: Regexes
  /// In bytes.
  public let count: Int

  private final class Regexes {
    let loaded: LoadedRegexes
    init(_ loaded: consuming LoadedRegexes) { self.loaded = loaded }
  }

  /// Copies, verifies and loads an image.
  public init(_ bytes: [UInt8]) throws(ImageError) {
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: max(bytes.count, 1), alignment: ImageFormat.alignment)
    unsafe bytes.withUnsafeBytes { raw in
      if let start = raw.baseAddress { unsafe memory.copyMemory(from: start, byteCount: raw.count) }
    }
    do throws(ImageError) {
      try unsafe verify(UnsafeRawBufferPointer(start: memory, count: bytes.count))
      unsafe regexes = Regexes(try unsafe LoadedRegexes(verified: memory, count: bytes.count))
    } catch {
      unsafe memory.deallocate()
      throw error
    }
    unsafe self.memory = memory
    count = bytes.count
  }

  deinit { unsafe memory.deallocate() }

  /// The image during the call; nothing taken from it may leave.
  public func withImage<Result>(_ body: (RoutingImage) throws -> Result) rethrows -> Result {
    let image = unsafe RoutingImage(
      verified: memory, count: count, regexes: regexes.loaded.pointers)
    return try withExtendedLifetime(self) { try body(image) }
  }
}
