"""RFC 9112, section 6.3, rule 8, and section 8: bodies that end where the connection does."""

from harness.raw import CLOSE, PAUSE, RESET

from . import HOST, head, passes, spoils

H = f"Host: {HOST}"
OK = head("HTTP/1.1 200 OK")
SAID = head("HTTP/1.1 200 OK", "transfer-encoding: chunked")
TEN = head("GET /case HTTP/1.0", H)
CLOSES = head("HTTP/1.1 200 OK", "connection: close")


def closed(name, answer, client, section="9112-6.3", **more):
    return passes(name, section, (*answer, CLOSE), client, dropped=True, **more)


CASES = [
    closed("body", [OK + b"hello"], SAID + b"5\r\nhello\r\n0\r\n\r\n"),
    closed("no-body", [OK], SAID + b"0\r\n\r\n"),
    closed("in-http10", [head("HTTP/1.0 200 OK") + b"hello"], SAID + b"5\r\nhello\r\n0\r\n\r\n"),
    closed("in-http10-that-says-keep-alive", [head("HTTP/1.0 200 OK", "Connection: keep-alive") + b"hello"],
           SAID + b"5\r\nhello\r\n0\r\n\r\n"),
    closed("body-like-a-response", [OK + OK], SAID + b"13\r\n" + OK + b"\r\n0\r\n\r\n"),
    closed("to-head", [OK], OK, "9110-9.3.2", request=head("HEAD /case HTTP/1.1", H)),
    closed("for-http10", [OK + b"hello"], CLOSES + b"hello", request=TEN, lives=False),
    spoils("reset-for-http11", "9112-8", (OK + b"hello", PAUSE, RESET), SAID + b"5\r\nhello\r\n", lives=False),
    spoils("reset-for-http10", "9112-8", (OK + b"hello", PAUSE, RESET), CLOSES + b"hello", request=TEN, lives=False,
           is_reset=True),
]
