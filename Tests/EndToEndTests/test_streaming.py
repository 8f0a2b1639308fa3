"""Bodies that are long, slow or endless."""

import os
import queue
import subprocess
import threading

import pytest

from harness.backends import H1Backend, H2Backend, PeerGone
from harness.certificates import Certificate
from harness.clients import H1Client
from harness.objects import forward, gateway, http_listener, http_route, https_listener, service
from harness.process import resident_bytes
from harness.waiting import wait_until

GIBIBYTE = 1 << 30
MEBIBYTE = 1 << 20
BLOCK = bytes(MEBIBYTE)


@pytest.mark.parametrize("backend_kind", ["h1", "h2c"])
@pytest.mark.parametrize("kind", ["h1", "h1-tls", "h2c", "h2-tls"])
def test_server_sent_events_are_flushed_at_once(edge, route, host, kind, backend_kind):
    """Each event arrives before the backend makes the next one."""
    name = host.split(".")[0]
    allowed = queue.Queue()

    def events(exchange):
        exchange.start(200, [("content-type", "text/event-stream"), ("x-accel-buffering", "no")])
        while (number := allowed.get(timeout=30)) is not None:
            exchange.write(b"data: %d\n\n" % number)
        exchange.end()

    make = H1Backend if backend_kind == "h1" else H2Backend
    with make(events, edge.address) as backend:
        protocol = "kubernetes.io/h2c" if backend_kind == "h2c" else None
        route([forward(name)], extra=service(name, [(edge.address, backend.port)], app_protocol=protocol))
        with edge.client(kind, host) as client:
            call = client.open("GET", "/api/events", host)
            assert call.head().header("content-type") == "text/event-stream"
            received = call.body()
            for number in range(20):
                allowed.put(number)
                assert next(received) == b"data: %d\n\n" % number
            allowed.put(None)
            assert list(received) == []


class Bulk:
    """Backend that counts what it gets and sends what it is asked for."""

    def __init__(self, address, make):
        self.received = 0
        self.sent = 0
        self.backend = make(self.handle, address)

    def handle(self, exchange):
        self.received = 0
        for piece in exchange.body():
            self.received += len(piece)
        size = int(exchange.query or "0")
        exchange.start(200, [("x-received", str(self.received)), ("content-length", str(size))], end=size == 0)
        self.sent = 0
        try:
            while self.sent < size:
                exchange.write(BLOCK, end=self.sent + MEBIBYTE == size)
                self.sent += MEBIBYTE
        except PeerGone:
            pass


@pytest.fixture(params=["h1", "h2c"])
def bulk(run_sluice, request):
    sluice = run_sluice(workers=1)
    made = Bulk(sluice.address, H1Backend if request.param == "h1" else H2Backend)
    made.kind, made.sluice = request.param, sluice
    made.certificate = Certificate(["bulk.sluice.test"])
    protocol = "kubernetes.io/h2c" if request.param == "h2c" else None
    sluice.apply(
        made.certificate.secret("tls"), gateway("edge", [http_listener(), https_listener("tls")]),
        *service("bulk", [(sluice.address, made.backend.port)], app_protocol=protocol),
        http_route("bulk", ["bulk.sluice.test"], [forward("bulk")]))
    sluice.wait_programmed("Gateway", "edge")
    sluice.settle()
    made.pid = sluice.child("sluice-dataplane")
    made.before = resident_bytes(made.pid)
    # What counts is the peak from here on.
    with open(f"/proc/{made.pid}/clear_refs", "w") as file:
        file.write("5")
    yield made
    made.backend.close()


def peak_growth(bulk):
    with open(f"/proc/{bulk.pid}/status") as file:
        peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    return peak - bulk.before


def curl(bulk, scheme, *arguments, stdin=None):
    """(status, x-received, bytes) of a transfer."""
    sluice = bulk.sluice
    authority = sluice.directory / "authority.pem"
    authority.write_text(bulk.certificate.chain)
    port = sluice.port(443 if scheme == "https" else 80)
    result = subprocess.run(
        ["curl", "-sS", "--max-time", "100", "--cacert", authority, "-o", "/dev/null", "-H", "Expect:",
         "--connect-to", f"::{sluice.address}:{port}", "-w", "%{http_code} %header{x-received} %{size_download}",
         *arguments], stdin=stdin, capture_output=True, text=True, timeout=110,
        env={**os.environ, "no_proxy": "*"})
    assert result.returncode == 0, result
    return tuple(int(word or 0) for word in result.stdout.split())


FLAGS = {"h1": ("http", "--http1.1"), "h2c": ("http", "--http2-prior-knowledge"), "h2-tls": ("https", "--http2")}


def size_for(kind, bulk):
    """A gibibyte where both ends are quick; the h2 library of the backend is not."""
    return GIBIBYTE if (kind, bulk.kind) == ("h1", "h1") else 192 * MEBIBYTE if bulk.kind == "h1" else 48 * MEBIBYTE


