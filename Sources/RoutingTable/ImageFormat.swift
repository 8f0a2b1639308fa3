// The image is read in place: what is in memory is what is in the file.
#if _endian(big)
  #error("The routing image is little-endian and is read in place.")
#endif

/// The layout of a routing image. Every number is little-endian and of fixed width; every reference is
/// an index into a section or an offset into the `bytes` section, so that the image works wherever it is
/// mapped. A header is followed by the sections in the order of `ImageSection`, each at a multiple of
/// 64 bytes, so that no record of 16, 32 or 64 bytes lies on two cache lines.
enum ImageFormat {
  /// `SLUICERT` in memory order.
  static let magic: UInt64 = 0x5452_4543_4955_4C53
  static let version: UInt32 = 3
  /// Of every section and of the whole length.
  static let alignment = 64
  /// What records need; a mapping gives more.
  static let baseAlignment = 8
  static let checksumOffset = 24
  static let revisionOffset = 32
  static let sectionTableOffset = 40
  static let headerLength = sectionTableOffset + ImageSection.allCases.count * 8
  /// Indexes and offsets are handed out as `Int32`.
  static let maximumLength = Int(Int32.max)
  /// A name of the DNS has at most 253 bytes; a longer host matches no pattern but `*`.
  static let maximumHostLength = 253
  static let none = UInt32.max
  /// In a word that leads to candidates: the word is itself the only entry.
  static let onlyEntry: UInt32 = 1 << 31
  /// An anchor's text has at most so many bytes: the slashes up to there fit the bits of one word.
  static let maximumAnchorLength = 63
  /// And at most so many slashes: the bits of `HostRecord.depths`.
  static let maximumAnchorDepth = 15
  /// As many anchors are told apart by the tags of a host's record; more have a hash table.
  static let tagCount = 16

  /// Slots of a hash table for so many keys: at least one stays empty, and a search soon meets it.
  static func slotCount(keys: Int) -> Int { keys == 0 ? 0 : keys + keys * 2 / 3 + 1 }

  /// Where the search for a key begins.
  @inline(__always)
  static func home(_ hash: UInt32, slots: Int) -> Int { Int((UInt64(hash) &* UInt64(slots)) &>> 32) }
}

enum ImageSection: Int, CaseIterable {
  case sockets, listeners, virtualHosts, hostSlots, hosts, anchorSlots, anchors, anchorDetails, nodes
  case candidates, entries, entryDetails
  case predicates, rules
  case weightedBackends, headerOperations, backends, endpoints, certificates, tlsBindings, names
  case regexes, trustBundles, clientValidations, backendTLS, subjectAltNames, networks, bytes

  /// Bytes of one element.
  var stride: Int {
    switch self {
    case .sockets: MemoryLayout<SocketRecord>.stride
    case .listeners: MemoryLayout<ListenerRecord>.stride
    case .virtualHosts: MemoryLayout<VirtualHostRecord>.stride
    case .hostSlots: MemoryLayout<HashSlot>.stride
    case .hosts: MemoryLayout<HostRecord>.stride
    case .anchorSlots: MemoryLayout<HashSlot>.stride
    case .anchors: MemoryLayout<AnchorRecord>.stride
    case .anchorDetails: MemoryLayout<AnchorDetail>.stride
    case .nodes: MemoryLayout<NodeRecord>.stride
    case .candidates: MemoryLayout<UInt32>.stride
    case .entries: MemoryLayout<EntryRecord>.stride
    case .entryDetails: MemoryLayout<EntryDetail>.stride
    case .predicates: MemoryLayout<PredicateRecord>.stride
    case .rules: MemoryLayout<RuleRecord>.stride
    case .weightedBackends: MemoryLayout<WeightedRecord>.stride
    case .headerOperations: MemoryLayout<HeaderOperationRecord>.stride
    case .backends: MemoryLayout<BackendRecord>.stride
    case .endpoints: MemoryLayout<EndpointRecord>.stride
    case .certificates: MemoryLayout<CertificateRecord>.stride
    case .tlsBindings: MemoryLayout<TLSBindingRecord>.stride
    case .names: MemoryLayout<StringRef>.stride
    case .regexes: MemoryLayout<RegexRecord>.stride
    case .trustBundles: MemoryLayout<TrustBundleRecord>.stride
    case .clientValidations: MemoryLayout<ClientValidationRecord>.stride
    case .backendTLS: MemoryLayout<BackendTLSRecord>.stride
    case .subjectAltNames: MemoryLayout<SubjectAltNameRecord>.stride
    case .networks: MemoryLayout<NetworkRecord>.stride
    case .bytes: 1
    }
  }
}

// INVARIANT of every record: fields are integers in order of size and padding is spelled out, so that
// size equals stride and no byte of an image is undefined (a test holds this).

