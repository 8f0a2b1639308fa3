"""Certificates of clients: required, optional, verified, and never passed by; staples of the server's own."""

import hashlib
import json
import socket
import ssl
import subprocess

import pytest

from harness import behaviours
from harness.backends import H1Backend
from harness.certificates import Authority
from harness.clients import Broken, H1Client, H2Client, connect
from harness.objects import forward, gateway, http_listener, http_route, https_listener, service, virtual_service
from harness.process import SluiceProcess
from harness.waiting import wait_until

OPEN, CLOSED, OTHERS, LENIENT = "open.mtls.test", "closed.mtls.test", "others.mtls.test", "lenient.mtls.test"
ISTIO_REQUIRED, ISTIO_OPTIONAL = "required.istio.test", "optional.istio.test"
HOSTS = [OPEN, CLOSED, OTHERS, LENIENT]
PORT_MAP = {80: 8080, 443: 8443, 444: 8444, 445: 8445}
REFUSALS = (ssl.SSLError, ConnectionResetError, BrokenPipeError, Broken)


def validated(name, host, bundle, mode=None, port=443):
    """A Gateway whose clients are held against a bundle."""
    made = gateway(name, [https_listener("server", name, port, host)])
    validation = {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": bundle}]}
    if mode:
        validation["mode"] = mode
    made["spec"]["tls"] = {"frontend": {"default": {"validation": validation}}}
    return made


def istio_gateway(secret):
    servers = [
        {"port": {"number": 444, "name": name.split(".")[0], "protocol": "HTTPS"}, "hosts": [name],
         "tls": {"mode": mode, "credentialName": secret}}
        for name, mode in [(ISTIO_REQUIRED, "MUTUAL"), (ISTIO_OPTIONAL, "OPTIONAL_MUTUAL")]]
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": "istio-edge", "namespace": "default"}, "spec": {"servers": servers}}


class Mutual:
    """Four Gateways on one socket: one for everybody, three that look at certificates; and an Istio Gateway."""

    def __init__(self, sluice):
        self.sluice = sluice
        self.servers, self.clients, self.others = Authority("servers"), Authority("clients"), Authority("others")
        self.certificate = self.servers.issue("server", [f"DNS:{host}" for host in HOSTS] + ["DNS:*.istio.test"])
        self.good = self.clients.issue("good", ["URI:spiffe://mtls.test/good", "DNS:good.mtls.test"])
        self.bad = self.others.issue("bad")
        self.backend = H1Backend(behaviours.respond, sluice.address)
        names = ["edge", "closed", "others", "lenient"]
        sluice.apply(
            self.clients.bundle("clients"), self.others.bundle("others"),
            self.servers.secret("server", self.certificate, {"tls.ocsp-staple": self.servers.staple(self.certificate, 3)}),
            self.servers.secret("istio", self.certificate, {"ca.crt": self.clients.chain.encode()}),
            gateway("edge", [http_listener(), https_listener("server", hostname=OPEN), https_listener(
                "server", "catch-all", 445)]),
            validated("closed", CLOSED, "clients"), validated("others", OTHERS, "others"),
            validated("lenient", LENIENT, "clients", "AllowInsecureFallback"), istio_gateway("istio"),
            *service("web", [(sluice.address, self.backend.port)]),
            *[http_route(f"web-{name}", [host], [forward("web")], name) for name, host in zip(names, HOSTS)],
            virtual_service("web", ["*.istio.test"], [{"route": [{"destination": {"host": "web", "port": {
                "number": 80}}}]}]))
        for name in names:
            sluice.wait_programmed("Gateway", name)
        sluice.wait_condition("IstioGateway", "istio-edge", "Programmed")
        sluice.settle()

    def context(self, certificate=None, alpn="http/1.1", version=None):
        context = ssl.create_default_context(cadata=self.servers.chain)
        context.check_hostname = False
        context.set_alpn_protocols([alpn])
        if certificate:
            context.load_cert_chain(certificate)
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def client(self, server_name, certificate=None, make=H1Client, port=443, version=None, session=None):
        """A client on a connection of its own making; in TLS 1.3 it learns of a refusal when it reads."""
        raw = connect(self.sluice.address, self.sluice.port(port))
        context = self.context(certificate, make.protocol, version)
        secured = context.wrap_socket(raw, server_hostname=server_name, session=session)
        return make.over(secured)

    def ask(self, server_name, host, certificate=None, make=H1Client, port=443, version=None, headers=()):
        with self.client(server_name, certificate, make, port, version) as client:
            return client.request("GET", "/", host, headers)

    def identity(self, certificate):
        """What the backend is to be told of a client."""
        text = certificate.read_text()
        der = ssl.PEM_cert_to_DER_cert(text[:text.index("-----BEGIN PRIVATE KEY")])
        return f"Hash={hashlib.sha256(der).hexdigest()};"


@pytest.fixture(scope="module")
def mutual():
    with SluiceProcess(port_map=PORT_MAP) as sluice:
        made = Mutual(sluice)
        yield made
        made.backend.close()


def seen(response):
    """What the backend was told of the client: the values of all such fields."""
    assert response.status == 200, response
    return [value for name, value in json.loads(response.body)["headers"] if name == "x-forwarded-client-cert"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host, port, none, bad", [
    (CLOSED, 443, False, False), (LENIENT, 443, True, True), (ISTIO_REQUIRED, 444, False, False),
    (ISTIO_OPTIONAL, 444, True, False)])
