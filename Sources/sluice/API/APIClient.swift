import AsyncHTTPClient
import Foundation
import GatewayAPI
import NIOCore
import NIOHTTP1
import NIOSSL
import YAML

/// The REST API, as the commands use it.
struct APIClient: Sendable {
  let kubeconfig: Kubeconfig
  private let http: HTTPClient

  /// Runs `body` with a client and closes it after.
  static func with<Result: Sendable>(
    _ kubeconfig: Kubeconfig, _ body: (APIClient) async throws -> Result
  ) async throws -> Result {
    var configuration = HTTPClient.Configuration()
    configuration.httpVersion = .http1Only
    configuration.timeout.connect = .seconds(5)
    // Every forwarded connection and every watch holds one.
    configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 1024
    if let authority = kubeconfig.authority {
      var tls = TLSConfiguration.makeClientConfiguration()
      do {
        tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(authority))
      } catch {
        throw CommandError.invalid("the kubeconfig's certificate-authority-data is not a PEM certificate")
      }
      configuration.tlsConfiguration = tls
    }
    let http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    do {
      let result = try await body(APIClient(kubeconfig: kubeconfig, http: http))
      try await http.shutdown()
      return result
    } catch {
      try? await http.shutdown()
      throw error
    }
  }

  struct Answer: Sendable {
    var code: Int
    var body: Node
    var warnings: [String]

    var isSuccess: Bool { (200..<300).contains(code) }
    /// What the API says of a failure.
    var message: String { body["message"]?.string ?? "the API answered with status \(code)" }
  }

  /// One request with a whole answer. An answer that is no success is returned, not thrown.
  func send(
    _ method: String, _ path: String, body: [UInt8]? = nil, contentType: String = "application/json",
    accept: String = "application/json"
  ) async throws(CommandError) -> Answer {
    let request = request(
      method, path, contentType: contentType, accept: accept, body.map { .bytes(.init(bytes: $0)) })
    do {
      let response = try await http.execute(request, timeout: .seconds(60))
      let bytes = try await response.body.collect(upTo: 256 << 20)
      let text = Array(buffer: bytes)
      let node = text.isEmpty ? nil : YAML.parse(text).documents.first
      return Answer(
        code: Int(response.status.code), body: node ?? .null,
        warnings: response.headers["warning"].map(Self.warningText))
    } catch {
      throw .unreachable(unreachable(error))
    }
  }

  /// As `send`, but an answer that is no success is an error.
  func call(
    _ method: String, _ path: String, body: [UInt8]? = nil, contentType: String = "application/json",
    accept: String = "application/json"
  ) async throws(CommandError) -> Answer {
    let answer = try await send(method, path, body: body, contentType: contentType, accept: accept)
    guard answer.isSuccess else { throw .failed(answer.message) }
    return answer
  }

  /// The JSON lines of a watch, each as one node, until the API ends it or the task is cancelled.
  func watch(
    _ path: String, accept: String = "application/json", _ handle: (Node) async throws -> Bool
  ) async throws {
    let response = try await open("GET", path, body: nil, accept: accept)
    var line: [UInt8] = []
    for try await chunk in response.body {
      for byte in chunk.readableBytesView {
        guard byte == UInt8(ascii: "\n") else {
          line.append(byte)
          continue
        }
        if let node = YAML.parse(line).documents.first, try await !handle(node) { return }
        line.removeAll(keepingCapacity: true)
      }
    }
  }

  /// A request whose two bodies are streams. Throws when the answer's status is no success.
  func open(
    _ method: String, _ path: String, body: HTTPClientRequest.Body?, accept: String = "*/*"
  ) async throws -> HTTPClientResponse {
    let request = request(method, path, contentType: "application/octet-stream", accept: accept, body)
    let response: HTTPClientResponse
    do {
      response = try await http.execute(request, deadline: .distantFuture)
    } catch {
      throw CommandError.unreachable(unreachable(error))
    }
    guard response.status.code < 300 else {
      let text = Array(buffer: try await response.body.collect(upTo: 1 << 20))
      let message = YAML.parse(text).documents.first?["message"]?.string
      throw CommandError.failed(message ?? "the API answered with status \(response.status.code)")
    }
    return response
  }

  private func request(
    _ method: String, _ path: String, contentType: String, accept: String, _ body: HTTPClientRequest.Body?
  ) -> HTTPClientRequest {
    var request = HTTPClientRequest(url: kubeconfig.server + path)
    request.method = .RAW(value: method)
    request.headers.add(name: "accept", value: accept)
    request.headers.add(name: "user-agent", value: "sluice/\(Version.text)")
    if let token = kubeconfig.token { request.headers.add(name: "authorization", value: "Bearer \(token)") }
    if let body {
      request.headers.add(name: "content-type", value: contentType)
      request.body = body
    }
    return request
  }

  private func unreachable(_ error: any Error) -> String {
    "the API at \(kubeconfig.server) cannot be reached: \(error). Is `sluice run` running?"
  }

  /// `299 - "text"` (RFC 7234, 5.5).
  static func warningText(_ header: String) -> String {
    guard let open = header.firstIndex(of: "\""), header.hasSuffix("\""),
      open < header.index(before: header.endIndex)
    else { return header }
    var text = ""
    var isEscaped = false
    for character in header[header.index(after: open)...].dropLast() {
      if character == "\\" && !isEscaped {
        isEscaped = true
      } else {
        text.append(character)
        isEscaped = false
      }
    }
    return text
  }
}

/// The paths of the API.
enum APIPaths {
  static func collection(_ kind: ResourceKind, version: String? = nil, namespace: String?) -> String {
    let version = version ?? kind.versions[0]
    let root = kind.group.isEmpty ? "/api/\(version)" : "/apis/\(kind.group)/\(version)"
    if kind.isNamespaced, let namespace { return "\(root)/namespaces/\(escaped(namespace))/\(kind.plural)" }
    return "\(root)/\(kind.plural)"
  }

  static func object(_ key: ResourceKey, version: String? = nil) -> String {
    collection(key.kind, version: version, namespace: key.namespace) + "/" + escaped(key.name)
  }

  static func escaped(_ text: String) -> String {
    text.utf8.map { byte in
      let isPlain =
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
        || [0x2D, 0x2E, 0x5F, 0x7E].contains(byte)
      let digits = String(byte, radix: 16, uppercase: true)
      return isPlain ? String(UnicodeScalar(byte)) : "%" + (digits.count == 1 ? "0" : "") + digits
    }.joined()
  }
}
