"""The load generators: wrk, h2load and the C programs of native/, pinned to the core that the proxy does not
have. Each tool here runs once and says what it saw as a `Load`."""

import json
import os
import re
import subprocess
from dataclasses import dataclass

from . import machine
from .process import LOAD_CORE, Failed, pin

PATH = "/api/items/42?x=1"
GRPC_PATH = "/bench.Echo/Unary"
# One gRPC message of 64 bytes: flag, length, payload.
GRPC_BODY = b"\x00\x00\x00\x00\x40" + b"x" * 64
# Bytes of body in one answer of the backends in native/.
HTTP_ANSWER_BYTES = 200
GRPC_ANSWER_BYTES = 101
HEADERS = ["Host: bench.example.org", "User-Agent: bench/1.0", "Accept: */*", "Accept-Encoding: gzip, deflate"]
# Every proxy gets the same protocol version, cipher and group from the client.
OPENSSL_CONF = """openssl_conf = settings
[settings]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
"""


@dataclass(frozen=True)
class Load:
    """What a load generator saw."""
    # Units of work: requests, messages, connections, or gigabytes (10^9 bytes) of body.
    count: float
    seconds: float
    errors: int
    # Percentiles of the time of one request or message in milliseconds; None where nobody asked.
    p50: float | None = None
    p99: float | None = None
    p999: float | None = None


def http1_head(method="GET", path=PATH, headers=()):
    return "\r\n".join([f"{method} {path} HTTP/1.1", *HEADERS, *headers, "", ""]).encode()


