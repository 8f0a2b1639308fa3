public import YAML

/// Why the API refused a request; becomes a `Status` object (Kubernetes API conventions, "Response Status
/// Kind").
public struct APIError: Error, Equatable, Sendable {
  public struct Cause: Equatable, Sendable {
    /// For instance FieldValueInvalid.
    public var reason: String
    /// The field's path, as `spec.rules[0].matches[1].path.value`.
    public var field: String
    public var message: String
  }

  /// The HTTP status.
  public var code: Int
  /// CamelCase, for programs.
  public var reason: String
  public var message: String
  public var name: String?
  public var group: String?
  public var resource: String?
  public var causes: [Cause] = []

  static func badRequest(_ message: String) -> APIError {
    APIError(code: 400, reason: "BadRequest", message: message)
  }

  static let unauthorized = APIError(code: 401, reason: "Unauthorized", message: "Unauthorized")

  static func notFound(resource: String, group: String, name: String) -> APIError {
    APIError(
      code: 404, reason: "NotFound", message: "\(qualified(resource, group)) \"\(name)\" not found",
      name: name,
      group: group, resource: resource)
  }

  static let noSuchPath = APIError(
    code: 404, reason: "NotFound", message: "the server could not find the requested resource")

  static let methodNotAllowed = APIError(
    code: 405, reason: "MethodNotAllowed",
    message: "the server does not allow this method on the requested resource")

  static func alreadyExists(resource: String, group: String, name: String) -> APIError {
    APIError(
      code: 409, reason: "AlreadyExists", message: "\(qualified(resource, group)) \"\(name)\" already exists",
      name: name, group: group, resource: resource)
  }

  static func conflict(resource: String, group: String, name: String, why: String) -> APIError {
    APIError(
      code: 409, reason: "Conflict",
      message: "Operation cannot be fulfilled on \(qualified(resource, group)) \"\(name)\": \(why)",
      name: name,
      group: group, resource: resource)
  }

  static let outdated =
    "the object has been modified; please apply your changes to the latest version and try again"

  static func applyConflict(_ conflicts: [(path: String, manager: String)]) -> APIError {
    APIError(
      code: 409, reason: "Conflict",
      message: "Apply failed with \(conflicts.count) conflict\(conflicts.count == 1 ? "" : "s"): "
        + conflicts.map { "conflict with \"\($0.manager)\": \($0.path)" }.joined(separator: ", "),
      causes: conflicts.map {
        Cause(reason: "FieldManagerConflict", field: $0.path, message: "conflict with \"\($0.manager)\"")
      })
  }

  static func expired(_ message: String) -> APIError {
    APIError(code: 410, reason: "Expired", message: message)
  }

  static let tooLarge = APIError(
    code: 413, reason: "RequestEntityTooLarge", message: "the request body is larger than 3 MiB")

  static func unsupportedMediaType(_ type: String) -> APIError {
    APIError(
      code: 415, reason: "UnsupportedMediaType",
      message: "the content type \(type) is not accepted here; send application/json or application/yaml")
  }

  /// An object that is not valid. The message lists the causes as Kubernetes does.
  static func invalid(kind: String, group: String, name: String, causes: [Cause]) -> APIError {
    let list = causes.map { $0.field.isEmpty ? $0.message : "\($0.field): \($0.message)" }
    let shown = list.count == 1 ? list[0] : "[\(list.joined(separator: ", "))]"
    let subject = group.isEmpty ? kind : "\(kind).\(group)"
    return APIError(
      code: 422, reason: "Invalid", message: "\(subject) \"\(name)\" is invalid: \(shown)", name: name,
      group: group, resource: kind, causes: causes)
  }

  static func internalFailure(_ message: String) -> APIError {
    APIError(code: 500, reason: "InternalError", message: message)
  }

  static func unavailable(_ message: String) -> APIError {
    APIError(code: 503, reason: "ServiceUnavailable", message: message)
  }

  private static func qualified(_ resource: String, _ group: String) -> String {
    group.isEmpty ? resource : "\(resource).\(group)"
  }

  /// The `Status` object.
  public func node() -> Node {
    var details = Node.mapping([])
    if let name { details["name"] = .string(name) }
    if let group, !group.isEmpty { details["group"] = .string(group) }
    if let resource { details["kind"] = .string(resource) }
    if !causes.isEmpty {
      details["causes"] = .sequence(
        causes.map {
          ["reason": .string($0.reason), "message": .string($0.message), "field": .string($0.field)]
        })
    }
    var status: Node = [
      "kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Failure",
      "message": .string(message), "reason": .string(reason),
    ]
    if details.entries?.isEmpty == false { status["details"] = details }
    status["code"] = .int(code)
    return status
  }
}
