"""What was asked for (issue 3, section 2) and whether it was met: one `Row` for each line of its table."""

from dataclasses import dataclass

from .fleet import TITLES
from .results import Result
from .workloads import BODIES, WORKLOADS


@dataclass(frozen=True)
class AtMostShare:
    """In each of the workloads at most `most` times the peer's figure; the worst counts."""
    most: float
    peer: str
    workloads: tuple
    metric: str = "total"

    def verdict(self, results, proxy):
        """What was measured, as text, and whether it is enough; (None, None) when nothing was."""
        found = [(results[name].ratio(proxy, self.peer, self.metric), name)
                 for name in self.workloads if name in results]
        found = [(ratio, name) for ratio, name in found if ratio is not None]
        if not found:
            return None, None
        ratio, worst = max(found)
        text = f"{ratio:.2f} × {TITLES[self.peer]}"
        if len(self.workloads) > 1:
            text += f" ({worst})"
        is_whole = len(found) == len(self.workloads)
        return text, is_met(ratio, self.most) if is_whole or ratio > self.most else None


@dataclass(frozen=True)
class AtMost:
    """At most `most` of a figure in one workload; `form` shows it."""
    most: float
    workload: str
    metric: str
    form: str
    scale: float = 1

    def verdict(self, results, proxy):
        if self.workload not in results:
            return None, None
        value = results[self.workload].median(proxy, self.metric)
        if value is None:
            return None, None
        return self.form.format(value * self.scale), is_met(value, self.most)


@dataclass(frozen=True)
class Lookup:
    """The table's rows are {"routes", "pattern", "nanoseconds"}; the engine does not matter."""
    routes: int
    most: float
    few: int
    many: int
    growth: float

    def verdict(self, results, _proxy):
        rows = results["lookup"].record.get("rows", []) if "lookup" in results else []
        times = {(row["pattern"], row["routes"]): row["nanoseconds"] for row in rows}
        at = [time for (_, routes), time in times.items() if routes == self.routes]
        growths = [times[pattern, self.many] / time for (pattern, routes), time in times.items()
                   if routes == self.few and (pattern, self.many) in times and time > 0]
        if not at or not growths:
            return None, None
        text = f"{max(at):.0f} ns at {self.routes:,} routes, {max(growths):.2f} × from {self.few} to {self.many:,}"
        return text, max(at) <= self.most and max(growths) < self.growth


def is_met(figure, most):
    # A figure is shown with two digits; what reads as the target is the target.
    return figure <= most + 0.005 if most < 10 else figure <= most


@dataclass(frozen=True)
class Row:
    work: str
    asked: str
    conditions: tuple


_BODY_NAMES = tuple(workload.name for workload in WORKLOADS if workload.group is BODIES)

TARGETS = [
    Row("HTTP/1.1 keep-alive, 64 and 512 connections", "0.75 × nginx, 0.30 × Envoy, 1.15 × the relay", (
        AtMostShare(0.75, "nginx", ("h1-64", "h1-512")), AtMostShare(0.30, "envoy", ("h1-64", "h1-512")),
        AtMostShare(1.15, "relay", ("h1-64", "h1-512")))),
    Row("the same at 8 connections", "0.95 × nginx", (AtMostShare(0.95, "nginx", ("h1-8",)),)),
    Row("HTTP/2 (8 × 32 streams) to HTTP/1.1", "0.80 × HAProxy, 0.25 × Envoy", (
        AtMostShare(0.80, "haproxy", ("h2",)), AtMostShare(0.25, "envoy", ("h2",)))),
    Row("gRPC unary; messages on bidirectional streams", "0.35 × Envoy, 0.80 × HAProxy", (
        AtMostShare(0.35, "envoy", ("grpc", "grpc-stream")),
        AtMostShare(0.80, "haproxy", ("grpc", "grpc-stream")))),
    Row("TLS 1.3 keep-alive, HTTP/1.1 and HTTP/2", "0.85 × nginx",
        (AtMostShare(0.85, "nginx", ("tls-h1", "tls-h2")),)),
    Row("TLS full handshakes; resumptions", "1.0 × nginx",
        (AtMostShare(1.0, "nginx", ("tls-full", "tls-resume")),)),
    Row("bodies of 64 KiB, 1 MiB, 1 GiB, both directions, HTTP/1.1 and HTTP/2", "1.0 × nginx a GB",
        (AtMostShare(1.0, "nginx", _BODY_NAMES),)),
    Row("WebSocket messages", "0.5 × Envoy", (AtMostShare(0.5, "envoy", ("websocket",)),)),
    Row("p99 latency at half of nginx's own peak load", "1.0 × nginx",
        (AtMostShare(1.0, "nginx", ("latency",), "p99"),)),
    Row("idle connection, user-space memory", "600 B HTTP/1.1, 4 KiB HTTP/2, half of Envoy's over TLS", (
        AtMost(600, "idle-h1", "bytes", "{:,.0f} B HTTP/1.1"), AtMost(4096, "idle-h2", "bytes", "{:,.0f} B HTTP/2"),
        AtMostShare(0.5, "envoy", ("idle-tls",), "bytes"))),
    Row("look-up in the route table", "150 ns at 10,000 routes, less than twice the time from 10 to 100,000",
        (Lookup(10_000, 150, 10, 100_000, 2),)),
    Row("swap of a 10,000-route snapshot", "no request delayed by more than 1 ms",
        (AtMost(1, "swap", "near_max", "{:.2f} ms the longest near a swap"),)),
    Row("HTTP/1.1 request in steady state", "no malloc, no retain/release; instructions held by a ratchet", (
        AtMost(0, "instructions-h1", "malloc", "{:.2f} malloc"),
        AtMost(0, "instructions-h1", "retain", "{:.2f} retain/release"),
        AtMost(float("inf"), "instructions-h1", "instructions", "{:,.0f} instructions"))),
]


def rows(workloads, proxies):
    """`workloads`: of results.json. Yields (work, asked, {proxy: text}, verdict)."""
    results = {name: Result(record) for name, record in workloads.items()}
    for row in TARGETS:
        texts, verdicts = {}, {}
        for proxy in proxies:
            found = [condition.verdict(results, proxy) for condition in row.conditions]
            why_not = _left_out(results, row, proxy)
            if why_not and not any(text for text, _ in found):
                texts[proxy] = why_not
                continue
            texts[proxy] = "; ".join(text for text, _ in found if text) or "not measured"
            judged = [is_enough for _, is_enough in found]
            verdicts[proxy] = False if False in judged else None if None in judged else True
        yield row.work, row.asked, texts, _in_words(verdicts)


def _left_out(results, row, proxy):
    """Why an engine has no figure in a line that it can have none in: the other one decides then."""
    names = [condition.workload for condition in row.conditions if isinstance(condition, AtMost)]
    return next((results[name].left_out[proxy] for name in names
                 if name in results and proxy in results[name].left_out), None)


def _in_words(verdicts):
    words = {True: "met", False: "missed", None: "open"}
    if not verdicts:
        return words[None]
    if len(set(verdicts.values())) == 1:
        return words[next(iter(verdicts.values()))]
    return ", ".join(f"{words[verdict]} ({proxy.removeprefix('sluice-')})" for proxy, verdict in verdicts.items())
