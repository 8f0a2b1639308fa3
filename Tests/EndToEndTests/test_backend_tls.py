"""TLS to backends: who they must prove to be, and what happens when they do not."""

import json
import socket
import ssl
import threading

import grpc
import pytest
from websockets.sync.client import connect
from websockets.sync.server import serve

from harness import behaviours
from harness.certificates import Authority
from harness.clients import Broken
from harness.grpc_backend import SERVICE, GRPCBackend, GRPCClient
from harness.layer4 import BytesBackend, echo, receive_all, tcp_listener, tcp_route
from harness.objects import forward, gateway, http_listener, http_route, service
from harness.secure_backends import SecureBackend, policy, server_context
from harness.waiting import wait_until

BIG = behaviours.pattern(10 << 20)
NAME = "backend.test"


def handle(exchange):
    action = {"/open": open_ended, "/cut": open_ended}.get(exchange.path)
    if action:
        action(exchange)
    else:
        behaviours.respond(exchange)


def open_ended(exchange):
    """A response that the end of the connection ends, with and without close_notify."""
    exchange.keep_alive = False
    exchange.connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole?")
    if exchange.path == "/open":
        exchange.connection.unwrap()
    else:
        # A FIN and no close_notify; what the proxy still says is read, so that no reset overtakes it.
        exchange.connection.shutdown(socket.SHUT_WR)
        while exchange.connection.recv(1024):
            pass


@pytest.fixture(scope="module")
def issuer():
    return Authority("backends")


@pytest.fixture(scope="module")
def stranger():
    return Authority("stranger")


@pytest.fixture
def secure(edge, route, host, issuer):
    """Starts a backend and leads this test's host to it under a policy."""
    started = []
    name = host.split(".")[0]

    def start(certificate=None, authority=issuer, hostname=NAME, backend=None, protocol=None, kind=None, **options):
        made = backend or SecureBackend(
            handle, server_context(certificate or issuer.issue(NAME), **options.pop("server", {})),
            edge.address)
        started.append(made)
        extra = [
            authority.bundle(f"{name}-ca"), policy(name, name, hostname, f"{name}-ca", **options),
            *service(name, [(edge.address, made.port)], app_protocol=protocol)]
        if len(started) == 1:
            route([forward(name)], extra=extra, **({"kind": kind} if kind else {}))
        else:
            edge.sluice.apply(*extra)
            edge.sluice.settle()
        return made

    yield start
    for backend in started:
        backend.close()


def get(edge, host, path="/inspect", method="GET", kind="h1", **more):
    with edge.client(kind) as client:
        return client.request(method, path, host, **more)


def failures(edge, reason):
    return edge.sluice.admin.metric("sluice_upstream_tls_failures_total", reason=reason)


@pytest.mark.parametrize("kind", ["h1", "h2-tls"])
def test_the_right_backend(edge, host, secure, kind):
    backend = secure()
    response = get(edge, host, kind=kind)
    assert response.status == 200, response
    assert json.loads(response.body)["authority"] == host
    seen = backend.handshakes[0]
    assert (seen["version"], seen["alpn"], seen["name"]) == ("TLSv1.3", "http/1.1", NAME)


def test_version_1_2(edge, host, secure):
    backend = secure(server={"newest": ssl.TLSVersion.TLSv1_2})
    assert get(edge, host).status == 200
    assert backend.handshakes[0]["version"] == "TLSv1.2"


def test_the_wrong_backends(edge, host, secure, issuer, stranger, request):
    """Each is 503, says what is wrong, is counted, and sees no request."""
    wrong = [
        (stranger.issue(NAME), {}, "unknown_authority", "unknown authority"),
        (issuer.issue("other.test"), {}, "wrong_name", "another name"),
        (issuer.issue("a.b.test"), {"hostname": "b.test"}, "wrong_name", "another name"),
        (issuer.issue(NAME, days=-1), {}, "expired", "expired"),
        (issuer.issue(NAME, ["DNS:ignored.test", "URI:spiffe://a/b"]), {"alternatives": [("URI", "spiffe://a/c")]},
         "wrong_name", "another name"),
        (issuer.issue(NAME), {"server": {"newest": ssl.TLSVersion.TLSv1_1}}, "nothing_in_common",
         "no protocol"),
        (issuer.issue(NAME), {"server": {"clients": stranger}}, "refused_ours", "refused our certificate"),
    ]
    for certificate, options, reason, text in wrong:
        before = failures(edge, reason)
        backend = secure(certificate, **options)
        response = get(edge, host, method="POST", body=b"secret")
        assert response.status == 503, (reason, response)
        assert text in response.body.decode(), reason
        assert failures(edge, reason) > before, reason
        assert backend.notes.empty()
        backend.close()


