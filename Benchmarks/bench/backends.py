"""The cheap backends and the relay: C programs that are compiled into the run's folder."""

import contextlib
import os
import subprocess

from . import machine
from .process import LOAD_CORE, PROXY_CORE, Failed, free_port

SOURCES = os.path.join(machine.ROOT, "Benchmarks", "native")
LIBRARIES = {
    "http_backend": [], "grpc_backend": ["-lnghttp2"], "ws_backend": [], "relay": [],
    "grpc_stream_load": ["-lnghttp2"], "tls_load": ["-lssl", "-lcrypto"], "body_load": [], "ws_load": [],
    "rate_load": [],
}


def compile_programs(folder, names=tuple(LIBRARIES)):
    for name in names:
        command = [machine.program("gcc"), "-O2", "-Wall", "-Wextra", "-Werror", "-o",
                   os.path.join(folder, name), os.path.join(SOURCES, name + ".c"), *LIBRARIES[name]]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"{name}.c does not compile\n{done.stderr}")


class Backends:
    """Ports of what the proxies forward to."""

    def __init__(self, processes):
        self._processes = processes
        self.http, self.grpc, self.ws = free_port(), free_port(), free_port()
        self._commands = {
            name: [os.path.join(processes.folder, name), str(port)]
            for name, port in (("http_backend", self.http), ("grpc_backend", self.grpc), ("ws_backend", self.ws))}
        self._running = {}
        self.revive()

    def revive(self):
        """Starts what is not running, under the same port."""
        for name, command in self._commands.items():
            if name not in self._running or self._running[name].poll() is not None:
                self._running[name] = self._processes.start(command, name, core=LOAD_CORE)
                self._processes.wait_for_port(self._running[name], int(command[1]))

    @contextlib.contextmanager
    def on_core(self, core):
        """For a while on another core than the load generator's."""
        try:
            for process in self._running.values():
                os.sched_setaffinity(process.pid, {core})
            yield
        finally:
            for process in self._running.values():
                if process.poll() is None:
                    os.sched_setaffinity(process.pid, {LOAD_CORE})


class Relay:
    """Copies bytes without looking at them: what the system calls of any proxy cost at least."""

    name = "relay"
    title = "relay without parsing"

    def __init__(self, processes, backends, _certificate, folder, core=PROXY_CORE):
        self.ports = {"http": free_port()}
        self._processes = processes
        command = [os.path.join(processes.folder, "relay"), str(self.ports["http"]), str(backends.http)]
        self.process = processes.start(command, os.path.basename(folder), core)
        processes.wait_for_port(self.process, self.ports["http"])
        self.process_ids = [self.process.pid]

    def stop(self):
        self._processes.stop(self.process)
