"""SIGTERM lets what is under way end."""

import os
import queue
import signal
import subprocess
import threading
import time

import pytest

from harness.backends import H1Backend
from harness.clients import H1Client, H2Client
from harness.grpc_backend import GRPCBackend, GRPCClient
from harness.objects import forward, gateway, http_listener, http_route, service
from harness.waiting import wait_until

HOST = "drain.sluice.test"


class Slow:
    def __init__(self, run_sluice):
        self.sluice = run_sluice()
        self.go = threading.Event()
        self.started = queue.Queue()
        self.backend = H1Backend(self.answer, self.sluice.address)
        self.grpc = GRPCBackend(self.sluice.address)
        self.sluice.apply(
            gateway("edge", [http_listener()]), *service("web", [(self.sluice.address, self.backend.port)]),
            *service("grpc", [(self.sluice.address, self.grpc.port)]),
            http_route("web", [HOST], [forward("web")]), http_route("grpc", [f"g-{HOST}"], [forward("grpc")]))
        self.sluice.wait_programmed("Gateway", "edge")
        self.sluice.settle()

    def answer(self, exchange):
        exchange.start(200, [("content-length", "10")])
        exchange.write(b"12345")
        self.started.put(True)
        self.go.wait(30)
        exchange.write(b"67890", end=True)

    def client(self, kind):
        return (H1Client if kind == "h1" else H2Client)(self.sluice.address, self.sluice.port(80))

    def terminate(self):
        self.sluice.process.send_signal(signal.SIGTERM)

    def refuses(self):
        try:
            self.sluice.plain_status(HOST)
        except OSError:
            return True

    def close(self):
        self.go.set()
        self.backend.close()
        self.grpc.close()


@pytest.fixture
def slow(run_sluice):
    made = Slow(run_sluice)
    yield made
    made.close()


def test_response_under_way_is_finished(slow):
    with slow.client("h1") as client:
        call = client.open("GET", "/", HOST)
        slow.started.get(timeout=20)
        slow.terminate()
        wait_until(slow.refuses, "no new connection is taken")
        assert slow.sluice.process.poll() is None
        slow.go.set()
        response = call.response()
        assert (response.status, response.body) == (200, b"1234567890")
        assert response.header("connection") is None
        assert client.is_closed()
    assert slow.sluice.process.wait(20) == 0


def test_http2_response_under_way_is_finished(slow):
    # The h2 library is of no use after a GOAWAY; curl is.
    curl = subprocess.Popen(
        ["curl", "-sS", "--http2-prior-knowledge", "--max-time", "30", "-H", f"Host: {HOST}",
         f"http://{slow.sluice.address}:{slow.sluice.port(80)}/"], stdout=subprocess.PIPE, text=True)
    slow.started.get(timeout=20)
    slow.terminate()
    wait_until(slow.refuses, "no new connection is taken")
    slow.go.set()
    assert curl.communicate(timeout=30)[0] == "1234567890"
    assert curl.returncode == 0
    assert slow.sluice.process.wait(20) == 0


@pytest.mark.parametrize("kind", ["h1", "h2"])
def test_idle_connection_does_not_hold_the_end_up(slow, kind):
    with slow.client(kind) as idle:
        if kind == "h2":
            # Its SETTINGS have come and been answered.
            while not idle.state.remote_settings.get(3):
                idle.pump()
        start = time.monotonic()
        slow.terminate()
        if kind == "h1":
            assert idle.is_closed()
        else:
            while idle.is_open:
                idle.pump()
            assert idle.going_away == 0
        assert time.monotonic() - start < 4
    assert slow.sluice.process.wait(20) == 0
    assert time.monotonic() - start < 4.5


def test_ready_says_no_while_it_drains(slow):
    with slow.client("h1") as client:
        client.open("GET", "/", HOST)
        slow.started.get(timeout=20)
        assert slow.sluice.admin.get("/ready")[0] == 200
        slow.terminate()
        wait_until(lambda: slow.sluice.admin.get("/ready")[0] == 503)
        assert slow.sluice.admin.get("/live")[0] == 200
        slow.go.set()
    assert slow.sluice.process.wait(20) == 0


def test_stream_that_does_not_end_is_ended_by_the_drain_timeout(slow):
    with GRPCClient(slow.sluice.address, slow.sluice.port(80), f"g-{HOST}") as client:
        conversation = client.conversation(timeout=60)
        assert conversation.say(b"a") == b"re:a"
        slow.terminate()
        start = time.monotonic()
        wait_until(slow.refuses)
        # It goes on until its time is over.
        assert conversation.say(b"b") == b"re:b"
        assert slow.sluice.process.wait(30) == 0
        assert 3 < time.monotonic() - start < 15


def test_nothing_open_ends_at_once(slow):
    start = time.monotonic()
    assert slow.sluice.stop() == 0
    assert time.monotonic() - start < 5


def test_second_signal_ends_at_once(slow):
    with slow.client("h1") as client:
        client.open("GET", "/", HOST)
        slow.started.get(timeout=20)
        children = list(slow.sluice.children().values())
        start = time.monotonic()
        slow.terminate()
        wait_until(lambda: "draining" in slow.sluice.log())
        slow.terminate()
        slow.sluice.process.wait(20)
        assert time.monotonic() - start < 4
        assert not any(os.path.exists(f"/proc/{pid}") for pid in children)
