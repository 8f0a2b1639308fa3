"""The seed document's two sets of manifests, unchanged, with its real-life faults."""

import json
import os
import subprocess

import pytest

from harness.backends import H1Backend
from harness.certificates import Certificate
from harness.grpc_backend import GRPCBackend, GRPCClient
from harness.process import ROOT
from harness.waiting import wait_until

HOST = "hoop.yourdomain.org"
GATEWAY_API = ROOT / "manifests/hoop/gateway-api.yaml"
ISTIO = ROOT / "manifests/hoop/istio.yaml"


class Hoop:
    """Stands for hoop's gateway: HTTP on 8009, gRPC on 8010."""

    def __init__(self, address):
        self.http = H1Backend(self.answer, address, 8009)
        self.grpc = GRPCBackend(address, 8010)

    def answer(self, exchange):
        body = exchange.read()
        seen = {"target": exchange.target, "headers": dict(exchange.headers), "length": len(body)}
        exchange.respond(200, [("content-type", "application/json")], json.dumps(seen).encode())

    def close(self):
        self.http.close()
        self.grpc.close()


@pytest.fixture
def hoop(run_sluice):
    sluice = run_sluice()
    backend = Hoop(sluice.address)
    backend.sluice = sluice
    yield backend
    backend.close()


def curl(sluice, url, *arguments):
    """Status, HTTP version and body."""
    result = subprocess.run(
        ["curl", "-sS", "--max-time", "20", "--connect-to", f"{HOST}:80:{sluice.address}:{sluice.port(80)}",
         "--connect-to", f"{HOST}:443:{sluice.address}:{sluice.port(443)}",
         "-w", "\n%{http_code} %{http_version}", *arguments, url],
        capture_output=True, text=True, timeout=30, env={**os.environ, "no_proxy": "*"})
    assert result.returncode == 0, result
    body, _, tail = result.stdout.rpartition("\n")
    status, version = tail.split()
    return int(status), version, body


def check_traffic(hoop, authority=None):
    """curl over HTTP/1.1 and h2c, and a gRPC client, against port 80."""
    sluice = hoop.sluice
    for flags, version in ((["--http1.1"], "1.1"), (["--http2-prior-knowledge"], "2")):
        status, spoken, body = curl(sluice, f"http://{HOST}/api/healthz?deep=1", *flags)
        assert (status, spoken) == (200, version), body
        seen = json.loads(body)
        assert seen["target"] == "/api/healthz?deep=1"
        assert seen["headers"]["host"] == HOST
        assert seen["headers"]["x-forwarded-proto"] == "http"
        status, _, body = curl(sluice, f"http://{HOST}/api/login", *flags, "--data-binary", "x" * 100_000,
                               "-H", "HOOP_KEY: k")
        assert (status, json.loads(body)["length"]) == (200, 100_000)
        assert json.loads(body)["headers"]["hoop_key"] == "k"
    check_grpc(hoop, sluice.port(80))


    check_nghttp(sluice)


