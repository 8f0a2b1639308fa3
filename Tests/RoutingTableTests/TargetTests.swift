import HTTPSemantics
import Testing

@testable import RoutingTable

/// What a rule writes for a request that it matched.
private func written(
  _ request: TestRequest, _ path: PathMatcher, _ rule: RuleSource, port: UInt16 = 80,
  kind: SocketKind = .http, capacity: Int = 512
) throws -> String? {
  let source = table([EntrySource(path: path, rule: 0)], rules: [rule], port: port, kind: kind)
  let loaded = try LoadedImage(source)
  let room = UnsafeMutablePointer<UInt8>.allocate(capacity: 512)
  defer { unsafe room.deallocate() }
  return loaded.withImage { image in
    unsafe request.withHead { head in
      let answer = unsafe image.lookup(socket: 0, head: head)
      guard answer.outcome == .matched else { return "no match" }
      let rule = image.rule(answer.rule)
      let count =
        rule.action == .redirect
        ? unsafe image.redirectLocation(answer, rule, head, into: room, capacity: capacity)
        : unsafe image.rewrittenTarget(answer, rule, head, into: room, capacity: capacity)
      return count < 0 ? nil : unsafe String(decoding: Bytes(start: room, count: count))
    }
  }
}

private func rewrite(_ path: PathRewrite?) -> RuleSource {
  RuleSource(provenance: "r", action: .forward([]), rewrite: RewriteSource(path: path))
}

struct RewriteTests {
  /// Request path, prefix, replacement, result: the table of Gateway API's `replacePrefixMatch`, and its
  /// neighbours.
  @Test(arguments: [
    ("/foo/bar", "/foo", "/xyz", "/xyz/bar"), ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"), ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
    ("/foo", "/foo", "/xyz", "/xyz"), ("/foo/", "/foo", "/xyz", "/xyz/"),
    ("/foo/bar", "/foo", "", "/bar"), ("/foo/", "/foo", "", "/"), ("/foo", "/foo", "", "/"),
    ("/foo/", "/foo", "/", "/"), ("/foo", "/foo", "/", "/"), ("/foo/bar", "/foo", "/", "/bar"),
    ("/bar", "/", "/xyz", "/xyz/bar"), ("/", "/", "/xyz", "/xyz/"), ("/", "/", "/", "/"),
    ("/foo//bar", "/foo", "/xyz", "/xyz//bar"), ("/foo/bar?a=1", "/foo", "/xyz", "/xyz/bar?a=1"),
    ("/foo?", "/foo", "/", "/?"), ("/foo/bar", "/foo", "xyz", "/xyz/bar"),
  ]) func segmentPrefix(path: String, prefix: String, replacement: String, result: String) throws {
    let request = TestRequest(target: path)
    let rule = rewrite(.replaceSegmentPrefix(replacement))
    #expect(try written(request, .segmentPrefix(prefix), rule) == result)
  }

  /// Istio: plain bytes of the prefix; the whole path under exact and regex.
  @Test(arguments: [
    ("/foo/bar", PathMatcher.stringPrefix("/foo"), "/xyz", "/xyz/bar"),
    ("/foobar?q", .stringPrefix("/foo"), "/xyz", "/xyzbar?q"),
    ("/foo/bar", .stringPrefix("/foo/"), "/xyz", "/xyzbar"),
    ("/foo/bar", .stringPrefix("/foo"), "/", "//bar"), ("/foo/bar", .stringPrefix("/foo/"), "/", "/bar"),
    ("/foo", .stringPrefix("/foo"), "", "/"), ("/bar", .stringPrefix("/"), "/new", "/newbar"),
    ("/foo/bar", .exact("/foo/bar"), "/xyz", "/xyz"), ("/foo/bar?q=1", .regex("/foo.*"), "/x", "/x?q=1"),
  ]) func stringPrefix(path: String, matcher: PathMatcher, replacement: String, result: String) throws {
    let rule = rewrite(.replaceStringPrefix(replacement))
    #expect(try written(TestRequest(target: path), matcher, rule) == result)
  }

  @Test(arguments: [
    ("/foo/bar?q=1", "/xyz", "/xyz?q=1"), ("/foo", "", "/"), ("/foo", "xyz", "/xyz"),
    ("/foo?q=1", "/xyz?own", "/xyz?own"), ("/foo", "/xyz/", "/xyz/"),
  ]) func wholePath(path: String, replacement: String, result: String) throws {
    let rule = rewrite(.replaceFull(replacement))
    #expect(try written(TestRequest(target: path), .segmentPrefix("/foo"), rule) == result)
  }

