"""The cheap backends and the relay: C programs that are compiled into the run's folder."""

import os
import subprocess

from . import machine
from .process import LOAD_CORE, PROXY_CORE, Failed, free_port

SOURCES = os.path.join(machine.ROOT, "Benchmarks", "native")
LIBRARIES = {"http_backend": [], "relay": [], "grpc_backend": ["-lnghttp2"]}


def compile_programs(folder):
    for name, libraries in LIBRARIES.items():
        command = [machine.program("gcc"), "-O2", "-Wall", "-Wextra", "-Werror", "-o",
                   os.path.join(folder, name), os.path.join(SOURCES, name + ".c"), *libraries]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}\n{done.stderr}")


class Backends:
    """Ports of what the proxies forward to."""

    def __init__(self, processes):
        self.http = self._start(processes, "http_backend")
        self.grpc = self._start(processes, "grpc_backend")

    @staticmethod
    def _start(processes, name):
        port = free_port()
        command = [os.path.join(processes.folder, name), str(port)]
        processes.wait_for_port(processes.start(command, name, core=LOAD_CORE), port)
        return port


class Relay:
    """Copies bytes without looking at them: what the system calls of any proxy cost at least."""

    name = "relay"
    title = "relay without parsing"

    def __init__(self, processes, backends, _certificate):
        self.ports = {"http": free_port()}
        command = [os.path.join(processes.folder, "relay"), str(self.ports["http"]), str(backends.http)]
        process = processes.start(command, self.name, core=PROXY_CORE)
        processes.wait_for_port(process, self.ports["http"])
        self.process_id = process.pid