@pytest.mark.parametrize("names, alternatives", [
    (["DNS:*.wild.test"], [("Hostname", "a.wild.test")]),
    (["URI:spiffe://trust.test/backend"], [("Hostname", "x.test"), ("URI", "spiffe://trust.test/backend")]),
], ids=["dns", "uri"])
def test_subject_alternative_names(edge, host, secure, issuer, names, alternatives):
    """They stand for the hostname, which only asks then."""
    backend = secure(issuer.issue("common.test", names), hostname="asked.test", alternatives=alternatives)
    assert get(edge, host).status == 200
    assert backend.handshakes[0]["name"] == "asked.test"


def test_clear_text_where_tls_is_expected(edge, host, secure):
    def say_what_it_is(connection):
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")

    before = failures(edge, "other")
    secure(backend=BytesBackend(say_what_it_is, edge.address))
    response = get(edge, host)
    assert response.status == 503
    assert failures(edge, "other") > before


def test_ten_mebibytes_both_ways(edge, host, secure):
    secure()
    for kind in ("h1", "h2-tls"):
        response = get(edge, host, "/echo", "POST", kind, body=BIG)
        assert response.status == 200
        assert response.body == BIG


def test_truncation(edge, host, secure):
    """Without close_notify nobody can tell a whole response from one that was cut off."""
    secure()
    assert get(edge, host, "/open").body == b"whole?"
    before = edge.sluice.admin.metric("sluice_upstream_tls_truncations_total")
    with pytest.raises(Broken):
        get(edge, host, "/cut")
    assert edge.sluice.admin.metric("sluice_upstream_tls_truncations_total") > before


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_resumption(edge, host, secure, newest):
    backend = secure(server={"newest": newest})

    def resumed():
        # A response that ends its connection, so that the next request begins with a handshake.
        assert get(edge, host, "/open").status == 200
        return any(seen["resumed"] for seen in backend.handshakes)
    wait_until(resumed)


def test_connections_are_kept(edge, host, secure):
    backend = secure()
    with edge.client() as client:
        for _ in range(20):
            assert client.request("GET", "/inspect", host).status == 200
    assert len(backend.handshakes) == 1


def test_a_changed_policy_makes_new_connections(edge, host, secure, stranger):
    backend = secure()
    name = host.split(".")[0]
    assert get(edge, host).status == 200
    edge.sluice.apply(stranger.bundle(f"{name}-ca"))
    wait_until(lambda: get(edge, host).status == 503)
    assert len(backend.handshakes) >= 1


def test_endpoints_change(edge, host, secure, issuer):
    first = secure()
    name = host.split(".")[0]
    second = SecureBackend(handle, server_context(issuer.issue(NAME)), edge.address)
    try:
        assert get(edge, host).status == 200
        edge.sluice.apply(*service(name, [(edge.address, second.port)]))
        # The slice of the old endpoint has the same name: it is replaced.
        wait_until(lambda: get(edge, host).status == 200 and second.handshakes)
        first.close()
        assert get(edge, host).status == 200
    finally:
        second.close()


def test_websocket(edge, host, secure, issuer):
    def echo(connection):
        for message in connection:
            connection.send(message)

    context = server_context(issuer.issue(NAME))
    server = serve(echo, edge.address, 0, ssl=context, max_size=None)
    server.port = server.socket.getsockname()[1]
    server.close = server.shutdown
    threading.Thread(target=server.serve_forever, daemon=True).start()
    secure(backend=server, protocol="kubernetes.io/wss")
    raw = socket.create_connection((edge.address, edge.sluice.port(80)), 20)
    with connect(f"ws://{host}/", sock=raw, max_size=None) as client:
        for message in ("hello", BIG[:1 << 20]):
            client.send(message)
            assert client.recv(timeout=20) == message


@pytest.fixture
def secure_grpc(edge, issuer):
    backend = GRPCBackend(edge.address, certificate=issuer.issue(NAME))
    yield backend
    backend.close()


def test_grpc(edge, host, secure, secure_grpc):
    secure(backend=secure_grpc)
    with GRPCClient(edge.address, edge.sluice.port(80), host) as client:
        assert client.unary("Echo")(b"hello", timeout=20) == b"hello"
        assert list(client.server_stream("Count")(b"3", timeout=20)) == [b"0", b"1", b"2"]
        assert client.unary("Echo")(BIG, timeout=60) == BIG
        conversation = client.conversation(timeout=20)
        assert conversation.say(b"one") == b"re:one"
        assert conversation.end() == []


def test_grpc_to_the_wrong_backend(edge, host, secure, secure_grpc, stranger):
    secure(backend=secure_grpc, authority=stranger)
    with GRPCClient(edge.address, edge.sluice.port(80), host) as client:
        with pytest.raises(grpc.RpcError) as failed:
            client.unary("Echo", SERVICE)(b"hello", timeout=20)
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "unknown authority" in failed.value.details()


