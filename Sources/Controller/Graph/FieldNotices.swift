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
    let fields = FieldSupport.unsupported(in: object.node, kind: object.key.kind).filter { !$0.failsClosed }
    let sentences = fields.map { "\($0.path) \($0.message)" }
    return fieldsNotActedOn(sentences).map { [$0] } ?? []
  }
}
