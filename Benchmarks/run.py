#!/usr/bin/env python3
"""Measures Sluice beside nginx, HAProxy and Envoy and writes docs/benchmarks/.

Installs nothing: it says what is missing. Everything that it starts listens on the loopback and is ended by
its process id, also after an error or Ctrl-C."""

import argparse
import datetime
import os
import shlex
import signal
import sys
import tempfile

from bench import machine, report
from bench.backends import Backends, Relay, compile_programs
from bench.certificate import Certificate
from bench.load import WORKLOADS, Generator
from bench.measure import measure
from bench.peers import PEERS
from bench.process import LOAD_CORE, PROXY_CORE, Failed, Processes, can_use_realtime
from bench.sluice import Sluice

EXAMPLES = """examples:
  Benchmarks/run.py                          everything, about 20 minutes
  Benchmarks/run.py --quick                  the same with short rounds, about 4 minutes
  Benchmarks/run.py --only h1-64,grpc --peers nginx,haproxy
workloads: """ + ", ".join(f"{workload.name} ({workload.title})" for workload in WORKLOADS)


def names(text, known, what):
    chosen = [name for name in text.split(",") if name]
    for name in chosen:
        if name not in known:
            raise argparse.ArgumentTypeError(f"no {what} {name}; there are {', '.join(known)}")
    return chosen


def arguments():
    known = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: names(text, known, "workload"), default=known,
                        metavar="NAME,…", help="workloads (default: all)")
    parser.add_argument("--peers", type=lambda text: names(text, list(PEERS), "peer"), default=list(PEERS),
                        metavar="NAME,…", help="nginx, haproxy, envoy (default: all)")
    parser.add_argument("--rounds", type=int, help="rounds of each workload (default: 5)")
    parser.add_argument("--seconds", type=int, help="length of one measurement (default: 6)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 2 s")
    parser.add_argument("--programs", metavar="DIR", help="where sluice is (default: .build/release)",
                        default=os.path.join(machine.ROOT, ".build", "release"))
    parser.add_argument("--output", metavar="DIR", help="where the report goes (default: docs/benchmarks)",
                        default=os.path.join(machine.ROOT, "docs", "benchmarks"))
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (2 if options.quick else 6)
    return options


def command_line():
    """What to type for the same run again: where the programs and the report are is left out."""
    known = argparse.ArgumentParser()
    known.add_argument("--programs")
    known.add_argument("--output")
    rest = known.parse_known_args(sys.argv[1:])[1]
    return f"make bench ARGS={shlex.quote(shlex.join(rest))}" if rest else "make bench"


def run(options, folder, realtime):
    compile_programs(folder)
    certificate = Certificate(folder)
    generator = Generator(folder, realtime)
    workloads = [workload for workload in WORKLOADS if workload.name in options.only]
    with Processes(folder, realtime) as processes:
        backends = Backends(processes)
        proxies = [Sluice(processes, backends, certificate, options.programs)]
        proxies += [PEERS[name](processes, backends, certificate) for name in options.peers]
        proxies.append(Relay(processes, backends, certificate))
        titles = {proxy.name: proxy.title for proxy in proxies}
        results = [
            measure(generator, workload, proxies, options.rounds, options.seconds) for workload in workloads]
    return results, titles


def print_ratios(results, titles):
    print("\nSluice's processor time a request as a share of the peer's (median of paired rounds):")
    for title, ratios in report.ratio_rows(results):
        print(f"  {title:46} " + "  ".join(f"{titles[peer]} {ratio:.2f}" for peer, ratio in ratios.items()))


def main():
    options = arguments()
    # A plain exit, so that `with` ends what was started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        machine.require(["gcc", "openssl", "wrk", "h2load", "nghttp", *options.peers])
        machine.sluice_programs(options.programs)
        realtime = can_use_realtime()
        settings = {
            "rounds": options.rounds, "seconds": options.seconds, "proxy_core": PROXY_CORE, "load_core": LOAD_CORE,
            "priority": "All have real-time priority, so that other work hardly runs in between." if realtime
            else "Real-time priority was not allowed: other work on the machine adds noise.",
            "command": command_line(), "facts": machine.facts(),
            "versions": machine.versions(options.peers), "load_average": machine.load_average(),
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        }
        if settings["load_average"] > 1:
            print(f"bench: load average {settings['load_average']:.1f}: the machine is busy. Ratios hold within "
                  "some per cent, p99 does not.", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
            results, titles = run(options, folder, realtime)
        print_ratios(results, titles)
        report.write(options.output, results, titles, settings)
        print(f"\nwritten: {os.path.relpath(options.output)}/README.md, cpu.svg, results.json")
    except (machine.Missing, Failed) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
