"""Below HTTP: objects, and a backend that talks in bytes."""

import socket
import ssl
import tempfile

from .objects import GATEWAY_API, ISTIO, http_listener, meta, to
from .server import Server


def tcp_listener(name="tcp", port=81):
    return {"name": name, "port": port, "protocol": "TCP"}


def tls_listener(name, hostname, secret=None, port=443):
    """Passes TLS through, or terminates it with a certificate."""
    tls = {"mode": "Terminate", "certificateRefs": [{"name": secret}]} if secret else {"mode": "Passthrough"}
    return {**http_listener(name, port, hostname), "protocol": "TLS", "tls": tls}


def tcp_route(name, backends, section, gateway_name="edge"):
    return {
        "apiVersion": GATEWAY_API, "kind": "TCPRoute", "metadata": meta(name),
        "spec": {
            "parentRefs": [{"name": gateway_name, "sectionName": section}],
            "rules": [{"backendRefs": [item if isinstance(item, dict) else to(item) for item in backends]}]}}


def tls_route(name, hosts, backends, gateway_name="edge"):
    route = tcp_route(name, backends, None, gateway_name)
    route["kind"] = "TLSRoute"
    route["spec"]["parentRefs"] = [{"name": gateway_name}]
    route["spec"]["hostnames"] = hosts
    return route


def istio_gateway(name, servers):
    """`servers`: (port, protocol, hosts, tls or None)."""
    entries = []
    for index, (port, protocol, hosts, tls) in enumerate(servers):
        entry = {"port": {"number": port, "name": f"s{index}", "protocol": protocol}, "hosts": hosts}
        entries.append({**entry, "tls": tls} if tls else entry)
    return {
        "apiVersion": ISTIO, "kind": "Gateway", "metadata": meta(name),
        "spec": {"selector": {"istio": "ingress"}, "servers": entries}}


def istio_route(backends, match=None):
    """An entry of `tls` or `tcp`. `backends`: names, or (name, weight)."""
    entry = {"route": []}
    for backend in backends:
        name, weight = backend if isinstance(backend, tuple) else (backend, None)
        target = {"destination": {"host": name, "port": {"number": 80}}}
        entry["route"].append({**target, "weight": weight} if weight is not None else target)
    return {**entry, "match": match} if match else entry


class BytesBackend(Server):
    """Gives each connection to a function."""

    def __init__(self, serve, address):
        self.serve = serve
        super().__init__(address)


def echo(connection):
    """Sends back what comes, until the end, and then ends too."""
    while data := connection.recv(1 << 18):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def say(word):
    """Says a word at once and echoes what comes."""
    def serve(connection):
        connection.sendall(word.encode() + b"\n")
        echo(connection)
    return serve


def server_side(certificate):
    """The context of a server with a Certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(certificate.key + certificate.chain)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def over_tls(context, serve):
    """The same behind a handshake."""
    def handshake_first(connection):
        with context.wrap_socket(connection, server_side=True) as secure:
            serve(secure)
    return handshake_first


def receive_all(connection):
    parts = []
    while data := connection.recv(1 << 18):
        parts.append(data)
    return b"".join(parts)


def receive_until(connection, end):
    text = b""
    while not text.endswith(end):
        data = connection.recv(4096)
        if not data:
            break
        text += data
    return text
