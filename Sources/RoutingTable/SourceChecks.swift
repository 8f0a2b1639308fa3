import CRE2
import HTTPSemantics

// Everything that can be wrong with one entry, rule or backend by itself. `compile` asks these questions
// too; who builds a table asks them first, so that one bad rule can answer by itself and spoil nothing.

extension RuleSource {
  /// What `compile` would refuse about this rule, its indexes aside.
  public var problem: TableError? {
    do throws(TableError) {
      try check(requestHeaders, at: "requestHeaders")
      try check(responseHeaders, at: "responseHeaders")
      if let rewrite { try checkRewrite(rewrite) }
      switch action {
      case .forward(let backends):
        for (index, backend) in backends.enumerated() {
          try check(backend.requestHeaders, at: "backends[\(index)].requestHeaders")
          try check(backend.responseHeaders, at: "backends[\(index)].responseHeaders")
        }
        let sum = backends.reduce(UInt64(0)) { $0 + UInt64($1.weight) }
        if sum > UInt64(UInt32.max) {
          throw TableError("backends", "the weights add up to \(sum), the limit is \(UInt32.max)")
        }
      case .redirect(let redirect):
        try checkRedirect(redirect)
      case .respond(let status, let reason):
        guard (200...599).contains(status) else {
          throw TableError("status", "\(status) cannot be answered; use 200 to 599")
        }
        try checkVisible(reason, at: "reason", allowing: [9, 32])
      }
      return nil
    } catch {
      return error
    }
  }

  private func checkRewrite(_ rewrite: RewriteSource) throws(TableError) {
    if let host = rewrite.host { try checkVisible(host, at: "rewrite.host") }
    if let path = rewrite.path { try checkPath(path, at: "rewrite.path", allowFragment: false) }
  }

  private func checkRedirect(_ redirect: RedirectSource) throws(TableError) {
    guard [301, 302, 303, 307, 308].contains(redirect.status) else {
      throw TableError(
        "redirect.status", "\(redirect.status) is no redirect; use 301, 302, 303, 307 or 308")
    }
    if let scheme = redirect.scheme {
      guard scheme.utf8.allSatisfy({ ByteSet.unreserved.contains($0) }) else {
        throw TableError("redirect.scheme", "\"\(scheme)\" is no scheme; use http or https")
      }
    }
    if let host = redirect.host { try checkVisible(host, at: "redirect.host") }
    if let path = redirect.path { try checkPath(path, at: "redirect.path", allowFragment: true) }
  }

  private func checkPath(
    _ path: PathRewrite, at location: String, allowFragment: Bool
  ) throws(TableError) {
    switch path {
    case .replaceFull(let text), .replaceSegmentPrefix(let text), .replaceStringPrefix(let text):
      try checkVisible(text, at: location)
      if !allowFragment, text.utf8.contains(UInt8(ascii: "#")) {
        throw TableError(location, "\"\(text)\" holds a fragment (#), which no request carries")
      }
    }
  }

  private func checkVisible(
    _ text: String, at location: String, allowing extra: [UInt8] = []
  ) throws(TableError) {
    guard text.utf8.allSatisfy({ ($0 > 32 && $0 < 127) || extra.contains($0) }) else {
      throw TableError(
        location, "\"\(text)\" holds a space, a control or a non-ASCII character; percent-encode it")
    }
  }

  private func check(_ operations: [HeaderOperation], at location: String) throws(TableError) {
    for (index, operation) in operations.enumerated() {
      guard isTokenText(operation.name) else {
        throw TableError("\(location)[\(index)].name", "\"\(operation.name)\" is no header name")
      }
      guard operation.value.utf8.allSatisfy({ isFieldByte($0) }) else {
        throw TableError(
          "\(location)[\(index)].value",
          "the value of \(operation.name) holds a control character (CR, LF, NUL or the like)")
      }
      if operation.kind == .remove, !operation.value.isEmpty {
        throw TableError("\(location)[\(index)].value", "a removed header takes no value")
      }
    }
  }
}

