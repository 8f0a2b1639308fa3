"""RFC 9113 and RFC 7541, clause by clause: what a client may not do, and what comes of it.

Each case is a list of frames on stream 1 (the preface and an empty SETTINGS go before it) and an outcome: `stream`, an
RST_STREAM with this code, after which another stream of the connection is answered; `connection`, a GOAWAY with this
code and the end of the connection; `answer`, a response with this status. The backend speaks HTTP/1.1 and remembers
every byte: of a request that is refused it sees nothing, or, where the fault is in the body, no whole request."""

import struct
from collections import namedtuple

import pytest

from harness.objects import forward, http_route, service
from harness.raw_http2 import (
    ACK, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR,
    GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITISED, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM,
    SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, RawClient, Recorder, block, data, frame, headers, reset, settings, text,
    window_update)

HOST = "conformance.sluice.test"
Case = namedtuple("Case", "section name frames outcome code reaches whole")
CASES = []


def case(section, name, outcome, code, *frames, reaches=False, whole=False):
    """`reaches`: the head is forwarded before the fault shows; `whole`: so is all that belongs to the request."""
    whole = whole or outcome == "answer" and code == 200
    CASES.append(Case(section, name, frames, outcome, code, reaches or whole, whole))


def stream(section, name, *frames, code=PROTOCOL_ERROR, **more):
    case(section, name, "stream", code, *frames, **more)


def connection(section, name, *frames, code=PROTOCOL_ERROR, **more):
    case(section, name, "connection", code, *frames, **more)


def answer(section, name, status, *frames, **more):
    case(section, name, "answer", status, *frames, **more)


def request(method="GET", path="/@", authority=HOST, scheme="http", more=(), without=(), first=()):
    """Fields of a request; the backend must not see `/@` unless the case says so."""
    pseudo = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    return [*first, *(pair for pair in pseudo if pair[0] not in without), *more]


def get(*more, flags=END_STREAM | END_HEADERS, stream=1, **parts):
    return headers(request(more=more, **parts), stream, flags)


def post(*more, stream=1, **parts):
    return get(*more, method="POST", flags=END_HEADERS, stream=stream, **parts)


# 3.4, 4.1, 4.2: the preface, frames and their sizes

GOOD = block(request())
answer("3.4", "a plain request", 200, get())
answer("4.1", "a frame of unknown type", 200, frame(0xbe, 0xff, 0, b"x" * 99), frame(0xbe, 0, 7, b""), get())
answer("4.1", "flags without a meaning", 200, frame(PING, 0xfe, 0, b"12345678"), headers(GOOD, 1, 0x5 | 0x50))
answer("4.1", "the reserved bit is set", 200, frame(HEADERS, 5, 1 | 1 << 31, GOOD))
answer("4.2", "a frame of 16,384 bytes", 200, post(), data(b"x" * 16384, flags=END_STREAM))
connection("4.2", "HEADERS of more than 16,384 bytes", headers(b"\0" * 16385), code=FRAME_SIZE_ERROR)
connection("4.2", "DATA of more than 16,384 bytes", post(), data(b"x" * 16385), code=FRAME_SIZE_ERROR, reaches=True)
connection("4.2", "a frame of 16 MiB", struct.pack(">I", 0xffffff)[1:] + b"\0\0\0\0\0\1", code=FRAME_SIZE_ERROR)
for kind, size, where in [
        (PING, 7, 0), (PING, 9, 0), (SETTINGS, 5, 0), (RST_STREAM, 3, 1), (RST_STREAM, 5, 1), (WINDOW_UPDATE, 3, 0),
        (WINDOW_UPDATE, 5, 0), (GOAWAY, 7, 0)]:
    connection("6", f"type {kind} of {size} bytes", frame(kind, 0, where, b"\1" * size), code=FRAME_SIZE_ERROR)
connection("6.5", "an acknowledgement with a payload", frame(SETTINGS, ACK, 0, b"\0" * 6), code=FRAME_SIZE_ERROR)
connection("6.3", "PRIORITY of 4 bytes", frame(PRIORITY, 0, 1, b"\0" * 4), code=FRAME_SIZE_ERROR)

