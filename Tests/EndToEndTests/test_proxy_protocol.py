"""The PROXY protocol, in from whom is trusted and out to who asks for it."""

import json
import socket
import ssl
import struct

import pytest

from harness import behaviours
from harness.backends import H1Backend
from harness.certificates import Certificate
from harness.layer4 import BytesBackend, receive_all, tcp_listener, tcp_route
from harness.objects import forward, gateway, http_listener, http_route, https_listener, service
from harness.process import PORT_MAP, SluiceProcess

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(source="192.0.2.7", port=7777, command=0x21, family=0x11, extra=b""):
    body = socket.inet_aton(source) + socket.inet_aton("198.51.100.1") + struct.pack("!HH", port, 443) + extra
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(body)) + body


V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 7777 443\r\n"


class Proxied:
    def __init__(self):
        self.sluice = SluiceProcess(
            ["--limit", "request-head-timeout=1s"], port_map={**PORT_MAP, 82: 8082, 83: 8083, 444: 8444}).start()
        address = self.sluice.address
        self.certificate = Certificate(["p.proxy.test"])
        self.plain = H1Backend(behaviours.respond, address)
        self.told = BytesBackend(self.tell, address)
        edge = gateway("edge", [
            http_listener(), http_listener("in", 81), http_listener("far", 82), tcp_listener("far-tcp", 83),
            tcp_listener("tcp", 8443), https_listener("p", "p"), https_listener("p", "far-tls", 444)])
        edge["metadata"]["annotations"] = {
            "sluice.dev/proxy-protocol": "in=127.0.0.0/8,p=127.0.0.0/8 ::1/128,tcp=127.0.0.0/8,"
                                         "far=198.51.100.0/24,far-tcp=198.51.100.0/24,far-tls=198.51.100.0/24"}
        services = [*service("plain", [(address, self.plain.port)])]
        for version in ("v1", "v2"):
            objects = service(version, [(address, self.told.port)])
            objects[0]["metadata"]["annotations"] = {"sluice.dev/proxy-protocol": version}
            services += objects
        self.sluice.apply(
            self.certificate.secret("p"), edge, *services,
            http_route("plain", ["p.proxy.test"], [forward("plain")]),
            http_route("v1", ["v1.proxy.test"], [forward("v1")]),
            http_route("v2", ["v2.proxy.test"], [forward("v2")]), tcp_route("tcp", ["v1"], "tcp"),
            tcp_route("far-tcp", ["v1"], "far-tcp"))
        self.sluice.wait_programmed("Gateway", "edge")
        self.sluice.settle()

    @staticmethod
    def tell(connection):
        """Answers each request with the first bytes of its connection."""
        data = b""
        first = None
        while True:
            more = connection.recv(65536)
            if not more:
                return
            data += more
            if b"\r\n\r\n" not in data.removeprefix(SIGNATURE):
                continue
            if first is None:
                first = data.split(b"GET ")[0]
            body = first.hex().encode()
            connection.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-length: " + str(len(body)).encode() + b"\r\n\r\n" + body)
            data = b""

    def exchange(self, port, head, host="p.proxy.test", tls=False, client=None):
        """A header, then one request; its whole answer."""
        with socket.socket() as raw:
            raw.settimeout(20)
            if client:
                raw.bind((client, 0))
            raw.connect((self.sluice.address, self.sluice.port(port)))
            connection = raw
            try:
                raw.sendall(head)
                if tls:
                    context = ssl.create_default_context(cadata=self.certificate.chain)
                    connection = context.wrap_socket(raw, server_hostname=host)
                connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                return receive_all(connection)
            except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""

    def close(self):
        self.sluice.close()
        self.plain.close()
        self.told.close()


@pytest.fixture(scope="module")
def proxied():
    made = Proxied()
    yield made
    made.close()


def body(answer):
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("head", [V1, v2(), v2(extra=b"\x04\0\x01x")], ids=["v1", "v2", "v2-tlv"])
@pytest.mark.parametrize("port, tls", [(81, False), (443, True)])
def test_the_client_is_whom_the_header_names(proxied, head, port, tls):
    shown = json.loads(body(proxied.exchange(port, head, tls=tls)))
    assert dict(map(tuple, shown["headers"]))["x-forwarded-for"] == "192.0.2.7"


