"""HTTP/2 backends by hand: those that break RFC 9113, those that refuse streams, those that go away, and windows of a
few bytes on both sides."""

import queue
import struct
import threading
from collections import namedtuple

import pytest

from harness.objects import forward, http_route, service
from harness.raw_http2 import (
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INTERNAL_ERROR, NO_ERROR, PADDED, PING, PUSH_PROMISE,
    REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE, RawClient, RawServer,
    block, data, frame, headers, reset, settings, window_update)

HOST = "backends.sluice.test"
OK = [(":status", "200")]


def request(stream=1, path="/", method="GET", flags=END_STREAM | END_HEADERS, more=()):
    return headers([(":method", method), (":scheme", "http"), (":authority", HOST), (":path", path), *more], stream,
                   flags)


GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


@pytest.fixture(scope="module")
def applied(edge):
    route = http_route("backends", [HOST], [forward("none")])

    def apply(port):
        name = f"backends-{port}"
        made = http_route("backends", [HOST], [forward(name)])
        edge.sluice.apply(*service(name, [(edge.address, port)], app_protocol="kubernetes.io/h2c"), made)
        edge.sluice.settle()

    yield apply
    edge.sluice.delete(route)


@pytest.fixture
def serve(edge, applied):
    made = []

    def make(script, first=()):
        made.append(RawServer(script, edge.address, first))
        applied(made[-1].port)
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def client(edge):
    """All requests of a connection are of one worker, and so share its connection to the backend."""
    with RawClient(edge.address, edge.sluice.port(80)) as made:
        yield made


# What is malformed. `{s}` is the stream; a response that has not begun is 502 or gRPC's UNAVAILABLE, one that has is
# broken off with RST_STREAM, and other streams of the connection go on unless the fault is the connection's.

Case = namedtuple("Case", "name frames outcome")
CASES = []


def bad(name, *frames, outcome=502):
    CASES.append(Case(name, frames, outcome))


def head(*fields, flags=END_STREAM | END_HEADERS):
    return lambda stream: headers(list(fields), stream, flags)


def body(payload, flags=0):
    return lambda stream: data(payload, stream, flags)


for name, fields in [
        ("no status", [("x", "1")]), ("two status", OK + OK), ("status of two digits", [(":status", "99")]),
        ("status of letters", [(":status", "abc")]), ("status of four digits", [(":status", "2000")]),
        ("status empty", [(":status", "")]), ("101", [(":status", "101")]), ("status below 100", [(":status", "099")]),
        ("a pseudo-header of requests", OK + [(":path", "/")]), ("an unknown pseudo-header", [(":x", "1")] + OK),
        ("a pseudo-header behind a field", [("x", "1")] + OK), ("a name in upper case", OK + [("X-Upper", "1")]),
        ("a name with a space", OK + [("x y", "1")]), ("a name with CR LF", OK + [("x\r\ny", "1")]),
        ("a name with a colon", OK + [("x:y", "1")]), ("a value with CR LF", OK + [("x", "1\r\n\r\nHTTP/1.1 200 OK")]),
        ("a value with LF", OK + [("x", "1\ny: 2")]), ("a value with NUL", OK + [("x", "\0")]),
        ("connection", OK + [("connection", "x")]), ("keep-alive", OK + [("keep-alive", "1")]),
        ("transfer-encoding", OK + [("transfer-encoding", "chunked")]), ("upgrade", OK + [("upgrade", "x")]),
        ("proxy-connection", OK + [("proxy-connection", "x")]),
        ("content-length twice", OK + [("content-length", "0")] * 2),
        ("content-length of letters", OK + [("content-length", "x")]),
        ("content-length and no body", OK + [("content-length", "5")]),
        ("content-length in disguise", OK + [("content_length", "0")]),
        ("transfer-encoding in disguise", OK + [("transfer_encoding", "chunked")])]:
    bad(name, head(*fields))
