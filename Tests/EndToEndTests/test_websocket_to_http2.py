"""WebSockets of HTTP/1.1 clients whose backend speaks HTTP/2: the Upgrade goes on as an extended CONNECT (RFC 8441).
Both sides by hand; a real library on both is in test_websocket.py."""

import base64
import contextlib
import hashlib
import json
import queue
import socket
import struct
import threading

import pytest

from harness.objects import forward, gateway, http_listener, http_route, service
from harness.raw_http2 import (
    ACK, CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, REFUSED_STREAM, RST_STREAM, SETTINGS, Peer,
    RawServer, data, frame, headers, reset, settings, window_update)
from harness.waiting import wait_until

HOST = "ws1.sluice.test"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MEBIBYTE = 1 << 20
OK = [(":status", "200")]


class Client:
    """One HTTP/1.1 connection, read byte by byte."""

    def __init__(self, address, port):
        self.connection = socket.create_connection((address, port), 20)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def ask(self, path="/ws", key=KEY, more=(), early=b"", host=HOST):
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade, X-Hop", "Upgrade: websocket",
                 "X-Hop: 1", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: chat", f"Origin: https://{host}"]
        lines += [f"Sec-WebSocket-Key: {key}"] if key is not None else []
        self.connection.sendall("\r\n".join([*lines, *more, "", ""]).encode() + early)
        return self

    def head(self):
        """(status, {name: value})"""
        while b"\r\n\r\n" not in self.buffer:
            more = self.connection.recv(65536)
            assert more, self.buffer
            self.buffer += more
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        return int(first.split()[1]), {
            name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    def response(self):
        """(status, body)"""
        status, fields = self.head()
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.line(), 16):
                body += self.take(size)
                self.line()
            self.line()
            return status, body
        return status, self.take(int(fields["content-length"]))

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def more(self):
        more = self.connection.recv(65536)
        assert more, self.buffer
        self.buffer += more

    def take(self, count):
        while len(self.buffer) < count:
            self.more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def rest(self):
        """To the end of the connection."""
        while more := self.connection.recv(65536):
            self.buffer += more
        return self.buffer

    def open(self, **more):
        status, fields = self.ask(**more).head()
        assert status == 101
        self.fields = fields
        return self

    def send(self, payload, end=False):
        self.connection.sendall(payload)
        if end:
            self.connection.shutdown(socket.SHUT_WR)

    def close(self):
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Tunnels:
    """A script for RawServer: takes every extended CONNECT with `answer`, notes heads, DATA and resets, and runs
    `then(peer, stream)`."""

    def __init__(self, answer=OK, then=lambda peer, stream: None, echoes=False, gives=True):
        self.answer, self.then, self.echoes, self.gives = answer, then, echoes, gives
        self.heads = queue.Queue()
        self.notes = queue.Queue()

    def __call__(self, peer):
        while (found := peer.next()) is not None:
            if found.kind == SETTINGS and not found.has(ACK):
                peer.send(frame(SETTINGS, ACK))
                if self.gives:
                    peer.send(window_update(1 << 28))
            elif found.kind == HEADERS:
                self.heads.put(found)
                peer.send(headers(self.answer, found.stream, END_HEADERS))
                self.then(peer, found.stream)
            elif found.kind == DATA:
                if self.echoes:
                    peer.send(data(found.payload, found.stream, found.flags & END_STREAM))
                else:
                    self.notes.put((found.payload, found.has(END_STREAM)))
                if self.gives and found.payload and not found.has(END_STREAM):
                    peer.send(window_update(len(found.payload), found.stream))
            elif found.kind == RST_STREAM:
                self.notes.put(found.code)

    def body(self):
        """DATA up to END_STREAM."""
        pieces = []
        while True:
            payload, end = self.notes.get(timeout=20)
            pieces.append(payload)
            if end:
                return b"".join(pieces)


@pytest.fixture(scope="module")
def applied(edge):
    route = http_route("ws1", [HOST], [forward("ws1")])
    edge.sluice.apply(*service("ws1", []), route)

    def apply(*ports):
        name = f"ws1-{ports[0]}"
        edge.sluice.apply(
            *service(name, [(edge.address, port) for port in ports], app_protocol="kubernetes.io/h2c"),
            http_route("ws1", [HOST], [forward(name)]))
        edge.sluice.settle()

    yield apply
    edge.sluice.delete(route)


