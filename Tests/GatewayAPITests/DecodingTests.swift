import GatewayAPI
import Testing
import YAML

/// The objects that the tables below change in one place.
enum Base {
  static func gateway(_ spec: String) -> String {
    "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: \(spec)"
  }

  static func listeners(_ listeners: String) -> String {
    gateway("{gatewayClassName: c, listeners: [\(listeners)]}")
  }

  static func httpRoute(_ rule: String) -> String { httpRoute(spec: "{rules: [\(rule)]}") }

  static func httpRoute(spec: String) -> String {
    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: \(spec)"
  }

  static func grpcRoute(_ rule: String) -> String {
    "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: r}\nspec: {rules: [\(rule)]}"
  }

  /// `kind`: TLSRoute or TCPRoute.
  static func layer4Route(_ kind: String, _ spec: String, version: String = "v1") -> String {
    "apiVersion: gateway.networking.k8s.io/\(version)\nkind: \(kind)\nmetadata: {name: r}\nspec: {\(spec)}"
  }

  static func server(_ server: String) -> String {
    "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {servers: [\(server)]}"
  }

  static func virtualService(_ http: String) -> String {
    """
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: v}
    spec: {hosts: [a.example.com], gateways: [g], http: [\(http)]}
    """
  }

  static func backendTLSPolicy(_ targets: String, _ validation: String) -> String {
    """
    apiVersion: gateway.networking.k8s.io/v1
    kind: BackendTLSPolicy
    metadata: {name: p}
    spec: {targetRefs: [\(targets)], validation: {\(validation)}}
    """
  }

  static func destinationRule(_ policy: String, host: String = "web") -> String {
    """
    apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {name: d}
    spec: {host: '\(host)', trafficPolicy: {\(policy)}}
    """
  }

  static func service(_ spec: String) -> String {
    "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: \(spec)"
  }
}

/// One text and the findings that it must give, without their positions; none means that it is accepted.
struct Case: Sendable, CustomTestStringConvertible {
  let text: String
  let expected: [String]

  init(_ text: String, _ expected: String...) {
    self.text = text
    self.expected = expected
  }

  var testDescription: String { String(text.drop { $0 != "{" }) }

