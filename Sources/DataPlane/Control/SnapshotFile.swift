import CLinux
import ControlProtocol
import Telemetry

/// The last good image and the last endpoint update on disk, so that the data plane can start while no
/// controller is there. An image holds private keys: the files are for their owner only.
///
/// Two files, `snapshot.image` and `snapshot.endpoints`, each replaced by a rename. The second names the
/// image that it belongs to and is ignored beside another one.
///
///     8 bytes magic | UInt64 version | revision | image checksum | byte count | checksum of the bytes
///     | checksum of the 48 bytes before | bytes
struct SnapshotFile {
  /// Name of a file, its magic and what it holds, for messages.
  private struct Kind {
    let name: String
    let magic: UInt64
    let noun: String
    let maxBytes: UInt64
  }

  private struct Content {
    let revision: UInt64
    let imageChecksum: UInt64
    let bytes: [UInt8]
  }

  /// What a start found.
  struct Loaded {
    var image: MappedImage?
    var update: EndpointUpdate?
    /// Files that were there and could not be used, for the log.
    var problems: [String] = []
  }

  private static let headerBytes = 56
  private static let version: UInt64 = 1
  private static let image = Kind(
    name: "snapshot.image", magic: 0x4745_4D49_4543_4C53, noun: "image", maxBytes: Frame.maxImageBytes)
  private static let endpoints = Kind(
    name: "snapshot.endpoints", magic: 0x5450_4445_4543_4C53, noun: "endpoint update",
    maxBytes: UInt64(Frame.maxPayloadBytes + Frame.headerBytes))

  let directory: String

  /// Creates the directory (0700) where it does not exist.
  init(directory: String) throws(SnapshotFileError) {
    self.directory = directory
    if unsafe mkdir(directory, 0o700) != 0, clinux_errno() != EEXIST {
      throw SnapshotFileError(path: directory, reason: "mkdir: \(errorText(clinux_errno()))")
    }
    let descriptor = unsafe clinux_open_directory(directory)
    guard descriptor >= 0 else {
      throw SnapshotFileError(path: directory, reason: errorText(clinux_errno()))
    }
    close(descriptor)
  }

  // MARK: Reading

  /// A file that is damaged is set aside (`.corrupt`) and said in `problems`; the start goes on without it.
  func load() -> Loaded {
    var loaded = Loaded()
    do throws(SnapshotFileError) {
      loaded.image = try readImage()
    } catch {
      loaded.problems.append(setAside(Self.image, error))
    }
    guard let image = loaded.image else { return loaded }
    do throws(SnapshotFileError) {
      loaded.update = try readUpdate(of: image)
    } catch {
      loaded.problems.append(setAside(Self.endpoints, error))
    }
    return loaded
  }

  private func readImage() throws(SnapshotFileError) -> MappedImage? {
    guard let content = try read(Self.image) else { return nil }
    let notice = SnapshotNotice(
      revision: content.revision, byteCount: UInt64(content.bytes.count),
      checksum: content.imageChecksum, endpointSequence: 0)
    do throws(ImageRefusal) {
      return try MappedImage(copying: content.bytes, notice: notice)
    } catch {
      throw SnapshotFileError(path: path(Self.image), reason: error.reason)
    }
  }

  /// Nil also for an update of an older or newer image: the controller sends what belongs to this one.
  private func readUpdate(of image: MappedImage) throws(SnapshotFileError) -> EndpointUpdate? {
    guard let content = try read(Self.endpoints) else { return nil }
    guard content.imageChecksum == image.checksum, content.revision == image.revision else { return nil }
    return try decode(content.bytes)
  }

  private func decode(_ bytes: [UInt8]) throws(SnapshotFileError) -> EndpointUpdate {
    var decoder = FrameDecoder()
    decoder.append(bytes)
    do {
      if case .endpointUpdate(let update) = try decoder.next() { return update }
    } catch {
      throw SnapshotFileError(path: path(Self.endpoints), reason: "\(error)")
    }
    throw SnapshotFileError(path: path(Self.endpoints), reason: "it holds no endpoint update")
  }

  private func setAside(_ kind: Kind, _ error: SnapshotFileError) -> String {
    let from = path(kind)
    let kept = unsafe rename(from, from + ".corrupt") == 0
    return "\(error)" + (kept ? "; kept as \(from).corrupt" : "")
  }

