"""A certificate for one run."""

import base64
import os
import subprocess

from . import machine


class Certificate:
    """ECDSA P-256, self-signed, for `bench.example.org`; files in the run's folder."""

    def __init__(self, folder):
        self.chain = os.path.join(folder, "certificate.pem")
        self.key = os.path.join(folder, "key.pem")
        self.combined = os.path.join(folder, "combined.pem")
        subprocess.run(
            [machine.program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=bench.example.org",
             "-addext", "subjectAltName=DNS:bench.example.org", "-keyout", self.key, "-out", self.chain],
            check=True, capture_output=True)
        with open(self.chain, "rb") as chain, open(self.key, "rb") as key:
            self.chain_bytes, self.key_bytes = chain.read(), key.read()
        with open(self.combined, "wb") as file:
            file.write(self.chain_bytes + self.key_bytes)

    def data(self):
        """The values of a Secret of type kubernetes.io/tls."""
        return {"certificate_data": base64.b64encode(self.chain_bytes).decode(),
                "key_data": base64.b64encode(self.key_bytes).decode()}
