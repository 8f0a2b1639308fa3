"""Every attack of `harness/attacks.py` for some seconds at full speed, by several attackers, against one worker:
how it ended, which limit did it, what memory it took, and what another client noticed. `make floods` runs it.

Nothing is asserted but survival: the same process answers at the end."""

import argparse
import collections
import contextlib
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from harness import attacks, behaviours  # noqa: E402
from harness.backends import H1Backend  # noqa: E402
from harness.certificates import Certificate  # noqa: E402
from harness.clients import H1Client  # noqa: E402
from harness.objects import forward, gateway, http_listener, http_route, https_listener, service  # noqa: E402
from harness.process import SluiceProcess, resident_bytes  # noqa: E402

HOST = "floods.sluice.test"
# The good client's, with a backend of its own: what is measured is the data plane, not a backend in Python.
GOOD = "good.sluice.test"
# What nobody wants to wait for; all the rest is as it comes.
LIMITS = {
    "request-head-timeout": "2s", "request-body-idle-timeout": "2s", "write-stall-timeout": "2s",
    "tls-handshake-timeout": "2s", "max-request-body-bytes": "16MiB"}
ORDINARY = {"buffer-high-water", "idle-timeout", "upstream-idle-timeout", "max-turn-microseconds"}


def hold_idle(target):
    """Connections that are opened and kept."""
    held, refused = attacks.connections(target, 500)
    time.sleep(1)
    ending = attacks.Ending()
    ending.closed = all(attacks.probe_closed(connection) for connection in held)
    for connection in held:
        connection.close()
    return ending


def open_and_close(target):
    """Connections that are opened and closed at once."""
    for _ in range(200):
        target.connect().close()
    ending = attacks.Ending()
    ending.closed = True
    return ending


def hold_handshakes(target):
    """ClientHellos that are begun and never finished."""
    held = [target.connect(port=target.tls_port) for _ in range(400)]
    for connection in held:
        connection.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    time.sleep(2.5)
    ending = attacks.Ending()
    ending.closed = all(attacks.probe_closed(connection) for connection in held)
    for connection in held:
        connection.close()
    return ending


ATTACKS = [
    attacks.rapid_reset, attacks.made_you_reset, attacks.made_you_reset_by_length, attacks.continuation_flood,
    attacks.empty_continuations, attacks.empty_data, attacks.padding_data, attacks.empty_headers,
    attacks.settings_flood, attacks.ping_flood, attacks.unread_ping_flood, attacks.priority_flood,
    attacks.window_update_flood, attacks.unknown_frame_flood, attacks.goaway_flood, attacks.stream_flood,
    attacks.hpack_bomb, attacks.cookie_crumbs, attacks.zero_window, attacks.zero_connection_window,
    attacks.one_byte_windows, attacks.slow_read_http2, attacks.slow_body_http2, attacks.slow_head_http2,
    attacks.slowloris, attacks.silent, attacks.slow_body, attacks.slow_read, attacks.slow_read_tls,
    attacks.unfinished_handshake, hold_handshakes, attacks.long_target, attacks.large_head,
    attacks.head_in_pieces, attacks.many_fields_http1, attacks.large_body, attacks.chunk_extension, attacks.chunk_extensions,
    attacks.tiny_chunks, attacks.pipelining, attacks.pipelining_nowhere, attacks.no_route, open_and_close, hold_idle,
]


def serve(address, ready):
    backend = H1Backend(behaviours.respond, address)
    ready.send(backend.port)
    ready.recv()
    backend.close()


def be_good(address, port, seconds, answer):
    """Requests one after the other on a connection that is kept; their durations, and what failed."""
    durations, failures = [], []
    deadline = time.monotonic() + seconds
    client = None
    while time.monotonic() < deadline:
        started = time.monotonic()
        try:
            client = client or H1Client(address, port)
            assert client.request("GET", "/status/200", GOOD).status == 200
            durations.append(time.monotonic() - started)
        except Exception as error:
            failures.append(repr(error))
            client = None
        time.sleep(0.002)
    answer.send((durations, failures))


def attack_for(function, target, seconds, answer):
    endings = collections.Counter()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            endings[str(function(target))] += 1
        except OSError as error:
            endings[type(error).__name__] += 1
    answer.send(endings)


def from_elsewhere(function, *arguments):
    """Takes only the processor time that nobody else wants. Attackers, and the backend that they reach, have
    processors of their own, and here they must not take the good client's."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    function(*arguments)


def without_waiting(function, *arguments):
    """Where it may, never waits for a processor, as clients and backends on machines of their own would not."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    function(*arguments)


def start(function, *arguments):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=function, args=(*arguments, theirs), daemon=True)
    process.start()
    return process, ours


