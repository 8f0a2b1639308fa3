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

  public var reason: StaticString {
    switch self {
    case .notAbsolute: "path does not start with /"
    case .percentEncoding: "path has an invalid percent-encoding"
    case .nul: "path holds a NUL"
    case .character: "path holds a byte that must be percent-encoded"
    case .aboveRoot: "path leads above the root"
    case .hiddenDotSegment: "path hides a dot segment behind an encoded separator or a parameter"
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

/// Whether `normalizePath` might have anything to do: false for nearly every path, at one pass over it. A
/// path for which this is false holds no percent sign and no segment that begins with a dot.
@inlinable
public func pathNeedsNormalizing(_ path: Bytes) -> Bool {
  var index = 0
  var previous: UInt8 = 0x2f
  while index < path.count {
    // SAFETY: the index is below the view's count.
    let byte = unsafe path.start[index]
    if byte == 0x25 || (byte == 0x2e && previous == 0x2f) { return true }
    previous = byte
    index &+= 1
  }
  return path.isEmpty
}

/// The normal form of an absolute path, the one that is routed on and forwarded (RFC 3986 section 6.2.2):
/// percent-encoded unreserved bytes are decoded, then dot segments are removed. Everything else stays as it
/// came: %2F stays encoded, double slashes, letter case and parameters stay. "*" (OPTIONS) is unchanged.
///
/// Writes at most `capacity` bytes to `output`, which must not overlap `path`.
public func normalizePath(_ path: Bytes, _ output: UnsafeMutablePointer<UInt8>, capacity: Int) -> PathResult {
  if path.equals("*") { return .unchanged }
  guard !path.isEmpty, path[0] == 0x2f else { return .invalid(.notAbsolute) }
  if capacity < path.count { return .noRoom }
  // INVARIANT: written <= read <= path.count <= capacity, because every step writes no more than it reads.
  var read = 0
  var written = 0
  while read < path.count {
    // At a slash: copy it and the segment after it, decoding unreserved bytes.
    let segment = written
    // SAFETY: below the capacity by the invariant.
    unsafe output[written] = 0x2f
    written += 1
    read += 1
    while read < path.count {
      let byte = path[read]
      if byte == 0x2f { break }
      if byte == 0x25 {
        guard read + 2 < path.count else { return .invalid(.percentEncoding) }
        let upper = hexValue(path[read + 1])
        let lower = hexValue(path[read + 2])
        guard upper >= 0, lower >= 0 else { return .invalid(.percentEncoding) }
        let decoded = UInt8(upper << 4 | lower)
        if decoded == 0 { return .invalid(.nul) }
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
        continue
      }
      if byte == 0 { return .invalid(.nul) }
      guard isPathByte(byte) else { return .invalid(.character) }
      unsafe output[written] = byte
      written += 1
      read += 1
    }
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

/// Bytes that may stand in a path: visible ASCII but "#", "?" and "\". The few that RFC 3986 would want
/// encoded (quotes, braces, "|", "^", "<", ">", "`", brackets) are sent as they are by common clients.
@inlinable @inline(__always)
public func isPathByte(_ byte: UInt8) -> Bool {
  byte > 0x20 && byte < 0x7f && byte != 0x23 && byte != 0x3f && byte != 0x5c
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
