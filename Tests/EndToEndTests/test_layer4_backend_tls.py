"""Bytes to backends that are spoken to over TLS: of TCP, and out of TLS that ends at the proxy."""

import socket
import ssl

import pytest

from harness.certificates import Authority, Certificate
from harness.layer4 import (
    BytesBackend, istio_gateway, istio_route, over_tls, receive_until, tcp_listener, tcp_route, tls_listener, tls_route)
from harness.objects import ISTIO, gateway, http_listener, meta, service
from harness.secure_backends import destination_rule, policy, server_context
from harness.waiting import wait_until

NAME = "inner.test"


class Backend(BytesBackend):
    """Says a word over TLS, and notes what the handshake asked for."""

    def __init__(self, context, address):
        self.handshakes, self.heard, self.name = [], [], None
        context.sni_callback = lambda connection, name, _: setattr(self, "name", name)
        super().__init__(over_tls(context, self.talk), address)

    def talk(self, connection):
        self.handshakes.append((self.name, connection.selected_alpn_protocol()))
        connection.sendall(b"inner\n")
        while data := connection.recv(1 << 16):
            self.heard.append(data)
            connection.sendall(data)
        connection.unwrap()


@pytest.fixture(scope="module")
def issuer():
    return Authority("inner")


@pytest.fixture
def lead(run_sluice, issuer):
    """An instance whose listeners of TCP and TLS all lead to one backend."""
    sluice = run_sluice(port_map={80: 8080, 81: 8081, 82: 8082, 443: 8443})
    backend = Backend(server_context(issuer.issue("inner", [f"DNS:{NAME}", "DNS:a.pass.test"])), sluice.address)
    ours = Certificate(["a.ends.test"])
    sluice.apply(
        ours.secret("ours"), issuer.bundle("inner"), *service("inner", [(sluice.address, backend.port)]),
        gateway("edge", [
            http_listener(), tcp_listener(), tls_listener("pass", "*.pass.test"),
            tls_listener("ends", "a.ends.test", "ours")]),
        tcp_route("bytes", ["inner"], "tcp"), tls_route("names", ["a.pass.test", "a.ends.test"], ["inner"]))
    sluice.backend, sluice.ours = backend, ours
    yield sluice
    backend.close()


def connect(sluice, port):
    connection = socket.create_connection((sluice.address, sluice.port(port)), 20)
    connection.settimeout(20)
    return connection


def talk(connection):
    """What is said first, and whether bytes come back, ends included."""
    word = receive_until(connection, b"\n")
    if word:
        connection.sendall(b"to and fro")
        assert receive_until(connection, b"fro") == b"to and fro"
    return word


def says_no(sluice, port=81):
    """Closed, without a byte."""
    try:
        with connect(sluice, port) as connection:
            return talk(connection) == b""
    except ConnectionResetError:
        return True


def test_bytes_are_encrypted_for_whom_a_policy_names(lead, issuer):
    lead.apply(policy("inner", "inner", NAME, "inner"))
    lead.settle()
    with connect(lead, 81) as connection:
        assert talk(connection) == b"inner\n"
        # The end of one side goes through both ways of ending.
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == b""
    assert lead.backend.handshakes == [(NAME, None)]
    context = ssl.create_default_context(cadata=lead.ours.chain)
    with connect(lead, 443) as raw, context.wrap_socket(raw, server_hostname="a.ends.test") as connection:
        assert talk(connection) == b"inner\n"
    assert lead.backend.handshakes[-1] == (NAME, None)
    wait_until(lambda: lead.admin.metric("sluice_tcp_connections_active") == 0)


def test_what_passes_through_is_not_encrypted_twice(lead, issuer):
    lead.apply(policy("inner", "inner", NAME, "inner"))
    lead.settle()
    context = ssl.create_default_context(cafile=issuer.file)
    with connect(lead, 443) as raw, context.wrap_socket(raw, server_hostname="a.pass.test") as connection:
        assert talk(connection) == b"inner\n"
    assert lead.backend.handshakes == [("a.pass.test", None)]
    said = lead.cli("explain", "tls://a.pass.test").out
    assert "passes through" in said and "/tls" not in said
    assert "default/inner:80/tls" in lead.cli("explain", "tls://a.ends.test").out


def test_a_backend_that_is_somebody_else_hears_nothing(lead, issuer):
    lead.apply(policy("inner", "inner", "other.test", "inner"))
    lead.settle()
    assert says_no(lead)
    assert lead.backend.heard == []
    assert lead.admin.metric("sluice_upstream_tls_failures_total", reason="wrong_name") >= 1
    # A policy that cannot be followed closes its backend; nothing goes out in the clear.
    lead.apply(policy("inner", "inner", NAME, "absent"))
    lead.settle()
    before = lead.backend.connection_count
    assert says_no(lead) and lead.backend.connection_count == before


def test_rules_of_istio(lead, issuer):
    lead.apply(
        istio_gateway("istio", [(82, "TCP", ["*"], None)]),
        {"apiVersion": ISTIO, "kind": "VirtualService", "metadata": meta("bytes"),
         "spec": {"hosts": ["*"], "gateways": ["istio"], "tcp": [istio_route(["inner"])]}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta("roots"), "stringData": {"ca.crt": issuer.chain}},
        destination_rule("inner", "inner", {"mode": "SIMPLE", "sni": NAME, "credentialName": "roots"}))
    lead.wait_programmed("IstioGateway", "istio")
    lead.settle()
    with connect(lead, 82) as connection:
        assert talk(connection) == b"inner\n"
    assert lead.backend.handshakes == [(NAME, None)]
