import HTTPSemantics

/// An image that no worker may read: what is wrong and where.
public struct ImageError: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Reason: String, Hashable, Sendable {
    case misaligned, tooShort, notAnImage, otherVersion, wrongLength, wrongChecksum, badSection
    case badReference, badText, badOrder, badValue, badRegex
  }

  public var reason: Reason
  /// For people: the element, and what it should be.
  public var message: String

  init(_ reason: Reason, _ message: String) {
    self.reason = reason
    self.message = message
  }

  public var description: String { "routing image: \(message)" }
}

/// Proves everything that the reader relies on: every section, index and offset in bounds, every order
/// that is searched by halving, every tree without cycles, every text that will stand in a head without
/// control bytes. Linear in the size of the image; never traps on any bytes. Whether the image says what
/// the source said is the compiler's promise, not proved here.
///
/// The memory must not change afterwards.
public func verify(_ image: UnsafeRawBufferPointer) throws(ImageError) {
  var verifier = try unsafe ImageVerifier(image)
  try verifier.run()
}

@safe
struct ImageVerifier {
  // INVARIANT: `memory` outlives the value (it lives during `verify`); reads go through `record` and
  // `text`, which check their bounds.
  private let memory: UnsafeRawBufferPointer
  /// Of the memory, in bytes.
  private let size: Int
  private var offsets: [Int] = []
  private var counts: [Int] = []
  /// Bytes of texts already read; long ones are read once, so that overlapping references cost nothing.
  private var textBudget: Int
  private var seenTexts: Set<UInt64> = []
  /// Elements that a table, a tree or a rule has claimed so far.
  private var claimed: [ImageSection: Int] = [:]
  /// By anchor; known when their texts were proved.
  var anchorHashes: [UInt32] = []

  init(_ image: UnsafeRawBufferPointer) throws(ImageError) {
    unsafe memory = image
    size = image.count
    textBudget = 0
    guard image.count >= ImageFormat.headerLength, let base = image.baseAddress else {
      throw ImageError(.tooShort, "\(image.count) bytes are less than a header")
    }
    guard UInt(bitPattern: base) % UInt(ImageFormat.baseAlignment) == 0 else {
      throw ImageError(.misaligned, "the memory is not aligned to \(ImageFormat.baseAlignment) bytes")
    }
    try checkHeader()
    try readSections()
    textBudget = 1024 * 1024 + 16 * image.count
  }

