import Foundation
import Testing

@testable import Controller

@Suite struct GoldenTests {
  /// With this variable set the expected files are written anew, and the run fails so that nobody mistakes it
  /// for a test.
  static var isUpdating: Bool { ProcessInfo.processInfo.environment["SLUICE_UPDATE_GOLDEN"] == "1" }

  @Test(arguments: GoldenCase.names) func matches(name: String) throws {
    let golden = GoldenCase(name: name)
    let outcome = try golden.run()
    for (file, text) in [("snapshot.yaml", outcome.snapshot), ("status.yaml", outcome.status)] {
      let url = golden.url.appending(path: file)
      if Self.isUpdating {
        try Data(text.utf8).write(to: url)
        Issue.record(
          "\(name)/\(file) was written anew; read the difference, then run without SLUICE_UPDATE_GOLDEN")
        continue
      }
      let expected = golden.read(file).map { String(decoding: $0, as: UTF8.self) } ?? ""
      #expect(text == expected, "\(name)/\(file); SLUICE_UPDATE_GOLDEN=1 writes it anew")
    }
  }

  @Test func thereAreCases() { #expect(GoldenCase.names.count >= 10) }

  /// The user's manifests are cases as they are.
  @Test(arguments: [("HoopGatewayAPI", "gateway-api.yaml"), ("HoopIstio", "istio.yaml")])
  func seedIsUnchanged(name: String, file: String) throws {
    let root = GoldenCase.folder.deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let manifest = try Data(contentsOf: root.appending(path: "manifests/hoop/\(file)"))
    #expect(GoldenCase(name: name).read("input.yaml") == [UInt8](manifest))
  }

  /// The order of the objects in a file makes no difference.
  @Test(arguments: GoldenCase.names) func orderMakesNoDifference(name: String) throws {
    let golden = GoldenCase(name: name)
    let first = try golden.run()
    let second = try golden.run(reversed: true)
    #expect(first.table == second.table)
    #expect(first.status == second.status)
  }
}
