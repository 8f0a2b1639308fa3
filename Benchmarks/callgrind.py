#!/usr/bin/env python3
"""Counts what one request costs the data plane in instructions, and its calls of malloc, free and of Swift's
reference counting, in steady state and under valgrind: see bench/counting.py. For time see run.py.

Prints these figures, then the functions: what each spends itself, and with what it calls. With --check it holds
every kind against a file instead, and with --write it writes that file."""

import argparse
import collections
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from bench import machine
from bench.counting import KINDS, NEEDED, Counter
from bench.load import Generator
from bench.process import Failed
from bench.sluice import engines

AT_ONCE = 64
# How far a count may be above the file's, and below which share of it the file can be tightened.
TOLERANCE = 1.02
SLACK = 0.95
# Calls a request: fewer are the odd one that a turn of the loop or the end of a run makes, not a request.
ODD = 0.05
# OpenSSL takes a buffer for what a read brings and gives it back (SSL_MODE_RELEASE_BUFFERS): how many requests share one
# is up to the clock, 3 to 20 in runs of the same program. One for each would still be seen.
ODD_OF_TLS = 0.5
HELD = ("instructions", "malloc", "retain")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(KINDS), default="h1", help="protocol of the requests (default: h1)")
    parser.add_argument("--requests", type=int, default=2048, metavar="N", help="(default: 2048)")
    parser.add_argument("--connections", type=int, default=1, metavar="C",
                        help="requests at once: 1 counts a turn of the loop for each event, 64 shows what is left "
                        "when many events share a turn (default: 1)")
    parser.add_argument("--engine", choices=["uring", "epoll"], default="epoll", help="(default: epoll)")
    parser.add_argument("--top", type=int, default=40, help="functions in each list (default: 40)")
    parser.add_argument("--programs", metavar="DIR", help="where sluice is (default: .build/release)",
                        default=os.path.join(machine.ROOT, ".build", "release"))
    parser.add_argument("--data-plane", metavar="FILE", help="another data-plane program than DIR's")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", metavar="FILE", help=f"every kind, {AT_ONCE} requests at once; fails when one has "
                      "more than the file allows")
    mode.add_argument("--write", metavar="FILE", help="writes what --check holds")
    mode.add_argument("--json", action="store_true", help="the figures of every kind and engine on standard output")
    return parser.parse_args()


def costs(output, inclusive):
    """Instructions by function."""
    done = subprocess.run(
        [machine.program("callgrind_annotate"), "--threshold=100", "--show-percs=no",
         f"--inclusive={'yes' if inclusive else 'no'}", output], capture_output=True, text=True, check=True)
    found = collections.Counter()
    for line in done.stdout.splitlines():
        # "  1,234  file:function [object]"; a file's name may be ???.
        match = re.match(r"\s*([\d,]+)\s+\S*?:(\S.*?)(?: \[(.*)\])?$", line)
        if match:
            found[match.group(2), os.path.basename(match.group(3) or "")] += int(match.group(1).replace(",", ""))
    return found


def demangled(functions):
    if not shutil.which("swift"):
        return functions
    done = subprocess.run(["swift", "demangle", "--simplified"], input="\n".join(functions), capture_output=True,
                          text=True)
    lines = done.stdout.splitlines()
    return lines if len(lines) == len(functions) else functions


def show(title, counted, inclusive, top):
    once, twice = (costs(profile.path, inclusive) for profile in (counted.once, counted.twice))
    differences = {function: (cost - once[function]) / counted.requests for function, cost in twice.items()}
    ranked = sorted(differences.items(), key=lambda pair: -pair[1])[:top]
    print(f"\n{title}")
    for name, ((_, binary), cost) in zip(demangled([name for (name, _), _ in ranked]), ranked):
        print(f"{cost:10.1f}  {name[:90]}  [{binary}]")


def in_words(figures):
    return ("{instructions:.0f} instructions; calls: {malloc:.2f} malloc, {free:.2f} free, {retain:.2f} "
            "retain/release, {objects:.2f} Swift objects").format(**figures)


def count_all(options, counter, available):
    """{engine: {kind: figures}}, told on the way. An engine that valgrind cannot run is named and left out."""
    found = {}
    for engine in available:
        for kind in KINDS.values():
            try:
                figures = counter.count(kind, engine, options.requests, AT_ONCE).figures()
            except Failed as error:
                if engine == "epoll":
                    raise
                print(f"{engine}: not counted under valgrind: {' '.join(str(error).split())[:200]}", file=sys.stderr)
                break
            found.setdefault(engine, {})[kind.name] = figures
            print(f"{engine:6} {kind.name:7} {in_words(figures)}", file=sys.stderr, flush=True)
    return found


def compare(found, allowed):
    """Sentences on what is above the file, and on what it could be tightened to."""
    above, below = [], []
    for engine, kinds in found.items():
        for kind, figures in kinds.items():
            held = allowed.get(engine, {}).get(kind)
            if held is None:
                below.append(f"{engine} {kind}: not in the file yet")
                continue
            for name in HELD:
                figure, most = figures[name], held[name]
                odd = 0 if name == "instructions" else ODD_OF_TLS if kind.startswith("tls") else ODD
                what = f"{engine} {kind}: {_rounded(name, figure):g} {name} a request"
                if figure > most * TOLERANCE + odd:
                    above.append(f"{what}, and {most:g} are allowed")
                elif figure < most * SLACK - odd:
                    below.append(f"{what}: {most:g} can be tightened")
    return above, below


def check(options, found):
    with open(options.check) as file:
        allowed = json.load(file)
    above, below = compare(found, allowed)
    for sentence in below:
        print(f"ratchet: {sentence} (Benchmarks/callgrind.py --write {os.path.relpath(options.check)})")
    for sentence in above:
        print(f"ratchet: {sentence}")
    print(f"ratchet: {'broken' if above else 'holds'}")
    sys.exit(1 if above else 0)


def _rounded(name, figure):
    if name == "instructions":
        return round(figure)
    return round(figure, 2) if figure > ODD else 0


def write(options, found):
    rounded = {engine: {kind: {name: _rounded(name, figures[name]) for name in HELD}
                        for kind, figures in kinds.items()} for engine, kinds in found.items()}
    with open(options.write, "w") as file:
        file.write(json.dumps(rounded, indent=2) + "\n")
    print(f"written: {os.path.relpath(options.write)}")


def run(options, folder):
    available = sorted(engines(options.programs))
    if options.check:
        with open(options.check) as file:
            held = json.load(file)
        available = [engine for engine in available if engine in held]
    with Counter(Generator(folder, realtime=False), folder, options.programs, options.data_plane) as counter:
        if options.check or options.write or options.json:
            found = count_all(options, counter, available)
        else:
            counted = counter.count(KINDS[options.kind], options.engine, options.requests, options.connections)
            print(f"{options.kind}, {options.connections} at once: {in_words(counted.figures())}")
            show("own", counted, False, options.top)
            show("with what they call", counted, True, options.top)
            return
    if options.json:
        print(json.dumps(found))
    elif options.write:
        write(options, found)
    else:
        check(options, found)


def main():
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        machine.require(NEEDED)
        machine.sluice_programs(options.programs)
        with tempfile.TemporaryDirectory(prefix="sluice-callgrind-") as folder:
            run(options, folder)
    except (machine.Missing, Failed) as error:
        sys.exit(f"callgrind: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
