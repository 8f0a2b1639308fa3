"""UDP listeners: sessions by clients, beside TCP on the same port."""

import socket
import threading

import pytest

from harness.layer4 import BytesBackend, echo, tcp_listener, tcp_route
from harness.objects import gateway, http_listener, service
from harness.process import SluiceProcess


class DatagramBackend:
    """Answers each datagram with itself behind a word."""

    def __init__(self, word, address):
        self.word = word.encode()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                data, peer = self.socket.recvfrom(65_536)
            except OSError:
                return
            if not data:
                return
            self.socket.sendto(self.word + data, peer)

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.socket.getsockname())
        self.socket.close()


def udp_route(name, backends, section):
    return {**tcp_route(name, backends, section), "kind": "UDPRoute"}


class UDP:
    def __init__(self):
        self.sluice = SluiceProcess(["--access-log", "-"]).start()
        address = self.sluice.address
        self.names = DatagramBackend("udp ", address)
        self.stream = BytesBackend(echo, address)
        self.sluice.apply(
            gateway("edge", [http_listener(), tcp_listener("tcp", 81), {"name": "udp", "port": 81, "protocol": "UDP"}]),
            *service("names", [(address, self.names.port)]), *service("stream", [(address, self.stream.port)]),
            udp_route("names", ["names"], "udp"), tcp_route("stream", ["stream"], "tcp"))
        self.sluice.wait_programmed("Gateway", "edge")
        self.sluice.settle()

    def client(self):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(10)
        made.connect((self.sluice.address, self.sluice.port(81)))
        return made

    def close(self):
        self.sluice.close()
        self.names.close()
        self.stream.close()


@pytest.fixture(scope="module")
def udp():
    made = UDP()
    yield made
    made.close()


def test_explain_knows_the_two_protocols_of_a_port_apart(udp):
    for scheme, kind in [("udp", "UDPRoute default/names"), ("tcp", "TCPRoute default/stream")]:
        said = udp.sluice.cli("explain", f"{scheme}://:81")
        assert said.code == 0 and kind in said.out


def test_each_client_gets_its_own_answers(udp):
    clients = [udp.client() for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(f"question {number}".encode())
    for number, client in enumerate(clients):
        assert client.recv(100) == f"udp question {number}".encode()
        client.close()


@pytest.mark.parametrize("size", [1, 1400, 30_000])
def test_datagrams_keep_their_bounds(udp, size):
    with udp.client() as client:
        for byte in (b"a", b"b"):
            client.send(byte * size)
            assert client.recv(65_536) == b"udp " + byte * size


def test_tcp_has_the_same_port(udp):
    with socket.create_connection((udp.sluice.address, udp.sluice.port(81)), 10) as connection:
        connection.sendall(b"bytes")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b"bytes"


def test_a_session_is_counted_and_logged_when_its_backend_changes(udp):
    with udp.client() as client:
        client.send(b"before")
        assert client.recv(100) == b"udp before"
        other = DatagramBackend("other ", udp.sluice.address)
        try:
            udp.sluice.apply(*service("names", [(udp.sluice.address, other.port)]))
            udp.sluice.settle()
            client.send(b"after")
            assert client.recv(100) == b"other after"
        finally:
            udp.sluice.apply(*service("names", [(udp.sluice.address, udp.names.port)]))
            udp.sluice.settle()
            other.close()
    assert udp.sluice.admin.metric("sluice_udp_sessions_total") >= 1
    lines = [line for line in udp.sluice.log().splitlines() if '"protocol":"UDP"' in line]
    assert any('"backend":"default/names:' in line and '"bytes_in":6' in line for line in lines), lines
