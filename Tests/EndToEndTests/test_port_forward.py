"""`sluice port-forward`, whether or not the listener's port is bound."""

import contextlib
import os
import re
import socket
import subprocess

import pytest

from harness.backends import H1Backend
from harness.clients import H1Client, H2Client
from harness.grpc_backend import GRPCBackend, GRPCClient
from harness.objects import forward, gateway, http_listener, http_route, service
from harness.process import Command
from harness.waiting import wait_until

HOST = "forward.sluice.test"


class Site:
    def __init__(self, sluice):
        self.sluice = sluice
        self.backend = H1Backend(lambda exchange: exchange.respond(200, [], exchange.read() or b"web"), sluice.address)
        self.grpc = GRPCBackend(sluice.address)
        sluice.apply(
            gateway("edge", [http_listener()]), *service("web", [(sluice.address, self.backend.port)]),
            *service("grpc", [(sluice.address, self.grpc.port)]),
            http_route("web", [HOST], [forward("web")]), http_route("grpc", [f"g-{HOST}"], [forward("grpc")]))
        sluice.wait_condition("HTTPRoute", "grpc", "Accepted")

    def close(self):
        self.backend.close()
        self.grpc.close()

    @contextlib.contextmanager
    def forwarded(self, *ports):
        """Runs the command; yields the local ports."""
        command = [self.sluice.arguments[0], "port-forward", "gateway/edge", *ports]
        with Command(command, {"SLUICE_KUBECONFIG": str(self.sluice.kubeconfig)}) as process:
            def said():
                found = re.findall(r"Forwarding from 127\.0\.0\.1:(\d+) -> edge:(\d+)", process.text)
                return found if len(found) == len(ports) else None
            yield [int(local) for local, _ in wait_until(said, "the command says its ports")]


@pytest.fixture(params=["bound", "taken"])
def site(run_sluice, request):
    """`taken`: somebody else has the port, so that the listener has none."""
    if request.param == "bound":
        made = Site(run_sluice())
        made.sluice.wait_programmed("Gateway", "edge")
        yield made
        made.close()
        return
    from harness.process import SluiceProcess
    sluice = SluiceProcess()
    with socket.socket() as other:
        other.bind((sluice.address, sluice.port(80)))
        other.listen()
        try:
            made = Site(sluice.start())
            found = wait_until(lambda: unavailable(sluice))
            assert found["reason"] == "PortUnavailable"
            assert "8080" in found["message"] and "port-forward" in found["message"]
            yield made
            made.close()
        finally:
            sluice.close()


def unavailable(sluice):
    condition = sluice.listener("Gateway", "edge", "http")["conditions"]["Programmed"]
    return condition if condition["status"] == "False" and condition["reason"] != "Pending" else None


def test_requests(site):
    with site.forwarded(":80") as (port,):
        with H1Client("127.0.0.1", port) as client:
            for _ in range(5):
                assert client.request("GET", "/", HOST).body == b"web"
            body = bytes(1 << 20)
            assert client.request("POST", "/", HOST, body=body).body == body
        with H2Client("127.0.0.1", port) as client:
            assert client.request("GET", "/", HOST).body == b"web"


def test_grpc(site):
    with site.forwarded(":80") as (port,):
        with GRPCClient("127.0.0.1", port, f"g-{HOST}") as client:
            assert client.unary("HealthCheck")(b"", timeout=20) == b"serving"
            conversation = client.conversation(timeout=20)
            for _ in range(20):
                assert conversation.say(b"x") == b"re:x"
            conversation.end()


def test_unknown_port_and_gateway(site):
    for arguments, word in (
            (("gateway/edge", ":4444"), "4444"), (("gateway/nothing", ":80"), "nothing"), (("edge", ":80"), "edge")):
        result = subprocess.run(
            [site.sluice.arguments[0], "port-forward", *arguments], capture_output=True, text=True, timeout=20,
            env={**os.environ, "SLUICE_KUBECONFIG": str(site.sluice.kubeconfig)})
        assert result.returncode not in (0,) and word in result.stderr, result


def test_port_that_becomes_free_is_bound(run_sluice):
    from harness.process import SluiceProcess
    sluice = SluiceProcess()
    try:
        with socket.socket() as other:
            other.bind((sluice.address, sluice.port(80)))
            other.listen()
            sluice.start()
            sluice.apply(gateway("edge", [http_listener()]))
            wait_until(lambda: unavailable(sluice))
        sluice.wait_programmed("Gateway", "edge", timeout=30)
    finally:
        sluice.close()
