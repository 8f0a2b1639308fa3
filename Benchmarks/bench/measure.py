"""Interleaved rounds: in every round each proxy gets the same load in turn, so that what the machine does
beside the benchmark falls on all of them."""

import sys
import time
from dataclasses import dataclass

from .backends import Relay
from .fleet import Fleet
from .load import Generator
from .process import Failed, cpu_between, cpu_seconds
from .results import Result
from .workloads import REQUESTS

# A proxy that failed so often in one workload is not asked again.
MOST_FAILURES = 2


@dataclass
class Bench:
    """What every measurement needs."""
    fleet: Fleet
    generator: Generator
    rounds: int
    seconds: int
    is_quick: bool = False

    def shown(self, error):
        """An error as one line of a report, without folders of this machine."""
        text = " ".join(str(error).split()).replace(self.generator.folder + "/", "").replace("|", "/")
        return text if len(text) <= 400 else text[:400] + "…"


def rounds_of(bench, result, names, sample):
    """Asks each of `names` once a round by sample(name) and notes what failed."""
    failures = dict.fromkeys(names, 0)
    for number in range(bench.rounds):
        # The order turns, so that nobody is always behind the same neighbour.
        turn = number % max(1, len(names))
        for name in names[turn:] + names[:turn]:
            found = None
            if failures[name] < MOST_FAILURES:
                try:
                    found = sample(name)
                except (Failed, OSError) as error:
                    failures[name] += 1
                    note_failure(bench, result, name, error)
            result.samples[name].append(found)
            if found:
                say(result, f"round {number + 1}/{bench.rounds}", name, found)


def note_failure(bench, result, name, error):
    result.errors.setdefault(name, bench.shown(error))
    print(f"  {result.name:12} {name:12} failed: {bench.shown(error)}", file=sys.stderr, flush=True)


def say(result, what, name, sample):
    figures = "  ".join(f"{key} {value:.6g}" for key, value in sample.items() if value is not None)
    print(f"  {result.name:12} {what:10} {name:12} {figures}", file=sys.stderr, flush=True)


def measure(bench, workload):
    """All rounds of a workload by processor time."""
    names = [name for name in bench.fleet.names if name not in workload.without]
    result = Result.new(workload.name, workload.title, workload.group.name)
    result.left_out.update(
        {name: why for name, why in workload.without.items() if name in bench.fleet.names})
    asked = []
    for name in names:
        try:
            proxy = bench.fleet.get(name)
            if workload.port not in proxy.ports or name == Relay.name and workload.group is not REQUESTS:
                continue
            # From here on it takes part: what fails once may work in the rounds.
            asked.append(name)
            result.samples[name] = []
            if hasattr(workload.tool, "check"):
                workload.tool.check(bench.generator, proxy.ports[workload.port])
            # Pools fill, caches warm up.
            _sample(bench, workload, name, 1)
        except (Failed, OSError) as error:
            result.samples.setdefault(name, [])
            note_failure(bench, result, name, error)
    rounds_of(bench, result, asked, lambda name: _sample(bench, workload, name, bench.seconds))
    return result


def _sample(bench, workload, name, seconds):
    """Processor time of one unit in the group's figure, and what else the round showed."""
    proxy = bench.fleet.get(name)
    before, start = cpu_seconds(proxy.process_ids), time.monotonic()
    load = workload.tool.run(bench.generator, proxy.ports[workload.port], seconds)
    user, system = cpu_between(before, cpu_seconds(proxy.process_ids))
    elapsed = time.monotonic() - start
    if load.errors:
        raise Failed(f"{load.errors} errors beside {load.count:g} {workload.group.units}")
    factor = workload.group.scale / load.count
    return {"total": (user + system) * factor, "user": user * factor, "system": system * factor,
            "rate": load.count / load.seconds, "p50": load.p50, "p99": load.p99,
            "busy": (user + system) / elapsed}
