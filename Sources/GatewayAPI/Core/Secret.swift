import YAML

/// core/v1 Secret.
public struct Secret: Hashable, Sendable {
  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  /// As `Opaque` or `kubernetes.io/tls`.
  public var type: String
  /// Decoded; what `stringData` says wins.
  public var data: [String: [UInt8]]
  public var immutable: Bool

  public static let tlsType = "kubernetes.io/tls"

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    type = reader.string("type") ?? "Opaque"
    immutable = reader.bool("immutable") ?? false
    var data: [String: [UInt8]] = [:]
    for (key, value) in reader.stringEntries("data", keys: .secretKey) ?? [] {
      if let bytes = Base64.decode(value) {
        data[key] = bytes
      } else {
        let node = reader.node["data"]?[key]
        reader.collector.add(
          .error, node?.position ?? reader.position, reader.path.appending("data").appending(key),
          "is not base64; plain text belongs into stringData")
      }
    }
    for (key, value) in reader.stringEntries("stringData", keys: .secretKey) ?? [] {
      data[key] = Array(value.utf8)
    }
    self.data = data
    if type == Self.tlsType {
      for key in ["tls.crt", "tls.key"] where data[key] == nil {
        reader.error(at: "data", "needs the key \(key) with the type \(Self.tlsType)")
      }
    }
  }
}

/// core/v1 ConfigMap.
public struct ConfigMap: Hashable, Sendable {
  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  /// Both `data` and `binaryData`, the latter decoded.
  public var data: [String: [UInt8]]
  public var immutable: Bool

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    immutable = reader.bool("immutable") ?? false
    var data: [String: [UInt8]] = [:]
    for (key, value) in reader.stringEntries("data", keys: .secretKey) ?? [] { data[key] = Array(value.utf8) }
    for (key, value) in reader.stringEntries("binaryData", keys: .secretKey) ?? [] {
      let position = reader.node["binaryData"]?[key]?.position ?? reader.position
      let path = reader.path.appending("binaryData").appending(key)
      if data[key] != nil { reader.collector.add(.error, position, path, "stands in data as well") }
      if let bytes = Base64.decode(value) {
        data[key] = bytes
      } else {
        reader.collector.add(.error, position, path, "is not base64; plain text belongs into data")
      }
    }
    self.data = data
  }
}

extension TextRule {
  static let secretKey = TextRule(
    "letters, digits, '-', '_' and '.'", minLength: 1, maxLength: 253,
    matches: { key in
      key.utf8.allSatisfy { byte in
        (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || (byte >= 0x30 && byte <= 0x39) || byte == 0x2D
          || byte == 0x2E || byte == 0x5F
      }
    })
}

/// core/v1 Namespace.
public struct Namespace: Hashable, Sendable {
  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var finalizers: [String]

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    finalizers = reader.object("spec") { $0.strings("finalizers") ?? [] } ?? []
    reader.allow("status")
  }
}

/// Base64 with the standard alphabet and padding (RFC 4648, section 4).
public enum Base64 {
  /// nil for what is not base64. Line breaks are skipped, as Go does.
  public static func decode(_ text: String) -> [UInt8]? {
    var out: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    var padding = 0
    for byte in text.utf8 where byte != 0x0A && byte != 0x0D {
      if byte == UInt8(ascii: "=") {
        padding += 1
        count += 1
        bits <<= 6
      } else {
        guard padding == 0, let value = value(of: byte) else { return nil }
        bits = bits << 6 | value
        count += 1
      }
      if count == 4 {
        guard padding <= 2 else { return nil }
        out.append(UInt8(bits >> 16 & 255))
        if padding < 2 { out.append(UInt8(bits >> 8 & 255)) }
        if padding < 1 { out.append(UInt8(bits & 255)) }
        (bits, count) = (0, 0)
        // Nothing may follow a group with padding.
        if padding > 0 { padding = 3 }
      }
    }
    return count == 0 ? out : nil
  }

  public static func encode(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var out: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      var bits: UInt32 = 0
      for index in 0..<3 { bits = bits << 8 | (index < group.count ? UInt32(group[start + index]) : 0) }
      for index in 0..<4 {
        out.append(
          index <= group.count ? alphabet[Int(bits >> UInt32(18 - 6 * index) & 63)] : UInt8(ascii: "="))
      }
    }
    return String(decoding: out, as: UTF8.self)
  }

  private static func value(of byte: UInt8) -> UInt32? {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte - UInt8(ascii: "A"))
    case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte - UInt8(ascii: "a")) + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0")) + 52
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
  }
}
