"""The command line against a running instance."""

import json
import time

import pytest
import yaml

from harness.objects import forward, gateway, http_listener, http_route, service, to
from harness.process import ROOT, Command, documents, run_cli
from harness.waiting import wait_until


@pytest.fixture
def site(run_sluice):
    return run_sluice()


def write(site, name, text):
    path = site.directory / name
    path.write_text(text)
    return path


ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: shop
spec:
  parentRefs:
  - name: edge
  rules:
  - matches:
    - path:
        type: PathPrefix
        value: /
    backendRefs:
    - name: hoopgateway
      port: 8009
"""


def test_created_configured_unchanged(site):
    edge = gateway("edge", [http_listener()])
    assert site.apply(edge, ROUTE).out.splitlines() == [
        "gateway.gateway.networking.k8s.io/edge created", "httproute.gateway.networking.k8s.io/shop created"]
    assert site.apply(edge, ROUTE).out.splitlines() == [
        "gateway.gateway.networking.k8s.io/edge unchanged", "httproute.gateway.networking.k8s.io/shop unchanged"]
    generation = site.get("HTTPRoute", "shop")["metadata"]["generation"]
    assert site.apply(ROUTE.replace("value: /", "value: /new")).out.splitlines() == [
        "httproute.gateway.networking.k8s.io/shop configured"]
    changed = site.get("HTTPRoute", "shop")
    assert changed["metadata"]["generation"] == generation + 1
    assert changed["spec"]["rules"][0]["matches"][0]["path"]["value"] == "/new"


def test_fields_that_are_no_longer_named_are_removed(site):
    site.apply(ROUTE.replace("  rules:", "  hostnames: [a.test]\n  rules:"))
    assert site.get("HTTPRoute", "shop")["spec"]["hostnames"] == ["a.test"]
    site.apply(ROUTE)
    assert "hostnames" not in site.get("HTTPRoute", "shop")["spec"]


def test_order_does_not_matter_and_lists_are_taken(site):
    listed = {"apiVersion": "v1", "kind": "List", "items": [
        http_route("r", ["a.test"], [forward(to("hoopgateway", 8009))]), gateway("edge", [http_listener()])]}
    out = site.apply(listed).out
    assert "gateway.gateway.networking.k8s.io/edge created" in out
    assert "httproute.gateway.networking.k8s.io/r created" in out
    site.wait_condition("HTTPRoute", "r", "Accepted")


def test_json_and_directories(site):
    folder = site.directory / "manifests"
    (folder / "deeper").mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps(gateway("edge", [http_listener()])))
    (folder / "deeper/b.yml").write_text(ROUTE)
    (folder / "notes.txt").write_text("not a manifest")
    assert len(site.apply_path(folder).out.splitlines()) == 2


def test_unknown_field_is_a_warning_with_its_path(site):
    path = write(site, "route.yaml", ROUTE.replace("    backendRefs:", "    backendRef: {}\n    backendRefs:"))
    result = site.cli("apply", "-f", path)
    assert result.code == 0
    assert "created" in result.out
    assert "warning" in result.err and "spec.rules[0].backendRef" in result.err
    assert f"{path}:13:5: " in result.err, result.err


def test_chart_with_an_unknown_field_is_served(site):
    """hoop's chart writes `backendTLS` into its Gateway."""
    edge = gateway("edge", [http_listener()])
    edge["spec"]["backendTLS"] = {"clientCertificateRef": {"name": "x"}}
    result = site.apply(edge)
    assert "spec.backendTLS" in result.err
    site.wait_programmed("Gateway", "edge")


@pytest.mark.parametrize("old, new, place, path", [
    ("port: 8009", "port: many", "15:13", "spec.rules[0].backendRefs[0].port"),
    ("value: /", "value: no-slash", "12:16", "spec.rules[0].matches[0].path.value"),
    ("type: PathPrefix", "type: Prefix", "11:15", "spec.rules[0].matches[0].path.type"),
    ("  - name: edge", "  - nam: edge", "7:5", "spec.parentRefs[0]"),
])
def test_error_names_the_place_and_changes_nothing(site, old, new, place, path):
    edge = documents([gateway("edge", [http_listener()])])
    file = write(site, "bad.yaml", edge + "\n---\n" + ROUTE.replace(old, new))
    # The document begins behind the Gateway.
    offset = file.read_text().split("kind: HTTPRoute")[0].count("\n") - 1
    line, column = map(int, place.split(":"))
    result = site.cli("apply", "-f", file)
    assert result.code == 2
    assert f"{file}:{line + offset}:{column}: " in result.err, result.err
    assert path in result.err
    assert result.out == ""
    assert site.get("Gateway", "edge") is None and site.get("HTTPRoute", "shop") is None


