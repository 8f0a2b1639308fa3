"""WebSockets over HTTP/2 (RFC 8441): frames by hand on the client's side, to a real WebSocket server over HTTP/1.1 and
to an HTTP/2 backend by hand."""

import base64
import hashlib
import queue
import socket
import struct

import pytest

from harness.layer4 import receive_all
from harness.objects import forward, http_route, service
from harness.raw_http2 import (
    CANCEL, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, NO_ERROR, RST_STREAM, SETTINGS, WINDOW_UPDATE, RawClient,
    RawServer, data, frame, headers, reset, settings, window_update)
from harness.server import Server
from harness.waiting import wait_until
from harness.websocket_echo import WebSocketEcho

HOST = "ws2.sluice.test"
MEBIBYTE = 1 << 20


class Scripted(Server):
    """A backend on a plain socket: answers the Upgrade as `answer(key)` says, then runs `then(connection)`."""

    def __init__(self, address, answer, then=lambda connection: None):
        self.answer, self.then = answer, then
        self.heads = queue.Queue()
        super().__init__(address)

    def serve(self, connection):
        head = b""
        while b"\r\n\r\n" not in head:
            more = connection.recv(65536)
            if not more:
                return
            head += more
        head, _, rest = head.partition(b"\r\n\r\n")
        self.heads.put(head.decode())
        assert not rest, rest
        key = next(line.split(b": ")[1] for line in head.split(b"\r\n") if line.startswith(b"sec-websocket-key"))
        connection.sendall(self.answer(key))
        self.then(connection)


def accept(key):
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def switch(key):
    return (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept(key) + b"\r\nX-Backend: yes\r\n\r\n")


