"""nginx, HAProxy and Envoy: one worker each, keep-alive pools to the backends, no access log, tuned for speed.

Each has four ports: `http` (HTTP/1.1), `h2c` (HTTP/2 with prior knowledge), `tls` (HTTP/1.1 and HTTP/2 by
ALPN), all to the HTTP/1.1 backend, and `grpc` (h2c to the h2c backend)."""

import json
import os
from string import Template

from . import machine
from .process import PROXY_CORE, free_port

TEMPLATES = os.path.join(machine.ROOT, "Benchmarks", "config")


def _ports():
    return {name: free_port() for name in ("http", "h2c", "tls", "grpc")}


def _fill(processes, template, backends, certificate, ports):
    """Writes a configuration into the run's folder and returns its path."""
    with open(os.path.join(TEMPLATES, template)) as file:
        text = Template(file.read()).substitute(
            ports, folder=processes.folder, certificate=certificate.chain, key=certificate.key,
            combined=certificate.combined, http_backend=backends.http, grpc_backend=backends.grpc)
    path = os.path.join(processes.folder, template)
    with open(path, "w") as file:
        file.write(text)
    return path


class Nginx:
    name = "nginx"
    title = "nginx"

    def __init__(self, processes, backends, certificate):
        self.ports = _ports()
        path = _fill(processes, "nginx.conf", backends, certificate, self.ports)
        process = processes.start(
            [machine.program("nginx"), "-c", path, "-e", processes.log("nginx-error")], self.name, PROXY_CORE)
        processes.wait_for_port(process, self.ports["http"])
        self.process_id = process.pid


class HAProxy:
    name = "haproxy"
    title = "HAProxy"

    def __init__(self, processes, backends, certificate):
        self.ports = _ports()
        path = _fill(processes, "haproxy.cfg", backends, certificate, self.ports)
        process = processes.start([machine.program("haproxy"), "-db", "-f", path], self.name, PROXY_CORE)
        processes.wait_for_port(process, self.ports["http"])
        self.process_id = process.pid


class Envoy:
    name = "envoy"
    title = "Envoy"

    def __init__(self, processes, backends, certificate):
        self.ports = _ports()
        path = os.path.join(processes.folder, "envoy.json")
        with open(path, "w") as file:
            json.dump(envoy_bootstrap(self.ports, backends, certificate), file, indent=1)
        process = processes.start(
            [machine.program("envoy"), "-c", path, "--concurrency", "1", "-l", "error", "--disable-hot-restart"],
            self.name, PROXY_CORE)
        processes.wait_for_port(process, self.ports["http"])
        self.process_id = process.pid


def envoy_bootstrap(ports, backends, certificate):
    listeners = [
        _envoy_listener("http", ports["http"], "HTTP1", "http"),
        _envoy_listener("h2c", ports["h2c"], "HTTP2", "http"),
        _envoy_listener("tls", ports["tls"], "AUTO", "http", certificate),
        _envoy_listener("grpc", ports["grpc"], "HTTP2", "grpc"),
    ]
    clusters = [_envoy_cluster("http", backends.http, False), _envoy_cluster("grpc", backends.grpc, True)]
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}


_ENVOY = "type.googleapis.com/envoy.extensions"


def _address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _envoy_listener(name, port, codec, cluster, certificate=None):
    router = {"@type": f"{_ENVOY}.filters.http.router.v3.Router", "dynamic_stats": False,
              "suppress_envoy_headers": True}
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]
    connection_manager = {
        "@type": f"{_ENVOY}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name, "codec_type": codec, "generate_request_id": False, "use_remote_address": True,
        "stream_idle_timeout": "0s",
        "http_filters": [{"name": "router", "typed_config": router}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    chain = {"filters": [{"name": "http", "typed_config": connection_manager}]}
    if certificate:
        pair = {"certificate_chain": {"filename": certificate.chain}, "private_key": {"filename": certificate.key}}
        chain["transport_socket"] = {"name": "tls", "typed_config": {
            "@type": f"{_ENVOY}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [pair]}}}
    return {"name": name, "address": _address(port), "filter_chains": [chain]}


def _envoy_cluster(name, port, is_http2):
    many = 100_000
    cluster = {
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [
            {"max_connections": many, "max_pending_requests": many, "max_requests": many}]},
        "load_assignment": {"cluster_name": name, "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]},
    }
    if is_http2:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_ENVOY}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}}
    return cluster


PEERS = {peer.name: peer for peer in (Nginx, HAProxy, Envoy)}
