"""RFC 9110, section 10.1.1: Expect and 100 (Continue); section 7.5: answers that come before the body."""

from . import HOST, accept, get, head, refuse, seen

H = f"Host: {HOST}"
POST = "POST / HTTP/1.1"
EXPECT = "Expect: 100-continue"


def bad(name, value, section="9110-10.1.1"):
    return refuse(name, section, head(POST, H, f"Expect: {value}", "Content-Length: 5"), 417)


CASES = [
    accept("body-at-once", "9110-10.1.1", head(POST, H, EXPECT, "Content-Length: 5") + b"hello",
           seen(POST, H, EXPECT, "Content-Length: 5", body=b"hello")),
    accept("other-case", "9110-10.1.1", head(POST, H, "expect: 100-CONTINUE", "Content-Length: 5") + b"hello",
           seen(POST, H, "expect: 100-CONTINUE", "Content-Length: 5", body=b"hello")),
    accept("chunked", "9110-10.1.1", head(POST, H, EXPECT, "Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n",
           seen(POST, H, EXPECT, chunked=True, body=b"1\r\nx\r\n0\r\n\r\n")),
    accept("without-a-body", "9110-10.1.1", head("GET / HTTP/1.1", H, EXPECT), get("/")),
    accept("with-an-empty-body", "9110-10.1.1", head(POST, H, EXPECT, "Content-Length: 0"),
           seen(POST, H, "Content-Length: 0")),
    accept("http10", "9110-10.1.1", head("POST / HTTP/1.0", H, EXPECT, "Content-Length: 5") + b"hello",
           seen(POST, H, "Content-Length: 5", body=b"hello"), lives=False),
    bad("unknown", "200-ok"),
    bad("empty", ""),
    bad("obfuscated-word-before", "y 100-continue"),
    bad("obfuscated-word-behind", "100-continue x"),
    bad("list", "100-continue, 100-continue"),
    bad("list-with-other", "100-continue, x"),
    bad("parameter", "100-continue;q=1"),
    bad("quoted", '"100-continue"'),
    bad("almost", "100-continued"),
    refuse("twice", "9110-10.1.1", head(POST, H, EXPECT, EXPECT, "Content-Length: 5"), 417),
    refuse("folded", "9112-5.2", head(POST, H, "Expect:", " 100-continue", "Content-Length: 5"), 417),
    refuse("control-byte", "9110-5.5", head(POST, H, "Expect: 100-continue\x0b", "Content-Length: 5")),
    # The backend answers before the body has come: what the client sends later belongs to no request.
    accept("early-answer", "9110-7.5", head("POST /early HTTP/1.1", H, "Content-Length: 37"),
           seen("POST /early HTTP/1.1", H, "Content-Length: 37"), lives=False, says_close=False),
    accept("early-answer-chunked", "9110-7.5", head("POST /early HTTP/1.1", H, "Transfer-Encoding: chunked"),
           seen("POST /early HTTP/1.1", H, chunked=True), lives=False, says_close=False),
    accept("early-answer-with-expect", "9110-10.1.1", head("POST /early HTTP/1.1", H, EXPECT, "Content-Length: 5"),
           seen("POST /early HTTP/1.1", H, EXPECT, "Content-Length: 5"), lives=False, says_close=False),
    accept("early-answer-then-a-request-for-a-body", "9112-9.3",
           [head("POST /early HTTP/1.1", H, "Content-Length: 500"), head("GET /evil HTTP/1.1", H)],
           seen("POST /early HTTP/1.1", H, "Content-Length: 500"), lives=False, says_close=False, waits=True),
    refuse("our-answer-before-the-body", "9110-10.1.1",
           head("POST /%00 HTTP/1.1", H, EXPECT, "Content-Length: 37") + head("GET /evil HTTP/1.1", H)),
]