/// A run of the `bytes` section.
struct StringRef: Hashable {
  var offset: UInt32 = 0
  var length: UInt32 = 0
}

/// A run of elements of a section.
struct Run: Hashable {
  var first: UInt32 = 0
  var count: UInt32 = 0
}

/// An open-addressing hash table: eight of its slots lie on a cache line, and only the record that the hash leads
/// to is read besides.
struct HashSlot {
  var hash: UInt32 = 0
  /// Index of the host's or the anchor's record; `none`: empty.
  var record = ImageFormat.none
}

/// Hosts by name: `slots` are of the `hostSlots` section.
struct HostTable {
  var slots = Run()
  /// Record of the pattern `*`.
  var any = ImageFormat.none
  /// Bit n: there are wildcard suffixes with n dots; bit 31: with 31 or more.
  var wildcardDots: UInt32 = 0
}

enum HostKind {
  static let any: UInt8 = 0
  static let exact: UInt8 = 1
  /// The key is the suffix with its leading dot.
  static let wildcard: UInt8 = 2
  static let oneLabelWildcard: UInt8 = 3
}

/// Of one pattern, in one cache line: its key, where it leads, and how to find the anchor of a path without reading
/// anything else.
struct HostRecord {
  /// Index of the listener or of the virtual host.
  var target: UInt32 = 0
  /// What counts where no anchor is found. With `isWholeSegments`: candidates, as in a node. Else the tree's root.
  var onward = ImageFormat.none
  var firstAnchor: UInt32 = 0
  /// Bit n: there are anchors with n slashes.
  var depths: UInt16 = 0
  var keyLength: UInt8 = 0
  /// Two bits of `HostKind`, one of `isWholeSegments`, and above them five of the number of anchors.
  var traits: UInt8 = HostKind.any
  /// Up to `tagCount` anchors: the low byte of the hash of each. More: the first of their slots, and their number.
  var tags: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
  /// Lower case, padded with zeros. One that does not fit is in the `bytes` section, and the first word its offset.
  var key: (UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0, 0, 0, 0, 0)

  static let tagsOffset = 16
  static let keyOffset = 32
  static let keyRoom = 32
  static let manyAnchors: UInt8 = 31

  static func traits(kind: UInt8, isWholeSegments: Bool, anchorCount: Int) -> UInt8 {
    let count = anchorCount > ImageFormat.tagCount ? manyAnchors : UInt8(anchorCount)
    return kind | (isWholeSegments ? 4 : 0) | count << 3
  }

  @inline(__always)
  var kind: UInt8 { traits & 3 }
  @inline(__always)
  var isWholeSegments: Bool { traits & 4 != 0 }
  /// `manyAnchors`: `tags` says it.
  @inline(__always)
  var fewAnchors: UInt8 { traits &>> 3 }
}

enum AnchorFlag {
  /// Of the paths that end here the entry is the only candidate, and asks nothing but the path.
  static let endWins: UInt8 = 1
  /// The same of the paths that go on with a slash; not with `descends`.
  static let slashWins: UInt8 = 2
  /// That entry matches the whole path, else as much as the anchor's text.
  static let wholePath: UInt8 = 4
  /// A path that goes on with a slash may meet further nodes.
  static let descends: UInt8 = 8
}

/// A node of a path tree that entries' own paths end at, found by the hash of its whole text, with all that most
/// answers need. In a large table the lines in use are more than a cache holds, so bytes count more than the boundaries
/// of lines: half of these records lie on two, which are read at once.
struct AnchorRecord {
  /// With `endWins` or `slashWins`, and its rule.
  var entry: UInt32 = 0
  var rule: UInt32 = 0
  /// All bytes from the root to the node, padded with zeros. What does not fit is in the `bytes` section, and the first
  /// word its offset.
  var text: (UInt32, UInt32, UInt64, UInt64, UInt64, UInt32, UInt16) = (0, 0, 0, 0, 0, 0, 0)
  var textLength: UInt8 = 0
  var flags: UInt8 = 0

  static let textOffset = 8
  static let textRoom = 38
}

/// What other answers need; of the anchor of the same index.
struct AnchorDetail {
  /// As the node's `atEnd`.
  var end = ImageFormat.none
  /// As the node's `atSlash`.
  var slash = ImageFormat.none
  var node: UInt32 = 0
}

struct SocketRecord {
  var address = StringRef()
  var port: UInt16 = 0
  var bindPort: UInt16 = 0
  var kind: UInt8 = 0
  /// 1: a PROXY protocol header is expected, from `networks`.
  var expectsProxyProtocol: UInt8 = 0
  var reserved16: UInt16 = 0
  var listeners = Run()
  var hosts = HostTable()
  var tls = Run()
  var networks = Run()
}

