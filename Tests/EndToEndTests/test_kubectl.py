"""kubectl with the kubeconfig that `sluice run` writes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.objects import documents_of, gateway, http_listener
from harness.process import ROOT, Command
from harness.waiting import wait_until

KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")


@pytest.fixture(scope="module")
def site():
    from harness.process import SluiceProcess
    with SluiceProcess() as sluice:
        yield sluice


@pytest.fixture
def kubectl(site):
    def run(*arguments, stdin=None, check=True):
        result = subprocess.run(
            [KUBECTL, "--cache-dir", site.directory / "cache", *map(str, arguments)], input=stdin, text=True,
            capture_output=True, timeout=60, env={**os.environ, "KUBECONFIG": str(site.kubeconfig)})
        assert not check or result.returncode == 0, result
        return result

    return run


def test_version(kubectl):
    assert "Server Version" in kubectl("version").stdout


def test_manifests_of_the_seed(kubectl, site):
    applied = kubectl("apply", "-f", ROOT / "manifests/hoop").stdout
    for name in ("gateway.gateway.networking.k8s.io/hoopgateway",
                 "httproute.gateway.networking.k8s.io/hoopgateway-route",
                 "gateway.networking.istio.io/hoopgateway", "virtualservice.networking.istio.io/hoopgateway"):
        assert f"{name} created" in applied, applied
    kubectl("wait", "--for=condition=Programmed", "--timeout=20s", "gateways.gateway.networking.k8s.io/hoopgateway")
    assert "unchanged" in kubectl("apply", "-f", ROOT / "manifests/hoop").stdout
    table = kubectl("get", "gateways.gateway.networking.k8s.io", "-o", "wide").stdout
    assert "hoopgateway" in table and "NAME" in table
    assert "hoop.yourdomain.org" in kubectl("get", "virtualservices,httproutes", "-A", "-o", "yaml").stdout
    kubectl("delete", "-f", ROOT / "manifests/hoop")
    assert kubectl("get", "httproute", "hoopgateway-route", check=False).returncode != 0


def test_server_side_apply_patch_label_and_get(kubectl):
    text = documents_of(gateway("edge", [http_listener()]))
    kubectl("apply", "--server-side", "-f", "-", stdin=text)
    kubectl("label", "gateways.gateway.networking.k8s.io/edge", "team=blue")
    kubectl("patch", "gateways.gateway.networking.k8s.io/edge", "--type=merge", "-p",
            '{"spec":{"listeners":[{"name":"http","port":81,"protocol":"HTTP"}]}}')
    found = json.loads(kubectl("get", "gateways.gateway.networking.k8s.io", "-l", "team=blue", "-o", "json").stdout)
    assert [item["spec"]["listeners"][0]["port"] for item in found["items"]] == [81]
    path = kubectl("get", "gateways.gateway.networking.k8s.io/edge", "-o", "jsonpath={.metadata.name}").stdout
    assert path == "edge"
    kubectl("patch", "gateways.gateway.networking.k8s.io/edge", "--type=json", "-p",
            '[{"op":"replace","path":"/spec/listeners/0/port","value":80}]')
    kubectl("delete", "gateways.gateway.networking.k8s.io/edge")


def test_secret_as_the_seed_creates_it(kubectl, site):
    from harness.certificates import Certificate
    certificate = Certificate(["hoop.yourdomain.org"])
    key, chain = site.directory / "server.key", site.directory / "server-bundle.crt"
    key.write_text(certificate.key)
    chain.write_text(certificate.chain)
    kubectl("create", "secret", "tls", "hoopdev-tls", "-n", "istio-ingress", "--key", key, "--cert", chain)
    assert "kubernetes.io/tls" in kubectl("get", "secret", "hoopdev-tls", "-n", "istio-ingress").stdout


def test_wrong_type_is_refused(kubectl):
    broken = gateway("broken", [http_listener()])
    broken["spec"]["listeners"][0]["port"] = "many"
    result = kubectl("apply", "-f", "-", stdin=documents_of(broken), check=False)
    assert result.returncode != 0 and "port" in result.stderr, result


def test_api_resources_and_explain(kubectl):
    names = kubectl("api-resources", "-o", "name").stdout.split()
    assert {"gateways.gateway.networking.k8s.io", "gateways.networking.istio.io", "services", "secrets",
            "virtualservices.networking.istio.io", "grpcroutes.gateway.networking.k8s.io"} <= set(names)


def test_watch(kubectl, site):
    with Command([KUBECTL, "get", "httproutes", "-w", "-o", "name"], {"KUBECONFIG": str(site.kubeconfig)}) as watcher:
        def shown():
            # Until the watch stands, a change may come too early: say it again.
            site.apply({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": "watched", "labels": {"n": str(len(watcher.text))}}, "spec": {}})
            return "httproute.gateway.networking.k8s.io/watched" in watcher.text
        wait_until(shown, interval=0.3)