def check_nghttp(sluice):
    """nghttp opens many streams at once on one connection."""
    result = subprocess.run(
        ["nghttp", "-nvs", "-m", "20", "-H", f":authority: {HOST}", "-H", "x-test: 1",
         f"http://{sluice.address}:{sluice.port(80)}/api/healthz"],
        capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result
    assert result.stdout.count(":status: 200") == 20, result.stdout[-3000:]


def check_grpc(hoop, port, root=None):
    with GRPCClient(hoop.sluice.address, port, HOST, root) as client:
        assert client.unary("HealthCheck")(b"", timeout=20) == b"serving"
        conversation = client.conversation(timeout=20, metadata=(("origin", "agent"),))
        for number in range(10):
            assert conversation.say(b"%d" % number) == b"re:%d" % number
        assert conversation.end() == []


def test_gateway_api_manifests(hoop):
    result = hoop.sluice.apply_path(GATEWAY_API)
    assert result.out.splitlines() == [
        "gateway.gateway.networking.k8s.io/hoopgateway created",
        "httproute.gateway.networking.k8s.io/hoopgateway-route created"]
    hoop.sluice.wait_programmed("Gateway", "hoopgateway")
    hoop.sluice.wait_condition("HTTPRoute", "hoopgateway-route", "ResolvedRefs")
    check_traffic(hoop)
    assert hoop.sluice.plain_status("other.org") == 404


def test_istio_class_name_is_taken_with_a_warning(hoop):
    hoop.sluice.apply_path(GATEWAY_API)
    hoop.sluice.wait_programmed("Gateway", "hoopgateway")
    found = hoop.sluice.get("Gateway", "hoopgateway")
    said = [entry for entry in found["status"]["conditions"] if "istio" in entry.get("message", "")]
    assert said, found["status"]["conditions"]


def test_istio_manifests(hoop):
    result = hoop.sluice.apply_path(ISTIO)
    assert result.out.splitlines() == [
        "gateway.networking.istio.io/hoopgateway created", "virtualservice.networking.istio.io/hoopgateway created"]
    hoop.sluice.wait_programmed("IstioGateway", "hoopgateway")
    hoop.sluice.wait_programmed("VirtualService", "hoopgateway")
    check_traffic(hoop)


def test_secret_of_another_name(hoop):
    """The seed creates `hoopdev-tls` in istio-ingress and asks for `hoopgateway-tls`: the HTTPS server says so,
    port 80 serves, and the right Secret brings HTTPS up without a restart."""
    certificate = Certificate([HOST])
    hoop.sluice.apply(certificate.secret("hoopdev-tls", "istio-ingress"))
    hoop.sluice.apply_path(ISTIO)
    found = hoop.sluice.wait_condition("IstioGateway", "hoopgateway", "ResolvedRefs", "False")
    assert found["reason"] == "InvalidCertificateRef"
    assert "https" in found["message"] and "hoopgateway-tls" in found["message"]
    assert "istio-ingress/hoopdev-tls" in found["message"]
    hoop.sluice.wait_programmed("IstioGateway", "hoopgateway")
    check_traffic(hoop)

    hoop.sluice.apply(certificate.secret("hoopgateway-tls", "istio-ingress"))
    hoop.sluice.wait_condition("IstioGateway", "hoopgateway", "ResolvedRefs", "True")
    authority = hoop.sluice.directory / "authority.pem"
    authority.write_text(certificate.chain)
    for flags, version in ((["--http1.1"], "1.1"), (["--http2"], "2")):
        def served():
            return curl(hoop.sluice, f"https://{HOST}/api/healthz", "--cacert", str(authority), *flags)
        status, spoken, body = wait_until(served)
        assert (status, spoken) == (200, version)
        assert json.loads(body)["headers"]["x-forwarded-proto"] == "https"
    check_grpc(hoop, hoop.sluice.port(443), certificate.chain)


def test_both_sets_at_once(hoop):
    result = hoop.sluice.apply_path(ROOT / "manifests/hoop")
    assert len(result.out.splitlines()) == 4
    hoop.sluice.wait_programmed("Gateway", "hoopgateway")
    hoop.sluice.wait_programmed("IstioGateway", "hoopgateway")
    check_traffic(hoop)


def test_run_with_manifests(run_sluice):
    """`run -f` applies them by itself."""
    sluice = run_sluice(["-f", ROOT / "manifests/hoop"])
    backend = Hoop(sluice.address)
    try:
        sluice.wait_programmed("Gateway", "hoopgateway")
        wait_until(lambda: sluice.plain_status(HOST, "/api/healthz") == 200)
        assert "gateway default/hoopgateway listener http: programmed" in sluice.log()
    finally:
        backend.close()


def test_dead_grpc_backend_and_http_page(hoop):
    """hoop's gRPC port is dead: the agent sees UNAVAILABLE, the web interface goes on."""
    import grpc
    hoop.sluice.apply_path(GATEWAY_API)
    hoop.sluice.wait_programmed("Gateway", "hoopgateway")
    hoop.grpc.close()
    with GRPCClient(hoop.sluice.address, hoop.sluice.port(80), HOST) as client:
        with pytest.raises(grpc.RpcError) as error:
            client.unary("HealthCheck")(b"", timeout=20)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert curl(hoop.sluice, f"http://{HOST}/api/healthz")[0] == 200


def test_frames_are_logged_where_the_seed_asks_for_them(run_sluice):
    sluice = run_sluice(environment={"SLUICE_DEBUG": "http2"})
    backend = Hoop(sluice.address)
    backend.sluice = sluice
    try:
        sluice.apply_path(GATEWAY_API)
        sluice.wait_programmed("Gateway", "hoopgateway")
        check_grpc(backend, sluice.port(80))
        wait_until(lambda: all(word in sluice.log() for word in ("SETTINGS", "HEADERS", "DATA")))
    finally:
        backend.close()