@pytest.fixture
def backend(edge, applied):
    made = []

    def make(script=None, first=((8, 1),), kind=RawServer):
        made.append(kind(script or Tunnels(echoes=True), edge.address, first))
        applied(made[-1].port)
        return made[-1].script

    yield make
    for server in made:
        server.close()


@pytest.fixture
def client(edge):
    with Client(edge.address, edge.sluice.port(80)) as made:
        yield made


def test_the_upgrade_becomes_an_extended_connect(client, backend):
    more = [("x-backend", "h2"), ("sec-websocket-protocol", "chat"), ("sec-websocket-accept", "of no use")]
    script = backend(Tunnels(OK + more, echoes=True))
    client.open(path="/x?y", more=("Content-Length: 0",))
    fields = client.fields
    digest = hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    assert fields["sec-websocket-accept"] == base64.b64encode(digest).decode()
    assert (fields["connection"], fields["upgrade"]) == ("upgrade", "websocket")
    assert (fields["x-backend"], fields["sec-websocket-protocol"]) == ("h2", "chat")
    assert not {"content-length", "transfer-encoding"} & fields.keys()
    found = script.heads.get(timeout=20)
    assert [name for name, _ in found.fields if name.startswith(":")] == [
        ":method", ":scheme", ":authority", ":path", ":protocol"]
    seen = dict(found.fields)
    assert (seen[":method"], seen[":protocol"], seen[":path"]) == ("CONNECT", "websocket", "/x?y")
    assert (seen[":authority"], seen["sec-websocket-version"], seen["origin"]) == (HOST, "13", f"https://{HOST}")
    assert seen["x-forwarded-host"] == HOST
    assert not {"connection", "upgrade", "x-hop", "sec-websocket-key", "content-length", "transfer-encoding"} \
        & seen.keys()
    assert not found.has(END_STREAM)
    client.send(b"to and fro")
    assert client.take(10) == b"to and fro"


@pytest.mark.parametrize("status", ["200", "202", "299"])
def test_any_success_is_one(client, backend, status):
    backend(Tunnels([(":status", status)], echoes=True))
    client.open()
    client.send(b"x")
    assert client.take(1) == b"x"


def test_what_comes_early_waits(client, backend):
    backend()
    client.open(early=b"early ")
    client.send(b"and late", end=True)
    assert client.rest() == b"early and late"


def test_client_that_has_ended_before_the_answer(client, backend):
    go = threading.Event()

    def slow(peer):
        found = peer.until(lambda frame: frame.kind == HEADERS)
        go.wait(20)
        peer.send(headers(OK, found.stream, END_HEADERS))
        body = b""
        while True:
            more = peer.until(lambda frame: frame.kind == DATA)
            body += more.payload
            if more.has(END_STREAM):
                peer.send(data(body[::-1], found.stream, END_STREAM))

    backend(slow)
    client.ask(early=b"abc")
    client.connection.shutdown(socket.SHUT_WR)
    go.set()
    assert client.head()[0] == 101
    assert client.rest() == b"cba"


@pytest.mark.parametrize("key", [None, "", "short", KEY + "=", KEY[:-2] + "AA", "?" + KEY[1:]],
                         ids=["none", "empty", "short", "long", "unpadded", "no-base64"])
def test_keys_that_are_none(client, backend, key):
    """RFC 6455 section 4.2.1: it is ours to answer, and so ours to look at."""
    script = backend()
    assert client.ask(key=key).response()[0] == 400
    assert script.heads.empty()
    client.open()


def test_two_keys(client, backend):
    backend()
    assert client.ask(more=(f"Sec-WebSocket-Key: {KEY}",)).response()[0] == 400


def test_backend_without_the_setting(client, backend, edge):
    """RFC 8441 section 3: nobody may be asked who has not said that it may."""
    script = backend(Tunnels(), first=())
    status, body = client.ask().response()
    assert status == 502 and b"WebSocket" in body
    assert script.heads.empty()
    # The connection goes on.
    assert client.ask(host="nobody.sluice.test").response()[0] == 404


class Hesitant(RawServer):
    """Says nothing, not even its SETTINGS, until nothing more comes."""

    def serve(self, connection):
        peer = Peer(connection)
        assert peer._read(len(PREFACE)) == PREFACE
        connection.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while more := connection.recv(65536):
                peer.buffer += more
        connection.settimeout(self.timeout)
        self.script.early = peer.buffer
        peer.send(settings((8, 1)))
        self.script(peer)


