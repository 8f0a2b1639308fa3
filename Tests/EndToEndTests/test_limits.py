"""Limits act, say so to the client and are counted."""

import contextlib
import re
import socket
import subprocess
import threading
import time

import pytest

from harness.backends import H1Backend
from harness.clients import Broken, H1Client, H2Client
from harness.objects import forward, gateway, http_listener, http_route, service
from harness.process import ROOT, SluiceProcess, binaries
from harness.raw_http2 import ENHANCE_YOUR_CALM, GOAWAY, PING, SETTINGS, RawClient, frame
from harness.waiting import wait_until

HOST = "limits.sluice.test"
LIMITS = {
    "max-request-line-bytes": "2KiB", "max-head-bytes": "8KiB", "max-header-fields": "20",
    "max-request-body-bytes": "100KiB", "request-head-timeout": "500ms", "request-body-idle-timeout": "500ms",
    "idle-timeout": "700ms", "max-trailer-bytes": "1KiB", "max-concurrent-streams": "5",
    "max-stream-resets": "50", "max-pings": "50", "tls-handshake-timeout": "500ms",
}


class Limited:
    def __init__(self, sluice):
        self.sluice = sluice
        self.backend = H1Backend(self.answer, sluice.address)
        sluice.apply(
            gateway("edge", [http_listener()]), *service("web", [(sluice.address, self.backend.port)]),
            http_route("web", [HOST], [forward("web")]))
        sluice.wait_programmed("Gateway", "edge")
        sluice.settle()

    @staticmethod
    def answer(exchange):
        exchange.respond(200, [], exchange.read())

    def h1(self):
        return H1Client(self.sluice.address, self.sluice.port(80))

    def h2(self):
        return H2Client(self.sluice.address, self.sluice.port(80))

    def still_serves(self):
        with self.h1() as client:
            return client.request("GET", "/", HOST).status == 200


@pytest.fixture(scope="module")
def limited():
    arguments = [word for name, value in LIMITS.items() for word in ("--limit", f"{name}={value}")]
    with SluiceProcess(arguments) as sluice:
        made = Limited(sluice)
        yield made
        made.backend.close()


@pytest.fixture
def hits(limited):
    """How much a limit's counter rose in the test."""
    before = limited.sluice.admin.metrics()

    def risen(name):
        key = f'sluice_limit_hits_total{{limit="{name}"}}'
        return wait_until(lambda: limited.sluice.admin.metrics()[key] - before[key], f"the counter of {name}")

    yield risen
    assert limited.still_serves()


def test_long_request_line(limited, hits):
    with limited.h1() as client:
        assert client.request("GET", "/" + "x" * 4000, HOST).status == 414
        assert client.is_closed()
    assert hits("max-request-line-bytes") == 1


def test_large_head(limited, hits):
    with limited.h1() as client:
        assert client.request("GET", "/", HOST, [("x-large", "y" * 9000)]).status == 431
        assert client.is_closed()
    assert hits("max-head-bytes") == 1


