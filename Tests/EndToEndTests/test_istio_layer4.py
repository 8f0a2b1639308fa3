"""Istio's routes of `tls` and `tcp`, with real clients and backends: TLS that passes, TLS that ends here, bytes."""

import collections
import json
import socket
import ssl

import pytest

from harness import behaviours
from harness.backends import H1Backend
from harness.certificates import Authority, Certificate
from harness.clients import H1Client
from harness.layer4 import BytesBackend, istio_gateway, istio_route, over_tls, receive_all, receive_until, say, server_side
from harness.objects import ISTIO, gateway, http_listener, meta, service, virtual_service
from harness.process import SluiceProcess

PORT_MAP = {80: 8080, 443: 8443, 444: 8444, 445: 8445, 81: 8081, 82: 8082}
GATEWAY = istio_gateway("istio", [
    (443, "TLS", ["*.pass.test"], {"mode": "PASSTHROUGH"}),
    (443, "HTTPS", ["web.pass.test"], {"mode": "SIMPLE", "credentialName": "ours"}),
    (443, "TLS", ["bytes.test"], {"mode": "SIMPLE", "credentialName": "ours"}),
    (444, "HTTPS", ["*"], {"mode": "PASSTHROUGH"}),
    (445, "TLS", ["bytes.test"], {"mode": "MUTUAL", "credentialName": "ours"}),
    (81, "TCP", ["*.tcp.test"], None),
    (82, "TCP", ["*.tcp.test"], None)])


def routes(name, hosts, **kinds):
    return {
        "apiVersion": ISTIO, "kind": "VirtualService", "metadata": meta(name),
        "spec": {"hosts": hosts, "gateways": ["istio"], **kinds}}


def names(*hosts, **more):
    return [{"sniHosts": list(hosts), **more}]


class Istio:
    def __init__(self):
        self.sluice = SluiceProcess(port_map=PORT_MAP).start()
        address = self.sluice.address
        self.theirs = Certificate(["*.pass.test", "*.deep.pass.test"])
        self.servers, self.clients = Authority("servers"), Authority("clients")
        self.certificate = self.servers.issue("ours", ["DNS:web.pass.test", "DNS:bytes.test"])
        self.client = self.clients.issue("client")
        self.web = H1Backend(behaviours.respond, address)
        self.backends = {word: BytesBackend(say(word), address) for word in ("a", "b", "c")}
        for word in ("one", "two", "rest"):
            self.backends[word] = BytesBackend(over_tls(server_side(self.theirs), say(word)), address)
        self.sluice.apply(
            self.servers.secret("ours", self.certificate, {"ca.crt": self.clients.chain.encode()}), GATEWAY,
            gateway("edge", [http_listener()]),
            *[item for word, backend in self.backends.items() for item in service(word, [(address, backend.port)])],
            *service("web", [(address, self.web.port)]), *self.virtual_services())
        self.sluice.wait_programmed("IstioGateway", "istio")
        self.sluice.settle()

    @staticmethod
    def virtual_services():
        return [
            routes("passing", ["*.pass.test"], tls=[
                istio_route(["one"], names("one.pass.test", port=443)),
                istio_route(["two"], names("one.pass.test", "two.pass.test")),
                istio_route(["rest"], names("*.pass.test", port=443))]),
            routes("bytes", ["bytes.test"], tcp=[istio_route(["a"], [{"port": 443}]), istio_route(["b"])]),
            routes("plain", ["any.tcp.test"], tcp=[
                istio_route([("a", 3), ("b", 1), ("c", 0)], [{"port": 81}]), istio_route(["c"])]),
            virtual_service("web", ["web.pass.test"], [{"route": [{"destination": {"host": "web", "port": {
                "number": 80}}}]}], "istio")]

    def connect(self, port):
        connection = socket.create_connection((self.sluice.address, self.sluice.port(port)), 20)
        connection.settimeout(20)
        return connection

    def word(self, name, port=443, chain=None, certificate=None):
        """What the backend behind this server name says."""
        context = ssl.create_default_context(cadata=chain or self.theirs.chain)
        if certificate:
            context.load_cert_chain(certificate)
        with self.connect(port) as raw, context.wrap_socket(raw, server_hostname=name) as connection:
            word = receive_until(connection, b"\n")
            connection.sendall(b"and back")
            assert not word or connection.recv(100) == b"and back"
            return word.decode().strip()

    def close(self):
        self.sluice.close()
        self.web.close()
        for backend in self.backends.values():
            backend.close()


@pytest.fixture(scope="module")
def istio():
    made = Istio()
    yield made
    made.close()


@pytest.mark.parametrize("name,port,word", [
    ("one.pass.test", 443, "one"), ("two.pass.test", 443, "two"), ("THREE.pass.test", 443, "rest"),
    ("x.deep.pass.test", 443, "rest"), ("one.pass.test", 444, "two"), ("two.pass.test", 444, "two")])
def test_the_first_match_of_name_and_port(istio, name, port, word):
    assert istio.word(name, port) == word


def explain(istio, url):
    """Exit code, and what is said, decoded."""
    result = istio.sluice.cli("explain", "-o", "json", url)
    return json.loads(result.out), istio.sluice.cli("explain", url)


