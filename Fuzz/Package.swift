// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that fuzzing resolves and builds none of the outside packages. `Modules` holds links
// to the source folders of the product: all of them are compiled here with coverage counters and ASan.

let instrumented = ["-sanitize=fuzzer,address"]
let instrumentedC = ["-fsanitize=fuzzer-no-link,address"]

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .treatAllWarnings(as: .error),
  // Testable: the target of the image verifier repairs checksums, for which the product has no public name.
  .unsafeFlags(["-Xcc", "-D_GNU_SOURCE", "-enable-testing"] + instrumented),
]

let strict = settings + [.strictMemorySafety()]

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, path: "Modules/\(name)", swiftSettings: strict)
}

let package = Package(
  name: "sluice-fuzz",
  targets: [
    .target(
      name: "CLinux", path: "Modules/CLinux",
      cSettings: [.define("_GNU_SOURCE"), .unsafeFlags(instrumentedC)]),
    .systemLibrary(name: "CNghttp2", path: "Modules/CNghttp2", pkgConfig: "libnghttp2"),
    .systemLibrary(name: "COpenSSL", path: "Modules/COpenSSL", pkgConfig: "openssl"),
    .systemLibrary(name: "CYAML", path: "Modules/CYAML", pkgConfig: "yaml-0.1"),
    .target(
      name: "CRE2", path: "Modules/CRE2", cxxSettings: [.unsafeFlags(instrumentedC)],
      linkerSettings: [.linkedLibrary("re2")]),
    .systemLibrary(name: "CFuzzer", path: "CFuzzer"),
    module("HTTPSemantics"),
    module("RoutingTable", ["HTTPSemantics", "CRE2"]),
    module("ControlProtocol", ["CLinux"]),
    module("HTTP1", ["HTTPSemantics", "CLinux"]),
    module("IdleMemory", ["CLinux"]),
    module("HTTP2", ["HTTPSemantics", "IdleMemory", "CNghttp2"]),
    module("TLS", ["HTTPSemantics", "IdleMemory", "CLinux", "COpenSSL"]),
    module("ProxyProtocol", ["HTTPSemantics"]),
    module("GRPCWeb", ["HTTPSemantics"]),
    module("YAML", ["CYAML"]),
    module("GatewayAPI", ["YAML"]),
    .executableTarget(
      name: "fuzz",
      dependencies: [
        "CFuzzer", "HTTPSemantics", "RoutingTable", "ControlProtocol", "HTTP1", "HTTP2", "TLS",
        "ProxyProtocol", "GRPCWeb", "YAML", "GatewayAPI",
      ],
      path: "Targets", swiftSettings: settings,
      linkerSettings: [.unsafeFlags(instrumented + ["-use-ld=lld"])]),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx17
)
