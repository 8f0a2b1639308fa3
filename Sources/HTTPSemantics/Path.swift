/// Why a path is refused.
public enum PathError: UInt8, Error, Sendable {
  /// Does not start with a slash.
  case notAbsolute
  /// A percent sign without two hexadecimal digits after it (RFC 3986 section 2.1).
  case percentEncoding
  /// NUL, plain or as %00.
  case nul
  /// Control bytes, space, DEL, "#", "?", "\" or bytes from 0x80 on.
  case character
  /// ".." beyond the root.
  case aboveRoot
  /// A dot segment that only shows up once %2F, %5C or a ";" parameter has been taken away: "..%2f", "..;".
  /// What a backend makes of it is not what would be routed on.
  case hiddenDotSegment
  /// An encoded UTF-8 sequence longer than its character needs (RFC 3629 section 3): "%C0%AF" is a slash to
  /// readers that do not check, "%C0%AE" a dot.
  case overlong
  /// %2F or %5C where the policy does not want them.
  case escapedSlash

  public var reason: StaticString {
    switch self {
    case .notAbsolute: "path does not start with /"
    case .percentEncoding: "path has an invalid percent-encoding"
    case .nul: "path holds a NUL"
    case .character: "path holds a byte that must be percent-encoded"
    case .aboveRoot: "path leads above the root"
    case .hiddenDotSegment: "path hides a dot segment behind an encoded separator or a parameter"
    case .overlong: "path holds an overlong UTF-8 sequence"
    case .escapedSlash: "path holds an encoded slash or backslash"
    }
  }
}

public enum PathResult {
  /// The path is its own normal form; nothing was written.
  case unchanged
  /// The first `count` bytes of the output are the normal form.
  case rewritten(count: Int)
  case invalid(PathError)
  /// The output is too small. The path's own length always suffices.
  case noRoom
}

/// What a listener wants of paths beyond RFC 3986, whose readers do not agree on it.
@frozen
public struct PathPolicy: Sendable, Equatable {
  /// A path with %2F or %5C is refused.
  public var rejectsEscapedSlashes = false
  /// %2F and %5C are slashes.
  public var decodesEscapedSlashes = false
  /// Several slashes in a row are one.
  public var mergesSlashes = false

  @inlinable
  public init() {}
}

/// Whether `normalizePath` might have anything to do, whatever the policy: false for nearly every path, at one
/// pass over it. A path for which this is false holds no percent sign, no two slashes in a row and no segment
/// that begins with a dot.
@inlinable
public func pathNeedsNormalizing(_ path: Bytes) -> Bool {
  var index = 0
  var previous: UInt8 = 0
  while index < path.count {
    // SAFETY: the index is below the view's count.
    let byte = unsafe path.start[index]
    // 0x2e is a dot, 0x2f a slash.
    if byte == 0x25 || (byte | 1 == 0x2f && previous == 0x2f) { return true }
    previous = byte
    index &+= 1
  }
  return path.isEmpty
}

/// The normal form of an absolute path, the one that is routed on and forwarded (RFC 3986 section 6.2.2):
/// percent-encoded unreserved bytes are decoded, then dot segments are removed. Everything else stays as it
/// came, letter case and parameters too; %2F, %5C and double slashes unless the policy says otherwise.
/// "*" (OPTIONS) is unchanged.
///
/// Writes at most `capacity` bytes to `output`, which must not overlap `path`.
public func normalizePath(
  _ path: Bytes, _ output: UnsafeMutablePointer<UInt8>, capacity: Int, policy: PathPolicy = PathPolicy()
) -> PathResult {
  if path.equals("*") { return .unchanged }
  guard !path.isEmpty, path[0] == 0x2f else { return .invalid(.notAbsolute) }
  if capacity < path.count { return .noRoom }
  // INVARIANT: written <= read <= path.count <= capacity, because every step writes no more than it reads.
  var read = 0
  var written = 0
  while read < path.count {
    // At a slash, plain or encoded: copy it and the segment after it, decoding unreserved bytes.
    read += path[read] == 0x25 ? 3 : 1
    // SAFETY: below the capacity by the invariant, here and at all writes below.
    let isRepeated = unsafe policy.mergesSlashes && written > 0 && output[written - 1] == 0x2f
    if !isRepeated {
      unsafe output[written] = 0x2f
      written += 1
    }
    let segment = written - 1
    if let error = unsafe copySegment(path, &read, output, &written, policy) { return .invalid(error) }
    let text = unsafe Bytes(start: UnsafePointer(output + segment + 1), count: written - segment - 1)
    switch dotSegment(text) {
    case .none: break
    case .hidden: return .invalid(.hiddenDotSegment)
    case .current:
      // "/a/." becomes "/a/": the slash stays when nothing follows.
      written = read < path.count ? segment : segment + 1
    case .parent:
      if segment == 0 { return .invalid(.aboveRoot) }
      var previous = segment - 1
      while unsafe output[previous] != 0x2f { previous -= 1 }
      written = read < path.count ? previous : previous + 1
    }
  }
  let result = unsafe Bytes(start: UnsafePointer(output), count: written)
  return result.equals(path) ? .unchanged : .rewritten(count: written)
}

