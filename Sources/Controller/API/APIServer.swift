import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTLS
public import Logging
import NIOCore
import NIOSSL
public import RoutingTable
public import ServiceLifecycle
import YAML

/// The REST API of the standalone mode, in the shape of the Kubernetes API, over TLS and behind a token.
public struct APIServer: Service {
  public struct Options: Sendable {
    public var host: String
    public var port: Int
    /// The data plane's admin socket, for port-forward.
    public var adminPath: String

    public init(host: String, port: Int, adminPath: String) {
      self.host = host
      self.port = port
      self.adminPath = adminPath
    }
  }

  /// Answers a question of `sluice explain`; nil when no listener has that port.
  public typealias Explain = @Sendable (ExplainSubject, _ port: UInt16) async -> Explanation?

  private let options: Options
  private let credentials: Credentials
  private let routes: APIRoutes
  private let logger: Logger
  private let onListening: @Sendable (_ port: Int) async -> Void

  /// - Parameter onListening: called once with the port, which matters where `options.port` is 0.
  public init(
    options: Options, store: ObjectStore, credentials: Credentials, logger: Logger,
    explain: @escaping Explain, onListening: @escaping @Sendable (_ port: Int) async -> Void
  ) {
    self.options = options
    self.credentials = credentials
    self.logger = logger
    self.onListening = onListening
    routes = APIRoutes(
      resources: ResourceEndpoints(store: store), credentials: credentials,
      portForward: PortForwardEndpoint(adminPath: options.adminPath), explain: explain)
  }

  public func run() async throws {
    let chain = try NIOSSLCertificate.fromPEMBytes(credentials.certificate.certificatePEM)
    let key = try NIOSSLPrivateKey(bytes: credentials.certificate.keyPEM, format: .pem)
    var tls = TLSConfiguration.makeServerConfiguration(
      certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
    tls.minimumTLSVersion = .tlsv12
    tls.applicationProtocols = ["http/1.1"]
    let routes = routes
    let application = Application(
      responder: CallbackResponder<BasicRequestContext> { request, _ in await routes.respond(to: request) },
      server: try .tls(.http1(), tlsConfiguration: tls),
      configuration: ApplicationConfiguration(address: .hostname(options.host, port: options.port)),
      onServerRunning: { [onListening] channel in await onListening(channel.localAddress?.port ?? 0) },
      logger: logger)
    do {
      try await application.run()
    } catch let error as IOError {
      throw CannotListen(host: options.host, port: options.port, reason: systemText(error.errnoCode))
    }
  }
}

/// The API's address cannot be had; trying again does not help.
public struct CannotListen: Error, CustomStringConvertible {
  let host: String
  let port: Int
  let reason: String

  public var description: String {
    "the API cannot listen on \(host):\(port): \(reason); choose another address with --api HOST:PORT"
  }
}

/// From a request to who answers it.
struct APIRoutes: Sendable {
  let resources: ResourceEndpoints
  let credentials: Credentials
  let portForward: PortForwardEndpoint
  let explain: APIServer.Explain

  static let longestBody = 3 << 20

  func respond(to request: Request) async -> Response {
    do throws(APIError) {
      return try await answer(request)
    } catch {
      return Self.response(
        APIAnswer(error.code, error.node()), error.code == 401 ? ["www-authenticate": "Bearer"] : [:])
    }
  }

  private func answer(_ request: Request) async throws(APIError) -> Response {
    guard let path = APIPath(request.uri.path) else {
      try authorize(request)
      throw .noSuchPath
    }
    if path == .health { return Response(status: .ok, body: .init(byteBuffer: ByteBuffer(string: "ok"))) }
    try authorize(request)
    switch path {
    case .resources(let target): return try await objects(target, request)
    case .portForward(let target): return try await forward(target, request)
    case .explain:
      guard request.method == .post else { throw .methodNotAllowed }
      let body = try await Self.body(of: request)
      let question = try ExplainQuestion(parse(body).documents.first ?? .null)
      guard let answer = await explain(question.subject, question.port) else {
        throw APIError(
          code: 404, reason: "NotFound",
          message: "no listener\(question.isDatagram ? " of UDP" : "") has port \(question.port)")
      }
      return Self.response(APIAnswer(200, answer.node(for: question)))
    default:
      guard request.method == .get else { throw .methodNotAllowed }
      guard let answer = document(path, request) else { throw .noSuchPath }
      return Self.response(answer)
    }
  }

  private func authorize(_ request: Request) throws(APIError) {
    guard let presented = request.headers[.authorization], presented.hasPrefix("Bearer "),
      credentials.accepts(String(presented.dropFirst("Bearer ".count)))
    else { throw .unauthorized }
  }