struct ListenerRecord {
  var name = StringRef()
  var hostname = StringRef()
  var socket: UInt32 = 0
  var virtualHosts = Run()
  var hosts = HostTable()
  var proto: UInt8 = 0
  var escapedSlashes: UInt8 = 0
  var flags: UInt8 = 0
  var reserved8: UInt8 = 0
  /// `none`: clients need no certificate.
  var clientValidation = ImageFormat.none
}

enum ListenerFlag {
  static let mergesSlashes: UInt8 = 1
  static let translatesGRPCWeb: UInt8 = 2
}

struct VirtualHostRecord {
  var pattern = StringRef()
  var listener: UInt32 = 0
  var entries = Run()
  var tree = TreeRecord()
}

/// A path tree and its anchors. Equal lists of entries share one.
struct TreeRecord: Hashable {
  /// The first is the root.
  var nodes = Run()
  var anchors = Run()
  /// The first of their slots, when they are more than `tagCount`.
  var firstSlot: UInt32 = 0
  /// As in `HostRecord`.
  var depths: UInt16 = 0
  /// 1: every entry's path ends at an anchor or asks nothing, and counts at the end of a segment only. What the
  /// deepest anchor on a path says is then the answer.
  var isWholeSegments: UInt16 = 0
  var reserved: UInt32 = 0
}

/// A node of a compressed radix tree over the bytes of paths. Children follow their parent, side by
/// side, in the order of their first bytes. Half a cache line: a look-up in a large tree costs what it
/// misses, not what it compares.
struct NodeRecord {
  /// Bytes on the way from the parent, in the `bytes` section; empty only at a root.
  var labelOffset: UInt32 = 0
  var labelLength: UInt16 = 0
  var childCount: UInt16 = 0
  var firstChild: UInt32 = 0
  /// Offset of the children's first bytes, ascending, in the `bytes` section.
  var childBytes: UInt32 = 0
  // Each of these is `none`, an entry with the bit `onlyEntry`, or the index of a list in `candidates`:
  // its length, two or more, and then its entries in order of precedence.
  /// Candidates of a path that ends here.
  var atEnd = ImageFormat.none
  /// Candidates of a path that goes on with a slash and meets no further node.
  var atSlash = ImageFormat.none
  /// Candidates of a path that goes on otherwise and meets no further node.
  var passing = ImageFormat.none
  var reserved: UInt32 = 0

  var label: StringRef { StringRef(offset: labelOffset, length: UInt32(labelLength)) }
}

/// A list of candidates, found: one entry, or a run of the `candidates` section.
struct CandidateList: Hashable {
  var first: UInt32 = 0
  var count: UInt32 = 0
}

enum PathKind {
  static let any: UInt8 = 0
  static let exact: UInt8 = 1
  static let segmentPrefix: UInt8 = 2
  static let stringPrefix: UInt8 = 3
  static let regex: UInt8 = 4
}

enum EntryFlag {
  /// The tree proves only a prefix of what the path must be: the entry compares the path without case.
  static let comparePath: UInt8 = 1
  /// Nothing but the path is asked.
  static let unconditional: UInt8 = 2
  /// Only the method of the entry's detail.
  static let hasMethod: UInt8 = 4
}

/// What every winner needs; the rest is in the detail of the same index.
struct EntryRecord {
  var rule: UInt32 = 0
  /// Length of the matched prefix; `none`: the whole path.
  var matchedLength: UInt32 = 0
  var firstPredicate: UInt32 = 0
  var predicateCount: UInt16 = 0
  var flags: UInt8 = 0
  var pathKind: UInt8 = PathKind.any

  var predicates: Run { Run(first: firstPredicate, count: UInt32(predicateCount)) }
}

struct EntryDetail {
  /// As in the source; a segment prefix without its trailing slashes.
  var path = StringRef()
  var methodToken = StringRef()
  var pathRegex = ImageFormat.none
}

enum PredicateSubject {
  static let header: UInt8 = 0
  static let queryParameter: UInt8 = 1
  static let authority: UInt8 = 2
}

enum PredicateTest {
  static let exact: UInt8 = 0
  static let prefix: UInt8 = 1
  static let regex: UInt8 = 2
  static let present: UInt8 = 3
  static let absent: UInt8 = 4
}

enum PredicateFlag {
  static let ignoreCase: UInt8 = 1
  static let invert: UInt8 = 2
  static let missingIsEmpty: UInt8 = 4
}

struct PredicateRecord: Hashable {
  var subject: UInt8 = 0
  var test: UInt8 = 0
  var flags: UInt8 = 0
  var reserved: UInt8 = 0
  /// Header names are in lower case.
  var name = StringRef()
  var value = StringRef()
  var regex = ImageFormat.none
}

enum ActionCode {
  static let forward: UInt8 = 0
  static let redirect: UInt8 = 1
  static let respond: UInt8 = 2
}

