/// The sections of an image while it grows. Numbers are clamped when they outgrow the format; the size
/// check of `finish` refuses such an image, so that nothing here has to throw.
struct ImageBuilder {
  var sockets: [SocketRecord] = []
  var listeners: [ListenerRecord] = []
  var virtualHosts: [VirtualHostRecord] = []
  var hostSlots: [HashSlot] = []
  var hosts: [HostRecord] = []
  var anchorSlots: [HashSlot] = []
  var anchors: [AnchorRecord] = []
  var anchorDetails: [AnchorDetail] = []
  var nodes: [NodeRecord] = []
  var candidates: [UInt32] = []
  var entries: [EntryRecord] = []
  var entryDetails: [EntryDetail] = []
  var predicates: [PredicateRecord] = []
  var rules: [RuleRecord] = []
  var weightedBackends: [WeightedRecord] = []
  var headerOperations: [HeaderOperationRecord] = []
  var backends: [BackendRecord] = []
  var endpoints: [EndpointRecord] = []
  var certificates: [CertificateRecord] = []
  var tlsBindings: [TLSBindingRecord] = []
  var names: [StringRef] = []
  var regexes: [RegexRecord] = []
  var trustBundles: [TrustBundleRecord] = []
  var clientValidations: [ClientValidationRecord] = []
  var backendTLS: [BackendTLSRecord] = []
  var subjectAltNames: [SubjectAltNameRecord] = []
  var networks: [NetworkRecord] = []
  var bytes: [UInt8] = []
  /// By anchor; no section of the image.
  var anchorHashes: [UInt32] = []

  private var internedBytes: [[UInt8]: StringRef] = [:]
  private var internedPredicates: [[PredicateRecord]: Run] = [:]
  private var internedOperations: [[HeaderOperationRecord]: Run] = [:]
  private var internedLists: [[UInt32]: UInt32] = [:]
  private var internedRegexes: [RegexRecord: UInt32] = [:]

  mutating func intern(_ string: String) -> StringRef {
    intern(Array(string.utf8))
  }

  mutating func intern(_ string: [UInt8]) -> StringRef {
    if string.isEmpty { return StringRef() }
    if let known = internedBytes[string] { return known }
    let ref = StringRef(
      offset: UInt32(clamping: bytes.count), length: UInt32(clamping: string.count))
    bytes.append(contentsOf: string)
    internedBytes[string] = ref
    return ref
  }

  mutating func intern(_ list: [PredicateRecord]) -> Run {
    if list.isEmpty { return Run() }
    if let known = internedPredicates[list] { return known }
    let run = run(predicates.count, list.count)
    predicates += list
    internedPredicates[list] = run
    return run
  }

  mutating func intern(_ list: [HeaderOperation]) -> Run {
    if list.isEmpty { return Run() }
    let records = list.map { operation in
      HeaderOperationRecord(
        kind: operation.kind.rawValue, name: intern(asciiLowercased(operation.name)),
        value: intern(operation.value))
    }
    if let known = internedOperations[records] { return known }
    let run = run(headerOperations.count, records.count)
    headerOperations += records
    internedOperations[records] = run
    return run
  }

  mutating func intern(regex pattern: String, ignoreCase: Bool) -> UInt32 {
    let record = RegexRecord(pattern: intern(pattern), ignoreCase: ignoreCase ? 1 : 0)
    if let known = internedRegexes[record] { return known }
    let index = UInt32(clamping: regexes.count)
    regexes.append(record)
    internedRegexes[record] = index
    return index
  }

  /// The word that leads to a list; equal lists are stored once.
  mutating func intern(candidates list: [UInt32]) -> UInt32 {
    if list.isEmpty { return ImageFormat.none }
    if list.count == 1 { return list[0] | ImageFormat.onlyEntry }
    if let known = internedLists[list] { return known }
    let result = UInt32(clamping: candidates.count)
    candidates.append(UInt32(clamping: list.count))
    candidates += list
    internedLists[list] = result
    return result
  }

  func run(_ first: Int, _ count: Int) -> Run {
    count == 0 ? Run() : Run(first: UInt32(clamping: first), count: UInt32(clamping: count))
  }

  /// Lays the sections out and closes the image with its checksum.
  func finish(revision: UInt64) throws(TableError) -> [UInt8] {
    let parts = ImageSection.allCases.map { ($0, count(of: $0)) }
    let total = parts.reduce(aligned(ImageFormat.headerLength)) { sum, part in
      aligned(sum + part.0.stride * part.1)
    }
    guard total <= ImageFormat.maximumLength else {
      throw TableError(
        "table",
        "the image would have \(total) bytes, the limit is \(ImageFormat.maximumLength); most of it is "
          + "candidate lists when thousands of regular expressions stand in front of thousands of paths")
    }
    var image: [UInt8] = []
    image.reserveCapacity(total)
    append(ImageFormat.magic, to: &image)
    append(ImageFormat.version, to: &image)
    append(UInt32(ImageFormat.headerLength), to: &image)
    append(UInt64(total), to: &image)
    append(UInt64(0), to: &image)
    append(revision, to: &image)
    var offset = aligned(ImageFormat.headerLength)
    for (section, count) in parts {
      append(UInt32(offset), to: &image)
      append(UInt32(count), to: &image)
      offset = aligned(offset + section.stride * count)
    }
    pad(&image)
    for (section, _) in parts {
      append(section, to: &image)
      pad(&image)
    }
    writeChecksum(into: &image)
    return image
  }