def test_yaml_fault_names_the_place(site):
    file = write(site, "bad.yaml", "apiVersion: v1\nkind: [Service\nmetadata:\n")
    result = site.cli("apply", "-f", file)
    assert result.code == 2 and f"{file}:3:" in result.err, result


def test_duplicate_keys_and_objects_are_errors(site):
    result = site.cli("apply", "-f", "-", stdin=ROUTE + "---\n" + ROUTE)
    assert result.code == 2 and "second time" in result.err
    result = site.cli("apply", "-f", "-", stdin=ROUTE.replace("spec:", "spec:\n  hostnames: [a]\n  hostnames: [b]"))
    assert result.code == 2 and "hostnames" in result.err


def test_validate_needs_no_api(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(ROUTE)
    bad.write_text(ROUTE.replace("port: 8009", "port: 99999"))
    environment = {"SLUICE_KUBECONFIG": str(tmp_path / "none")}
    result = run_cli(["validate", "-f", good], environment=environment)
    assert (result.code, result.out) == (0, "1 object is valid\n")
    result = run_cli(["validate", "-f", bad, "-o", "json"], environment=environment)
    assert result.code == 2
    found = json.loads(result.out)
    assert [entry["path"] for entry in found] == ["spec.rules[0].backendRefs[0].port"]
    assert found[0]["line"] == 15 and found[0]["severity"] == "error"
    assert run_cli(["validate", "-f", ROOT / "manifests"], environment=environment).code == 0


def test_dry_run_changes_nothing(site):
    result = site.cli("apply", "--dry-run", "-f", "-", stdin=ROUTE)
    assert result.code == 0 and "created (dry run)" in result.out
    assert site.get("HTTPRoute", "shop") is None


def test_get(site):
    site.apply(gateway("edge", [http_listener()]), ROUTE)
    site.wait_programmed("Gateway", "edge")
    table = site.cli("get", "gateways").out.splitlines()
    assert table[0].split()[0] == "NAME" and table[1].split()[0] == "edge"
    assert len(site.cli("get", "gateways", "-o", "wide").out) >= len("\n".join(table))
    one = yaml.safe_load(site.cli("get", "httproute", "shop", "-o", "yaml").out)
    assert one["spec"] == yaml.safe_load(ROUTE)["spec"] and one["kind"] == "HTTPRoute"
    many = json.loads(site.cli("get", "httproutes", "-A", "-o", "json").out)
    assert [item["metadata"]["name"] for item in many["items"]] == ["shop"]
    assert "shop" in site.cli("get", "all", "-A").out
    missing = site.cli("get", "httproute", "nothing")
    assert missing.code == 1 and "nothing" in missing.err
    unknown = site.cli("get", "pods")
    assert unknown.code == 1 and "httproutes" in unknown.err


def test_get_output_can_be_applied_again(site):
    site.apply(ROUTE)
    text = site.cli("get", "httproute", "shop", "-o", "yaml").out
    result = site.cli("apply", "-f", "-", stdin=text)
    assert result.code == 0 and "unchanged" in result.out, result


def test_watch(site):
    command = [site.arguments[0], "get", "httproutes", "-w"]
    with Command(command, {"SLUICE_KUBECONFIG": str(site.kubeconfig)}) as watcher:
        wait_until(lambda: "no objects" in watcher.text)
        site.apply(ROUTE)
        wait_until(lambda: "shop" in watcher.text)
        site.delete(ROUTE)
        wait_until(lambda: "deleted" in watcher.text)


def test_describe(site):
    site.apply(gateway("edge", [http_listener()]))
    path = write(site, "route.yaml", ROUTE)
    site.apply_path(path)
    site.wait_programmed("Gateway", "edge")
    site.wait_condition("HTTPRoute", "shop", "Accepted")
    text = site.cli("describe", "gateway/edge").out
    for word in ("edge", "Programmed", "http", "shop"):
        assert word in text, text
    assert f"{path.resolve()}:1" in site.cli("describe", "httproute/shop").out


def test_delete(site):
    site.apply(gateway("edge", [http_listener()]), ROUTE)
    result = site.cli("delete", "httproute/shop")
    assert (result.code, result.out) == (0, "httproute.gateway.networking.k8s.io/shop deleted\n")
    again = site.cli("delete", "httproute/shop")
    assert again.code == 1 and "shop" in again.err
    assert site.cli("delete", "--ignore-not-found", "httproute/shop").code == 0
    result = site.cli("delete", "-f", "-", stdin=documents([gateway("edge", [http_listener()])]))
    assert result.code == 0 and site.get("Gateway", "edge") is None


def test_wait(site):
    site.apply(gateway("edge", [http_listener()]))
    assert site.cli("wait", "gateway/edge", "--for=condition=Programmed", "--timeout", "20s").code == 0
    assert site.cli("wait", "gateway/edge", "--for=condition=Nonsense", "--timeout", "300ms").code == 4


def test_explain(site):
    site.apply(
        gateway("edge", [http_listener()]), *service("web", [(site.address, 4711)]),
        http_route("r", ["a.test"], [
            forward("web", matches=[{"path": {"type": "PathPrefix", "value": "/x"}, "method": "POST"}]),
            forward(to("hoopgateway", 8009), matches=[{"path": {"type": "PathPrefix", "value": "/x"}}])]))
    site.wait_programmed("Gateway", "edge")
    site.settle()
    result = site.cli("explain", "http://a.test/x/y?z")
    assert result.code == 0
    for word in ("a.test", "hoopgateway", f"{site.address}:8009", "Passed over", "POST"):
        assert word in result.out, result.out
    posted = json.loads(site.cli("explain", "-X", "POST", "-o", "json", "http://a.test/x").out)
    assert posted["outcome"] == "matched"
    assert posted["match"]["action"]["backends"][0]["endpoints"][0]["port"] == 4711
    nowhere = site.cli("explain", "http://a.test/other")
    assert nowhere.code == 1 and "404" in nowhere.out + nowhere.err
    assert site.cli("explain", "http://b.test/").code == 1
    assert site.cli("explain", "ftp://b.test/").code == 1


def test_explain_agrees_with_the_traffic(site):
    """What explain says and what the data plane does are one table."""
    site.apply(
        gateway("edge", [http_listener()]),
        http_route("r", ["a.test"], [
            {"matches": [{"path": {"type": "PathPrefix", "value": f"/{number}"}}],
             "filters": [{"type": "RequestRedirect", "requestRedirect": {
                 "hostname": f"r{number}.test", "statusCode": 302}}]} for number in range(5)]))
    site.wait_programmed("Gateway", "edge")
    site.settle()
    import http.client
    for number in range(5):
        connection = http.client.HTTPConnection(site.address, site.port(80), timeout=10)
        connection.request("GET", f"/{number}/x", headers={"Host": "a.test"})
        location = connection.getresponse().getheader("location")
        connection.close()
        said = json.loads(site.cli("explain", "-o", "json", f"http://a.test/{number}/x").out)
        assert said["match"]["action"]["location"] == location == f"http://r{number}.test/{number}/x"


def test_namespaces(site):
    site.apply(ROUTE.replace("name: shop", "name: shop\n  namespace: web"))
    assert site.get("HTTPRoute", "shop") is None
    assert site.get("HTTPRoute", "shop", "web")
    assert "shop" in site.cli("get", "httproutes", "-n", "web").out
    assert "no objects" in site.cli("get", "httproutes").err


def test_api_that_is_not_there(tmp_path):
    result = run_cli(["get", "gateways"], environment={"SLUICE_KUBECONFIG": str(tmp_path / "none")})
    assert result.code == 3 and "sluice run" in result.err


def test_usage():
    assert run_cli(["--help"]).code == 0
    assert "Examples" in run_cli(["apply", "--help"]).out
    assert run_cli(["--version"]).out.strip()
    assert run_cli(["nonsense"]).code == 64
    for shell in ("bash", "zsh", "fish"):
        result = run_cli(["completion", shell])
        assert result.code == 0 and "port-forward" in result.out


@pytest.mark.parametrize("arguments", [
    ["--limit", "nonsense=1"], ["--limit", "idle-timeout=never"], ["--port-map", "80"], ["--backend", "x"],
    ["--api", "nowhere"], ["--workers", "0"]])
def test_bad_flags_of_run_end_it_with_a_reason(tmp_path, arguments):
    start = time.monotonic()
    result = run_cli(["run", "--data-dir", tmp_path / "d", "--api", "127.0.0.1:0", *arguments], timeout=30)
    assert result.code not in (0, None)
    assert arguments[1].split("=")[0] in result.err + result.out, result
    assert time.monotonic() - start < 20


def test_run_with_a_manifest_that_is_not_valid(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(ROUTE.replace("port: 8009", "port: many"))
    result = run_cli(["run", "--data-dir", tmp_path / "d", "--api", "127.0.0.1:0", "-f", bad], timeout=30)
    assert result.code == 2
    assert f"{bad}:15:13" in result.err