# 5.1: streams and their states

for kind, name in [(DATA, "DATA"), (HEADERS, "HEADERS"), (PRIORITY, "PRIORITY"), (RST_STREAM, "RST_STREAM"),
                   (CONTINUATION, "CONTINUATION")]:
    payload = {HEADERS: GOOD, PRIORITY: b"\0" * 5, RST_STREAM: b"\0" * 4}.get(kind, b"x")
    connection("6", f"{name} on stream 0", frame(kind, 5 if kind == HEADERS else 0, 0, payload))
for kind, payload in [(SETTINGS, b""), (PING, b"12345678"), (GOAWAY, b"\0" * 8)]:
    connection("6", f"type {kind} on a stream", frame(kind, 0, 1, payload))
connection("5.1", "DATA on an idle stream", data(b"x"))
connection("5.1", "RST_STREAM on an idle stream", reset())
connection("5.1", "WINDOW_UPDATE on an idle stream", window_update(1, 1))
connection("5.1", "CONTINUATION on an idle stream", frame(CONTINUATION, END_HEADERS, 1, GOOD))
answer("5.1", "PRIORITY on an idle stream", 200, frame(PRIORITY, 0, 99, struct.pack(">IB", 0, 1)), get())
connection("5.1.1", "a stream of even number", headers(GOOD, 2))
connection("5.1.1", "a number that was passed over", headers(request(path="/before"), 5), get())
connection("5.1", "DATA behind END_STREAM", get(path="/before"), data(b"x"), code=STREAM_CLOSED)
connection("5.1", "HEADERS behind END_STREAM", get(path="/before"), get(), code=STREAM_CLOSED)
connection("5.1", "DATA behind RST_STREAM", post(path="/before"), reset(), data(b"@"), code=STREAM_CLOSED)
connection("5.1", "HEADERS behind RST_STREAM", post(path="/before"), reset(), get(), code=STREAM_CLOSED)
answer("5.1", "WINDOW_UPDATE and RST_STREAM behind RST_STREAM", 200, post(path="/before"), reset(), reset(),
       window_update(1, 1), get(stream=3))
connection("8.4", "PUSH_PROMISE of a client", get(path="/before"), frame(PUSH_PROMISE, 4, 1, b"\0\0\0\2" + GOOD))
connection("5.3.1", "HEADERS that depend on themselves",
           headers(struct.pack(">IB", 1, 1) + GOOD, 1, 5 | PRIORITISED))
answer("5.3.1", "HEADERS with a priority", 200, headers(struct.pack(">IB", 0, 1) + GOOD, 1, 5 | PRIORITISED))

# 6.1, 6.2: padding

answer("6.1", "DATA with padding", 200, post(), data(b"\5hello\0\0\0\0\0", flags=PADDED | END_STREAM))
answer("6.1", "DATA of padding alone", 200, post(), data(b"\0", flags=PADDED | END_STREAM))
answer("6.2", "HEADERS with padding", 200, headers(b"\3" + GOOD + b"\0\0\0", 1, 5 | PADDED))
connection("6.1", "padding longer than DATA", post(), data(b"\6hello", flags=PADDED), reaches=True)
connection("6.2", "padding longer than HEADERS", headers(bytes([255]) + GOOD[:99], 1, 5 | PADDED))

# 6.5: SETTINGS

for name, number, value, code in [
        ("ENABLE_PUSH 2", 2, 2, PROTOCOL_ERROR), ("INITIAL_WINDOW_SIZE 2^31", 4, 1 << 31, FLOW_CONTROL_ERROR),
        ("MAX_FRAME_SIZE 16,383", 5, 16383, PROTOCOL_ERROR), ("MAX_FRAME_SIZE 2^24", 5, 1 << 24, PROTOCOL_ERROR),
        ("ENABLE_CONNECT_PROTOCOL 2", 8, 2, PROTOCOL_ERROR)]:
    connection("6.5.2", name, settings((number, value)), code=code)
