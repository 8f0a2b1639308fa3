"""RFC 9110, section 8.6, and RFC 9112, sections 6.2 and 6.3: Content-Length."""

from . import HOST, accept, head, refuse, seen

H = f"Host: {HOST}"
POST = "POST / HTTP/1.1"


def post(*lines, body=b""):
    return head(POST, H, *lines) + body


def passed(name, *lines, body=b"", section="9112-6.3", method="POST", **more):
    line = f"{method} / HTTP/1.1"
    return accept(name, section, head(line, H, *lines) + body, seen(line, H, *lines, body=body), **more)


def bad(name, value, body=b"hello", section="9110-8.6"):
    return refuse(name, section, post(f"Content-Length: {value}", body=body))


CASES = [
    passed("plain", "Content-Length: 5", body=b"hello"),
    passed("zero", "Content-Length: 0"),
    passed("absent", section="9112-6.3"),
    passed("leading-zeros", "Content-Length: 005", body=b"hello"),
    passed("space-around", "Content-Length:   5  ", body=b"hello"),
    passed("get-with-body", "Content-Length: 5", body=b"hello", method="GET", section="9110-9.3.1"),
    passed("delete-with-body", "Content-Length: 5", body=b"hello", method="DELETE", section="9110-9.3.5"),
    passed("head-with-body", "Content-Length: 5", body=b"hello", method="HEAD", is_head=True, section="9110-9.3.2"),
    passed("options-with-body", "Content-Length: 5", body=b"hello", method="OPTIONS", section="9110-9.3.7"),
    passed("get-zero", "Content-Length: 0", method="GET"),
    passed("binary-body", "Content-Length: 6", body=b"\0\r\n\r\n\xff"),
    passed("body-that-looks-like-a-request", "Content-Length: 37", body=b"GET /evil HTTP/1.1\r\nHost: h.test\r\n\r\nx"),
    accept("body-later", "9112-6.3", [post("Content-Length: 5"), b"hello"],
           seen(POST, H, "Content-Length: 5", body=b"hello")),
    accept("body-in-pieces", "9112-6.3", [post("Content-Length: 5"), b"he", b"llo"],
           seen(POST, H, "Content-Length: 5", body=b"hello")),
    refuse("twice-same", "9112-6.3", post("Content-Length: 5", "Content-Length: 5", body=b"hello")),
    refuse("twice-different", "9112-6.3", post("Content-Length: 5", "Content-Length: 6", body=b"hello")),
    refuse("twice-zero-first", "9112-6.3", post("Content-Length: 0", "Content-Length: 5", body=b"hello")),
    refuse("twice-other-case", "9112-6.3", post("Content-Length: 5", "content-LENGTH: 5", body=b"hello")),
    refuse("twice-apart", "9112-6.3", post("Content-Length: 5", "X: y", "Content-Length: 50", body=b"hello")),
    refuse("space-before-colon", "9112-5.1", post("Content-Length : 5", body=b"hello")),
    refuse("folded", "9112-5.2", post("Content-Length:", " 5", body=b"hello")),
    refuse("folded-behind", "9112-5.2", post("Content-Length: 5", " 0", body=b"hello")),
    refuse("bare-cr-inside", "9112-2.2", post("Content-Length: \r5", body=b"hello")),
    refuse("trace", "9110-9.3.8", head("TRACE / HTTP/1.1", H, "Content-Length: 5") + b"hello"),
    bad("list-same", "5, 5", section="9112-6.3"),
    bad("list-different", "5, 6"),
    bad("list-empty-member", ",5"),
    bad("list-trailing-comma", "5,"),
    bad("empty", ""),
    bad("only-space", "   "),
    bad("plus", "+5"),
    bad("minus", "-5"),
    bad("minus-zero", "-0"),
    bad("minus-one", "-1"),
    bad("hexadecimal", "0x5"),
    bad("hexadecimal-digits", "a"),
    bad("octal", "0o5"),
    bad("fraction", "5.0"),
    bad("exponent", "5e0"),
    bad("underscore", "1_0"),
    bad("thousands", "1'000"),
    bad("word-behind", "5 bytes"),
    bad("two-numbers", "5 5"),
    bad("semicolon", "5;x"),
    bad("quoted", '"5"'),
    bad("nul-behind", "5\0"),
    bad("vertical-tab-before", "\x0b5"),
    bad("form-feed-behind", "5\x0c"),
    bad("nbsp-before", "\xa05"),
    bad("superscript", "\xb2"),
    bad("arabic-digit", "٥".encode().decode("latin-1")),
    bad("chunked", "chunked"),
    bad("int32-overflow", "4294967301000000000"),
    bad("int64-overflow", "9223372036854775808"),
    bad("uint64-wraps-to-five", "18446744073709551621"),
    bad("hundred-digits", "9" * 100),
]
