import Foundation
import YAML

/// Reads objects in the Kubernetes protobuf form, which kubectl's `create` commands (`kubectl create secret
/// tls`) send for the built-in kinds and cannot be told not to. Only what those commands write is known here.
/// Source: `generated.proto` of k8s.io/api/core/v1 and k8s.io/apimachinery.
enum KubernetesProtobuf {
  static let mediaType = "application/vnd.kubernetes.protobuf"
  private static let magic: [UInt8] = [0x6B, 0x38, 0x73, 0x00]

  /// What a field of a message is, by its number.
  private indirect enum Field {
    case string(String)
    case number(String)
    case boolean(String)
    case object(String, [UInt64: Field])
    case strings(String)
    case objects(String, [UInt64: Field])
    case stringMap(String)
    /// Values become base64, as in JSON.
    case bytesMap(String)
    /// util/intstr IntOrString.
    case numberOrString(String)
    /// Set by the API itself, or without a meaning here.
    case ignored
  }

  private static let metadata: [UInt64: Field] = [
    1: .string("name"), 2: .string("generateName"), 3: .string("namespace"), 4: .ignored, 5: .string("uid"),
    6: .string("resourceVersion"), 7: .ignored, 8: .ignored, 11: .stringMap("labels"),
    12: .stringMap("annotations"), 14: .strings("finalizers"), 17: .ignored,
  ]
  private static let servicePort: [UInt64: Field] = [
    1: .string("name"), 2: .string("protocol"), 3: .number("port"), 4: .numberOrString("targetPort"),
    5: .number("nodePort"), 6: .string("appProtocol"),
  ]
  private static let kinds: [String: [UInt64: Field]] = [
    "Secret": [
      1: .object("metadata", metadata), 2: .bytesMap("data"), 3: .string("type"), 4: .stringMap("stringData"),
      5: .boolean("immutable"),
    ],
    "ConfigMap": [
      1: .object("metadata", metadata), 2: .stringMap("data"), 3: .bytesMap("binaryData"), 4: .boolean("immutable"),
    ],
    "Namespace": [1: .object("metadata", metadata), 2: .ignored, 3: .ignored],
    "Service": [
      1: .object("metadata", metadata), 3: .ignored,
      2: .object(
        "spec",
        [
          1: .objects("ports", servicePort), 2: .stringMap("selector"), 3: .string("clusterIP"),
          4: .string("type"), 5: .strings("externalIPs"), 7: .string("sessionAffinity"),
          10: .string("externalName"), 13: .ignored,
        ]),
    ],
  ]

  static func node(_ body: [UInt8]) throws(APIError) -> Node {
    guard body.starts(with: magic) else { throw .badRequest("the body is not a Kubernetes protobuf message") }
    let envelope = try message(body.dropFirst(magic.count))
    var apiVersion = ""
    var kind = ""
    var raw: ArraySlice<UInt8> = []
    for (number, value) in envelope {
      switch (number, value) {
      case (1, .bytes(let type)):
        for case (let inner, .bytes(let text)) in try message(type) {
          if inner == 1 { apiVersion = String(decoding: text, as: UTF8.self) }
          if inner == 2 { kind = String(decoding: text, as: UTF8.self) }
        }
      case (2, .bytes(let object)): raw = object
      default: break
      }
    }
    guard let fields = kinds[kind], apiVersion == "v1" else {
      throw APIError(
        code: 415, reason: "UnsupportedMediaType",
        message: "\(apiVersion) \(kind) is not accepted as protobuf; send JSON or YAML (kubectl apply)")
    }
    var node = try object(raw, fields, path: kind)
    node["apiVersion"] = .string(apiVersion)
    node["kind"] = .string(kind)
    return node
  }

  private static func object(
    _ bytes: ArraySlice<UInt8>, _ fields: [UInt64: Field], path: String
  ) throws(APIError) -> Node {
    var node = Node.mapping([])
    for (number, value) in try message(bytes) {
      guard let field = fields[number] else {
        // Proto2 writes zero values too.
        switch value {
        case .number(0): continue
        case .bytes(let content) where content.isEmpty: continue
        default: break
        }
        throw .badRequest(
          "field \(number) of \(path) in the protobuf message is not known; send JSON or YAML")
      }
      try set(field, value, in: &node, path: path)
    }
    return node
  }