  @Test func withoutRewriteTheTargetStays() throws {
    #expect(try written(TestRequest(target: "/a/?x=%2F&&"), .any, rewrite(nil)) == "/a/?x=%2F&&")
    #expect(try written(TestRequest(target: "*"), .any, rewrite(.replaceFull("/x"))) == "*")
  }

  @Test func whatDoesNotFitIsNotCut() throws {
    let rule = rewrite(.replaceFull("/0123456789"))
    let request = TestRequest(target: "/?abc")
    #expect(try written(request, .any, rule, capacity: 15) == "/0123456789?abc")
    for capacity in 0..<15 { #expect(try written(request, .any, rule, capacity: capacity) == nil) }
  }
}

struct RedirectTests {
  struct Case: CustomTestStringConvertible, Sendable {
    var redirect: RedirectSource
    var socket: (port: UInt16, kind: SocketKind) = (80, .http)
    var authority = "example.com"
    var target = "/foo/bar?q=1"
    var location: String
    var testDescription: String { location }
  }

  static let cases: [Case] = [
    // Gateway API: scheme given, port by scheme; not given, the listener's; well-known ones not printed.
    Case(redirect: RedirectSource(scheme: "https"), location: "https://example.com/foo/bar?q=1"),
    Case(
      redirect: RedirectSource(scheme: "https"), socket: (8080, .http), authority: "example.com:8080",
      location: "https://example.com/foo/bar?q=1"),
    Case(
      redirect: RedirectSource(), socket: (8080, .http), location: "http://example.com:8080/foo/bar?q=1"),
    Case(redirect: RedirectSource(), socket: (80, .http), location: "http://example.com/foo/bar?q=1"),
    Case(redirect: RedirectSource(), socket: (443, .https), location: "https://example.com/foo/bar?q=1"),
    Case(redirect: RedirectSource(), socket: (443, .http), location: "http://example.com:443/foo/bar?q=1"),
    Case(
      redirect: RedirectSource(scheme: "https", port: .number(443)),
      location: "https://example.com/foo/bar?q=1"),
    Case(
      redirect: RedirectSource(scheme: "http", port: .number(443)),
      location: "http://example.com:443/foo/bar?q=1"),
    Case(
      redirect: RedirectSource(port: .number(8443)), socket: (443, .https),
      location: "https://example.com:8443/foo/bar?q=1"),
    Case(
      redirect: RedirectSource(host: "other.test"), socket: (8080, .http), authority: "Example.com:9",
      location: "http://other.test:8080/foo/bar?q=1"),
    Case(redirect: RedirectSource(), authority: "[::1]:9", location: "http://[::1]/foo/bar?q=1"),
    Case(redirect: RedirectSource(), authority: "", location: "/foo/bar?q=1"),
    // Istio: the port of the request, or the default one of the scheme.
    Case(
      redirect: RedirectSource(port: .fromRequest), authority: "example.com:8080",
      location: "http://example.com:8080/foo/bar?q=1"),
    Case(
      redirect: RedirectSource(scheme: "https", port: .fromRequest), authority: "example.com:80",
      location: "https://example.com/foo/bar?q=1"),
    Case(
      redirect: RedirectSource(port: .schemeDefault), socket: (8080, .http),
      location: "http://example.com/foo/bar?q=1"),
    // Paths.
    Case(
      redirect: RedirectSource(path: .replaceSegmentPrefix("/new/")),
      location: "http://example.com/new/bar?q=1"),
    Case(redirect: RedirectSource(path: .replaceFull("/login")), location: "http://example.com/login?q=1"),
    Case(
      redirect: RedirectSource(path: .replaceFull("/login?own=1")),
      location: "http://example.com/login?own=1"),
    Case(
      redirect: RedirectSource(path: .replaceFull("/app/#/login")),
      location: "http://example.com/app/?q=1#/login"),
    Case(
      redirect: RedirectSource(path: .replaceSegmentPrefix("/")), target: "/foo",
      location: "http://example.com/"),
  ]

  @Test(arguments: cases) func location(of redirect: Case) throws {
    let rule = RuleSource(provenance: "r", action: .redirect(redirect.redirect))
    let scheme: Scheme = redirect.socket.kind == .https ? .https : .http
    let request = TestRequest(scheme: scheme, authority: redirect.authority, target: redirect.target)
    let location = try written(
      request, .segmentPrefix("/foo"), rule, port: redirect.socket.port, kind: redirect.socket.kind)
    #expect(location == redirect.location)
  }
}
