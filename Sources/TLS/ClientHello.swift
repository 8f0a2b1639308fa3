public import HTTPSemantics

/// What a ClientHello asks for, read without answering it. The views lie in the memory that was given to
/// `peekClientHello`.
@frozen
public struct ClientHello {
  /// The server name (RFC 6066 section 3): letters, digits, hyphens, underscores and dots; empty without one.
  public var serverName: Bytes
  /// Application protocols (RFC 7301 section 3.1): a length of one byte before each; empty without any.
  public var protocols: Bytes

  init() {
    serverName = .empty
    protocols = .empty
  }
}

/// Why bytes are no ClientHello that we would read.
public enum ClientHelloError: UInt8, Error, Sendable, CaseIterable {
  /// Not even the first byte of TLS: no alert would be understood.
  case notTLS
  case recordType, recordVersion, recordLength, message, tooLong, trailingBytes
  case version, sessionID, cipherSuites, compression, extensions, serverName, protocols

  /// For logs.
  public var reason: StaticString {
    switch self {
    case .notTLS: "the connection does not begin with a TLS handshake"
    case .recordType: "a record of another type within the ClientHello"
    case .recordVersion: "the record's version is not TLS"
    case .recordLength: "a record is empty or longer than 16 KiB"
    case .message: "the first handshake message is no ClientHello"
    case .tooLong: "the ClientHello is longer than it may be"
    case .trailingBytes: "bytes behind the ClientHello in its record"
    case .version: "the version is below TLS 1.0"
    case .sessionID: "the session id is malformed"
    case .cipherSuites: "the cipher suites are malformed"
    case .compression: "the compression methods are malformed"
    case .extensions: "the extensions are malformed"
    case .serverName: "the server name is malformed"
    case .protocols: "the application protocols are malformed"
    }
  }
}

/// What came of `peekClientHello`.
public enum ClientHelloPeek {
  /// Nothing more can be said before so many bytes have come.
  case needMore(atLeast: Int)
  case complete(ClientHello)
  case invalid(ClientHelloError)
}

/// Alerts for connections that no TLS library has in hand (RFC 8446 section 6): fatal, in a record of their own.
public enum TLSAlert {
  public static var decodeError: Bytes { Bytes("\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}\u{32}") }
  public static var unrecognizedName: Bytes { Bytes("\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}\u{70}") }
}

/// Reads the ClientHello that a client opens with (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2), in however
/// many records and segments it comes. Nothing is consumed.
///
/// - Parameters:
///   - bytes: everything that has come since the connection was opened (or since what stood before TLS).
///   - limit: most bytes that the records of a ClientHello may have.
///   - scratch: room for `limit` bytes, where a message of several records is put together.
/// - Returns: `invalid` as soon as it is certain.
public func peekClientHello(
  _ bytes: Bytes, limit: Int, scratch: UnsafeMutablePointer<UInt8>
) -> ClientHelloPeek {
  var position = 0
  var gathered = 0
  // Type and length of the message, as far as they have come.
  var start: UInt32 = 0
  while true {
    if let error = checkRecord(bytes, at: position, limit: limit) { return .invalid(error) }
    guard bytes.count >= position + 5 else { return .needMore(atLeast: position + 5) }
    let length = recordLength(bytes, at: position)
    let record = bytes.slice(position + 5, min(position + 5 + length, bytes.count))
    var index = 0
    while index < record.count, gathered + index < 4 {
      start = start << 8 | UInt32(record[index])
      index += 1
      if gathered + index == 1 && start != 1 { return .invalid(.message) }
    }
    let isStarted = gathered + index >= 4
    let message = 4 + Int(start & 0xff_ffff)
    if isStarted && message > limit { return .invalid(.tooLong) }
    if isStarted && gathered + length > message { return .invalid(.trailingBytes) }
    guard record.count == length else { return .needMore(atLeast: position + 5 + length) }
    if isStarted && gathered == 0 && length == message { return parseClientHello(record.slice(4, length)) }
    // SAFETY: records within `limit` bytes hold fewer than those.
    unsafe (scratch + gathered).update(from: record.start, count: length)
    gathered += length
    position += 5 + length
    if isStarted && gathered == message {
      return parseClientHello(unsafe Bytes(start: scratch, count: gathered).slice(4, gathered))
    }
  }
}

