"""RFC 9112, section 9.3.2: requests that follow each other, and what follows an error."""

from . import HOST, accept, get, head, refuse, seen

H = f"Host: {HOST}"
POST = "POST / HTTP/1.1"


def ask(target, *lines):
    return head(f"GET {target} HTTP/1.1", H, *lines)


EVIL = ask("/evil")

CASES = [
    accept("two", "9112-9.3.2", ask("/a") + ask("/b"), get("/a") + get("/b"), (200, 200), contains=b"GET /b"),
    accept("five", "9112-9.3.2", b"".join(ask(f"/{number}") for number in range(5)),
           b"".join(get(f"/{number}") for number in range(5)), (200,) * 5, contains=b"GET /4"),
    accept("two-and-a-half", "9112-9.3.2", [ask("/a") + ask("/b")[:10], ask("/b")[10:]], get("/a") + get("/b"),
           (200, 200)),
    accept("empty-line-between", "9112-2.2", ask("/a") + b"\r\n" + ask("/b"), get("/a") + get("/b"), (200, 200)),
    accept("behind-a-length", "9112-6.3", head(POST, H, "Content-Length: 5") + b"hello" + ask("/b"),
           seen(POST, H, "Content-Length: 5", body=b"hello") + get("/b"), (200, 200), contains=b"GET /b"),
    accept("behind-chunks", "9112-7.1",
           head(POST, H, "Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n" + ask("/b"),
           seen(POST, H, chunked=True, body=b"1\r\nx\r\n0\r\n\r\n") + get("/b"), (200, 200), contains=b"GET /b"),
    accept("behind-trailers", "9112-7.1.2",
           head(POST, H, "Transfer-Encoding: chunked") + b"0\r\nA: 1\r\n\r\n" + ask("/b"),
           seen(POST, H, chunked=True, body=b"0\r\nA: 1\r\n\r\n") + get("/b"), (200, 200), contains=b"GET /b"),
    accept("zero-length-then-a-request", "9112-6.3", head(POST, H, "Content-Length: 0") + ask("/b"),
           seen(POST, H, "Content-Length: 0") + get("/b"), (200, 200), contains=b"GET /b"),
    accept("get-without-length-then-bytes-are-a-request", "9112-6.3", ask("/a") + ask("/b"),
           get("/a") + get("/b"), (200, 200)),
    accept("behind-head", "9110-9.3.2", ask("/a") + head("HEAD /b HTTP/1.1", H),
           get("/a") + seen("HEAD /b HTTP/1.1", H), (200, 200), is_head=True),
    refuse("behind-a-good-one-a-bad-one", "9112-2.2", ask("/a") + b"\0" + EVIL, 400, get("/a"), (200,)),
    refuse("behind-a-good-one-garbage", "9112-2.2", ask("/a") + b"xyz\r\n\r\n", 400, get("/a"), (200,)),
    refuse("surplus-of-a-body", "9112-6.3", head(POST, H, "Content-Length: 5") + b"hello\0" + ask("/b"), 400,
           seen(POST, H, "Content-Length: 5", body=b"hello"), (200,)),
    refuse("behind-a-bad-one", "9112-9.3", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n" + EVIL),
    refuse("behind-a-bad-length", "9112-6.3", head(POST, H, "Content-Length: x") + EVIL),
    refuse("behind-length-and-chunked", "9112-6.3",
           head(POST, H, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + EVIL),
    refuse("behind-a-bad-chunk", "9112-7.1", head(POST, H, "Transfer-Encoding: chunked") + b"x\r\n" + EVIL, 400,
           seen(POST, H, chunked=True)),
    refuse("behind-an-expectation", "9110-10.1.1", head(POST, H, "Expect: x", "Content-Length: 5") + EVIL, 417),
    refuse("behind-connect", "9110-9.3.6", b"CONNECT h.test:80 HTTP/1.1\r\nHost: h.test:80\r\n\r\n" + EVIL, 501),
    refuse("behind-a-bad-path", "3986-6.2.2.3", ask("/..") + EVIL),
    refuse("behind-a-wrong-version", "9112-2.3", b"GET / HTTP/2.0\r\nHost: h.test\r\n\r\n" + EVIL, 505),
]