def test_modes(mutual, host, port, none, bad, version):
    good = mutual.identity(mutual.good) + 'Subject="CN=good";URI=spiffe://mtls.test/good;DNS=good.mtls.test'
    assert seen(mutual.ask(host, host, mutual.good, port=port, version=version)) == [good]
    for certificate, is_let_in in [(None, none), (mutual.bad, bad)]:
        if is_let_in:
            assert seen(mutual.ask(host, host, certificate, port=port, version=version)) == []
        else:
            before = mutual.sluice.admin.metric("sluice_tls_clients_refused_total")
            with pytest.raises(REFUSALS):
                mutual.ask(host, host, certificate, port=port, version=version)
            wait_until(lambda: mutual.sluice.admin.metric("sluice_tls_clients_refused_total") == before + 1)


@pytest.mark.parametrize("make", [H1Client, H2Client])
@pytest.mark.parametrize("host, certificate", [(OPEN, None), (OPEN, "good"), (LENIENT, None), (CLOSED, "good")])
def test_clients_cannot_say_who_they_are(mutual, make, host, certificate):
    """A field that the client sends is never passed on."""
    forged = [("x-forwarded-client-cert", "Hash=0;Subject=\"CN=admin\""), ("X-Forwarded-Client-Cert", "By=x")]
    told = seen(mutual.ask(host, host, certificate and mutual.good, make, headers=forged))
    assert told == ([] if host != CLOSED else told) and len(told) == (host == CLOSED)
    assert all(value.startswith(mutual.identity(mutual.good)) for value in told)


@pytest.mark.parametrize("make", [H1Client, H2Client])
def test_hosts_of_stricter_listeners_are_misdirected(mutual, make):
    """Whatever a connection has shown, it has shown to one listener."""
    for server_name, certificate in [(OPEN, None), (OPEN, mutual.good), (LENIENT, None), (LENIENT, mutual.good)]:
        for host in [CLOSED, OTHERS]:
            assert mutual.ask(server_name, host, certificate, make).status == 421
    assert mutual.ask(CLOSED, OTHERS, mutual.good, make).status == 421
    assert mutual.ask(CLOSED, OPEN, mutual.good, make).status == 421


def test_no_name_opens_nothing(mutual):
    """Without a server name there is no listener; the one for all names has its own rules."""
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME|unrecognized name"):
        mutual.client(None)
    assert mutual.ask(None, CLOSED, port=445).status == 404


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_resumption_opens_nothing(mutual, version, tmp_path):
    """A session from a listener that asks nothing, or from one with other authorities, is none elsewhere."""
    def run(server_name, *arguments):
        request = f"GET / HTTP/1.1\r\nHost: {server_name}\r\nConnection: close\r\n\r\n"
        result = subprocess.run(
            ["openssl", "s_client", version, "-connect", f"{mutual.sluice.address}:{mutual.sluice.port(443)}",
             "-ign_eof", "-servername", server_name, *map(str, arguments)],
            input=request, capture_output=True, text=True, timeout=30)
        return result.stdout + result.stderr

    without, with_one = tmp_path / "open", tmp_path / "closed"
    assert "200 OK" in run(OPEN, "-sess_out", without)
    assert "200 OK" in run(CLOSED, "-sess_out", with_one, "-cert", mutual.good, "-key", mutual.good)
    resumed = run(CLOSED, "-sess_in", with_one)
    assert "Reused, TLS" in resumed and mutual.identity(mutual.good) in resumed, resumed
    for server_name, session in [(CLOSED, without), (OTHERS, with_one), (OTHERS, without)]:
        said = run(server_name, "-sess_in", session)
        assert "200 OK" not in said and "Reused" not in said and "alert" in said, said