/// Copies up to the next slash, which may be an encoded one, or to the end. Nil when all is well.
private func copySegment(
  _ path: Bytes, _ read: inout Int, _ output: UnsafeMutablePointer<UInt8>, _ written: inout Int, _ policy: PathPolicy
) -> PathError? {
  while read < path.count {
    let byte = path[read]
    if byte == 0x2f { return nil }
    if byte != 0x25 {
      if byte == 0 { return .nul }
      guard isPathByte(byte) else { return .character }
      // SAFETY: the caller's invariant: what is written was read before.
      unsafe output[written] = byte
      written += 1
      read += 1
      continue
    }
    guard read + 2 < path.count else { return .percentEncoding }
    let upper = hexValue(path[read + 1])
    let lower = hexValue(path[read + 2])
    guard upper >= 0, lower >= 0 else { return .percentEncoding }
    let decoded = UInt8(upper << 4 | lower)
    if decoded == 0 { return .nul }
    if decoded == 0x2f || decoded == 0x5c {
      if policy.rejectsEscapedSlashes { return .escapedSlash }
      if policy.decodesEscapedSlashes { return nil }
    }
    if decoded >= 0xc0, isOverlong(decoded, path, read + 3) { return .overlong }
    if ByteSet.unreserved.contains(decoded) {
      unsafe output[written] = decoded
      written += 1
    } else {
      unsafe output[written] = byte
      unsafe output[written + 1] = path[read + 1]
      unsafe output[written + 2] = path[read + 2]
      written += 3
    }
    read += 3
  }
  return nil
}

/// Bytes that may stand in a path: visible ASCII but "#", "?" and "\". The few that RFC 3986 would want
/// encoded (quotes, braces, "|", "^", "<", ">", "`", brackets) are sent as they are by common clients.
@inlinable @inline(__always)
public func isPathByte(_ byte: UInt8) -> Bool {
  byte > 0x20 && byte < 0x7f && byte != 0x23 && byte != 0x3f && byte != 0x5c
}

/// Whether the lead byte and the encoded byte at `next` begin a sequence that a shorter one could replace: all
/// of C0 and C1, E0 below A0, F0 below 90. Latin-1 text has no letters among the second bytes.
private func isOverlong(_ lead: UInt8, _ path: Bytes, _ next: Int) -> Bool {
  guard lead <= 0xc1 || lead == 0xe0 || lead == 0xf0 else { return false }
  guard next + 2 < path.count, path[next] == 0x25 else { return false }
  let upper = hexValue(path[next + 1])
  guard upper >= 8, upper < 12, hexValue(path[next + 2]) >= 0 else { return false }
  return lead == 0xe0 ? upper < 10 : lead == 0xf0 ? upper == 8 : true
}

private enum DotSegment {
  case none, current, parent, hidden
}

/// What a segment, already decoded, is. To readers that decode %2F and %5C or strip parameters from ";" on,
/// it has components of its own.
private func dotSegment(_ text: Bytes) -> DotSegment {
  if text.equals(".") { return .current }
  if text.equals("..") { return .parent }
  var start = 0
  var end = -1
  var index = 0
  while index <= text.count {
    if index == text.count || isEncodedSeparator(text, index) {
      let component = text.slice(start, end < 0 ? index : end)
      if component.equals(".") || component.equals("..") { return .hidden }
      index += 3
      start = index
      end = -1
    } else {
      if end < 0 && text[index] == 0x3b { end = index }
      index += 1
    }
  }
  return .none
}

/// Whether %2F or %5C stands at `index`.
private func isEncodedSeparator(_ text: Bytes, _ index: Int) -> Bool {
  guard index + 2 < text.count, text[index] == 0x25 else { return false }
  let last = text[index + 2] | 0x20
  return (text[index + 1] == 0x32 && last == 0x66) || (text[index + 1] == 0x35 && last == 0x63)
}
