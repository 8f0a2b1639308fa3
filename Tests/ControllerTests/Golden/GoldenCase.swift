import Foundation
import GatewayAPI
import RoutingTable
import YAML

@testable import Controller

/// A folder of `Cases`: what is given, and what must come of it.
struct GoldenCase {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "Cases")

  static let names: [String] = {
    let found = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
    return found.filter { !$0.hasPrefix(".") }.sorted()
  }()

  var name: String
  var url: URL { Self.folder.appending(path: name) }

  /// The circumstances: `given.yaml`, when the case has one.
  struct Given {
    var options = ControllerOptions(backendOverrides: [])
    var hosts: [String: [String]] = [:]
    var isAcknowledged = true
    var failures: [UInt16: BindFailure] = [:]
    var nack: String?

    init(_ node: Node?) throws {
      guard let node else { return }
      options.isStandalone = node["standalone"]?.bool ?? true
      for entry in node["portMap"]?.entries ?? [] {
        options.portMap[UInt16(entry.key) ?? 0] = UInt16(entry.value.int ?? 0)
      }
      for text in node["backends"]?.sequence ?? [] {
        options.backendOverrides.append(try BackendOverride(parsing: text.string ?? ""))
      }
      for entry in node["hosts"]?.entries ?? [] {
        hosts[entry.key] = (entry.value.sequence ?? []).compactMap(\.string)
      }
      isAcknowledged = node["acknowledged"]?.bool ?? true
      nack = node["nack"]?.string
      for entry in node["bindFailures"]?.entries ?? [] {
        failures[UInt16(entry.key) ?? 0] = BindFailure(
          code: Int32(entry.value["code"]?.int ?? 0), reason: entry.value["reason"]?.string ?? "")
      }
    }
  }

  struct Outcome {
    var snapshot: String
    var status: String
    var table: TableSource
  }

  func read(_ file: String) -> [UInt8]? {
    (try? Data(contentsOf: url.appending(path: file))).map { [UInt8]($0) }
  }

  /// - Parameter reversed: applies the objects from the last to the first.
  func run(reversed: Bool = false) throws -> Outcome {
    let input = try read("input.yaml") ?? { throw CaseError("\(name) has no input.yaml") }()
    let given = try Given(read("given.yaml").flatMap { YAML.parse($0).documents.first })
    let store = try Self.store(input, file: "input.yaml", reversed: reversed)
    var memory = BuildMemory()
    let graph = Graph.build(store, given.options, memory: &memory)
    let resolution = EndpointResolution(store: store, hosts: given.hosts)
    let table = TableCompiler.table(
      graph.model, revision: 1, bindAddress: given.options.bindAddress, portMap: given.options.portMap,
      endpoints: resolution.endpoints)
    // Every golden table must also be one that the data plane takes.
    _ = try LoadedImage(RoutingTable.compile(table))
    let patches = StatusStage(
      graph: graph, store: store, dataPlane: Self.answers(given, graph, table),
      addresses: given.options.statusAddresses, now: "2026-01-01T00:00:00Z"
    ).patches()
    return Outcome(
      snapshot: YAML.write(dump(table)), status: YAML.write(Self.list(patches)), table: table)
  }

  static func store(_ input: [UInt8], file: String, reversed: Bool = false) throws -> ResourceStore {
    let manifest = Manifest(input, file: file)
    if let problem = manifest.diagnostics.first(where: \.isError) { throw problem }
    var store = ResourceStore()
    let objects = reversed ? manifest.objects.reversed() : manifest.objects
    for (index, node) in objects.enumerated() {
      store.apply(try object(node, file: file, version: UInt64(index + 1)))
    }
    return store
  }

  static func object(_ node: Node, file: String, version: UInt64) throws -> StoredObject {
    var node = node
    if node["metadata"]?["generation"] == nil { node["metadata"]?["generation"] = 1 }
    let (resource, diagnostics) = decodeResource(node, file: file)
    guard let resource else { throw diagnostics.first { $0.isError } ?? CaseError("not decoded") }
    return StoredObject(key: resource.key, node: node, resource: resource, resourceVersion: version)
  }

  private static func answers(_ given: Given, _ graph: Graph, _ table: TableSource) -> DataPlaneState {
    var state = DataPlaneState()
    state.publish(revision: 1, versions: graph.versions)
    guard given.isAcknowledged else { return state }
    _ = state.note(.connected(instance: "default"))
    if let nack = given.nack {
      _ = state.note(.nack(instance: "default", revision: 1, sequence: 0, reason: nack))
      return state
    }
    let sockets = table.sockets.map {
      SocketReport(
        address: $0.address, port: $0.port, bindPort: $0.bindPort, failure: given.failures[$0.port])
    }
    _ = state.note(.ack(instance: "default", revision: 1, sequence: 0, sockets: sockets))
    return state
  }

  private static func list(_ patches: [StatusPatch]) -> Node {
    .sequence(
      patches.map { .mapping([("object", .string("\($0.key)")), ("status", withoutTimes($0.status))]) })
  }

  /// Times are the same everywhere in a first status, and only noise in a golden file.
  private static func withoutTimes(_ node: Node) -> Node {
    switch node.value {
    case .sequence(let items): return .sequence(items.map(withoutTimes))
    case .mapping(let entries):
      return .mapping(
        entries.filter { $0.key != "lastTransitionTime" }.map { ($0.key, withoutTimes($0.value)) })
    default: return node
    }
  }
}

struct CaseError: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}
