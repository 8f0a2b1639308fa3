"""The access log, metrics and probes."""

import json
import os
import signal
import urllib.request

import pytest

from harness.backends import H1Backend
from harness.clients import H1Client, H2Client
from harness.grpc_backend import GRPCBackend, GRPCClient
from harness.objects import forward, gateway, http_listener, http_route, service
from harness.raw_http2 import END_HEADERS, END_STREAM, PROTOCOL_ERROR, RawClient, data, headers
from harness.waiting import wait_until

HOST = "log.sluice.test"


class Logged:
    def __init__(self, run_sluice):
        from harness.loopback import LoopbackAddress
        self.admin_address = LoopbackAddress()
        import tempfile
        from pathlib import Path
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-log-"))
        self.path = self.folder / "access.log"
        self.sluice = run_sluice(["--access-log", self.path])
        self.backend = H1Backend(
            lambda exchange: exchange.respond(200, [], exchange.read() or b"answer"), self.sluice.address)
        self.grpc = GRPCBackend(self.sluice.address)
        self.sluice.apply(
            gateway("edge", [http_listener()]), *service("web", [(self.sluice.address, self.backend.port)]),
            *service("grpc", [(self.sluice.address, self.grpc.port)]),
            *service("dead", [(self.sluice.address, 9)]),
            http_route("web", [HOST], [forward("web")]), http_route("dead", [f"dead-{HOST}"], [forward("dead")]),
            http_route("grpc", [f"grpc-{HOST}"], [forward("grpc")]))
        self.sluice.wait_programmed("Gateway", "edge")
        self.sluice.settle()

    def lines(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def line(self, path):
        return wait_until(
            lambda: next((line for line in self.lines() if line.get("path") == path), None), f"the line of {path}")

    def close(self):
        import shutil
        self.backend.close()
        self.grpc.close()
        self.admin_address.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def logged(run_sluice):
    made = Logged(run_sluice)
    yield made
    made.close()


def test_lines(logged):
    sluice = logged.sluice
    with H1Client(sluice.address, sluice.port(80)) as client:
        client.request("POST", "/first?a=\"b\"".replace('"', "%22"), HOST, [("user-agent", 'te"st')], body=b"x" * 10)
        client.request("GET", "/nowhere", "unknown.test")
        assert client.request("GET", "/dead", f"dead-{HOST}").status == 503
    with H2Client(sluice.address, sluice.port(80)) as client:
        client.request("GET", "/second", HOST)
    with GRPCClient(sluice.address, sluice.port(80), f"grpc-{HOST}") as client:
        client.unary("Echo")(b"x", timeout=20)
    first = logged.line("/first?a=%22b%22")
    assert (first["method"], first["authority"], first["status"], first["protocol"]) == ("POST", HOST, 200, "HTTP/1.1")
    assert (first["bytes_in"], first["bytes_out"]) == (10, 10)
    assert first["peer"].startswith("127.") and first["duration_us"] > 0 and first["time"]
    assert logged.line("/nowhere")["status"] == 404
    assert logged.line("/nowhere")["flags"]
    assert logged.line("/dead")["flags"] == ["upstream_connect_failure"]
    assert logged.line("/second")["protocol"] == "HTTP/2"
    assert logged.line("/protobuf.Transport/Echo")["status"] == 200


def test_lines_name_rule_backend_and_endpoint(logged):
    """As facts on the request's way: which rule, which backend, which endpoint, which id."""
    sluice = logged.sluice
    with H1Client(sluice.address, sluice.port(80)) as client:
        client.request("GET", "/who", HOST, [("x-request-id", "id-17"), ("user-agent", "tester")])
    line = logged.line("/who")
    assert "web" in line["rule"] and "web" in line["backend"]
    assert line["upstream"] == f"{sluice.address}:{logged.backend.port}"
    assert line["request_id"] and line["user_agent"] == "tester"


def test_grpc_status_is_logged(logged):
    import grpc
    sluice = logged.sluice
    with GRPCClient(sluice.address, sluice.port(80), f"grpc-{HOST}") as client:
        with pytest.raises(grpc.RpcError):
            client.unary("Fail")(b"", timeout=20)
    assert logged.line("/protobuf.Transport/Fail")["grpc_status"] == 9


def test_a_length_that_data_contradicts_is_logged_once(logged):
    sluice = logged.sluice
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", "/lie"),
              ("content-length", "6")]
    with RawClient(sluice.address, sluice.port(80)) as client:
        client.send(headers(fields, 1, END_HEADERS), data(b"hello", flags=END_STREAM))
        assert client.answer(1)[0].code == PROTOCOL_ERROR
    assert "malformed" in logged.line("/lie")["flags"]
    sluice.plain_status(HOST, "/after-lie")
    logged.line("/after-lie")
    assert [line.get("path") for line in logged.lines()].count("/lie") == 1


def test_rotation(logged):
    sluice = logged.sluice
    sluice.plain_status(HOST, "/before")
    logged.line("/before")
    logged.path.rename(logged.folder / "old.log")
    os.kill(sluice.child("sluice-dataplane"), signal.SIGHUP)
    wait_until(logged.path.exists, "the new file")
    sluice.plain_status(HOST, "/after")
    logged.line("/after")


def test_metrics_and_probes(run_sluice):
    from harness.loopback import LoopbackAddress
    import socket
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sluice = run_sluice(["--admin-port", port])
    sluice.apply(gateway("edge", [http_listener()]))
    sluice.wait_programmed("Gateway", "edge")

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.status, response.read().decode()

    assert get("/live")[0] == 200 and get("/ready")[0] == 200
    before = sluice.admin.metrics()
    for _ in range(5):
        assert sluice.plain_status("nobody.test") == 404
    after = sluice.admin.metrics()
    key = 'sluice_requests_total{protocol="http1"}'
    assert after[key] - before[key] == 5
    assert after['sluice_responses_total{class="4xx"}'] - before['sluice_responses_total{class="4xx"}'] == 5
    assert after["sluice_requests_active"] == 0
    assert "# TYPE sluice_requests_total counter" in get("/metrics")[1]
    assert sluice.admin.get("/nothing")[0] == 404