def test_head_that_never_ends(limited, hits):
    with limited.h1() as client:
        client.send_raw(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nx: ".encode() + b"y" * 200_000)
        assert client.reader.readline().split()[1] == b"431"
    assert hits("max-head-bytes") == 1


def test_many_header_fields(limited, hits):
    with limited.h1() as client:
        assert client.request("GET", "/", HOST, [(f"x-{number}", "1") for number in range(30)]).status == 431
    assert hits("max-header-fields") == 1


@pytest.mark.parametrize("headers, limit", [
    ([("x-large", "y" * 9000)], "max-head-bytes"),
    ([(f"x-{number}", "1") for number in range(30)], "max-header-fields")])
def test_large_head_over_http2(limited, hits, headers, limit):
    with limited.h2() as client:
        try:
            assert client.request("GET", "/", HOST, headers).status == 431
        except (Broken, OSError):
            # A stream or connection error is as good (RFC 9113 section 10.5.1).
            pass
    assert hits(limit) >= 1


@pytest.mark.parametrize("kind", ["h1", "h2"])
@pytest.mark.parametrize("told", [True, False], ids=["with-length", "without-length"])
def test_large_body(limited, hits, kind, told):
    with getattr(limited, kind)() as client:
        body = b"z" * 300_000
        call = client.open(
            "POST", "/", HOST, [("content-length", str(len(body)))] if told else [], end=False, chunked=not told)
        try:
            for start in range(0, len(body), 30_000):
                call.send(body[start:start + 30_000])
            call.finish()
        except (Broken, OSError):
            pass
        assert call.response().status == 413
    assert hits("max-request-body-bytes") == 1


def test_slow_head(limited, hits):
    with limited.h1() as client:
        start = time.monotonic()
        client.send_raw(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n".encode())
        assert client.reader.readline().split()[1] == b"408"
        assert 0.4 < time.monotonic() - start < 5
    assert hits("request-head-timeout") == 1


def test_slow_head_that_drips(limited, hits):
    """Bytes now and then do not start the time again."""
    with limited.h1() as client:
        start = time.monotonic()
        client.connection.settimeout(0.1)
        client.send_raw(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n".encode())
        for _ in range(100):
            try:
                client.send_raw(b"x")
                if client.connection.recv(100):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - start < 5
    assert hits("request-head-timeout") == 1


def test_slow_body(limited, hits):
    with limited.h1() as client:
        call = client.open("POST", "/", HOST, [("content-length", "100")], end=False)
        call.send(b"some")
        assert call.response().status == 408
    assert hits("request-body-idle-timeout") == 1


@pytest.mark.parametrize("kind", ["h1", "h2"])
def test_idle_connection(limited, hits, kind):
    with getattr(limited, kind)() as client:
        assert client.request("GET", "/", HOST).status == 200
        start = time.monotonic()
        if kind == "h1":
            assert client.is_closed()
        else:
            while client.is_open:
                client.pump()
            assert client.going_away == 0
        assert 0.5 < time.monotonic() - start < 5
    assert hits("idle-timeout") == 1


def test_large_trailers(limited, hits):
    with limited.h1() as client:
        try:
            response = client.request("POST", "/", HOST, chunks=[b"x"], trailers=[("x-t", "y" * 3000)])
            assert response.status in (400, 431)
        except Broken:
            pass
    assert hits("max-trailer-bytes") == 1


def test_rapid_reset(limited, hits):
    """CVE-2023-44487: streams opened and reset at once end the connection."""
    with limited.h2() as client:
        with pytest.raises((Broken, OSError)):
            for _ in range(300):
                client.open("GET", "/", HOST).abort()
            while client.is_open:
                client.pump()
            raise Broken("closed")
        assert client.going_away in (None, 11)
    assert hits("max-stream-resets") == 1


def test_ping_flood(limited, hits):
    with limited.h2() as client:
        with pytest.raises((Broken, OSError)):
            for number in range(300):
                client.state.ping(number.to_bytes(8, "big"))
                client.flush()
            while client.is_open:
                client.pump()
            raise Broken("closed")
    assert hits("max-pings") == 1


@pytest.mark.parametrize("text, status", [
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    ("POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: +3\r\n\r\nabc", 400),
    ("POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", None),
    ("POST / HTTP/1.0\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: {h}\r\nX: a\r\n b\r\n\r\n", 400),
    ("GET / HTTP/1.1\nHost: {h}\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: {h}\r\nX: a\rb\r\n\r\n", 400),
    ("GET / HTTP/3.0\r\nHost: {h}\r\n\r\n", None),
    ("GET /a b HTTP/1.1\r\nHost: {h}\r\n\r\n", 400),
    ("CONNECT {h}:80 HTTP/1.1\r\nHost: {h}\r\n\r\n", None),
])
def test_malformed_requests_are_refused(limited, text, status):
    seen = limited.backend.connection_count
    before = limited.sluice.admin.metric("sluice_malformed_requests_total")
    with limited.h1() as client:
        client.send_raw((text.format(h=HOST) + f"GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n").encode())
        line = client.reader.readline()
        got = int(line.split()[1])
        assert 400 <= got < 600 and (status is None or got == status), line
        # Nothing behind the fault is taken for a request.
        rest = client.reader.read()
        assert b"HTTP/1.1 " not in rest
    assert limited.backend.connection_count == seen
    if status == 400:
        assert limited.sluice.admin.metric("sluice_malformed_requests_total") > before
    assert limited.still_serves()


# Limits so low that little reaches them


@pytest.fixture(scope="module")
def tight():
    limits = {
        "max-upstream-per-endpoint": "2", "max-idle-upstream-per-endpoint": "1", "max-admin-connections": "3",
        "max-queued-control-frames": "3", "max-pings": "100000"}
    arguments = [word for name, value in limits.items() for word in ("--limit", f"{name}={value}")]
    with SluiceProcess(arguments, workers=1) as sluice:
        made = Limited(sluice)
        yield made
        made.backend.close()


@pytest.fixture
def logged(tight):
    """Waits until a limit is counted and the log names it with its value."""
    def wait(name, value, peer=""):
        wait_until(lambda: tight.sluice.admin.limit_hits(name) > 0, f"{name} is counted")
        text = f" limit {name} ({value}) reached" + (f" by {peer}" if peer else "")
        wait_until(lambda: text in tight.sluice.log(), f"{text} in the log")

    yield wait
    assert tight.still_serves()


def test_connections_of_an_endpoint(tight, logged):
    """One more than it may have is 503; one more than is kept for later is closed."""
    go_on = threading.Event()

    def wait(exchange):
        exchange.backend.notes.put(True)
        assert go_on.wait(20)
        exchange.respond(200, [], b"late")

    tight.backend.handler = wait
    address = f"{tight.sluice.address} port {tight.backend.port}"
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(tight.h1()) for _ in range(3)]
        for client in clients[:2]:
            client.send_raw(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            tight.backend.notes.get(timeout=20)
        assert clients[2].request("GET", "/", HOST).status == 503
        logged("max-upstream-per-endpoint", 2, address)
        go_on.set()
        for client in clients[:2]:
            assert client.reader.readline() == b"HTTP/1.1 200 OK\r\n"
    tight.backend.handler = tight.answer
    # In the log at the level debug only.
    wait_until(lambda: tight.sluice.admin.limit_hits("max-idle-upstream-per-endpoint") > 0)


def test_connections_to_the_admin_socket(tight, logged):
    with contextlib.ExitStack() as stack:
        def connect():
            connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            connection.settimeout(20)
            connection.connect(tight.sluice.admin.path)
            return connection

        for _ in range(3):
            connect()
        assert connect().recv(1) == b""
    logged("max-admin-connections", 3)


def pings(count):
    return [frame(PING, payload=b"%08d" % number) for number in range(count)]


def test_answers_that_queue_up(tight, logged):
    """As many PING frames at once as answers may wait are answered; more are the end, however few a turn reads."""
    with RawClient(tight.sluice.address, tight.sluice.port(80)) as client:
        # The client's SETTINGS are answered as well.
        client.until(lambda found: found.kind == SETTINGS and found.flags == 1)
        client.send(*pings(3))
        for number in range(3):
            answer = client.until(lambda found: found.kind == PING)
            assert answer.flags == 1 and answer.payload == b"%08d" % number
        client.send(*pings(300))
        assert client.until(lambda found: found.kind == GOAWAY).code == ENHANCE_YOUR_CALM
        while client.next():
            pass
    logged("max-queued-control-frames", 3, "127.")


def number(text):
    """10s, 64KiB, 365d or a plain number, as the program counts: milliseconds and bytes."""
    factors = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "s": 1000, "m": 60_000, "h": 3_600_000,
               "d": 86_400_000}
    digits, unit = re.fullmatch(r"(\d+)(\w*)", text).groups()
    return int(digits) * factors[unit]


def test_the_document_lists_every_limit():
    """docs/limits.md against the program's own list: names, defaults and ranges."""
    said = subprocess.run(
        [binaries() / "sluice-dataplane", "--help-limits"], text=True, capture_output=True, check=True)
    program = {
        match[1]: (int(match[2]), int(match[3]), int(match[4]))
        for match in re.finditer(r"^  (\S+) +(\d+)(?: bytes| ms)? \[(\d+)-(\d+)\]: ", said.stdout, re.M)}
    assert len(program) == len(said.stdout.splitlines()) > 30
    document = {
        match[1]: tuple(number(part) for part in (match[2], *match[3].split("-")))
        for match in re.finditer(
            r"^\| `([a-z0-9-]+)` \| (\w+) \| ([\w-]+) \| [^|]+ \| [^|]+ \|$",
            (ROOT / "docs/limits.md").read_text(), re.M)}
    assert document == program
