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
