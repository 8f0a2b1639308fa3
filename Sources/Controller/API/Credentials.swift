import Foundation

/// What a client of the API needs, made at the first start and kept in the data directory.
public struct Credentials: Sendable {
  public let token: String
  public let certificate: SelfSignedCertificate

  private static let tokenFile = "api-token"
  private static let certificateFile = "api.crt"
  private static let keyFile = "api.key"
  /// The hosts that the kept certificate was made for: another `--api` host needs another certificate.
  private static let hostsFile = "api-hosts"

  /// Reads what is there and makes what is missing. `host` is the one that the API listens on.
  public static func load(
    from directory: DataDirectory, host: String
  ) throws -> Credentials {
    let token = try keptToken(directory)
    let hosts = Array(Set(["127.0.0.1", "::1", "localhost", host])).sorted()
    let hostList = Array(hosts.joined(separator: "\n").utf8)
    if let certificate = try directory.read(certificateFile), let key = try directory.read(keyFile),
      try directory.read(hostsFile) == hostList
    {
      return Credentials(token: token, certificate: .init(certificatePEM: certificate, keyPEM: key))
    }
    let made = try SelfSignedCertificate.make(commonName: "sluice-controller", hosts: hosts)
    try directory.write(made.keyPEM, to: keyFile)
    try directory.write(made.certificatePEM, to: certificateFile)
    try directory.write(hostList, to: hostsFile)
    return Credentials(token: token, certificate: made)
  }

  private static func keptToken(_ directory: DataDirectory) throws -> String {
    if let kept = try directory.read(tokenFile) {
      let token = String(decoding: kept, as: UTF8.self)
      guard token.utf8.count == 64, token.allSatisfy(\.isHexDigit) else {
        throw DataDirectory.Failure.damaged(path: directory.file(tokenFile), reason: "not a token")
      }
      return token
    }
    var random = SystemRandomNumberGenerator()
    let token = (0..<4).map { _ in hex(random.next()) }.joined()
    try directory.write(Array(token.utf8), to: tokenFile)
    return token
  }

  private static func hex(_ word: UInt64) -> String {
    let digits = String(word, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  /// A kubeconfig with one entry of each sort, all named sluice. `endpoint` is host:port.
  public func kubeconfig(endpoint: String) -> String {
    let authority = Data(certificate.certificatePEM).base64EncodedString()
    return """
      apiVersion: v1
      kind: Config
      clusters:
      - name: sluice
        cluster:
          server: https://\(endpoint)
          certificate-authority-data: \(authority)
      users:
      - name: sluice
        user:
          token: \(token)
      contexts:
      - name: sluice
        context:
          cluster: sluice
          user: sluice
          namespace: default
      current-context: sluice

      """
  }

  /// Compares in time that does not depend on where the two differ.
  func accepts(_ presented: String) -> Bool {
    let expected = Array(token.utf8)
    let given = Array(presented.utf8)
    guard expected.count == given.count else { return false }
    var difference: UInt8 = 0
    for index in expected.indices { difference |= expected[index] ^ given[index] }
    return difference == 0
  }
}
