import Foundation
import GatewayAPI
import YAML

/// Objects as the rows of a `Table` (meta/v1), which is what `kubectl get` and `sluice get` print.
struct TableView {
  struct Column {
    var name: String
    /// 0: always shown; 1: only with `-o wide`.
    var priority = 0
    var value: (Node) -> String
  }

  enum IncludedObject: String {
    case none = "None"
    case metadata = "Metadata"
    case object = "Object"
  }

  let kind: ResourceKind
  let included: IncludedObject
  let now: Date

  func node(_ objects: [Node], resourceVersion: UInt64) -> Node {
    let columns = columns
    let definitions = columns.map { column -> Node in
      [
        "name": .string(column.name), "type": "string", "format": column.name == "Name" ? "name" : "",
        "description": "", "priority": .int(column.priority),
      ]
    }
    let rows = objects.map { object -> Node in
      var row: Node = ["cells": .sequence(columns.map { .string($0.value(object)) })]
      switch included {
      case .none: row["object"] = .null
      case .object: row["object"] = object
      case .metadata:
        row["object"] = [
          "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
          "metadata": object["metadata"] ?? [:],
        ]
      }
      return row
    }
    return [
      "kind": "Table", "apiVersion": "meta.k8s.io/v1",
      "metadata": ["resourceVersion": .string(String(resourceVersion))],
      "columnDefinitions": .sequence(definitions), "rows": .sequence(rows),
    ]
  }

  private var columns: [Column] {
    let name = Column(name: "Name") { $0["metadata"]?["name"]?.string ?? "" }
    let age = Column(name: "Age") { [now] in Self.age($0["metadata"]?["creationTimestamp"]?.string, now: now)
    }
    return [name] + ownColumns.filter { $0.priority == 0 } + [age] + ownColumns.filter { $0.priority > 0 }
  }

  private var ownColumns: [Column] {
    switch kind {
    case .gatewayClass:
      [
        Column(name: "Controller") { Self.text($0["spec"]?["controllerName"]) },
        Column(name: "Accepted") { Self.condition("Accepted", in: $0["status"]?["conditions"]) },
        Column(name: "Description", priority: 1) { Self.text($0["spec"]?["description"]) },
      ]
    case .gateway:
      [
        Column(name: "Class") { Self.text($0["spec"]?["gatewayClassName"]) },
        Column(name: "Address") { Self.joined($0["status"]?["addresses"], "value") },
        Column(name: "Programmed") { Self.condition("Programmed", in: $0["status"]?["conditions"]) },
        Column(name: "Listeners", priority: 1, value: Self.listeners),
      ]
    case .istioGateway:
      [
        Column(name: "Programmed") { Self.condition("Programmed", in: $0["status"]?["conditions"]) },
        Column(name: "Servers", priority: 1, value: Self.servers),
      ]
    case .httpRoute, .grpcRoute, .tlsRoute, .tcpRoute, .udpRoute:
      [
        Column(name: "Hostnames") { Self.list($0["spec"]?["hostnames"]) },
        Column(name: "Accepted") { Self.parents("Accepted", of: $0) },
        Column(name: "Resolved") { Self.parents("ResolvedRefs", of: $0) },
        Column(name: "Parents", priority: 1) { Self.joined($0["spec"]?["parentRefs"], "name") },
      ]
    case .backendTLSPolicy:
      [
        Column(name: "Targets") { Self.joined($0["spec"]?["targetRefs"], "name") },
        Column(name: "Hostname") { Self.text($0["spec"]?["validation"]?["hostname"]) },
        Column(name: "Accepted") {
          Self.condition("Accepted", in: $0["status"]?["ancestors"]?.sequence?.first?["conditions"])
        },
      ]
    case .virtualService:
      [
        Column(name: "Gateways") { Self.list($0["spec"]?["gateways"]) },
        Column(name: "Hosts") { Self.list($0["spec"]?["hosts"]) },
        Column(name: "Accepted") { Self.condition("Accepted", in: $0["status"]?["conditions"]) },
      ]
    case .destinationRule:
      [
        Column(name: "Host") { Self.text($0["spec"]?["host"]) },
        Column(name: "TLS") { Self.text($0["spec"]?["trafficPolicy"]?["tls"]?["mode"]) },
        Column(name: "Accepted") { Self.condition("Accepted", in: $0["status"]?["conditions"]) },
      ]
    case .service, .endpointSlice, .secret, .configMap, .namespace, .referenceGrant: coreColumns
    }
  }

