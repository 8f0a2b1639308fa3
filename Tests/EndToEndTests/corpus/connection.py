"""RFC 9110, section 7.6.1, and RFC 9112, section 9: fields of the connection."""

from . import HOST, accept, accept_get, get, head, refuse, refuse_get

H = f"Host: {HOST}"


def ends(name, section, *lines, kept=()):
    return accept(name, section, head("GET / HTTP/1.1", H, *lines), get("/", *kept), lives=False)


CASES = [
    ends("close", "9112-9.6", "Connection: close"),
    ends("close-other-case", "9112-9.6", "connection: CLOSE"),
    ends("close-in-a-list", "9112-9.6", "Connection: x, close"),
    ends("close-in-the-second-line", "9112-9.6", "Connection: keep-alive", "Connection: close"),
    ends("close-beside-keep-alive", "9112-9.3", "Connection: keep-alive, close"),
    accept("close-then-a-request", "9112-9.6",
           head("GET / HTTP/1.1", H, "Connection: close") + head("GET /evil HTTP/1.1", H), get("/"), lives=False),
    accept_get("keep-alive", "9112-9.3", "Connection: keep-alive"),
    accept_get("keep-alive-field", "9110-7.6.1", "Keep-Alive: timeout=5"),
    accept_get("proxy-connection", "9110-7.6.1", "Proxy-Connection: keep-alive"),
    accept_get("proxy-connection-close", "9110-7.6.1", "Proxy-Connection: close"),
    accept_get("te", "9110-10.1.4", "TE: trailers", "Connection: te"),
    accept_get("te-gzip", "9110-10.1.4", "TE: gzip;q=0.5, trailers"),
    accept_get("listed-name", "9110-7.6.1", "X-Secret: 1", "Connection: X-Secret", "Y: 2", passed=["Y: 2"]),
    accept_get("listed-name-other-case", "9110-7.6.1", "X-SECRET: 1", "Connection: x-secret"),
    accept_get("listed-name-before-and-behind", "9110-7.6.1", "A: 1", "Connection: a", "A: 2"),
    accept_get("listed-names", "9110-7.6.1", "A: 1", "B: 2", "C: 3", "Connection: a, c", passed=["B: 2"]),
    accept_get("listed-name-in-two-lines", "9110-7.6.1", "A: 1", "B: 2", "Connection: a", "Connection: b"),
    accept_get("listed-but-absent", "9110-7.6.1", "Connection: nothing", "B: 2", passed=["B: 2"]),
    accept_get("listed-request-id", "9110-7.6.1", "X-Request-ID: mine", "Connection: x-request-id"),
    accept_get("listed-forwarded-for", "9110-7.6.1", "X-Forwarded-For: 1.2.3.4", "Connection: x-forwarded-for"),
    accept_get("listed-cookie", "9110-7.6.1", "Cookie: a=b", "Connection: cookie"),
    accept_get("empty-list", "9110-5.6.1", "Connection:"),
    accept_get("empty-members", "9110-5.6.1", "Connection: ,, a ,", "A: 1"),
    refuse_get("lists-host", "9110-7.6.1", "Connection: host"),
    refuse_get("lists-content-length", "9110-7.6.1", "Connection: content-length"),
    refuse_get("lists-transfer-encoding", "9110-7.6.1", "Connection: close, Transfer-Encoding"),
    refuse_get("no-token", "9110-7.6.1", "Connection: a b"),
    refuse_get("quoted", "9110-7.6.1", 'Connection: "close"'),
    refuse_get("with-parameter", "9110-7.6.1", "Connection: close;x"),
    refuse_get("lists-too-many", "9110-7.6.1", "Connection: " + ", ".join(f"n{number}" for number in range(20))),
    refuse("nul", "9110-5.5", head("GET / HTTP/1.1", H, "Connection: close\0")),
]
