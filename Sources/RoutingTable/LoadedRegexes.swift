import CRE2
import HTTPSemantics

/// The compiled regular expressions of one image, for `RoutingImage`. Made on the control thread; read by
/// every worker at once, which RE2 allows.
@safe
public struct LoadedRegexes: ~Copyable {
  // INVARIANT: `count` expressions, each owned by this value; room for at least one, so that the address
  // is always good.
  private let storage: UnsafeMutablePointer<OpaquePointer?>
  public let count: Int

  /// Valid as long as this value.
  public var pointers: UnsafePointer<OpaquePointer?> { unsafe UnsafePointer(storage) }

  /// Compiles each expression of a verified image. Throws `.badRegex` when RE2 refuses one.
  public init(verified base: UnsafeRawPointer, count length: Int) throws(ImageError) {
    let nowhere = UnsafeMutablePointer<OpaquePointer?>.allocate(capacity: 1)
    defer { unsafe nowhere.deallocate() }
    unsafe nowhere.initialize(to: nil)
    let image = unsafe RoutingImage(verified: base, count: length, regexes: nowhere)
    let total = image.count(of: .regexes)
    unsafe storage = .allocate(capacity: max(total, 1))
    unsafe storage.initialize(repeating: nil, count: max(total, 1))
    count = total
    for index in 0..<total {
      let record = image.record(.regexes, index, as: RegexRecord.self)
      let view = image.bytes(record.pattern)
      let pattern = (0..<view.count).map { view[$0] }
      do throws(RegexProblem) {
        unsafe storage[index] = try compileRegex(pattern, ignoreCase: record.ignoreCase != 0)
      } catch {
        // Every stored property is set, so deinit frees what was made; nil is freed as nothing.
        throw ImageError(.badRegex, "regexes[\(index)] \"\(String(decoding: view))\": \(error.reason)")
      }
    }
  }

  deinit {
    for index in 0..<count { unsafe cre2_free(storage[index]) }
    unsafe storage.deallocate()
  }
}
