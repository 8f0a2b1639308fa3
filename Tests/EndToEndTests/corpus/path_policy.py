"""What a listener may want of paths beyond RFC 3986: annotations of its Gateway, which `test_corpus.py` sets on a
listener for each of the hosts below."""

from . import accept, head, refuse, seen

REJECT, DECODE, MERGE, BOTH = "reject.test", "decode.test", "merge.test", "both.test"


def path(name, host, target, forwarded=None):
    line = f"GET {target if forwarded is None else forwarded} HTTP/1.1"
    return accept(name, "3986-2.2", head(f"GET {target} HTTP/1.1", f"Host: {host}"),
                  seen(line, f"Host: {host}", host=host))


def bad(name, host, target):
    return refuse(name, "3986-2.2", head(f"GET {target} HTTP/1.1", f"Host: {host}"))


CASES = [
    path("reject-other-encodings", REJECT, "/a%20b%252f"),
    path("reject-double-slash", REJECT, "/a//b"),
    path("reject-query", REJECT, "/a?b=%2F"),
    bad("reject-slash", REJECT, "/a%2Fb"),
    bad("reject-slash-lower", REJECT, "/a%2fb"),
    bad("reject-backslash", REJECT, "/a%5Cb"),
    bad("reject-at-the-end", REJECT, "/a%2f"),
    bad("reject-with-parent", REJECT, "/a/..%2fb"),
    path("decode-slash", DECODE, "/a%2Fb", "/a/b"),
    path("decode-backslash", DECODE, "/a%5cb", "/a/b"),
    path("decode-parent-behind", DECODE, "/a/..%2fb", "/b"),
    path("decode-parent-between", DECODE, "/a%2f..%2fb", "/b"),
    path("decode-encoded-parent", DECODE, "/a%2f%2e%2e%5cb", "/b"),
    path("decode-double-slash-stays", DECODE, "/a%2f/b", "/a//b"),
    path("decode-double-encoding-stays", DECODE, "/a%252fb"),
    path("decode-query-untouched", DECODE, "/a%2fb?c=%2f", "/a/b?c=%2f"),
    bad("decode-above-root", DECODE, "/..%2fa"),
    bad("decode-above-root-later", DECODE, "/a%2f..%2f..%2fb"),
    bad("decode-hidden-parameter", DECODE, "/a%2f..;%2fb"),
    bad("decode-nul", DECODE, "/a%2f%00"),
    path("merge-two", MERGE, "/a//b", "/a/b"),
    path("merge-many", MERGE, "////a///b//", "/a/b/"),
    path("merge-keeps-escaped", MERGE, "/a%2f/b"),
    path("merge-parent", MERGE, "/a//../b", "/b"),
    path("merge-query-untouched", MERGE, "/a//b?c=//", "/a/b?c=//"),
    bad("merge-above-root", MERGE, "//..//a"),
    path("both", BOTH, "/a%2f/%5Cb", "/a/b"),
]
