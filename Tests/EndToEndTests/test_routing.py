"""What rules of HTTPRoutes and VirtualServices do to requests."""

import collections
import json
import threading
import time

import pytest

from harness.backends import H1Backend
from harness.clients import Broken
from harness.objects import (
    GATEWAY_API, ISTIO, forward, http_route, meta, prefix, service, slices, to, virtual_service)
from harness.waiting import wait_until


def get(edge, host, target="/", headers=(), method="GET"):
    with edge.client() as client:
        return client.request(method, target, host, headers)


def test_path_precedence(edge, route, host):
    def marked(mark, match):
        return forward("h1", matches=[match], filters=[{
            "type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-rule", "value": mark}]}}])
    route([
        marked("root", prefix("/")),
        marked("prefix", prefix("/inspect/a")),
        marked("exact", {"path": {"type": "Exact", "value": "/inspect/a"}}),
        marked("longer", prefix("/inspect/a/b")),
        marked("regex", {"path": {"type": "RegularExpression", "value": "/inspect/[0-9]+"}}),
        marked("header", {**prefix("/inspect/a"), "headers": [{"name": "X-Team", "value": "blue"}]}),
        marked("query", {**prefix("/inspect/a"), "queryParams": [{"name": "v", "value": "2"}]}),
        marked("method", {**prefix("/inspect/a"), "method": "DELETE"}),
    ])
    expected = [
        ("GET", "/inspect/a", (), "exact"), ("GET", "/inspect/a/", (), "prefix"),
        ("GET", "/inspect/ab", (), "root"), ("GET", "/inspect/a/b", (), "longer"),
        ("GET", "/inspect/a/b/c?x", (), "longer"), ("GET", "/inspect/17", (), "regex"),
        ("GET", "/inspect/a/c", [("x-team", "blue")], "header"), ("GET", "/inspect/a/c?v=2", (), "query"),
        ("DELETE", "/inspect/a/c", (), "method"),
        ("DELETE", "/inspect/a/c?v=2", [("x-team", "blue")], "method"),
    ]
    got = [(m, t, h, get(edge, host, t, h, m).header("x-rule")) for m, t, h, _ in expected]
    assert got == expected