def test_authorities_change(mutual):
    """New connections are held against the new ones at once, and those that stand are sent away."""
    with mutual.client(OTHERS, mutual.bad) as standing:
        assert seen(standing.request("GET", "/", OTHERS))
        mutual.sluice.apply(mutual.clients.bundle("others"))
        try:
            wait_until(lambda: seen(mutual.ask(OTHERS, OTHERS, mutual.good)))
            wait_until(lambda: standing.request("GET", "/", OTHERS).status == 421)
            with pytest.raises(REFUSALS):
                mutual.ask(OTHERS, OTHERS, mutual.bad)
        finally:
            mutual.sluice.apply(mutual.others.bundle("others"))
            wait_until(lambda: seen(mutual.ask(OTHERS, OTHERS, mutual.bad)))


def test_a_lost_bundle_closes_the_listener(mutual):
    name, host = "passing", "passing.mtls.test"
    made = validated(name, host, "passing-ca")
    mutual.sluice.apply(made, http_route("passing", [host], [forward("web")], name))
    wait_until(lambda: mutual.sluice.listener(
        "Gateway", name, name)["conditions"]["Accepted"]["status"] == "False")
    conditions = mutual.sluice.listener("Gateway", name, name)["conditions"]
    assert conditions["Accepted"]["reason"] == "NoValidCACertificate"
    assert conditions["ResolvedRefs"]["reason"] == "InvalidCACertificateRef"
    with pytest.raises(REFUSALS):
        mutual.ask(host, host, mutual.good)
    mutual.sluice.apply(mutual.clients.bundle("passing-ca"))
    mutual.sluice.wait_programmed("Gateway", name)
    assert wait_until(lambda: seen(mutual.ask(host, host, mutual.good)))
    mutual.sluice.delete(made)


def test_insecure_fallback_is_a_condition(mutual):
    entry = mutual.sluice.wait_condition("Gateway", "lenient", "InsecureFrontendValidationMode")
    assert entry["reason"] == "ConfigurationChanged"


def test_staples_are_sent(mutual):
    def said():
        result = subprocess.run(
            ["openssl", "s_client", "-status", "-servername", OPEN, "-connect",
             f"{mutual.sluice.address}:{mutual.sluice.port(443)}"], input="Q\n", capture_output=True, text=True, timeout=30)
        return result.stdout
    assert "OCSP Response Status: successful" in said() and "Cert Status: good" in said()
    # One of another certificate is not sent, and the listener says so.
    stranger = mutual.servers.issue("stranger")
    good = mutual.servers.staple(mutual.certificate, 3)
    try:
        mutual.sluice.apply(mutual.servers.secret(
            "server", mutual.certificate, {"tls.ocsp-staple": mutual.servers.staple(stranger, 3)}))
        wait_until(lambda: "OCSP response: no response sent" in said())
        conditions = mutual.sluice.listener("Gateway", "edge", "https")["conditions"]
        assert "another certificate" in conditions["sluice.dev/StapleNotSent"]["message"]
    finally:
        mutual.sluice.apply(mutual.servers.secret("server", mutual.certificate, {"tls.ocsp-staple": good}))
        wait_until(lambda: "OCSP Response Status: successful" in said())


def test_expired_certificates_are_served_and_noticed(mutual):
    expired = mutual.servers.issue("old.mtls.test", days=-1)
    made = gateway("old", [https_listener("old", hostname="old.mtls.test")])
    mutual.sluice.apply(mutual.servers.secret("old", expired), made)
    mutual.sluice.wait_programmed("Gateway", "old")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def served():
        raw = socket.create_connection((mutual.sluice.address, mutual.sluice.port(443)), 20)
        with context.wrap_socket(raw, server_hostname="old.mtls.test") as connection:
            return connection.version()
    assert wait_until(served)
    condition = mutual.sluice.listener("Gateway", "old", "https")["conditions"]["sluice.dev/CertificateOutOfTime"]
    assert condition["reason"] == "Expired" and "default/old" in condition["message"]
    mutual.sluice.delete(made)
