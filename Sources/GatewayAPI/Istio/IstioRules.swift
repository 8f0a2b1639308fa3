import YAML

// The rules of the Istio definitions that look at more than one field, and those that Istio's own
// validation asks for beyond its definitions.

extension TextRule {
  /// A host of a VirtualService: a name, a leading `*.`, `*` alone, or an address.
  static let istioHost = TextRule(
    "a host name, as shop.example.com, *.example.com or *", minLength: 1, maxLength: 253, matches: isIstioHost
  )

  static let istioServerHost = TextRule(
    "a host name as shop.example.com or *.example.com or *, also as namespace/host", minLength: 1,
    matches: { text in
      let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
      guard let host = parts.last, isIstioHost(host) else { return false }
      guard parts.count > 1 else { return true }
      return parts.count == 2 && (parts[0] == "*" || parts[0] == "." || TextRule.label.matches(parts[0]))
    })

  static let istioGatewayName = TextRule(
    "the name of a Gateway as name or namespace/name, or mesh", minLength: 1,
    matches: { text in
      let parts = text.split(separator: "/", omittingEmptySubsequences: false)
      return parts.count <= 2 && parts.allSatisfy { isSubdomain(String($0)) }
    })

  static let istioDestinationHost = TextRule(
    "a Service as name or name.namespace.svc.cluster.local, or a host name", minLength: 1, maxLength: 253,
    matches: { isSubdomain($0.lowercased()) })

  /// The definition now refuses zero, which older manifests use for no limit.
  static let istioTimeout = TextRule(
    "a duration of at least 1ms, as 10s, 1.5s or 1h30m, or 0s for none",
    matches: { goDurationValue($0).map { $0 == .zero || $0 >= .milliseconds(1) } ?? false })

  /// `:authority` and the like are allowed as names: setting them rewrites the request.
  static let istioHeaderName = TextRule(
    "a header name", minLength: 1, matches: { isToken($0.hasPrefix(":") ? String($0.dropFirst()) : $0) })

  static let istioHeaderValue = TextRule(
    "free of control characters", matches: { $0.utf8.allSatisfy { $0 >= 0x20 || $0 == 0x09 } })
}

private func isIstioHost(_ text: String) -> Bool {
  if text == "*" || isIPAddress(text) { return true }
  return isSubdomain((text.hasPrefix("*.") ? String(text.dropFirst(2)) : text).lowercased())
}

extension IstioServer {
  private static let protocols: Set<String> = [
    "HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS", "REDIS", "MYSQL", "UDP",
    "HTTP_PROXY",
  ]

  /// Whether the server's protocol carries TLS.
  public var isTLSProtocol: Bool { ["HTTPS", "TLS"].contains(port.protocol.uppercased()) }

  func check(_ reader: ObjectReader) {
    let name = port.protocol.uppercased()
    if !name.isEmpty, !Self.protocols.contains(name) {
      let path = reader.path.appending("port").appending("protocol")
      let position = reader.node["port"]?["protocol"]?.position ?? reader.position
      reader.collector.add(
        .error, position, path,
        "\"\(port.protocol)\" is not one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS")
      return
    }
    if isTLSProtocol {
      if let tls {
        if tls.httpsRedirect { reader.error(at: "tls", "httpsRedirect works only on plain HTTP servers") }
        checkCertificates(tls, reader)
      } else {
        reader.error(at: "tls", "is required for the protocol \(port.protocol)")
      }
    } else if let tls {
      let isPlainHTTP = ["HTTP", "HTTP2", "GRPC", "GRPC-WEB"].contains(name)
      if !isPlainHTTP || tls.isModeGiven || tls.credentialName != nil || tls.serverCertificate != nil {
        let allowed = isPlainHTTP ? " other than httpsRedirect" : ""
        reader.error(at: "tls", "must have no settings\(allowed) for the protocol \(port.protocol)")
      }
    }
  }

