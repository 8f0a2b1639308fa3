"""RFC 9112, section 4, and the field lines of a response."""

from . import head, passes, spoils

BODY = b"hello"
LENGTH = "Content-Length: 5"
MANY = [f"X-{number}: 1" for number in range(120)]


def ok(*lines, line="HTTP/1.1 200 OK"):
    return head(line, *lines, LENGTH) + BODY


def good(name, section, line, **more):
    return passes(name, section, ok(line=line), **more)


def bad(name, section, line):
    return spoils(name, section, ok(line=line))


def bad_field(name, section, *lines):
    return spoils(name, section, ok(*lines))


CASES = [
    good("plain", "9112-4", "HTTP/1.1 200 OK"),
    good("other-reason", "9112-4", "HTTP/1.1 200 All is well"),
    good("reason-high-bytes", "9112-4", "HTTP/1.1 200 \xc4h"),
    good("lowest-final-status", "9110-15", "HTTP/1.1 200 x"),
    good("highest-status", "9110-15", "HTTP/1.1 599 x"),
    good("unknown-status", "9110-15", "HTTP/1.1 299 x"),
    passes("in-pieces", "9112-2.2", (b"HTTP/1.1 2", b"00 OK\r\nContent-Len", b"gth: 5\r\n\r", b"\nhe", b"llo"), ok()),
    passes("empty-reason", "9112-4", ok(line="HTTP/1.1 404 "), ok(line="HTTP/1.1 404 Not Found")),
    passes("no-space-before-no-reason", "9112-4", ok(line="HTTP/1.1 404"), ok(line="HTTP/1.1 404 Not Found")),
    passes("http10", "9112-2.3", ok(line="HTTP/1.0 200 OK"), ok(), dropped=True),
    passes("http10-keep-alive", "9112-9.3", ok("Connection: keep-alive", line="HTTP/1.0 200 OK"), ok()),
    bad("version-http12", "9112-2.3", "HTTP/1.2 200 OK"),
    bad("version-http20", "9112-2.3", "HTTP/2.0 200 OK"),
    bad("version-http2", "9112-2.3", "HTTP/2 200 OK"),
    bad("version-http09", "9112-2.3", "HTTP/0.9 200 OK"),
    bad("version-lower-case", "9112-2.3", "http/1.1 200 OK"),
    bad("version-missing", "9112-4", "200 OK"),
    bad("version-other-protocol", "9112-2.3", "ICY 200 OK"),
    bad("status-two-digits", "9112-4", "HTTP/1.1 20 OK"),
    bad("status-four-digits", "9112-4", "HTTP/1.1 2000 OK"),
    bad("status-signed", "9112-4", "HTTP/1.1 +20 OK"),
    bad("status-negative", "9112-4", "HTTP/1.1 -20 OK"),
    bad("status-letters", "9112-4", "HTTP/1.1 abc OK"),
    bad("status-hexadecimal", "9112-4", "HTTP/1.1 0xc OK"),
    bad("status-000", "9110-15", "HTTP/1.1 000 OK"),
    bad("status-099", "9110-15", "HTTP/1.1 099 OK"),
    bad("status-600", "9110-15", "HTTP/1.1 600 OK"),
    bad("status-999", "9110-15", "HTTP/1.1 999 OK"),
    bad("two-spaces-before-status", "9112-4", "HTTP/1.1  200 OK"),
    bad("tab-before-status", "9112-4", "HTTP/1.1\t200 OK"),
    bad("tab-behind-status", "9112-4", "HTTP/1.1 200\tOK"),
    bad("space-before", "9112-4", " HTTP/1.1 200 OK"),
    bad("reason-nul", "9112-4", "HTTP/1.1 200 O\0K"),
    bad("reason-control-byte", "9112-4", "HTTP/1.1 200 O\x01K"),
    bad("reason-bare-cr", "9112-2.2", "HTTP/1.1 200 O\rK"),
    bad("reason-bare-lf", "9112-2.2", "HTTP/1.1 200 O\nK"),
    bad("bare-lf-behind-status", "9112-2.2", "HTTP/1.1 200\n"),
    bad("request-for-a-response", "9112-4", "GET / HTTP/1.1"),
    spoils("empty-line-before", "9112-4", b"\r\n" + ok()),
    spoils("bare-lf-everywhere", "9112-2.2", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    spoils("html", "9112-4", b"<html>hello</html>"),
    spoils("ssh", "9112-4", b"SSH-2.0-OpenSSH_9.6\r\n"),
    spoils("tls-alert", "9112-4", b"\x15\x03\x01\x00\x02\x02\x0a"),
    spoils("http2-settings", "9112-4", b"\0\0\0\x04\0\0\0\0\0"),
    passes("fields-kept", "9110-5.3", ok("B: 1", "A: \xe4", "B: 2"), ok("B: 1", "A: \xe4", "B: 2")),
    passes("set-cookies-kept-apart", "6265-3", ok("Set-Cookie: a=b", "Set-Cookie: c=d"),
           ok("Set-Cookie: a=b", "Set-Cookie: c=d")),
    bad_field("space-before-colon", "9112-5.1", "X : y"),
    bad_field("folded", "9112-5.2", "X: y", " z"),
    bad_field("folded-tab", "9112-5.2", "X: y", "\tz"),
    bad_field("space-before-first-name", "9112-2.2", " X: y"),
    bad_field("no-colon", "9112-5", "X"),
    bad_field("no-name", "9112-5", ": y"),
    bad_field("bad-name", "9110-5.1", "X(): y"),
    bad_field("nul-in-name", "9110-5.1", "X\0: y"),
    bad_field("nul-in-value", "9110-5.5", "X: a\0b"),
    bad_field("control-byte-in-value", "9110-5.5", "X: a\x02b"),
    bad_field("bare-lf", "9112-2.2", "X: y\nZ: a"),
    bad_field("bare-cr", "9112-2.2", "X: y\rZ: a"),
    bad_field("cr-cr-lf", "9112-2.2", "X: y\r"),
    bad_field("too-many-fields", "6585-5", *MANY),
    bad_field("huge-field", "6585-5", "X: " + "a" * 70_000),
    spoils("head-without-end", "6585-5", head("HTTP/1.1 200 OK")[:-2] + b"X: y\r\n" * 20_000),
    passes("connection-fields-dropped", "9110-7.6.1",
           ok("Connection: keep-alive, x", "X: 1", "Keep-Alive: timeout=5", "Proxy-Connection: y", "TE: a"), ok()),
    passes("connection-close", "9112-9.6", ok("Connection: close"), ok(), dropped=True),
    passes("upgrade-offered-and-dropped", "9110-7.8", ok("Upgrade: h2c, foo", "Connection: upgrade"), ok()),
    bad_field("connection-lists-content-length", "9110-7.6.1", "Connection: content-length"),
    bad_field("connection-lists-transfer-encoding", "9110-7.6.1", "Connection: transfer-encoding"),
    bad_field("connection-no-token", "9110-7.6.1", "Connection: a b"),
    bad_field("content-length-look-alike", "9112-6.3", "Content_Length: 5"),
]
