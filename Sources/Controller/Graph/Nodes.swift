import GatewayAPI
import RoutingTable

/// Which object, in which version, and how old it is.
struct ObjectIdentity: Sendable, Hashable {
  var key: ResourceKey
  var uid: String
  var generation: Int64
  var seniority: Seniority

  var version: ObjectVersion { ObjectVersion(key: key, uid: uid, generation: generation) }
  /// `default/hoopgateway`.
  var name: String { key.namespace.isEmpty ? key.name : "\(key.namespace)/\(key.name)" }
}

/// Something that a person should know though nothing is refused; becomes a condition of its own.
struct Notice: Sendable, Hashable {
  /// The condition's type behind `sluice.dev/`.
  var type: String
  var reason: String
  var message: String

  static func gatewayClassAssumed(_ name: String) -> Notice {
    Notice(
      type: "GatewayClassAssumed", reason: "UnknownGatewayClass",
      message: "no GatewayClass is named \(name); without a cluster it is taken for one of "
        + ControllerOptions.controllerName)
  }

  static func fieldsNotActedOn(_ fields: [String]) -> Notice? {
    fields.isEmpty
      ? nil
      : Notice(
        type: "FieldsNotActedOn", reason: "NotSupportedYet",
        message: "accepted, but not acted on yet: " + bounded(fields))
  }

  /// Rules or names of a route that get no connection, though nothing is wrong with them.
  static func unreached(_ places: [String], _ why: String) -> Notice {
    Notice(type: "RulesNotReached", reason: "NoConnections", message: "\(bounded(places)): \(why)")
  }

  static func shared(with others: [String]) -> Notice? {
    others.isEmpty
      ? nil
      : Notice(
        type: "SharedListener", reason: "SamePortAndHostname",
        message: "port and hostname are shared with \(others.joined(separator: ", "))")
  }
}

extension Notice {
  /// One of each type: conditions of one object differ in their types.
  static func merged(_ notices: [Notice]) -> [Notice] {
    var merged: [Notice] = []
    for notice in notices {
      if let index = merged.firstIndex(where: { $0.type == notice.type }) {
        if !merged[index].message.contains(notice.message) { merged[index].message += "; " + notice.message }
      } else {
        merged.append(notice)
      }
    }
    return merged
  }
}

struct GatewayClassNode: Sendable {
  var object: ObjectIdentity
  var accepted: Verdict
}

struct GatewayNode: Sendable {
  var object: ObjectIdentity
  var accepted: Verdict
  var notices: [Notice]
  var listeners: [ListenerNode]
  /// Some port lets clients in whose certificates do not verify.
  var isInsecure = false
  /// What is shown to backends that ask for a certificate.
  var clientCertificate: ClientCertificate?
  /// Nil: its own references are good, or there are none.
  var referenceFault: Fault?
}

struct ClientCertificate: Sendable, Hashable {
  /// Index into the model's certificates.
  var index: Int
  /// `default/client-tls`.
  var name: String
}

/// A listener of a Gateway, or a server of an Istio Gateway.
struct ListenerNode: Sendable {
  var name: String
  var port: UInt16
  var protocolName: String
  /// Nil: a protocol that is not served.
  var kind: SocketKind?
  /// One for a Gateway's listener; those of an Istio server.
  var hosts: [ServerHost]
  var supportedKinds: [ResourceKind] = []
  var allowedNamespaces = AllowedNamespaces.same
  var accepted = Verdict.accepted
  var resolved = Verdict.resolved
  var conflict: Fault?
  /// What it won, one for each host that it won.
  var slots: [ListenerSlot] = []
  var sharedWith: [String] = []
  var certificates: [ListenerCertificate] = []
  var proto = ListenerProtocol.http
  /// What its object's annotations ask for.
  var options = ListenerSettings()
  var clientValidation: ClientValidationSource?
  var redirectsToHTTPS = false
  var attachedRoutes = 0

  /// Whether its socket can answer: TLS that ends here needs a certificate.
  var canServe: Bool { !slots.isEmpty && (!terminatesTLS || !certificates.isEmpty) }
  var terminatesTLS: Bool { kind == .https && proto != .tlsPassthrough }
}

enum AllowedNamespaces: Sendable, Hashable {
  case same
  case all
  case selected(LabelSelector)
}

struct ServerHost: Sendable, Hashable, CustomStringConvertible {
  var hostname: Hostname
  /// The only namespace of routes that may bind to it; nil: every one.
  var namespace: String?

  /// As Istio has it: `namespace/host`.
  var description: String { namespace.map { "\($0)/\(hostname)" } ?? "\(hostname)" }
}

struct ListenerCertificate: Sendable, Hashable {
  /// `Secret default/www-tls`.
  var name: String
  /// Index into the model's certificates.
  var index: Int
  /// The DNS names that it is good for.
  var names: [String]
  var notices: [Notice] = []
}

extension ListenerNode {
  /// What is to be said of its certificates, and of those that no client gets to see: the first one serves what none
  /// of the others is for, and of two for one name the first.
  var certificateNotices: [Notice] {
    var shown = Set(certificates.first?.names ?? [])
    var notices = certificates.flatMap(\.notices)
    for certificate in certificates.dropFirst() {
      let own = certificate.names.filter { name in hosts.contains { $0.hostname.covers(Hostname(name)) } }
      if shown.isSuperset(of: own) {
        notices.append(
          Notice(
            type: "CertificateUnused", reason: "NoNameOfItsOwn",
            message: "\(certificate.name) is shown to no client: the certificates before it have its names"))
      }
      shown.formUnion(own)
    }
    return Notice.merged(notices)
  }

  /// The claims that it makes; none when it is not accepted.
  func claims(of object: ObjectIdentity, section: Int) -> [ListenerClaim] {
    guard let kind, accepted.holds else { return [] }
    // Connections without TLS name no host: whatever hosts there are, one listener serves them.
    let names = kind == .tcp || kind == .udp ? [.any] : hosts.map(\.hostname)
    return names.enumerated().map { index, hostname in
      ListenerClaim(
        id: ListenerClaim.ID(owner: object.key, section: section, host: index), sectionName: name,
        seniority: object.seniority, port: port, kind: kind, proxyProtocol: options.proxyProtocol,
        hostname: hostname)
    }
  }

  /// Takes over what the court said about each of its claims.
  mutating func settle(_ outcomes: [ClaimOutcome]) {
    slots = outcomes.compactMap(\.slot)
    sharedWith = outcomes.flatMap(\.sharedWith)
    guard let fault = outcomes.compactMap(\.conflict).first else { return }
    if fault.reason != "PortUnavailable" { conflict = fault }
    // A server with several hosts goes on with those that it won.
    if slots.isEmpty { accepted = .no(fault.reason, fault.message) }
  }
}

struct RouteNode: Sendable {
  var object: ObjectIdentity
  var parents: [RouteParentNode]
}

struct RouteParentNode: Sendable {
  var reference: ParentReference
  var accepted: Verdict
  var resolved: Verdict
  /// Rules that answer 500, when others of the route work.
  var partiallyInvalid: Fault?
  var notices: [Notice]
}

struct IstioGatewayNode: Sendable {
  var object: ObjectIdentity
  var accepted: Verdict
  var notices: [Notice]
  var servers: [ListenerNode]
}

struct VirtualServiceNode: Sendable {
  var object: ObjectIdentity
  var accepted: Verdict
  var resolved: Verdict
  var partiallyInvalid: Fault?
  var notices: [Notice]
}