  private func header<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, as type: T.Type) -> T {
    // SAFETY: offsets of the header lie below `headerLength`, which init checked.
    unsafe memory.loadUnaligned(fromByteOffset: offset, as: T.self)
  }

  private func checkHeader() throws(ImageError) {
    guard header(0, as: UInt64.self) == ImageFormat.magic else {
      throw ImageError(.notAnImage, "the bytes do not begin like a routing image")
    }
    let version = header(8, as: UInt32.self)
    guard version == ImageFormat.version else {
      throw ImageError(
        .otherVersion,
        "version \(version), this program reads \(ImageFormat.version); run programs of one release")
    }
    guard header(12, as: UInt32.self) == UInt32(ImageFormat.headerLength) else {
      throw ImageError(.notAnImage, "the header has another length than version \(version) says")
    }
    let length = header(16, as: UInt64.self)
    guard length == UInt64(size), size <= ImageFormat.maximumLength, size % ImageFormat.alignment == 0
    else {
      throw ImageError(.wrongLength, "the header says \(length) bytes, there are \(size)")
    }
    guard header(ImageFormat.checksumOffset, as: UInt64.self) == (unsafe ImageChecksum.of(memory)) else {
      throw ImageError(.wrongChecksum, "the checksum does not match; the image is damaged")
    }
  }

  private mutating func readSections() throws(ImageError) {
    for section in ImageSection.allCases {
      let place = ImageFormat.sectionTableOffset + section.rawValue * 8
      let offset = Int(header(place, as: UInt32.self))
      let count = Int(header(place + 4, as: UInt32.self))
      guard offset >= ImageFormat.headerLength, offset % ImageFormat.alignment == 0,
        offset <= size, count <= (size - offset) / section.stride
      else {
        throw ImageError(.badSection, "section \(section): \(count) elements at \(offset)")
      }
      offsets.append(offset)
      counts.append(count)
    }
  }

  func count(of section: ImageSection) -> Int { counts[section.rawValue] }

  /// `index` was checked against the section, or runs over it.
  func record<T: BitwiseCopyable>(_ section: ImageSection, _ index: Int, as type: T.Type) -> T {
    precondition(index >= 0 && index < counts[section.rawValue])
    let offset = offsets[section.rawValue] + index * MemoryLayout<T>.stride
    // SAFETY: the section was proved to lie within the memory, and the index to lie within it.
    return unsafe memory.loadUnaligned(fromByteOffset: offset, as: T.self)
  }

  /// The bytes of a reference that `check(text:)` accepted.
  func text(_ ref: StringRef) -> UnsafeRawBufferPointer {
    let start = offsets[ImageSection.bytes.rawValue] + Int(ref.offset)
    return unsafe UnsafeRawBufferPointer(rebasing: memory[start..<start + Int(ref.length)])
  }

  // MARK: common proofs

  func require(
    _ holds: Bool, _ reason: ImageError.Reason, _ message: @autoclosure () -> String
  ) throws(ImageError) {
    if !holds { throw ImageError(reason, message()) }
  }

  func check(text ref: StringRef, _ at: @autoclosure () -> String) throws(ImageError) {
    let total = count(of: .bytes)
    try require(
      Int(ref.offset) <= total && Int(ref.length) <= total - Int(ref.offset), .badReference,
      "\(at()): bytes \(ref.offset)+\(ref.length) of \(total)")
  }

  /// In bounds, and each byte is allowed. `rule` tells the sets apart.
  mutating func check(
    text ref: StringRef, _ rule: TextRule, _ at: @autoclosure () -> String
  ) throws(ImageError) {
    try check(text: ref, at())
    if ref.length > 64 {
      // Bounded memory and time: offset and length have 31 bits each at most, the rule two.
      let key = UInt64(ref.offset) << 33 | UInt64(ref.length) << 2 | UInt64(rule.rawValue)
      if !seenTexts.insert(key).inserted { return }
      textBudget -= Int(ref.length)
      try require(textBudget >= 0, .badText, "\(at()): too many texts overlap")
    }
    // The formatter would take away the space behind `unsafe`.
    // swift-format-ignore
    for unsafe byte in unsafe text(ref) where !rule.allows(byte) {
      throw ImageError(.badText, "\(at()): byte \(byte) is not allowed")
    }
  }

  func check(_ run: Run, in section: ImageSection, _ at: @autoclosure () -> String) throws(ImageError) {
    let total = count(of: section)
    try require(
      Int(run.first) <= total && Int(run.count) <= total - Int(run.first), .badReference,
      "\(at()): \(section) \(run.first)+\(run.count) of \(total)")
  }

  /// Runs that were claimed add up to no more than the section has: proofs over runs stay linear.
  mutating func claim(_ run: Run, of section: ImageSection, _ at: @autoclosure () -> String) throws(ImageError) {
    let sum = claimed[section, default: 0] + Int(run.count)
    claimed[section] = sum
    try require(sum <= count(of: section), .badReference, "\(at()): runs of \(section) overlap")
  }

  func check(
    index: UInt32, in section: ImageSection, orNone: Bool = false, _ at: @autoclosure () -> String
  ) throws(ImageError) {
    if orNone, index == ImageFormat.none { return }
    try require(
      Int(index) < count(of: section), .badReference,
      "\(at()): \(section) \(index) of \(count(of: section))")
  }
}

/// What a text may hold, by the place that it will be written to.
enum TextRule: UInt8 {
  /// Method and header names: lower case matters to neither here; token bytes.
  case token = 0
  /// Header values and reasons.
  case fieldValue = 1
  /// Hosts, paths, schemes: visible ASCII.
  case visible = 2
  /// Header names and host keys: visible ASCII without upper-case letters.
  case lowercase = 3

  func allows(_ byte: UInt8) -> Bool {
    switch self {
    case .token: ByteSet.token.contains(byte)
    case .fieldValue: isFieldByte(byte)
    case .visible: byte > 32 && byte < 127
    case .lowercase: byte > 32 && byte < 127 && lowercased(byte) == byte
    }
  }
}

/// Where in an image, for people.
func place(_ section: ImageSection, _ index: Int, _ field: String) -> String {
  "\(section)[\(index)].\(field)"
}