enum PathRewriteCode {
  static let none: UInt8 = 0
  static let full: UInt8 = 1
  static let segmentPrefix: UInt8 = 2
  static let stringPrefix: UInt8 = 3
}

enum RedirectPortCode {
  static let automatic: UInt8 = 0
  static let number: UInt8 = 1
  static let fromRequest: UInt8 = 2
  static let schemeDefault: UInt8 = 3
}

struct RuleRecord {
  var provenance = StringRef()
  var action: UInt8 = 0
  var isGRPC: UInt8 = 0
  /// Of a redirect or an answer.
  var status: UInt16 = 0
  var requestTimeout: UInt32 = 0
  var backendTimeout: UInt32 = 0
  var backends = Run()
  var totalWeight: UInt32 = 0
  var requestHeaders = Run()
  var responseHeaders = Run()
  /// Empty: unchanged.
  var rewriteHost = StringRef()
  var rewritePath = StringRef()
  var redirectScheme = StringRef()
  var redirectHost = StringRef()
  var redirectPath = StringRef()
  var reason = StringRef()
  var rewritePathKind: UInt8 = 0
  var redirectPathKind: UInt8 = 0
  var redirectPort: UInt16 = 0
  var redirectPortKind: UInt8 = 0
  var reserved8: UInt8 = 0
  var reserved16: UInt16 = 0
}

struct WeightedRecord {
  /// `none`: 500.
  var backend = ImageFormat.none
  var weight: UInt32 = 0
  /// Sum of the weights up to and with this one.
  var cumulative: UInt32 = 0
  var requestHeaders = Run()
  var responseHeaders = Run()
}

struct HeaderOperationRecord: Hashable {
  var kind: UInt8 = 0
  var reserved8: UInt8 = 0
  var reserved16: UInt16 = 0
  var name = StringRef()
  var value = StringRef()
}

struct BackendRecord {
  var id = StringRef()
  var proto: UInt8 = 0
  var proxyProtocol: UInt8 = 0
  var reserved16: UInt16 = 0
  var endpoints = Run()
  /// `none`: in the clear.
  var tls = ImageFormat.none
}

struct BackendTLSRecord: Hashable {
  var serverName = StringRef()
  var subjectAltNames = Run()
  /// `none`: the system's.
  var trustBundle = ImageFormat.none
  /// `none`: we show none.
  var certificate = ImageFormat.none
  var verifies: UInt32 = 1
}

struct SubjectAltNameRecord: Hashable {
  var kind: UInt32 = 0
  var value = StringRef()
}

enum EndpointFlag {
  static let ready: UInt32 = 1
  static let terminating: UInt32 = 2
}

struct EndpointRecord {
  var address = StringRef()
  var port: UInt16 = 0
  var weight: UInt16 = 0
  var flags: UInt32 = 0
}

struct CertificateRecord {
  var name = StringRef()
  var chainPEM = StringRef()
  var keyPEM = StringRef()
  var ocspStaple = StringRef()
}

struct TrustBundleRecord {
  var name = StringRef()
  var pem = StringRef()
}

struct ClientValidationRecord: Hashable {
  var trustBundle: UInt32 = 0
  var mode: UInt32 = 0
}

/// A range of addresses; those of IPv4 are mapped (RFC 4291 section 2.5.5.2), their prefix lengths grow by 96.
struct NetworkRecord: Hashable {
  /// The first eight bytes of the address, as a number, and the last eight.
  var high: UInt64 = 0
  var low: UInt64 = 0
  var prefixLength: UInt64 = 0
}

struct TLSBindingRecord {
  var names = Run()
  var certificate: UInt32 = 0
  /// `none`: clients need no certificate.
  var clientValidation = ImageFormat.none
}

struct RegexRecord: Hashable {
  var pattern = StringRef()
  var ignoreCase: UInt32 = 0
}

/// Detects damage, not malice (the verifier does not trust it): eight bytes at a time, multiply and fold.
struct ImageChecksum {
  private var state: UInt64 = 0x9E37_79B9_7F4A_7C15

  mutating func add(_ word: UInt64) {
    state = (state ^ word) &* 0xFF51_AFD7_ED55_8CCD
    state ^= state >> 32
  }

  var value: UInt64 { state }

  /// Over a whole image whose length is a multiple of eight; the checksum's own field counts as zero.
  static func of(_ image: UnsafeRawBufferPointer) -> UInt64 {
    var sum = ImageChecksum()
    var offset = 0
    while offset + 8 <= image.count {
      // SAFETY: the loop's condition keeps eight bytes in bounds.
      let word = unsafe image.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      sum.add(offset == ImageFormat.checksumOffset ? 0 : word)
      offset += 8
    }
    return sum.value
  }
}

@inline(__always)
func lowercased(_ byte: UInt8) -> UInt8 {
  byte &- 65 < 26 ? byte | 0x20 : byte
}
