"""gRPC by a real client library and a real server, under each kind of route, with and without TLS."""

import json
import time

import grpc
import pytest

from harness.grpc_backend import SERVICE, GRPCBackend, GRPCClient
from harness.objects import ISTIO, forward, grpc_route, http_route, meta, prefix, service, to, virtual_service
from harness.waiting import wait_until

KINDS = ["httproute", "grpcroute", "virtualservice"]


class Fixture:
    def __init__(self, edge, backend, kind, secure):
        self.edge, self.backend, self.kind, self.secure = edge, backend, kind, secure
        self.client = self.connect(f"{kind}-grpc.sluice.test")

    def connect(self, authority):
        port = self.edge.sluice.port(443 if self.secure else 80)
        root = self.edge.certificate.chain if self.secure else None
        return GRPCClient(self.edge.address, port, authority, root)

    def started(self):
        assert self.backend.notes.get(timeout=20) == "started"


def objects(edge, kind, name, host, backend, only=None):
    """Objects that lead a host to a backend by one kind of route; `only` is the service that it names."""
    path = f"/{only}" if only else "/"
    if kind == "httproute":
        return [http_route(name, [host], [forward(backend, matches=[prefix(path)])])]
    if kind == "grpcroute":
        matches = [{"method": {"service": only}}] if only else None
        return [grpc_route(name, [host], [forward(backend, matches=matches)])]
    tls = {"mode": "SIMPLE", "credentialName": "edge-tls"}
    return [
        {"apiVersion": ISTIO, "kind": "Gateway", "metadata": meta(f"ig-{name}"),
         "spec": {"selector": {"istio": "ingress"}, "servers": [
             {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [host]},
             {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": [host], "tls": tls}]}},
        virtual_service(name, [host], [
            {"match": [{"uri": {"prefix": path}}],
             "route": [{"destination": {"host": backend, "port": {"number": 80}}}]}], gateway_name=f"ig-{name}")]


@pytest.fixture(scope="module")
def grpc_backend(edge):
    with GRPCBackend(edge.address) as backend:
        # Nothing says that this port speaks HTTP/2: the route or the request must.
        made = service("grpc", [(edge.address, backend.port)])
        made += service("grpc-dead", [(edge.address, 9)])
        for kind in KINDS:
            made += objects(edge, kind, f"grpc-{kind}", f"{kind}-grpc.sluice.test", "grpc")
            made += objects(edge, kind, f"dead-{kind}", f"{kind}-dead.sluice.test", "grpc-dead")
            made += objects(edge, kind, f"only-{kind}", f"{kind}-only.sluice.test", "grpc", only=SERVICE)
        edge.sluice.apply(*made)
        edge.sluice.settle()
        yield backend
        edge.sluice.delete(*made)


@pytest.fixture(params=[(kind, secure) for kind in KINDS for secure in (False, True)],
                ids=lambda value: f"{value[0]}-{'tls' if value[1] else 'h2c'}")
def via(edge, grpc_backend, request):
    while not grpc_backend.notes.empty():
        grpc_backend.notes.get()
    made = Fixture(edge, grpc_backend, *request.param)
    yield made
    made.client.close()


def test_unary(via):
    assert via.client.unary("HealthCheck")(b"", timeout=20) == b"serving"
    assert via.client.unary("Echo")(b"\x00\xff" * 1000, timeout=20) == b"\x00\xff" * 1000


def test_empty_message(via):
    assert via.client.unary("Echo")(b"", timeout=20) == b""


def test_server_streaming(via):
    answers = list(via.client.server_stream("Count")(b"1000", timeout=30))
    assert answers == [b"%d" % number for number in range(1000)]


def test_client_streaming(via):
    numbers = (b"%d" % number for number in range(1000))
    assert via.client.client_stream("Sum")(numbers, timeout=30) == b"499500"


def test_bidirectional_streaming(via):
    conversation = via.client.conversation(timeout=30)
    for number in range(100):
        assert conversation.say(b"packet %d" % number) == b"re:packet %d" % number
    assert conversation.end() == []
    assert conversation.call.code() is grpc.StatusCode.OK


def test_message_of_17_mebibytes(via):
    message = bytes(range(256)) * (17 * 4096)
    assert via.client.unary("Echo")(message, timeout=60) == message


def test_metadata_goes_through_untouched(via):
    sent = (
        ("origin", "https://elsewhere.test"), ("authorization", "Bearer abc"), ("verb", "connect"),
        ("connection-name", "pg"), ("session-id", "s-1"), ("version", "1.2"), ("x-repeated", "one"),
        ("x-repeated", "two"), ("x-raw-bin", b"\x00\x01\xfe\xff"), ("x_under_score", "u"))
    answer, call = via.client.unary("Metadata").with_call(b"", metadata=sent, timeout=20)
    seen = json.loads(answer)["metadata"]
    for key, value in sent:
        assert [key, value.hex() if isinstance(value, bytes) else value] in seen
    assert [value for key, value in seen if key == "x-repeated"] == ["one", "two"]
    assert any(key == "user-agent" and "grpc-python" in value for key, value in seen)
    # Nothing answers in the backend's place: no CORS header because of `origin`.
    initial = dict(call.initial_metadata())
    assert initial["x-initial"] == "first" and initial["x-initial-bin"] == b"\x00\xff"
    assert not any(key.startswith("access-control-") for key in initial)
    trailing = dict(call.trailing_metadata())
    assert trailing["x-trailing"] == "last" and trailing["x-trailing-bin"] == b"\x01\xfe"


def test_status_of_the_backend(via):
    with pytest.raises(grpc.RpcError) as error:
        via.client.unary("Fail")(b"", timeout=20)
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.value.details() == "not now: 100% \u00fcber"
    assert ("x-why", "because") in list(error.value.trailing_metadata())


def test_cancellation_reaches_the_backend(via):
    future = via.client.unary("Hang").future(b"", timeout=30)
    via.started()
    future.cancel()
    assert via.backend.notes.get(timeout=5) == "ended"


def test_cancelled_conversation_reaches_the_backend(via):
    conversation = via.client.conversation(timeout=30)
    assert conversation.say(b"hello") == b"re:hello"
    via.started()
    conversation.call.cancel()
    assert via.backend.notes.get(timeout=5) == "ended"


def test_deadline(via):
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        via.client.unary("Hang")(b"", timeout=0.5)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 5
    via.started()
    assert via.backend.notes.get(timeout=5) == "ended"


def test_deadline_is_passed_on(via):
    answer = json.loads(via.client.unary("Metadata")(b"", timeout=20))
    # Clients round grpc-timeout up.
    assert 10 < answer["remaining"] < 22


def test_dead_backend_is_unavailable(via):
    with via.connect(f"{via.kind}-dead.sluice.test") as client:
        for call in (lambda: client.unary("Echo")(b"x", timeout=20), lambda: client.conversation(timeout=20).say(b"x")):
            with pytest.raises(grpc.RpcError) as error:
                call()
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
            assert error.value.details() and "backend" in error.value.details()


def test_no_route_is_unimplemented(via):
    with via.connect(f"{via.kind}-only.sluice.test") as client:
        assert client.unary("Echo")(b"x", timeout=20) == b"x"
        with pytest.raises(grpc.RpcError) as error:
            client.unary("Echo", "other.Service")(b"x", timeout=20)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    with via.connect("nobody-grpc.sluice.test") as client:
        with pytest.raises(grpc.RpcError) as error:
            client.unary("Echo")(b"x", timeout=20)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_many_calls_at_once(via):
    futures = [via.client.unary("Echo").future(b"%d" % number, timeout=60) for number in range(500)]
    assert [future.result() for future in futures] == [b"%d" % number for number in range(500)]


def test_backend_that_dies_in_a_stream(edge, route, host):
    name = host.split(".")[0]
    backend = GRPCBackend(edge.address)
    try:
        route([forward(to(name))], kind=grpc_route, extra=service(name, [(edge.address, backend.port)]))
        with GRPCClient(edge.address, edge.sluice.port(80), host) as client:
            conversation = client.conversation(timeout=30)
            assert conversation.say(b"a") == b"re:a"
            backend.close()
            with pytest.raises(grpc.RpcError) as error:
                conversation.say(b"b")
            # The server says CANCELLED or the connection's end is UNAVAILABLE, never an HTTP page or a hang.
            assert error.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    finally:
        backend.close()


def test_grpc_route_matches_service_method_and_headers(edge, grpc_backend, route, host):
    def marked(value, **match):
        return forward("grpc", matches=[match], filters=[{
            "type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-rule", "value": value}]}}])
    route([
        marked("method", method={"service": SERVICE, "method": "Echo"}),
        marked("service", method={"service": SERVICE}),
        marked("header", method={"service": SERVICE, "method": "Echo"}, headers=[{"name": "x-team", "value": "blue"}]),
    ], kind=grpc_route)
    with GRPCClient(edge.address, edge.sluice.port(80), host) as client:
        def rule(method, metadata=()):
            _, call = client.unary(method).with_call(b"", timeout=20, metadata=metadata)
            return dict(call.initial_metadata())["x-rule"]
        assert rule("Echo") == "method"
        assert rule("HealthCheck") == "service"
        assert rule("Echo", (("x-team", "blue"),)) == "header"


def test_grpc_weights(edge, grpc_backend, route, host):
    with GRPCBackend(edge.address) as other:
        name = host.split(".")[0]
        route([forward(to("grpc", weight=1), to(name, weight=1))], kind=grpc_route,
              extra=service(name, [(edge.address, other.port)]))
        with GRPCClient(edge.address, edge.sluice.port(80), host) as client:
            for _ in range(2):
                # Both get some of many streams.
                calls = [client.conversation(timeout=20) for _ in range(40)]
                for call in calls:
                    assert call.say(b"x") == b"re:x"
                for call in calls:
                    call.end()
        assert other.notes.qsize() > 20 and wait_until(lambda: grpc_backend.notes.qsize() > 20)
