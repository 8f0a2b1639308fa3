"""nginx, HAProxy, Envoy and nghttpx: keep-alive pools to the backends, no access log, tuned for speed.

Each has five ports: `http` (HTTP/1.1), `h2c` (HTTP/2 with prior knowledge), `tls` (HTTP/1.1 and HTTP/2 by
ALPN), all to the HTTP/1.1 backend, `grpc` (h2c to the h2c backend) and `ws` (to the WebSocket backend).
`folder` is the proxy's own; `core` None lets the system choose."""

import json
import os
from string import Template

from . import envoy, machine
from .process import PROXY_CORE, children, free_port

TEMPLATES = os.path.join(machine.ROOT, "Benchmarks", "config")


class Peer:
    """A proxy that is one process with a configuration file; `make` writes it and returns the command."""
    name = title = ""

    def __init__(self, processes, backends, certificate, folder, workers=1, core=PROXY_CORE):
        self.ports = {name: free_port() for name in ("http", "h2c", "tls", "grpc", "ws")}
        self.folder = folder
        self.workers = workers
        self._processes = processes
        # Real-time priority is kept without a core when several workers share all of them.
        self.process = processes.start(
            self.make(backends, certificate), os.path.basename(folder), core, realtime=processes.realtime)
        processes.wait_for_port(self.process, self.ports["http"])
        self.process_ids = self.measured()

    def stop(self):
        self._processes.stop(self.process)

    def measured(self):
        return [self.process.pid]

    def fill(self, template, backends, certificate, **more):
        """Writes a configuration into the proxy's folder and returns its path."""
        with open(os.path.join(TEMPLATES, template)) as file:
            text = Template(file.read()).substitute(
                self.ports, folder=self.folder, certificate=certificate.chain, key=certificate.key,
                combined=certificate.combined, http_backend=backends.http, grpc_backend=backends.grpc,
                ws_backend=backends.ws, **more)
        path = os.path.join(self.folder, template)
        with open(path, "w") as file:
            file.write(text)
        return path


class Nginx(Peer):
    name = title = "nginx"

    def make(self, backends, certificate):
        # With one worker there is one process: what a master does otherwise is not measured.
        master = "on" if self.workers > 1 else "off"
        path = self.fill("nginx.conf", backends, certificate, workers=self.workers, master=master)
        return [machine.program("nginx"), "-c", path, "-e", os.path.join(self.folder, "nginx-error.log")]

    def measured(self):
        if self.workers == 1:
            return [self.process.pid]
        self._processes.wait_until(
            self.process, "not all workers started", lambda: len(children(self.process.pid)) == self.workers, 20)
        return children(self.process.pid)


class HAProxy(Peer):
    name, title = "haproxy", "HAProxy"

    def make(self, backends, certificate):
        return [machine.program("haproxy"), "-db", "-f", self.fill("haproxy.cfg", backends, certificate)]


class Envoy(Peer):
    name, title = "envoy", "Envoy"

    def make(self, backends, certificate):
        path = os.path.join(self.folder, "envoy.json")
        with open(path, "w") as file:
            json.dump(envoy.bootstrap(self.ports, backends, certificate), file, indent=1)
        return [machine.program("envoy"), "-c", path, "--concurrency", "1", "-l", "error", "--disable-hot-restart"]


class Nghttpx(Peer):
    """It has no port for WebSocket: it is not among the peers of that line."""
    name = title = "nghttpx"

    def make(self, backends, certificate):
        del self.ports["ws"]
        path = self.fill("nghttpx.conf", backends, certificate)
        # The certificate and its key are arguments of nghttpx, not settings.
        return [machine.program("nghttpx"), f"--conf={path}", certificate.key, certificate.chain]


PEERS = {peer.name: peer for peer in (Nginx, HAProxy, Envoy, Nghttpx)}
