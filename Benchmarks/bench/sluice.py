"""The real thing: `sluice run` with manifests; the data-plane process is what is measured."""

import os
import socket
from string import Template

from . import machine
from .process import PROXY_CORE, Failed, children, free_port, name_of, pin_process

MANIFEST = os.path.join(machine.ROOT, "Benchmarks", "config", "sluice.yaml")
REQUEST = b"GET / HTTP/1.1\r\nHost: bench.example.org\r\nConnection: close\r\n\r\n"


class Sluice:
    name = "sluice"
    title = "Sluice"

    def __init__(self, processes, backends, certificate, programs, pinned=True):
        self.ports = {"http": free_port(), "tls": free_port(), "grpc": free_port()}
        # Prior knowledge is seen on the same port.
        self.ports["h2c"] = self.ports["http"]
        self.data_directory = os.path.join(processes.folder, "sluice")
        manifest = os.path.join(processes.folder, "sluice.yaml")
        with open(MANIFEST) as source, open(manifest, "w") as file:
            file.write(Template(source.read()).substitute(
                certificate.data(), http_backend=backends.http, grpc_backend=backends.grpc))
        port_map = f"80={self.ports['http']},443={self.ports['tls']},8010={self.ports['grpc']}"
        self.supervisor = processes.start(
            [os.path.join(programs, "sluice"), "run", "-f", manifest, "--data-dir", self.data_directory,
             "--api", "127.0.0.1:0", "--bind", "127.0.0.1", "--port-map", port_map,
             "--backend", "backend=127.0.0.1", "--workers", "1", "--drain-timeout", "1s"], self.name)
        processes.wait_until(
            self.supervisor, "the route was not served within 30 s", self._is_serving, seconds=30)
        for port in self.ports.values():
            processes.wait_for_port(self.supervisor, port)
        self.process_id = self._data_plane()
        if pinned:
            pin_process(self.process_id, PROXY_CORE, processes.realtime)

    def _is_serving(self):
        try:
            with socket.create_connection(("127.0.0.1", self.ports["http"]), timeout=1) as connection:
                connection.sendall(REQUEST)
                return connection.recv(64).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False

    def _data_plane(self):
        for child in children(self.supervisor.pid):
            if name_of(child) == "sluice-dataplane":
                return child
        raise Failed("sluice run has no child sluice-dataplane")