  /// What describes the API itself.
  private func document(_ path: APIPath, _ request: Request) -> APIAnswer? {
    let accepted = request.headers[.accept] ?? ""
    let isAggregated = accepted.contains("as=APIGroupDiscoveryList") && accepted.contains("v=v2;")
    switch path {
    case .version: return APIAnswer(200, Discovery.version())
    case .coreVersions where isAggregated, .groups where isAggregated:
      return APIAnswer(
        200, Discovery.aggregated(isCore: path == .coreVersions), type: Discovery.aggregatedType)
    case .coreVersions: return APIAnswer(200, Discovery.coreVersions())
    case .groups: return APIAnswer(200, Discovery.groupList())
    case .group(let name): return Discovery.group(name).map { APIAnswer(200, $0) }
    case .resourceList(let group, let version):
      return Discovery.resourceList(group: group, version: version).map { APIAnswer(200, $0) }
    case .openAPI("v2", "") where accepted.contains("protobuf"): return OpenAPIDocument.v2Protobuf()
    case .openAPI("v2", ""): return APIAnswer(200, OpenAPIDocument.v2())
    case .openAPI("v3", ""): return APIAnswer(200, OpenAPIDocument.index())
    case .openAPI("v3", let name): return OpenAPIDocument.v3(name).map { APIAnswer(200, $0) }
    default: return nil
    }
  }

  private func objects(
    _ target: APIPath.ResourcePath, _ request: Request
  ) async throws(APIError) -> Response {
    let query = APIQuery(request.uri.query).values
    var call = ResourceEndpoints.Call(
      path: target, query: query, contentType: Self.mediaType(request), body: [], table: nil)
    let isOne = target.name != nil
    if request.method == .get {
      call.table = Self.table(request.headers[.accept] ?? "", query)
      if ["true", "1"].contains(query["watch"] ?? "") {
        return try await WatchEndpoint(resources: resources).respond(call, request: request)
      }
      return Self.response(isOne ? try await resources.get(call) : try await resources.list(call))
    }
    call.body = try await Self.body(of: request)
    switch (request.method, isOne) {
    case (.post, false): return Self.response(try await resources.create(try Self.plain(call)))
    case (.put, true): return Self.response(try await resources.update(try Self.plain(call)))
    case (.patch, true): return Self.response(try await resources.patch(call))
    case (.delete, true) where !target.isStatus: return Self.response(try await resources.delete(call))
    case (.delete, false): return Self.response(try await resources.deleteCollection(call))
    default: throw .methodNotAllowed
    }
  }

  private func forward(
    _ target: APIPath.ResourcePath, _ request: Request
  ) async throws(APIError) -> Response {
    guard request.method == .post else { throw .methodNotAllowed }
    _ = try await resources.get(
      ResourceEndpoints.Call(path: target, query: [:], contentType: "", body: [], table: nil))
    guard let port = APIQuery(request.uri.query)["port"].flatMap({ UInt16($0) }), port > 0 else {
      throw .badRequest("port must be a number from 1 to 65535")
    }
    return try await portForward.respond(port: port, request: request)
  }

  // MARK: Parts

  private static func body(of request: Request) async throws(APIError) -> [UInt8] {
    do {
      return Array(buffer: try await request.body.collect(upTo: longestBody))
    } catch {
      throw .tooLarge
    }
  }

  private static func mediaType(_ request: Request) -> String {
    let type = request.headers[.contentType] ?? "application/json"
    return String(type.prefix { $0 != ";" && $0 != " " }).lowercased()
  }

  private static func plain(_ call: ResourceEndpoints.Call) throws(APIError) -> ResourceEndpoints.Call {
    guard ["application/json", "application/yaml", KubernetesProtobuf.mediaType].contains(call.contentType)
    else {
      throw .unsupportedMediaType(call.contentType)
    }
    return call
  }

  private static func table(_ accepted: String, _ query: [String: String]) -> TableView.IncludedObject? {
    guard let first = accepted.split(separator: ",").first, first.contains("as=Table") else { return nil }
    return query["includeObject"].flatMap(TableView.IncludedObject.init) ?? .metadata
  }

  private static func response(_ answer: APIAnswer, _ extra: [String: String] = [:]) -> Response {
    var headers: HTTPFields = [.contentType: answer.type]
    for warning in answer.warnings {
      headers.append(HTTPField(name: .warning, value: "299 - \(quoted(warning))"))
    }
    for (name, value) in extra { HTTPField.Name(name).map { headers[$0] = value } }
    return Response(
      status: .init(code: answer.code), headers: headers,
      body: .init(byteBuffer: ByteBuffer(bytes: answer.body)))
  }

  /// A quoted-string (RFC 9110, 5.6.4) of printable ASCII; other characters are shown as question marks.
  private static func quoted(_ text: String) -> String {
    let plain = text.map { $0.isASCII && !$0.isNewline ? String($0) : "?" }.joined()
    let escaped = plain.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined()
    return "\"\(escaped)\""
  }
}

extension HTTPField.Name {
  /// RFC 7234, 5.5, as the Kubernetes API uses it.
  fileprivate static var warning: HTTPField.Name {
    guard let name = HTTPField.Name("warning") else { preconditionFailure("warning is a token") }
    return name
  }
}
