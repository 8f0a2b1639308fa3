/// Why a message is refused. Nothing is repaired or guessed: after one of these the connection has to close,
/// because where the next message would begin is not known.
public enum HTTP1Error: UInt8, Error, Sendable, CaseIterable {
  case requestLine, method, target, pathCharacter, asteriskForm, connectRefused, requestLineTooLong
  case version, unsupportedVersion, statusLine, statusCode
  case bareCR, bareLF, nul, controlByte, foldedLine, whitespaceBeforeColon, fieldName
  case headTooLarge, tooManyFields
  case contentLength, duplicateContentLength, contentLengthWithTransferEncoding
  case transferEncoding, unsupportedTransferCoding, duplicateTransferEncoding, transferEncodingInHTTP10
  case missingHost, duplicateHost, host, hostDiffersFromTarget, schemeDiffersFromConnection
  case connection, connectionListsFraming, expectation, upgradeMissing, upgradeWithBody, traceWithBody
  case disguisedField
  case chunkSize, chunkSizeOverflow, chunkExtension, chunkExtensionTooLong, chunkEnd
  case trailerTooLarge, trailerField

  /// The status to answer a client with. When a backend's message is refused, the client gets 502 whatever
  /// this says.
  public var status: UInt16 {
    switch self {
    case .requestLineTooLong: 414
    case .expectation: 417
    case .schemeDiffersFromConnection: 421
    case .headTooLarge, .tooManyFields, .trailerTooLarge: 431
    case .connectRefused, .unsupportedTransferCoding: 501
    case .unsupportedVersion: 505
    default: 400
    }
  }

  /// For logs and the body of the answer.
  public var reason: StaticString {
    switch self {
    case .requestLine: "request line is not method, one space, target, one space, version"
    case .method: "method is not a token"
    case .target: "request target is neither origin-form nor absolute-form with http or https"
    case .pathCharacter: "request target holds a byte that must be percent-encoded"
    case .asteriskForm: "request target * is for OPTIONS only"
    case .connectRefused: "CONNECT is not implemented"
    case .requestLineTooLong: "request line is too long"
    case .version: "HTTP version is malformed"
    case .unsupportedVersion: "HTTP version is neither 1.0 nor 1.1"
    case .statusLine: "status line is malformed"
    case .statusCode: "status code is not between 100 and 599"
    case .bareCR: "CR without LF"
    case .bareLF: "LF without CR"
    case .nul: "NUL byte"
    case .controlByte: "control byte in a field value or reason"
    case .foldedLine: "line begins with whitespace"
    case .whitespaceBeforeColon: "whitespace before the colon of a field"
    case .fieldName: "field name is not a token followed by a colon"
    case .headTooLarge: "head is too large"
    case .tooManyFields: "head has too many fields"
    case .contentLength: "Content-Length is not one number"
    case .duplicateContentLength: "more than one Content-Length"
    case .contentLengthWithTransferEncoding: "Content-Length together with Transfer-Encoding"
    case .transferEncoding: "Transfer-Encoding is not exactly chunked"
    case .unsupportedTransferCoding: "transfer coding is not implemented"
    case .duplicateTransferEncoding: "more than one Transfer-Encoding"
    case .transferEncodingInHTTP10: "Transfer-Encoding in HTTP/1.0"
    case .missingHost: "Host is missing"
    case .duplicateHost: "more than one Host"
    case .host: "Host or target authority is malformed"
    case .hostDiffersFromTarget: "Host differs from the authority of the target"
    case .schemeDiffersFromConnection: "scheme of the target is not that of this connection"
    case .connection: "Connection is not a list of tokens or lists too many"
    case .connectionListsFraming: "Connection lists a field that frames or routes the message"
    case .expectation: "Expect is not exactly 100-continue"
    case .upgradeMissing: "101 without Upgrade and Connection: upgrade"
    case .upgradeWithBody: "request to upgrade has a body"
    case .traceWithBody: "TRACE request has a body"
    case .disguisedField: "field name can be taken for one that frames or routes the message"
    case .chunkSize: "chunk size is not hexadecimal"
    case .chunkSizeOverflow: "chunk size is too large"
    case .chunkExtension: "control byte in a chunk extension"
    case .chunkExtensionTooLong: "chunk extensions are too long"
    case .chunkEnd: "chunk data is not followed by CR LF"
    case .trailerTooLarge: "trailer section is too large"
    case .trailerField: "trailer section holds a field that frames or routes the message"
    }
  }
}

/// What a parser says about the bytes so far.
public enum HeadResult: Equatable, Sendable {
  /// Valid as far as it goes; call again, from the start, with more bytes.
  case incomplete
  case complete
  case invalid(HTTP1Error)
}

/// Bounds of one message; each names what exceeding it gives.
@frozen
public struct HTTP1Limits: Sendable {
  /// Bytes of the request line without CR LF; 414.
  public var maxRequestLine = 16 * 1024
  /// Bytes from the start line to the empty line, both included; 431.
  public var maxHeadBytes = 60 * 1024
  /// Field lines of a head or of a trailer section; 431. The table's capacity bounds it too.
  public var maxFields = 100
  /// Bytes of the extensions of one chunk; 400. All extensions of a body together may be 16 times this and as
  /// much as the data they came with.
  public var maxChunkExtensionBytes = 1024
  /// Bytes of the trailer section with its empty line; 431. A buffer must be able to hold this much.
  public var maxTrailerBytes = 8 * 1024

  public init() {}
}