def test_the_setting_is_waited_for(client, backend):
    """Section 3: nothing may be asked for before it has come."""
    script = backend(kind=Hesitant)
    client.open(early=b"x")
    assert client.take(1) == b"x"
    kinds = []
    rest = script.early
    while rest:
        kinds.append(rest[3])
        rest = rest[9 + int.from_bytes(rest[:3], "big"):]
    assert SETTINGS in kinds and HEADERS not in kinds


@pytest.mark.parametrize("length", [True, False], ids=["length", "no-length"])
def test_refusals_are_passed_on(client, backend, length):
    """As what they are: ordinary responses, behind which the connection goes on with what the client sent."""
    fields = [(":status", "403"), ("x-why", "so")] + ([("content-length", "2")] if length else [])

    def script(peer):
        while True:
            found = peer.until(lambda frame: frame.kind in (HEADERS, RST_STREAM))
            if found.kind == RST_STREAM:
                notes.put(found.code)
            elif dict(found.fields)[":method"] == "CONNECT":
                peer.send(headers(fields, found.stream, END_HEADERS), data(b"no", found.stream, END_STREAM))
            else:
                peer.send(headers(OK, found.stream, END_HEADERS), data(b"next", found.stream, END_STREAM))

    notes = queue.Queue()
    backend(script)
    client.ask(early=f"GET /next HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    assert client.response() == (403, b"no")
    assert client.response() == (200, b"next")
    assert notes.get(timeout=20) == CANCEL


def test_redirects_are_refusals(client, backend):
    def script(peer):
        found = peer.until(lambda frame: frame.kind == HEADERS)
        peer.send(headers([(":status", "302"), ("location", "/x")], found.stream))
        while peer.next():
            pass

    backend(script)
    status, fields = client.ask().head()
    assert (status, fields["location"]) == (302, "/x") and "sec-websocket-accept" not in fields


def test_half_closes(client, backend):
    script = backend(Tunnels(then=lambda peer, stream: peer.send(data(b"first", stream))))
    client.open()
    assert client.take(5) == b"first"
    client.send(b"all that I have", end=True)
    assert script.body() == b"all that I have"


def test_backend_half_closes_first(client, backend):
    script = backend(Tunnels(then=lambda peer, stream: peer.send(data(b"that is all", stream, END_STREAM))))
    client.open()
    assert client.rest() == b"that is all"
    client.send(b"x" * 300_000, end=True)
    assert script.body() == b"x" * 300_000


def test_success_that_ends_at_once(client, backend):
    def script(peer):
        found = peer.until(lambda frame: frame.kind == HEADERS)
        peer.send(headers(OK, found.stream, END_STREAM | END_HEADERS))
        while True:
            notes.put(peer.until(lambda frame: frame.kind == DATA).payload)

    notes = queue.Queue()
    backend(script)
    client.open()
    assert client.rest() == b""
    client.send(b"still heard")
    assert notes.get(timeout=20) == b"still heard"


def test_backend_resets(client, backend):
    backend(Tunnels(then=lambda peer, stream: peer.send(data(b"x", stream), reset(stream))))
    client.open()
    with pytest.raises(ConnectionResetError):
        client.rest()


def test_client_resets(client, backend):
    script = backend(Tunnels(then=lambda peer, stream: peer.send(data(b"x", stream))))
    client.open()
    client.take(1)
    client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert script.notes.get(timeout=20) == CANCEL


def test_backend_that_takes_nothing_holds_the_client_up(client, backend):
    script = backend(Tunnels(gives=False))
    client.open()
    client.connection.settimeout(1)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 64 * MEBIBYTE:
            sent += client.connection.send(b"y" * 65536)
    # Socket buffers of the kernel and one high-water mark.
    assert 65535 <= sent < 32 * MEBIBYTE
    assert sum(len(script.notes.get(timeout=20)[0]) for _ in range(script.notes.qsize())) <= 65535


def test_client_that_takes_nothing_holds_the_backend_up(client, backend):
    """The backend may send no more than its window; all of it arrives once the client reads."""
    def script(peer):
        found = peer.until(lambda frame: frame.kind == HEADERS)
        peer.send(headers(OK, found.stream, END_HEADERS))
        room = {0: 65535, found.stream: 65535}
        sent = 0
        peer.connection.settimeout(1)
        try:
            while sent < 64 * MEBIBYTE:
                count = min(room[0], room[found.stream], 16384)
                if count > 0:
                    peer.send(data(b"y" * count, found.stream))
                    sent += count
                    room[0] -= count
                    room[found.stream] -= count
                    continue
                more = peer.next()
                if more.kind == 8 and more.stream in room:
                    room[more.stream] += struct.unpack(">I", more.payload)[0]
                elif more.kind == SETTINGS and not more.has(ACK):
                    peer.send(frame(SETTINGS, ACK))
                    for at in range(0, len(more.payload), 6):
                        number, value = struct.unpack(">HI", more.payload[at:at + 6])
                        if number == 4:
                            room[found.stream] += value - 65535
        except TimeoutError:
            pass
        notes.put(sent)
        peer.connection.settimeout(20)
        peer.send(data(b"", found.stream, END_STREAM))
        while peer.next():
            pass

    notes = queue.Queue()
    backend(script)
    client.open()
    sent = notes.get(timeout=30)
    assert 65535 <= sent < 32 * MEBIBYTE
    assert len(client.rest()) == sent


def test_refused_stream_goes_elsewhere(client, edge, applied):
    """REFUSED_STREAM says that nothing was done with the request (RFC 9113 section 8.7)."""
    def refuse(peer):
        found = peer.until(lambda frame: frame.kind == HEADERS)
        with lock:
            first = not asked
            asked.append(dict(found.fields)[":path"])
        if first:
            peer.send(reset(found.stream, REFUSED_STREAM))
        else:
            peer.send(headers(OK, found.stream, END_HEADERS), data(b"here", found.stream))
        while peer.next():
            pass

    asked, lock = [], threading.Lock()
    server = RawServer(refuse, edge.address, ((8, 1),))
    applied(server.port)
    client.open(path="/again")
    assert client.take(4) == b"here" and asked == ["/again", "/again"]
    server.close()


def test_many_on_one_connection(edge, backend):
    backend()
    before = edge.sluice.admin.metric("sluice_upgrades_total")
    clients = [Client(edge.address, edge.sluice.port(80)).open() for _ in range(20)]
    for number, made in enumerate(clients):
        made.send(str(number).encode() * 1000)
    for number, made in enumerate(clients):
        assert made.take(len(str(number)) * 1000) == str(number).encode() * 1000
    assert edge.sluice.admin.metric("sluice_upgrades_total") == before + 20
    assert edge.sluice.admin.metric("sluice_upgrades_active") >= 20
    for made in clients:
        made.close()
    wait_until(lambda: edge.sluice.admin.metric("sluice_upgrades_active") == 0)


def test_drain_and_the_access_log(run_sluice, tmp_path):
    """A WebSocket goes on while the process drains, and has one line in the log."""
    log = tmp_path / "access.log"
    sluice = run_sluice(["--access-log", log])
    server = RawServer(Tunnels(echoes=True), sluice.address, ((8, 1),))
    deaf = RawServer(Tunnels(), sluice.address)
    sluice.apply(
        gateway("edge", [http_listener()]),
        *service("ws", [(sluice.address, server.port)], app_protocol="kubernetes.io/h2c"),
        *service("deaf", [(sluice.address, deaf.port)], app_protocol="kubernetes.io/h2c"),
        http_route("ws", [HOST], [forward("ws")]), http_route("deaf", ["deaf.sluice.test"], [forward("deaf")]))
    sluice.wait_programmed("Gateway", "edge")
    sluice.settle()
    with Client(sluice.address, sluice.port(80)) as refused, Client(sluice.address, sluice.port(80)) as client:
        assert refused.ask(path="/deaf", host="deaf.sluice.test").response()[0] == 502
        client.open(path="/logged")
        client.send(b"before")
        assert client.take(6) == b"before"
        sluice.process.terminate()

        def refuses():
            try:
                sluice.plain_status("nobody.sluice.test")
            except OSError:
                return True

        wait_until(refuses, "no new connection is taken")
        client.send(b"after", end=True)
        assert client.rest() == b"after"
    assert sluice.process.wait(20) == 0
    lines = {line["path"]: line for line in map(json.loads, log.read_text().splitlines()) if line.get("path")}
    line = lines["/logged"]
    assert (line["protocol"], line["status"], line["bytes_in"], line["bytes_out"]) == ("WebSocket", 101, 11, 11)
    assert lines["/deaf"]["status"] == 502 and lines["/deaf"]["flags"] == ["no_backend"]
    server.close()
    deaf.close()