/// What can be told from as much of a record's five bytes as has come.
private func checkRecord(_ bytes: Bytes, at position: Int, limit: Int) -> ClientHelloError? {
  let count = bytes.count - position
  if count >= 1 && bytes[position] != 22 { return position == 0 ? .notTLS : .recordType }
  if count >= 2 && bytes[position + 1] != 3 { return .recordVersion }
  guard position + 5 < limit else { return .tooLong }
  guard count >= 5 else { return nil }
  let length = recordLength(bytes, at: position)
  // RFC 8446 section 5.1: fragments of handshake messages are never empty.
  if length == 0 || length > 16_384 { return .recordLength }
  return position + 5 + length > limit ? .tooLong : nil
}

private func recordLength(_ bytes: Bytes, at position: Int) -> Int {
  Int(bytes[position + 3]) << 8 | Int(bytes[position + 4])
}

private func parseClientHello(_ message: Bytes) -> ClientHelloPeek {
  var reader = VectorReader(rest: message)
  guard let version = reader.take(2), version[0] == 3, version[1] >= 1 else { return .invalid(.version) }
  guard reader.take(32) != nil, let session = reader.vector(1), session.count <= 32 else {
    return .invalid(.sessionID)
  }
  guard let suites = reader.vector(2), suites.count >= 2, suites.count % 2 == 0 else {
    return .invalid(.cipherSuites)
  }
  guard let compression = reader.vector(1), !compression.isEmpty else { return .invalid(.compression) }
  var hello = ClientHello()
  // Before TLS 1.3 there need not be any.
  if reader.rest.isEmpty { return .complete(hello) }
  guard let extensions = reader.vector(2), reader.rest.isEmpty else { return .invalid(.extensions) }
  var list = VectorReader(rest: extensions)
  while !list.rest.isEmpty {
    guard let type = list.take(2), let content = list.vector(2) else { return .invalid(.extensions) }
    switch Int(type[0]) << 8 | Int(type[1]) {
    case 0:
      guard hello.serverName.isEmpty, let name = readServerName(content) else { return .invalid(.serverName) }
      hello.serverName = name
    case 16:
      guard hello.protocols.isEmpty, let names = readProtocols(content) else { return .invalid(.protocols) }
      hello.protocols = names
    default: break
    }
  }
  return .complete(hello)
}

/// A list of exactly one entry of the only type that there is, a host name (RFC 6066 section 3).
private func readServerName(_ content: Bytes) -> Bytes? {
  var reader = VectorReader(rest: content)
  guard let entries = reader.vector(2), reader.rest.isEmpty else { return nil }
  var entry = VectorReader(rest: entries)
  guard let type = entry.take(1), type[0] == 0 else { return nil }
  guard let name = entry.vector(2), entry.rest.isEmpty, !name.isEmpty, name.count <= 253 else { return nil }
  var index = 0
  while index < name.count {
    let byte = lowercase(name[index])
    let isAllowed =
      byte &- 0x61 < 26 || byte &- 0x30 < 10 || byte == 0x2d || byte == 0x5f || byte == 0x2e && index > 0
    guard isAllowed else { return nil }
    index += 1
  }
  return name
}

private func readProtocols(_ content: Bytes) -> Bytes? {
  var reader = VectorReader(rest: content)
  guard let names = reader.vector(2), reader.rest.isEmpty, !names.isEmpty else { return nil }
  var list = VectorReader(rest: names)
  while !list.rest.isEmpty {
    guard let name = list.vector(1), !name.isEmpty else { return nil }
  }
  return names
}

/// Takes bytes off the front; nil where there are too few.
private struct VectorReader {
  var rest: Bytes

  mutating func take(_ count: Int) -> Bytes? {
    guard rest.count >= count else { return nil }
    let taken = rest.slice(0, count)
    rest = rest.slice(count, rest.count)
    return taken
  }

  /// Bytes behind their own length, a number of `size` bytes.
  mutating func vector(_ size: Int) -> Bytes? {
    guard let length = take(size) else { return nil }
    return take(size == 1 ? Int(length[0]) : Int(length[0]) << 8 | Int(length[1]))
  }
}
