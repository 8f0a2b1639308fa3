import CLinux

/// Where access-log lines go. Opened and reopened by the main thread, written by the workers: reopening
/// puts the new file under the same descriptor number, so that workers need not know.
public struct AccessLog: Sendable {
  public let path: String
  public let descriptor: Int32

  init(path: String, descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
  }

  /// `path` "-" is standard output. Throws the errno of open(2).
  public init(path: String) throws(AccessLogError) {
    let descriptor = path == "-" ? 1 : unsafe clinux_open_append(path)
    if descriptor < 0 { throw AccessLogError(path: path, code: clinux_errno()) }
    self.init(path: path, descriptor: descriptor)
  }

  /// After a rotation (SIGHUP). On failure the old file stays in use.
  public func reopen() throws(AccessLogError) {
    guard path != "-" else { return }
    let fresh = unsafe clinux_open_append(path)
    if fresh < 0 { throw AccessLogError(path: path, code: clinux_errno()) }
    let result = dup3(fresh, descriptor, 0x80000)
    let code = clinux_errno()
    close(fresh)
    if result < 0 { throw AccessLogError(path: path, code: code) }
  }
}

public struct AccessLogError: Error, CustomStringConvertible {
  public let path: String
  /// errno
  public let code: Int32
  public var description: String { "access log \(path): \(errorText(code))" }
}

/// The lines of one worker that are not written yet. A worker appends at the end of each request and
/// flushes once a loop turn or when `needsFlush`; a reader of the log that is slow (a pipe) costs lines,
/// which are counted, but never stops the worker.
@safe @frozen
public struct AccessLogBuffer {
  // INVARIANT: `capacity` bytes at base, of which the first `count` are whole lines.
  @usableFromInline let base: UnsafeMutablePointer<UInt8>
  public private(set) var count = 0
  private var lines = 0
  private let descriptor: Int32
  private let isRegularFile: Bool

  public static let capacity = 128 * 1024

  /// `descriptor` of an `AccessLog`.
  public init(descriptor: Int32) {
    unsafe base = .allocate(capacity: Self.capacity)
    self.descriptor = descriptor
    isRegularFile = clinux_is_regular(descriptor) != 0
  }

  public func deallocate() { unsafe base.deallocate() }

  /// More than half full.
  public var needsFlush: Bool { count > Self.capacity / 2 }

  public mutating func append(_ record: AccessLogRecord, counters: CounterBlock) {
    var length = unsafe record.format(into: base + count, capacity: Self.capacity - count)
    if length == 0 {
      flush(counters: counters)
      // SAFETY: count is 0 after a flush.
      length = unsafe record.format(into: base, capacity: Self.capacity)
    }
    if length == 0 {
      counters.add(.accessLogLinesDropped)
      return
    }
    count += length
    lines += 1
  }

  /// Writes what there is, or drops it where that would wait.
  public mutating func flush(counters: CounterBlock) {
    guard count > 0 else { return }
    let written = isRegularFile ? unsafe writeAll(base, count) : writePieces()
    counters.add(written ? .accessLogLines : .accessLogLinesDropped, lines)
    count = 0
    lines = 0
  }

  private func writeAll(_ start: UnsafePointer<UInt8>, _ length: Int) -> Bool {
    var offset = 0
    while offset < length {
      // SAFETY: offset < length, and the caller gave length readable bytes.
      let n = unsafe write(descriptor, start + offset, length - offset)
      if n < 0 && clinux_errno() == EINTR { continue }
      if n <= 0 { return false }
      offset += n
    }
    return true
  }

  /// A pipe that polls writable takes PIPE_BUF bytes at once without waiting.
  private func writePieces() -> Bool {
    var offset = 0
    while offset < count {
      var question = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      guard unsafe poll(&question, 1, 0) == 1, question.revents & Int16(POLLOUT) != 0 else { return false }
      let piece = min(count - offset, 4096)
      guard unsafe writeAll(base + offset, piece) else { return false }
      offset += piece
    }
    return true
  }
}