bad("an interim response that ends", head((":status", "103")))
bad("an interim response and DATA", head((":status", "103"), flags=END_HEADERS), body(b"x", END_STREAM))
bad("a reset before the head", lambda stream: reset(stream, INTERNAL_ERROR))
bad("a reset without an error", lambda stream: reset(stream, NO_ERROR))
OPEN = head(*OK, flags=END_HEADERS)
FIVE = head(*OK, ("content-length", "5"), flags=END_HEADERS)
bad("more DATA than content-length", FIVE, body(b"hello world"), outcome="reset")
bad("less DATA than content-length", FIVE, body(b"hell", END_STREAM), outcome="reset")
bad("DATA and content-length 0", head(*OK, ("content-length", "0"), flags=END_HEADERS), body(b"x"), outcome="reset")
bad("trailers that do not end", OPEN, body(b"x"), head(("t", "1"), flags=END_HEADERS), outcome="reset")
bad("trailers with a pseudo-header", OPEN, body(b"x"), head((":status", "200")), outcome="reset")
bad("trailers with content-length", OPEN, body(b"x"), head(("content-length", "1")), outcome="reset")
bad("trailers in disguise", OPEN, body(b"x"), head(("content_length", "1")), outcome="reset")
bad("trailers with CR LF", OPEN, body(b"x"), head(("t", "1\r\nx: y")), outcome="reset")
bad("a reset within the body", OPEN, body(b"x"), lambda stream: reset(stream, INTERNAL_ERROR), outcome="reset")
bad("a stream's window of more than 2^31-1", lambda stream: window_update((1 << 31) - 1, stream))
for name, fault in [
        ("DATA before the head", body(b"x")),
        ("a head that is no HPACK", lambda stream: headers(b"\xff" * 6, stream)),
        ("PUSH_PROMISE", lambda stream: frame(PUSH_PROMISE, 4, stream, b"\0\0\0\2" + block(OK))),
        ("a frame too large", lambda stream: frame(HEADERS, 5, stream, b"\0" * 16385)),
        ("a frame within a head", lambda stream: headers(block(OK), stream, 1) + frame(PING, 0, 0, b"12345678")),
        ("a bad setting", lambda stream: settings((5, 1))), ("a stream of its own", lambda stream: headers(OK, 2)),
        ("WINDOW_UPDATE of 0", lambda stream: window_update(0)),
        ("DATA on an idle stream", lambda stream: data(b"x", 2001)),
        ("padding longer than DATA", lambda stream: headers(OK, stream, 4) + frame(DATA, PADDED, stream, b"\x09x")),
        ("CONTINUATION from nowhere", lambda stream: frame(CONTINUATION, 4, stream, block(OK)))]:
    bad(name, fault, outcome="connection")


def misbehaving(peer):
    """Paths: /hold is answered in two parts, the second behind what /bad is answered with."""
    held = []
    while (found := peer.next()) is not None:
        if found.kind == SETTINGS and not found.flags:
            peer.send(frame(SETTINGS, 1))
        if found.kind != HEADERS:
            continue
        path = dict(found.fields)[":path"]
        if path == "/hold":
            peer.send(headers(OK, found.stream, END_HEADERS), data(b"held ", found.stream))
            held.append(found.stream)
        elif path == "/bad":
            peer.send(*[part(found.stream) for part in peer.server.case.frames])
            while held:
                peer.send(data(b"to the end", held.pop(), END_STREAM))
        else:
            peer.send(headers(OK, found.stream, END_HEADERS), data(b"good", found.stream, END_STREAM))


@pytest.fixture(scope="module")
def hostile(edge, applied):
    server = RawServer(misbehaving, edge.address)
    applied(server.port)
    yield server
    server.close()


def results(client, streams):
    """{stream: (head, body, reset code)} of streams that are asked for at the same time."""
    found = {stream: [None, b"", None] for stream in streams}
    left = set(streams)
    while left:
        got = client.next()
        assert got is not None, "the connection ended"
        if got.stream not in found:
            continue
        if got.kind == HEADERS and got.status >= 200:
            found[got.stream][0] = got
        elif got.kind == HEADERS and got.has(END_STREAM):
            found[got.stream][0].fields += got.fields
        elif got.kind == DATA:
            found[got.stream][1] += got.payload
        elif got.kind == RST_STREAM:
            found[got.stream][2] = got.code
        if got.kind == RST_STREAM or got.kind in (HEADERS, DATA) and got.has(END_STREAM):
            left.discard(got.stream)
    return found