  func check() {
    let manifest = Manifest(Array(text.utf8))
    var findings = manifest.diagnostics
    var isRead = true
    for object in manifest.objects {
      let result = decodeResource(object)
      findings += result.diagnostics
      isRead = isRead && result.resource != nil
    }
    let words = findings.map { "\($0.severity == .warning ? "warning: " : "")\($0.path): \($0.message)" }
    #expect(words == expected)
    #expect(isRead == !findings.contains { $0.isError })
    for finding in findings { #expect(finding.position.isKnown, "\(finding)") }
  }
}

@Suite struct GatewayRuleTests {
  static let cases: [Case] = [
    Case(Base.listeners("{name: a, port: 80, protocol: HTTP}")),
    Case(
      Base.gateway("{listeners: []}"), "spec.gatewayClassName: is required",
      "spec.listeners: must have at least 1 element"),
    Case(Base.gateway("{gatewayClassName: c}"), "spec.listeners: is required"),
    Case(
      Base.listeners("{name: a, port: 0, protocol: HTTP}"),
      "spec.listeners[0].port: is 0; it must be between 1 and 65535"),
    Case(
      Base.listeners("{name: a, port: '80', protocol: HTTP}"),
      "spec.listeners[0].port: must be a whole number, not a string; write 80 without quotes"),
    Case(
      Base.listeners("{name: A, port: 80, protocol: HTTP}"),
      "spec.listeners[0].name: \"A\" must be a name of lower-case letters, digits, '-' and '.'"),
    Case(
      Base.listeners("{name: a, port: 80, protocol: HTTP, hostname: 'x.*.com'}"),
      "spec.listeners[0].hostname: \"x.*.com\" must be a host name in lower case without a port, "
        + "as shop.example.com or *.example.com"),
    Case(
      Base.listeners("{name: a, port: 80, protocol: HTTP}, {name: a, port: 81, protocol: HTTP}"),
      "spec.listeners[1].name: \"a\" is the name of an earlier listener"),
    Case(
      Base.listeners("{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP}"),
      "spec.listeners[1]: has the port, protocol and hostname (80, HTTP, any host) of \"a\""),
    Case(
      Base.listeners(
        "{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTP, hostname: x.com}")),
    Case(
      Base.listeners("{name: a, port: 443, protocol: HTTPS}"),
      "spec.listeners[0].tls: is required for the protocol HTTPS, with certificateRefs that name a Secret"),
    Case(
      Base.listeners("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: []}}"),
      "spec.listeners[0].tls.certificateRefs: needs at least one certificate (or options) when mode "
        + "is Terminate"
    ),
    Case(
      Base.listeners("{name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}"),
      "spec.listeners[0].tls: must have the mode Terminate for the protocol HTTPS"),
    Case(Base.listeners("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: s}]}}")),
    Case(
      Base.listeners("{name: a, port: 80, protocol: HTTP, tls: {certificateRefs: [{name: s}]}}"),
      "spec.listeners[0].tls: must not be set for the protocol HTTP"),
    Case(
      Base.listeners("{name: a, port: 443, protocol: TLS}"),
      "spec.listeners[0].tls: is required for the protocol TLS, with the mode Terminate or Passthrough"),
    Case(
      Base.listeners("{name: a, port: 53, protocol: UDP, hostname: x.com}"),
      "spec.listeners[0].hostname: must not be set for the protocol UDP"),
    Case(
      Base.listeners("{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: same}}}"),
      "spec.listeners[0].allowedRoutes.namespaces.from: \"same\" is not one of All, Selector, Same, None; "
        + "did you mean Same?"),
    Case(
      Base.listeners("{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: None}}}"),
      "spec.listeners[0].allowedRoutes.namespaces.from: \"None\" is not one of All, Selector, Same"),
    Case(
      Base.listeners("{name: a, port: 80, protocol: HTTP, allowedRoute: {}}"),
      "warning: spec.listeners[0].allowedRoute: unknown field; it is ignored. Did you mean allowedRoutes?"),
    Case(
      Base.gateway(
        "{gatewayClassName: c, listeners: [{name: a, port: 1, protocol: HTTP}], backendTLS: {}, "
          + "addresses: [{value: 10.0.0.256}, {value: '::1'}, {type: Hostname, value: a_b}, {value: "
          + "'::1'}]}"),
      "spec.addresses[0].value: \"10.0.0.256\" is not an IP address",
      "spec.addresses[2].value: \"a_b\" must be a host name in lower case without a port, "
        + "as shop.example.com or *.example.com",
      "spec.addresses[3]: stands here a second time",
      "warning: spec.backendTLS: unknown field; it is ignored"),
    Case(
      Base.gateway(
        "{gatewayClassName: c, listeners: [{name: a, port: 1, protocol: HTTP}], "
          + "tls: {frontend: {default: {}, perPort: [{port: 1, tls: {}}, {port: 1, tls: {}}]}}}"),
      "spec.tls.frontend.perPort[1].port: stands for port 1 a second time"),
  ]

  @Test(arguments: cases) func rule(_ test: Case) { test.check() }

  @Test(arguments: [
    ("1.2.3.4", true), ("1.2.3", false), ("01.2.3.4", false), ("::", true), ("::1", true), ("1::", true),
    ("1:2:3:4:5:6:7:8", true), ("1:2:3:4:5:6:7", false), ("1::2::3", false), ("::ffff:1.2.3.4", true),
    (":1::2", false), ("1:2:3:4:5:6:7::", true), ("1:2:3:4:5:6:7:8::", false), ("fe80::1%eth0", false),
    ("12345::", false), ("1:", false), (":", false), (":::", false), ("1.2.3.4::", false), ("1:2", false),
  ])
  func addresses(_ address: String, _ isAddress: Bool) {
    let text = Base.gateway(
      "{gatewayClassName: c, listeners: [{name: a, port: 1, protocol: HTTP}], addresses: [{value: "
        + "'\(address)'}]}"
    )
    #expect((decodeAll(text).findings == []) == isAddress)
  }
}

@Suite struct HTTPRouteRuleTests {
  private static func path(_ path: String) -> String { Base.httpRoute("{matches: [{path: \(path)}]}") }
  private static func filter(_ filter: String) -> String { Base.httpRoute("{filters: [\(filter)]}") }