answer("6.5.2", "an unknown setting", 200, settings((0xfefe, 1)), get())
answer("6.5.3", "the last of two values counts", 200, settings((4, 0), (4, 65535)), get())
answer("6.5", "a table of size 0", 200, settings((1, 0)), get())

# 6.7 to 6.9: PING, GOAWAY, WINDOW_UPDATE

answer("6.7", "an answer that nobody asked for", 200, frame(PING, ACK, 0, b"12345678"), get())
answer("6.8", "a client that goes away is answered", 200, get(), frame(GOAWAY, 0, 0, b"\0" * 8))
answer("6.8", "GOAWAY of unknown code", 200, get(), frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0xff) + b"debug"))
answer("5.4.2", "RST_STREAM of unknown code", 200, post(path="/before"), reset(1, 0xff), get(stream=3))
connection("6.9", "WINDOW_UPDATE of 0", window_update(0))
# Section 5.4.1 allows to end the connection for a stream's fault.
connection("6.9", "WINDOW_UPDATE of 0 on a stream", post(), window_update(0, 1), reaches=True)
connection("6.9.1", "a window of more than 2^31-1", window_update((1 << 31) - 1), code=FLOW_CONTROL_ERROR)
stream("6.9.1", "a stream's window of more than 2^31-1", post(), window_update((1 << 31) - 1, 1),
       code=FLOW_CONTROL_ERROR, reaches=True)
# The RFC asks for the end of the connection; the streams whose window is too large are ended.
stream("6.9.2", "SETTINGS that make a window too large", post(), window_update((1 << 31) - 65536, 1),
       settings((4, 65537)), code=FLOW_CONTROL_ERROR, reaches=True)
answer("6.9.2", "a window below 0 and back", 200, settings((4, 0)), get(), settings((4, 1)), window_update(9, 1))

# 6.10: CONTINUATION

answer("6.10", "a head in many frames", 200, headers(GOOD[:1], 1, END_STREAM), frame(CONTINUATION, 0, 1, b""),
       frame(CONTINUATION, 0, 1, GOOD[1:20]), frame(CONTINUATION, END_HEADERS, 1, GOOD[20:]))
for name, between in [
        ("DATA", data(b"x")), ("PING", frame(PING, 0, 0, b"12345678")), ("HEADERS", headers(GOOD, 3)),
        ("SETTINGS", settings()), ("an unknown frame", frame(0xbe)), ("RST_STREAM", reset()),
        ("CONTINUATION of another stream", frame(CONTINUATION, END_HEADERS, 3, GOOD[20:]))]:
    connection("6.10", f"{name} within a head", headers(GOOD[:20], 1, END_STREAM), between,
               frame(CONTINUATION, END_HEADERS, 1, GOOD[20:]))
connection("6.10", "CONTINUATION behind END_HEADERS", post(), frame(CONTINUATION, END_HEADERS, 1, b""), reaches=True)

# 8.3: pseudo-header fields

for name in (":method", ":scheme", ":path"):
    stream("8.3.1", f"no {name}", get(without=[name]))
    stream("8.3", f"{name} twice", get(first=[(name, dict(request())[name])]))
stream("8.3.1", "neither :authority nor host", get(without=[":authority"]))
stream("8.3", ":authority twice", get(first=[(":authority", HOST)]))
stream("8.3", "a pseudo-header behind a field", get(("x", "1"), (":path", "/@"), without=[":path"]))
stream("8.3", "a pseudo-header of no name", get(first=[(":", "1")]))
stream("8.3", "an unknown pseudo-header", get(first=[(":foo", "1")]))
stream("8.3", "a pseudo-header of responses", get(first=[(":status", "200")]))
stream("8.3", "a pseudo-header in upper case", get(first=[(":Method", "GET")], without=[":method"]))
for name, path in [("empty", ""), ("without a slash", "@"), ("in absolute form", "http://other/@"), ("*", "*"),
                   ("with a space", "/@ HTTP/1.1"), ("with CR LF", "/@ HTTP/1.1\r\nx: y"), ("with NUL", "/@\0"),
                   ("with a fragment", "/@#top"), ("with a tab", "/@\t"), ("with DEL", "/@\x7f")]:
    stream("8.3.1", f":path {name}", get(path=path))
