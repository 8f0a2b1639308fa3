import GatewayAPI
import RoutingTable

/// What annotations of a Gateway (of either API) ask for, for want of a field that says it.
///
/// A value counts for every listener, `listener=value` for the one of that name; several are separated by commas.
struct ListenerSettings: Sendable, Hashable {
  var http = ListenerOptions()
  /// Networks that PROXY protocol headers are taken from; nil: connections begin without one.
  var proxyProtocol: [NetworkSource]?

  /// `true` or `false`: gRPC-Web requests are translated to gRPC.
  static let grpcWebAnnotation = "sluice.dev/grpc-web"
  /// `keep`, `reject` or `decode`: what `%2F` and `%5C` in paths are.
  static let escapedSlashesAnnotation = "sluice.dev/escaped-slashes"
  /// `true` or `false`: several slashes in a row count as one.
  static let mergeSlashesAnnotation = "sluice.dev/merge-slashes"
  /// Networks separated by spaces, `10.0.0.0/8 fd00::/8`: connections begin with a PROXY protocol header.
  static let proxyProtocolAnnotation = "sluice.dev/proxy-protocol"

  init() {}

  /// Of the listener of this name; throws where an annotation says nothing that can be done.
  init(_ annotations: [String: String], listener: String) throws(Fault) {
    if let text = Self.value(annotations[Self.grpcWebAnnotation], listener) {
      http.translatesGRPCWeb = try Self.flag(text, Self.grpcWebAnnotation)
    }
    if let text = Self.value(annotations[Self.mergeSlashesAnnotation], listener) {
      http.mergesSlashes = try Self.flag(text, Self.mergeSlashesAnnotation)
    }
    switch Self.value(annotations[Self.escapedSlashesAnnotation], listener) {
    case nil, "keep": http.escapedSlashes = .keep
    case "reject": http.escapedSlashes = .reject
    case "decode": http.escapedSlashes = .decode
    case let text?: throw Self.fault(Self.escapedSlashesAnnotation, text, "keep, reject or decode")
    }
    if let text = Self.value(annotations[Self.proxyProtocolAnnotation], listener), text != "off" {
      let networks = text.split(separator: " ").map { NetworkSource(String($0)) }
      guard !networks.isEmpty, networks.allSatisfy(\.isValid) else {
        throw Self.fault(
          Self.proxyProtocolAnnotation, text,
          "off, or the networks that headers are taken from, such as \"10.0.0.0/8 fd00::/8\"")
      }
      proxyProtocol = networks
    }
  }

  /// The value for a listener: its own before that for all.
  private static func value(_ annotation: String?, _ listener: String) -> String? {
    guard let annotation else { return nil }
    var common: String?
    for part in annotation.split(separator: ",", omittingEmptySubsequences: false) {
      let halves = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(trimmed)
      if halves.count == 2, halves[0] == listener { return halves[1] }
      if halves.count == 1 { common = halves[0] }
    }
    return common
  }

  private static func trimmed(_ text: Substring) -> String {
    let blank: (Character) -> Bool = { $0 == " " || $0 == "\t" }
    let rest = text.drop(while: blank)
    let end = rest.lastIndex { !blank($0) }
    return end.map { String(rest[...$0]) } ?? ""
  }

  private static func flag(_ text: String, _ annotation: String) throws(Fault) -> Bool {
    switch text {
    case "true": true
    case "false": false
    default: throw fault(annotation, text, "true or false")
    }
  }

  private static func fault(_ annotation: String, _ text: String, _ wanted: String) -> Fault {
    Fault("UnsupportedValue", "annotation \(annotation) is \"\(text)\"; it takes \(wanted)")
  }
}

extension ListenerNode {
  /// Takes what the annotations ask of it; one that is wrong refuses the listener, because what it would have
  /// restricted is not known.
  mutating func apply(_ annotations: [String: String]) {
    do throws(Fault) {
      options = try ListenerSettings(annotations, listener: name)
    } catch {
      if accepted.holds { accepted = .no(error.reason, error.message) }
    }
    // Said for all listeners, it is not meant for one of datagrams, which have no connections that begin.
    if kind == .udp { options.proxyProtocol = nil }
  }
}
