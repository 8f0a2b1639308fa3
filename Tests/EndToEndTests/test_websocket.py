"""WebSockets by a real library on both sides."""

import contextlib
import socket
import ssl

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from harness.objects import forward, service
from harness.waiting import wait_until
from harness.websocket_echo import HTTP2WebSocketEcho, WebSocketEcho


@pytest.fixture(scope="module")
def backends(edge):
    made = [kind(edge.address) for kind in (WebSocketEcho, HTTP2WebSocketEcho)]
    yield made
    for one in made:
        one.close()


PATHS = {"plain": (None, False), "tls": (None, True), "app-protocol": ("kubernetes.io/ws", False),
         "h2c": ("kubernetes.io/h2c", False), "tls-h2c": ("kubernetes.io/h2c", True)}


@pytest.fixture(params=PATHS)
def path(request):
    return PATHS[request.param]


@pytest.fixture
def backend(backends, path):
    return backends[path[0] == "kubernetes.io/h2c"]


@pytest.fixture
def open_socket(edge, backend, route, host, path):
    protocol, secure = path
    name = host.split(".")[0]
    route([forward(name)], extra=service(name, [(edge.address, backend.port)], app_protocol=protocol))
    for notes in (backend.ended, backend.requests):
        while not notes.empty():
            notes.get()

    @contextlib.contextmanager
    def opened(path="/api/ws", **more):
        raw = socket.create_connection((edge.address, edge.sluice.port(443 if secure else 80)), 20)
        if secure:
            context = ssl.create_default_context(cadata=edge.certificate.chain)
            # The library reads and writes on two threads, which OpenSSL does not allow where reading changes more than
            # what was read: with the session tickets of TLS 1.3 a request got lost now and then.
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            more = {**more, "ssl": context, "server_hostname": host}
        url = f"{'wss' if secure else 'ws'}://{host}{path}"
        with connect(url, sock=raw, max_size=None, **more) as connection:
            yield connection

    opened.host = host
    return opened


def test_echo(open_socket, backend):
    with open_socket("/api/ws?token=1", additional_headers={"HOOP_KEY": "key"}) as connection:
        for message in ("hello", b"\x00\x01\xff", "", "\u00fcber " * 100):
            connection.send(message)
            assert connection.recv(timeout=20) == message
    seen = backend.requests.get(timeout=20)
    assert seen.path == "/api/ws?token=1"
    assert seen.headers["hoop_key"] == "key"
    assert seen.headers["x-forwarded-host"]


def test_large_messages(open_socket):
    message = bytes(range(256)) * (16 * 4096)
    with open_socket(compression=None) as connection:
        for _ in range(2):
            connection.send(message)
            assert connection.recv(timeout=60) == message


def test_many_small_messages(open_socket):
    with open_socket() as connection:
        for number in range(500):
            connection.send(str(number))
        assert [connection.recv(timeout=20) for _ in range(500)] == [str(number) for number in range(500)]


def test_ping_goes_through(open_socket):
    with open_socket() as connection:
        assert connection.ping().wait(20)


def test_client_closes_with_a_code(open_socket, backend):
    with open_socket() as connection:
        connection.send("x")
        connection.recv(timeout=20)
        connection.close(4001, "bye")
    assert backend.ended.get(timeout=20) == (4001, "bye")


def test_server_closes_with_a_code(open_socket, backend):
    with open_socket() as connection:
        connection.send("close me")
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=20)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4002, "as you wish")
    assert backend.ended.get(timeout=20) == (4002, "as you wish")


def test_client_vanishes(open_socket, backend):
    with pytest.raises(ConnectionClosed):
        with open_socket() as connection:
            connection.send("x")
            connection.recv(timeout=20)
            connection.socket.shutdown(socket.SHUT_RDWR)
            connection.recv(timeout=20)
    assert backend.ended.get(timeout=20)[0] == 1006


def test_backend_that_refuses(edge, route, host):
    """An answer that is no upgrade is an ordinary response."""
    route([forward("h1")])
    raw = socket.create_connection((edge.address, edge.sluice.port(80)), 20)
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{host}/status/403", sock=raw)
    assert refused.value.response.status_code == 403


def test_upgrades_are_counted(open_socket, edge):
    before = edge.sluice.admin.metric("sluice_upgrades_total")
    with open_socket() as connection:
        connection.send("x")
        connection.recv(timeout=20)
        assert edge.sluice.admin.metric("sluice_upgrades_total") == before + 1
        assert edge.sluice.admin.metric("sluice_upgrades_active") >= 1
    wait_until(lambda: edge.sluice.admin.metric("sluice_upgrades_active") == 0)