def percentile(durations, share=0.99):
    return sorted(durations)[min(len(durations) - 1, int(len(durations) * share))] * 1000 if durations else float("nan")


class Range:
    def __init__(self, engine_arguments):
        arguments = [word for name, value in LIMITS.items() for word in ("--limit", f"{name}={value}")]
        self.sluice = SluiceProcess([*arguments, *engine_arguments], workers=1)
        self.backends = [
            start(from_elsewhere, serve, self.sluice.address), start(without_waiting, serve, self.sluice.address)]
        web, good = (pipe.recv() for _, pipe in self.backends)
        self.sluice.start()
        certificate = Certificate([HOST])
        self.sluice.apply(
            certificate.secret("edge-tls"), gateway("edge", [http_listener(), https_listener("edge-tls")]),
            *service("web", [(self.sluice.address, web)]), http_route("web", [HOST], [forward("web")]),
            *service("good", [(self.sluice.address, good)]), http_route("good", [GOOD], [forward("good")]))
        self.sluice.wait_programmed("Gateway", "edge")
        self.sluice.settle()
        # Durations of the good client's requests while nobody attacks, and its p99 in each attack.
        self.usual, self.during = [], []
        self.pid = self.sluice.child("sluice-dataplane")
        if os.cpu_count() > 1:
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                os.sched_setaffinity(int(thread), {0})
        self.target = attacks.Target(
            self.sluice.address, self.sluice.port(80), HOST, self.sluice.port(443), patience=4)

    def hits(self):
        prefix = 'sluice_limit_hits_total{limit="'
        return {
            key[len(prefix):-2]: value for key, value in self.sluice.admin.metrics().items() if key.startswith(prefix)}

    def good(self, seconds):
        return start(without_waiting, be_good, self.sluice.address, self.sluice.port(80), seconds)

    def run(self, function, seconds, attackers):
        """One row of the table."""
        _, answer = self.good(seconds / 3)
        usual, _ = answer.recv()
        self.usual += usual
        before_hits, before = self.hits(), resident_bytes(self.pid)
        _, good = self.good(seconds)
        started = [start(from_elsewhere, attack_for, function, self.target, seconds) for _ in range(attackers)]
        peak = before
        while any(process.is_alive() and not pipe.poll() for process, pipe in started):
            peak = max(peak, resident_bytes(self.pid))
            time.sleep(0.02)
        endings = sum((pipe.recv() for _, pipe in started), collections.Counter())
        durations, failures = good.recv()
        self.during.append(percentile(durations))
        hits = {
            name: int(value - before_hits[name]) for name, value in self.hits().items()
            if value > before_hits[name] and name not in ORDINARY}
        ending, _ = endings.most_common(1)[0]
        named = ", ".join(f"`{name}` {count:,}" for name, count in sorted(hits.items(), key=lambda item: -item[1]))
        return (
            f"| {function.__name__.replace('_', ' ')} | {ending} | {sum(endings.values()):,} | {named or '-'} "
            f"| {before >> 20} / {peak >> 20} | {percentile(usual):.2f} / {percentile(durations):.2f} "
            f"| {len(durations):,}, {len(failures)} failed |"), failures

    def close(self):
        alive = self.sluice.child("sluice-dataplane") == self.pid
        status = self.sluice.plain_status(HOST, "/status/200")
        for _, pipe in self.backends:
            pipe.send(None)
        self.sluice.close()
        return alive and status == 200


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--attackers", type=int, default=4)
    parser.add_argument("--only", default="", help="names of attacks that contain this")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    if os.cpu_count() > 1:
        # The data plane gets a processor of its own, so that what is measured is its delay and not the scheduler's.
        os.sched_setaffinity(0, range(1, os.cpu_count()))
    place = Range([])
    print(f"{os.cpu_count()} processors, {options.attackers} attackers, {options.seconds:g} s each,"
          f" engine {os.environ.get('SLUICE_ENGINE', 'auto')}, one worker\n")
    print("| attack | how it ended | connections | limits and hits | memory before / peak, MiB"
          " | p99 before / during, ms | good client's answers |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for function in ATTACKS:
        if options.only in function.__name__:
            row, failures = place.run(function, options.seconds, options.attackers)
            print(row, flush=True)
            for failure in failures[:3]:
                print(f"  {failure}", file=sys.stderr)
    usual = percentile(place.usual)
    print(f"\np99 of the good client while nobody attacked, {len(place.usual):,} requests: {usual:.2f} ms;"
          f" within twice of it in {sum(p99 <= 2 * usual for p99 in place.during)} of {len(place.during)} attacks,"
          f" at most {max(place.during):.2f} ms")
    if not place.close():
        sys.exit("the data plane did not survive")


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main()