  static let cases: [Case] = [
    Case(Base.httpRoute(spec: "{}")),
    Case(Base.httpRoute(spec: "{rules: []}"), "spec.rules: must have at least 1 element"),
    Case(path("{value: /a%41-._~!$&'()*+,;=:@}").replacingQuotes()),
    Case(
      path("{value: a}"),
      "spec.rules[0].matches[0].path.value: \"a\" must start with '/' with type PathPrefix"),
    Case(
      path("{type: Exact, value: /a//b}"),
      "spec.rules[0].matches[0].path.value: \"/a//b\" must not contain '//' with type Exact"),
    Case(
      path("{value: /a/..}"),
      "spec.rules[0].matches[0].path.value: \"/a/..\" must not end with '/..' with type PathPrefix"),
    Case(
      path("{value: /a%2Fb}"),
      "spec.rules[0].matches[0].path.value: \"/a%2Fb\" must not contain '%2F' with type PathPrefix"),
    Case(
      path("{value: '/a b'}"),
      "spec.rules[0].matches[0].path.value: \"/a b\" must hold only URL characters, others as %41, "
        + "with type PathPrefix"
    ),
    Case(
      path("{value: /a%4}"),
      "spec.rules[0].matches[0].path.value: \"/a%4\" must hold only URL characters, others as %41, "
        + "with type PathPrefix"
    ),
    Case(path("{type: RegularExpression, value: 'a//.*'}")),
    Case(
      path("{type: Prefix, value: /}"),
      "spec.rules[0].matches[0].path.type: \"Prefix\" is not one of Exact, PathPrefix, RegularExpression; "
        + "did you mean PathPrefix?"),
    Case(
      Base.httpRoute("{matches: [{method: get}]}"),
      "spec.rules[0].matches[0].method: \"get\" is not one of GET, HEAD, POST, PUT, DELETE, "
        + "CONNECT, OPTIONS, TRACE, "
        + "PATCH; did you mean GET?"),
    Case(
      Base.httpRoute("{matches: [{headers: [{name: 'a b', value: x}, {name: X, value: ' y'}]}]}"),
      "spec.rules[0].matches[0].headers[0].name: \"a b\" must be letters, digits and !#$%&'*+-.^_`|~ only",
      "spec.rules[0].matches[0].headers[1].value: \" y\" must be visible ASCII characters with "
        + "single spaces or "
        + "tabs between them"),
    Case(
      Base.httpRoute(
        "{matches: [{headers: [{name: a, value: x}, {name: a, value: z}, {name: A, value: z}]}]}"),
      "spec.rules[0].matches[0].headers[1]: names a a second time",
      "warning: spec.rules[0].matches[0].headers: A stands here a second time; only the first counts"),
    Case(
      Base.httpRoute("{matches: [{queryParams: [{name: a, value: x}, {name: A, value: z}]}]}")),
    Case(filter("{type: RequestRedirect, requestRedirect: {statusCode: 308, scheme: https}}")),
    Case(
      filter("{type: RequestRedirect, requestRedirect: {statusCode: 304}}"),
      "spec.rules[0].filters[0].requestRedirect.statusCode: is 304; it must be 301, 302, 303, 307 or 308"),
    Case(
      filter("{type: RequestRedirect}"),
      "spec.rules[0].filters[0].requestRedirect: is required when type is RequestRedirect"),
    Case(
      filter("{type: URLRewrite, urlRewrite: {}, cors: {}}"),
      "spec.rules[0].filters[0].cors: must not be set when type is URLRewrite"),
    Case(
      filter("{type: URLRewrite, urlRewrite: {}}, {type: URLRewrite, urlRewrite: {}}"),
      "spec.rules[0].filters: URLRewrite must not stand here more than once"),
    Case(
      filter("{type: URLRewrite, urlRewrite: {}}, {type: RequestRedirect, requestRedirect: {}}"),
      "spec.rules[0].filters: must not hold both RequestRedirect and URLRewrite"),
    Case(
      filter("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /}}}"),
      "spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch: must not be set when type is "
        + "ReplaceFullPath",
      "spec.rules[0].filters[0].urlRewrite.path.replaceFullPath: is required when type is ReplaceFullPath"),
    Case(
      Base.httpRoute(
        "{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, "
          + "urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]}"),
      "spec.rules[0].filters[0]: URLRewrite with replacePrefixMatch needs exactly one match, of "
        + "type PathPrefix"
    ),
    Case(
      Base.httpRoute(
        "{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, "
          + "replacePrefixMatch: /}}}]}"
      )),
    Case(
      Base.httpRoute(
        "{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: s, port: 80}]}"),
      "spec.rules[0].filters[0]: RequestRedirect must not stand beside backendRefs"),
    Case(
      Base.httpRoute("{backendRefs: [{name: s}]}"),
      "spec.rules[0].backendRefs[0].port: is required for a Service"),
    Case(Base.httpRoute("{backendRefs: [{name: s, kind: Other, group: x.io}]}")),
    Case(
      Base.httpRoute("{backendRefs: [{name: s, port: 80, weight: -1}]}"),
      "spec.rules[0].backendRefs[0].weight: is -1; it must be between 0 and 1000000"),
    Case(
      Base.httpRoute("{timeouts: {request: 1s, backendRequest: 1500ms}}"),
      "spec.rules[0].timeouts.backendRequest: must not be longer than request"),
    Case(Base.httpRoute("{timeouts: {request: 0s, backendRequest: 1h30m}}")),
    Case(
      Base.httpRoute("{timeouts: {request: 1.5s}}"),
      "spec.rules[0].timeouts.request: \"1.5s\" must be a duration as 10s, 500ms or 1h30m (h, m, s, "
        + "ms; whole numbers)"
    ),
    Case(Base.httpRoute("{name: a}, {name: a}"), "spec.rules[1].name: \"a\" is the name of an earlier rule"),
    Case(
      Base.httpRoute(spec: "{hostnames: ['A.com', 'x:80', '1.2.3.4']}"),
      "spec.hostnames[0]: \"A.com\" must be a host name in lower case without a port, as shop.example.com or "
        + "*.example.com",
      "spec.hostnames[1]: \"x:80\" must be a host name in lower case without a port, as shop.example.com or "
        + "*.example.com"),
    Case(
      Base.httpRoute(spec: "{parentRefs: [{name: g}, {name: g}]}"),
      "spec.parentRefs[1]: names the same parent as an earlier reference; sectionName or port must "
        + "tell them apart"
    ),
    Case(
      Base.httpRoute(spec: "{parentRefs: [{name: g}, {name: g, sectionName: x}]}"),
      "spec.parentRefs[1]: names the parent g again; then each reference to it needs a sectionName, "
        + "or each a port"
    ),
    Case(Base.httpRoute(spec: "{parentRefs: [{name: g, sectionName: a}, {name: g, sectionName: b}]}")),
    Case(
      Base.httpRoute(
        "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}, "
          + "{name: a, value: c}], remove: [x, X]}}]}"),
      "spec.rules[0].filters[0].requestHeaderModifier.set[1]: names the header a a second time",
      "warning: spec.rules[0].filters[0].requestHeaderModifier.remove: names the header X a second time; "
        + "only the first counts"),
    Case(
      filter(
        "{type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: s, port: 1}, http: {}}}"),
      "spec.rules[0].filters[0].externalAuth.grpc: is required when protocol is GRPC",
      "spec.rules[0].filters[0].externalAuth.http: must not be set when protocol is GRPC"),
    Case(
      filter(
        "{type: CORS, cors: {allowOrigins: ['*', 'https://*.x.com:8443', 'x.com'], allowMethods: [GOT]}}"),
      "spec.rules[0].filters[0].cors.allowOrigins[2]: \"x.com\" must be \"*\" or an origin as "
        + "https://example.com "
        + "or https://*.example.com:8443",
      "spec.rules[0].filters[0].cors.allowMethods[0]: \"GOT\" must be \"*\" or one of GET, HEAD, "
        + "POST, PUT, DELETE, "
        + "CONNECT, OPTIONS, TRACE, PATCH",
      "spec.rules[0].filters[0].cors.allowOrigins: must not hold other values beside \"*\""),
    Case(
      filter(
        "{type: RequestMirror, requestMirror: {backendRef: {name: s, port: 1}, percent: 5, "
          + "fraction: {numerator: 9, denominator: 3}}}"),
      "spec.rules[0].filters[0].requestMirror.fraction.numerator: must not be greater than the denominator 3",
      "spec.rules[0].filters[0].requestMirror.fraction: must not stand beside percent"),
    Case(
      Base.httpRoute("{sessionPersistence: {cookie: {lifetimeType: Permanent}}}"),
      "spec.rules[0].sessionPersistence.absoluteTimeout: is required when cookie.lifetimeType is Permanent"),
    Case(
      Base.httpRoute(
        Array(repeating: "{matches: [\(Array(repeating: "{}", count: 60).joined(separator: ","))]}", count: 3)
          .joined(separator: ",")),
      "spec.rules: hold 180 matches together; at most 128 are allowed in one route"),
  ]

