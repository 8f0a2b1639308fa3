"""RFC 9112, sections 6.1 and 6.3: Transfer-Encoding, alone and beside Content-Length."""

from . import HOST, accept, head, refuse, seen

H = f"Host: {HOST}"
POST = "POST / HTTP/1.1"
BODY = b"5\r\nhello\r\n0\r\n\r\n"


def post(*lines, body=BODY, line=POST):
    return head(line, H, *lines) + body


def bad(name, value, status=400, section="9112-6.1"):
    return refuse(name, section, post(f"Transfer-Encoding: {value}"), status)


def both(name, *lines, body=BODY, section="9112-6.3"):
    return refuse(name, section, post(*lines, body=body))


CHUNKED = seen(POST, H, body=BODY, chunked=True)

CASES = [
    accept("chunked", "9112-6.1", post("Transfer-Encoding: chunked"), CHUNKED),
    accept("chunked-other-case", "9112-6.1", post("transfer-ENCODING: CHUNKED"), CHUNKED),
    accept("chunked-with-space-around", "9112-5", post("Transfer-Encoding: \t chunked \t"), CHUNKED),
    accept("get-chunked", "9110-9.3.1", post("Transfer-Encoding: chunked", line="GET / HTTP/1.1"),
           seen("GET / HTTP/1.1", H, body=BODY, chunked=True)),
    bad("identity", "identity", 501),
    bad("gzip", "gzip", 501),
    bad("xchunked", "xchunked", 501),
    bad("chunkedx", "chunkedx", 501),
    bad("chunk", "chunk", 501),
    bad("cow", "cow", 501),
    bad("gzip-chunked", "gzip, chunked"),
    bad("chunked-gzip", "chunked, gzip"),
    bad("chunked-identity", "chunked, identity"),
    bad("identity-chunked", "identity, chunked"),
    bad("chunked-chunked", "chunked, chunked"),
    bad("chunked-comma", "chunked,"),
    bad("comma-chunked", ",chunked"),
    bad("chunked-semicolon", "chunked;"),
    bad("chunked-parameter", "chunked;q=1"),
    bad("chunked-space-word", "chunked x"),
    bad("quoted", '"chunked"'),
    bad("single-quotes", "'chunked'", 501),
    bad("empty", ""),
    bad("vertical-tab-before", "\x0bchunked"),
    bad("vertical-tab-behind", "chunked\x0b"),
    bad("form-feed-behind", "chunked\x0c"),
    bad("nul-before", "\0chunked"),
    bad("nul-behind", "chunked\0"),
    bad("nbsp-behind", "chunked\xa0"),
    bad("high-byte-before", "\xffchunked"),
    bad("cr-before", "\rchunked", section="9112-2.2"),
    bad("lf-before", "\nchunked", section="9112-2.2"),
    bad("cr-behind", "chunked\r", section="9112-2.2"),
    bad("kelvin-sign", "chun\xe2\x84\xaaed"),
    both("twice", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", section="9112-6.1"),
    both("twice-identity-behind", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", section="9112-6.1"),
    both("twice-other-case", "Transfer-Encoding: chunked", "transfer-encoding: chunked", section="9112-6.1"),
    both("twice-cow-behind", "Transfer-Encoding: chunked", "Transfer-encoding: cow", section="9112-6.1"),
    refuse("twice-identity-before", "9112-6.1", post("Transfer-Encoding: identity", "Transfer-Encoding: chunked"), 501),
    both("space-before-colon", "Transfer-Encoding : chunked", section="9112-5.1"),
    both("tab-before-colon", "Transfer-Encoding\t: chunked", section="9112-5.1"),
    both("vertical-tab-before-colon", "Transfer-Encoding\x0b: chunked", section="9110-5.1"),
    both("space-before-name", "X: y", " Transfer-Encoding: chunked", section="9112-5.2"),
    both("folded-value", "Transfer-Encoding:", " chunked", section="9112-5.2"),
    both("folded-value-tab", "Transfer-Encoding:", "\tchunked", section="9112-5.2"),
    both("behind-bare-lf", "X: y\nTransfer-Encoding: chunked", section="9112-2.2"),
    both("behind-bare-cr", "X: y\rTransfer-Encoding: chunked", section="9112-2.2"),
    both("behind-a-name-without-colon", "X", "Transfer-Encoding: chunked", section="9112-5"),
    both("equals-for-colon", "Transfer-Encoding= chunked", section="9112-5"),
    both("nul-in-name", "Transfer-Encoding\0: chunked", section="9110-5.1"),
    both("underscore", "Transfer_Encoding: chunked", "Content-Length: 5", body=b"hello"),
    both("cl-te", "Content-Length: 5", "Transfer-Encoding: chunked"),
    both("te-cl", "Transfer-Encoding: chunked", "Content-Length: 5"),
    both("cl-te-right-length", "Content-Length: 15", "Transfer-Encoding: chunked"),
    both("cl-zero-te", "Content-Length: 0", "Transfer-Encoding: chunked"),
    both("te-cl-zero", "Transfer-Encoding: chunked", "Content-Length: 0"),
    both("cl-te-identity", "Content-Length: 5", "Transfer-Encoding: identity", body=b"hello"),
    both("cl-te-xchunked", "Content-Length: 5", "Transfer-Encoding: xchunked", body=b"hello"),
    both("cl-te-empty", "Content-Length: 5", "Transfer-Encoding:", body=b"hello"),
    both("cl-te-in-connection", "Content-Length: 5", "Transfer-Encoding: chunked", "Connection: Transfer-Encoding"),
    both("cl-te-smuggled", "Content-Length: 6", "Transfer-Encoding: chunked", body=b"0\r\n\r\nG"),
    both("te-cl-smuggled", "Content-Length: 4", "Transfer-Encoding: chunked",
         body=b"2c\r\nGET /evil HTTP/1.1\r\nContent-Length: 15\r\n\r\nx\r\n0\r\n\r\n"),
    both("te-cl-te", "Transfer-Encoding: chunked", "Content-Length: 5", "Transfer-Encoding: chunked"),
    refuse("trace-chunked", "9110-9.3.8", post("Transfer-Encoding: chunked", line="TRACE / HTTP/1.1")),
]
