"""Backends behind TLS, and the objects that say how they prove who they are."""

import ssl
import threading

from .backends import H1Backend


def server_context(certificate, clients=None, newest=None):
    """`certificate`: a file with its key. `clients`: an Authority whose certificates are required of clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["http/1.1"])
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.file)
    if newest:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = newest
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


class SecureBackend(H1Backend):
    """HTTP/1.1 over TLS. `handshakes` says how each connection began: resumed, version, protocol, server name."""

    def __init__(self, handler, context, address="127.0.0.1"):
        self.context = context
        self.names = {}
        self.handshakes = []
        self.refused = []
        self.note = threading.Lock()
        context.sni_callback = lambda connection, name, _: self.names.__setitem__(id(connection), name)
        super().__init__(handler, address)

    def serve(self, connection):
        try:
            secure = self.context.wrap_socket(connection, server_side=True)
        except OSError as error:
            with self.note:
                self.refused.append(str(error))
            return
        with self.note:
            self.handshakes.append({
                "resumed": secure.session_reused, "version": secure.version(),
                "alpn": secure.selected_alpn_protocol(), "name": self.names.pop(id(secure), None)})
        with self.lock:
            self.connections.discard(connection)
            self.connections.add(secure)
        try:
            super().serve(secure)
        finally:
            with self.lock:
                self.connections.discard(secure)
            secure.close()


def destination_rule(name, host, tls, namespace="default"):
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": namespace}, "spec": {"host": host, "trafficPolicy": {"tls": tls}}}


def policy(name, service, hostname, config_map=None, section=None, alternatives=(), namespace="default", **more):
    """A BackendTLSPolicy; `alternatives`: its subjectAltNames as pairs of type and value."""
    target = {"group": "", "kind": "Service", "name": service}
    if section:
        target["sectionName"] = section
    validation = {"hostname": hostname, **more}
    if config_map:
        validation["caCertificateRefs"] = [{"group": "", "kind": "ConfigMap", "name": config_map}]
    if alternatives:
        validation["subjectAltNames"] = [
            {"type": kind, ("uri" if kind == "URI" else "hostname"): value} for kind, value in alternatives]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"targetRefs": [target], "validation": validation}}