@pytest.mark.parametrize("head", [b"PROXY UNKNOWN\r\n", v2(command=0x20), v2(family=0x00)])
def test_a_header_without_an_address_keeps_the_connections(proxied, head):
    shown = json.loads(body(proxied.exchange(81, head)))
    assert dict(map(tuple, shown["headers"]))["x-forwarded-for"].startswith("127.")


@pytest.mark.parametrize("head", [
    b"", b"PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n", b"PROXY TCP4 1.2.3.4 4.5.6.7 1 2\n", SIGNATURE + b"\x21\x11\0\x04abcd",
    SIGNATURE + b"\x21\x11\xff\xff", v2(command=0x31), b"PROXY " + b"x" * 200])
def test_a_malformed_header_is_the_end(proxied, head):
    before = proxied.sluice.admin.metric("sluice_proxy_headers_total", result="malformed")
    assert proxied.exchange(81, head) == b""
    assert proxied.sluice.admin.metric("sluice_proxy_headers_total", result="malformed") == before + 1


def test_a_header_in_pieces_and_one_that_never_comes(proxied):
    with socket.create_connection((proxied.sluice.address, proxied.sluice.port(81)), 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in v2() + b"GET / HTTP/1.1\r\nHost: p.proxy.test\r\nConnection: close\r\n\r\n":
            connection.sendall(bytes([byte]))
        assert b"192.0.2.7" in receive_all(connection)
    with socket.create_connection((proxied.sluice.address, proxied.sluice.port(81)), 20) as connection:
        connection.sendall(b"PROXY TCP4 ")
        try:
            assert receive_all(connection) == b""
        except ConnectionResetError:
            pass
    assert proxied.sluice.admin.limit_hits("request-head-timeout") >= 1


@pytest.mark.parametrize("head", [b"", V1, v2()], ids=["none", "v1", "v2"])
@pytest.mark.parametrize("port, tls", [(82, False), (83, False), (444, True)], ids=["http", "tcp", "https"])
def test_whom_the_listener_does_not_trust_is_refused(proxied, head, port, tls):
    """Be there a header or not: nothing that such a peer says is taken for an address, nor for a request."""
    def seen():
        return proxied.plain.connection_count + proxied.told.connection_count

    before, refused = seen(), proxied.sluice.admin.metric("sluice_proxy_headers_total", result="untrusted")
    assert proxied.exchange(port, head, tls=tls) == b""
    assert proxied.sluice.admin.metric("sluice_proxy_headers_total", result="untrusted") == refused + 1
    assert seen() == before


def test_nobody_else_may_send_one(proxied):
    """The same bytes are a bad request where no header is expected."""
    assert proxied.exchange(80, V1).startswith(b"HTTP/1.1 400 ")


def test_a_backend_is_told_and_shares_no_connection(proxied):
    before = proxied.told.connection_count
    v1 = bytes.fromhex(body(proxied.exchange(81, V1, "v1.proxy.test")).decode())
    assert v1 == V1
    other = bytes.fromhex(body(proxied.exchange(81, v2("192.0.2.8"), "v1.proxy.test")).decode())
    assert other.startswith(b"PROXY TCP4 192.0.2.8 198.51.100.1 ")
    assert bytes.fromhex(body(proxied.exchange(81, V1, "v2.proxy.test")).decode()) == v2()
    # Without a header in front: the socket's own addresses.
    plain = bytes.fromhex(body(proxied.exchange(80, b"", "v1.proxy.test")).decode()).split()
    assert plain[:2] == [b"PROXY", b"TCP4"]
    assert plain[3].decode() == proxied.sluice.address and int(plain[5]) == proxied.sluice.port(80)
    assert proxied.told.connection_count == before + 4


def test_tcp(proxied):
    with socket.create_connection((proxied.sluice.address, proxied.sluice.port(8443)), 20) as connection:
        connection.sendall(v2() + b"GET / HTTP/1.1\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert bytes.fromhex(body(receive_all(connection)).decode()) == V1
