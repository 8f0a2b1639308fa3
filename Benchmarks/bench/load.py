"""wrk and h2load: one run each, pinned to the core that the proxy does not have."""

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
# Every proxy gets the same protocol version and cipher from the client.
OPENSSL_CONF = """openssl_conf = settings
[settings]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
"""


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    # "wrk" or "h2load"
    tool: str
    # The proxy's port, see peers.py.
    port: str
    connections: int
    # Streams at once on a connection.
    streams: int = 1

    @property
    def is_tls(self):
        return self.port == "tls"

    @property
    def is_grpc(self):
        return self.port == "grpc"


WORKLOADS = [
    Workload("h1-8", "HTTP/1.1, 8 connections", "wrk", "http", 8),
    Workload("h1-64", "HTTP/1.1, 64 connections", "wrk", "http", 64),
    Workload("h1-512", "HTTP/1.1, 512 connections", "wrk", "http", 512),
    Workload("h2", "HTTP/2 to HTTP/1.1, 8 × 32 streams", "h2load", "h2c", 8, 32),
    Workload("grpc", "gRPC unary, h2c to h2c, 8 × 32 streams", "h2load", "grpc", 8, 32),
    Workload("tls-h1", "TLS 1.3, HTTP/1.1, 64 connections", "wrk", "tls", 64),
    Workload("tls-h2", "TLS 1.3, HTTP/2 to HTTP/1.1, 8 × 32 streams", "h2load", "tls", 8, 32),
]


@dataclass(frozen=True)
class Load:
    """What the load generator saw."""
    requests: int
    seconds: float
    errors: int
    # 99th percentile of the time of a request, in milliseconds.
    p99: float


class Generator:
    def __init__(self, folder, realtime):
        self.folder = folder
        self.realtime = realtime
        self._write("grpc.body", GRPC_BODY)
        self._write("openssl.cnf", OPENSSL_CONF.encode())

    def _path(self, name):
        return os.path.join(self.folder, name)

    def _write(self, name, content):
        with open(self._path(name), "wb") as file:
            file.write(content)

    def run(self, workload, port, seconds):
        if workload.tool == "wrk":
            return self._wrk(workload, port, seconds)
        return self._h2load(workload, port, ["-D", str(seconds)], seconds)

    def count(self, workload, port, requests):
        """Exactly so many requests by h2load, for counting instructions."""
        return self._h2load(workload, port, ["-n", str(requests)], 0)

    def _output(self, command, seconds):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds * 3 + 600, stdin=subprocess.DEVNULL,
                env={**os.environ, "OPENSSL_CONF": self._path("openssl.cnf")},
                preexec_fn=lambda: pin(0, LOAD_CORE, self.realtime))
        except subprocess.TimeoutExpired:
            raise Failed(f"{' '.join(command)}: does not end") from None
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _wrk(self, workload, port, seconds):
        scheme = "https" if workload.is_tls else "http"
        command = [machine.program("wrk"), "-t1", f"-c{workload.connections}", f"-d{seconds}s", "--latency"]
        for header in HEADERS:
            command += ["-H", header]
        return parse_wrk(self._output(command + [f"{scheme}://127.0.0.1:{port}{PATH}"], seconds))

    def _h2load(self, workload, port, amount, seconds):
        scheme = "https" if workload.is_tls else "http"
        log = self._path("h2load.log")
        command = [
            machine.program("h2load"), "-t1", f"-c{workload.connections}", f"-m{workload.streams}", *amount,
            "--tls13-ciphers=TLS_AES_128_GCM_SHA256", f"--log-file={log}"]
        path = PATH
        if workload.is_grpc:
            path = GRPC_PATH
            command += self._grpc_arguments()
        else:
            for header in HEADERS[1:]:
                command += ["-H", header]
        # h2load appends.
        self._write("h2load.log", b"")
        output = self._output(command + [f"{scheme}://127.0.0.1:{port}{path}"], seconds)
        with open(log) as file:
            times = sorted(int(line.split()[2]) for line in file)
        load, data = parse_h2load(output, times)
        least = load.requests * (GRPC_ANSWER_BYTES if workload.is_grpc else HTTP_ANSWER_BYTES)
        if data < least:
            raise Failed(f"{' '.join(command)}: {data} bytes of body instead of {least}\n{output}")
        return load

    def _grpc_arguments(self):
        return ["-d", self._path("grpc.body"), "-H", "content-type: application/grpc", "-H", "te: trailers"]

    def check_grpc(self, port):
        """The status is in the trailers, where h2load does not look."""
        command = [machine.program("nghttp"), "-v", *self._grpc_arguments(), f"http://127.0.0.1:{port}{GRPC_PATH}"]
        output = self._output(command, 10)
        if "grpc-status: 0" not in output:
            raise Failed(f"{' '.join(command)}: no grpc-status: 0 in\n{output}")


_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


def parse_wrk(text):
    done = re.search(r"(\d+) requests in ([\d.]+)(\w+),", text)
    p99 = re.search(r"99%\s+([\d.]+)(\w+)", text)
    if not done or not p99 or int(done.group(1)) == 0:
        raise Failed(f"wrk counted no requests:\n{text}")
    errors = 0
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    if sockets:
        errors += sum(int(group) for group in sockets.groups())
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if statuses:
        errors += int(statuses.group(1))
    seconds = float(done.group(2)) * _UNITS[done.group(3)] / 1000
    return Load(int(done.group(1)), seconds, errors, float(p99.group(1)) * _UNITS[p99.group(2)])


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
    load = Load(int(done.group(1)), seconds, errors, times[int(len(times) * 0.99)] / 1000)
    return load, int(data.group(1))
