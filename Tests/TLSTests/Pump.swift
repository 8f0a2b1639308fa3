import HTTPSemantics
import TLS
import Testing

/// One end of a connection in memory.
final class End {
  let connection: TLSConnection
  var plaintext: [UInt8] = []
  var isClosed = false
  var failure: TLSFailure?
  var readSize = 4096

  init(_ connection: TLSConnection) { self.connection = connection }

  init(accept server: TLSServer) throws { connection = try #require(TLSConnection.accept(server.handle)) }

  init(connect client: TLSClient, name: String, session: TLSSession? = nil) throws {
    let handle = client.handle
    connection = try #require(withBytes(name) { TLSConnection.connect(handle, serverName: $0) })
    if let session { connection.resume(session) }
  }

  deinit { connection.destroy() }

  /// For an end that nothing else holds: the connection goes with it, `end.connection.isHandshakeDone` would look late.
  var isHandshakeDone: Bool { connection.isHandshakeDone }

  /// Hands over ciphertext in pieces, each in memory that is overwritten afterwards.
  func feed(_ bytes: [UInt8], piece: Int = .max) {
    var start = 0
    repeat {
      let end = start + min(piece, bytes.count - start)
      var part = Array(bytes[start..<end]) + [0]
      unsafe part.withUnsafeMutableBufferPointer { buffer in
        unsafe connection.feed(UnsafePointer(buffer.baseAddress!), buffer.count - 1)
        readAll()
        for index in buffer.indices { unsafe buffer[index] = 0xaa }
      }
      start = end
    } while start < bytes.count
  }

  func readAll() {
    while failure == nil && !isClosed {
      var buffer = [UInt8](repeating: 0, count: readSize)
      let result = unsafe buffer.withUnsafeMutableBufferPointer { memory in
        unsafe connection.read(into: memory.baseAddress!, capacity: memory.count)
      }
      switch result {
      case .bytes(let count): plaintext += buffer[..<count]
      case .needMore: return
      case .closed: isClosed = true
      case .failed(let seen): failure = seen
      }
    }
  }

  func output(capacity: Int = 5000) -> [UInt8] {
    var all: [UInt8] = []
    while connection.pendingOutput > 0 {
      var buffer = [UInt8](repeating: 0, count: capacity)
      let count = unsafe buffer.withUnsafeMutableBufferPointer { memory in
        unsafe connection.takeOutput(into: memory.baseAddress!, capacity: memory.count)
      }
      all += buffer[..<count]
    }
    return all
  }

  @discardableResult
  func write(_ bytes: [UInt8]) -> Bool {
    unsafe bytes.withUnsafeBufferPointer { memory in
      unsafe connection.write(memory.baseAddress!, memory.count)
    }
  }
}

/// Moves ciphertext until neither side has any.
func pump(_ client: End, _ server: End, piece: Int = .max) {
  client.feed([])
  while true {
    let toServer = client.output()
    if !toServer.isEmpty { server.feed(toServer, piece: piece) }
    let toClient = server.output()
    if !toClient.isEmpty { client.feed(toClient, piece: piece) }
    if toServer.isEmpty && toClient.isEmpty { return }
  }
}

/// Both ends of a connection whose handshake is done.
func connected(_ version: TLSVersion = .tls13) throws -> (End, End) {
  let leaf = try TestCertificate("leaf", names: ["DNS:a"])
  defer { leaf.destroy() }
  let server = try TLSServer(
    bindings: [TLSBinding(names: ["*"], certificate: leaf.certificate)], maximumVersion: version)
  let left = try End(connect: TLSClient(verification: .off), name: "a")
  let right = try End(accept: server)
  pump(left, right)
  return (left, right)
}

func withBytes<Result>(_ text: String, _ body: (Bytes) -> Result) -> Result {
  let array = Array(text.utf8) + [0]
  return unsafe array.withUnsafeBufferPointer { buffer in
    unsafe body(Bytes(start: buffer.baseAddress!, count: buffer.count - 1))
  }
}
