"""TLS at the listeners."""

import socket
import ssl
import subprocess

import pytest

from harness.certificates import Certificate
from harness.clients import H1Client, H2Client
from harness.objects import forward, gateway, http_route, https_listener, service
from harness.backends import H1Backend
from harness.waiting import wait_until


class Names:
    """A listener for one name, one for the names around it, and one for all others."""

    def __init__(self, sluice):
        self.sluice = sluice
        self.exact = Certificate(["a.names.test"])
        self.wild = Certificate(["*.names.test"])
        self.other = Certificate(["other.test"])
        self.backend = H1Backend(
            lambda exchange: exchange.respond(200, [], exchange.authority.encode()), sluice.address)
        sluice.apply(
            self.exact.secret("exact"), self.wild.secret("wild"), self.other.secret("other"),
            gateway("edge", [
                https_listener("exact", "exact", hostname="a.names.test"),
                https_listener("wild", "wild", hostname="*.names.test"),
                https_listener("other", "other", hostname="other.test")]),
            *service("web", [(sluice.address, self.backend.port)]),
            http_route("web", ["a.names.test", "b.names.test", "other.test"], [forward("web")]))
        sluice.wait_programmed("Gateway", "edge")
        wait_until(lambda: self.request("other.test", "other.test", self.other).status == 200)

    def request(self, server_name, host, certificate, make=H1Client):
        with make(self.sluice.address, self.sluice.port(443), server_name, certificate.chain) as client:
            return client.request("GET", "/", host)

    def handshake(self, server_name=None, **options):
        """The session's facts; raises ssl.SSLError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        for name, value in options.items():
            if name == "alpn":
                context.set_alpn_protocols(value)
            else:
                setattr(context, name, value)
        with socket.create_connection((self.sluice.address, self.sluice.port(443)), 20) as raw:
            with context.wrap_socket(raw, server_hostname=server_name) as connection:
                return {
                    "certificate": connection.getpeercert(binary_form=True), "version": connection.version(),
                    "alpn": connection.selected_alpn_protocol(), "cipher": connection.cipher()[0]}


@pytest.fixture(scope="module")
def names():
    from harness.process import SluiceProcess
    with SluiceProcess() as sluice:
        made = Names(sluice)
        yield made
        made.backend.close()


@pytest.mark.parametrize("server_name, certificate", [
    ("a.names.test", "exact"), ("A.NAMES.TEST", "exact"), ("b.names.test", "wild"), ("other.test", "other")])
def test_certificate_by_name(names, server_name, certificate):
    der = ssl.PEM_cert_to_DER_cert(getattr(names, certificate).chain)
    assert names.handshake(server_name)["certificate"] == der


def test_requests_by_name(names):
    assert names.request("a.names.test", "a.names.test", names.exact).body == b"a.names.test"
    assert names.request("b.names.test", "b.names.test", names.wild).body == b"b.names.test"
    assert names.request("b.names.test", "c.names.test", names.wild).status == 404


@pytest.mark.parametrize("make", [H1Client, H2Client])
def test_host_of_another_certificate_is_misdirected(names, make):
    """A client that reuses a connection for a name of another listener is sent to a new one (RFC 9110, 15.5.20)."""
    assert names.request("a.names.test", "other.test", names.exact, make).status == 421


def test_alpn(names):
    assert names.handshake("a.names.test", alpn=["h2", "http/1.1"])["alpn"] == "h2"
    assert names.handshake("a.names.test", alpn=["http/1.1", "h2"])["alpn"] == "h2"
    assert names.handshake("a.names.test", alpn=["http/1.1"])["alpn"] == "http/1.1"
    assert names.handshake("a.names.test")["alpn"] is None


def test_versions(names):
    assert names.handshake("a.names.test")["version"] == "TLSv1.3"
    assert names.handshake("a.names.test", maximum_version=ssl.TLSVersion.TLSv1_2)["version"] == "TLSv1.2"


@pytest.mark.parametrize("flag", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(names, flag):
    result = subprocess.run(
        ["openssl", "s_client", flag, "-cipher", "ALL:@SECLEVEL=0", "-servername", "a.names.test", "-connect",
         f"{names.sluice.address}:{names.sluice.port(443)}"],
        input="", capture_output=True, text=True, timeout=20)
    assert result.returncode != 0
    assert "BEGIN CERTIFICATE" not in result.stdout


def test_forward_secrecy(names):
    cipher = names.handshake("a.names.test", maximum_version=ssl.TLSVersion.TLSv1_2)["cipher"]
    assert cipher.startswith("ECDHE-")


def test_plain_http_on_the_tls_port(names):
    """Ends soon and harms nobody."""
    with socket.create_connection((names.sluice.address, names.sluice.port(443)), 20) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: a.names.test\r\n\r\n")
        raw.settimeout(10)
        try:
            answer = raw.recv(1000)
        except ConnectionResetError:
            answer = b""
        assert b"HTTP/1.1 200" not in answer
    failed = names.sluice.admin.metric("sluice_tls_handshakes_total", result="failed")
    assert failed >= 1
    assert names.request("a.names.test", "a.names.test", names.exact).status == 200


def test_unknown_and_missing_names(names):
    """No certificate is for them: the handshake fails, or what is served is not their host."""
    for server_name in ("nobody.test", None):
        try:
            names.handshake(server_name)
        except (ssl.SSLError, ConnectionResetError):
            continue
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((names.sluice.address, names.sluice.port(443)), 20) as raw:
            with context.wrap_socket(raw, server_hostname=server_name) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: nobody.test\r\nConnection: close\r\n\r\n")
                assert connection.recv(1000).split()[1] in (b"404", b"421")


def test_session_resumption(names):
    context = ssl.create_default_context(cadata=names.exact.chain)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session = None
    for _ in range(4):
        with socket.create_connection((names.sluice.address, names.sluice.port(443)), 20) as raw:
            with context.wrap_socket(raw, server_hostname="a.names.test", session=session) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a.names.test\r\nConnection: close\r\n\r\n")
                assert connection.recv(1000).split()[1] == b"200"
                session = session or connection.session
                # Workers may have keys of their own, but a refused ticket is only a whole handshake.
                resumed = connection.session_reused
    assert resumed in (True, False)


def test_missing_secret_is_a_condition(names):
    names.sluice.apply(gateway("broken", [https_listener("no-such-secret", port=8443)]))
    wait_until(lambda: names.sluice.listener(
        "Gateway", "broken", "https")["conditions"]["ResolvedRefs"]["status"] == "False")
    conditions = names.sluice.listener("Gateway", "broken", "https")["conditions"]
    assert conditions["ResolvedRefs"]["reason"] == "InvalidCertificateRef"
    assert "no-such-secret" in conditions["ResolvedRefs"]["message"]
    assert conditions["Programmed"]["status"] == "False"
    assert names.request("a.names.test", "a.names.test", names.exact).status == 200