@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
@pytest.mark.parametrize("entry", CASES, ids=lambda entry: entry.name)
def test_malformed_response(hostile, client, entry, grpc):
    hostile.case = entry
    client.send(request(1, "/hold"))
    client.until(lambda found: found.kind == DATA)
    client.send(request(3, "/bad", "POST" if grpc else "GET", more=GRPC if grpc else ()))
    found = results(client, (1, 3))
    answer, content, code = found[3]
    if grpc:
        # The head alone, or trailers behind what has been forwarded.
        assert answer.status == 200 and dict(answer.fields)["grpc-status"] == "14" and code is None
    elif entry.outcome == "reset" or answer.status == 200:
        assert code == INTERNAL_ERROR
    else:
        assert answer.status == 502
    if entry.outcome == "connection":
        assert found[1][2] == INTERNAL_ERROR or found[1][1] == b"to the end"
    else:
        assert found[1][1] == b"to the end" and found[1][2] is None
    client.send(request(5, "/good"))
    answer, content = client.answer(5)
    assert (answer.status, content) == (200, b"good")


# Refusals: RFC 9113 sections 6.8 and 8.7. A backend says with them that it did nothing.


def refusing(times, how):
    """Refuses `times` requests, then answers with what came."""
    left = [times]
    lock = threading.Lock()

    def script(peer):
        bodies = {}
        heads = {}
        while (found := peer.next()) is not None:
            if found.kind == HEADERS and found.stream not in heads:
                heads[found.stream] = found
                bodies[found.stream] = b""
            elif found.kind == DATA:
                bodies[found.stream] += found.payload
            if found.kind not in (HEADERS, DATA) or not found.has(END_STREAM):
                continue
            with lock:
                left[0] -= 1
                refuse = left[0] >= 0
            if refuse:
                how(peer, found.stream)
            else:
                path = dict(heads[found.stream].fields)[":path"].encode()
                peer.send(headers(OK, found.stream, END_HEADERS),
                          data(path + b" " + bodies[found.stream], found.stream, END_STREAM))
    return script


def refuse_stream(peer, stream):
    peer.send(reset(stream, REFUSED_STREAM))


def go_away(peer, stream):
    peer.send(frame(GOAWAY, 0, 0, struct.pack(">II", max(0, stream - 2), NO_ERROR)))


@pytest.mark.parametrize("how", [refuse_stream, go_away])
@pytest.mark.parametrize("method, payload, more", [
    ("GET", b"", ()), ("POST", b"a small body", ()), ("POST", b"\0\0\0\0\5hello", GRPC),
    ("POST", b"with its length", [("content-length", "15")])], ids=["get", "post", "grpc", "length"])
@pytest.mark.parametrize("warm", [False, True], ids=["new", "reused"])
def test_refused_request_goes_out_again(serve, client, how, method, payload, more, warm):
    script = refusing(1, how)

    def warmed(peer):
        # The first request of all is answered, so that the connection is one that others use.
        if peer.server.connection_count == 1:
            found = peer.until(lambda frame: frame.kind == HEADERS)
            peer.send(headers(OK, found.stream))
        script(peer)

    backend = serve(warmed if warm else script)
    if warm:
        client.send(request(1, "/first"))
        assert client.answer(1)[0].status == 200
    if payload:
        client.send(request(3, "/again", method, END_HEADERS, more), data(payload, 3, END_STREAM))
    else:
        client.send(request(3, "/again", method))
    answer, content = client.answer(3)
    assert (answer.kind, answer.status) == (HEADERS, 200)
    assert content == b"/again " + payload
    assert backend.connection_count == 2


