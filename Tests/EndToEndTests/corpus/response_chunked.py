"""RFC 9112, section 7.1: the chunked coding from a backend. What was sent before the fault is out; then the client's
connection ends without the last chunk, so that nobody takes the body for whole (section 8)."""

from harness.raw import CLOSE, PAUSE

from . import HOST, head, passes, spoils

H = f"Host: {HOST}"
HEAD = head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")
# Sluice frames its body itself and says so in its own words.
SAID = head("HTTP/1.1 200 OK", "transfer-encoding: chunked")
HELLO = b"5\r\nhello\r\n"
END = b"0\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


def good(name, body, forwarded=None, section="9112-7.1", **more):
    return passes(name, section, HEAD + body, SAID + (body if forwarded is None else forwarded), **more)


def bad(name, body, before=b"", section="9112-7.1"):
    return spoils(name, section, HEAD + body, SAID + before, lives=False)


CASES = [
    good("one", HELLO + END),
    good("empty", END),
    good("two", HELLO + b"1\r\n!\r\n" + END),
    good("upper-case", b"A\r\n0123456789\r\n" + END, b"a\r\n0123456789\r\n" + END),
    good("leading-zeros", b"005\r\nhello\r\n" + END, HELLO + END),
    good("extension", b"5;a=b\r\nhello\r\n" + END, HELLO + END, "9112-7.1.1"),
    good("trailer", HELLO + b"0\r\nA: 1\r\n\r\n", section="9112-7.1.2"),
    good("trailers-dropped", HELLO + b"0\r\nSet-Cookie: a=b\r\nConnection: x\r\nContent-Type: a/b\r\nA: 1\r\n\r\n",
         HELLO + b"0\r\nA: 1\r\n\r\n", "9110-6.5.1"),
    good("second-response-at-once", HELLO + END + EVIL, HELLO + END, "9112-9.2", dropped=True),
    good("surplus-crlf", HELLO + END + b"\r\n", HELLO + END, "9112-9.2", dropped=True),
    passes("for-http10", "9112-7.1", HEAD + HELLO + END, head("HTTP/1.1 200 OK", "connection: close") + b"hello",
           request=head("GET /case HTTP/1.0", H), lives=False),
    passes("for-http10-kept-alive", "9112-7.1", HEAD + HELLO + END,
           head("HTTP/1.1 200 OK", "connection: close") + b"hello",
           request=head("GET /case HTTP/1.0", H, "Connection: keep-alive"), lives=False),
    bad("size-word", b"z\r\nhello\r\n" + END),
    bad("size-empty", b"\r\nhello\r\n" + END),
    bad("size-space-behind", b"5 \r\nhello\r\n" + END),
    bad("size-prefix", b"0x5\r\nhello\r\n" + END),
    bad("size-minus", b"-5\r\nhello\r\n" + END),
    bad("size-overflow", b"ffffffffffffffff\r\nhello\r\n" + END),
    bad("size-wraps", b"10000000000000005\r\nhello\r\n" + END),
    bad("size-bare-lf", b"5\nhello\r\n" + END, section="9112-2.2"),
    bad("data-too-long", b"5\r\nhello!\r\n" + END, HELLO),
    bad("data-bare-lf-behind", b"5\r\nhello\n" + END, HELLO, "9112-2.2"),
    bad("second-size-bad", HELLO + b"zz\r\n", HELLO),
    bad("response-for-a-chunk", HELLO + EVIL, HELLO),
    bad("extension-lf", b"5;a\nb\r\nhello\r\n" + END, section="9112-7.1.1"),
    bad("extension-cr", b"5;a\rb\r\nhello\r\n" + END, section="9112-7.1.1"),
    bad("extension-nul", b"5;a\0\r\nhello\r\n" + END, section="9112-7.1.1"),
    bad("extension-too-long", b"5;" + b"x" * 2000 + b"\r\nhello\r\n" + END, section="9112-7.1.1"),
    bad("trailer-content-length", HELLO + b"0\r\nContent-Length: 5\r\n\r\n", HELLO, "9110-6.5.1"),
    bad("trailer-transfer-encoding", HELLO + b"0\r\nTransfer-Encoding: chunked\r\n\r\n", HELLO, "9110-6.5.1"),
    bad("trailer-status-line", HELLO + b"0\r\nHTTP/1.1 200 OK\r\n\r\n", HELLO, "9112-5"),
    bad("trailer-folded", HELLO + b"0\r\nA: 1\r\n 2\r\n\r\n", HELLO, "9112-5.2"),
    bad("trailer-nul", HELLO + b"0\r\nA: \0\r\n\r\n", HELLO, "9110-5.5"),
    bad("trailer-bare-lf", HELLO + b"0\r\nA: 1\n\r\n", HELLO, "9112-2.2"),
    spoils("broken-off", "9112-8", (HEAD + HELLO, CLOSE), SAID + HELLO, lives=False),
    spoils("broken-off-in-a-chunk", "9112-8", (HEAD + HELLO + b"50\r\nhel", CLOSE), SAID + HELLO + b"3\r\nhel\r\n",
           lives=False),
    spoils("broken-off-before-the-last-crlf", "9112-8", (HEAD + HELLO + b"0\r\n", CLOSE), SAID + HELLO, lives=False),
    spoils("broken-off-before-a-trailer-ends", "9112-8",
           (HEAD + HELLO + b"0\r\nA: 1\r\n", CLOSE), SAID + HELLO, lives=False),
    spoils("broken-off-for-http10", "9112-8", (HEAD + HELLO, PAUSE, CLOSE),
           head("HTTP/1.1 200 OK", "connection: close") + b"hello", request=head("GET /case HTTP/1.0", H),
           lives=False, is_reset=True),
]