  private func checkCertificates(_ tls: IstioServerTLS, _ reader: ObjectReader) {
    let isPassthrough = !tls.isModeGiven || reader.node["tls"]?["mode"]?.string == "PASSTHROUGH"
    if isPassthrough, tls.credentialName != nil || tls.serverCertificate != nil {
      let hint = tls.isModeGiven ? "" : ", which is the default; did you mean SIMPLE?"
      reader.warning(at: "tls", "no certificate is used with the mode PASSTHROUGH\(hint)")
    }
    let needsCertificate = tls.mode == .simple || tls.mode == .mutual || tls.mode == .optionalMutual
    guard needsCertificate, tls.credentialName == nil, tls.credentialNames.isEmpty,
      tls.tlsCertificates.isEmpty
    else { return }
    if tls.serverCertificate == nil || tls.privateKey == nil {
      reader.error(
        at: "tls", "needs credentialName (or serverCertificate and privateKey) with mode \(tls.mode.rawValue)"
      )
    } else if tls.mode != .simple, tls.caCertificates == nil {
      reader.error(at: "tls", "needs caCertificates with mode \(tls.mode.rawValue)")
    }
  }

  static func checkAll(_ servers: [IstioServer], _ reader: ObjectReader) {
    for (index, server) in servers.enumerated() {
      guard
        servers[..<index].contains(where: {
          $0.port.name == server.port.name && $0.port.number == server.port.number
        })
      else { continue }
      reader.warning(
        at: "servers", "the port name \"\(server.port.name)\" stands here a second time; names should differ")
    }
  }
}

extension IstioServerTLS {
  func check(_ reader: ObjectReader) {
    if !credentialNames.isEmpty {
      if credentialName != nil { reader.error(at: "credentialNames", "must not stand beside credentialName") }
      if !tlsCertificates.isEmpty {
        reader.error(at: "credentialNames", "must not stand beside tlsCertificates")
      }
    }
    let order = Version.allCases
    if minProtocolVersion != .auto, maxProtocolVersion != .auto,
      let low = order.firstIndex(of: minProtocolVersion), let high = order.firstIndex(of: maxProtocolVersion),
      low > high
    {
      reader.error(at: "minProtocolVersion", "must not be higher than maxProtocolVersion")
    }
  }
}

extension VirtualService {
  static func check(hosts: [String], http: [IstioHTTPRoute], _ reader: ObjectReader) {
    // Without hosts it is one that others delegate to.
    if !reader.has("http"), !reader.has("tcp"), !reader.has("tls") {
      reader.error("needs at least one of http, tcp and tls")
    }
    for (index, host) in hosts.enumerated() where hosts[..<index].contains(host) {
      reader.error(at: "hosts", index: index, "\"\(host)\" stands here a second time")
    }
    if let last = http.firstIndex(where: { $0.match.isEmpty }), last < http.count - 1 {
      reader.warning(
        at: "http", "the entries after http[\(last)] are never reached, because it matches every request")
    }
  }
}

extension VirtualService {
  static func check(hosts: [String], tls: [IstioLayer4Route], tcp: [IstioLayer4Route], _ reader: ObjectReader) {
    if hosts.isEmpty {
      for (field, routes) in [("tls", tls), ("tcp", tcp)] where !routes.isEmpty {
        reader.error(at: field, "needs hosts: without, the VirtualService is for others to delegate requests to")
      }
      return
    }
    for (index, route) in tls.enumerated() {
      for (number, match) in route.match.enumerated() {
        let path = reader.path.appending("tls").appending(index).appending("match").appending(number)
        for (place, name) in match.sniHosts.enumerated() {
          let add = { (severity: Diagnostic.Severity, message: String) in
            reader.collector.add(severity, match.position, path.appending("sniHosts").appending(place), message)
          }
          if !hosts.contains(where: { covers($0, name) }) {
            add(.error, "\"\(name)\" is not among the hosts of the VirtualService: \(hosts.joined(separator: ", "))")
          } else if isIPAddress(name) {
            add(.warning, "is an IP address, which no server name is")
          }
        }
      }
    }
    if let last = tcp.firstIndex(where: { $0.match.isEmpty }), last < tcp.count - 1 {
      reader.warning(
        at: "tcp", "the entries after tcp[\(last)] are never reached, because it matches every connection")
    }
  }