def test_grpc_without_http2(edge, host, secure):
    """A backend that does not agree to HTTP/2 is not spoken to in it."""
    secure()
    with GRPCClient(edge.address, edge.sluice.port(80), host) as client:
        with pytest.raises(grpc.RpcError) as failed:
            client.unary("Echo")(b"hello", timeout=20)
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE


def conditions(edge, name):
    entries = edge.sluice.get("BackendTLSPolicy", name).get("status", {}).get("ancestors", [])
    return {item["type"]: (item["status"], item["reason"]) for entry in entries for item in entry["conditions"]}


def test_status_and_conflicts(edge, host, secure, stranger):
    """The older of two policies is in force; one without a certificate closes the backend, and is never opened."""
    secure(protocol="https")
    name = host.split(".")[0]
    wait_until(lambda: conditions(edge, name).get("Accepted") == ("True", "Accepted"))
    assert conditions(edge, name)["ResolvedRefs"] == ("True", "ResolvedRefs")
    later = policy(f"{name}-z", name, "other.test", f"{name}-ca")
    edge.sluice.apply(later)
    try:
        wait_until(lambda: conditions(edge, f"{name}-z").get("Accepted") == ("False", "Conflicted"))
        assert get(edge, host).status == 200
    finally:
        edge.sluice.delete(later)
    edge.sluice.apply(policy(name, name, NAME, "nobody"))
    wait_until(lambda: get(edge, host).status == 500)
    wait_until(lambda: conditions(edge, name).get("Accepted") == ("False", "NoValidCACertificate"))
    assert conditions(edge, name)["ResolvedRefs"] == ("False", "InvalidCACertificateRef")


def test_https_without_a_policy(edge, host, route):
    name = host.split(".")[0]
    route([forward(name)], extra=service(name, [(edge.address, 1)], app_protocol="https"))
    assert get(edge, host).status == 500
    parent = edge.sluice.get("HTTPRoute", name)["status"]["parents"][0]
    assert any("BackendTLSPolicy" in item["message"] for item in parent["conditions"])


def test_our_certificate(run_sluice, issuer):
    """`spec.tls.backend.clientCertificateRef` of the Gateway is what a backend that asks is shown."""
    clients = Authority("clients")
    sluice = run_sluice()
    backend = SecureBackend(
        handle, server_context(issuer.issue(NAME), clients=clients), sluice.address)
    edge = gateway("edge", [http_listener()])
    edge["spec"]["tls"] = {"backend": {"clientCertificateRef": {"name": "client"}}}
    try:
        sluice.apply(
            clients.secret("client", clients.issue("sluice.test")), edge, issuer.bundle("ca"),
            policy("web", "web", NAME, "ca"), *service("web", [(sluice.address, backend.port)]),
            http_route("web", ["web.test"], [forward("web")]))
        sluice.wait_programmed("Gateway", "edge")
        wait_until(lambda: sluice.plain_status("web.test") == 200)
        del edge["spec"]["tls"]
        sluice.apply(edge)
        wait_until(lambda: sluice.plain_status("web.test") == 503)
    finally:
        backend.close()


def test_tcp_routes(run_sluice, issuer, stranger):
    """Bytes in the clear go on over TLS, whole, and their end with them; the wrong backend hears none of them."""
    sluice = run_sluice()

    def serve(connection):
        with server.wrap_socket(connection, server_side=True) as secure:
            assert secure.selected_alpn_protocol() is None
            echo(secure)

    server = server_context(issuer.issue(NAME))
    backend = BytesBackend(serve, sluice.address)

    def ask(bytes):
        with socket.create_connection((sluice.address, sluice.port(81)), 20) as connection:
            connection.settimeout(20)

            def send():
                try:
                    connection.sendall(bytes)
                    connection.shutdown(socket.SHUT_WR)
                except OSError:
                    pass

            sender = threading.Thread(target=send)
            sender.start()
            try:
                return receive_all(connection)
            except ConnectionError:
                return None
            finally:
                sender.join(20)

    try:
        sluice.apply(
            gateway("edge", [http_listener(), tcp_listener()]), issuer.bundle("ca"),
            policy("db", "db", NAME, "ca"), *service("db", [(sluice.address, backend.port)]),
            tcp_route("db", ["db"], "tcp"))
        sluice.wait_programmed("Gateway", "edge")
        sluice.settle()
        assert ask(b"hello") == b"hello"
        assert ask(BIG) == BIG
        sluice.apply(stranger.bundle("ca"))
        before = sluice.admin.metric("sluice_upstream_tls_failures_total", reason="unknown_authority")
        sluice.settle()
        # A reset, or an end where the bytes were read before it.
        assert not ask(b"secret")
        assert sluice.admin.metric("sluice_upstream_tls_failures_total", reason="unknown_authority") > before
    finally:
        backend.close()
