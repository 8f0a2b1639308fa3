"""TLS that is not ours: the server name leads to the backend that holds the certificate."""

import socket
import ssl

import pytest

from harness.backends import H1Backend
from harness.certificates import Certificate
from harness.clients import H1Client
from harness.layer4 import BytesBackend, over_tls, server_side, tls_listener, tls_route
from harness.objects import forward, gateway, http_listener, http_route, https_listener, service
from harness.process import SluiceProcess
from harness.waiting import wait_until


class Passthrough:
    def __init__(self):
        self.sluice = SluiceProcess().start()
        address = self.sluice.address
        self.theirs, self.ours = Certificate(["*.pass.test"]), Certificate(["ours.pass.test"])
        self.web = H1Backend(lambda exchange: exchange.respond(200, [], b"terminated"), address)
        self.backend = BytesBackend(over_tls(server_side(self.theirs), self.serve), address)
        self.sluice.apply(
            self.ours.secret("ours"),
            gateway("edge", [
                http_listener(), tls_listener("pass", "*.pass.test"),
                https_listener("ours", "ours", hostname="ours.pass.test")]),
            *service("theirs", [(address, self.backend.port)], app_protocol="https"),
            *service("web", [(address, self.web.port)]),
            tls_route("theirs", ["a.pass.test", "*.deep.pass.test"], ["theirs"]),
            http_route("web", ["ours.pass.test"], [forward("web")]))
        self.sluice.wait_programmed("Gateway", "edge")
        self.sluice.settle()

    def serve(self, connection):
        while data := connection.recv(65536):
            connection.sendall(b"theirs: " + data)

    def connect(self):
        connection = socket.create_connection((self.sluice.address, self.sluice.port(443)), 20)
        connection.settimeout(20)
        return connection

    def close(self):
        self.sluice.close()
        self.backend.close()
        self.web.close()


@pytest.fixture(scope="module")
def edge443():
    made = Passthrough()
    yield made
    made.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["a.pass.test", "A.Pass.Test"])
def test_the_backends_own_certificate(edge443, name, version):
    context = ssl.create_default_context(cadata=edge443.theirs.chain)
    context.maximum_version = version
    with edge443.connect() as raw, context.wrap_socket(raw, server_hostname=name) as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"theirs: hello"


def test_a_listener_beside_it_terminates(edge443):
    with H1Client(edge443.sluice.address, edge443.sluice.port(443), "ours.pass.test", edge443.ours.chain) as client:
        for _ in range(3):
            assert client.request("GET", "/", "ours.pass.test").body == b"terminated"


@pytest.mark.parametrize("host", ["a.pass.test", "b.pass.test"])
def test_requests_for_a_name_that_passes_are_misdirected(edge443, host):
    """They would reach a backend that expects TLS."""
    with H1Client(edge443.sluice.address, edge443.sluice.port(443), "ours.pass.test", edge443.ours.chain) as client:
        assert client.request("GET", "/", host).status == 421


@pytest.mark.parametrize("name", ["b.pass.test", "pass.test", "other.test", None])
def test_unknown_names_get_an_alert(edge443, name):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with edge443.connect() as raw, pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
        context.wrap_socket(raw, server_hostname=name)


def test_a_client_hello_byte_by_byte(edge443):
    """As many segments as bytes, into our own handshake."""
    context = ssl.create_default_context(cadata=edge443.ours.chain)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="ours.pass.test")
    with edge443.connect() as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    raw.sendall(bytes([byte]))
                incoming.write(raw.recv(65536))
        tls.write(b"GET / HTTP/1.1\r\nHost: ours.pass.test\r\n\r\n")
        raw.sendall(outgoing.read())
        answer = b""
        while b"terminated" not in answer:
            incoming.write(raw.recv(65536))
            try:
                # One read gives one record, and several may have come.
                while data := tls.read(65536):
                    answer += data
            except ssl.SSLWantReadError:
                pass
        assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", b"\x80\x2e\x01"])
def test_noise_harms_nobody(edge443, noise):
    with edge443.connect() as raw:
        raw.sendall(noise)
        try:
            assert len(raw.recv(100)) in (0, 7)
        except ConnectionResetError:
            pass
    test_a_listener_beside_it_terminates(edge443)


def test_connections_are_counted(edge443):
    test_the_backends_own_certificate(edge443, "a.pass.test", ssl.TLSVersion.TLSv1_3)
    wait_until(lambda: edge443.sluice.admin.metric("sluice_tcp_connections_active") == 0)
    assert edge443.sluice.admin.metric("sluice_tcp_connections_total") >= 1