  private var coreColumns: [Column] {
    switch kind {
    case .service:
      [
        Column(name: "Type") { $0["spec"]?["type"]?.string ?? "ClusterIP" },
        Column(name: "Cluster-IP") { Self.text($0["spec"]?["clusterIP"]) },
        Column(name: "External-IP") {
          $0["spec"]?["externalName"]?.string ?? Self.list($0["spec"]?["externalIPs"])
        },
        Column(name: "Port(s)") { Self.ports($0["spec"]?["ports"], "port") },
        Column(name: "Selector", priority: 1) { Self.pairs($0["spec"]?["selector"]) },
      ]
    case .endpointSlice:
      [
        Column(name: "AddressType") { Self.text($0["addressType"]) },
        Column(name: "Ports") { Self.joined($0["ports"], "port") },
        Column(name: "Endpoints") { object in
          let addresses = (object["endpoints"]?.sequence ?? []).flatMap { $0["addresses"]?.sequence ?? [] }
          return Self.list(.sequence(addresses))
        },
      ]
    case .secret:
      [
        Column(name: "Type") { Self.text($0["type"]) },
        Column(name: "Data") { String($0["data"]?.entries?.count ?? 0) },
      ]
    case .configMap:
      [
        Column(name: "Data") {
          String(($0["data"]?.entries?.count ?? 0) + ($0["binaryData"]?.entries?.count ?? 0))
        }
      ]
    case .namespace:
      [Column(name: "Status") { $0["metadata"]?["deletionTimestamp"] == nil ? "Active" : "Terminating" }]
    default: []
    }
  }

  // MARK: Cells

  static let nothing = "<none>"

  private static func text(_ node: Node?) -> String {
    guard let node else { return nothing }
    if let text = node.string { return text.isEmpty ? nothing : text }
    return JSON.write(node)
  }

  private static func list(_ node: Node?) -> String {
    guard let elements = node?.sequence, !elements.isEmpty else { return nothing }
    return elements.map { text($0) }.joined(separator: ",")
  }

  private static func joined(_ node: Node?, _ field: String) -> String {
    list(.sequence((node?.sequence ?? []).compactMap { $0[field] }))
  }

  private static func pairs(_ node: Node?) -> String {
    let pairs = (node?.entries ?? []).map { "\($0.key)=\(text($0.value))" }
    return pairs.isEmpty ? nothing : pairs.joined(separator: ",")
  }

  private static func ports(_ node: Node?, _ field: String) -> String {
    let shown = (node?.sequence ?? []).map { "\(text($0[field]))/\($0["protocol"]?.string ?? "TCP")" }
    return shown.isEmpty ? nothing : shown.joined(separator: ",")
  }

  private static func condition(_ type: String, in conditions: Node?) -> String {
    let found = conditions?.sequence?.first { $0["type"]?.string == type }
    return found?["status"]?.string ?? "Unknown"
  }

  /// True or False when all parents agree; otherwise how many say True.
  private static func parents(_ type: String, of route: Node) -> String {
    let parents = route["status"]?["parents"]?.sequence ?? []
    let statuses = parents.map { condition(type, in: $0["conditions"]) }
    guard let first = statuses.first else { return "Unknown" }
    if statuses.allSatisfy({ $0 == first }) { return first }
    return "\(statuses.count { $0 == "True" })/\(statuses.count)"
  }

  private static func listeners(_ gateway: Node) -> String {
    let shown = (gateway["spec"]?["listeners"]?.sequence ?? []).map {
      "\(text($0["name"])):\(text($0["port"]))/\(text($0["protocol"]))"
    }
    return shown.isEmpty ? nothing : shown.joined(separator: ",")
  }

  private static func servers(_ gateway: Node) -> String {
    let shown = (gateway["spec"]?["servers"]?.sequence ?? []).map {
      "\(text($0["port"]?["number"]))/\(text($0["port"]?["protocol"]))"
    }
    return shown.isEmpty ? nothing : shown.joined(separator: ",")
  }

  /// As kubectl shows durations: the two largest units where the larger is small, else one.
  static func age(_ timestamp: String?, now: Date) -> String {
    guard let timestamp, let date = try? Date(timestamp, strategy: .iso8601) else { return "<unknown>" }
    let seconds = max(0, Int(now.timeIntervalSince(date)))
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400)
    switch seconds {
    case ..<120: return "\(seconds)s"
    case ..<600: return seconds % 60 == 0 ? "\(minutes)m" : "\(minutes)m\(seconds % 60)s"
    case ..<10_800: return "\(minutes)m"
    case ..<28_800: return minutes % 60 == 0 ? "\(hours)h" : "\(hours)h\(minutes % 60)m"
    case ..<172_800: return "\(hours)h"
    case ..<691_200: return hours % 24 == 0 ? "\(days)d" : "\(days)d\(hours % 24)h"
    case ..<63_072_000: return "\(days)d"
    default: return "\(days / 365)y"
    }
  }
}
