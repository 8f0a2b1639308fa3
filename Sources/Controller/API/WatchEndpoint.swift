import Foundation
import GatewayAPI
import Hummingbird
import NIOCore
import YAML

/// `?watch=true`: changes as JSON lines until the client goes, the time is over or the client is too slow.
struct WatchEndpoint: Sendable {
  let resources: ResourceEndpoints

  /// A watch without `timeoutSeconds` ends after this long; clients begin a new one.
  static let longestWatch = 3600
  static let bookmarkInterval = 30

  func respond(_ call: ResourceEndpoints.Call, request: Request) async throws(APIError) -> Response {
    var call = call
    if let name = call.path.name { call.query["fieldSelector"] = "metadata.name=\(name)" }
    let selection = try resources.selection(call)
    let store = resources.store
    let watch = try await store.watch(
      call.path.kind, namespace: call.path.namespace, from: try Self.start(call.query))
    let seconds = call.query["timeoutSeconds"].flatMap { Int($0) } ?? Self.longestWatch
    let wantsBookmarks = call.query["allowWatchBookmarks"] == "true"
    let lines = WatchLines(call: call, selection: selection, endpoints: resources)
    let clock = Task {
      let end = ContinuousClock.now + .seconds(max(1, min(seconds, Self.longestWatch)))
      while ContinuousClock.now < end {
        let tick = min(end, .now + .seconds(Self.bookmarkInterval))
        guard (try? await Task.sleep(until: tick)) != nil else { return }
        await store.bookmark(watch)
      }
      watch.end()
    }
    let body = ResponseBody { writer in
      defer {
        clock.cancel()
        watch.end()
      }
      try await request.body.consumeWithInboundCloseHandler { _ in
        for await signal in watch.signals {
          guard let line = lines.line(for: signal, wantsBookmarks: wantsBookmarks) else { continue }
          try await writer.write(ByteBuffer(bytes: line))
        }
      } onInboundClosed: {
        watch.end()
      }
      try await writer.finish(nil)
    }
    return Response(status: .ok, headers: [.contentType: "application/json"], body: body)
  }

  private static func start(_ query: [String: String]) throws(APIError) -> ObjectStore.WatchStart {
    if query["sendInitialEvents"] == "true" { return .initial }
    guard let text = query["resourceVersion"], !text.isEmpty, text != "0" else { return .initial }
    guard let version = UInt64(text) else { throw .badRequest("resourceVersion \(text) is not a number") }
    return .after(version)
  }
}

/// How one watcher is told of a change.
private struct WatchLines: Sendable {
  let call: ResourceEndpoints.Call
  let selection: Selection
  let endpoints: ResourceEndpoints

  /// Nil: nothing to tell.
  func line(for signal: ObjectStore.WatchSignal, wantsBookmarks: Bool) -> [UInt8]? {
    switch signal {
    case .change(let change):
      guard let type = type(of: change) else { return nil }
      return line(type, object(change.entry))
    case .bookmark(let version):
      return wantsBookmarks ? line("BOOKMARK", JSON.bytes(bookmark(version, isInitialEnd: false))) : nil
    case .initialEnd(let version):
      guard wantsBookmarks, call.query["sendInitialEvents"] == "true" else { return nil }
      return line("BOOKMARK", JSON.bytes(bookmark(version, isInitialEnd: true)))
    }
  }

  /// An object that starts or stops to match the selection comes and goes for this watcher.
  private func type(of change: ObjectStore.Change) -> String? {
    if selection.isEverything { return change.type.rawValue }
    let matched = change.previous.map { selection.matches($0.stored) } ?? false
    let matches = selection.matches(change.entry.stored)
    switch change.type {
    case .added: return matches ? "ADDED" : nil
    case .deleted: return matched ? "DELETED" : nil
    case .modified:
      if matches { return matched ? "MODIFIED" : "ADDED" }
      return matched ? "DELETED" : nil
    }
  }

  private func object(_ entry: ObjectStore.Entry) -> [UInt8] {
    guard let included = call.table else { return endpoints.json(entry, call) }
    let view = TableView(kind: call.path.kind, included: included, now: .now)
    let node = endpoints.shown(entry.stored.node, call)
    return JSON.bytes(view.node([node], resourceVersion: entry.stored.resourceVersion))
  }

  private func bookmark(_ version: UInt64, isInitialEnd: Bool) -> Node {
    var metadata: Node = ["resourceVersion": .string(String(version))]
    if isInitialEnd { metadata["annotations"] = ["k8s.io/initial-events-end": "true"] }
    return [
      "kind": .string(call.path.kind.kind),
      "apiVersion": .string(call.path.kind.apiVersion(call.path.version)),
      "metadata": metadata,
    ]
  }

  private func line(_ type: String, _ object: [UInt8]) -> [UInt8] {
    Array("{\"type\":\"\(type)\",\"object\":".utf8) + object + Array("}\n".utf8)
  }
}