  private func aligned(_ length: Int) -> Int {
    (length + ImageFormat.alignment - 1) / ImageFormat.alignment * ImageFormat.alignment
  }

  private func pad(_ image: inout [UInt8]) {
    while image.count % ImageFormat.alignment != 0 { image.append(0) }
  }

  private func count(of section: ImageSection) -> Int {
    switch section {
    case .sockets: sockets.count
    case .listeners: listeners.count
    case .virtualHosts: virtualHosts.count
    case .hostSlots: hostSlots.count
    case .hosts: hosts.count
    case .anchorSlots: anchorSlots.count
    case .anchors: anchors.count
    case .anchorDetails: anchorDetails.count
    case .nodes: nodes.count
    case .candidates: candidates.count
    case .entries: entries.count
    case .entryDetails: entryDetails.count
    case .predicates: predicates.count
    case .rules: rules.count
    case .weightedBackends: weightedBackends.count
    case .headerOperations: headerOperations.count
    case .backends: backends.count
    case .endpoints: endpoints.count
    case .certificates: certificates.count
    case .tlsBindings: tlsBindings.count
    case .names: names.count
    case .regexes: regexes.count
    case .trustBundles: trustBundles.count
    case .clientValidations: clientValidations.count
    case .backendTLS: backendTLS.count
    case .subjectAltNames: subjectAltNames.count
    case .networks: networks.count
    case .bytes: bytes.count
    }
  }

  private func append(_ section: ImageSection, to image: inout [UInt8]) {
    switch section {
    case .sockets: append(all: sockets, to: &image)
    case .listeners: append(all: listeners, to: &image)
    case .virtualHosts: append(all: virtualHosts, to: &image)
    case .hostSlots: append(all: hostSlots, to: &image)
    case .hosts: append(all: hosts, to: &image)
    case .anchorSlots: append(all: anchorSlots, to: &image)
    case .anchors: append(all: anchors, to: &image)
    case .anchorDetails: append(all: anchorDetails, to: &image)
    case .nodes: append(all: nodes, to: &image)
    case .candidates: append(all: candidates, to: &image)
    case .entries: append(all: entries, to: &image)
    case .entryDetails: append(all: entryDetails, to: &image)
    case .predicates: append(all: predicates, to: &image)
    case .rules: append(all: rules, to: &image)
    case .weightedBackends: append(all: weightedBackends, to: &image)
    case .headerOperations: append(all: headerOperations, to: &image)
    case .backends: append(all: backends, to: &image)
    case .endpoints: append(all: endpoints, to: &image)
    case .certificates: append(all: certificates, to: &image)
    case .tlsBindings: append(all: tlsBindings, to: &image)
    case .names: append(all: names, to: &image)
    case .regexes: append(all: regexes, to: &image)
    case .trustBundles: append(all: trustBundles, to: &image)
    case .clientValidations: append(all: clientValidations, to: &image)
    case .backendTLS: append(all: backendTLS, to: &image)
    case .subjectAltNames: append(all: subjectAltNames, to: &image)
    case .networks: append(all: networks, to: &image)
    case .bytes: image += bytes
    }
  }

  private func append<T: BitwiseCopyable>(_ value: T, to image: inout [UInt8]) {
    append(all: [value], to: &image)
  }

  private func append<T: BitwiseCopyable>(all records: [T], to image: inout [UInt8]) {
    // SAFETY: T has no padding (INVARIANT of the format), so every byte read is defined.
    unsafe records.withUnsafeBytes { raw in unsafe image.append(contentsOf: raw) }
  }
}

/// Sets the checksum of an image to what its other bytes ask for.
func writeChecksum(into image: inout [UInt8]) {
  // SAFETY: the buffer is the array's own and is only read.
  let sum = unsafe image.withUnsafeBytes { raw in unsafe ImageChecksum.of(raw) }
  for index in 0..<8 {
    image[ImageFormat.checksumOffset + index] = UInt8(truncatingIfNeeded: sum >> (8 * UInt64(index)))
  }
}

/// ASCII letters in lower case, everything else as it is.
func asciiLowercased(_ string: String) -> [UInt8] {
  string.utf8.map { lowercased($0) }
}
