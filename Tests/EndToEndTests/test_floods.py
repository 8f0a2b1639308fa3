"""Floods end soon, are counted and named in the log, and another client is served meanwhile."""

import threading
import time

import pytest

from harness import attacks, behaviours
from harness.backends import H1Backend
from harness.certificates import Certificate
from harness.clients import Broken, H1Client, H2Client
from harness.objects import forward, gateway, http_listener, http_route, https_listener, service
from harness.process import SluiceProcess
from harness.waiting import wait_until

HOST = "floods.sluice.test"
# What a test has to wait for is short here; how many frames or bytes are too many is as it comes.
TIMES = {
    "request-head-timeout": "700ms", "request-body-idle-timeout": "700ms", "write-stall-timeout": "800ms",
    "tls-handshake-timeout": "700ms", "max-request-body-bytes": "1MiB"}


class Flooded:
    """An instance with one worker, so that whoever is attacked also has to serve the good client."""

    def __init__(self, limits):
        arguments = [word for name, value in limits.items() for word in ("--limit", f"{name}={value}")]
        self.sluice = SluiceProcess(arguments, workers=1).start()
        self.address = self.sluice.address
        self.backend = H1Backend(behaviours.respond, self.address)
        certificate = Certificate([HOST])
        self.sluice.apply(
            certificate.secret("edge-tls"), gateway("edge", [http_listener(), https_listener("edge-tls")]),
            *service("web", [(self.address, self.backend.port)]), http_route("web", [HOST], [forward("web")]))
        self.sluice.wait_programmed("Gateway", "edge")
        self.sluice.settle()

    def target(self, **options):
        return attacks.Target(
            self.address, self.sluice.port(80), HOST, self.sluice.port(443), **options)

    def hits(self):
        prefix = 'sluice_limit_hits_total{limit="'
        return {
            key[len(prefix):-2]: value for key, value in self.sluice.admin.metrics().items() if key.startswith(prefix)}

    def close(self):
        self.sluice.close()
        self.backend.close()


def flooded(**limits):
    @pytest.fixture(scope="module")
    def make():
        instance = Flooded(limits)
        yield instance
        instance.close()
    return make


site = flooded(**{name: value for name, value in TIMES.items()})
crowded = flooded(**{
    "max-connections": "80", "max-connections-per-client": "30", "max-handshakes": "10", "max-memory": "0"})


class GoodClient:
    """Makes requests one after the other until it is told to stop, each third on a new connection; none may fail."""

    def __init__(self, instance):
        self.instance = instance
        self.answered, self.failures = 0, []
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.done.set()
        self.thread.join(30)
        assert not self.thread.is_alive()
        if kind is None:
            assert not self.failures and self.answered > 0, self.failures

    def _run(self):
        while not self.done.is_set():
            try:
                with H1Client(self.instance.address, self.instance.sluice.port(80)) as client:
                    for _ in range(3):
                        assert client.request("GET", "/status/200", HOST).status == 200
                        self.answered += 1
                        time.sleep(0.01)
            except (AssertionError, Broken, OSError) as error:
                self.failures.append(error)


@pytest.fixture
def attack(site):
    """Runs an attack with a good client beside it. Afterwards the limit has been hit, and the log names it with the
    attacker's address."""
    def run(function, limit, patience=10, **options):
        before = site.hits()
        # An address of its own: the log is to name it.
        source = site.address.rsplit(".", 1)[0] + ".254"
        with GoodClient(site):
            ending = function(site.target(source=source, patience=patience), **options)
        if limit:
            wait_until(lambda: site.hits()[limit] > before[limit], f"{limit} is counted; {ending}")
            wait_until(lambda: [
                line for line in site.sluice.log().splitlines() if f" limit {limit} (" in line and source in line
            ], f"{limit} in the log", 5)
        return ending

    return run


# Attack, the limit that ends it, the code of the GOAWAY (None: whatever it is).
FRAMES = [
    (attacks.rapid_reset, "max-stream-resets"), (attacks.made_you_reset, "max-stream-resets"),
    (attacks.made_you_reset_by_length, "max-stream-resets"),
    (attacks.continuation_flood, "max-continuation-frames"),
    (attacks.empty_continuations, "max-continuation-frames"), (attacks.empty_data, "max-empty-frames"),
    (attacks.padding_data, "max-empty-frames"), (attacks.empty_headers, "max-stream-resets"),
    (attacks.settings_flood, "max-settings"), (attacks.ping_flood, "max-pings"),
    (attacks.priority_flood, "max-priority-frames"), (attacks.window_update_flood, "max-window-updates"),
    (attacks.unknown_frame_flood, "max-unknown-frames"), (attacks.goaway_flood, "max-unknown-frames"),
    (attacks.hpack_bomb, "max-head-bytes"), (attacks.cookie_crumbs, "max-header-fields"),
    (attacks.slow_head_http2, "request-head-timeout"),
]


