"""The real thing: `sluice run` with manifests; the data-plane process is what is measured."""

import os
import re
import socket
import subprocess
from string import Template

from . import machine
from .process import LOAD_CORE, PROXY_CORE, Failed, children, free_port, name_of, pin_workers

MANIFEST = os.path.join(machine.ROOT, "Benchmarks", "config", "sluice.yaml")
REQUEST = b"GET / HTTP/1.1\r\nHost: bench.example.org\r\nConnection: close\r\n\r\n"
TITLES = {"sluice-uring": "Sluice (io_uring)", "sluice-epoll": "Sluice (epoll)"}


def engines(programs):
    """The engines that this build of `sluice run` lets one choose."""
    done = subprocess.run(
        [os.path.join(programs, "sluice"), "run", "--help"], capture_output=True, text=True, timeout=60)
    flag = re.search(r"--engine\b.*", done.stdout, re.DOTALL)
    return [engine for engine in ("uring", "epoll") if flag and engine in flag.group()[:200]]


class Sluice:
    """`engine`: uring or epoll. `core`: of the worker threads; None lets the system choose. The control thread, the
    controller and `sluice run` then run on the other core, at normal priority: no request waits for them.
    `manifests`: what to apply besides the benchmark's own."""

    def __init__(self, processes, backends, certificate, programs, engine, folder, workers=1, core=PROXY_CORE,
                 manifests=None):
        self.name = f"sluice-{engine}"
        self.ports = {name: free_port() for name in ("http", "tls", "grpc", "ws")}
        # Prior knowledge is seen on the same port.
        self.ports["h2c"] = self.ports["http"]
        self.folder = folder
        self.data_directory = os.path.join(folder, "data")
        self._processes = processes
        manifest = os.path.join(folder, "sluice.yaml")
        with open(MANIFEST) as source, open(manifest, "w") as file:
            file.write(Template(source.read()).substitute(
                certificate.data(), http_backend=backends.http, grpc_backend=backends.grpc,
                ws_backend=backends.ws))
        ports = {80: "http", 443: "tls", 8010: "grpc", 8020: "ws"}
        port_map = ",".join(f"{port}={self.ports[name]}" for port, name in ports.items())
        command = [os.path.join(programs, "sluice"), "run", "--data-dir", self.data_directory,
                   "--api", "127.0.0.1:0", "--bind", "127.0.0.1", "--port-map", port_map,
                   "--backend", "backend=127.0.0.1", "--workers", str(workers), "--engine", engine,
                   "--drain-timeout", "1s"]
        for path in [manifest, *(manifests or [])]:
            command += ["-f", path]
        self.process = processes.start(
            command, os.path.basename(folder), None if core is None else LOAD_CORE, realtime=False)
        # Ten thousand routes take a while to read.
        processes.wait_until(self.process, "the route was not served within 90 s", self._is_serving, seconds=90)
        for name in self.ports:
            processes.wait_for_port(self.process, self.ports[name])
        self.process_ids = [self._data_plane()]
        pin_workers(self.process_ids[0], core, processes.realtime)

    def stop(self):
        self._processes.stop(self.process)

    def _is_serving(self):
        try:
            with socket.create_connection(("127.0.0.1", self.ports["http"]), timeout=1) as connection:
                connection.sendall(REQUEST)
                return connection.recv(64).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False

    def _data_plane(self):
        for child in children(self.process.pid):
            if name_of(child) == "sluice-dataplane":
                return child
        raise Failed("sluice run has no child sluice-dataplane")
