#!/usr/bin/env python3
"""Measures Sluice beside nginx, HAProxy, Envoy and nghttpx and writes docs/benchmarks/.

Installs nothing: it says what is missing. Everything that it starts listens on the loopback and is ended by
its process id, also after an error or Ctrl-C. The report is written after each workload; one that is not
measured in this run keeps what an earlier run found."""

import argparse
import datetime
import os
import shlex
import signal
import sys
import tempfile

from bench import machine, report, results
from bench.backends import Backends, compile_programs
from bench.certificate import Certificate
from bench.experiments import EXPERIMENTS
from bench.fleet import Fleet
from bench.load import Generator
from bench.measure import Bench, measure
from bench.peers import PEERS
from bench.process import Failed, Processes, can_use_realtime, raise_descriptor_limit
from bench.sluice import engines
from bench.workloads import WORKLOADS

ALL = {**{workload.name: workload for workload in WORKLOADS},
       **{experiment.name: experiment for experiment in EXPERIMENTS}}
EXAMPLES = """examples:
  Benchmarks/run.py                          everything, about 25 minutes
  Benchmarks/run.py --quick                  the same with short rounds, about 13 minutes
  Benchmarks/run.py --only h1-64,grpc --peers nginx,haproxy
workloads:
""" + "\n".join(f"  {name:18} {one.title}" for name, one in ALL.items())


def names(text, known, what):
    chosen = [name for name in text.split(",") if name]
    for name in chosen:
        if name not in known:
            raise argparse.ArgumentTypeError(f"no {what} {name}; there are {', '.join(known)}")
    return chosen


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: names(text, list(ALL), "workload"), default=list(ALL),
                        metavar="NAME,…", help="workloads (default: all)")
    parser.add_argument("--peers", type=lambda text: names(text, list(PEERS), "peer"), default=list(PEERS),
                        metavar="NAME,…", help=f"{', '.join(PEERS)} (default: all)")
    parser.add_argument("--engines", type=lambda text: names(text, ["uring", "epoll"], "engine"), default=None,
                        metavar="NAME,…", help="uring, epoll (default: what `sluice run` has)")
    parser.add_argument("--rounds", type=int, help="rounds of each workload (default: 5)")
    parser.add_argument("--seconds", type=int, help="length of one measurement (default: 2)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 s")
    parser.add_argument("--no-realtime", action="store_true",
                        help="normal priority: disturbs other work of the machine less, and is disturbed by it")
    parser.add_argument("--programs", metavar="DIR", help="where sluice is (default: .build/release)",
                        default=os.path.join(machine.ROOT, ".build", "release"))
    parser.add_argument("--output", metavar="DIR", help="where the report goes (default: docs/benchmarks)",
                        default=os.path.join(machine.ROOT, "docs", "benchmarks"))
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 2)
    return options


def command_line():
    """What to type for the same run again: where the programs and the report are is left out."""
    known = argparse.ArgumentParser()
    known.add_argument("--programs")
    known.add_argument("--output")
    rest = known.parse_known_args(sys.argv[1:])[1]
    return f"make bench ARGS={shlex.quote(shlex.join(rest))}" if rest else "make bench"


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def run_one(bench, one):
    """Never raises for what a proxy or a tool did: an error of the whole workload is a note in its result."""
    try:
        bench.fleet.backends.revive()
        return one.run(bench) if hasattr(one, "run") else measure(bench, one)
    except (Failed, OSError, ValueError, KeyError) as error:
        group = one.group if isinstance(one.group, str) else one.group.name
        result = results.Result.new(one.name, one.title, group)
        result.record["notes"] = [f"Not measured: {bench.shown(error)}"]
        print(f"  {one.name}: {error}", file=sys.stderr, flush=True)
        return result


def run(options, folder, record):
    realtime = not options.no_realtime and can_use_realtime()
    compile_programs(folder)
    certificate = Certificate(folder)
    available = engines(options.programs)
    chosen = [engine for engine in available if engine in (options.engines or available)]
    sluice_version = machine.sluice_version()
    with Processes(folder, realtime) as processes:
        fleet = Fleet(processes, Backends(processes), certificate, options.programs, chosen, options.peers)
        bench = Bench(fleet, Generator(folder, realtime), options.rounds, options.seconds, options.quick)
        for name in options.only:
            load = machine.load_average()
            result = run_one(bench, ALL[name])
            result.record.update({
                "date": now(), "command": record["command"], "rounds": options.rounds, "seconds": options.seconds,
                "load_average": load, "sluice": sluice_version})
            keep(record, result.record)
            report.write(options.output, record)


def keep(record, found):
    """Puts a workload's record in, in the order of ALL; what no longer exists goes."""
    workloads = {**record["workloads"], found["name"]: found}
    record["workloads"] = {name: workloads[name] for name in ALL if name in workloads}


def print_targets(record):
    sluices = report.measured_sluices(record["workloads"])
    print()
    for work, asked, texts, verdict in report.targets.rows(record["workloads"], sluices):
        if any(text != "not measured" for text in texts.values()):
            print(f"{verdict:7} {work}: at most {asked}")
            for name in sluices:
                print(f"        {report.title_of(name)}: {texts[name]}")


def main():
    options = arguments()
    # A plain exit, so that `with` ends what was started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        machine.require(["gcc", "openssl", "wrk", "h2load", "nghttp", *options.peers])
        machine.sluice_programs(options.programs)
        raise_descriptor_limit()
        record = results.load(options.output)
        record.update({"command": command_line(), "facts": dict(machine.facts()),
                       "versions": {**record.get("versions", {}), **dict(machine.versions(options.peers))}})
        if machine.load_average() > 1:
            print(f"bench: load average {machine.load_average():.1f}: the machine is busy. Ratios hold within "
                  "some per cent, p99 does not.", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
            run(options, folder, record)
        print_targets(record)
        print(f"\nwritten: {os.path.relpath(options.output)}: README.md, results.json, plots")
    except (machine.Missing, Failed) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