class Generator:
    """Runs commands with the run's files. `seconds` is how long they are meant to take."""

    def __init__(self, folder, realtime):
        self.folder = folder
        self.realtime = realtime
        # None: the system chooses.
        self.core = LOAD_CORE
        self.write("grpc.body", GRPC_BODY)
        self.write("openssl.cnf", OPENSSL_CONF.encode())
        self.write("http1.request", http1_head())
        self.write("http1-close.request", http1_head(headers=["Connection: close"]))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)

    def sparse(self, name, size):
        """A file of zeros that takes no room."""
        with open(self.path(name), "wb") as file:
            file.truncate(size)
        return self.path(name)

    def output(self, command, seconds):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds * 3 + 120, stdin=subprocess.DEVNULL,
                env={**os.environ, "OPENSSL_CONF": self.path("openssl.cnf")},
                preexec_fn=lambda: pin(0, self.core, self.realtime))
        except subprocess.TimeoutExpired:
            raise Failed(f"{_shown(command)}: does not end") from None
        if done.returncode != 0:
            raise Failed(f"{_shown(command)}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout


def _shown(command):
    """A command for an error's text: programs by name, so that no folder of a machine gets into a report."""
    words = [os.path.basename(word) if word.startswith("/") else word for word in command]
    return " ".join(words)


@dataclass(frozen=True)
class Wrk:
    connections: int
    is_tls: bool = False

    def run(self, generator, port, seconds):
        scheme = "https" if self.is_tls else "http"
        command = [machine.program("wrk"), "-t1", f"-c{self.connections}", f"-d{seconds}s", "--latency"]
        for header in HEADERS:
            command += ["-H", header]
        return parse_wrk(generator.output(command + [f"{scheme}://127.0.0.1:{port}{PATH}"], seconds))


@dataclass(frozen=True)
class H2load:
    """Requests with small answers; `is_grpc`: unary calls."""
    connections: int
    streams: int
    is_tls: bool = False
    is_grpc: bool = False

    def run(self, generator, port, seconds):
        return self._run(generator, port, ["-D", str(seconds)], seconds)

    def exactly(self, generator, port, requests):
        """So many requests, for counting instructions."""
        return self._run(generator, port, ["-n", str(requests)], 60)

    def check(self, generator, port):
        """The status of a call is in the trailers, where h2load does not look."""
        if not self.is_grpc:
            return
        command = [
            machine.program("nghttp"), "-v", *_grpc_arguments(generator), f"http://127.0.0.1:{port}{GRPC_PATH}"]
        output = generator.output(command, 10)
        if "grpc-status: 0" not in output:
            raise Failed(f"{_shown(command)}: no grpc-status: 0 in\n{output[-2000:]}")

    def _run(self, generator, port, amount, seconds):
        scheme = "https" if self.is_tls else "http"
        command = [machine.program("h2load"), "-t1", f"-c{self.connections}", f"-m{self.streams}", *amount,
                   "--tls13-ciphers=TLS_AES_128_GCM_SHA256"]
        path = PATH
        if self.is_grpc:
            path = GRPC_PATH
            command += _grpc_arguments(generator)
        else:
            command += _header_arguments()
        least = GRPC_ANSWER_BYTES if self.is_grpc else HTTP_ANSWER_BYTES
        return run_h2load(generator, command, f"{scheme}://127.0.0.1:{port}{path}", seconds, least)


@dataclass(frozen=True)
class H2Bodies:
    """`count` bodies of `size` bytes over HTTP/2; the client's windows are too large to be in the way."""
    connections: int
    streams: int
    size: int
    is_upload: bool
    count: int

    def run(self, generator, port, _seconds):
        command = [machine.program("h2load"), "-t1", f"-c{self.connections}", f"-m{self.streams}",
                   f"-n{self.count}", "-w28", "-W30", *_header_arguments()]
        path = f"/bytes/{self.size}"
        if self.is_upload:
            path = "/sink"
            command += ["-d", generator.sparse("upload.body", self.size)]
        load = run_h2load(
            generator, command, f"http://127.0.0.1:{port}{path}", 60, 1 if self.is_upload else self.size)
        if load.count != self.count:
            raise Failed(f"h2load: {load.count} of {self.count} bodies")
        return Load(self.count * self.size / 1e9, load.seconds, load.errors)


@dataclass(frozen=True)
class Native:
    """A program of native/ that prints one JSON object; see native/report.h. Its command line is NAME PORT
    SECONDS ARGUMENTS…; FOLDER in an argument becomes the run's folder. A negative count is an error of its own."""
    program: str
    arguments: tuple = ()
    # What one unit of its count is worth.
    unit: float = 1

    def run(self, generator, port, seconds):
        arguments = [word.replace("FOLDER", generator.folder) for word in self.arguments]
        command = [generator.path(self.program), str(port), str(seconds), *arguments]
        found = json.loads(generator.output(command, max(seconds, 30)))
        if found["count"] <= 0:
            raise Failed(f"{_shown(command)}: nothing was done")
        return Load(found["count"] * self.unit, found["seconds"], found["errors"],
                    *(found.get(name) for name in ("p50", "p99", "p999")))


def _header_arguments():
    arguments = []
    for header in HEADERS[1:]:
        arguments += ["-H", header]
    return arguments


def _grpc_arguments(generator):
    return ["-d", generator.path("grpc.body"), "-H", "content-type: application/grpc", "-H", "te: trailers"]


def run_h2load(generator, command, url, seconds, least_body):
    # h2load appends.
    generator.write("h2load.log", b"")
    log = generator.path("h2load.log")
    output = generator.output([*command, f"--log-file={log}", url], seconds)
    with open(log) as file:
        times = sorted(int(line.split()[2]) for line in file)
    load, data = parse_h2load(output, times)
    if data < load.count * least_body:
        raise Failed(f"{_shown(command)}: {data} bytes of body instead of {load.count * least_body}\n{output}")
    return load


_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


def parse_wrk(text):
    done = re.search(r"(\d+) requests in ([\d.]+)(\w+),", text)
    times = {name: re.search(rf"{name}%\s+([\d.]+)(\w+)", text) for name in ("50", "99")}
    if not done or None in times.values() or int(done.group(1)) == 0:
        raise Failed(f"wrk counted no requests:\n{text}")
    errors = 0
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    if sockets:
        errors += sum(int(group) for group in sockets.groups())
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if statuses:
        errors += int(statuses.group(1))
    seconds = float(done.group(2)) * _UNITS[done.group(3)] / 1000
    p50, p99 = (float(found.group(1)) * _UNITS[found.group(2)] for found in times.values())
    return Load(int(done.group(1)), seconds, errors, p50, p99)


def parse_h2load(text, times):
    """`times`: microseconds of all requests, ascending. Returns the load and the bytes of all bodies."""
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    finished = re.search(r"finished in ([\d.]+)(\w+),", text)
    data = re.search(r"\((\d+)\) data", text)
    if not done or not statuses or not finished or not data or int(done.group(1)) == 0 or not times:
        raise Failed(f"h2load counted no requests:\n{text}")
    errors = sum(int(group) for group in done.groups()[1:] + statuses.groups()[1:])
    seconds = float(finished.group(1)) * _UNITS[finished.group(2)] / 1000
    p50, p99 = (times[int(len(times) * share)] / 1000 for share in (0.5, 0.99))
    return Load(int(done.group(1)), seconds, errors, p50, p99), int(data.group(1))