extension EntrySource {
  /// What `compile` would refuse about this entry, its index aside.
  public var problem: TableError? {
    do throws(TableError) {
      switch path {
      case .any: break
      case .exact(let text), .segmentPrefix(let text), .stringPrefix(let text):
        guard text.utf8.count <= 16 * 1024 else {
          throw TableError("path", "the path has \(text.utf8.count) bytes, the limit is 16384")
        }
      case .regex(let pattern):
        _ = try Regex(pattern, ignoreCase: pathIgnoresCase, at: "path")
      }
      if let method, !isTokenText(method) {
        throw TableError("method", "\"\(method)\" is no method")
      }
      for (index, header) in headers.enumerated() {
        guard isTokenText(header.name) || header.name == ":authority" else {
          throw TableError("headers[\(index)].name", "\"\(header.name)\" is no header name")
        }
        try check(header, at: "headers[\(index)]")
      }
      for (index, parameter) in queryParameters.enumerated() {
        guard !parameter.name.isEmpty else {
          throw TableError("queryParameters[\(index)].name", "a query parameter needs a name")
        }
        try check(parameter, at: "queryParameters[\(index)]")
      }
      if let authority { try check(authority, at: "authority") }
      guard headers.count + queryParameters.count < 1024 else {
        throw TableError("headers", "more than 1023 headers and query parameters in one entry")
      }
      return nil
    } catch {
      return error
    }
  }

  private func check(_ match: ValueMatch, at location: String) throws(TableError) {
    if case .regex(let pattern) = match.test {
      _ = try Regex(pattern, ignoreCase: match.ignoreCase, at: location)
    }
  }
}

extension BackendSource {
  /// What `compile` would refuse about this backend.
  public var problem: TableError? {
    for (index, endpoint) in endpoints.enumerated() {
      let isAddress = endpoint.address.withLiteralBytes { isIPv4Address($0) || isIPv6Address($0) }
      if !isAddress {
        return TableError(
          "endpoints[\(index)].address", "\"\(endpoint.address)\" is no IP address; resolve names first")
      }
      if endpoint.port == 0 { return TableError("endpoints[\(index)].port", "port 0 is no endpoint") }
    }
    return nil
  }
}

extension String {
  /// The UTF-8 bytes as a view that lives during the call.
  func withLiteralBytes<Result>(_ body: (Bytes) -> Result) -> Result {
    var copy = self
    return copy.withUTF8 { buffer in
      guard let start = buffer.baseAddress else { return body(.empty) }
      // SAFETY: the buffer lives during the call.
      return unsafe body(Bytes(start: start, count: buffer.count))
    }
  }
}

func isTokenText(_ text: String) -> Bool {
  !text.isEmpty && text.utf8.allSatisfy { ByteSet.token.contains($0) }
}

func isFieldByte(_ byte: UInt8) -> Bool {
  (byte >= 32 && byte != 127) || byte == 9
}

/// One compiled expression on the control thread; the workers' are in `LoadedRegexes`.
@safe
struct Regex: ~Copyable {
  // INVARIANT: owned; freed once, in deinit.
  private let pointer: OpaquePointer

  init(_ pattern: String, ignoreCase: Bool, at location: String) throws(TableError) {
    do throws(RegexProblem) {
      unsafe pointer = try compileRegex(Array(pattern.utf8), ignoreCase: ignoreCase)
    } catch {
      throw TableError(
        location, "regular expression \"\(pattern)\": \(error.reason); the syntax is RE2's")
    }
  }

  deinit { unsafe cre2_free(pointer) }

  /// Bytes that every text begins with which matches as a whole.
  var requiredPrefix: [UInt8] {
    var buffer = [CChar](repeating: 0, count: 128)
    // SAFETY: the shim writes at most the size it is given.
    let count = unsafe cre2_required_prefix(pointer, &buffer, buffer.count)
    return buffer[..<count].map { UInt8(bitPattern: $0) }
  }

  func matches(_ text: [UInt8]) -> Bool {
    unsafe text.withUnsafeBytes { raw in
      // SAFETY: base and count are the array's own; RE2 reads nothing when the count is 0.
      let start = unsafe raw.bindMemory(to: CChar.self).baseAddress
      return unsafe cre2_full_match(pointer, start, raw.count) == 1
    }
  }
}

struct RegexProblem: Error {
  var reason: String
}

/// The caller owns the result and frees it with `cre2_free`.
func compileRegex(_ pattern: [UInt8], ignoreCase: Bool) throws(RegexProblem) -> OpaquePointer {
  var reason = [CChar](repeating: 0, count: 256)
  // SAFETY: pattern and reason are passed with their own lengths and are not kept.
  let compiled = unsafe pattern.withUnsafeBytes { raw in
    let start = unsafe raw.bindMemory(to: CChar.self).baseAddress
    return unsafe cre2_compile(start, raw.count, ignoreCase ? 0 : 1, &reason, reason.count)
  }
  guard let compiled = unsafe compiled else {
    let end = reason.firstIndex(of: 0) ?? reason.count
    throw RegexProblem(
      reason: String(decoding: reason[..<end].map { UInt8(bitPattern: $0) }, as: UTF8.self))
  }
  return unsafe compiled
}
