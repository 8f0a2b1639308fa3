"""Self-made certificates by openssl(1)."""

import base64
import subprocess
import tempfile
from pathlib import Path


class Certificate:
    def __init__(self, names, days=30, key="ec"):
        """`key`: "ec" (P-256) or what openssl calls an RSA key ("rsa:2048")."""
        self.names = names
        kind = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"] if key == "ec" else [key]
        with tempfile.TemporaryDirectory(prefix="sluice-cert-") as folder:
            key_file, chain = Path(folder, "key.pem"), Path(folder, "chain.pem")
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-keyout", key_file, "-out", chain,
                 "-days", str(days), "-subj", f"/CN={names[0]}", "-addext",
                 "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)],
                check=True, capture_output=True, timeout=30)
            self.key = key_file.read_text()
            self.chain = chain.read_text()

    def secret(self, name, namespace="default"):
        """As `kubectl create secret tls` makes it."""
        def encode(text):
            return base64.b64encode(text.encode()).decode()
        return {
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": namespace},
            "data": {"tls.crt": encode(self.chain), "tls.key": encode(self.key)},
        }


class Authority:
    """Issues certificates, to servers and to clients. Files live as long as it does."""

    def __init__(self, name="authority"):
        self.folder = tempfile.TemporaryDirectory(prefix="sluice-ca-")
        self.count = 0
        self.path = Path(self.folder.name)
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "ca.key",
            "-out", "ca.crt", "-days", "30", "-subj", f"/CN={name}")
        self.file = self.path / "ca.crt"
        self.chain = self.file.read_text()

    def _openssl(self, *arguments):
        subprocess.run(
            ["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30, cwd=self.path)

    def issue(self, name, names=(), days=30):
        """The path of a file with a certificate and its key. `names`: as in subjectAltName, "URI:spiffe://a/b"."""
        self.count += 1
        stem = self.path / str(self.count)
        extension = f"subjectAltName={','.join(names or [f'DNS:{name}'])}"
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{stem}.key",
            "-out", f"{stem}.csr", "-subj", f"/CN={name}", "-addext", extension)
        (self.path / "extensions").write_text(extension + "\n")
        self._openssl(
            "x509", "-req", "-in", f"{stem}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", self.count,
            "-days", days, "-extfile", "extensions", "-out", f"{stem}.crt")
        both = Path(f"{stem}.pem")
        both.write_text(Path(f"{stem}.crt").read_text() + Path(f"{stem}.key").read_text())
        return both

    def staple(self, certificate, days=None):
        """What this authority's responder says of a certificate that it issued (DER)."""
        serial = f"{int(certificate.stem):02X}"
        (self.path / "index").write_text(f"V\t491231235959Z\t\t{serial}\tunknown\t/CN=x\n")
        self._openssl(
            "ocsp", "-index", "index", "-CA", "ca.crt", "-rsigner", "ca.crt", "-rkey", "ca.key", "-issuer", "ca.crt",
            "-cert", f"{certificate.stem}.crt", "-respout", "staple", "-noverify",
            *(["-ndays", days] if days else []))
        return (self.path / "staple").read_bytes()

    def bundle(self, name, namespace="default"):
        """The ConfigMap that a Gateway's frontend validation names."""
        return {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace},
            "data": {"ca.crt": self.chain}}

    def secret(self, name, certificate, more=(), namespace="default"):
        """A Secret with an issued certificate; `more`: further keys with their bytes."""
        text = certificate.read_text()
        start = text.index("-----BEGIN PRIVATE KEY")
        data = {"tls.crt": text[:start].encode(), "tls.key": text[start:].encode(), **dict(more)}
        return {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()}}