  /// Nil: there is no file.
  private func read(_ kind: Kind) throws(SnapshotFileError) -> Content? {
    let path = path(kind)
    func failure(_ reason: String) -> SnapshotFileError { SnapshotFileError(path: path, reason: reason) }
    let descriptor = unsafe clinux_open_read(path)
    if descriptor < 0 {
      if clinux_errno() == ENOENT { return nil }
      throw failure("open: \(errorText(clinux_errno()))")
    }
    defer { close(descriptor) }
    let size = clinux_file_size(descriptor)
    guard size >= Self.headerBytes, UInt64(size) <= kind.maxBytes + UInt64(Self.headerBytes) else {
      throw failure("\(size) bytes are no \(kind.noun)")
    }
    guard let bytes = Self.readAll(descriptor, Int(size)) else {
      throw failure("read: \(errorText(clinux_errno()))")
    }
    let words = Self.words(bytes[..<Self.headerBytes])
    let headSum = unsafe bytes[..<48].withUnsafeBytes { unsafe imageChecksum($0) }
    guard words[0] == kind.magic, words[6] == headSum else { throw failure("its header is damaged") }
    guard words[1] == Self.version else {
      throw failure("it is of version \(words[1]), this program reads version \(Self.version)")
    }
    let rest = Array(bytes[Self.headerBytes...])
    guard words[4] == UInt64(rest.count) else {
      throw failure("it has \(rest.count) of \(words[4]) bytes")
    }
    let sum = unsafe rest.withUnsafeBytes { unsafe imageChecksum($0) }
    guard words[5] == sum else {
      throw failure("its bytes are damaged")
    }
    return Content(revision: words[2], imageChecksum: words[3], bytes: rest)
  }

  private static func words(_ bytes: ArraySlice<UInt8>) -> [UInt64] {
    var words: [UInt64] = []
    for (index, byte) in bytes.enumerated() {
      if index % 8 == 0 { words.append(0) }
      words[index / 8] |= UInt64(byte) << UInt64(8 * (index % 8))
    }
    return words
  }

  /// Nil also when the file became shorter meanwhile.
  private static func readAll(_ descriptor: Int32, _ size: Int) -> [UInt8]? {
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, filled in
      while filled < size, let base = buffer.baseAddress {
        // SAFETY: filled < size, the buffer's capacity.
        let n = unsafe CLinux.read(descriptor, base + filled, size - filled)
        if n < 0 && clinux_errno() == EINTR { continue }
        if n <= 0 { return }
        filled += n
      }
    }
    return bytes.count == size ? bytes : nil
  }

  // MARK: Writing

  func save(_ image: MappedImage) throws(SnapshotFileError) {
    try unsafe write(
      Self.image, revision: image.revision, imageChecksum: image.checksum, bytes: image.bytes)
  }

  /// `update` must belong to `image`. Without changes the file goes.
  func save(_ update: EndpointUpdate, of image: MappedImage) throws(SnapshotFileError) {
    if update.backends.isEmpty {
      unsafe unlink(path(Self.endpoints))
      return
    }
    guard let frame = ControlMessage.endpointUpdate(update).frame() else {
      throw SnapshotFileError(path: path(Self.endpoints), reason: "the update does not fit a frame")
    }
    // Typed throws do not pass through withUnsafeBytes.
    let result: Result<Void, SnapshotFileError> = unsafe frame.withUnsafeBytes { bytes in
      do throws(SnapshotFileError) {
        try unsafe write(
          Self.endpoints, revision: image.revision, imageChecksum: image.checksum, bytes: bytes)
        return .success(())
      } catch { return .failure(error) }
    }
    try result.get()
  }

  private func write(
    _ kind: Kind, revision: UInt64, imageChecksum checksum: UInt64, bytes: UnsafeRawBufferPointer
  ) throws(SnapshotFileError) {
    let path = path(kind)
    let temporary = path + ".new"
    func failure(_ call: String) -> SnapshotFileError {
      let error = SnapshotFileError(path: path, reason: "\(call): \(errorText(clinux_errno()))")
      unsafe unlink(temporary)
      return error
    }
    var header: [UInt8] = []
    func put(_ word: UInt64) {
      for index in 0..<8 { header.append(UInt8(truncatingIfNeeded: word >> UInt64(8 * index))) }
    }
    for word in [kind.magic, Self.version, revision, checksum, UInt64(bytes.count)] { put(word) }
    put(unsafe imageChecksum(bytes))
    put(unsafe header.withUnsafeBytes { unsafe imageChecksum($0) })
    let descriptor = unsafe clinux_open_create(temporary)
    guard descriptor >= 0 else { throw failure("open") }
    defer { close(descriptor) }
    let isWritten = unsafe header.withUnsafeBytes { unsafe Self.writeAll(descriptor, $0) }
    guard unsafe isWritten && Self.writeAll(descriptor, bytes) else { throw failure("write") }
    // Before the rename: after a power failure there is the old file or the new one, never half of one.
    guard fdatasync(descriptor) == 0 else { throw failure("fdatasync") }
    guard unsafe rename(temporary, path) == 0 else { throw failure("rename") }
    let parent = unsafe clinux_open_directory(directory)
    if parent >= 0 {
      fsync(parent)
      close(parent)
    }
  }

  private static func writeAll(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Bool {
    var offset = 0
    while offset < bytes.count {
      // SAFETY: offset < count, so there is a base address.
      let n = unsafe CLinux.write(descriptor, bytes.baseAddress! + offset, bytes.count - offset)
      if n < 0 && clinux_errno() == EINTR { continue }
      if n <= 0 { return false }
      offset += n
    }
    return true
  }

  private func path(_ kind: Kind) -> String { "\(directory)/\(kind.name)" }
}

/// A file of the state directory that cannot be read or written.
struct SnapshotFileError: Error, Equatable, CustomStringConvertible {
  let path: String
  let reason: String
  var description: String { "\(path): \(reason)" }
}
