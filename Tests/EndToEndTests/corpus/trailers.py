"""RFC 9110, section 6.5, and RFC 9112, section 7.1.2: trailers of a request."""

from . import HOST, accept, head, refuse, seen

H = f"Host: {HOST}"
POST = "POST / HTTP/1.1"
HEAD = head(POST, H, "Transfer-Encoding: chunked")
BEGUN = seen(POST, H, chunked=True)
HELLO = b"5\r\nhello\r\n"


def trailer(*lines):
    return HELLO + b"0\r\n" + head(*lines)


def passed(name, *lines, kept=None, section="9110-6.5.1"):
    return accept(name, section, HEAD + trailer(*lines), BEGUN + trailer(*(lines if kept is None else kept)))


def bad(name, *lines, section="9110-6.5.1", status=400):
    return refuse(name, section, HEAD + trailer(*lines), status, BEGUN + HELLO)


CASES = [
    passed("one", "X-Checksum: abc", section="9112-7.1.2"),
    passed("two", "A: 1", "B: 2", section="9112-7.1.2"),
    passed("empty-value", "A:", section="9112-7.1.2"),
    accept("announced", "9110-6.6.2", head(POST, H, "Trailer: A", "Transfer-Encoding: chunked") + trailer("A: 1"),
           seen(POST, H, "Trailer: A", chunked=True) + trailer("A: 1")),
    passed("connection-fields-dropped", "Connection: close", "Keep-Alive: 5", "A: 1", "TE: trailers",
           "Proxy-Connection: x", "Upgrade: y", kept=["A: 1"]),
    passed("authentication-dropped", "Authorization: Basic x", "Proxy-Authorization: y", "Cookie: a=b", "A: 1",
           kept=["A: 1"]),
    passed("claims-dropped", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "Forwarded: for=x",
           "X-Real-IP: 1.2.3.4", "X-Forwarded-Prefix: /", "X-Forwarded-Client-Cert: x", "X-Request-ID: y", "A: 1",
           kept=["A: 1"]),
    passed("claims-look-alike-dropped", "X_Forwarded_For: 1.2.3.4", "A: 1", kept=["A: 1"]),
    passed("modifiers-dropped", "Expect: 100-continue", "Cache-Control: no-store", "Content-Type: a/b",
           "Content-Encoding: gzip", "Trailer: A", kept=[]),
    bad("content-length", "Content-Length: 5"),
    bad("content-length-behind", "A: 1", "content-length: 5"),
    bad("transfer-encoding", "Transfer-Encoding: chunked"),
    bad("host", "Host: other.test"),
    bad("content-length-look-alike", "Content_Length: 5"),
    bad("space-before-colon", "A : 1", section="9112-5.1"),
    bad("folded", "A: 1", " 2", section="9112-5.2"),
    bad("space-before-first", " A: 1", section="9112-5.2"),
    bad("no-colon", "A", section="9112-5"),
    bad("request-line", "GET /evil HTTP/1.1", section="9112-5"),
    bad("bare-lf", "A: 1\nB: 2", section="9112-2.2"),
    bad("bare-cr", "A: 1\rB: 2", section="9112-2.2"),
    bad("nul", "A: \0", section="9110-5.5"),
    bad("control-byte", "A: \x02", section="9110-5.5"),
    bad("bad-name", "A(): 1", section="9110-5.1"),
    bad("too-many", *[f"A{number}: 1" for number in range(200)], section="6585-5", status=431),
    bad("too-large", "A: " + "x" * 20_000, section="6585-5", status=431),
]