for name, method in [("empty", ""), ("with a space", "GET /@"), ("with CR LF", "GET / HTTP/1.1\r\nx: y"),
                     ("with a slash", "G/T"), ("with NUL", "GET\0")]:
    stream("8.3.1", f":method {name}", get(method=method))
for name, scheme in [("empty", ""), ("ftp", "ftp"), ("with a space", "http "), ("with CR LF", "http\r\nx: y")]:
    stream("8.3.1", f":scheme {name}", get(scheme=scheme))
for name, authority in [("with user information", f"user@{HOST}"), ("with CR LF", f"{HOST}\r\nx: y"), ("empty", ""),
                        ("with a space", f"{HOST} x"), ("with a path", f"{HOST}/x"),
                        ("with a port of no number", f"{HOST}:x"),
                        ("with too large a port", f"{HOST}:65536"), ("with NUL", f"{HOST}\0"),
                        ("with a comma", f"{HOST},x")]:
    stream("8.3.1", f":authority {name}", get(authority=authority))
stream("8.3.1", "host that differs", get(("host", "other.sluice.test")))
stream("8.3.1", "host twice", get(("host", HOST), ("host", HOST)))
stream("8.3.1", "host empty", get(("host", "")))
answer("8.3.1", "host that says the same", 200, get(("host", HOST.upper())))
answer("8.3.1", "host alone", 200, get(("host", HOST), without=[":authority"]))
answer("8.3.1", "any case in the authority", 200, get(authority=HOST.upper()))
answer("8.3.1", "a query", 200, get(path="/@?a=b%20c&d=/?:@"))
answer("9110-7.6.2", "TRACE that may go no further", 501, get(("max-forwards", "0"), method="TRACE"))
answer("8.3.1", "OPTIONS *", 404, headers(request("OPTIONS", "*", authority="nobody.sluice.test")))

# 8.2: fields

for name, field in [
        ("in upper case", "X-Upper"), ("with one upper-case letter", "accepT"), ("empty", ""), ("with a space", "x y"),
        ("that ends in a space", "x "), ("with a colon", "x:y"), ("with CR", "x\ry"), ("with LF", "x\ny"),
        ("with NUL", "x\0y"), ("with a tab", "x\ty"), ("with DEL", "x\x7f"), ("with a high byte", "x\xff"),
        ("with CR LF and a field", "x: 1\r\ncontent-length"), ("with a bracket", "x(y)")]:
    stream("8.2.1", f"a name {name}", get((field, "5")))
for name, value in [
        ("with CR", "a\rb"), ("with LF", "a\nb"), ("with NUL", "a\0b"), ("with CR LF and a field", "a\r\nx: y"),
        ("with a whole request", "a\r\n\r\nGET /@ HTTP/1.1\r\nhost: x\r\n\r\n"), ("that begins with a space", " a"),
        ("that ends in a space", "a "), ("that begins with a tab", "\ta"), ("that ends in a tab", "a\t"),
        ("of CR LF", "\r\n")]:
    stream("8.2.1", f"a value {name}", get(("x-field", value)))
answer("8.2.1", "a value with a tab and high bytes", 200, get(("x-field", "a\tb\xff\xfe")))
answer("8.2.1", "an empty value", 200, get(("x-field", "")))
for name, value in [("connection", "close"), ("connection", "x-secret"), ("keep-alive", "1"),
                    ("proxy-connection", "close"), ("transfer-encoding", "chunked"), ("transfer-encoding", "identity"),
                    ("upgrade", "h2c"), ("upgrade", "websocket"), ("te", "gzip"), ("te", "trailers, gzip"),
                    ("te", "trailers;q=1")]:
    stream("8.2.2", f"{name}: {value}", get((name, value)))