  @Test(arguments: cases) func rule(_ test: Case) { test.check() }
}

@Suite struct GRPCRouteRuleTests {
  static let cases: [Case] = [
    Case(Base.grpcRoute("{}")),
    Case(Base.grpcRoute("{matches: [{method: {service: protobuf.Transport, method: Connect}}]}")),
    Case(
      Base.grpcRoute("{matches: [{method: {type: Exact}}]}"),
      "spec.rules[0].matches[0].method: needs service, method or both"),
    Case(
      Base.grpcRoute("{matches: [{method: {service: /a, method: 'b*'}}]}"),
      "spec.rules[0].matches[0].method.service: \"/a\" is not the name of a service, as package.Service",
      "spec.rules[0].matches[0].method.method: \"b*\" is not the name of a method, as Connect"),
    Case(Base.grpcRoute("{matches: [{method: {type: RegularExpression, service: 'a.*', method: '[bc]'}}]}")),
    Case(
      Base.grpcRoute("{filters: [{type: URLRewrite, urlRewrite: {}}]}"),
      "spec.rules[0].filters[0].type: \"URLRewrite\" is not one of RequestHeaderModifier, "
        + "ResponseHeaderModifier, "
        + "RequestMirror, ExtensionRef",
      "warning: spec.rules[0].filters[0].urlRewrite: unknown field; it is ignored"),
  ]

