"""RFC 3986, sections 5.2.4 and 6.2.2: what is routed on is what is forwarded."""

from . import HOST, accept, get, head, refuse

H = f"Host: {HOST}"


def path(name, target, forwarded=None, section="3986-6.2.2"):
    return accept(name, section, head(f"GET {target} HTTP/1.1", H), get(target if forwarded is None else forwarded))


def bad(name, target, section="3986-6.2.2"):
    return refuse(name, section, head(f"GET {target} HTTP/1.1", H))


CASES = [
    path("plain", "/a/b/c"),
    path("double-slash", "/a//b"),
    path("triple-slash", "///"),
    path("trailing-slash", "/a/"),
    path("letter-case", "/A%2fB"),
    path("parameters", "/a;v=1/b;w"),
    path("sub-delimiters", "/!$&'()*+,;=:@"),
    path("quotes-and-braces", "/\"<>^`{|}[]"),
    path("dot-segment", "/a/./b", "/a/b", "3986-5.2.4"),
    path("dot-at-the-end", "/a/.", "/a/", "3986-5.2.4"),
    path("parent", "/a/../b", "/b", "3986-5.2.4"),
    path("parent-at-the-end", "/a/b/..", "/a/", "3986-5.2.4"),
    path("parent-of-a-double-slash", "/a//../b", "/a/b", "3986-5.2.4"),
    path("two-parents", "/a/b/../../c", "/c", "3986-5.2.4"),
    path("encoded-dot", "/a/%2e/b", "/a/b", "3986-6.2.2.3"),
    path("encoded-parent", "/a/%2e%2e/b", "/b", "3986-6.2.2.3"),
    path("encoded-parent-upper", "/a/%2E%2E/b", "/b", "3986-6.2.2.3"),
    path("half-encoded-parent", "/a/.%2e/b", "/b", "3986-6.2.2.3"),
    path("dots-in-names", "/a.b/..c/d../...", section="3986-5.2.4"),
    path("unreserved-decoded", "/%61%7e%2D", "/a~-", "3986-6.2.2.2"),
    path("reserved-kept", "/%3a%3F%23", section="3986-6.2.2.2"),
    path("space-kept", "/a%20b", section="3986-2.1"),
    path("utf8-kept", "/%C3%A4", section="3986-2.5"),
    path("latin1-kept", "/%E4%F6", section="3986-2.5"),
    path("double-encoding-kept", "/%252e%252e/", section="3986-2.4"),
    path("double-encoded-nul-kept", "/%2500", section="3986-2.4"),
    path("encoded-slash-kept", "/a%2Fb", section="3986-2.2"),
    path("encoded-backslash-kept", "/a%5Cb", section="3986-2.2"),
    path("encoded-crlf-kept", "/a%0d%0aX:%20y", section="3986-2.1"),
    path("query-untouched", "/a/../b?x=/../%2e%00", "/b?x=/../%2e%00", "3986-3.4"),
    path("empty-query", "/a/./?", "/a/?", "3986-3.4"),
    path("query-high-bytes", "/?\xe4", section="3986-3.4"),
    bad("above-root", "/..", "3986-5.2.4"),
    bad("above-root-and-down", "/../etc/passwd", "3986-5.2.4"),
    bad("above-root-later", "/a/../../b", "3986-5.2.4"),
    bad("above-root-encoded", "/%2e%2e/a", "3986-5.2.4"),
    bad("above-root-behind-dot", "/./../a", "3986-5.2.4"),
    bad("nul", "/a%00b", "3986-7.3"),
    bad("nul-at-the-end", "/a.php%00.jpg", "3986-7.3"),
    bad("percent-alone", "/%", "3986-2.1"),
    bad("percent-one-digit", "/%a", "3986-2.1"),
    bad("percent-no-hexadecimal", "/%zz", "3986-2.1"),
    bad("percent-half-hexadecimal", "/%2z", "3986-2.1"),
    bad("percent-u", "/%u002e", "3986-2.1"),
    bad("percent-percent", "/%%32%65", "3986-2.1"),
    bad("overlong-dot", "/%c0%ae%c0%ae/", "3629-3"),
    bad("overlong-slash", "/a%c0%afb", "3629-3"),
    bad("overlong-slash-other", "/a%C1%9Cb", "3629-3"),
    bad("overlong-three-bytes", "/a%e0%80%afb", "3629-3"),
    bad("overlong-four-bytes", "/a%f0%80%80%afb", "3629-3"),
    bad("overlong-nul", "/a%c0%80b", "3629-3"),
    bad("parent-behind-encoded-slash", "/a/..%2fb", "3986-7.3"),
    bad("parent-before-encoded-slash", "/a%2f..", "3986-7.3"),
    bad("parent-between-encoded-slashes", "/a%2f..%2fb", "3986-7.3"),
    bad("parent-behind-encoded-backslash", "/a/..%5cb", "3986-7.3"),
    bad("encoded-parent-behind-encoded-slash", "/a%2f%2e%2e", "3986-7.3"),
    bad("dot-behind-encoded-slash", "/a%2f.", "3986-7.3"),
    bad("parent-with-parameter", "/a/..;/b", "3986-7.3"),
    bad("parent-with-parameter-value", "/a/..;x=y/b", "3986-7.3"),
    bad("dot-with-parameter", "/a/.;/b", "3986-7.3"),
]
