import Foundation
import GatewayAPI
import Glibc
import YAML

/// One object of the input, decoded, and where it came from.
struct InputObject {
  var node: Node
  var resource: Resource
  /// As the user named it.
  var file: String
  /// The version that the manifest names.
  var version: String

  var key: ResourceKey { resource.key }
}

/// What the files of `-f` hold.
struct Input {
  var objects: [InputObject] = []
  var diagnostics: [Diagnostic] = []

  var hasErrors: Bool { diagnostics.contains(where: \.isError) }

  static let standardInput = "<stdin>"

  /// Reads every path: a file, a directory with all that is in it (.yaml, .yml, .json), or `-`.
  static func read(_ paths: [String], namespace: String) throws(CommandError) -> Input {
    var input = Input()
    for path in paths {
      if path == "-" {
        input.add(try bytes(ofDescriptor: 0, name: "standard input"), file: standardInput, namespace)
        continue
      }
      for file in try files(under: path) {
        input.add(try bytes(ofFile: file), file: file, namespace)
      }
    }
    input.refuseDoubles()
    return input
  }

  mutating func add(_ bytes: [UInt8], file: String, _ namespace: String) {
    let manifest = Manifest(bytes, file: file)
    diagnostics += manifest.diagnostics
    for node in manifest.objects {
      let (resource, found) = decodeResource(node, file: file, defaultNamespace: namespace)
      diagnostics += found
      guard let resource else { continue }
      let version = node["apiVersion"]?.string?.split(separator: "/").last.map(String.init) ?? ""
      objects.append(InputObject(node: node, resource: resource, file: file, version: version))
    }
  }

  /// Of two objects with one name the second would win in silence.
  private mutating func refuseDoubles() {
    var seen: [ResourceKey: InputObject] = [:]
    for object in objects {
      if let first = seen[object.key], let place = first.resource.origin {
        diagnostics.append(
          Diagnostic(
            .error, file: object.file, position: object.node.position,
            message: "\(object.key) is here a second time; the first is at \(place)"))
      }
      seen[object.key] = object
    }
  }

  /// In the order in which they are sent: what others need comes first.
  var inOrder: [InputObject] {
    objects.enumerated().sorted {
      ($0.element.key.kind.rank, $0.offset) < ($1.element.key.kind.rank, $1.offset)
    }.map(\.element)
  }

  /// Prints what was found; throws when any of it is an error.
  func report() throws(CommandError) {
    for diagnostic in diagnostics { Terminal.error("\(diagnostic)") }
    let errors = diagnostics.count(where: \.isError)
    guard errors == 0 else {
      throw .invalid("\(errors) error\(errors == 1 ? "" : "s") in the input; nothing was changed")
    }
  }

  private static func files(under path: String) throws(CommandError) -> [String] {
    guard let attributes = try? FileManager.default.attributesOfItem(atPath: resolved(path)) else {
      throw .failed("\(path) does not exist")
    }
    guard attributes[.type] as? FileAttributeType == .typeDirectory else { return [path] }
    let inside = FileManager.default.enumerator(atPath: path)?.compactMap { $0 as? String } ?? []
    let chosen = inside.filter { name in
      [".yaml", ".yml", ".json"].contains { name.hasSuffix($0) }
        && !name.split(separator: "/").contains { $0.hasPrefix(".") }
    }
    guard !chosen.isEmpty else { throw .failed("\(path) holds no .yaml, .yml or .json file") }
    return chosen.sorted().map { path.hasSuffix("/") ? path + $0 : "\(path)/\($0)" }
  }

  /// The absolute path without symbolic links.
  static func resolved(_ path: String) -> String {
    guard let real = unsafe realpath(path, nil) else { return path }
    defer { unsafe free(real) }
    return unsafe String(cString: real)
  }

  private static func bytes(ofFile path: String) throws(CommandError) -> [UInt8] {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .failed("cannot read \(path): \(errnoText(errno))") }
    defer { close(descriptor) }
    return try bytes(ofDescriptor: descriptor, name: path)
  }

  private static func bytes(ofDescriptor descriptor: Int32, name: String) throws(CommandError) -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = unsafe buffer.withUnsafeMutableBytes {
        unsafe Glibc.read(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw .failed("cannot read \(name): \(errnoText(errno))") }
      if count == 0 { return bytes }
      bytes += buffer[..<count]
    }
  }
}

extension ResourceKind {
  /// Kinds that others refer to have a lower rank: they are applied first and deleted last.
  fileprivate var rank: Int {
    switch self {
    case .namespace: 0
    case .gatewayClass: 1
    case .secret, .configMap, .referenceGrant: 2
    case .service, .endpointSlice: 3
    case .gateway, .istioGateway, .backendTLSPolicy, .destinationRule: 4
    case .httpRoute, .grpcRoute, .tlsRoute, .tcpRoute, .udpRoute, .virtualService: 5
    }
  }
}
