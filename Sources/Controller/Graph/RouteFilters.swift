import GatewayAPI
import RoutingTable

/// What the filters of a rule, or of one of its backends, come to.
struct FilterEffects {
  var requestHeaders: [HeaderOperation] = []
  var responseHeaders: [HeaderOperation] = []
  var redirect: RedirectSource?
  var rewrite: RewriteSource?
  /// Filters that must not be passed over (Gateway API: such requests get an error response).
  var faults: [Fault] = []

  init(_ filters: [HTTPRouteFilter]) {
    for filter in filters {
      switch filter {
      case .requestHeaderModifier(let modifier): requestHeaders += modifier.operations
      case .responseHeaderModifier(let modifier): responseHeaders += modifier.operations
      case .requestRedirect(let value): redirect = RedirectSource(value)
      case .urlRewrite(let value):
        rewrite = RewriteSource(host: value.hostname, path: value.path.map(PathRewrite.init))
      case .extensionRef(let reference):
        faults.append(
          Fault(
            "UnsupportedValue", "the filter ExtensionRef names a \(reference.kind), and no such kind is known"
          ))
      case .externalAuth:
        faults.append(Fault("UnsupportedValue", "the filter ExternalAuth is not supported yet"))
      case .requestMirror, .cors:
        // Named by FieldsNotActedOn: the request itself is served rightly without them.
        break
      }
    }
  }
}

extension HeaderModifier {
  var operations: [HeaderOperation] {
    self.set.map { HeaderOperation(.set, $0.name, $0.value) }
      + add.map { HeaderOperation(.add, $0.name, $0.value) } + remove.map { HeaderOperation(.remove, $0) }
  }
}

extension PathRewrite {
  init(_ modifier: HTTPPathModifier) {
    switch modifier {
    case .replaceFullPath(let path): self = .replaceFull(path)
    case .replacePrefixMatch(let prefix): self = .replaceSegmentPrefix(prefix)
    }
  }
}

extension RedirectSource {
  init(_ redirect: RequestRedirect) {
    self.init(
      scheme: redirect.scheme?.rawValue, host: redirect.hostname,
      port: redirect.port.map { .number(UInt16(clamping: $0)) } ?? .automatic,
      path: redirect.path.map(PathRewrite.init), status: UInt16(clamping: redirect.statusCode))
  }
}