stream("8.2.2", "transfer-encoding with a body", post(("transfer-encoding", "chunked")),
       data(b"0\r\n\r\nGET /@ HTTP/1.1\r\n\r\n", flags=END_STREAM))
answer("8.2.2", "te: trailers", 200, get(("te", "trailers")))
answer("8.2.3", "a cookie in crumbs", 200, get(("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")))

# Names that some readers take for others: RFC 3875 section 4.1.18. As over HTTP/1.1.

for name in ("content_length", "content.length", "transfer_encoding"):
    stream("9112-6.3", f"{name} for the name with a dash", get((name, "5")))
    stream("9112-6.3", f"{name} in trailers", post(), data(b"hello"), headers([(name, "5")]), reaches=True)

# 8.1.1: content-length

for name, value in [("with a sign", "+5"), ("negative", "-1"), ("a list", "5, 5"), ("hexadecimal", "0x5"),
                    ("empty", ""), ("of 2^64", str(1 << 64)), ("with a point", "5.0"), ("two numbers", "5 5")]:
    stream("8.1.1", f"content-length {name}", post(("content-length", value)), data(b"hello", flags=END_STREAM))
stream("8.1.1", "content-length twice", post(("content-length", "5"), ("content-length", "5")),
       data(b"hello", flags=END_STREAM))
stream("8.1.1", "two values of content-length", post(("content-length", "5"), ("content-length", "6")),
       data(b"hello", flags=END_STREAM))
stream("8.1.1", "content-length and no body", get(("content-length", "5"), method="POST"))
stream("8.1.1", "less DATA than content-length", post(("content-length", "6")), data(b"hello", flags=END_STREAM),
       reaches=True)
stream("8.1.1", "more DATA than content-length", post(("content-length", "4")),
       data(b"hello", flags=END_STREAM), reaches=True)
stream("8.1.1", "more DATA in a second frame", post(("content-length", "5")), data(b"hell"),
       data(b"o GET /@ HTTP/1.1\r\n\r\n", flags=END_STREAM), reaches=True)
stream("8.1.1", "DATA and content-length 0", post(("content-length", "0")), data(b"x/@", flags=END_STREAM), whole=True)
stream("8.1.1", "more DATA when content-length has come", post(("content-length", "5")), data(b"hello"),
       data(b"GET /@ HTTP/1.1\r\n\r\n"), whole=True)
stream("8.1.1", "trailers before content-length", post(("content-length", "6")), data(b"hello"),
       headers([("x-trailer", "1")]), reaches=True)
answer("8.1.1", "content-length that is true", 200, post(("content-length", "5")), data(b"he"), data(b""),
       data(b"llo", flags=END_STREAM))
answer("8.1.1", "content-length 0 and no body", 200, get(("content-length", "0"), method="POST"))
answer("8.1.1", "END_STREAM on an empty DATA", 200, post(), data(b"hello"), data(b"", flags=END_STREAM))

# 8.1: trailers

answer("8.1", "trailers", 200, post(), data(b"hello"), headers([("x-trailer", "1")]))
answer("8.1", "trailers and no body", 200, post(), headers([("x-trailer", "1")]))
for name, fields, flags in [
        ("without END_STREAM", [("x-trailer", "1")], END_HEADERS), ("with a pseudo-header", [(":path", "/@")], 5),
        ("with :status", [(":status", "200")], 5), ("in upper case", [("X-Trailer", "1")], 5),
        ("with transfer-encoding", [("transfer-encoding", "chunked")], 5), ("with host", [("host", HOST)], 5),
        ("with content-length", [("content-length", "5")], 5),
        ("with connection", [("connection", "x")], 5),
        ("with CR LF", [("x-trailer", "1\r\n\r\nGET /@ HTTP/1.1")], 5), ("with a bad name", [("x y", "1")], 5)]:
    stream("8.1", f"trailers {name}", post(), data(b"hello"), headers(fields, 1, flags), reaches=True)

# 8.5 and RFC 8441: CONNECT

