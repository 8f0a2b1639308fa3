"""Backends behind TLS, and an authority of their own that vouches for them."""

import base64
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path

from .backends import H1Backend


class Issuer:
    """An authority; `issue` gives paths of a certificate and its key, which live as long as it does."""

    def __init__(self, name):
        self.folder = tempfile.TemporaryDirectory(prefix="sluice-issuer-")
        self.path = Path(self.folder.name)
        self.count = 0
        self._openssl(
            "req", "-x509", *self._key("ca"), "-out", "ca.crt", "-days", "30", "-subj", f"/CN={name}")
        self.file = self.path / "ca.crt"
        self.pem = self.file.read_text()

    def _openssl(self, *arguments):
        subprocess.run(
            ["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30, cwd=self.path)

    @staticmethod
    def _key(stem):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{stem}.key"]

    def issue(self, *names, days=30):
        """`names`: as in subjectAltName, "DNS:a.test" or "URI:spiffe://a/b"."""
        self.count += 1
        stem = f"leaf{self.count}"
        self._openssl("req", *self._key(stem), "-out", f"{stem}.csr", "-subj", "/CN=ignored.test")
        (self.path / f"{stem}.ext").write_text(f"subjectAltName={','.join(names)}\n")
        self._openssl(
            "x509", "-req", "-in", f"{stem}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", self.count,
            "-days", days, "-extfile", f"{stem}.ext", "-out", f"{stem}.crt")
        return self.path / f"{stem}.crt", self.path / f"{stem}.key"

    def config_map(self, name, namespace="default"):
        return {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace},
            "data": {"ca.crt": self.pem}}

    @staticmethod
    def secret(name, certificate, namespace="default"):
        def encode(path):
            return base64.b64encode(path.read_bytes()).decode()
        return {
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": namespace},
            "data": {"tls.crt": encode(certificate[0]), "tls.key": encode(certificate[1])}}


def server_context(certificate, clients=None, newest=None):
    """`clients`: an Issuer whose certificates are required of clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
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
