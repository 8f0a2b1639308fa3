"""Counts instructions and calls of one request of the data plane by callgrind.

`sluice run` compiles the manifests of the benchmark once; then the data plane starts alone on the snapshot
that it kept, under valgrind --tool=callgrind, and gets N and, in a second run, 2N requests. The difference of
both counts, divided by N, is free of the start and repeats to a few instructions, whatever else the machine
does. System calls count nothing here."""

import collections
import os
import re
import socket
import subprocess
from dataclasses import dataclass

from . import machine
from .backends import Backends, compile_programs
from .certificate import Certificate
from .fleet import Fleet
from .load import H2load, http1_head
from .process import Failed, Processes

PROGRAMS = ("http_backend", "grpc_backend", "ws_backend")
# The start takes two of them.
READY_SECONDS = 20
NEEDED = ["gcc", "openssl", "valgrind", "objcopy", "h2load", "nghttp"]

# What counts as one of: functions by the names that the program's symbols have. A function that is only a part
# of another, such as _swift_release_dealloc, has another name, so that nothing counts twice.
CALLS = {
    "malloc": re.compile(r"(malloc|calloc|realloc|memalign|aligned_alloc|posix_memalign)(@.*)?"),
    "free": re.compile(r"(free|cfree)(@.*)?"),
    "retain": re.compile(
        r"swift_(nonatomic_)?(bridgeObject|unknownObject|weak|unowned)?[rR](etain|elease)(_n)?(_x\d+)?"),
    "objects": re.compile(r"swift_(allocObject|initStackObject|initStaticObject|bufferAllocate)"),
}


@dataclass(frozen=True)
class Kind:
    name: str
    title: str
    port: str
    is_tls: bool = False
    is_grpc: bool = False


KINDS = {kind.name: kind for kind in (
    Kind("h1", "HTTP/1.1", "http"), Kind("h2", "HTTP/2 to HTTP/1.1", "h2c"),
    Kind("grpc", "gRPC unary", "grpc", is_grpc=True),
    Kind("tls-h2", "TLS 1.3, HTTP/2 to HTTP/1.1", "tls", is_tls=True))}


class Profile:
    """What callgrind wrote: the sum of instructions, and calls by the name of the called function."""

    def __init__(self, path):
        self.path = path
        self.instructions = 0
        self.calls = collections.Counter()
        names, callee = {}, None
        with open(path, errors="replace") as file:
            for line in file:
                if line.startswith(("fn=", "cfn=")):
                    number, _, name = line.partition("=")[2].strip().partition(" ")
                    # A name stands at its first use, its number everywhere.
                    name = names.setdefault(number, re.sub(r"'\d+$", "", name))
                    callee = name if line.startswith("c") else callee
                elif line.startswith("calls="):
                    self.calls[callee] += int(line[6:].split()[0])
                elif line.startswith(("totals:", "summary:")):
                    self.instructions = int(line.split()[1])

    def count(self, pattern):
        return sum(count for name, count in self.calls.items() if pattern.fullmatch(name))


@dataclass
class Counted:
    once: Profile
    twice: Profile
    requests: int

    def figures(self):
        """Of one request."""
        found = {"instructions": (self.twice.instructions - self.once.instructions) / self.requests}
        for name, pattern in CALLS.items():
            found[name] = (self.twice.count(pattern) - self.once.count(pattern)) / self.requests
        return found


class Counter:
    """`with` it: backends run, and the data plane's snapshot is there."""

    def __init__(self, generator, folder, programs, data_plane=None):
        self._generator = generator
        self._folder = folder
        self._programs = programs
        self._data_plane = data_plane or os.path.join(programs, "sluice-dataplane")
        self._processes = Processes(folder, realtime=False)
        self._runs = 0

    def __enter__(self):
        self._processes.__enter__()
        try:
            compile_programs(self._folder, PROGRAMS)
            fleet = Fleet(self._processes, Backends(self._processes), Certificate(self._folder), self._programs, [], [])
            self._sluice = fleet.fresh("sluice-epoll", core=None)
            self._sluice.stop()
            # Valgrind 3.19 cannot read clang's debug information (DWARF 5); names of functions stay.
            self._program = os.path.join(self._folder, "sluice-dataplane")
            subprocess.run(
                [machine.program("objcopy"), "--strip-debug", self._data_plane, self._program], check=True)
        except BaseException:
            self._processes.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._processes.__exit__()

    def count(self, kind, engine, requests, at_once):
        requests -= requests % at_once
        once, twice = (self._collect(kind, engine, count, at_once) for count in (requests, 2 * requests))
        return Counted(once, twice, requests)

    def _collect(self, kind, engine, requests, at_once):
        """One run under valgrind."""
        self._runs += 1
        name = f"valgrind-{self._runs}"
        output = os.path.join(self._folder, f"callgrind.{self._runs}")
        # Under valgrind every turn is long: where its time is up would not be the same twice.
        process = self._processes.start(
            [machine.program("valgrind"), "--tool=callgrind", f"--callgrind-out-file={output}", self._program,
             "--state-dir", os.path.join(self._sluice.data_directory, "dataplane"),
             "--admin", os.path.join(self._folder, name + ".sock"), "--workers", "1", "--engine", engine,
             "--drain-timeout", "1s", "--limit", "max-turn-microseconds=0"], name)

        def is_ready():
            with open(self._processes.log(name), errors="replace") as file:
                return "ready: every worker" in file.read()
        self._processes.wait_until(process, "not ready under valgrind", is_ready, seconds=READY_SECONDS)
        self._exchange(kind, requests, at_once)
        process.terminate()
        process.wait(60)
        if process.returncode != 0:
            raise Failed(f"the data plane ended with {process.returncode}\n{self._processes.last_lines(name)}")
        return Profile(output)

    def _exchange(self, kind, requests, at_once):
        port = self._sluice.ports[kind.port]
        if kind.name == "h1":
            exchange_http1(port, requests, at_once)
            return
        load = H2load(1, at_once, kind.is_tls, kind.is_grpc).exactly(self._generator, port, requests)
        if load.errors or load.count != requests:
            raise Failed(f"h2load: {load.errors} errors, {load.count} of {requests} requests")


def exchange_http1(port, requests, connections):
    """All connections get one request each, then all answers are read: no more and no fewer turns each time."""
    head = http1_head()
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    for _ in range(requests // connections):
        for one in sockets:
            one.sendall(head)
        for one in sockets:
            _read_answer(one)
    for one in sockets:
        one.close()


def _read_answer(one):
    answer = b""
    while True:
        part = one.recv(65536)
        if not part:
            raise Failed("the data plane closed a connection")
        answer += part
        head, separator, body = answer.partition(b"\r\n\r\n")
        if separator and len(body) == 200:
            if not head.startswith(b"HTTP/1.1 200 "):
                raise Failed(f"the data plane answered {head.splitlines()[0]}")
            return
