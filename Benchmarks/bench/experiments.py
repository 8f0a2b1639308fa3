"""What is measured by a procedure of its own. Each experiment takes a `Bench` and returns a `Result`."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, replace

from . import machine
from .backends import Relay
from .counting import KINDS, NEEDED, Counter
from .idle import CLIENTS, private_bytes
from .load import Generator, Native, Wrk
from .measure import note_failure, rounds_of, say
from .process import Failed, cpu_between, cpu_seconds
from .results import Result
from .swap import Swap

NGINX = "nginx"


class Latency:
    """Open loop, so that a proxy that stops cannot hide it by getting fewer requests."""
    name = group = "latency"
    title = "HTTP/1.1, 64 connections, constant rate"

    def run(self, bench):
        names = [name for name in bench.fleet.names if name != Relay.name]
        result = Result.new(self.name, self.title, self.group, names)
        if NGINX not in names:
            raise Failed("the rate follows from nginx's peak, and nginx is not among the peers")
        port = bench.fleet.get(NGINX).ports["http"]
        peak = max((load.count / load.seconds for load in (
            Wrk(64).run(bench.generator, port, bench.seconds) for _ in range(3))))
        rate = int(peak / 2)
        result.record["notes"] = [
            f"nginx's peak here, the best of three runs of wrk: {peak:,.0f} requests/s; every proxy got {rate:,} "
            "requests/s, those of each 250 µs together. The time of a request counts from when it was due."]
        tool = Native("rate_load", ("64", str(rate), "FOLDER/http1.request"))
        for name in names:
            try:
                tool.run(bench.generator, bench.fleet.get(name).ports["http"], 1)
            except (Failed, OSError) as error:
                note_failure(bench, result, name, error)
        rounds_of(bench, result, names, lambda name: self._sample(bench, tool, name))
        return result

    @staticmethod
    def _sample(bench, tool, name):
        proxy = bench.fleet.get(name)
        before, start = cpu_seconds(proxy.process_ids), time.monotonic()
        load = tool.run(bench.generator, proxy.ports["http"], bench.seconds)
        used = sum(cpu_between(before, cpu_seconds(proxy.process_ids)))
        if load.errors:
            raise Failed(f"{load.errors} errors")
        return {"p50": load.p50, "p99": load.p99, "p999": load.p999, "rate": load.count / load.seconds,
                "busy": used / (time.monotonic() - start)}


@dataclass(frozen=True)
class Idle:
    name: str
    title: str
    client: str
    port: str
    connections: int
    group: str = "idle"

    def run(self, bench):
        names = [name for name in bench.fleet.names if name != Relay.name]
        result = Result.new(self.name, self.title, self.group, names)
        for name in names:
            try:
                result.samples[name].append(self._sample(bench, name))
                say(result, "", name, result.samples[name][0])
            except (Failed, OSError) as error:
                result.samples[name].append(None)
                note_failure(bench, result, name, error)
        return result

    def _sample(self, bench, name):
        """A proxy of its own: what an earlier load left free in its heap would hide what connections take."""
        proxy = bench.fleet.fresh(name)
        opened = []
        try:
            client = CLIENTS[self.client]
            client(proxy.ports[self.port]).close()
            time.sleep(0.3)
            before = private_bytes(proxy.process_ids)
            # One after the other, so that one connection to the backend is enough.
            opened += (client(proxy.ports[self.port]) for _ in range(self.connections))
            # Idle is who says nothing for a while: every proxy gets the time to give back what it then needs not.
            time.sleep(3)
            grown = private_bytes(proxy.process_ids) - before
        finally:
            for connection in opened:
                connection.close()
            proxy.stop()
        return {"bytes": grown / self.connections, "connections": self.connections}


@dataclass(frozen=True)
class Workers:
    """One and two workers, on all cores, which they share with the load."""
    connections: int
    group: str = "workers"

    @property
    def name(self):
        return f"workers-{self.connections}"

    @property
    def title(self):
        return f"HTTP/1.1, {self.connections} connections, unpinned"

    def run(self, bench):
        kinds = [name for name in bench.fleet.names if name in (*bench.fleet.sluices, NGINX)]
        result = Result.new(self.name, self.title, self.group)
        running, core = {}, bench.generator.core
        bench.generator.core = None
        try:
            for name in (f"{kind}/{count}" for kind in kinds for count in (1, 2)):
                kind, _, count = name.partition("/")
                result.samples[name] = []
                try:
                    running[name] = bench.fleet.fresh(kind, workers=int(count), core=None)
                    self._sample(bench, running[name])
                except (Failed, OSError) as error:
                    note_failure(bench, result, name, error)
            # Ratios to peers are not what this is about: three rounds show how far it scales.
            few = replace(bench, rounds=min(bench.rounds, 3))
            rounds_of(few, result, list(running), lambda name: self._sample(bench, running[name]))
        finally:
            bench.generator.core = core
            for proxy in running.values():
                proxy.stop()
        result.record["notes"] = [
            "Here proxies and load may run on every core; the backends keep theirs. On a machine with two cores the "
            "second worker takes its time from the load generator."]
        return result

    def _sample(self, bench, proxy):
        before, start = cpu_seconds(proxy.process_ids), time.monotonic()
        load = Wrk(self.connections).run(bench.generator, proxy.ports["http"], bench.seconds)
        user, system = cpu_between(before, cpu_seconds(proxy.process_ids))
        if load.errors:
            raise Failed(f"{load.errors} errors")
        factor = 1e6 / load.count
        return {"total": (user + system) * factor, "user": user * factor, "system": system * factor,
                "rate": load.count / load.seconds, "p99": load.p99,
                "busy": (user + system) / (time.monotonic() - start)}


class Lookup:
    """The Swift package beside this one measures; here its figures are taken in."""
    name = group = "lookup"
    title = "Look-up in the route table"

    def run(self, _bench):
        package = os.path.join(machine.ROOT, "Benchmarks", "lookup")
        result = Result.new(self.name, self.title, self.group)
        if not os.path.exists(os.path.join(package, "Package.swift")):
            raise Failed("Benchmarks/lookup is not there")
        swift = shutil.which("swift")
        if not swift:
            raise Failed("there is no swift to build Benchmarks/lookup with")
        done = subprocess.run(
            [swift, "run", "-c", "release", "--package-path", package, "lookup", "--json"],
            capture_output=True, text=True, timeout=1800)
        if done.returncode != 0:
            raise Failed(f"Benchmarks/lookup ended with {done.returncode}: {done.stderr[-300:]}")
        # What the build says may stand before it.
        result.record["rows"] = json.loads(done.stdout[done.stdout.index("{"):])["rows"]
        return result


@dataclass(frozen=True)
class Instructions:
    kind: str
    group: str = "instructions"

    @property
    def name(self):
        return f"instructions-{self.kind}"

    @property
    def title(self):
        return f"{KINDS[self.kind].title}, 64 requests at once"

    def run(self, bench):
        machine.require(NEEDED)
        result = Result.new(self.name, self.title, self.group, ["sluice-epoll"])
        result.left_out["sluice-uring"] = "valgrind 3.19 does not run io_uring"
        folder = os.path.join(bench.generator.folder, self.name)
        os.mkdir(folder)
        with Counter(Generator(folder, realtime=False), folder, bench.fleet.programs) as counter:
            figures = counter.count(KINDS[self.kind], "epoll", 2048, 64).figures()
        # Less than one in twenty is what a turn of the loop does, or the end of a run.
        figures = {name: value if abs(value) > 0.05 else 0 for name, value in figures.items()}
        result.samples["sluice-epoll"].append(figures)
        say(result, "", "sluice-epoll", figures)
        return result


EXPERIMENTS = [
    Latency(),
    Idle("idle-h1", "HTTP/1.1", "http1", "http", 4000),
    Idle("idle-h2", "HTTP/2", "http2", "h2c", 2000),
    Idle("idle-tls", "TLS 1.3, HTTP/1.1", "tls", "tls", 2000),
    Swap(),
    Workers(64), Workers(512),
    Lookup(),
    *(Instructions(kind) for kind in KINDS),
]