class Tunnel:
    """One WebSocket on one stream. Gives window back for what it takes."""

    def __init__(self, client, stream=1, path="/ws", host=HOST, more=(), early=b""):
        self.client, self.stream = client, stream
        self.room = {0: 65535, stream: 65535}
        self.received = b""
        self.ended = False
        self.code = None
        self.gives = True
        fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", host),
                  (":path", path), ("sec-websocket-version", "13"), ("origin", "https://" + host), *more]
        client.send(headers(fields, stream, END_HEADERS), *([data(early, stream)] if early else []))
        self.head = None

    def pump(self):
        found = self.client.next()
        assert found is not None, "the connection ended"
        if found.kind == WINDOW_UPDATE and found.stream in self.room:
            self.room[found.stream] += struct.unpack(">I", found.payload)[0]
        elif found.kind == SETTINGS and not found.flags:
            # They hold for the other side once they are acknowledged.
            self.client.send(frame(SETTINGS, 1))
            for at in range(0, len(found.payload), 6):
                number, value = struct.unpack(">HI", found.payload[at:at + 6])
                if number == 4:
                    self.room[self.stream] += value - 65535
        elif found.kind == GOAWAY and found.code:
            raise AssertionError(found)
        if found.stream != self.stream:
            return
        if found.kind == HEADERS:
            self.head = found
            self.ended = self.ended or found.has(END_STREAM)
        elif found.kind == DATA:
            self.received += found.payload
            self.ended = found.has(END_STREAM)
            if found.payload and self.gives:
                self.client.send(window_update(len(found.payload)), window_update(len(found.payload), self.stream))
        elif found.kind == RST_STREAM:
            self.code = found.code

    def until(self, condition):
        while not condition():
            self.pump()

    def open(self):
        self.until(lambda: self.head or self.code is not None)
        assert self.code is None, self.code
        return self

    def send(self, payload, end=False):
        """Keeps to the windows."""
        while payload:
            room = min(self.room[0], self.room[self.stream], 16384)
            if room <= 0:
                self.pump()
                continue
            piece, payload = payload[:room], payload[room:]
            self.room[0] -= len(piece)
            self.room[self.stream] -= len(piece)
            self.client.send(data(piece, self.stream))
        if end:
            self.client.send(data(b"", self.stream, END_STREAM))

    # RFC 6455

    def message(self, payload, opcode=2):
        mask = b"\x01\x02\x03\x04"
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size) if size < 65536 \
            else b"\xff" + struct.pack(">Q", size)
        bits = int.from_bytes(payload, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        self.send(bytes([0x80 | opcode]) + length + mask + bits.to_bytes(size, "big"))

    def take(self, count):
        self.until(lambda: len(self.received) >= count or self.ended)
        taken, self.received = self.received[:count], self.received[count:]
        assert len(taken) == count, taken
        return taken

    def receive(self):
        """(opcode, payload)"""
        first, size = self.take(2)
        if size == 126:
            size = struct.unpack(">H", self.take(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.take(8))[0]
        return first & 15, self.take(size)


@pytest.fixture(scope="module")
def applied(edge):
    """Puts a backend behind the host; the route is one, so that only endpoints change."""
    route = http_route("ws2", [HOST], [forward("ws2")])
    edge.sluice.apply(*service("ws2", []), route)

    def apply(port, protocol=None):
        name = f"ws2-{port}"
        made = http_route("ws2", [HOST], [forward(name)])
        edge.sluice.apply(*service(name, [(edge.address, port)], app_protocol=protocol), made)
        edge.sluice.settle()

    yield apply
    edge.sluice.delete(route)


@pytest.fixture(scope="module")
def echo(edge):
    made = WebSocketEcho(edge.address, compression=None, subprotocol="chat")
    yield made
    made.close()


@pytest.fixture(params=["clear", "tls"])
def client(edge, request):
    secure = request.param == "tls"
    with RawClient(edge.address, edge.sluice.port(443 if secure else 80), HOST if secure else None,
                   edge.certificate.chain) as made:
        yield made


@pytest.fixture
def scripted(edge, applied):
    made = []

    def make(answer=switch, then=lambda connection: None):
        made.append(Scripted(edge.address, answer, then))
        applied(made[-1].port)
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def backend_h2(edge, applied):
    made = []

    def make(script, first=((8, 1),)):
        made.append(RawServer(script, edge.address, first))
        applied(made[-1].port, "kubernetes.io/h2c")
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def test_setting_is_announced(client):
    announced = client.until(lambda found: found.kind == SETTINGS).payload
    assert (8, 1) in [struct.unpack(">HI", announced[at:at + 6]) for at in range(0, len(announced), 6)]


class TestRealServer:
    @pytest.fixture(autouse=True)
    def behind(self, applied, echo):
        applied(echo.port)
        for notes in (echo.ended, echo.requests):
            while not notes.empty():
                notes.get()

    def test_echo_and_close(self, client, echo):
        more = [("sec-websocket-protocol", "chat"), ("hoop_key", "key"), ("sec-websocket-key", "not for you")]
        tunnel = Tunnel(client, path="/api/ws?token=1", more=more).open()
        assert tunnel.head.status == 200 and not tunnel.head.has(END_STREAM)
        fields = dict(tunnel.head.fields)
        assert fields["sec-websocket-protocol"] == "chat"
        assert not {"connection", "upgrade", "sec-websocket-accept", "transfer-encoding"} & fields.keys()
        for size in (0, 1, 125, 126, 65536):
            tunnel.message(b"x" * size)
            assert tunnel.receive() == (2, b"x" * size)
        tunnel.message(struct.pack(">H", 4001) + b"bye", opcode=8)
        assert tunnel.receive() == (8, struct.pack(">H", 4001) + b"bye")
        # The server has ended the connection, we have not ended our half yet.
        tunnel.until(lambda: tunnel.ended)
        client.send(data(b"", 1, END_STREAM))
        assert echo.ended.get(timeout=20) == (4001, "bye")
        seen = echo.requests.get(timeout=20)
        assert seen.path == "/api/ws?token=1" and seen.headers["hoop_key"] == "key"
        assert len(base64.b64decode(seen.headers["sec-websocket-key"])) == 16
        assert seen.headers["x-forwarded-host"] == HOST
        # The connection goes on, with another.
        tunnel = Tunnel(client, 3).open()
        tunnel.message(b"again")
        assert tunnel.receive() == (2, b"again")
        assert tunnel.head.status == 200

    def test_large_messages(self, client):
        tunnel = Tunnel(client).open()
        message = bytes(range(256)) * (16 * 1024)
        tunnel.message(message)
        assert tunnel.receive() == (2, message)
        tunnel.message(b"small")
        assert tunnel.receive() == (2, b"small")

    def test_many_at_once(self, client):
        tunnels = [Tunnel(client, stream) for stream in range(1, 41, 2)]
        heads = {}
        while len(heads) < len(tunnels):
            found = client.until(lambda frame: frame.kind == HEADERS)
            heads[found.stream] = found.status
        assert set(heads.values()) == {200}
        for tunnel in tunnels:
            tunnel.message(str(tunnel.stream).encode())
        answers = {}
        while len(answers) < len(tunnels):
            found = client.until(lambda frame: frame.kind == DATA)
            answers[found.stream] = found.payload[2:]
        assert answers == {stream: str(stream).encode() for stream in range(1, 41, 2)}

    def test_what_comes_early_waits(self, client):
        """A frame that does not wait for the answer goes out behind the handshake."""
        tunnel = Tunnel(client, early=b"\x82\x80\0\0\0\0" + b"\x82\x81\0\0\0\0z").open()
        assert tunnel.receive() == (2, b"") and tunnel.receive() == (2, b"z")

    def test_server_closes(self, client, echo):
        tunnel = Tunnel(client).open()
        tunnel.message(b"close me", opcode=1)
        opcode, payload = tunnel.receive()
        assert opcode == 8 and payload[2:] == b"as you wish"
        tunnel.message(payload[:2], opcode=8)
        tunnel.until(lambda: tunnel.ended)
        client.send(data(b"", 1, END_STREAM))
        assert echo.ended.get(timeout=20)[0] == 4002

    def test_client_resets(self, client, echo):
        tunnel = Tunnel(client).open()
        tunnel.message(b"x")
        tunnel.receive()
        client.send(reset())
        assert echo.ended.get(timeout=20)[0] == 1006
        assert Tunnel(client, 3).open().head.status == 200

    def test_client_vanishes(self, client, echo):
        tunnel = Tunnel(client).open()
        client.connection.shutdown(socket.SHUT_RDWR)
        assert echo.ended.get(timeout=20)[0] == 1006
        assert tunnel.head.status == 200

    def test_upgrades_are_counted(self, client, edge):
        before = edge.sluice.admin.metric("sluice_upgrades_total")
        Tunnel(client).open()
        assert edge.sluice.admin.metric("sluice_upgrades_total") == before + 1
        assert edge.sluice.admin.metric("sluice_upgrades_active") >= 1
        client.send(reset())
        wait_until(lambda: edge.sluice.admin.metric("sluice_upgrades_active") == 0)


def test_upgrade_request(client, scripted):
    backend = scripted(then=lambda connection: connection.sendall(b"from the backend"))
    tunnel = Tunnel(client).open()
    assert dict(tunnel.head.fields)["x-backend"] == "yes"
    assert tunnel.take(16) == b"from the backend"
    lines = backend.heads.get(timeout=20).split("\r\n")
    assert lines[0] == "GET /ws HTTP/1.1"
    fields = [line.partition(": ")[::2] for line in lines[1:]]
    names = [name for name, _ in fields]
    assert dict(fields)["connection"] == "upgrade" and dict(fields)["upgrade"] == "websocket"
    assert dict(fields)["host"] == HOST and dict(fields)["sec-websocket-version"] == "13"
    assert names.count("sec-websocket-key") == 1 and not {"content-length", "transfer-encoding"} & set(names)


def test_half_closes(client, scripted):
    """END_STREAM is the end of the client's half alone, and the backend's FIN that of the other."""
    def then(connection):
        connection.sendall(b"first")
        backend.notes.put(receive_all(connection))
        connection.sendall(b"last")

    backend = scripted(then=then)
    tunnel = Tunnel(client).open()
    assert tunnel.take(5) == b"first"
    tunnel.send(b"all that I have", end=True)
    assert backend.notes.get(timeout=20) == b"all that I have"
    tunnel.until(lambda: tunnel.ended)
    assert tunnel.received == b"last" and tunnel.code in (None, NO_ERROR)


def test_backend_half_closes_first(client, scripted):
    def then(connection):
        connection.sendall(b"that is all")
        connection.shutdown(socket.SHUT_WR)
        backend.notes.put(receive_all(connection))

    backend = scripted(then=then)
    tunnel = Tunnel(client).open()
    tunnel.until(lambda: tunnel.ended)
    assert tunnel.received == b"that is all" and tunnel.code is None
    tunnel.send(b"x" * 100_000, end=True)
    assert backend.notes.get(timeout=20) == b"x" * 100_000


def test_backend_resets(client, scripted):
    def then(connection):
        connection.sendall(b"x")
        backend.notes.get(timeout=20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    backend = scripted(then=then)
    tunnel = Tunnel(client).open()
    tunnel.take(1)
    backend.notes.put(True)
    tunnel.until(lambda: tunnel.code is not None)
    assert tunnel.code == CANCEL and not tunnel.ended


def test_flow_control(client, scripted):
    """A client that takes nothing holds the backend up, without a buffer that grows."""
    def then(connection):
        connection.settimeout(2)
        sent = 0
        try:
            while sent < 64 * MEBIBYTE:
                sent += connection.send(b"y" * 65536)
        except TimeoutError:
            pass
        backend.notes.put(sent)
        connection.settimeout(20)
        connection.recv(1)

    backend = scripted(then=then)
    tunnel = Tunnel(client)
    tunnel.gives = False
    tunnel.open()
    sent = backend.notes.get(timeout=20)
    # Socket buffers of the kernel and one high-water mark.
    assert 65535 <= sent < 32 * MEBIBYTE
    client.send(window_update(1 << 30), window_update(1 << 30, 1))
    tunnel.until(lambda: len(tunnel.received) == sent)
    client.send(reset())


def bad_accept(key):
    return switch(key).replace(accept(key), accept(b"A" * 24))


@pytest.mark.parametrize("answer, status", [
    (bad_accept, 502),
    (lambda key: switch(key).replace(b"Sec-WebSocket-Accept: " + accept(key) + b"\r\n", b""), 502),
    (lambda key: switch(key).replace(b"websocket\r\nConn", b"other\r\nConn"), 502),
    (lambda key: b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes", 502),
    (lambda key: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-Why: so\r\n\r\nno", 403),
    (lambda key: b"HTTP/1.1 426 Upgrade Required\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 426),
    (lambda key: b"", 502)],
    ids=["wrong-accept", "no-accept", "another-protocol", "200", "403", "426", "nothing"])
def test_backend_that_does_not_switch(client, scripted, answer, status):
    """What the backend says to a handshake that fails is an ordinary response, and never looks like a tunnel."""
    scripted(answer)
    tunnel = Tunnel(client, early=b"must not get there").open()
    assert tunnel.head.status == status
    tunnel.until(lambda: tunnel.ended)
    client.send(headers([(":method", "GET"), (":scheme", "http"), (":authority", "nobody"), (":path", "/")], 3))
    assert client.answer(3)[0].status == 404


# To an HTTP/2 backend


def echo_over_h2(peer):
    """One extended CONNECT: notes its head, then sends back what comes, and ends where the client ends."""
    peer.server.seen = queue.Queue()
    while (found := peer.next()) is not None:
        if found.kind == SETTINGS and not found.flags:
            peer.send(window_update(1 << 28), frame(SETTINGS, 1))
        elif found.kind == HEADERS:
            peer.server.head = found
            peer.send(headers([(":status", "200"), ("x-backend", "h2")], found.stream, END_HEADERS))
        elif found.kind == DATA:
            end = found.flags & END_STREAM
            peer.send(data(found.payload, found.stream, end))
            if found.payload and not end:
                peer.send(window_update(len(found.payload), found.stream))


def test_extended_connect_to_backend(client, backend_h2):
    backend = backend_h2(echo_over_h2)
    for stream in (1, 3):
        tunnel = Tunnel(client, stream, path="/x?y", early=b"early ").open()
        assert tunnel.head.status == 200 and dict(tunnel.head.fields)["x-backend"] == "h2"
        tunnel.send(b"and late", end=True)
        tunnel.until(lambda: tunnel.ended)
        assert tunnel.received == b"early and late"
        fields = dict(backend.head.fields)
        assert [name for name, _ in backend.head.fields if name.startswith(":")] == [
            ":method", ":scheme", ":authority", ":path", ":protocol"]
        assert (fields[":method"], fields[":protocol"], fields[":path"]) == ("CONNECT", "websocket", "/x?y")
        assert fields[":authority"] == HOST and fields["sec-websocket-version"] == "13"
        assert not {"sec-websocket-key", "transfer-encoding", "connection", "upgrade"} & fields.keys()
    assert backend.connection_count <= 2


def test_backend_without_the_setting(client, backend_h2):
    """Section 3: a client must not ask before the setting has come, nor without it."""
    backend = backend_h2(echo_over_h2, first=())
    backend.head = None
    tunnel = Tunnel(client).open()
    assert tunnel.head.status == 502 and backend.head is None


def test_backend_refuses_the_tunnel(client, backend_h2):
    def script(peer):
        found = peer.until(lambda frame: frame.kind == HEADERS)
        peer.send(headers([(":status", "403"), ("content-length", "2")], found.stream, END_HEADERS))
        peer.send(data(b"no", found.stream, END_STREAM))
        while peer.next():
            pass

    backend_h2(script)
    tunnel = Tunnel(client).open()
    tunnel.until(lambda: tunnel.ended)
    assert (tunnel.head.status, tunnel.received) == (403, b"no")


def test_http2_backend_half_closes_first(client, backend_h2):
    def script(peer):
        found = peer.until(lambda frame: frame.kind == HEADERS)
        peer.send(headers([(":status", "200")], found.stream, END_HEADERS), data(b"bye", found.stream, END_STREAM))
        body = b""
        while True:
            more = peer.until(lambda frame: frame.kind in (DATA, RST_STREAM))
            body += more.payload
            if more.kind == RST_STREAM or more.has(END_STREAM):
                notes.put((more.kind, body))

    notes = queue.Queue()
    backend_h2(script)
    tunnel = Tunnel(client).open()
    tunnel.until(lambda: tunnel.ended)
    assert tunnel.received == b"bye"
    tunnel.send(b"good bye", end=True)
    assert notes.get(timeout=20) == (DATA, b"good bye")


def test_resets_pass_both_ways(client, backend_h2):
    def script(peer):
        while True:
            found = peer.until(lambda frame: frame.kind in (HEADERS, RST_STREAM))
            if found.kind == RST_STREAM:
                notes.put(found.code)
            elif found.stream == 1 or dict(found.fields)[":path"] == "/mine":
                peer.send(headers([(":status", "200")], found.stream, END_HEADERS))
                if dict(found.fields)[":path"] == "/mine":
                    peer.send(reset(found.stream))

    notes = queue.Queue()
    backend_h2(script)
    Tunnel(client, 1).open()
    client.send(reset(1))
    assert notes.get(timeout=20) == CANCEL
    tunnel = Tunnel(client, 3, path="/mine")
    tunnel.until(lambda: tunnel.code is not None)
    assert tunnel.code == CANCEL
