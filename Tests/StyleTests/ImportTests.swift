import Testing

/// Who may import whom. Dependencies run one way; RoutingTable and ControlProtocol are the only things that the
/// controller and the data plane share.
@Suite("imports") struct ImportTests {
  static let allowed: [String: Set<String>] = [
    "HTTPSemantics": [],
    "RoutingTable": ["HTTPSemantics", "CRE2"],
    "ControlProtocol": ["CLinux"],
    // The data plane.
    "SystemIO": ["CDatagram", "CLinux", "Glibc"],
    "HTTP1": ["HTTPSemantics", "CLinux"],
    "IdleMemory": ["CLinux"],
    "HTTP2": ["HTTPSemantics", "IdleMemory", "CLinux", "CNghttp2"],
    "TLS": ["HTTPSemantics", "IdleMemory", "CLinux", "COpenSSL", "Synchronization"],
    "ProxyProtocol": ["HTTPSemantics"],
    "GRPCWeb": ["HTTPSemantics"],
    "Upstream": [],
    "Telemetry": ["CLinux"],
    "Sandbox": ["CSandbox", "Glibc"],
    "DataPlane": [
      "CLinux", "ControlProtocol", "GRPCWeb", "Glibc", "HTTP1", "HTTP2", "HTTPSemantics", "ProxyProtocol",
      "RoutingTable",
      "Synchronization", "SystemIO", "Sandbox", "TLS", "Telemetry", "Upstream",
    ],
    "sluice-dataplane": ["CLinux", "DataPlane", "Glibc"],
    // The controller and the command line.
    "YAML": ["CYAML"],
    "GatewayAPI": ["YAML"],
    "Controller": [
      "CLinux", "COpenSSL", "ControlProtocol", "Foundation", "Foundation.Thread", "GRDB", "GatewayAPI", "Glibc",
      "HTTPTypes", "Hummingbird", "HummingbirdTLS", "Logging", "NIOCore", "NIOPosix", "NIOSSL",
      "RoutingTable", "ServiceLifecycle", "Synchronization", "YAML",
    ],
    "sluice-controller": [
      "ArgumentParser", "Controller", "Glibc", "Logging", "ServiceLifecycle", "UnixSignals", "YAML",
    ],
    "sluice": [
      "ArgumentParser", "AsyncHTTPClient", "CLinux", "Foundation", "GatewayAPI", "Glibc", "NIOCore", "NIOHTTP1",
      "NIOPosix", "NIOSSL", "YAML",
    ],
  ]

  /// What no module of the data plane may import, whatever the table says.
  static let dataPlane: Set<String> = [
    "HTTPSemantics", "RoutingTable", "ControlProtocol", "SystemIO", "IdleMemory", "HTTP1", "HTTP2", "TLS",
    "ProxyProtocol", "GRPCWeb", "Upstream", "Telemetry", "Sandbox", "DataPlane", "sluice-dataplane",
  ]
  static let controllerOnly: Set<String> = [
    "Controller", "GatewayAPI", "YAML", "Foundation", "FoundationEssentials", "NIOCore", "NIOPosix", "NIOSSL",
    "Logging",
    "Dispatch",
  ]

  /// C targets hold no Swift file.
  static let shims: Set<String> = ["CDatagram", "CLinux", "CNghttp2", "COpenSSL", "CRE2", "CSandbox", "CYAML"]

  @Test func everyTargetImportsOnlyWhatItsRowAllows() throws {
    for file in try SourceTree.files(below: "Sources") {
      let row = try #require(Self.allowed[file.target], "\(file): the target \(file.target) has no row in this table")
      for (number, line) in file.lines.enumerated() {
        guard let module = Self.imported(line) else { continue }
        #expect(row.contains(module), "\(file):\(number + 1): \(file.target) may not import \(module)")
      }
    }
  }

  @Test func noRowLetsTheDataPlaneReachTheController() throws {
    for target in Self.dataPlane {
      let row = try #require(Self.allowed[target])
      #expect(row.isDisjoint(with: Self.controllerOnly), "\(target)")
      #expect(row.subtracting(Self.dataPlane).isDisjoint(with: Self.allowed.keys), "\(target)")
    }
  }

  @Test func theTableHoldsTheTargetsThatThereAre() throws {
    #expect(try Set(SourceTree.folders(in: "Sources")) == Self.shims.union(Self.allowed.keys))
  }

  @Test func noRowAllowsWhatNobodyImports() throws {
    var used: [String: Set<String>] = [:]
    for file in try SourceTree.files(below: "Sources") {
      used[file.target, default: []].formUnion(file.lines.compactMap(Self.imported))
    }
    for (target, row) in Self.allowed {
      let idle = row.subtracting(used[target] ?? [])
      #expect(idle.isEmpty, "\(target) no longer imports \(idle.sorted().joined(separator: ", ")); shorten its row")
    }
  }

  @Test(
    arguments: [
      ("import HTTP1", "HTTP1"), ("  import HTTP1 // why", "HTTP1"),
      ("public import struct HTTP1.Method", "HTTP1.Method"),
      ("@testable import HTTP1", "HTTP1"), ("@preconcurrency internal import HTTP1", "HTTP1"),
      ("@_spi(Tests) import HTTP1", "HTTP1"), ("// import HTTP1", nil), ("let important = 1", nil),
      ("importance()", nil),
    ] as [(String, String?)])
  func importLinesAreRead(line: String, module: String?) {
    #expect(Self.imported(line) == module)
  }

  /// The module that a line imports; for `import struct A.B` it is `A.B`.
  static func imported(_ line: String) -> String? {
    var words = line.split(separator: " ")
    let modifiers: Set<Substring> = ["public", "package", "internal", "fileprivate", "private"]
    while let first = words.first, first.hasPrefix("@") || modifiers.contains(first) { words.removeFirst() }
    guard words.first == "import", words.count >= 2 else { return nil }
    let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
    return String(kinds.contains(words[1]) && words.count > 2 ? words[2] : words[1])
  }
}
