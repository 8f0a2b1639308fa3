// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that the benchmark resolves and builds none of the outside packages. `Modules` holds links
// to the source folders of the product; they are compiled as in a release of it.

let settings: [SwiftSetting] = [
  .strictMemorySafety(),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .treatAllWarnings(as: .error),
  .unsafeFlags(["-Xcc", "-D_GNU_SOURCE"]),
]

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, path: "Modules/\(name)", swiftSettings: settings)
}

let package = Package(
  name: "sluice-lookup",
  targets: [
    .target(name: "CRE2", path: "Modules/CRE2", linkerSettings: [.linkedLibrary("re2")]),
    module("HTTPSemantics"),
    module("RoutingTable", ["HTTPSemantics", "CRE2"]),
    .executableTarget(
      name: "lookup", dependencies: ["HTTPSemantics", "RoutingTable"], path: "Program", swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx17
)
