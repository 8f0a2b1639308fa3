"""RFC 9112, section 7.1: the chunked coding."""

from . import HOST, accept, head, refuse, seen

H = f"Host: {HOST}"
POST = "POST / HTTP/1.1"
HEAD = head(POST, H, "Transfer-Encoding: chunked")
# What the backend has got when the first chunk is refused.
BEGUN = seen(POST, H, chunked=True)
LONG = "x" * 2000


def passed(name, body, forwarded=None, section="9112-7.1"):
    return accept(name, section, HEAD + body, BEGUN + (body if forwarded is None else forwarded))


def bad(name, body, before=b"", status=400, section="9112-7.1"):
    return refuse(name, section, HEAD + body, status, BEGUN + before)


END = b"0\r\n\r\n"
HELLO = b"5\r\nhello\r\n"

CASES = [
    passed("empty", END),
    passed("one", HELLO + END),
    passed("two", HELLO + b"1\r\n!\r\n" + END),
    passed("hexadecimal", b"a\r\n0123456789\r\n" + END),
    passed("hexadecimal-upper", b"A\r\n0123456789\r\n" + END, b"a\r\n0123456789\r\n" + END),
    passed("leading-zeros", b"0005\r\nhello\r\n" + END, HELLO + END),
    passed("many-zeros-at-the-end", b"000\r\n\r\n", END),
    passed("sixteen-digits", b"0000000000000005\r\nhello\r\n" + END, HELLO + END),
    passed("data-with-crlf", b"4\r\n\r\n\r\n\r\n" + END),
    passed("data-like-an-end", b"7\r\n0\r\n\r\n\r\n\r\n" + END),
    passed("extension", b"5;a=b\r\nhello\r\n" + END, HELLO + END, "9112-7.1.1"),
    passed("extension-quoted", b'5;a="b;c"\r\nhello\r\n' + END, HELLO + END, "9112-7.1.1"),
    passed("extension-name-only", b"5;a\r\nhello\r\n" + END, HELLO + END, "9112-7.1.1"),
    passed("extension-at-the-end", HELLO + b"0;a=b\r\n\r\n", HELLO + END, "9112-7.1.1"),
    passed("extension-like-a-request", b"5;GET / HTTP/1.1\r\nhello\r\n" + END, HELLO + END, "9112-7.1.1"),
    accept("in-pieces", "9112-7.1", [HEAD, b"5\r", b"\nhello", b"\r\n0", b"\r\n", b"\r\n"], BEGUN + HELLO + END),
    bad("size-empty", b"\r\nhello\r\n" + END),
    bad("size-word", b"z\r\nhello\r\n" + END),
    bad("size-prefix", b"0x5\r\nhello\r\n" + END),
    bad("size-plus", b"+5\r\nhello\r\n" + END),
    bad("size-minus", b"-5\r\nhello\r\n" + END),
    bad("size-space-before", b" 5\r\nhello\r\n" + END),
    bad("size-space-behind", b"5 \r\nhello\r\n" + END),
    bad("size-tab-behind", b"5\t\r\nhello\r\n" + END),
    bad("size-space-before-extension", b"5 ;a=b\r\nhello\r\n" + END, section="9112-7.1.1"),
    bad("size-with-underscore", b"1_0\r\n0123456789abcdef\r\n" + END),
    bad("size-fraction", b"5.0\r\nhello\r\n" + END),
    bad("size-comma", b"5,5\r\nhello\r\n" + END),
    bad("size-nul", b"5\0\r\nhello\r\n" + END),
    bad("size-vertical-tab", b"5\x0b\r\nhello\r\n" + END),
    bad("size-high-byte", b"\xb5\r\nhello\r\n" + END),
    bad("size-seventeen-digits", b"00000000000000005\r\nhello\r\n" + END),
    bad("size-int64", b"7fffffffffffffff\r\nhello\r\n" + END),
    bad("size-uint64", b"ffffffffffffffff\r\nhello\r\n" + END),
    bad("size-wraps-to-five", b"10000000000000005\r\nhello\r\n" + END),
    bad("size-wraps-32-bits", b"1000000000000005\r\nhello\r\n" + END),
    bad("size-bare-lf", b"5\nhello\r\n" + END, section="9112-2.2"),
    bad("size-bare-cr", b"5\rhello\r\n" + END, section="9112-2.2"),
    bad("size-cr-cr-lf", b"5\r\r\nhello\r\n" + END, section="9112-2.2"),
    bad("data-too-long", b"5\r\nhello!\r\n" + END, HELLO),
    bad("data-too-short", b"6\r\nhello\r\n" + END, b"6\r\nhello\r\r\n"),
    bad("data-bare-lf-behind", b"5\r\nhello\n" + END, HELLO, section="9112-2.2"),
    bad("data-bare-cr-behind", b"5\r\nhello\r0\r\n\r\n", HELLO, section="9112-2.2"),
    bad("data-nothing-behind", b"5\r\nhello" + END, HELLO),
    bad("data-two-bytes-behind", b"5\r\nhelloXX0\r\n\r\n", HELLO),
    bad("data-space-behind", b"5\r\nhello \r\n" + END, HELLO),
    bad("second-size-bad", HELLO + b"zz\r\n", HELLO),
    bad("second-size-negative", HELLO + b"-1\r\n", HELLO),
    bad("extension-lf", b"5;a\nhello\r\n" + END, section="9112-7.1.1"),
    bad("extension-lf-then-more", b"5;a\nb\r\nhello\r\n" + END, section="9112-7.1.1"),
    bad("extension-cr", b"5;a\rb\r\nhello\r\n" + END, section="9112-7.1.1"),
    bad("extension-nul", b"5;a\0b\r\nhello\r\n" + END, section="9112-7.1.1"),
    bad("extension-control-byte", b"5;a\x01\r\nhello\r\n" + END, section="9112-7.1.1"),
    bad("extension-delete", b"5;a\x7f\r\nhello\r\n" + END, section="9112-7.1.1"),
    bad("extension-quoted-lf", b'5;a="\n"\r\nhello\r\n' + END, section="9112-7.1.1"),
    bad("extension-quoted-crlf", b'5;a="\r\n"\r\nhello\r\n' + END, b"5\r\n\"\r\nhe\r\n", section="9112-7.1.1"),
    bad("extension-too-long", f"5;{LONG}\r\nhello\r\n0\r\n\r\n".encode(), section="9112-7.1.1"),
    bad("extensions-together-too-long", b"".join(b"1;%b\r\nx\r\n" % (b"y" * 1000) for _ in range(40)),
        b"1\r\nx\r\n" * 16, section="9112-7.1.1"),
    bad("end-extension-lf", HELLO + b"0;a\n\r\n\r\n", HELLO, section="9112-7.1.1"),
    bad("end-bare-lf", HELLO + b"0\n\n", HELLO, section="9112-2.2"),
    bad("end-crlf-lf", HELLO + b"0\r\n\n", HELLO, section="9112-2.2"),
    bad("end-crlf-cr", HELLO + b"0\r\n\rX", HELLO, section="9112-2.2"),
    bad("end-negative-zero", HELLO + b"-0\r\n\r\n", HELLO),
]