@pytest.mark.parametrize("kind", FLAGS)
def test_large_download_in_bounded_memory(bulk, kind):
    size = size_for(kind, bulk)
    scheme, flag = FLAGS[kind]
    status, _, got = curl(bulk, scheme, flag, f"{scheme}://bulk.sluice.test/?{size}")
    assert (status, got) == (200, size)
    assert peak_growth(bulk) < 16 * MEBIBYTE


@pytest.mark.parametrize("kind", FLAGS)
def test_large_upload_in_bounded_memory(bulk, kind):
    size = size_for(kind, bulk)
    scheme, flag = FLAGS[kind]
    source = subprocess.Popen(["head", "-c", str(size), "/dev/zero"], stdout=subprocess.PIPE)
    try:
        status, received, _ = curl(bulk, scheme, flag, "-T", "-", f"{scheme}://bulk.sluice.test/", stdin=source.stdout)
    finally:
        source.kill()
        source.stdout.close()
        source.wait(10)
    assert (status, received) == (200, size)
    assert peak_growth(bulk) < 16 * MEBIBYTE


@pytest.mark.parametrize("kind", FLAGS)
def test_downloads_one_after_the_other_do_not_stall(bulk, kind):
    """Back-pressure that comes and goes thousands of times always goes."""
    count, size = (24, 64 * MEBIBYTE) if bulk.kind == "h1" else (6, 8 * MEBIBYTE)
    scheme, flag = FLAGS[kind]
    for _ in range(count):
        status, _, got = curl(bulk, scheme, flag, "--speed-time", "10", f"{scheme}://bulk.sluice.test/?{size}")
        assert (status, got) == (200, size)


def test_client_that_does_not_read_holds_the_backend_back(bulk):
    with H1Client(bulk.sluice.address, bulk.sluice.port(80)) as client:
        call = client.open("GET", f"/?{GIBIBYTE}", "bulk.sluice.test")
        assert call.head().status == 200
        last = -1

        def stalled():
            nonlocal last
            before, last = last, bulk.sent
            return before == last and last > 0
        wait_until(stalled, "the backend waits", timeout=30, interval=0.5)
        assert bulk.sent < 64 * MEBIBYTE
        assert peak_growth(bulk) < 16 * MEBIBYTE
        # And it goes on when the client reads again.
        received = call.body()
        total = sum(len(next(received)) for _ in range(2000))
        wait_until(lambda: bulk.sent > last or total > 64 * MEBIBYTE)


def test_half_closed_client_gets_its_response(edge, route, host):
    name = host.split(".")[0]
    go = threading.Event()

    def answer(exchange):
        exchange.read()
        go.wait(20)
        exchange.respond(200, [], b"late")

    import socket
    with H1Backend(answer, edge.address) as backend:
        route([forward(name)], extra=service(name, [(edge.address, backend.port)]))
        with edge.client() as client:
            call = client.open("GET", "/", host)
            client.connection.shutdown(socket.SHUT_WR)
            wait_until(lambda: backend.connection_count == 1)
            go.set()
            assert call.response().body == b"late"


@pytest.mark.parametrize("kind", ["h2c", "h2-tls"])
def test_uploads_that_are_broken_off_cost_no_window(edge, route, host, kind):
    """A client resets streams whose data the backend never took; its connection goes on as if new."""
    name = host.split(".")[0]
    release = threading.Event()

    def answer(exchange):
        if exchange.path == "/stuck":
            release.wait(60)
            exchange.keep_alive = False
        else:
            exchange.respond(200, [], str(len(exchange.read())).encode())

    with H1Backend(answer, edge.address) as backend:
        route([forward(name)], extra=service(name, [(edge.address, backend.port)]))
        with edge.client(kind, host) as client:
            for _ in range(40):
                call = client.open("POST", "/stuck", host, [("content-length", "1000000")], end=False)
                call.send(bytes(60_000))
                call.abort()
            # More than the window of the connection, which is a mebibyte.
            assert client.request("POST", "/", host, body=bytes(2 * MEBIBYTE)).body == str(2 * MEBIBYTE).encode()
        release.set()


@pytest.mark.parametrize("kind", ["h1", "h2c", "h2-tls"])
def test_downloads_that_are_broken_off_cost_no_window(edge, route, host, kind):
    """Clients go in the middle of responses of one HTTP/2 backend; its connection goes on as if new."""
    name = host.split(".")[0]

    def answer(exchange):
        exchange.start(200, [])
        size = 4 * MEBIBYTE
        while size:
            exchange.write(bytes(65_536))
            size -= 65_536
        exchange.end()

    with H2Backend(answer, edge.address) as backend:
        route([forward(name)], extra=service(name, [(edge.address, backend.port)], app_protocol="kubernetes.io/h2c"))
        for _ in range(60):
            with edge.client(kind, host) as client:
                call = client.open("GET", "/", host)
                assert call.head().status == 200
                next(call.body())
                call.abort()
        for _ in range(4):
            with edge.client(kind, host) as client:
                assert len(client.request("GET", "/", host).body) == 4 * MEBIBYTE
        # The proxy did not help itself with new connections.
        assert backend.connection_count <= 2