@pytest.mark.parametrize("function, limit", FRAMES, ids=[function.__name__ for function, _ in FRAMES])
def test_http2_floods_end_in_goaway(attack, function, limit):
    ending = attack(function, limit, patience=60)
    assert ending.closed, ending
    assert ending.goaway == attacks.CALM, ending


def test_pings_whose_answers_nobody_reads(attack):
    assert attack(attacks.unread_ping_flood, "max-pings", patience=60).closed


def test_more_streams_than_allowed(attack):
    """Refused as long as the client cannot know better; that it makes us reset counts too."""
    ending = attack(attacks.stream_flood, "max-concurrent-streams", patience=4, count=130)
    assert not ending.closed and ending.resets.get(7) == 30, ending
    ending = attack(attacks.stream_flood, "max-stream-resets", patience=60)
    assert ending.closed and ending.goaway == attacks.CALM, ending


def test_a_head_of_too_many_fields_harms_only_its_stream(attack):
    ending = attack(attacks.many_fields, "max-header-fields")
    assert ending.statuses == {431: 1} and not ending.closed, ending


# Slow clients, with what they are told. Streams are reset one by one, the connection stays.
SLOW = [
    (attacks.slowloris, "request-head-timeout", 408, True),
    (attacks.silent, "request-head-timeout", None, True),
    (attacks.silent_http2, "request-head-timeout", None, True),
    (attacks.slow_body, "request-body-idle-timeout", 408, True),
    (attacks.slow_body_http2, "request-body-idle-timeout", 408, False),
    (attacks.slow_read, "write-stall-timeout", 200, True),
    (attacks.slow_read_tls, "write-stall-timeout", None, True),
    (attacks.slow_read_http2, "write-stall-timeout", None, True),
    (attacks.unfinished_handshake, "tls-handshake-timeout", None, True),
]


@pytest.mark.parametrize("function, limit, status, closes", SLOW, ids=[row[0].__name__ for row in SLOW])
def test_slow_clients(attack, function, limit, status, closes):
    ending = attack(function, limit, patience=60 if closes else 5)
    assert ending.closed == closes, ending
    if status:
        assert status in ending.statuses, ending


@pytest.mark.parametrize("function", [
    attacks.zero_window, attacks.one_byte_windows, attacks.zero_connection_window], ids=lambda item: item.__name__)
def test_windows_held_shut(attack, site, function):
    """Every stream is reset; nothing of its answer is kept."""
    ending = attack(function, "write-stall-timeout", patience=6)
    asked = 100 if function is attacks.zero_window else 20
    assert ending.resets.get(attacks.CALM, 0) == asked, ending
    wait_until(lambda: site.sluice.admin.metric("sluice_http2_streams_active") == 0, "no stream is left")


HEADS = [
    (attacks.long_target, "max-request-line-bytes", 414), (attacks.large_head, "max-head-bytes", 431),
    (attacks.head_in_pieces, "max-head-bytes", 431),
    (attacks.many_fields_http1, "max-header-fields", 431), (attacks.large_body, "max-request-body-bytes", 413),
    (attacks.chunk_extension, "max-chunk-extension-bytes", 400),
    (attacks.chunk_extensions, "max-chunk-extension-bytes", 400),
    (attacks.trailers, "max-trailer-bytes", 431),
]


@pytest.mark.parametrize("function, limit, status", HEADS, ids=[row[0].__name__ for row in HEADS])
def test_http1_excess(attack, function, limit, status):
    ending = attack(function, limit, patience=60)
    assert ending.closed and status in ending.statuses, ending


def test_tiny_chunks_are_served(attack):
    """Dear, but lawful: it takes no memory, and the others do not notice."""
    ending = attack(attacks.tiny_chunks, None, count=20_000)
    assert ending.statuses == {200: 1}, ending


def test_requests_that_lead_nowhere(attack):
    ending = attack(attacks.no_route, None, count=4000)
    assert ending.statuses == {404: 4000}, ending


