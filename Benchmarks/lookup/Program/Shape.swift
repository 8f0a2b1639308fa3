import RoutingTable

/// A table of any number of routes, and for each route a request that it wins. Names are made from the number alone,
/// so that making a request reads no memory that a look-up would then find in a cache.
enum Shape: String, CaseIterable {
  /// Ten prefixes a host.
  case hosts
  /// One host with every path: prefixes and whole paths by turns.
  case paths
  /// Thirty routes a host, every fourth host a wildcard: a prefix for everything, other prefixes, whole paths, and
  /// prefixes with a header.
  case mix

  private static let words = [
    "orders", "users", "billing", "search", "inventory", "auth", "profile", "media", "cart", "reviews", "shipping",
    "payments", "catalog", "events", "notifications",
  ]

  var routesPerHost: Int {
    switch self {
    case .hosts: 10
    case .paths: Int.max
    case .mix: 30
    }
  }

  /// What the request of a route is made of.
  struct Names {
    var host: String
    var isWildcard = false
    var path: String
    var isExact = false
    var asksHeader = false
    /// What a request has behind the route's own path.
    var rest = ""
  }

  func names(of route: Int) -> Names {
    switch self {
    case .hosts:
      let host = route / 10
      return Names(
        host: "\(Self.words[host % 15])-\(host).example.com", path: "/api/v1/\(Self.words[route % 10])", rest: "/42")
    case .paths:
      let isExact = route % 2 == 1
      return Names(
        host: "api.example.com", path: "/\(Self.words[route % 15])/v1/team-\(route % 97)/item-\(route)",
        isExact: isExact, rest: isExact ? "" : "/42")
    case .mix: return mixed(route)
    }
  }

  private func mixed(_ route: Int) -> Names {
    let host = route / 30
    let number = route % 30
    let word = Self.words[number / 2]
    var names = Names(host: "\(Self.words[host % 15])-\(host).example.com", isWildcard: host % 4 == 3, path: "/")
    switch number {
    case 0: names.rest = "index.html"
    case 1..<15:
      names.path = "/api/v\(number % 3)/\(word)"
      names.rest = "/42/lines"
    case 15..<24:
      names.path = "/static/\(word)/app-\(number).js"
      names.isExact = true
    default:
      // Two routes with one path: the second has no header.
      names.path = "/internal/\(word)"
      names.asksHeader = number % 2 == 0
      names.rest = "/status"
    }
    return names
  }

  func table(routes: Int) -> TableSource {
    let backends = (0..<max(1, routes / 10)).map { number in
      BackendSource(
        id: "default/backend-\(number):8080",
        endpoints: [
          EndpointSource(address: "10.\(number >> 16).\(number >> 8 & 255).\(number & 255)", port: 8080)
        ])
    }
    let rules = (0..<routes).map { route in
      RuleSource(
        provenance: "HTTPRoute default/route-\(route / 10) rule \(route % 10) match 0",
        action: .forward([WeightedBackend(backend: route / 10 % backends.count)]))
    }
    var hosts: [VirtualHostSource] = []
    var first = 0
    while first < routes {
      let end = first + min(routesPerHost, routes - first)
      let names = names(of: first)
      hosts.append(
        VirtualHostSource(
          pattern: names.isWildcard ? "*.\(names.host)" : names.host, entries: entries(first..<end)))
      first = end
    }
    let listener = ListenerSource(name: "default/gateway/http", virtualHosts: hosts)
    return TableSource(
      revision: 1, sockets: [SocketSource(port: 80, listeners: [listener])], backends: backends, rules: rules)
  }

  /// In the Gateway API's order: whole paths, then prefixes by their length, then those with more headers.
  private func entries(_ routes: Range<Int>) -> [EntrySource] {
    let named = routes.map { (route: $0, names: names(of: $0)) }
    let sorted = named.sorted { one, other in
      if one.names.isExact != other.names.isExact { return one.names.isExact }
      let (length, otherLength) = (one.names.path.utf8.count, other.names.path.utf8.count)
      if length != otherLength { return length > otherLength }
      if one.names.asksHeader != other.names.asksHeader { return one.names.asksHeader }
      return one.route < other.route
    }
    return sorted.map { route, names in
      EntrySource(
        path: names.isExact ? .exact(names.path) : .segmentPrefix(names.path),
        headers: names.asksHeader ? [ValueMatch(name: "x-version", test: .exact("canary"))] : [], rule: route)
    }
  }
}