stream("8.5", "CONNECT with :path and :scheme", get(method="CONNECT"))
stream("8.5", "CONNECT without :authority", headers([(":method", "CONNECT")]))
stream("8441", ":protocol and another method", get(first=[(":protocol", "websocket")]))
stream("8441", ":protocol without :path", get(first=[(":protocol", "websocket")], method="CONNECT", without=[":path"]))
stream("8441", ":protocol twice", get(first=[(":protocol", "websocket")] * 2, method="CONNECT"))
stream("8441", ":protocol empty", get(first=[(":protocol", "")], method="CONNECT"))
stream("8441", "a tunnel with content-length", post(("content-length", "3"), first=[(":protocol", "websocket")]))
answer("8441", "a protocol that is not carried", 501,
       headers(request("CONNECT", first=[(":protocol", "connect-udp")]), 1, END_HEADERS))
answer("8441", "a tunnel that ends at once", 400, get(first=[(":protocol", "websocket")], method="CONNECT"))

# RFC 7541

for name, bad in [
        ("index 0", b"\x80"),
        ("an index beyond the table", b"\xff\x80\x01"), ("a name beyond the table", b"\x7f\x00\x01a"),
        ("an integer that never ends", b"\xff" + b"\xff" * 12), ("a table size beyond the setting", b"\x3f\xe2\x1f"),
        ("a table size behind a field", b"\x82\x20"), ("a string beyond the block", b"\0\x05abc"),
        ("a field without a value", b"\0\x01a"), ("Huffman padding of zeros", b"\0\x01x\x81\x00"),
        ("Huffman padding of eight bits", b"\0\x01x\x82\x1f\xff"),
        ("the Huffman end mark", b"\0\x01x\x84\xff\xff\xff\xff"),
        ("a block that ends in an integer", b"\xff")]:
    connection("7541", name, headers(GOOD + bad), code=COMPRESSION_ERROR)
answer("7541", "two table sizes at the beginning", 200, headers(b"\x20\x3f\xe1\x1f" + GOOD))
answer("7541", "fields that are indexed and used again", 200,
       headers(b"".join(b"\x40" + text(name) + text(value) for name, value in request())),
       headers(b"\xbe\xbf\xc0\xc1"[::-1], 3))
answer("7541", "a field that must never be indexed", 200, headers(GOOD + b"\x10" + text("x-secret") + text("1")))


@pytest.fixture(scope="module")
def backend(edge):
    recorder = Recorder(edge.address)
    route = http_route("conformance", [HOST], [forward("conformance")])
    edge.sluice.apply(*service("conformance", [(edge.address, recorder.port)]), route)
    edge.sluice.settle()
    yield recorder
    edge.sluice.delete(route)
    recorder.close()


def name_of(entry):
    return f"{entry.section} {entry.name}"


@pytest.mark.parametrize("entry", CASES, ids=name_of)
def test_conformance(edge, backend, entry):
    with RawClient(edge.address, edge.sluice.port(80)) as client:
        check(client, backend, entry)


def test_names_that_say_who_the_client_is(edge, backend):
    """What is dropped under its own name is dropped under one that looks like it; in trailers too."""
    claims = [(name, "@claimed") for name in (
        "x_forwarded_for", "x-forwarded.proto", "x_forwarded_client_cert", "x_real_ip", "keep_alive",
        "proxy_connection")]
    kept = [("x_y", "kept"), ("x_forward", "kept"), ("!#$%&'*+-.^_`|~9", "kept")]
    before = len(backend.whole)
    with RawClient(edge.address, edge.sluice.port(80)) as client:
        client.send(post(*claims, *kept), data(b"hello"),
                    headers([*claims, ("x-forwarded-for", "@claimed"), ("authorization", "@claimed"), *kept]))
        assert client.answer(1)[0].status == 200
    seen, = backend.whole[before:]
    assert b"@claimed" not in seen
    for name, value in kept:
        assert seen.count(f"\r\n{name}: {value}\r\n".encode()) == 2


