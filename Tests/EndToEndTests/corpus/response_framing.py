"""RFC 9112, section 6.3: where a response ends, and what comes behind it."""

from harness.raw import CLOSE, PAUSE, RESET

from . import BROKEN_OFF, HOST, head, passes, spoils

H = f"Host: {HOST}"
OK = "HTTP/1.1 200 OK"
HEAD = head("HEAD /case HTTP/1.1", H)
POST = head("POST /case HTTP/1.1", H, "Content-Length: 5") + b"hello"
# What a hostile backend would like the next client to get.
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


def ok(*lines, body=b"hello", line=OK):
    return head(line, *lines) + body


def bad_length(name, value, section="9110-8.6"):
    return spoils(name, section, ok(f"Content-Length: {value}"))


def bad_coding(name, value, section="9112-6.1"):
    return spoils(name, section, ok(f"Transfer-Encoding: {value}", body=b"5\r\nhello\r\n0\r\n\r\n"))


def both(name, *lines, section="9112-6.3"):
    return spoils(name, section, ok(*lines, body=b"5\r\nhello\r\n0\r\n\r\n"))


FIVE = ok("Content-Length: 5")

CASES = [
    passes("length", "9112-6.3", FIVE),
    passes("length-zero", "9112-6.3", ok("Content-Length: 0", body=b"")),
    passes("length-and-binary-body", "9112-6.3", ok("Content-Length: 5", body=b"\0\r\n\r\n")),
    passes("body-like-a-response", "9112-6.3", head(OK, f"Content-Length: {len(EVIL)}") + EVIL),
    bad_length("length-list", "5, 5"),
    bad_length("length-list-different", "5, 6"),
    bad_length("length-empty", ""),
    bad_length("length-plus", "+5"),
    bad_length("length-minus", "-5"),
    bad_length("length-hexadecimal", "0x5"),
    bad_length("length-word", "five"),
    bad_length("length-fraction", "5.0"),
    bad_length("length-int64", "9223372036854775808"),
    bad_length("length-wraps", "18446744073709551621"),
    bad_length("length-nul", "5\0"),
    spoils("length-twice", "9112-6.3", ok("Content-Length: 5", "Content-Length: 5")),
    spoils("length-twice-different", "9112-6.3", ok("Content-Length: 5", "Content-Length: 0")),
    spoils("length-folded", "9112-5.2", ok("Content-Length:", " 5")),
    spoils("length-space-before-colon", "9112-5.1", ok("Content-Length : 5")),
    bad_coding("coding-identity", "identity"),
    bad_coding("coding-gzip", "gzip"),
    bad_coding("coding-gzip-chunked", "gzip, chunked"),
    bad_coding("coding-chunked-twice", "chunked, chunked"),
    bad_coding("coding-xchunked", "xchunked"),
    bad_coding("coding-empty", ""),
    bad_coding("coding-vertical-tab", "\x0bchunked", "9110-5.5"),
    both("coding-two-lines", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", section="9112-6.1"),
    both("coding-space-before-colon", "Transfer-Encoding : chunked", section="9112-5.1"),
    both("coding-look-alike", "Transfer_Encoding: chunked", "Content-Length: 5"),
    both("cl-te", "Content-Length: 5", "Transfer-Encoding: chunked"),
    both("te-cl", "Transfer-Encoding: chunked", "Content-Length: 5"),
    spoils("coding-in-http10", "9112-6.1",
           ok("Transfer-Encoding: chunked", body=b"0\r\n\r\n", line="HTTP/1.0 200 OK")),
    passes("head", "9110-9.3.2", ok("Content-Length: 5", body=b""), request=HEAD),
    passes("head-without-length", "9110-9.3.2", ok("X: y", body=b""), request=HEAD),
    passes("head-chunked", "9110-9.3.2", ok("Transfer-Encoding: chunked", body=b""), ok(body=b""), request=HEAD),
    passes("head-with-body", "9110-9.3.2", FIVE, ok("Content-Length: 5", body=b""), request=HEAD, dropped=True),
    passes("head-with-a-response-for-a-body", "9110-9.3.2", ok("Content-Length: 60", body=EVIL),
           ok("Content-Length: 60", body=b""), request=HEAD, dropped=True),
    passes("head-with-chunks", "9110-9.3.2", ok("Transfer-Encoding: chunked", body=b"0\r\n\r\n"), ok(body=b""),
           request=HEAD, dropped=True),
    passes("204", "9110-15.3.5", ok(line="HTTP/1.1 204 No Content", body=b"")),
    passes("204-with-length-zero", "9110-8.6", ok("Content-Length: 0", line="HTTP/1.1 204 No Content", body=b""),
           ok(line="HTTP/1.1 204 No Content", body=b"")),
    passes("204-with-length", "9110-8.6", ok("Content-Length: 5", line="HTTP/1.1 204 No Content"),
           ok(line="HTTP/1.1 204 No Content", body=b""), dropped=True),
    passes("204-with-length-and-a-response", "9110-8.6",
           ok("Content-Length: 60", line="HTTP/1.1 204 No Content", body=EVIL),
           ok(line="HTTP/1.1 204 No Content", body=b""), dropped=True),
    passes("204-chunked", "9112-6.1",
           ok("Transfer-Encoding: chunked", line="HTTP/1.1 204 No Content", body=b"0\r\n\r\n"),
           ok(line="HTTP/1.1 204 No Content", body=b""), dropped=True),
    passes("304", "9110-15.4.5", ok("ETag: x", line="HTTP/1.1 304 Not Modified", body=b"")),
    passes("304-with-length", "9110-8.6", ok("Content-Length: 5", line="HTTP/1.1 304 Not Modified", body=b"")),
    passes("304-with-length-and-body", "9110-15.4.5", ok("Content-Length: 5", line="HTTP/1.1 304 Not Modified"),
           ok("Content-Length: 5", line="HTTP/1.1 304 Not Modified", body=b""), dropped=True),
    passes("304-chunked", "9112-6.1", ok("Transfer-Encoding: chunked", line="HTTP/1.1 304 Not Modified", body=b""),
           ok(line="HTTP/1.1 304 Not Modified", body=b"")),
    passes("205-with-length-zero", "9110-15.3.6", ok("Content-Length: 0", line="HTTP/1.1 205 Reset Content", body=b"")),
    passes("surplus-of-a-length", "9112-6.3", FIVE + b"!", FIVE, dropped=True),
    passes("surplus-crlf", "9112-6.3", FIVE + b"\r\n", FIVE, dropped=True),
    passes("second-response-at-once", "9112-9.2", FIVE + EVIL, FIVE, dropped=True),
    passes("second-response-behind-length-zero", "9112-9.2", ok("Content-Length: 0", body=b"") + EVIL,
           ok("Content-Length: 0", body=b""), dropped=True),
    passes("second-response-in-the-next-write", "9112-9.2", (FIVE, EVIL), FIVE, dropped=True),
    passes("second-response-later", "9112-9.2", (FIVE, PAUSE, EVIL), FIVE, dropped=True),
    passes("a-byte-later", "9112-9.2", (FIVE, PAUSE, b"x"), FIVE, dropped=True),
    passes("interim-later", "9112-9.2", (FIVE, PAUSE, b"HTTP/1.1 100 Continue\r\n\r\n"), FIVE, dropped=True),
    passes("surplus-of-a-post", "9112-9.2", FIVE + EVIL, FIVE, request=POST, dropped=True),
    passes("closed-behind", "9112-9.6", (FIVE, CLOSE), FIVE, dropped=True),
    spoils("short-of-its-length", "9112-8", (head(OK, "Content-Length: 50") + b"hello", CLOSE),
           head(OK, "Content-Length: 50") + b"hello", lives=False),
    spoils("head-broken-off", "9112-8", (b"HTTP/1.1 200 OK\r\nContent-Le", CLOSE), BROKEN_OFF),
    spoils("nothing-for-a-post", "9112-9.3.1", (CLOSE,), BROKEN_OFF, request=POST),
    spoils("reset-for-a-post", "9112-9.3.1", (RESET,), BROKEN_OFF, request=POST),
]
