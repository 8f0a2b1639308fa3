"""Objects as dictionaries, as short as tests want to write them."""

import yaml

GATEWAY_API = "gateway.networking.k8s.io/v1"
ISTIO = "networking.istio.io/v1"


def meta(name, namespace="default"):
    return {"name": name, "namespace": namespace}


def service(name, endpoints, app_protocol=None, port=80, namespace="default"):
    """A Service of one port and its EndpointSlices. `endpoints`: (address, port) or (address, port,
    conditions)."""
    service_port = {"name": "main", "port": port}
    if app_protocol:
        service_port["appProtocol"] = app_protocol
    objects = [{
        "apiVersion": "v1", "kind": "Service", "metadata": meta(name, namespace),
        "spec": {"ports": [service_port]}}]
    objects += slices(name, endpoints, namespace)
    return objects


def slices(name, endpoints, namespace="default"):
    """A slice holds endpoints of one port: one slice for each port."""
    ports = sorted({entry[1] for entry in endpoints})
    return [{
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {**meta(f"{name}-{index}", namespace), "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "main", "port": port}],
        "endpoints": [
            {"addresses": [entry[0]], "conditions": entry[2] if len(entry) > 2 else {"ready": True}}
            for entry in endpoints if entry[1] == port]}
        for index, port in enumerate(ports)]


def gateway(name, listeners, class_name="sluice", namespace="default"):
    return {
        "apiVersion": GATEWAY_API, "kind": "Gateway", "metadata": meta(name, namespace),
        "spec": {"gatewayClassName": class_name, "listeners": listeners}}


def http_listener(name="http", port=80, hostname=None):
    entry = {"name": name, "port": port, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}
    if hostname:
        entry["hostname"] = hostname
    return entry


def https_listener(secret, name="https", port=443, hostname=None):
    return {
        **http_listener(name, port, hostname), "protocol": "HTTPS",
        "tls": {"mode": "Terminate", "certificateRefs": [{"name": secret}]}}


def http_route(name, hosts, rules, gateway_name="edge", namespace="default"):
    return {
        "apiVersion": GATEWAY_API, "kind": "HTTPRoute", "metadata": meta(name, namespace),
        "spec": {"parentRefs": [{"name": gateway_name}], "hostnames": hosts, "rules": rules}}


def grpc_route(name, hosts, rules, gateway_name="edge", namespace="default"):
    return {**http_route(name, hosts, rules, gateway_name, namespace), "kind": "GRPCRoute"}


def virtual_service(name, hosts, http, gateway_name="istio-edge", namespace="default"):
    return {
        "apiVersion": ISTIO, "kind": "VirtualService", "metadata": meta(name, namespace),
        "spec": {"hosts": hosts, "gateways": [gateway_name], "http": http}}


def to(name, port=80, **more):
    return {"name": name, "port": port, **more}


def forward(*backends, matches=None, filters=None, **more):
    """One rule of an HTTPRoute or GRPCRoute."""
    rule = {"backendRefs": [backend if isinstance(backend, dict) else to(backend) for backend in backends]}
    if matches:
        rule["matches"] = matches
    if filters:
        rule["filters"] = filters
    return {**rule, **more}


def prefix(value):
    return {"path": {"type": "PathPrefix", "value": value}}


def documents_of(*objects):
    """One YAML stream."""
    return yaml.safe_dump_all(objects, sort_keys=False)
