import GatewayAPI

extension StoredObject {
  /// Unsupported fields that restrict who may pass: what carries them must not be served without them.
  var closedFields: [UnsupportedField] {
    FieldSupport.unsupported(in: node, kind: key.kind).filter(\.failsClosed)
  }
}

extension Notice {
  /// Fields of an object that are accepted and have no effect yet.
  static func fields(of object: StoredObject) -> [Notice] {
    let paths = FieldSupport.unsupported(in: object.node, kind: object.key.kind)
      .filter { !$0.failsClosed }.map { "\($0.path)" }
      .filter { path in !refused.contains { path.hasSuffix($0) } }
    return fieldsNotActedOn(paths).map { [$0] } ?? []
  }

  /// Fields that are not passed over in silence: what carries them is refused, and a condition says why.
  private static let refused = [
    ".protocol", ".tls.mode", ".delegate", ".subset", ".uriRegexRewrite", ".requestRedirect", ".urlRewrite",
    ".parametersRef",
  ]
}
