"""Istio DestinationRules: TLS to backends, with the names that Istio gives it."""

import base64

import pytest

from harness import behaviours
from harness.backends import H1Backend
from harness.certificates import Authority
from harness.objects import service, virtual_service
from harness.secure_backends import SecureBackend, destination_rule, server_context
from harness.waiting import wait_until

HOST = "shop.test"


@pytest.fixture(scope="module")
def issuer():
    return Authority("backends")


@pytest.fixture
def istio(run_sluice):
    """An instance with an Istio Gateway and a backend that `lead` leads to under a rule's TLS settings."""
    sluice = run_sluice()
    sluice.apply({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
        "metadata": {"name": "istio-edge", "namespace": "default"},
        "spec": {"servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}})
    started = []

    def lead(backend, tls, *objects, hosts=(HOST,)):
        started.append(backend)
        sluice.apply(
            *service("web", [(sluice.address, backend.port)]), *objects, destination_rule("web", "web", tls),
            virtual_service("web", list(hosts), [{"route": [{"destination": {"host": "web"}}]}]))
        sluice.wait_programmed("IstioGateway", "istio-edge")
        return sluice

    lead.sluice = sluice
    yield lead
    for backend in started:
        backend.close()


def secure(sluice, issuer, *names, clients=None):
    return SecureBackend(
        behaviours.respond, server_context(issuer.issue("common.test", names), clients=clients), sluice.address)


def credential(name, issuer, holder=None, certificate=None):
    """The Secret of a `credentialName`: whom to trust and, as `holder` issued it, what to show."""
    roots = {"ca.crt": issuer.chain.encode()}
    if certificate:
        return holder.secret(name, certificate, roots)
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"},
        "data": {key: base64.b64encode(value).decode() for key, value in roots.items()}}


def conditions(sluice, kind="DestinationRule"):
    return {entry["type"]: entry for entry in sluice.get(kind, "web").get("status", {}).get("conditions", [])}


def test_simple_with_a_name(istio, issuer):
    backend = secure(istio.sluice, issuer, "DNS:web.internal")
    tls = {"mode": "SIMPLE", "credentialName": "roots", "sni": "web.internal"}
    sluice = istio(backend, tls, credential("roots", issuer))
    wait_until(lambda: sluice.plain_status(HOST) == 200)
    assert backend.handshakes[0]["name"] == "web.internal"
    wait_until(lambda: conditions(sluice)["Accepted"]["status"] == "True")
    sluice.apply(destination_rule("web", "web", {**tls, "sni": "other.internal"}))
    wait_until(lambda: sluice.plain_status(HOST) == 503)


def test_the_name_is_the_host_of_the_requests(istio, issuer):
    backend = secure(istio.sluice, issuer, f"DNS:{HOST}")
    tls = {"mode": "SIMPLE", "credentialName": "roots"}
    sluice = istio(backend, tls, credential("roots", issuer))
    wait_until(lambda: sluice.plain_status(HOST) == 200)
    assert backend.handshakes[0]["name"] == HOST
    sluice.apply(virtual_service("web", [HOST, "more.test"], [{"route": [{"destination": {"host": "web"}}]}]))
    wait_until(lambda: sluice.plain_status(HOST) == 500)
    wait_until(lambda: "set sni or subjectAltNames" in conditions(sluice, "VirtualService")["ResolvedRefs"]["message"])


def test_mutual(istio, issuer):
    clients = Authority("clients")
    backend = secure(istio.sluice, issuer, "DNS:web.internal", "URI:spiffe://a/b", clients=clients)
    tls = {"mode": "MUTUAL", "credentialName": "mine", "sni": "web.internal", "subjectAltNames": ["spiffe://a/b"]}
    sluice = istio(backend, tls, credential("mine", issuer, clients, clients.issue("ingress.test")))
    wait_until(lambda: sluice.plain_status(HOST) == 200)
    stranger = Authority("stranger")
    sluice.apply(credential("mine", issuer, stranger, stranger.issue("ingress.test")))
    wait_until(lambda: sluice.plain_status(HOST) == 503)


def test_disable_and_skip(istio, issuer):
    sluice = istio(H1Backend(behaviours.respond, istio.sluice.address), {"mode": "DISABLE"})
    wait_until(lambda: sluice.plain_status(HOST) == 200)
    backend = secure(sluice, Authority("anybody"), "DNS:whoever")
    try:
        sluice.apply(
            *service("web", [(sluice.address, backend.port)]),
            destination_rule("web", "web", {"mode": "SIMPLE", "insecureSkipVerify": True}))
        wait_until(lambda: sluice.plain_status(HOST) == 200 and backend.handshakes)
    finally:
        backend.close()


def test_what_cannot_be_followed_is_not_sent_in_the_clear(istio):
    backend = H1Backend(behaviours.respond, istio.sluice.address)
    sluice = istio(backend, {"mode": "ISTIO_MUTUAL"})
    wait_until(lambda: sluice.plain_status(HOST) == 500)
    wait_until(lambda: "ISTIO_MUTUAL" in conditions(sluice)["Accepted"]["message"])
    sluice.apply(destination_rule("web", "web", {"mode": "SIMPLE", "credentialName": "nobody", "sni": "x.test"}))
    wait_until(lambda: "no Secret nobody" in conditions(sluice)["ResolvedRefs"]["message"])
    wait_until(lambda: sluice.plain_status(HOST) == 500)
    assert backend.notes.empty()


def test_the_systems_authorities(run_sluice, issuer):
    """SSL_CERT_FILE is what OpenSSL goes by; the sandbox lets the data plane read it."""
    sluice = run_sluice(environment={"SSL_CERT_FILE": str(issuer.file), "SSL_CERT_DIR": "/nowhere"})
    backend = secure(sluice, issuer, "DNS:web.internal")
    try:
        sluice.apply({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": {"name": "istio-edge", "namespace": "default"},
            "spec": {"servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}},
            *service("web", [(sluice.address, backend.port)]),
            destination_rule("web", "web", {"mode": "SIMPLE", "sni": "web.internal"}),
            virtual_service("web", [HOST], [{"route": [{"destination": {"host": "web"}}]}]))
        sluice.wait_programmed("IstioGateway", "istio-edge")
        wait_until(lambda: sluice.plain_status(HOST) == 200)
    finally:
        backend.close()