def test_refused_again_and_again(serve, client):
    backend = serve(refusing(100, refuse_stream))
    client.send(request(1))
    assert client.answer(1)[0].status == 503
    assert backend.connection_count <= 4
    client.send(request(3, more=GRPC, method="POST"))
    assert dict(client.answer(3)[0].fields)["grpc-status"] == "14"


def test_large_body_is_not_repeated(serve, client):
    serve(refusing(1, refuse_stream))
    client.send(request(1, "/large", "POST", END_HEADERS), data(b"x" * 16000, 1, END_STREAM))
    assert client.answer(1)[0].status == 503


def test_many_refused_by_one_goaway(serve, client):
    """What was under way below the last stream ends where it is; the others begin anew."""
    def script(peer):
        streams = {}
        while (found := peer.next()) is not None:
            if found.kind == HEADERS:
                streams[found.stream] = dict(found.fields)[":path"].encode()
            if len(streams) == 10 and not peer.server.gone:
                peer.server.gone = True
                last = sorted(streams)[4]
                peer.send(frame(GOAWAY, 0, 0, struct.pack(">II", last, NO_ERROR)))
                streams = {stream: path for stream, path in streams.items() if stream <= last}
            if peer.server.gone:
                for stream, path in streams.items():
                    peer.send(headers(OK, stream, END_HEADERS), data(path, stream, END_STREAM))
                streams = {}

    backend = serve(script)
    backend.gone = False
    wanted = range(1, 21, 2)
    client.send(*[request(stream, f"/{stream}") for stream in wanted])
    found = results(client, wanted)
    assert {stream: (entry[0].status, entry[1]) for stream, entry in found.items()} == {
        stream: (200, b"/%d" % stream) for stream in wanted}
    assert backend.connection_count == 2


def test_graceful_goaway(serve, client):
    """The announcement ends no stream; new requests go to another connection, and the old one is closed."""
    closed = queue.Queue()

    def script(peer):
        found = peer.until(lambda frame: frame.kind == HEADERS)
        if peer.server.connection_count > 1:
            peer.send(headers(OK, found.stream, END_HEADERS), data(b"new", found.stream, END_STREAM))
        else:
            peer.send(frame(GOAWAY, 0, 0, struct.pack(">II", (1 << 31) - 1, NO_ERROR)))
            peer.send(headers(OK, found.stream, END_HEADERS))
            go_on.get(timeout=20)
            peer.send(frame(GOAWAY, 0, 0, struct.pack(">II", found.stream, NO_ERROR)))
            peer.send(data(b"old", found.stream, END_STREAM))
        while peer.next() is not None:
            pass
        closed.put(found.stream)

    go_on = queue.Queue()
    backend = serve(script)
    client.send(request(1))
    client.until(lambda found: found.kind == HEADERS)

    def other():
        client.send(request(3))
        return client.answer(3)

    answer, content = other()
    assert (answer.status, content) == (200, b"new") and backend.connection_count == 2
    go_on.put(True)
    assert client.until(lambda found: found.kind == DATA and found.stream == 1).payload == b"old"
    assert closed.get(timeout=20)


def test_connection_that_breaks_is_tried_again(serve, client):
    """A GET of which nothing came back may be repeated (RFC 9110 section 9.2.2); a POST may not."""
    def script(peer):
        found = peer.until(lambda frame: frame.kind == HEADERS)
        if dict(found.fields)[":path"] == "/warm" or peer.server.breaks == 0:
            peer.send(headers(OK, found.stream))
        if peer.server.breaks == 0:
            while peer.next():
                pass
        found = peer.until(lambda frame: frame.kind == HEADERS)
        peer.server.breaks -= 1

    backend = serve(script)
    backend.breaks = 1
    client.send(request(1, "/warm"))
    assert client.answer(1)[0].status == 200
    client.send(request(3))
    assert client.answer(3)[0].status == 200
    assert backend.connection_count == 2


# Windows of a few bytes


