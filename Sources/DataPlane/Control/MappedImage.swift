import CLinux
import ControlProtocol
import Telemetry

/// Why an image was not taken.
struct ImageRefusal: Error, Equatable, CustomStringConvertible {
  let reason: String
  var description: String { reason }
}

/// A routing image in memory that nobody can change any more. It is unmapped with the last configuration
/// that reads it.
@safe
final class MappedImage: @unchecked Sendable {
  // INVARIANT: `byteCount` readable bytes, page-aligned, never written after `init`, mapped until `deinit`.
  private let base: UnsafeRawPointer
  let byteCount: Int
  let revision: UInt64
  let checksum: UInt64

  /// SAFETY: a reader keeps the object alive as long as it uses the pointer.
  var bytes: UnsafeRawBufferPointer { unsafe UnsafeRawBufferPointer(start: base, count: byteCount) }

  var start: UnsafeRawPointer { unsafe base }

  private init(base: UnsafeRawPointer, notice: SnapshotNotice) {
    unsafe self.base = unsafe base
    byteCount = Int(notice.byteCount)
    revision = notice.revision
    checksum = notice.checksum
  }

  deinit { unsafe munmap(UnsafeMutableRawPointer(mutating: base), byteCount) }

  /// Maps what a controller sent. It must be a memfd that nobody, not even the controller, can write, shrink
  /// or grow, of the size and checksum that were announced, and a well-formed image.
  convenience init(memory: OwnedDescriptor, notice: SnapshotNotice) throws(ImageRefusal) {
    guard clinux_is_sealed(memory.number) != 0 else {
      throw ImageRefusal(reason: "the image's descriptor is not a sealed memfd")
    }
    let size = clinux_file_size(memory.number)
    guard size >= 0, UInt64(size) == notice.byteCount, size > 0 else {
      throw ImageRefusal(reason: "the image has \(size) bytes, \(notice.byteCount) were announced")
    }
    let mapped = unsafe mmap(nil, Int(size), PROT_READ, MAP_SHARED, memory.number, 0)
    guard let mapped = unsafe Self.checked(mapped) else {
      throw ImageRefusal(reason: "the image cannot be mapped: \(errorText(clinux_errno()))")
    }
    unsafe self.init(base: UnsafeRawPointer(mapped), notice: notice)
    try validate()
  }

  /// Takes a copy: for bytes of a file that others may change.
  convenience init(copying source: [UInt8], notice: SnapshotNotice) throws(ImageRefusal) {
    guard !source.isEmpty, UInt64(source.count) == notice.byteCount else {
      throw ImageRefusal(reason: "the image has \(source.count) bytes, \(notice.byteCount) were announced")
    }
    let flags = MAP_PRIVATE | MAP_ANONYMOUS
    let mapped = unsafe mmap(nil, source.count, PROT_READ | PROT_WRITE, flags, -1, 0)
    guard let mapped = unsafe Self.checked(mapped) else {
      throw ImageRefusal(reason: "no memory for an image of \(source.count) bytes")
    }
    unsafe source.withUnsafeBytes { unsafe mapped.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    unsafe mprotect(mapped, source.count, PROT_READ)
    unsafe self.init(base: UnsafeRawPointer(mapped), notice: notice)
    try validate()
  }

  private static func checked(_ mapped: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    unsafe mapped == UnsafeMutableRawPointer(bitPattern: -1) ? nil : mapped
  }

  private func validate() throws(ImageRefusal) {
    guard unsafe imageChecksum(bytes) == checksum else {
      throw ImageRefusal(reason: "the image's checksum does not agree with the announced one")
    }
    try unsafe verifyImage(bytes)
  }
}
