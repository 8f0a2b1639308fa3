import GatewayAPI
import YAML

/// The OpenAPI documents that kubectl asks for before it applies: they say that the API itself validates
/// fields (`fieldValidation`), and describe each kind only as an object whose fields are not listed here.
enum OpenAPIDocument {
  /// `/openapi/v3`: where the document of each group version is.
  static func index() -> Node {
    let paths = groupVersions().map { group, version in
      let path = group.isEmpty ? "api/\(version)" : "apis/\(group)/\(version)"
      return (path, Node.mapping([("serverRelativeURL", .string("/openapi/v3/\(path)"))]))
    }
    return ["paths": .mapping(paths)]
  }

  /// `/openapi/v3/apis/GROUP/VERSION`.
  static func v3(_ document: String) -> Node? {
    guard
      let (group, version) = groupVersions().first(where: {
        document == ($0.0.isEmpty ? "api/\($0.1)" : "apis/\($0.0)/\($0.1)")
      })
    else { return nil }
    let kinds = Discovery.kinds(group: group, version: version)
    let schemas = kinds.map { (schemaName($0, version), schema($0, version)) }
    let paths = kinds.map { (path($0, version), operations($0, version)) }
    return [
      "openapi": "3.0.0", "info": ["title": "Sluice", "version": "v1"], "paths": .mapping(paths),
      "components": ["schemas": .mapping(schemas)],
    ]
  }

  /// `/openapi/v2`, for clients that do not know version 3.
  static func v2() -> Node {
    var definitions: [(String, Node)] = []
    var paths: [(String, Node)] = []
    for (group, version) in groupVersions() {
      for kind in Discovery.kinds(group: group, version: version) {
        definitions.append((schemaName(kind, version), schema(kind, version)))
        paths.append((path(kind, version), operations(kind, version)))
      }
    }
    return [
      "swagger": "2.0", "info": ["title": "Sluice", "version": "v1"], "paths": .mapping(paths),
      "definitions": .mapping(definitions),
    ]
  }

  /// The same question in protobuf, which kubectl asks before it validates a `kind: List` by itself: a
  /// document without definitions, by which it lets every object through to the validation here.
  static func v2Protobuf() -> APIAnswer {
    // openapi.v2.Document: 1 swagger, 2 info (1 title, 2 version), 8 paths.
    func field(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
      [number << 3 | 2, UInt8(content.count)] + content
    }
    let info = field(1, Array("Sluice".utf8)) + field(2, Array("v1".utf8))
    var answer = APIAnswer(200, json: field(1, Array("2.0".utf8)) + field(2, info) + field(8, []))
    answer.type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    return answer
  }

  private static func groupVersions() -> [(String, String)] {
    ([""] + Discovery.groups).flatMap { group in Discovery.versions(of: group).map { (group, $0) } }
  }

  private static func path(_ kind: ResourceKind, _ version: String) -> String {
    let root = kind.group.isEmpty ? "/api/\(version)" : "/apis/\(kind.group)/\(version)"
    return root + (kind.isNamespaced ? "/namespaces/{namespace}" : "") + "/\(kind.plural)/{name}"
  }

  private static func operations(_ kind: ResourceKind, _ version: String) -> Node {
    let parameters = ["dryRun", "fieldManager", "fieldValidation", "force"].map { name -> Node in
      let type = name == "force" ? "boolean" : "string"
      return [
        "name": .string(name), "in": "query", "schema": ["type": .string(type)],
        "uniqueItems": true,
      ]
    }
    return [
      "patch": [
        "operationId": .string("patch\(kind.kind)\(version)"), "parameters": .sequence(parameters),
        "responses": ["200": ["description": "OK"]], "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": identity(kind, version),
      ]
    ]
  }

  private static func schema(_ kind: ResourceKind, _ version: String) -> Node {
    [
      "type": "object", "x-kubernetes-preserve-unknown-fields": true,
      "x-kubernetes-group-version-kind": [identity(kind, version)],
    ]
  }

  private static func identity(_ kind: ResourceKind, _ version: String) -> Node {
    ["group": .string(kind.group), "version": .string(version), "kind": .string(kind.kind)]
  }

  private static func schemaName(_ kind: ResourceKind, _ version: String) -> String {
    let group =
      kind.group.isEmpty ? "core" : kind.group.split(separator: ".").reversed().joined(separator: ".")
    return "\(group).\(version).\(kind.kind)"
  }
}
