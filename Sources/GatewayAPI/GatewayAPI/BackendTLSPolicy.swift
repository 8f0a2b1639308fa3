import YAML

/// gateway.networking.k8s.io BackendTLSPolicy: how the Services that it names are spoken to over TLS.
public struct BackendTLSPolicy: Hashable, Sendable {
  public struct TargetReference: Hashable, Sendable {
    public var group: String
    public var kind: String
    /// Of an object in the policy's own namespace.
    public var name: String
    /// Name of a Service's port; nil: every port.
    public var sectionName: String?
  }

  /// The certificate must carry one of these names.
  public enum SubjectAltName: Hashable, Sendable {
    case hostname(String)
    case uri(String)
  }

  public var metadata: ObjectMeta
  public var origin: SourceOrigin?
  public var targetRefs: [TargetReference]
  /// In the policy's own namespace.
  public var caCertificateRefs: [LocalObjectReference]
  /// `System`, or a name of an implementation's own.
  public var wellKnownCACertificates: String?
  /// SNI, and what the certificate must be for when there are no `subjectAltNames`.
  public var hostname: String
  public var subjectAltNames: [SubjectAltName]
  public var options: [String: String]

  init(_ reader: inout ObjectReader, _ metadata: ObjectMeta) {
    self.metadata = metadata
    let spec = reader.requiredObject("spec") { spec in
      let targets = spec.requiredList("targetRefs", count: 1...16) { TargetReference(&$0) }
      Self.check(targets, spec)
      return (
        targets, spec.requiredObject("validation") { Validation(&$0) },
        spec.stringMap("options", maxCount: 16, keys: .qualifiedName, values: .text(0...4096)) ?? [:]
      )
    }
    targetRefs = spec.0
    caCertificateRefs = spec.1.references
    wellKnownCACertificates = spec.1.wellKnown
    hostname = spec.1.hostname
    subjectAltNames = spec.1.names
    options = spec.2
    reader.allow("status")
  }

  /// The rules of the definition: an object named twice needs a section each time, and no two may be equal.
  private static func check(_ targets: [TargetReference], _ reader: ObjectReader) {
    for (index, one) in targets.enumerated() {
      for other in targets[..<index]
      where one.group == other.group && one.kind == other.kind && one.name == other.name {
        if one.sectionName == other.sectionName {
          reader.error(at: "targetRefs", index: index, "names the same target as an earlier reference")
        } else if one.sectionName == nil || other.sectionName == nil {
          reader.error(
            at: "targetRefs", index: index, "names \(one.name) again; then each reference needs a sectionName")
        }
      }
    }
  }
}

extension BackendTLSPolicy.TargetReference {
  init(_ reader: inout ObjectReader) {
    group = reader.requiredString("group", .group)
    kind = reader.requiredString("kind", .kind)
    name = reader.requiredString("name", .referenceName)
    sectionName = reader.string("sectionName", .objectName)
  }
}

private struct Validation {
  var references: [LocalObjectReference]
  var wellKnown: String?
  var hostname: String
  var names: [BackendTLSPolicy.SubjectAltName]

  init(_ reader: inout ObjectReader) {
    references = reader.list("caCertificateRefs", count: 0...8) { LocalObjectReference(&$0) } ?? []
    wellKnown = reader.string("wellKnownCACertificates", .wellKnownAuthorities)
    hostname = reader.requiredString("hostname", .preciseHostname)
    names = (reader.list("subjectAltNames", count: 0...5) { Self.name(&$0) } ?? []).compactMap(\.self)
    if references.isEmpty == (wellKnown == nil) {
      reader.error(
        references.isEmpty
          ? "needs caCertificateRefs or wellKnownCACertificates"
          : "must not have both caCertificateRefs and wellKnownCACertificates")
    }
  }

  private enum NameType: String, CaseIterable {
    case hostname = "Hostname"
    case uri = "URI"
  }

  private static func name(_ reader: inout ObjectReader) -> BackendTLSPolicy.SubjectAltName? {
    let type = reader.requiredChoice("type", NameType.self)
    let hostname = reader.string("hostname", .hostname)
    let uri = reader.string("uri", .absoluteURI)
    switch type {
    case .hostname:
      if uri != nil { reader.error(at: "uri", "must not be set when type is Hostname") }
      if hostname == nil { reader.error(at: "hostname", "is required when type is Hostname") }
      return hostname.map { .hostname($0) }
    case .uri:
      if hostname != nil { reader.error(at: "hostname", "must not be set when type is URI") }
      if uri == nil { reader.error(at: "uri", "is required when type is URI") }
      return uri.map { .uri($0) }
    case nil: return nil
    }
  }
}

extension TextRule {
  fileprivate static let wellKnownAuthorities = TextRule(
    "System, or a name with a domain as example.com/roots", minLength: 1, maxLength: 253,
    matches: { text in
      let parts = text.split(separator: "/", omittingEmptySubsequences: false)
      return text == "System" || parts.count == 2 && isSubdomain(String(parts[0])) && !parts[1].isEmpty
    })

  /// With a scheme and an authority, as SPIFFE identities have them.
  fileprivate static let absoluteURI = TextRule(
    "a URI as spiffe://example.com/backend", minLength: 1, maxLength: 253,
    matches: { text in
      guard let colon = text.firstIndex(of: ":"), colon != text.startIndex else { return false }
      return text[text.index(after: colon)...].hasPrefix("//") && !text[..<colon].contains { "/?#".contains($0) }
        && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
    })
}
