import Foundation
import GatewayAPI
import Glibc
import YAML

/// Where the API is and how to get in; read from a kubeconfig.
struct Kubeconfig: Equatable {
  var server: String
  /// PEM; nil: the system's authorities.
  var authority: [UInt8]?
  var token: String?
  var namespace: String

  /// - Parameter path: the option's value; nil: `$SLUICE_KUBECONFIG`, then the default data directory's.
  static func find(_ path: String?, environment: [String: String]) throws(CommandError) -> Kubeconfig {
    let chosen =
      path ?? environment["SLUICE_KUBECONFIG"] ?? (defaultDataDirectory(environment) + "/kubeconfig")
    guard let data = FileManager.default.contents(atPath: chosen) else {
      throw .unreachable(
        "cannot read the kubeconfig \(chosen): \(errnoText(errno)). Is `sluice run` running? Otherwise name "
          + "the file with --kubeconfig or $SLUICE_KUBECONFIG.")
    }
    return try parse(Array(data), file: chosen)
  }

  static func parse(_ bytes: [UInt8], file: String) throws(CommandError) -> Kubeconfig {
    let result = YAML.parse(bytes, file: file)
    if let error = result.diagnostics.first(where: \.isError) { throw .invalid("\(error)") }
    guard let config = result.documents.first else { throw .invalid("\(file) is empty") }
    let current = config["current-context"]?.string
    let context = named(current, in: config["contexts"])?["context"]
    let cluster = named(context?["cluster"]?.string, in: config["clusters"])?["cluster"]
    let user = named(context?["user"]?.string, in: config["users"])?["user"]
    guard let server = cluster?["server"]?.string else {
      throw .invalid("\(file): the current context names no server (clusters[].cluster.server)")
    }
    var authority: [UInt8]?
    if let text = cluster?["certificate-authority-data"]?.string {
      guard let data = Data(base64Encoded: text) else {
        throw .invalid("\(file): certificate-authority-data is not base64")
      }
      authority = Array(data)
    } else if let path = cluster?["certificate-authority"]?.string {
      guard let data = FileManager.default.contents(atPath: path) else {
        throw .invalid("\(file): cannot read certificate-authority \(path)")
      }
      authority = Array(data)
    }
    return Kubeconfig(
      server: server.hasSuffix("/") ? String(server.dropLast()) : server, authority: authority,
      token: user?["token"]?.string, namespace: context?["namespace"]?.string ?? "default")
  }

  private static func named(_ name: String?, in list: Node?) -> Node? {
    list?.sequence?.first { $0["name"]?.string == name }
  }

  static func defaultDataDirectory(_ environment: [String: String]) -> String {
    if let state = environment["XDG_STATE_HOME"], state.hasPrefix("/") { return state + "/sluice" }
    return (environment["HOME"] ?? "/root") + "/.local/state/sluice"
  }
}