@pytest.mark.parametrize("authority", [HOST, "nobody.sluice.test"], ids=["forwarded", "answered"])
@pytest.mark.parametrize("frames", [
    [data(b"hello", flags=END_STREAM)], [data(b"hello world")], [data(b"hello"), headers([("x", "1")])]],
    ids=["short", "long", "short-with-trailers"])
def test_a_length_that_data_contradicts_is_counted_once(edge, backend, frames, authority):
    """Whether the library's reset goes out or ours, behind an answer that did not wait for the body."""
    before = edge.sluice.admin.metric("sluice_malformed_requests_total")
    with RawClient(edge.address, edge.sluice.port(80)) as client:
        client.send(post(("content-length", "6"), path="/+", authority=authority), *frames)
        got, _ = client.answer(1)
        # Where the turn is up between head and body, the answer has gone out and nobody asks what the body was.
        is_early = authority != HOST and got.status == 404
        assert is_early or got.kind == RST_STREAM and got.code == PROTOCOL_ERROR, got
        client.send(get(stream=101, path="/probe"))
        assert client.answer(101)[0].status == 200
        counted = edge.sluice.admin.metric("sluice_malformed_requests_total") - before
        assert counted == 1 or is_early and counted == 0


def test_invalid_preface_over_tls(edge):
    """Where only HTTP/2 was agreed on, nothing else is taken (section 3.4)."""
    with RawClient(edge.address, edge.sluice.port(443), "h1.sluice.test", edge.certificate.chain) as client:
        client.until(lambda found: found.kind == SETTINGS)
    for bad in (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h1.sluice.test\r\n\r\n"):
        with RawClient(edge.address, edge.sluice.port(443), "h1.sluice.test", edge.certificate.chain,
                       preface=bad) as client:
            got, _ = client.answer(1)
            assert got.kind == GOAWAY and got.code == PROTOCOL_ERROR
            while client.next():
                pass


def test_first_frame_must_be_settings(edge):
    with RawClient(edge.address, edge.sluice.port(80), preface=PREFACE + frame(PING, 0, 0, b"12345678")) as client:
        got, _ = client.answer(1)
        assert got.kind == GOAWAY and got.code == PROTOCOL_ERROR


def test_ping_and_settings_are_answered(edge):
    with RawClient(edge.address, edge.sluice.port(80)) as client:
        client.send(frame(PING, 0, 0, b"\0\1\2\3\4\5\6\7"))
        assert client.until(lambda found: found.kind == SETTINGS and found.has(ACK)).payload == b""
        assert client.until(lambda found: found.kind == PING).payload == b"\0\1\2\3\4\5\6\7"


def check(client, backend, entry):
    before_raw, before_whole = len(backend.raw), len(backend.whole)
    # What may reach the backend, and late, goes by another path.
    client.send(*[part.replace(b"/@", b"/+") if entry.reaches and part[3] != DATA else part for part in entry.frames])
    target = 3 if any(part[5:9] == b"\0\0\0\3" and part[3] == HEADERS for part in entry.frames) else 1
    got, body = client.answer(target if entry.outcome == "answer" else 1)
    if entry.outcome == "connection":
        assert got.kind == GOAWAY and got.code == entry.code, got
        while client.next():
            pass
        assert client.closed
    elif entry.outcome == "stream":
        assert got.kind == RST_STREAM and got.code == entry.code, got
        client.send(get(stream=101, path="/probe"))
        got, body = client.answer(101)
        assert got.kind == HEADERS and (got.status, body) == (200, b"ok"), got
    else:
        assert got.kind == HEADERS and got.status == entry.code, got
        assert body == b"ok" or entry.code != 200
    whole = [item for item in backend.whole[before_whole:] if b" /probe " not in item and b" /before " not in item]
    if entry.whole:
        assert whole or entry.outcome != "answer"
        assert all(item.split(b" ", 1)[1].startswith(b"/+") for item in whole), whole
    else:
        assert not whole
    assert b"/@" not in backend.raw[before_raw:]