@pytest.mark.parametrize("function", [attacks.pipelining, attacks.pipelining_nowhere], ids=lambda item: item.__name__)
def test_pipelining_without_reading(attack, site, function):
    """What waits for the client is bounded: once its buffer is full no further request is read."""
    assert attack(function, "write-stall-timeout", patience=60).closed
    assert site.sluice.admin.metric("process_resident_memory_bytes") < 200 << 20


def test_the_log_is_not_the_next_flood(site):
    """However often a limit acts: a line a second, with the number of those that it stands for."""
    before = site.hits()["max-request-line-bytes"]
    started = time.monotonic()
    for _ in range(300):
        with H1Client(site.address, site.sluice.port(80)) as client:
            assert client.request("GET", "/" + "x" * 20_000, HOST).status == 414
    seconds = time.monotonic() - started
    assert site.hits()["max-request-line-bytes"] == before + 300

    def lines():
        start = " limit max-request-line-bytes (16384 bytes)"
        return [line for line in site.sluice.log().splitlines() if start in line]
    wait_until(lambda: " more times since the line before" in lines()[-1], "what was suppressed is told")
    assert len(lines()) <= seconds + 6


# Many connections


def test_connection_flood(crowded):
    """Above the limits new connections are refused at once; a client from elsewhere still comes in."""
    subnet = crowded.address.rsplit(".", 1)[0]
    held = []
    try:
        still, refused = attacks.connections(crowded.target(source=f"{subnet}.251"), 60)
        held += still
        assert len(still) == 30 and refused == 30
        assert crowded.hits()["max-connections-per-client"] == 30
        with GoodClient(crowded):
            time.sleep(0.2)
        still, refused = attacks.connections(crowded.target(source=f"{subnet}.252"), 30)
        held += still
        still, refused = attacks.connections(crowded.target(source=f"{subnet}.253"), 30)
        held += still
        assert len(held) <= 80 and refused >= 10
        assert crowded.hits()["max-connections"] >= 10
    finally:
        for connection in held:
            connection.close()
    wait_until(lambda: crowded.sluice.plain_status(HOST, "/status/200") == 200, "room again")


def test_handshake_flood(crowded):
    """Whoever begins a handshake and leaves it makes room for those who finish theirs."""
    target = crowded.target(source=crowded.address.rsplit(".", 1)[0] + ".250")
    still, refused = attacks.connections(target, 25, tls=True)
    try:
        assert len(still) == 10 and refused == 15
        assert crowded.hits()["max-handshakes"] == 15
        for _ in range(5):
            with H2Client(crowded.address, crowded.sluice.port(443), HOST) as client:
                assert client.request("GET", "/status/200", HOST).status == 200
    finally:
        for connection in still:
            connection.close()


# Memory


@pytest.fixture
def small(run_sluice):
    """Above what it needs at rest by some megabytes."""
    instance = Flooded({"max-memory": "64MiB", "write-stall-timeout": "60s"})
    yield instance
    instance.close()


def besiege(small, patience):
    """Twelve clients ask and take nothing for `patience` seconds; returns the most memory that was seen."""
    def attacker(number):
        attacks.zero_window(small.target(source=f"{small.address.rsplit('.', 1)[0]}.{number}", patience=patience))
    attackers = [threading.Thread(target=attacker, args=(number,), daemon=True) for number in range(240, 252)]
    for thread in attackers:
        thread.start()
    peak = 0
    while any(thread.is_alive() for thread in attackers):
        peak = max(peak, small.sluice.admin.metric("process_resident_memory_bytes"))
        time.sleep(0.05)
    return peak


def test_memory_budget(small):
    """Answers that nobody takes fill the memory. Then nothing new is taken, those who wait longest are let go of, and
    the process goes on."""
    pid = small.sluice.child("sluice-dataplane")
    peak = 0
    for patience in (4, 8, 16, 32):  # A slow machine needs longer to fill it.
        peak = max(peak, besiege(small, patience))
        if small.hits()["max-memory"]:
            break
    assert small.hits()["max-memory"] > 0
    assert " limit max-memory (67108864 bytes)" in small.sluice.log()
    assert peak < 400 << 20
    assert small.sluice.child("sluice-dataplane") == pid
    wait_until(lambda: small.sluice.plain_status(HOST, "/status/200") == 200, "room again")
