import RoutingTable

/// Age of an object: the older one goes first where the APIs say so; equal ages go by name.
struct Seniority: Sendable, Hashable, Comparable {
  /// RFC 3339 in UTC; texts sort as times do.
  var created: String
  var namespace: String
  var name: String

  static func < (left: Seniority, right: Seniority) -> Bool {
    if left.created != right.created { return left.created < right.created }
    if left.namespace != right.namespace { return left.namespace < right.namespace }
    return left.name < right.name
  }
}

/// Where a match of a Gateway API route stands among those of the same host pattern
/// (HTTPRouteRule.matches and GRPCRouteRule.matches in the specification).
struct MatchRank: Sendable, Comparable {
  /// The route's own hostname that the request matched; any host when the route names none. Between routes
  /// whose hosts come down to one pattern the more specific of these goes first, whatever the paths.
  var hostname: Hostname
  /// Compared one by one; the larger goes first. HTTPRoute: form of the path match, its length, method,
  /// number of headers, of query parameters. GRPCRoute: characters of the service, of the method,
  /// number of headers.
  var weights: [Int]
  var seniority: Seniority
  var rule: Int
  var match: Int

  static func < (left: MatchRank, right: MatchRank) -> Bool {
    if left.hostname.isMoreSpecific(than: right.hostname) { return true }
    if right.hostname.isMoreSpecific(than: left.hostname) { return false }
    for (mine, theirs) in zip(left.weights, right.weights) where mine != theirs { return mine > theirs }
    if left.seniority != right.seniority { return left.seniority < right.seniority }
    return (left.rule, left.match) < (right.rule, right.match)
  }

  /// Exact paths go first, then regular expressions (the specification leaves their place open; any
  /// prefix, `/` among them, would hide them otherwise), then prefixes.
  static func pathWeights(_ path: PathMatcher) -> [Int] {
    switch path {
    case .exact(let value): [2, value.utf8.count]
    case .regex(let value): [1, value.utf8.count]
    case .segmentPrefix(let value), .stringPrefix(let value): [0, value.utf8.count]
    case .any: [0, 0]
    }
  }
}

struct RankedEntry: Sendable {
  var rank: MatchRank
  var entry: EntrySource
}