  /// Proto2 writes empty texts and zeros that JSON leaves out; they are left out here too.
  private static func set(
    _ field: Field, _ value: Value, in node: inout Node, path: String
  ) throws(APIError) {
    switch (field, value) {
    case (.ignored, _): break
    case (.string(let name), .bytes(let text)):
      if !text.isEmpty { node[name] = .string(String(decoding: text, as: UTF8.self)) }
    case (.number(let name), .number(let number)):
      if number != 0 { node[name] = .int(Int64(bitPattern: number)) }
    case (.boolean(let name), .number(let number)): node[name] = .bool(number != 0)
    case (.object(let name, let fields), .bytes(let inner)):
      let object = try object(inner, fields, path: "\(path).\(name)")
      if object.entries?.isEmpty == false { node[name] = object }
    case (.strings(let name), .bytes(let text)):
      node[name] = .sequence((node[name]?.sequence ?? []) + [.string(String(decoding: text, as: UTF8.self))])
    case (.objects(let name, let fields), .bytes(let inner)):
      let element = try object(inner, fields, path: "\(path).\(name)")
      node[name] = .sequence((node[name]?.sequence ?? []) + [element])
    case (.stringMap(let name), .bytes(let pair)), (.bytesMap(let name), .bytes(let pair)):
      var map = node[name] ?? .mapping([])
      let (key, content) = try entry(pair)
      var text = String(decoding: content, as: UTF8.self)
      if case .bytesMap = field { text = Data(content).base64EncodedString() }
      map[key] = .string(text)
      node[name] = map
    case (.numberOrString(let name), .bytes(let inner)):
      node[name] = try numberOrString(inner)
    default: throw .badRequest("a field of \(path) in the protobuf message has the wrong type")
    }
  }

  private static func entry(_ pair: ArraySlice<UInt8>) throws(APIError) -> (String, ArraySlice<UInt8>) {
    var key = ""
    var content: ArraySlice<UInt8> = []
    for case (let number, .bytes(let value)) in try message(pair) {
      if number == 1 { key = String(decoding: value, as: UTF8.self) }
      if number == 2 { content = value }
    }
    return (key, content)
  }

  /// Nil: the zero value, which means not set.
  private static func numberOrString(_ bytes: ArraySlice<UInt8>) throws(APIError) -> Node? {
    var isText = false
    var number: Int64 = 0
    var text = ""
    for (field, value) in try message(bytes) {
      switch (field, value) {
      case (1, .number(let type)): isText = type == 1
      case (2, .number(let value)): number = Int64(bitPattern: value)
      case (3, .bytes(let value)): text = String(decoding: value, as: UTF8.self)
      default: break
      }
    }
    if isText { return .string(text) }
    return number == 0 ? nil : .int(number)
  }

  // MARK: The wire format (protobuf.dev/programming-guides/encoding)

  private enum Value {
    case number(UInt64)
    case bytes(ArraySlice<UInt8>)
  }

  private static func message(_ bytes: ArraySlice<UInt8>) throws(APIError) -> [(UInt64, Value)] {
    var rest = bytes
    var fields: [(UInt64, Value)] = []
    while !rest.isEmpty {
      let tag = try varint(&rest)
      switch tag & 7 {
      case 0: fields.append((tag >> 3, .number(try varint(&rest))))
      case 2:
        let count = try varint(&rest)
        guard count <= UInt64(rest.count) else { throw damaged }
        fields.append((tag >> 3, .bytes(rest.prefix(Int(count)))))
        rest = rest.dropFirst(Int(count))
      default: throw damaged
      }
    }
    return fields
  }

  private static func varint(_ rest: inout ArraySlice<UInt8>) throws(APIError) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 64, by: 7) {
      guard let byte = rest.popFirst() else { throw damaged }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
    }
    throw damaged
  }

  private static let damaged = APIError.badRequest("the protobuf message is damaged")
}
