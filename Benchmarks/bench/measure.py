"""Interleaved rounds: in every round each proxy gets the same load in turn, so that what the machine does
beside the benchmark falls on all of them."""

import statistics
import sys
import time
from dataclasses import asdict, dataclass

from .process import Failed, cpu_seconds


@dataclass(frozen=True)
class Sample:
    """One proxy in one round; microseconds of processor time a request, milliseconds of latency."""
    user: float
    system: float
    rate: float
    p99: float
    # Share of its core that the proxy used.
    busy: float

    @property
    def total(self):
        return self.user + self.system


@dataclass
class Result:
    """All rounds of one workload: samples[proxy][round]."""
    workload: object
    samples: dict

    def median(self, proxy, attribute):
        return statistics.median(getattr(sample, attribute) for sample in self.samples[proxy])

    def span(self, proxy):
        totals = [sample.total for sample in self.samples[proxy]]
        return min(totals), max(totals)

    def ratio(self, proxy, peer):
        """Median over the rounds of the proxy's processor time by the peer's in the same round."""
        pairs = zip(self.samples[proxy], self.samples[peer])
        return statistics.median(one.total / other.total for one, other in pairs)

    def record(self):
        samples = {proxy: [asdict(sample) for sample in rounds] for proxy, rounds in self.samples.items()}
        return {"workload": self.workload.name, "title": self.workload.title, "samples": samples}


def measure(generator, workload, proxies, rounds, seconds):
    proxies = [proxy for proxy in proxies if workload.port in proxy.ports]
    for proxy in proxies:
        if workload.is_grpc:
            generator.check_grpc(proxy.ports[workload.port])
        # Pools fill, caches warm up.
        _sample(generator, workload, proxy, 1)
    result = Result(workload, {proxy.name: [] for proxy in proxies})
    for number in range(rounds):
        # The order turns, so that nobody is always behind the same neighbour.
        turn = number % len(proxies)
        for proxy in proxies[turn:] + proxies[:turn]:
            sample = _sample(generator, workload, proxy, seconds)
            result.samples[proxy.name].append(sample)
            print(
                f"  {workload.name:7} round {number + 1}/{rounds}  {proxy.name:8} {sample.total:7.2f} µs/request"
                f" (user {sample.user:6.2f}, system {sample.system:6.2f})  {sample.rate:8.0f}/s  "
                f"p99 {sample.p99:7.2f} ms  busy {sample.busy:.2f}", file=sys.stderr, flush=True)
    return result


def _sample(generator, workload, proxy, seconds):
    before, start = cpu_seconds(proxy.process_id), time.monotonic()
    load = generator.run(workload, proxy.ports[workload.port], seconds)
    after, elapsed = cpu_seconds(proxy.process_id), time.monotonic() - start
    if load.errors:
        raise Failed(f"{proxy.name}, {workload.name}: {load.errors} errors in {load.requests} requests")
    user, system = after[0] - before[0], after[1] - before[1]
    return Sample(
        user=user / load.requests * 1e6, system=system / load.requests * 1e6, rate=load.requests / load.seconds,
        p99=load.p99, busy=(user + system) / elapsed)
