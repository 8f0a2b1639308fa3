"""RFC 9110, section 15.2: 1xx responses of a backend."""

from harness.raw import CLOSE

from . import BROKEN_OFF, FLOOD, HOST, head, passes, spoils

H = f"Host: {HOST}"
OK = head("HTTP/1.1 200 OK", "Content-Length: 5") + b"hello"
CONTINUE = head("HTTP/1.1 100 Continue")
HINTS = head("HTTP/1.1 103 Early Hints", "Link: </a>")

CASES = [
    passes("continue", "9110-15.2.1", CONTINUE + OK),
    passes("continue-for-an-expectation", "9110-10.1.1", CONTINUE + OK,
           request=head("POST /case HTTP/1.1", H, "Expect: 100-continue", "Content-Length: 5") + b"hello"),
    passes("processing", "2518-10.1", head("HTTP/1.1 102 Processing") + OK),
    passes("hints", "8297-2", HINTS + OK),
    passes("unknown", "9110-15.2", head("HTTP/1.1 199 x", "A: b") + OK),
    passes("several", "9110-15.2", HINTS * 3 + CONTINUE + OK),
    passes("in-pieces", "9110-15.2", (HINTS[:10], HINTS[10:], OK[:4], OK[4:]), HINTS + OK),
    passes("most-that-are-passed-on", "9110-15.2", HINTS * 16 + OK),
    spoils("one-more", "9110-15.2", HINTS * 17 + OK, HINTS * 16 + FLOOD),
    spoils("flood", "9110-15.2", HINTS * 1000, HINTS * 16 + FLOOD),
    passes("for-http10", "9110-15.2", HINTS + OK,
           head("HTTP/1.1 200 OK", "Content-Length: 5", "connection: close") + b"hello",
           request=head("GET /case HTTP/1.0", H), lives=False),
    spoils("flood-for-http10", "9110-15.2", HINTS * 1000, FLOOD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
           request=head("GET /case HTTP/1.0", H), lives=False),
    passes("with-length", "9110-8.6", head("HTTP/1.1 103 Early Hints", "Content-Length: 5") + OK,
           head("HTTP/1.1 103 Early Hints") + OK, dropped=False),
    passes("connection-fields-dropped", "9110-7.6.1",
           head("HTTP/1.1 103 Early Hints", "Connection: A", "A: b", "C: d") + OK,
           head("HTTP/1.1 103 Early Hints", "C: d") + OK),
    spoils("with-chunks", "9112-6.1", head("HTTP/1.1 103 Early Hints", "Transfer-Encoding: chunked") + OK),
    spoils("malformed-behind", "9112-4", HINTS + b"garbage\r\n\r\n",
           HINTS + head("HTTP/1.1 502 Bad Gateway", "content-type: text/plain; charset=utf-8", "content-length: 38")
           + b"the backend sent a malformed response\n"),
    spoils("end-behind", "9112-8", (HINTS, CLOSE), HINTS + BROKEN_OFF),
]
