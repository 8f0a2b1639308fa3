#!/usr/bin/env python3
"""Counts the data plane's instructions for one request.

`sluice run` compiles the manifests of the benchmark once; then the data plane starts alone on the snapshot
that it kept, under valgrind --tool=callgrind, and gets N and, in a second run, 2N requests. The difference of
both counts, divided by N, is free of the start and repeats to a few instructions, whatever else the machine
does. System calls count nothing here: see run.py for their time.

Prints instructions a request, then the functions: what each spends itself, and with what it calls."""

import argparse
import collections
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from bench import machine
from bench.backends import Backends, compile_programs
from bench.certificate import Certificate
from bench.load import HEADERS, PATH, Generator, Workload
from bench.process import Failed, Processes
from bench.sluice import Sluice

KINDS = ["h1", "h2", "grpc", "tls-h2"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, default="h1", help="protocol of the requests (default: h1)")
    parser.add_argument("--requests", type=int, default=2000, metavar="N", help="(default: 2000)")
    parser.add_argument("--connections", type=int, default=1, metavar="C",
                        help="requests at once: 1 counts a turn of the loop for each event, 64 shows what is left "
                        "when many events share a turn (default: 1)")
    parser.add_argument("--top", type=int, default=40, help="functions in each list (default: 40)")
    parser.add_argument("--programs", metavar="DIR", help="where sluice is (default: .build/release)",
                        default=os.path.join(machine.ROOT, ".build", "release"))
    parser.add_argument("--data-plane", metavar="FILE", help="another data-plane program than DIR's")
    return parser.parse_args()


def request_head():
    lines = [f"GET {PATH} HTTP/1.1", *HEADERS, "", ""]
    return "\r\n".join(lines).encode()


def exchange_http1(port, requests, connections):
    """All connections get one request each, then all answers are read: no more and no fewer turns each time."""
    head = request_head()
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    for _ in range(requests // connections):
        for one in sockets:
            one.sendall(head)
        for one in sockets:
            read_answer(one)
    for one in sockets:
        one.close()


def read_answer(one):
    answer = b""
    while True:
        part = one.recv(65536)
        if not part:
            raise Failed("the data plane closed a connection")
        answer += part
        head, separator, body = answer.partition(b"\r\n\r\n")
        if separator and len(body) == 200:
            if not head.startswith(b"HTTP/1.1 200 "):
                raise Failed(f"the data plane answered {head.splitlines()[0]}")
            return


def exchange(options, generator, ports, requests):
    if options.kind == "h1":
        exchange_http1(ports["http"], requests, options.connections)
        return
    port = {"h2": "h2c", "grpc": "grpc", "tls-h2": "tls"}[options.kind]
    workload = Workload(options.kind, options.kind, "h2load", port, 1, options.connections)
    load = generator.count(workload, ports[port], requests)
    if load.errors or load.requests != requests:
        raise Failed(f"h2load: {load.errors} errors, {load.requests} of {requests} requests")


def collect(options, processes, generator, sluice, program, requests):
    """One run under valgrind; returns the path of what callgrind wrote."""
    output = os.path.join(processes.folder, f"callgrind.{requests}")
    name = f"valgrind-{requests}"
    process = processes.start(
        [machine.program("valgrind"), "--tool=callgrind", f"--callgrind-out-file={output}", program,
         "--state-dir", os.path.join(sluice.data_directory, "dataplane"),
         "--admin", os.path.join(processes.folder, name + ".sock"), "--workers", "1",
         "--drain-timeout", "1s"], name)

    def is_ready():
        with open(processes.log(name)) as file:
            return "ready: every worker" in file.read()
    processes.wait_until(process, "not ready", is_ready, seconds=120)
    exchange(options, generator, sluice.ports, requests)
    process.terminate()
    process.wait(60)
    if process.returncode != 0:
        raise Failed(f"the data plane ended with {process.returncode}\n{processes.last_lines(name)}")
    return output


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


def show(title, once, twice, requests, top):
    differences = {function: (cost - once[function]) / requests for function, cost in twice.items()}
    ranked = sorted(differences.items(), key=lambda pair: -pair[1])[:top]
    print(f"\n{title}")
    for name, ((_, binary), cost) in zip(demangled([name for (name, _), _ in ranked]), ranked):
        print(f"{cost:10.1f}  {name[:90]}  [{binary}]")


def run(options, folder):
    compile_programs(folder)
    certificate = Certificate(folder)
    with Processes(folder, realtime=False) as processes:
        backends = Backends(processes)
        sluice = Sluice(processes, backends, certificate, options.programs, pinned=False)
        processes.stop(sluice.supervisor)
        # Valgrind 3.19 cannot read clang's debug information (DWARF 5); names of functions stay.
        program = os.path.join(folder, "sluice-dataplane")
        source = options.data_plane or os.path.join(options.programs, "sluice-dataplane")
        subprocess.run([machine.program("objcopy"), "--strip-debug", source, program], check=True)
        generator = Generator(folder, realtime=False)
        once, twice = (
            collect(options, processes, generator, sluice, program, count)
            for count in (options.requests, 2 * options.requests))
        own = [costs(output, inclusive=False) for output in (once, twice)]
        whole = [costs(output, inclusive=True) for output in (once, twice)]
    total = (sum(own[1].values()) - sum(own[0].values())) / options.requests
    print(f"{total:.0f} instructions a request ({options.kind}, {options.connections} at once)")
    show("own", *own, options.requests, options.top)
    show("with what they call", *whole, options.requests, options.top)


def main():
    options = arguments()
    options.requests -= options.requests % options.connections
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        machine.require(["gcc", "openssl", "valgrind", "objcopy", "h2load"])
        machine.sluice_programs(options.programs)
        with tempfile.TemporaryDirectory(prefix="sluice-callgrind-") as folder:
            run(options, folder)
    except (machine.Missing, Failed) as error:
        sys.exit(f"callgrind: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
