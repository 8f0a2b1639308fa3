"""TCP listeners, and TLS that ends at the proxy with bytes inside."""

import collections
import hashlib
import os
import signal
import socket
import ssl
import threading

import pytest

from harness.certificates import Certificate
from harness.layer4 import (
    BytesBackend, echo, receive_all, receive_until, say, tcp_listener, tcp_route, tls_listener, tls_route)
from harness.objects import gateway, http_listener, service, to
from harness.process import SluiceProcess
from harness.waiting import wait_until


class TCP:
    def __init__(self):
        self.sluice = SluiceProcess(["--access-log", "-"]).start()
        self.certificate = Certificate(["term.tcp.test"])
        address = self.sluice.address
        self.echo, self.one, self.two = (BytesBackend(serve, address) for serve in (echo, say("one"), say("two")))
        with socket.socket() as unused:
            unused.bind((address, 0))
            self.dead = unused.getsockname()[1]
        self.sluice.apply(
            self.certificate.secret("term"),
            gateway("edge", [http_listener(), tcp_listener(), tcp_listener("weighted", 8443),
                             tls_listener("term", "term.tcp.test", "term")]),
            *service("echo", [(address, self.dead), (address, self.echo.port)]),
            *service("one", [(address, self.one.port)]), *service("two", [(address, self.two.port)]),
            tcp_route("echo", ["echo"], "tcp"),
            tcp_route("weighted", [to("one", weight=3), to("two", weight=1)], "weighted"),
            tls_route("term", ["term.tcp.test"], ["one"]))
        self.sluice.wait_programmed("Gateway", "edge")
        self.sluice.settle()

    def connect(self, port=81):
        connection = socket.create_connection((self.sluice.address, self.sluice.port(port)), 20)
        connection.settimeout(20)
        return connection

    def close(self):
        self.sluice.close()
        for backend in (self.echo, self.one, self.two):
            backend.close()


@pytest.fixture(scope="module")
def tcp():
    made = TCP()
    yield made
    made.close()


def pour(connection, size):
    """Sends so many bytes and ends; returns their digest as they came back, and their number."""
    block = os.urandom(1 << 20)

    def send():
        for _ in range(size >> 20):
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    digest, count = hashlib.sha256(), 0
    while data := connection.recv(1 << 18):
        digest.update(data)
        count += len(data)
    sender.join(20)
    expected = hashlib.sha256()
    for _ in range(size >> 20):
        expected.update(block)
    return digest.digest() == expected.digest(), count


def test_many_bytes_both_ways_past_a_dead_endpoint(tcp):
    size = int(os.environ.get("SLUICE_TCP_MEBIBYTES", "8")) << 20
    for _ in range(3):
        with tcp.connect() as connection:
            assert pour(connection, size) == (True, size)
    assert tcp.sluice.admin.metric("sluice_upstream_connect_failures_total") >= 1
    wait_until(lambda: tcp.sluice.admin.metric("sluice_tcp_connections_active") == 0)


def test_backend_speaks_first_and_shares_are_kept(tcp):
    words = collections.Counter()
    for _ in range(80):
        with tcp.connect(8443) as connection:
            words[receive_until(connection, b"\n")] += 1
    assert set(words) == {b"one\n", b"two\n"}
    assert words[b"one\n"] > words[b"two\n"] >= 5


def test_tls_ends_here(tcp):
    context = ssl.create_default_context(cadata=tcp.certificate.chain)
    # A protocol that the proxy does not know is none of its business here.
    context.set_alpn_protocols(["postgresql"])
    with tcp.connect(443) as raw, context.wrap_socket(raw, server_hostname="term.tcp.test") as connection:
        assert connection.selected_alpn_protocol() is None
        assert receive_until(connection, b"\n") == b"one\n"
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"


def test_swap_and_drain_leave_a_tunnel_alone(run_sluice):
    sluice = run_sluice()
    first, second = (BytesBackend(say(word), sluice.address) for word in ("first", "second"))
    sluice.apply(
        gateway("edge", [http_listener(), tcp_listener()]), *service("a", [(sluice.address, first.port)]),
        *service("b", [(sluice.address, second.port)]), tcp_route("r", ["a"], "tcp"))
    sluice.wait_programmed("Gateway", "edge")
    sluice.settle()
    with socket.create_connection((sluice.address, sluice.port(81)), 20) as connection:
        connection.settimeout(20)
        assert receive_until(connection, b"\n") == b"first\n"
        sluice.apply(tcp_route("r", ["b"], "tcp"))
        sluice.settle()
        with socket.create_connection((sluice.address, sluice.port(81)), 20) as other:
            assert receive_until(other, b"\n") == b"second\n"
        os.kill(sluice.child("sluice-controller"), signal.SIGKILL)
        connection.sendall(b"still here")
        assert connection.recv(100) == b"still here"
        sluice.process.send_signal(signal.SIGTERM)
        connection.sendall(b"in a drain")
        assert connection.recv(100) == b"in a drain"
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection) == b""
    for backend in (first, second):
        backend.close()


def test_nobody_to_serve(tcp):
    """An endpoint that refuses is the end of the connection, and says so nowhere else."""
    tcp.sluice.apply(*service("two", [(tcp.sluice.address, tcp.dead)]),
                     tcp_route("weighted", ["two"], "weighted"))
    tcp.sluice.settle()

    def closed():
        with tcp.connect(8443) as connection:
            try:
                return receive_until(connection, b"\n") == b""
            except ConnectionResetError:
                return True
    wait_until(closed)
    assert tcp.sluice.admin.metric("sluice_tcp_connections_active") == 0


def test_conditions(tcp):
    tcp.sluice.apply(gateway("other", [tcp_listener("late"), {**tcp_listener("udp", 5353), "protocol": "UDP"}]))

    def conflict():
        listener = tcp.sluice.listener("Gateway", "other", "late")
        return listener["conditions"]["Conflicted"]["status"] == "True" and listener
    assert wait_until(conflict)["supportedKinds"] == [{"group": "gateway.networking.k8s.io", "kind": "TCPRoute"}]
