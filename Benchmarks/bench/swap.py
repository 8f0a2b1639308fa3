"""What a change of one route among ten thousand does to the requests that are under way."""

import array
import os
import socket
import statistics
import subprocess
import threading
import time

from .load import HEADERS, Native, http1_head
from .measure import note_failure, say
from .process import LOAD_CORE, PROXY_CORE, Failed, harness_on
from .results import Result

OBJECTS, RULES = 2000, 5
RATE, CONNECTIONS = 3000, 32
# Seconds around the moment when the new route answers, and milliseconds that a request may take.
NEAR = 0.050
LATE = 1.0
PROBE_HOST = "probe.example.org"
# Between two questions whether the new route answers.
POLL = 0.002

ROUTE = """apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: many-{number}
spec:
  parentRefs:
  - name: bench
    sectionName: http
  hostnames:
  - h{number}.example.org
  rules:
{rules}"""

RULE = """  - matches:
    - path:
        type: PathPrefix
        value: /service-{rule}
    backendRefs:
    - name: backend
      port: {port}
"""

PROBE = """apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: probe
spec:
  parentRefs:
  - name: bench
    sectionName: http
  hostnames:
  - {host}
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier:
        set:
        - name: x-version
          value: v{version}
    backendRefs:
    - name: backend
      port: {port}
"""


class Swap:
    name = group = "swap"
    title = f"{OBJECTS * RULES:,} routes, {RATE:,} requests/s, one route changes every two seconds"

    def run(self, bench):
        result = Result.new(self.name, self.title, self.group, bench.fleet.sluices)
        for name in bench.fleet.sluices:
            try:
                result.samples[name].append(_Measurement(bench, name).run())
                say(result, "", name, result.samples[name][0])
            except (Failed, OSError) as error:
                result.samples[name].append(None)
                note_failure(bench, result, name, error)
        result.record["notes"] = [
            f"{OBJECTS:,} HTTPRoutes of {RULES} rules each. The worker thread has core 0, with the backend, which "
            "takes some 10 µs a request; the load generator, the control thread of the data plane (which verifies an "
            "image), the controller and `sluice apply` have core 1. Worker, backend and load generator have "
            "real-time priority, so that none of them waits for the rest; but the kernel of this machine ends a "
            "system call of the rest before it switches, and the load generator, the only one that this can hold "
            "up, counts neither what it sends nor what it reads late. `sluice apply` changes one object; from its "
            "start on the route is asked every 2 ms until it answers in the new way."]
        return result