@pytest.mark.parametrize("name,port,word", [
    ("one.pass.test", 443, "one"), ("x.deep.pass.test", 443, "rest"), ("one.pass.test", 444, "two"),
    ("bytes.test", 443, "a"), ("bytes.test", 445, "b")])
def test_explain_agrees_with_the_traffic(istio, name, port, word):
    said, text = explain(istio, f"tls://{name}:{port}")
    assert text.code == 0 and said["outcome"] == "matched"
    endpoints = said["match"]["action"]["backends"][0]["endpoints"]
    assert [entry["port"] for entry in endpoints] == [istio.backends[word].port]
    way = "passes through" if name.endswith("pass.test") else "ends here"
    assert way in text.out and f"{istio.sluice.address}:{istio.backends[word].port}" in text.out


def test_explain_says_why_not(istio):
    said, text = explain(istio, "tls://one.pass.test:443")
    assert said["match"]["rule"].startswith("VirtualService default/passing tls[0]")
    places = [entry["rule"].split(" (")[0] for entry in said["passedOver"] if entry["rule"]]
    assert "VirtualService default/passing tls[1]" in places and "VirtualService default/passing tls[2]" in places
    assert "Passed over" in text.out
    nobody, text = explain(istio, "tls://three.pass.test:444")
    assert text.code == 1 and nobody["outcome"] == "noHost" and "no route leads on" in text.out
    assert explain(istio, "tls://web.pass.test")[0]["outcome"] == "requests"
    assert "passes through" in istio.sluice.cli("explain", "https://one.pass.test/x").out


def test_explain_ports_of_bytes(istio):
    said, text = explain(istio, "tcp://:81")
    assert text.code == 0 and [entry["weight"] for entry in said["match"]["action"]["backends"]] == [3, 1]
    wrong, text = explain(istio, "tcp://:443")
    assert text.code == 1 and wrong["outcome"] == "otherProtocol" and "expects TLS" in text.out
    nothing = istio.sluice.cli("explain", "udp://:81")
    assert nothing.code == 1 and "no listener of UDP has port 81" in nothing.err


@pytest.mark.parametrize("name,port", [("three.pass.test", 444), ("other.test", 443), ("other.test", 444)])
def test_names_without_a_route_get_an_alert(istio, name, port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with istio.connect(port) as raw, pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
        context.wrap_socket(raw, server_hostname=name)


def test_requests_beside_it(istio):
    address, port = istio.sluice.address, istio.sluice.port(443)
    with H1Client(address, port, "web.pass.test", istio.servers.chain) as client:
        assert client.request("GET", "/inspect", "web.pass.test").status == 200


def test_tls_that_ends_here(istio):
    assert istio.word("bytes.test", 443, istio.servers.chain) == "a"


def test_tls_that_ends_here_for_clients_with_a_certificate(istio):
    assert istio.word("bytes.test", 445, istio.servers.chain, istio.client) == "b"
    with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
        istio.word("bytes.test", 445, istio.servers.chain)


def test_weights_of_bytes(istio):
    words = collections.Counter()
    for _ in range(60):
        with istio.connect(81) as connection:
            words[receive_until(connection, b"\n")] += 1
    assert set(words) == {b"a\n", b"b\n"} and words[b"a\n"] > words[b"b\n"] >= 3
    with istio.connect(82) as connection:
        assert receive_until(connection, b"\n") == b"c\n"
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection) == b""


def test_what_cannot_be_asked_is_refused(istio):
    """The match is left out, and the connection is not let in by what is left of it."""
    istio.sluice.apply(
        routes("guarded", ["guarded.pass.test"], tls=[
            istio_route(["one"], names("guarded.pass.test", destinationSubnets=["10.0.0.0/8"]))]))
    refused = istio.sluice.wait_condition("VirtualService", "guarded", "Accepted", "False")
    assert "destinationSubnets" in refused["message"]
    assert istio.word("guarded.pass.test") == "rest"
    wrong = istio.sluice.cli("apply", "-f", "-", stdin="""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: beyond}
spec:
  hosts: [a.pass.test]
  gateways: [istio]
  tls:
  - match: [{sniHosts: [b.pass.test]}]
    route: [{destination: {host: one}}]
""")
    assert wrong.code == 2 and "spec.tls[0].match[0].sniHosts[0]" in wrong.err
    assert istio.word("b.pass.test") == "rest"


def test_a_change_is_for_connections_that_begin_later(istio):
    with istio.connect(82) as connection:
        assert receive_until(connection, b"\n") == b"c\n"
        istio.sluice.apply(routes("plain", ["any.tcp.test"], tcp=[istio_route(["a"], [{"port": 82}])]))
        istio.sluice.settle()
        with istio.connect(82) as other:
            assert receive_until(other, b"\n") == b"a\n"
        # No route is left to port 81.
        with istio.connect(81) as nobody:
            assert receive_all(nobody) == b""
        connection.sendall(b"still here")
        assert connection.recv(100) == b"still here"
    istio.sluice.apply(*istio.virtual_services())
    istio.sluice.settle()