  @Test(arguments: cases) func rule(_ test: Case) { test.check() }
}

@Suite struct Layer4RouteRuleTests {
  private static let rules = "rules: [{backendRefs: [{name: b, port: 1, weight: 2}]}]"

  static let cases: [Case] = [
    Case(Base.layer4Route("TLSRoute", "hostnames: [a.example.com, '*.example.com'], \(rules)")),
    Case(Base.layer4Route("TLSRoute", "hostnames: [a.example.com], \(rules)", version: "v1alpha2")),
    Case(Base.layer4Route("TCPRoute", rules)),
    Case(Base.layer4Route("TCPRoute", rules, version: "v1alpha2")),
    Case(Base.layer4Route("TLSRoute", rules), "spec.hostnames: is required"),
    Case(
      Base.layer4Route("TLSRoute", "hostnames: [192.0.2.1], \(rules)"),
      "spec.hostnames[0]: is an IP address, which no server name is"),
    Case(Base.layer4Route("TCPRoute", "parentRefs: [{name: g}]"), "spec.rules: is required"),
    Case(
      Base.layer4Route("TCPRoute", "rules: [{backendRefs: []}]"),
      "spec.rules[0].backendRefs: must have at least 1 element"),
  ]

  @Test(arguments: cases) func rule(_ test: Case) { test.check() }
}

extension String {
  /// The path with every character that needs no escape, in double quotes for YAML.
  fileprivate func replacingQuotes() -> String {
    self.replacing("{value: ", with: "{value: \"").replacing("@}", with: "@\"}")
  }
}