@pytest.mark.parametrize("size", [1, 7])
def test_tiny_windows_of_a_client(edge, size):
    with RawClient(edge.address, edge.sluice.port(80), first=[(4, size)]) as client:
        for stream, backend in ((1, "h1"), (3, "h2c")):
            client.send(headers(
                [(":method", "GET"), (":scheme", "http"), (":authority", f"{backend}.sluice.test"),
                 (":path", "/send/500")], stream))
            content = b""
            while True:
                found = client.until(lambda found: found.stream == stream)
                if found.kind == DATA:
                    assert len(found.payload) <= size
                    content += found.payload
                    if found.has(END_STREAM):
                        break
                    client.send(window_update(len(found.payload) or 1, stream))
            assert content == (bytes(range(251)) * 2)[:500]


def warm_up(peer):
    """A request that is answered: what comes next knows our SETTINGS. Either may come first, the request or the
    acknowledgement."""
    is_answered = is_acknowledged = False
    while not (is_answered and is_acknowledged):
        found = peer.until(lambda frame: frame.kind in (HEADERS, SETTINGS))
        if found.kind == HEADERS:
            peer.send(headers(OK, found.stream))
            is_answered = True
        elif found.flags:
            is_acknowledged = True


@pytest.mark.parametrize("size", [1, 7])
def test_tiny_windows_of_a_backend(serve, client, size):
    def script(peer):
        warm_up(peer)
        found = peer.until(lambda frame: frame.kind == HEADERS)
        content = b""
        while True:
            got = peer.until(lambda frame: frame.kind in (DATA, HEADERS))
            content += got.payload
            assert len(got.payload) <= size
            if got.has(END_STREAM):
                break
            peer.send(window_update(len(got.payload) or 1, found.stream))
        peer.send(headers(OK, found.stream, END_HEADERS), data(content, found.stream, END_STREAM))
        while peer.next():
            pass

    serve(script, first=[(4, size)])
    client.send(request(1))
    assert client.answer(1)[0].status == 200
    client.send(request(3, "/", "POST", END_HEADERS), data(b"0123456789" * 50, 3, END_STREAM))
    answer, content = client.answer(3)
    assert (answer.status, content) == (200, b"0123456789" * 50)


def test_window_that_never_opens_holds_the_client(serve, client):
    """A backend that takes nothing: the client may send what its window allows, and no more."""
    def script(peer):
        warm_up(peer)
        found = peer.until(lambda frame: frame.kind == HEADERS)
        go_on.get(timeout=20)
        peer.send(window_update(1 << 30), window_update(1 << 30, found.stream))
        size = 0
        while True:
            got = peer.until(lambda frame: frame.kind == DATA)
            size += len(got.payload)
            if got.has(END_STREAM):
                break
        peer.send(headers(OK, found.stream, END_HEADERS), data(str(size).encode(), found.stream, END_STREAM))
        while peer.next():
            pass

    go_on = queue.Queue()
    serve(script, first=[(4, 0)])
    # The SETTINGS hold once they are acknowledged.
    client.send(frame(SETTINGS, 1), request(3))
    assert client.answer(3)[0].status == 200
    client.send(request(5, "/", "POST", END_HEADERS))
    room = {0: 1 << 20, 5: 65536}
    sent = 0
    client.connection.settimeout(1)
    try:
        while True:
            piece = min(room[0], room[5], 16384)
            if piece:
                client.send(data(b"z" * piece, 5))
                sent += piece
                room[0] -= piece
                room[5] -= piece
                continue
            found = client.until(lambda found: found.kind in (WINDOW_UPDATE, RST_STREAM))
            assert found.kind == WINDOW_UPDATE, found
            room[found.stream] += struct.unpack(">I", found.payload)[0]
            assert sent < 4 << 20, "more than the proxy may keep"
    except TimeoutError:
        pass
    assert sent >= 65535
    client.connection.settimeout(20)
    go_on.put(True)
    client.send(data(b"", 5, END_STREAM))
    answer, content = client.answer(5)
    assert (answer.status, content) == (200, str(sent).encode())