class _Measurement:
    def __init__(self, bench, name):
        self._bench = bench
        self._name = name
        self._swaps = 4 if bench.is_quick else 10
        self._interval = 2.0

    def run(self):
        fleet, folder = self._bench.fleet, os.path.join(self._bench.generator.folder, f"swap-{self._name}")
        os.mkdir(folder)
        many = os.path.join(folder, "many.yaml")
        self._probe_file = os.path.join(folder, "probe.yaml")
        with open(many, "w") as file:
            file.write("---\n".join(_route(number, fleet.backends.http) for number in range(OBJECTS)))
        self._write_probe(0)
        host = f"Host: h{OBJECTS // 2}.example.org"
        self._bench.generator.write("swap.request", http1_head(path=f"/service-{RULES - 1}/x").replace(
            HEADERS[0].encode(), host.encode()))
        self._proxy = fleet.fresh(self._name, manifests=[many, self._probe_file])
        try:
            with harness_on(LOAD_CORE), fleet.backends.on_core(PROXY_CORE):
                # Two thousand objects take a while to apply.
                self._wait_for(0, seconds=120)
                # The last swap may take longer than its turn.
                seconds = self._swaps * self._interval + 1
                self._load(1)
                quiet = self._load(seconds)
                busy, swaps = self._load_with_swaps(seconds)
        finally:
            self._proxy.stop()
        return _figures(quiet, busy, swaps)

    def _write_probe(self, version):
        with open(self._probe_file, "w") as file:
            file.write(PROBE.format(host=PROBE_HOST, version=version, port=self._bench.fleet.backends.http))

    def _load(self, seconds):
        """Pairs of seconds: when each request was due and when it was answered."""
        times = self._bench.generator.path("swap.times")
        Native("rate_load", (str(CONNECTIONS), str(RATE), "FOLDER/swap.request", times)).run(
            self._bench.generator, self._proxy.ports["http"], seconds)
        numbers = array.array("q")
        with open(times, "rb") as file:
            numbers.frombytes(file.read())
        return [(due / 1e9, answered / 1e9) for due, answered in zip(numbers[::2], numbers[1::2])]

    def _load_with_swaps(self, seconds):
        found, failed = [], []

        def load():
            try:
                found.extend(self._load(seconds))
            except (Failed, OSError) as error:
                failed.append(error)
        thread = threading.Thread(target=load)
        thread.start()
        try:
            swaps, begin = [], time.monotonic()
            for version in range(1, self._swaps + 1):
                time.sleep(max(0, begin + (version - 0.7) * self._interval - time.monotonic()))
                swaps.append(self._swap(version))
        finally:
            thread.join()
        if failed:
            raise failed[0]
        return found, swaps

    def _swap(self, version):
        """When `sluice apply` began, and when the route first answered in the new way."""
        self._write_probe(version)
        begin = time.monotonic()
        command = [os.path.join(self._bench.fleet.programs, "sluice"), "apply", "-f", self._probe_file,
                   "--kubeconfig", os.path.join(self._proxy.data_directory, "kubeconfig")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            answered = self._wait_for(version, process)
        finally:
            error = process.communicate()[1]
        if process.returncode != 0:
            raise Failed(f"sluice apply ended with {process.returncode}: {error[-300:]}")
        return begin, answered

    def _wait_for(self, version, process=None, seconds=30):
        head = http1_head().replace(HEADERS[0].encode(), f"Host: {PROBE_HOST}".encode())
        wanted, end = f"x-version: v{version}\r\n".encode(), time.monotonic() + seconds
        with socket.create_connection(("127.0.0.1", self._proxy.ports["http"]), timeout=5) as connection:
            while time.monotonic() < end:
                connection.sendall(head)
                # A small answer comes in one piece.
                if wanted in connection.recv(4096).lower():
                    return time.monotonic()
                if process and process.poll() not in (None, 0):
                    break
                time.sleep(POLL)
        raise Failed(f"the changed route was not served within {seconds} s")


def _route(number, port):
    return ROUTE.format(number=number, rules="".join(RULE.format(rule=rule, port=port) for rule in range(RULES)))


def _figures(quiet, busy, swaps):
    """near: around the moments when a route was seen to answer; apply: from the start of `sluice apply` until
    after that moment. Each beside the same spans of time without swaps."""
    near = [(at - NEAR, at + NEAR) for _, at in swaps]
    apply = [(begin, at + NEAR) for begin, at in swaps]
    # Both loads last equally long.
    back = busy[0][0] - quiet[0][0]
    figures = {"swaps": len(swaps), "answered": statistics.median(at - begin for begin, at in swaps) * 1000}
    for name, spans in (("near", near), ("apply", apply)):
        figures.update(_delays(name, _within(spans, busy)))
        figures.update(_delays(f"{name}_quiet", _within([(a - back, b - back) for a, b in spans], quiet)))
    return figures


def _within(spans, requests):
    found = [request for request in requests
             if any(request[0] <= end and request[1] >= begin for begin, end in spans)]
    if not found:
        raise Failed("no request was under way near a swap")
    return found


def _delays(name, requests):
    delays = sorted((answered - due) * 1000 for due, answered in requests)
    return {f"{name}_count": len(delays), f"{name}_max": delays[-1], f"{name}_p999": delays[int(len(delays) * 0.999)],
            f"{name}_late": sum(delay > LATE for delay in delays)}