  /// Every name of one pattern is one of the other: `*`, a name, or `*.` and a name.
  private static func covers(_ host: String, _ name: String) -> Bool {
    let host = host.lowercased()
    let name = name.lowercased()
    if host == "*" || host == name { return true }
    return host.hasPrefix("*.") && name.hasSuffix(host.dropFirst()) && name.utf8.count >= host.utf8.count
  }
}

/// The weights of several destinations.
func checkWeights(_ weights: [Int], _ reader: ObjectReader) {
  if weights.count > 1, weights.allSatisfy({ $0 == 0 }) {
    reader.error(at: "route", "has several destinations, and all of their weights are 0")
  }
  if weights.reduce(0, +) > Int(UInt32.max) {
    reader.error(at: "route", "has weights that add up to more than \(UInt32.max)")
  }
}

extension IstioHTTPRoute {
  func check(_ reader: ObjectReader) {
    let actions = [
      ("route", !route.isEmpty), ("redirect", redirect != nil), ("directResponse", directResponse != nil),
      ("delegate", delegate != nil),
    ].filter(\.1).map(\.0)
    if actions.count > 1 {
      reader.error(at: actions[1], "must not stand beside \(actions[0])")
    } else if actions.isEmpty {
      reader.error("needs one of route, redirect, directResponse and delegate")
    }
    if rewrite != nil, redirect != nil { reader.error(at: "rewrite", "must not stand beside redirect") }
    if rewrite != nil, directResponse != nil {
      reader.error(at: "rewrite", "must not stand beside directResponse")
    }
    if fault != nil, redirect != nil { reader.error(at: "fault", "must not stand beside redirect") }
    if mirror != nil, !mirrors.isEmpty { reader.error(at: "mirrors", "must not stand beside mirror") }
    checkWeights(route.map(\.weight), reader)
    if let percentage = mirrorPercentage, percentage < 0 || percentage > 100 {
      reader.error(at: "mirrorPercentage", "must be between 0 and 100")
    }
  }
}

extension IstioHTTPMatch {
  func check(_ reader: ObjectReader) {
    for (field, matches) in [("headers", headers), ("withoutHeaders", withoutHeaders)] {
      for match in matches where !isToken(match.name) {
        let hint: String =
          switch match.name {
          case ":method": "; use the field method"
          case ":authority", ":path", ":scheme": "; use the fields authority, uri and scheme"
          default: ""
          }
        reader.error(at: field, "\"\(match.name)\" is not the name of a header\(hint)")
      }
    }
    for match in queryParams where match.name.isEmpty {
      reader.error(at: "queryParams", "the name of a parameter must not be empty")
    }
    if case .regex("") = uri { reader.error(at: "uri", "the regular expression must not be empty") }
  }
}

extension IstioRedirect {
  func check(_ reader: ObjectReader) {
    if ![301, 302, 303, 307, 308].contains(redirectCode) {
      reader.error(at: "redirectCode", "is \(redirectCode); it must be 301, 302, 303, 307 or 308")
    }
    if port != nil, derivePort != nil { reader.error(at: "derivePort", "must not stand beside port") }
    if uri != nil, prefixRewrite != nil { reader.error(at: "prefixRewrite", "must not stand beside uri") }
    if let scheme, scheme != "http", scheme != "https" {
      reader.error(at: "scheme", "\"\(scheme)\" is not one of http, https")
    }
    let fields = ["uri", "prefixRewrite", "authority", "port", "derivePort", "scheme", "redirectCode"]
    if !fields.contains(where: reader.has) {
      reader.error("needs at least one of uri, authority, port, scheme and redirectCode")
    }
  }
}

extension IstioRewrite {
  func check(_ reader: ObjectReader) {
    if uri == nil, authority == nil, uriRegexRewrite == nil {
      reader.error("needs at least one of uri, authority and uriRegexRewrite")
    }
    if uri != nil, uriRegexRewrite != nil { reader.error(at: "uriRegexRewrite", "must not stand beside uri") }
  }
}
