"""RFC 9112, sections 2.3, 6.1 and 9.3, and appendix C.2: clients of HTTP/1.0."""

from . import HOST, accept, get, head, refuse, seen

H = f"Host: {HOST}"


def ends(name, data, backend, section="9112-C.2.2", **more):
    return accept(name, section, data, backend, lives=False, **more)


CASES = [
    ends("plain", head("GET / HTTP/1.0", H), get("/")),
    ends("without-host", head("GET / HTTP/1.0"), seen("GET / HTTP/1.1", "host: ", host=""), "9112-3.2"),
    ends("body", head("POST / HTTP/1.0", H, "Content-Length: 5") + b"hello",
         seen("POST / HTTP/1.1", H, "Content-Length: 5", body=b"hello")),
    ends("head", head("HEAD / HTTP/1.0", H), seen("HEAD / HTTP/1.1", H), is_head=True),
    ends("absolute-form-without-host", head("GET http://h.test/x HTTP/1.0"),
         seen("GET /x HTTP/1.1", f"host: {HOST}"), "9112-3.2.2"),
    ends("absolute-form-with-host", head("GET http://h.test/x HTTP/1.0", H), get("/x"), "9112-3.2.2"),
    ends("close", head("GET / HTTP/1.0", H, "Connection: close"), get("/")),
    ends("then-a-request", head("GET / HTTP/1.0", H) + head("GET /evil HTTP/1.0", H), get("/"), "9112-9.3"),
    accept("keep-alive", "9112-9.3", head("GET / HTTP/1.0", H, "Connection: keep-alive"), get("/"),
           contains=b"connection: keep-alive\r\n"),
    ends("keep-alive-and-close", head("GET / HTTP/1.0", H, "Connection: keep-alive, close"), get("/"), "9112-9.3"),
    refuse("transfer-encoding", "9112-6.1", head("POST / HTTP/1.0", H, "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    refuse("transfer-encoding-and-length", "9112-6.1",
           head("POST / HTTP/1.0", H, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    refuse("transfer-encoding-kept-alive", "9112-6.1",
           head("POST / HTTP/1.0", H, "Connection: keep-alive", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    refuse("two-hosts", "9112-3.2", head("GET / HTTP/1.0", H, H)),
    refuse("bad-host", "9112-3.2", head("GET / HTTP/1.0", "Host: a b")),
    refuse("bare-lf", "9112-2.2", b"GET / HTTP/1.0\n\n"),
    refuse("absolute-form-other-host", "9112-3.2.2", head("GET http://other.test/ HTTP/1.0", H)),
]
