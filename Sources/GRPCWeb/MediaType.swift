public import HTTPSemantics

/// One of gRPC-Web's media types (grpc/grpc, doc/PROTOCOL-WEB.md): `application/grpc-web` or
/// `application/grpc-web-text`, each with a suffix such as `+proto`.
@frozen
public struct GRPCWebMediaType: Sendable {
  /// The body is base64 text.
  public var isText: Bool
  /// The messages are said to be protobuf ("+proto"): so is the answer then, whatever the backend calls it.
  public var namesProto: Bool

  @inlinable
  public init(isText: Bool, namesProto: Bool) {
    self.isText = isText
    self.namesProto = namesProto
  }

  /// Nil when `value`, with or without parameters, is of another kind.
  public init?(_ value: Bytes) {
    let name: StaticString = "application/grpc-web"
    let type = mediaType(value)
    guard type.count >= name.utf8CodeUnitCount,
      type.slice(0, name.utf8CodeUnitCount).equalsIgnoringCase(name)
    else { return nil }
    var rest = type.slice(name.utf8CodeUnitCount, type.count)
    isText = false
    if rest.count >= 5, rest.slice(0, 5).equalsIgnoringCase("-text") {
      isText = true
      rest = rest.slice(5, rest.count)
      // The only encoding that there is may be named.
      if rest.count >= 7, rest.slice(0, 7).equalsIgnoringCase("-base64") { rest = rest.slice(7, rest.count) }
    }
    guard rest.isEmpty || rest[0] == plus else { return nil }
    namesProto = rest.equalsIgnoringCase("+proto")
  }

  /// What an `Accept` value asks the answer to be: the first of its gRPC-Web types, nil without one.
  public init?(accept value: Bytes) {
    var rest = value
    while !rest.isEmpty {
      let comma = rest.firstIndex(of: 0x2c)
      let member = comma < 0 ? rest : rest.slice(0, comma)
      rest = comma < 0 ? .empty : rest.slice(comma + 1, rest.count)
      if let found = GRPCWebMediaType(member.trimmed) {
        self = found
        return
      }
    }
    return nil
  }

  /// The content-type of the answer that this type asks for.
  public var answer: StaticString {
    if isText { return namesProto ? "application/grpc-web-text+proto" : "application/grpc-web-text" }
    return namesProto ? "application/grpc-web+proto" : "application/grpc-web"
  }
}

private let plus: UInt8 = 0x2b

/// The value up to its parameters (RFC 9110 section 8.3.1).
private func mediaType(_ value: Bytes) -> Bytes {
  let mark = value.firstIndex(of: 0x3b)
  return (mark < 0 ? value : value.slice(0, mark)).trimmed
}

/// The suffix of a gRPC-Web content-type, "+" included, empty without one: the backend's content-type is
/// `application/grpc` and this.
public func grpcWebSuffix(_ value: Bytes) -> Bytes {
  let type = mediaType(value)
  let start = type.firstIndex(of: plus)
  return start < 0 ? .empty : type.slice(start, type.count)
}