def test_virtual_service_first_match_and_string_prefix(edge, host):
    objects = [
        {"apiVersion": ISTIO, "kind": "Gateway", "metadata": meta(f"ig-{host.split('.')[0]}"),
         "spec": {"selector": {"istio": "ingress"}, "servers": [
             {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [host]}]}},
        virtual_service(host.split(".")[0], [host], [
            {"match": [{"uri": {"prefix": "/inspect/ab"}}],
             "headers": {"response": {"set": {"x-rule": "first"}}},
             "route": [{"destination": {"host": "h1", "port": {"number": 80}}}]},
            {"match": [{"uri": {"exact": "/inspect/abc"}}],
             "headers": {"response": {"set": {"x-rule": "never"}}},
             "route": [{"destination": {"host": "h1", "port": {"number": 80}}}]},
            {"match": [{"uri": {"regex": "/inspect/[0-9]+"}, "headers": {"x-team": {"exact": "blue"}}}],
             "rewrite": {"uri": "/inspect/number"}, "headers": {"response": {"set": {"x-rule": "regex"}}},
             "route": [{"destination": {"host": "h1", "port": {"number": 80}}}]},
            {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/new", "redirectCode": 308}},
            {"headers": {"response": {"set": {"x-rule": "rest"}}},
             "route": [{"destination": {"host": "h1.default.svc.cluster.local", "port": {"number": 80}}}]},
        ], gateway_name=f"ig-{host.split('.')[0]}")]
    edge.sluice.apply(*objects)
    try:
        edge.sluice.wait_programmed("VirtualService", host.split(".")[0])
        assert get(edge, host, "/inspect/abc").header("x-rule") == "first"
        assert get(edge, host, "/inspect/abcdef").header("x-rule") == "first"
        assert get(edge, host, "/inspect/a").header("x-rule") == "rest"
        assert get(edge, host, "/inspect/12").header("x-rule") == "rest"
        rewritten = get(edge, host, "/inspect/12?q=1", [("x-team", "blue")])
        assert rewritten.header("x-rule") == "regex"
        assert json.loads(rewritten.body)["target"] == "/inspect/number?q=1"
        redirected = get(edge, host, "/old/thing")
        assert (redirected.status, redirected.header("location")) == (308, f"http://{host}/new")
    finally:
        edge.sluice.delete(*objects)


def test_no_route_is_404(edge, route, host):
    route([forward("h1", matches=[prefix("/only")])])
    assert get(edge, host, "/other").status == 404
    assert get(edge, "unknown-host.test").status == 404


def test_missing_backend_is_500_and_a_condition(edge, route, host):
    route([forward("no-such-service")])
    found = edge.sluice.wait_condition("HTTPRoute", host.split(".")[0], "ResolvedRefs", "False")
    assert found["reason"] == "BackendNotFound"
    assert "no-such-service" in found["message"]
    assert get(edge, host).status == 500


def test_backend_without_endpoints_is_503(edge, route, host):
    name = host.split(".")[0]
    route([forward(name)], extra=service(name, []))
    assert get(edge, host).status == 503


def test_dead_backend_is_an_error_soon(edge, route, host):
    name = host.split(".")[0]
    route([forward(name)], extra=service(name, [(edge.address, 9)]))
    start = time.monotonic()
    assert get(edge, host).status in (502, 503)
    assert time.monotonic() - start < 5


def test_external_name_service(edge, route, host):
    name = host.split(".")[0]
    external = {
        "apiVersion": "v1", "kind": "Service", "metadata": meta(name),
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": 0}]}}
    with H1Backend(lambda exchange: exchange.respond(200, [], b"external"), "127.0.0.1") as backend:
        external["spec"]["ports"] = [{"name": "main", "port": backend.port}]
        route([forward(to(name, backend.port))], extra=[external])
        assert wait_until(lambda: get(edge, host).body == b"external")


def test_weights(edge, route, host):
    route([forward(to("h1", weight=3), to("h2c", weight=1), to("h1-none", weight=0))], extra=service("h1-none", []))
    counts = collections.Counter()
    with edge.client() as client:
        for _ in range(400):
            counts[client.request("GET", "/inspect", host).header("x-backend")] += 1
    # Binomial, n = 400, p = 0.75: eight standard deviations are 70.
    assert 230 <= counts["http/1.1"] <= 370
    assert counts["http/1.1"] + counts["h2"] == 400


def test_request_header_filters(edge, route, host):
    route([forward("h1", filters=[{"type": "RequestHeaderModifier", "requestHeaderModifier": {
        "set": [{"name": "X-Set", "value": "new"}], "add": [{"name": "x-added", "value": "two"}],
        "remove": ["X-Removed"]}}])])
    seen, _ = edge.inspect("/inspect", host, headers=[
        ("x-set", "old"), ("X-Set", "older"), ("x-added", "one"), ("x-removed", "1"), ("x-kept", "k")])
    values = collections.defaultdict(list)
    for name, value in seen["headers"]:
        values[name].append(value)
    assert values["x-set"] == ["new"]
    assert ",".join(values["x-added"]).replace(" ", "") == "one,two"
    assert "x-removed" not in values
    assert values["x-kept"] == ["k"]


def test_response_header_filters(edge, route, host):
    route([forward("h1", filters=[{"type": "ResponseHeaderModifier", "responseHeaderModifier": {
        "set": [{"name": "x-backend", "value": "hidden"}], "add": [{"name": "x-added", "value": "yes"}],
        "remove": ["content-type"]}}])])
    response = get(edge, host, "/inspect")
    assert response.header("x-backend") == "hidden"
    assert response.header("x-added") == "yes"
    assert response.header("content-type") is None


@pytest.mark.parametrize("redirect, location, status", [
    ({"scheme": "https"}, "https://{host}/a/b?q=1", 302),
    ({"hostname": "other.test", "statusCode": 301}, "http://other.test/a/b?q=1", 301),
    ({"port": 8181}, "http://{host}:8181/a/b?q=1", 302),
    ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/x"}}, "http://{host}/x?q=1", 302),
    ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/z"}}, "http://{host}/z/b?q=1", 302),
])
def test_redirects(edge, route, host, redirect, location, status):
    route([{"matches": [prefix("/a")], "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}]}])
    response = get(edge, host, "/a/b?q=1")
    assert (response.status, response.header("location")) == (status, location.format(host=host))


@pytest.mark.parametrize("rewrite, target, authority", [
    ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/inspect/new"}}, "/inspect/new/b?q=%20", None),
    ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}, "/b?q=%20", None),
    ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/inspect/all"}}, "/inspect/all?q=%20", None),
    ({"hostname": "inside.test"}, "/a/b?q=%20", "inside.test"),
])
@pytest.mark.parametrize("backend", ["h1", "h2c"])
def test_rewrites(edge, route, host, rewrite, target, authority, backend):
    route([forward(backend, matches=[prefix("/a")], filters=[{"type": "URLRewrite", "urlRewrite": rewrite}])])
    seen, _ = edge.inspect("/a/b?q=%20", host)
    assert (seen["target"], seen["authority"]) == (target, authority or host)


@pytest.mark.parametrize("timeouts", [{"request": "300ms"}, {"request": "20s", "backendRequest": "300ms"}])
@pytest.mark.parametrize("kind", ["h1", "h2c"])
def test_timeouts(edge, route, host, timeouts, kind):
    route([forward("h1", timeouts=timeouts)])
    while not edge.h1.notes.empty():
        edge.h1.notes.get()
    start = time.monotonic()
    with edge.client(kind) as client:
        assert client.request("GET", "/hang", host).status == 504
    assert 0.25 < time.monotonic() - start < 5
    # The backend's time is not wasted either.
    assert [edge.h1.notes.get(timeout=10) for _ in range(2)] == ["started", "gone"]


def test_header_and_host_case(edge, route, host):
    route([forward("h1", matches=[{**prefix("/"), "headers": [{"name": "X-Mode", "value": "A"}]}])])
    assert get(edge, host.upper(), "/inspect", [("X-MODE", "A")]).status == 200
    assert get(edge, host + ":80", "/inspect", [("x-mode", "A")]).status == 200
    assert get(edge, host, "/inspect", [("x-mode", "a")]).status == 404


def test_wildcard_hosts(edge, route, host):
    wide = f"*.{host}"
    route([forward("h1")], hosts=[wide])
    assert get(edge, f"a.{host}", "/inspect").status == 200
    assert get(edge, f"a.b.{host}", "/inspect").status == 200
    assert get(edge, host, "/inspect").status == 404


def test_paths_are_routed_as_they_are_forwarded(edge, route, host):
    route([
        forward("h1", matches=[prefix("/inspect/secret")], filters=[{
            "type": "RequestRedirect", "requestRedirect": {"statusCode": 302}}]) | {"backendRefs": []},
        forward("h1", matches=[prefix("/inspect")])])
    for target in ("/inspect/open/../secret", "/inspect/./secret", "/inspect/%73ecret", "/inspect/open/%2e%2e/secret"):
        assert get(edge, host, target).status in (302, 400), target
    seen, _ = edge.inspect("/inspect/open/../other", host)
    assert ".." not in seen["target"]


def test_endpoints_change_without_losing_a_request(edge, route, host):
    """Backends come and go under load, each taken out of the slice before it ends: no request is lost."""
    name = host.split(".")[0]

    def answer(exchange):
        exchange.read()
        exchange.respond(200, [], b"ok")

    backends = [H1Backend(answer, edge.address) for _ in range(2)]
    route([forward(name)], extra=service(name, [(edge.address, backends[0].port)]))
    stop = threading.Event()
    failures, done = [], collections.Counter()

    def load(number):
        with edge.client() as client:
            while not stop.is_set():
                try:
                    response = client.request("POST", "/x", host, body=b"abc")
                    if response.status != 200:
                        failures.append(response)
                    done[number] += 1
                except (Broken, OSError) as error:
                    failures.append(error)
                    return

    threads = [threading.Thread(target=load, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(6):
            new = backends[(turn + 1) % 2]
            old = backends[turn % 2]
            wait_until(lambda: sum(done.values()) > turn * 200)
            # A slice of another port takes the old one's place under the same name.
            made = slices(name, [(edge.address, new.port)])
            made[0]["metadata"]["name"] = f"{name}-0"
            before = new.connection_count
            edge.sluice.apply(*made)
            wait_until(lambda: new.connection_count > before, "the new endpoint is used")
            wait_until(lambda: idle(edge, host, name, new.port), "the old endpoint is out of use")
            old.drop_connections()
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
        for backend in backends:
            backend.close()
    assert not failures, failures[:3]
    assert sum(done.values()) > 1000


def idle(edge, host, name, port):
    """True when every endpoint that the table knows is at `port`, and what was under way is done."""
    text = edge.sluice.cli("explain", "-X", "POST", f"http://{host}/x").out
    if f":{port}" not in text:
        return False
    edge.sluice.settle()
    return True


def test_unready_and_terminating_endpoints_are_not_picked(edge, route, host):
    name = host.split(".")[0]
    dead = (edge.address, 9)
    route([forward(name)], extra=service(name, [
        (edge.address, edge.h1.port), (*dead, {"ready": False}),
        (edge.address, 10, {"ready": False, "serving": True, "terminating": True})]))
    with edge.client() as client:
        for _ in range(50):
            assert client.request("GET", "/inspect", host).status == 200


def test_route_of_another_namespace_needs_a_grant(edge, route, host):
    name = host.split(".")[0]
    far = service(name, [(edge.address, edge.h1.port)], namespace="far")
    route([forward({**to(name), "namespace": "far"})], extra=far)
    found = edge.sluice.wait_condition("HTTPRoute", name, "ResolvedRefs", "False")
    assert found["reason"] == "RefNotPermitted"
    assert get(edge, host).status == 500
    grant = {
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": meta(name, "far"),
        "spec": {"from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "default"}],
                 "to": [{"group": "", "kind": "Service"}]}}
    edge.sluice.apply(grant)
    try:
        wait_until(lambda: get(edge, host, "/inspect").status == 200)
        edge.sluice.wait_condition("HTTPRoute", name, "ResolvedRefs", "True")
    finally:
        edge.sluice.delete(grant)


def test_attached_routes_are_counted(run_sluice):
    from harness.objects import gateway, http_listener
    sluice = run_sluice()
    routes = [http_route(f"r{number}", [f"r{number}.test"], [forward("hoopgateway:8009")]) for number in range(3)]
    for entry in routes:
        entry["spec"]["rules"] = [forward(to("hoopgateway", 8009))]
    sluice.apply(gateway("edge", [http_listener()]), *routes)
    wait_until(lambda: sluice.listener("Gateway", "edge", "http")["attachedRoutes"] == 3)
    sluice.delete(routes[0])
    wait_until(lambda: sluice.listener("Gateway", "edge", "http")["attachedRoutes"] == 2)


def test_grpc_and_http_route_of_one_host_conflict(edge, route, host):
    """One host of one listener is either kind's: the younger route is not accepted."""
    name = host.split(".")[0]
    route([forward("h1")])
    late = {
        "apiVersion": GATEWAY_API, "kind": "GRPCRoute", "metadata": meta(f"{name}-late"),
        "spec": {"parentRefs": [{"name": "edge"}], "hostnames": [host], "rules": [forward("h2c")]}}
    edge.sluice.apply(late)
    try:
        edge.sluice.wait_condition("GRPCRoute", f"{name}-late", "Accepted", "False")
        edge.sluice.wait_condition("HTTPRoute", name, "Accepted", "True")
    finally:
        edge.sluice.delete(late)
