// swift-tools-version: 6.2
import PackageDescription

/// One set of rules for every target that we write; a warning is an error.
let strict: [SwiftSetting] = [
  .strictMemorySafety(),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .treatAllWarnings(as: .error),
  .unsafeFlags(["-Xcc", "-D_GNU_SOURCE"]),
]

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .executableTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(of name: String, _ dependencies: [Target.Dependency] = [], exclude: [String] = []) -> Target {
  .testTarget(
    name: "\(name)Tests", dependencies: [.byName(name: name)] + dependencies,
    exclude: exclude, swiftSettings: strict)
}

let hummingbirdTLS = Target.Dependency.product(name: "HummingbirdTLS", package: "hummingbird")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let httpClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let signals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")

// System libraries: shims without logic.
let shims: [Target] = [
  .target(name: "CLinux", cSettings: [.define("_GNU_SOURCE")]),
  .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
  .systemLibrary(name: "CNghttp2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
  .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
  .target(name: "CDatagram", cSettings: [.define("_GNU_SOURCE")]),
  .systemLibrary(name: "CSandbox"),
  .target(name: "CRE2", linkerSettings: [.linkedLibrary("re2")]),
]

// What both processes share.
let shared: [Target] = [
  library("HTTPSemantics"),
  library("RoutingTable", ["HTTPSemantics", "CRE2"]),
  library("ControlProtocol", ["CLinux"]),
]

// The data plane: bytes or events in, actions out; sockets only in SystemIO and DataPlane.
let dataPlane: [Target] = [
  library("SystemIO", ["CLinux", "CDatagram"]),
  library("IdleMemory", ["CLinux"]),
  library("HTTP1", ["HTTPSemantics", "CLinux"]),
  library("HTTP2", ["HTTPSemantics", "IdleMemory", "CLinux", "CNghttp2"]),
  library("TLS", ["HTTPSemantics", "IdleMemory", "CLinux", "COpenSSL"]),
  library("ProxyProtocol", ["HTTPSemantics"]),
  library("GRPCWeb", ["HTTPSemantics"]),
  library("Upstream"),
  library("Telemetry", ["CLinux"]),
  library("Sandbox", ["CSandbox"]),
  library(
    "DataPlane",
    [
      "CLinux", "HTTPSemantics", "RoutingTable", "ControlProtocol", "SystemIO", "HTTP1", "HTTP2",
      "ProxyProtocol", "TLS", "GRPCWeb", "Upstream", "Telemetry", "Sandbox",
    ]),
  program("sluice-dataplane", ["DataPlane"]),
]

// The controller and the command line.
let controlPlane: [Target] = [
  library("YAML", ["CYAML"]),
  library("GatewayAPI", ["YAML"]),
  library(
    "Controller",
    [
      "CLinux", "COpenSSL", "YAML", "GatewayAPI", "HTTPSemantics", "RoutingTable", "ControlProtocol",
      hummingbird, hummingbirdTLS, httpTypes, grdb, logging, lifecycle, nioCore, nioPosix, nioSSL,
    ]),
  program("sluice-controller", ["Controller", "YAML", arguments, logging, lifecycle, signals]),
  program("sluice", ["CLinux", "YAML", "GatewayAPI", arguments, httpClient, nioCore, nioHTTP1, nioPosix, nioSSL]),
]

let dataPlaneTests: [Target] = [
  tests(of: "IdleMemory"),
  tests(of: "HTTP2", ["HTTPSemantics"]),
  tests(of: "TLS", ["HTTPSemantics", "COpenSSL"]),
  tests(of: "HTTPSemantics"),
  tests(of: "HTTP1", ["HTTPSemantics", "CLinux"]),
  tests(of: "RoutingTable", ["HTTPSemantics"]),
  tests(of: "SystemIO", ["CLinux"]),
  tests(of: "ProxyProtocol", ["HTTPSemantics"]),
  tests(of: "GRPCWeb", ["HTTPSemantics"]),
  tests(of: "Upstream"),
  tests(of: "ControlProtocol", ["CLinux"]),
  tests(of: "Telemetry", ["CLinux"]),
  tests(of: "Sandbox", ["CSandbox"]),
  tests(
    of: "DataPlane",
    ["CLinux", "ControlProtocol", "HTTP2", "HTTPSemantics", "RoutingTable", "SystemIO", "Telemetry"]),
  .testTarget(
    name: "SimulationTests",
    dependencies: [
      "ControlProtocol", "DataPlane", "HTTP2", "HTTPSemantics", "RoutingTable", "SystemIO", "TLS", "Telemetry",
      "Upstream",
    ],
    swiftSettings: strict),
]

let otherTests: [Target] = [
  .testTarget(
    name: "StyleTests", swiftSettings: strict
  ),
  tests(of: "YAML"),
  tests(of: "GatewayAPI", ["YAML"]),
  tests(
    of: "Controller", ["CLinux", "ControlProtocol", "GatewayAPI", "YAML", "RoutingTable"], exclude: ["Cases"]),
  .testTarget(
    name: "ControllerAPITests",
    dependencies: ["Controller", "GatewayAPI", "YAML", hummingbird, httpTypes, nioCore],
    swiftSettings: strict),
  .testTarget(
    name: "SluiceCommandTests", dependencies: ["sluice", "GatewayAPI", "YAML"], swiftSettings: strict),
]

/// `SLUICE_PACKAGE_PART=data-plane` leaves the controller and its dependencies out: sanitized builds need neither.
let isDataPlaneOnly = Context.environment["SLUICE_PACKAGE_PART"] == "data-plane"
let dataPlaneTargets = shims + shared + dataPlane + dataPlaneTests

let package = Package(
  name: "sluice",
  products: [.executable(name: "sluice-dataplane", targets: ["sluice-dataplane"])]
    + (isDataPlaneOnly
      ? []
      : [
        .executable(name: "sluice", targets: ["sluice"]),
        .executable(name: "sluice-controller", targets: ["sluice-controller"]),
      ]),
  dependencies: [
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.2"),
    .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
  ],
  targets: isDataPlaneOnly ? dataPlaneTargets : dataPlaneTargets + controlPlane + otherTests,
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx17
)
