"""docs/benchmarks/: the tables as Markdown, the samples as JSON."""

import json
import os

from . import plot

INTRODUCTION = """# Benchmarks

Written by `make bench` (`Benchmarks/run.py`); do not edit. What is compared is the processor time of one
worker for one proxied request, because it hardly depends on how fast the load generator is and says how many
cores a load needs. Smaller is better.

![Processor time per request](cpu.svg)
"""

METHOD = """## How it is measured

- Each proxy runs with one worker on core {proxy_core}; the load generator and the backends share core {load_core}.
  {priority}
- Sluice is the release build, started by `sluice run --workers 1`, configured by the Gateway, HTTPRoute and
  GRPCRoute of `Benchmarks/config/sluice.yaml`; the data-plane process is measured. The peers have keep-alive
  pools to the backend and write no log; their configurations are in `Benchmarks/config/` and `bench/peers.py`.
- What each adds: Sluice sets X-Forwarded-For, -Proto, -Host and X-Request-ID and counts for `/metrics`; nginx
  sets X-Forwarded-For and -Proto; HAProxy X-Forwarded-For; Envoy X-Forwarded-For and -Proto.
- `wrk` (HTTP/1.1) and `h2load` (HTTP/2, gRPC) keep all connections busy; the answer has a body of 200 bytes, a
  gRPC message 64 bytes up and 96 down. TLS is 1.3 with AES-128-GCM and an ECDSA P-256 certificate; connections
  stay open, so that handshakes do not count.
- {rounds} rounds of {seconds} s after one of 1 s to warm up. In each round every proxy gets the load in turn.
  User and system time are read from `/proc/PID/stat`. Tables show medians, in parentheses the least and the
  most; ratios are medians of the ratios of the same round. A run with one failed request is thrown away.
- `relay` is a C program that copies bytes between sockets and looks at none of them: a floor for HTTP/1.1.
- Load, backends and proxies are on one machine: requests a second and p99 tell how they compare, not what a
  network would show. Where the load average says that the machine was busy, p99 holds the waits that the
  scheduler made (it gives other work at least 50 ms of each second); ratios of processor time hardly move.
"""


def write(folder, results, titles, settings):
    """`titles`: proxy → title; `settings`: rounds, seconds, command, facts, versions, … as run.py has them."""
    os.makedirs(folder, exist_ok=True)
    parts = [INTRODUCTION, _ratios(results, titles)]
    parts += [_table(result, titles) for result in results]
    parts.append(METHOD.format(**settings))
    parts.append(_machine(settings))
    _save(folder, "README.md", "\n".join(parts))
    _save(folder, "cpu.svg", plot.bars(results, titles))
    record = {
        "command": settings["command"], "rounds": settings["rounds"], "seconds": settings["seconds"],
        "facts": dict(settings["facts"]), "versions": dict(settings["versions"]),
        "results": [result.record() for result in results]}
    _save(folder, "results.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def _save(folder, name, text):
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)


def ratio_rows(results):
    """(title, {peer: ratio}) for each workload that Sluice took part in."""
    return [
        (result.workload.title, {
            peer: result.ratio("sluice", peer) for peer in result.samples if peer != "sluice"})
        for result in results if "sluice" in result.samples]


def _ratios(results, titles):
    peers = [name for name in titles if name != "sluice" and any(name in r.samples for r in results)]
    lines = ["## Sluice's processor time as a share of each peer's", "",
             "| | " + " | ".join(titles[peer] for peer in peers) + " |", "|---|" + "---:|" * len(peers)]
    for title, ratios in ratio_rows(results):
        cells = [f"{ratios[peer]:.2f}" if peer in ratios else "" for peer in peers]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _table(result, titles):
    lines = [f"## {result.workload.title}", "",
             "| | µs a request | user | system | requests/s | p99 ms | core busy |",
             "|---|---:|---:|---:|---:|---:|---:|"]
    for proxy in result.samples:
        low, high = result.span(proxy)
        middle = {name: result.median(proxy, name) for name in ("total", "user", "system", "rate", "p99", "busy")}
        lines.append(
            f"| {titles[proxy]} | {middle['total']:.1f} ({low:.1f}–{high:.1f}) | {middle['user']:.1f} | "
            f"{middle['system']:.1f} | {middle['rate']:,.0f} | {middle['p99']:.2f} | {middle['busy']:.2f} |")
    return "\n".join(lines) + "\n"


def _machine(settings):
    lines = ["## Where and when", ""]
    rows = [*settings["facts"], *settings["versions"], ("Date", settings["date"]),
            ("Load average before the run", f"{settings['load_average']:.2f}"),
            ("Command", f"`{settings['command']}`")]
    lines += ["| | |", "|---|---|"] + [f"| {name} | {value} |" for name, value in rows]
    return "\n".join(lines) + "\n"
